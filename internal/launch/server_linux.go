package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// How often to look at the ports.
const (
	firstLook   = 5 * time.Millisecond // after the start, then less and less often
	slowestLook = 100 * time.Millisecond
	settle      = 50 * time.Millisecond // before the first registration: a server that registers itself does so when it has bound
	everyLook   = time.Second           // of a server that is registered
)

// A server is a program that was given ports, from its start to its end. Only the
// goroutine of run has it.
type server struct {
	*Job
	path, name string // of the program; what people call it
	table      *socktable.Table
	children   <-chan os.Signal // says that one has ended
	grant      endpoint.GrantDocument

	pid    int            // of the program
	ended  bool           // the program has, with status
	status int            // exit status
	how    string         // the same for people
	alone  bool           // no descendant is left
	told   syscall.Signal // by which it was asked to end; 0: it was not

	family   *family
	deadline time.Time // for listening, then for being registered
	listened bool      // on every transport that is asked for
	stands   bool      // something is registered
	quiet    time.Time // when it was seen first that nothing listens any more; zero while something does
	pause    time.Duration

	ledger   ledger
	outcomes chan outcome // of register
	asking   bool         // register runs
	next     time.Time    // not before that
	said     string       // last of what was said
}

// run returns how the program ended. Taken says who has a port that somebody took before
// the program did, or shares: then another may be tried.
func (s *server) run() (status int, taken string, err error) {
	stopped, err := s.ask()
	switch {
	case err != nil:
		return ExitFailed, "", err
	case stopped != 0:
		return 128 + int(stopped), "", nil
	}
	defer s.release()
	env := environment(s.Env, cmp.Or(s.grant.TCP, s.grant.UDP))
	s.pid, status, err = start(s.path, fill(s.Command, s.grant.TCP, s.grant.UDP), env, s.KillWithMe)
	if err != nil {
		return status, "", err
	}
	s.family.program = s.pid
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		cancel()
		if s.asking {
			<-s.outcomes
		}
	}()
	s.deadline, s.pause = time.Now().Add(s.Wait), firstLook
	clock := time.NewTimer(s.pause)
	defer clock.Stop()
	for {
		select {
		case <-s.children:
			s.reap()
		case sig := <-s.Signals:
			s.pass(sig)
			continue
		case o := <-s.outcomes:
			s.asking = false
			if err := s.enter(o); err != nil {
				s.stop()
				return ExitFailed, "", err
			}
		case <-clock.C:
		}
		seen, err := s.look()
		now := time.Now()
		if err == nil && !s.listened {
			if seen.shared != "" { // by a program of another daemon's pool: only the kernel keeps them apart
				s.stop()
				return 0, seen.shared, nil
			}
			s.await(seen, now)
		}
		switch {
		case s.alone && s.listened:
			return s.status, "", nil
		case s.alone:
			return s.endedEarly()
		case !s.listened && now.After(s.deadline):
			return s.late(seen, err)
		case err != nil:
			s.say(err.Error())
			s.pause = everyLook
		case !s.listened:
		case s.over(seen, now):
			return s.status, "", nil
		default:
			s.keep(ctx, seen.rows, now)
		}
		clock.Reset(s.pause)
	}
}

// A port is one that was given.
type port struct {
	network string // "tcp", "udp"
	number  uint16
	asked   bool // to be registered
}

func (p port) String() string { return fmt.Sprintf("%s port %d", p.network, p.number) }

func (s *server) ports() []port {
	var all []port
	for _, p := range []port{{"tcp", s.grant.TCP, s.TCP}, {"udp", s.grant.UDP, s.UDP}} {
		if p.number != 0 {
			all = append(all, p)
		}
	}
	return all
}

// A sight is what a look at the ports has shown.
type sight struct {
	rows    []row  // to be registered
	any     bool   // a socket of ours is at one of the ports
	missing []port // that are to be registered, and at which nothing listens that could be
	untold  bool   // at one of those a socket of ours is that cannot be
	shared  string // says who receives at one of the ports as well, at another address; empty: nobody

	unclear []socktable.Socket // at the ports
}

func (s *server) look() (sight, error) {
	var seen sight
	for _, p := range s.ports() {
		sockets, err := s.table.Receivers(p.network, p.number)
		if err != nil {
			return sight{}, err
		}
		whose := s.family.part(p.network, sockets)
		seen.any = seen.any || len(whose.own) > 0
		seen.unclear = append(seen.unclear, whose.unclear...)
		if !p.asked {
			continue
		}
		if len(whose.own) > 0 && len(whose.others) > 0 {
			seen.shared = fmt.Sprintf("%s is used by %s as well", p, holder(p.network, whose.others))
		}
		rows := rowsOf(s.Interfaces, p.network, whose.own)
		seen.rows = append(seen.rows, rows...)
		if len(rows) == 0 {
			seen.missing = append(seen.missing, p)
			seen.untold = seen.untold || len(whose.own) > 0
		}
	}
	return seen, nil
}

