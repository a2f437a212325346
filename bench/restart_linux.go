package main

import (
	"context"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
)

// restart kills the server, which can do nothing about it, starts it again and
// takes the time from there to its first answer. What it held it must hold again.
func restart(b brief, s *server) (*tally, error) {
	s.stop()
	start := time.Now()
	next, err := startServer(b)
	if err != nil {
		return nil, err
	}
	t := &tally{Restart: time.Since(start)}
	*s = *next
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	pool, err := api.NewClient(daemon.SystemControl).Pool(ctx)
	if err == nil && len(pool.Grants) != b.Grants {
		err = fmt.Errorf("%d grants after the restart, want %d", len(pool.Grants), b.Grants)
	}
	return t, err
}
