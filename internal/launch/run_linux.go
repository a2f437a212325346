package launch

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// retries is how many other ports are tried when somebody takes one before the server does.
const retries = 5

// patience is how long a question to the daemon may take.
const patience = 30 * time.Second

// Run runs a complete job until its server has ended, which is when the program has and
// nothing of what it left behind listens at the ports. It returns the exit status of the
// program, 128+N if signal N ended it, or one of this package's with the reason.
//
// Run takes this process for itself: it makes it a subreaper, and waits for all its
// children. Nothing else may start any.
func Run(j *Job) (status int, err error) {
	path, status, err := find(j.Command[0])
	if err != nil {
		return status, err
	}
	table, err := socktable.Open()
	if err != nil {
		return ExitFailed, err
	}
	defer table.Close()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return ExitFailed, fmt.Errorf("becoming a subreaper: %w", err)
	}
	runtime.LockOSThread() // the signal of KillWithMe is sent when the thread ends that started the program
	defer runtime.UnlockOSThread()
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)

	family := newFamily()
	if j.KillWithMe && changesUser(path) {
		j.Say(fmt.Sprintf("%s gets other rights when it starts, so --kill-with-me does not reach it", path))
	}
	for try := 1; ; try++ {
		s := &server{Job: j, path: path, name: filepath.Base(path), table: table, children: children, family: family, ledger: ledger{}, outcomes: make(chan outcome, 1)}
		status, taken, err := s.run()
		switch {
		case taken == "":
			return status, err
		case try > retries:
			return ExitFailed, fmt.Errorf("%s, as were %d ports before: keep others off the pool's ports", taken, retries)
		}
		j.Say(fmt.Sprintf("%s: trying another (%d of %d)", taken, try, retries))
	}
}

// ask gets ports of the daemon. A signal that would end a program ends the asking.
func (s *server) ask() (stopped syscall.Signal, err error) {
	type answer struct {
		grant endpoint.GrantDocument
		err   error
	}
	answers := make(chan answer, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func(request api.GrantRequest) {
		g, err := s.Daemon.Grant(ctx, request)
		answers <- answer{g, err}
	}(s.request())
	for {
		select {
		case a := <-answers:
			if a.err != nil {
				return 0, s.Explain(a.err)
			}
			s.Daemon.HTTP.CloseIdleConnections() // of which the daemon has few, and the next question may be late
			s.grant = a.grant
			return 0, nil
		case sig := <-s.Signals:
			if n, ok := sig.(syscall.Signal); ok && ends(n) {
				return n, nil // what the daemon gave meanwhile it takes back with our end
			}
		}
	}
}

// release gives the ports back, unless something of ours listens there still. If that
// fails the daemon does it when this process ends.
func (s *server) release() {
	if seen, err := s.look(); err != nil || seen.any {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.Daemon.Release(ctx, s.grant.ID)
}

// ends tells whether a signal asks a program to end.
func ends(n syscall.Signal) bool {
	switch n {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		return true
	}
	return false
}
