// Package process holds on to running processes: by a descriptor (pidfd), so
// that a process number never comes to mean another process.
package process

// A Process is one that ran when it was looked up. Whoever has it closes it.
type Process struct {
	PID     int32  // 0 if it cannot be seen from here
	Started uint64 // when it began, in clock ticks since the host did; 0 if unknown
	handle
}
