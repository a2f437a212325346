package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/daemon"
)

func runServe(cmd *cobra.Command, f *serveFlags) error {
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return usagef("%w", err)
	}
	log, err := newLog(os.Stderr, &o)
	if err != nil {
		return err
	}
	if o.Dev {
		if o.StateDir, err = stateDir(); err != nil {
			return err
		}
	}
	env := daemon.Environment{
		ListenPID: os.Getenv("LISTEN_PID"), ListenFDs: os.Getenv("LISTEN_FDS"), ListenFDNames: os.Getenv("LISTEN_FDNAMES"),
		NotifySocket: os.Getenv("NOTIFY_SOCKET"),
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return daemon.Run(ctx, o, env, log, func(l daemon.Listening) {
		if o.Dev {
			printDev(os.Stdout, o.StateDir, places(l), l.Control)
			return
		}
		log.Info("serving", "version", version, "onc", places(l), "control", l.Control)
	})
}

// places returns where the port mapper answers, for people: each address once,
// with its transports.
func places(l daemon.Listening) []string {
	var all []string
	index := map[string]int{}
	for _, b := range l.Bound {
		if b.Network == "unix" {
			if !strings.HasPrefix(b.Path, "@") { // goes without saying
				all = append(all, home(b.Path))
			}
			continue
		}
		addr := b.Addr.String()
		if i, ok := index[addr]; ok {
			all[i] += " " + b.Network
			continue
		}
		index[addr] = len(all)
		all = append(all, fmt.Sprintf("%s %s", addr, b.Network))
	}
	return all
}
