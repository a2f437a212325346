package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/portset"
)

// gcPercent is how much garbage there may be, of what is in use: little, since
// answering questions makes none.
const gcPercent = 30

func runServe(cmd *cobra.Command, f *serveFlags) error {
	f.starter = os.Geteuid()
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
	if _, chosen := os.LookupEnv("GOGC"); !chosen {
		debug.SetGCPercent(gcPercent)
	}
	env := daemon.Environment{
		ListenPID: os.Getenv("LISTEN_PID"), ListenFDs: os.Getenv("LISTEN_FDS"), ListenFDNames: os.Getenv("LISTEN_FDNAMES"),
		NotifySocket: os.Getenv("NOTIFY_SOCKET"),
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return daemon.Run(ctx, o, env, log, reloads(ctx, cmd, f, o, log), func(l daemon.Listening) {
		if o.Dev {
			printDev(os.Stdout, o.StateDir, places(l.ONC), places(l.DCE), l.Control, freePorts(l.Ports, l.Free))
			return
		}
		log.Info("serving", "version", version, "onc", places(l.ONC), "dce", places(l.DCE), "control", l.Control)
	})
}

// reloads returns the options as they are read again on SIGHUP. From a bad file
// none are taken.
func reloads(ctx context.Context, cmd *cobra.Command, f *serveFlags, o daemon.Options, log *slog.Logger) <-chan daemon.Options {
	return onHangup(ctx, func() (daemon.Options, bool) {
		o = reread(cmd, f, o, log)
		return o, true
	})
}

// reread returns the options as they are now, or with a mistake as they were.
func reread(cmd *cobra.Command, f *serveFlags, old daemon.Options, log *slog.Logger) daemon.Options {
	o, err := f.options(cmd)
	if err == nil {
		err = o.Check()
	}
	switch {
	case err != nil:
		log.Error("configuration stays as it was", "err", err)
		return old
	case f.config != "":
		log.Info("configuration read again: networks, limits and pool apply at once, the rest with the next start", "file", f.config)
	}
	return o
}

// freePorts returns ports, and how many of them are free, for people.
func freePorts(ports portset.Set, free int) string {
	if ports.IsEmpty() {
		return "none"
	}
	return fmt.Sprintf("%s (%d free)", compact(ports), free)
}

// places returns where a mapper answers, for people: each address once,
// with its transports.
func places(bound []daemon.Bound) []string {
	var all []string
	index := map[string]int{}
	for _, b := range bound {
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
