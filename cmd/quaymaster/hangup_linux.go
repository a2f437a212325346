package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onHangup sends what reread returns each time that SIGHUP comes, until ctx is done; with false nothing is sent.
func onHangup[T any](ctx context.Context, reread func() (T, bool)) <-chan T {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	out := make(chan T)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
			}
			value, ok := reread()
			if !ok {
				continue
			}
			select {
			case <-ctx.Done():
			case out <- value:
			}
		}
	}()
	return out
}