// await judges a look at a server that has not listened yet.
func (s *server) await(seen sight, now time.Time) {
	s.pause = min(s.pause*13/10, slowestLook)
	if len(seen.missing) == 0 {
		s.listened, s.next, s.deadline = true, now.Add(settle), now.Add(s.Wait)
	}
}

// over tells whether a server has ended that has listened: the program, and what it left
// behind to listen. That may close its sockets to bind them anew, and the kernel's table may
// lack one that is there, so it is given a second.
func (s *server) over(seen sight, now time.Time) bool {
	switch {
	case !s.ended || seen.any:
		s.quiet = time.Time{}
	case s.quiet.IsZero():
		s.quiet = now
	}
	return !s.quiet.IsZero() && now.Sub(s.quiet) >= everyLook
}

// keep has registered what is not.
func (s *server) keep(ctx context.Context, rows []row, now time.Time) {
	s.pause = everyLook
	switch {
	case s.asking:
	case now.Before(s.next):
		s.pause = s.next.Sub(now)
	default:
		due := s.ledger.due(rows, now)
		if len(due) == 0 {
			return
		}
		s.asking = true
		ours := s.ledger.ids()
		go func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			s.outcomes <- register(ctx, s.Daemon, s.grant.ID, due, ours)
		}()
	}
}

// enter takes what became of a registration. The error says why nothing could be registered
// of a server of which nothing is.
func (s *server) enter(o outcome) error {
	s.Daemon.HTTP.CloseIdleConnections() // the next question may be in days
	now := time.Now()
	s.ledger.take(o, now)
	if o.err != nil {
		s.next = now.Add(everyLook) // it may come back
		err := s.Explain(o.err)
		if !s.stands && now.After(s.deadline) {
			return err
		}
		s.say(err.Error())
		return nil
	}
	standing := s.ledger.standing()
	if len(o.refused) > 0 && len(standing) == 0 && !s.stands {
		return errors.New(strings.Join(o.why, "\n"))
	}
	if len(o.why) > 0 {
		s.say(strings.Join(o.why, "\n"))
	}
	if len(standing) > 0 && (len(o.made) > 0 || !s.stands) {
		s.stands = true
		s.Listening(s.listener(), standing)
	}
	return nil
}

// listener returns the process that listens, as far as that is known.
func (s *server) listener() int {
	for _, e := range s.ledger {
		for _, inode := range e.sockets {
			if pid := s.family.holder(inode); pid != 0 {
				return pid
			}
		}
	}
	return s.pid
}

// say tells people something that they were not told just before.
func (s *server) say(text string) {
	if text != s.said {
		s.said = text
		s.Say(text)
	}
}

// reap waits for the children that have ended, the program among them.
func (s *server) reap() {
	for {
		var how unix.WaitStatus
		pid, err := unix.Wait4(-1, &how, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // there is none: nor are there others that descend from here, or they would be ours
			s.alone = true
			return
		case pid == 0:
			s.alone = s.ended && len(s.family.before) > 0 && len(s.family.children()) == 0
			return
		case pid == s.pid:
			s.ended, s.status = true, how.ExitStatus()
			s.how = fmt.Sprintf("exit status %d", s.status)
			if how.Signaled() {
				s.status = 128 + int(how.Signal())
				s.how = "signal " + unix.SignalName(how.Signal())
			}
			s.family.program = 0
		default:
			s.family.left(pid)
		}
	}
}

// pass passes a signal on to the program or, if that has ended, to those that were left to
// us. What is typed at the terminal its whole foreground group gets without us.
func (s *server) pass(sig os.Signal) {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	if ends(n) {
		s.told = n
	}
	s.reap() // or the signal is lost on a program that has just ended
	to := []int{s.pid}
	if s.ended {
		to = s.family.children()
	}
	typed := (n == unix.SIGINT || n == unix.SIGQUIT) && inForeground()
	for _, pid := range to {
		if !typed || !inOurGroup(pid) {
			unix.Kill(pid, n)
		}
	}
}

// mercy is how long a program may take to end after SIGTERM before it is killed.
const mercy = 5 * time.Second

// stop ends every descendant: with SIGTERM, and those that are still there later with
// SIGKILL. What does not end for that, as in a system call that hangs, is left.
func (s *server) stop() {
	const kills = 50
	s.killAll(unix.SIGTERM)
	clock := time.NewTimer(cmp.Or(s.mercy, mercy))
	defer clock.Stop()
	for killed := 0; ; {
		s.reap()
		if s.alone || killed == kills {
			return
		}
		select {
		case <-s.children:
		case sig := <-s.Signals:
			if n, ok := sig.(syscall.Signal); ok && ends(n) {
				s.told = n
			}
		case <-clock.C: // again and again, for those that are just being made
			killed++
			s.killAll(unix.SIGKILL)
			clock.Reset(100 * time.Millisecond)
		}
	}
}

func (s *server) killAll(n syscall.Signal) {
	for _, pid := range s.family.descendants() {
		unix.Kill(pid, n)
	}
}
