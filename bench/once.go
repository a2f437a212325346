package main

import "time"

// An expense is what it cost to run a program once, besides the time.
type expense struct {
	CPU    time.Duration
	User   time.Duration // of that, what was not spent in the kernel
	Memory int64         // most that it had in memory, in bytes

	Conns     int // most connections that it was seen to have open at a time; 0: nobody looked
	HostConns int // most of these to one host
}
