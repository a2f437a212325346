package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/portset"
)

// An Environment is what a service manager tells through variables of that name.
type Environment struct {
	ListenPID, ListenFDs, ListenFDNames string // LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES: sockets passed (sd_listen_fds(3))
	NotifySocket                        string // NOTIFY_SOCKET: where to say that the daemon is ready (sd_notify(3))
}

// Listening is where a running daemon answers.
type Listening struct {
	ONC     []Bound // the port mapper
	DCE     []Bound // the endpoint mapper
	Control string  // path of the control socket

	Ports portset.Set // in development: what ordinary servers are given
	Free  int         // how many of these nobody uses
}

// Run serves until ctx is cancelled and returns nil, or an error if it could
// not begin. ready is called once, when every socket answers. Options that come
// from reload replace the networks, limits and pools, and have the policy and the
// file of permanent registrations read again.
func Run(ctx context.Context, o Options, env Environment, log *slog.Logger, reload <-chan Options, ready func(Listening)) error {
	if o.Dev {
		if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
			return fmt.Errorf("state folder: %w", err)
		}
	}
	account, err := accountFor(o.User, !o.Dev) // before anything is open, so that a mistake costs nothing
	if err != nil {
		return err
	}
	starter := os.Geteuid()
	pools, err := o.firstPools(starter, log)
	if err != nil {
		return err
	}
	passed, err := passedSockets(env, &o, log)
	if err != nil {
		return err
	}
	s, err := open(&o, passed, log)
	if err != nil {
		return err
	}
	defer s.close()
	self := endpoint.Owner{UID: uint32(os.Getuid())}
	own := append(ownRows(s.bound(), self), ownDCE(s.boundDCE(), self)...)
	if err := account.settle(&o, o.files(), log); err != nil {
		return err
	}
	o.warnUnreadable(starter, log)
	if os.Getpid() == 1 {
		stop := reapOrphans()
		defer stop()
	}
	p, err := assemble(&o, own, pools, log)
	if err != nil {
		return err
	}
	defer p.close()
	p.starter = starter
	p.apply(&o)
	return serve(ctx, s, p, reload, func() {
		l := Listening{ONC: s.bound(), DCE: s.boundDCE(), Control: s.control.Addr().String()}
		if o.Dev {
			l.Ports = pools.Ports(portpool.Default)
			if given, err := p.registry.Given(); err == nil {
				l.Free = given.Free()
			}
		}
		ready(l)
		notify(env.NotifySocket, "READY=1", log)
	}, func() {
		notify(env.NotifySocket, "STOPPING=1", log)
		log.Info("stopped", "ignored", p.onc.Ignored())
	})
}

// serve runs every part until ctx is cancelled or one fails, and waits for all.
func serve(ctx context.Context, s *sockets, p *parts, reload <-chan Options, ready, stopping func()) error {
	return runParts(ctx, func(ctx context.Context, run func(part)) error {
		known := make(chan struct{})
		run(func(ctx context.Context) error { return watchAddresses(ctx, p, known) })
		select { // the first answer may need the addresses
		case <-known:
		case <-ctx.Done():
		}
		run(p.registry.Run)
		run(func(ctx context.Context) error { logEvents(ctx, p.registry, p.log); return nil })
		run(func(ctx context.Context) error { p.watchSockets(ctx); return nil })
		run(func(ctx context.Context) error { p.watchProcesses(ctx); return nil })
		run(func(ctx context.Context) error { p.reloads(ctx, reload); return nil })
		streams := transport.StreamServer{Handler: p.onc, Guard: p.guard, Log: p.log}
		for _, ln := range s.streams {
			run(func(ctx context.Context) error { return streams.Serve(ctx, ln) })
		}
		pdus := transport.StreamServer{Framing: transport.PDUs, Sessions: p.dce.Session, Guard: p.guard, Log: p.log}
		for _, ln := range s.dce {
			run(func(ctx context.Context) error { return pdus.Serve(ctx, ln) })
		}
		datagrams := transport.DatagramServer{Handler: p.onc, Guard: p.guard, Log: p.log}
		for _, conn := range s.datagrams {
			run(func(ctx context.Context) error { return datagrams.Serve(ctx, conn) })
		}
		run(func(ctx context.Context) error { return p.control.Serve(ctx, p.guard.Listener(s.control)) })
		return nil
	}, ready, stopping)
}

// A part is something that goes on until its context is cancelled, and returns an error if it cannot.
type part func(ctx context.Context) error

// runParts runs what start has it run until ctx is cancelled, or a part or start fails, and waits for all. ready is called when
// start has come to its end, unless something has failed by then, and stopping when the parts are to end.
func runParts(ctx context.Context, start func(ctx context.Context, run func(part)) error, ready, stopping func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	err := start(ctx, func(p part) {
		running.Go(func() {
			if err := p(ctx); err != nil {
				cancel(err)
			}
		})
	})
	if err != nil {
		cancel(err)
	}
	if ctx.Err() == nil {
		ready()
	}
	<-ctx.Done()
	stopping()
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// watchAddresses keeps the table of addresses fresh. Where the kernel does not
// tell of changes, as in some sandboxes, the addresses of the beginning stay.
func watchAddresses(ctx context.Context, p *parts, known chan<- struct{}) error {
	var once sync.Once
	tell := func() { once.Do(func() { close(known) }) }
	defer tell()
	if err := p.addresses.Watch(ctx, p.log, tell); err != nil {
		p.log.Warn("changes of this host's addresses will not be seen", "err", err)
	}
	return nil
}

// notify tells the service manager, if there is one (sd_notify(3)).
func notify(socket, state string, log *slog.Logger) {
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err == nil {
		_, err = conn.Write([]byte(state))
		conn.Close()
	}
	if err != nil {
		log.Warn("service manager not told", "state", state, "err", err)
	}
}

// reapOrphans takes leave of processes that ended after their parent did, the
// duty of the first process of a container.
func reapOrphans() (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	ended <- syscall.SIGCHLD // for those that ended before
	go func() {
		for range ended {
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
					break
				}
			}
		}
	}()
	return func() {
		signal.Stop(ended)
		close(ended)
	}
}
