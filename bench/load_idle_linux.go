package main

import "time"

// An idleLoad asks nothing: what the server spends it spends on its own.
type idleLoad struct{}

// open waits until the server has done what it could not while it was stopped.
func (idleLoad) open() error {
	time.Sleep(500 * time.Millisecond)
	return nil
}

func (idleLoad) run(window time.Duration, t *tally) error {
	t.Idle = true
	time.Sleep(window)
	return nil
}

func (idleLoad) close() {}
