package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/gate"
)

func (f *gateFlags) run(*cobra.Command) error {
	starter := os.Geteuid()
	log, err := newLog(os.Stderr, &daemon.Options{LogLevel: f.logLevel, LogFormat: f.logFormat})
	if err != nil {
		return usagef("%w", err)
	}
	if f.o.Policy, err = f.trusted(starter); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	env := daemon.Environment{NotifySocket: os.Getenv("NOTIFY_SOCKET")}
	return daemon.RunGate(ctx, f.o, env, log, f.reloads(ctx, starter, log), func() {
		log.Info("following", "version", version, "file", f.config)
	})
}

// trusted reads the file, which nobody else may write.
func (f *gateFlags) trusted(starter int) (*gate.Policy, error) {
	if f.config == "" {
		return nil, errNoGateFile
	}
	p, err := daemon.LoadGate(f.config, starter)
	var file *fs.PathError
	if errors.As(err, &file) {
		return nil, usagef("--config: %w", err)
	}
	return p, err
}

// reloads returns the policy as it is read again on SIGHUP, unless it is bad.
func (f *gateFlags) reloads(ctx context.Context, starter int, log *slog.Logger) <-chan *gate.Policy {
	return onHangup(ctx, func() (*gate.Policy, bool) {
		p, err := f.trusted(starter)
		if err != nil {
			log.Error("policy stays as it was", "err", err)
		}
		return p, err == nil
	})
}

func (f *gateFlags) preflight(cmd *cobra.Command, p *gate.Policy) error {
	return f.report(gate.Preflight(cmd.Context(), p))
}

func (f *gateFlags) down(*cobra.Command) error {
	p, err := gate.ReadPolicy("gate.yaml", gate.Example(), catalog.Builtin()) // which has the usual marks
	if f.config != "" {
		p, err = f.policy()
	}
	if err != nil {
		return err
	}
	return daemon.RemoveGate(p, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
