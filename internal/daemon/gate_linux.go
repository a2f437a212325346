package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/control"
	"github.com/quaymaster/quaymaster/internal/gate"
	"github.com/quaymaster/quaymaster/internal/transport"
)

// gateLock is the file that one gate at a time has locked.
const gateLock = "/run/quaymaster/gate.lock"

// Bounds of the control socket of a gate, of which a few programs ask.
var gateRules = transport.Rules{Connections: 200, PerUser: 20}

// RunGate follows control channels until ctx is cancelled and returns nil, or an error if it could not begin or has to end. ready
// is called once, when rules and listeners stand. A policy that comes from reload replaces the one before, unless it cannot be.
//
// When it ends, new control channels are dropped first, those that are open end, and then all that it put into the kernel is removed, unless
// that is to be kept.
func RunGate(ctx context.Context, o GateOptions, env Environment, log *slog.Logger, reload <-chan *gate.Policy, ready func()) error {
	account, err := accountFor(o.User, true)
	if err != nil {
		return err
	}
	unlock, err := lockGate(gateLock)
	if err != nil {
		return err
	}
	defer unlock()
	p := opening{s: &sockets{}}
	p.controlSocket(o.control())
	if err := errors.Join(p.failures...); err != nil {
		return err
	}
	defer p.s.close()
	if err := account.settleGate(o.User != "", []string{gateLock, gate.DefaultState, o.control()}, log); err != nil {
		return err
	}
	if err := fit(ctx, o.Policy, log); err != nil {
		return err
	}
	g := gateParts{system: &gate.System{Policy: o.Policy, Log: log}, log: log}
	g.system.Mended = g.mended
	defer func() {
		if o.Keep {
			log.Info("rules and pinholes stay: control channels are dropped until a gate runs again, or \"quaymaster gate down\" removes it all")
			return
		}
		if err := g.system.Down(); err != nil {
			log.Error("something of the gate stays behind: quaymaster gate down tries again", "err", err)
		}
	}()
	if err := g.system.Up(ctx); err != nil {
		return err
	}
	if g.holes, err = gate.NewPinholes(o.Policy, log); err != nil {
		return err
	}
	g.gate = gate.New(o.Policy, g.holes, log)
	return g.serve(ctx, p.s.control, reload, func() {
		ready()
		notify(env.NotifySocket, "READY=1", log)
	}, func() { notify(env.NotifySocket, "STOPPING=1", log) })
}

// RemoveGate removes all that a gate put into the kernel, which must not run.
func RemoveGate(p *gate.Policy, log *slog.Logger) error {
	unlock, err := lockGate(gateLock)
	if err != nil {
		return err
	}
	defer unlock()
	return (&gate.System{Policy: p, Log: log}).Down()
}

// lockGate locks a file, which the kernel unlocks when the process ends however it does.
func lockGate(path string) (unlock func(), err error) {
	fail := func(err error) (func(), error) {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%w: run as root", err)
		}
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fail(err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock); err == nil {
		return func() { f.Close() }, nil
	}
	defer f.Close()
	held := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &held); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return nil, fmt.Errorf("a gate runs already (pid %d): a host has one; stop it, or send it SIGHUP to have its file read again", held.Pid)
}

// fit returns an error for each thing without which the gate does not work on this host, and logs what may be wrong.
func fit(ctx context.Context, p *gate.Policy, log *slog.Logger) error {
	var errs []error
	for _, c := range gate.Preflight(ctx, p) {
		switch c.State {
		case gate.Missing:
			errs = append(errs, fmt.Errorf("%s is %s, and has to be %s: %s", c.What, c.Is, c.Want, c.Mend))
		case gate.Beware:
			log.Warn("beware", "what", c.What, "is", c.Is, "want", c.Want, "mend", c.Mend)
		}
	}
	return errors.Join(errs...)
}

// gateParts are the parts of a gate that runs.
type gateParts struct {
	system *gate.System
	holes  *gate.Pinholes
	gate   *gate.Gate
	past   refusedPast
	log    *slog.Logger
}

// mended has the pinholes opened again that somebody flushed.
func (g *gateParts) mended(ctx context.Context) {
	if g.holes == nil {
		return
	}
	if err := g.holes.Restore(ctx); err != nil && ctx.Err() == nil {
		g.log.Error("pinholes are lost that somebody removed", "err", err)
	}
}

// serve runs every part until ctx is cancelled or one fails, and waits for all: for control channels before pinholes, which their ends close.
func (g *gateParts) serve(ctx context.Context, ln net.Listener, reload <-chan *gate.Policy, ready, stopping func()) error {
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	var holes sync.WaitGroup
	defer holes.Wait()
	defer end()
	ended := make(chan error, 1)
	holes.Go(func() { ended <- g.holes.Run(last) })
	return runParts(ctx, func(ctx context.Context, run func(part)) error {
		run(func(ctx context.Context) error {
			select {
			case err := <-ended:
				return err
			case <-ctx.Done():
				return nil
			}
		})
		logged := make(chan struct{})
		run(func(ctx context.Context) error { g.logEvents(ctx, logged); return nil })
		<-logged
		if err := g.gate.Listen(); err != nil {
			return err
		}
		run(g.gate.Run)
		run(func(ctx context.Context) error { return g.watch(ctx, reload) })
		run(func(ctx context.Context) error { g.past.keep(ctx, g.gate.Counts); return nil })
		server := &control.Gate{
			Pinholes: g.pinholes, Sessions: g.sessions, Totals: g.totals, Counters: g.counters, Watch: func() control.GateWatcher { return g.watcher() }, Log: g.log,
		}
		run(func(ctx context.Context) error { return server.Serve(ctx, transport.NewGuard(gateRules).Listener(ln)) })
		return nil
	}, ready, stopping)
}

// watch sees that what is in the kernel stays there, and replaces the policy.
func (g *gateParts) watch(ctx context.Context, reload <-chan *gate.Policy) error {
	for {
		watching, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- g.system.Watch(watching) }()
		select {
		case p := <-reload:
			stop()
			if err := <-ended; err != nil {
				return err
			}
			if err := g.replace(ctx, p); err != nil {
				return err
			}
		case err := <-ended: // also when ctx is
			stop()
			return err
		}
	}
}

// replace has another policy count. If it cannot be, the one before does; the error is that not even this can.
func (g *gateParts) replace(ctx context.Context, p *gate.Policy) error {
	before := g.system.Policy
	if before.Marks != p.Marks {
		g.log.Error("policy stays as it was", "err", "other marks need another start")
		return nil
	}
	err := fit(ctx, p, g.log)
	if err == nil {
		g.system.Policy = p
		if err = g.system.Up(ctx); err == nil {
			err = g.gate.Reload(p)
		}
	}
	if err == nil {
		g.log.Info("policy read again: it counts from now on")
		return nil
	}
	g.log.Error("policy stays as it was", "err", err)
	if g.system.Policy = before; ctx.Err() != nil {
		return nil
	}
	return g.system.Up(ctx)
}
