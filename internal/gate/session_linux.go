package gate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/follow"
)

// A session is what sessions over TCP and UDP have in common: a follower, and the steps that it says. It belongs to
// the loop's goroutine.
type session struct {
	Session
	loop     *loop
	entry    *Entry
	follower follow.Follower
	carrier  carrier
	steps    []follow.Step // that are to be done
	busy     bool          // the first of them waits for the kernel
	open     bool          // pinholes of the session may be open
	over     bool

	outside *standIn // for a port of the client's, where addresses are translated
}

// A standIn is a port of this host that stands for one of a client's, and the socket that holds it.
type standIn struct {
	fd       int
	at       netip.AddrPort
	protocol uint8
	port     uint16 // of the client
}

// A carrier sends what steps say.
type carrier interface {
	send(to follow.Side, data []byte)
	worked() // all steps are done
}

// follow gives the session the follower of its protocol.
func (s *session) follow(p *Policy) {
	rules := follow.Policy{
		Allow:            func(i endpoint.Interface) bool { return s.entry.Allow(i) },
		Port:             func(_ uint8, port uint16) bool { return s.entry.Promised(follow.Client, port) },
		Name:             s.loop.gate.nameOf,
		RefuseUnreadable: p.Refuse,
	}
	rules.Ends[follow.Client], rules.Ends[follow.Server] = s.Client, s.Server
	switch s.Protocol {
	case EPM:
		s.follower = follow.NewEPM(rules)
	case Portmapper:
		s.follower = follow.NewPortmapper(rules, s.Transport == tcp)
	case FTP:
		s.follower = follow.NewFTP(rules)
	case TFTP:
		s.follower = follow.NewTFTP(rules)
	}
}

// take does steps.
func (s *session) take(steps []follow.Step) {
	s.steps = steps
	s.work()
}

// work does the steps that are left, until one has to wait.
func (s *session) work() {
	for len(s.steps) > 0 && !s.busy && !s.over {
		step := &s.steps[0]
		switch {
		case len(step.Promises) > 0:
			s.keep(step)
		case step.Forget && s.open:
			s.wait(func(ctx context.Context) error {
				return s.loop.gate.closeHoles(ctx, s.ID)
			}, nil)
		default:
			s.done(nil, nil)
		}
	}
	if len(s.steps) == 0 && !s.over {
		s.steps = nil
		s.carrier.worked()
	}
}

// keep opens what a step promises.
func (s *session) keep(step *follow.Step) {
	g, id, forget := s.loop.gate, s.ID, step.Forget && s.open
	holes, err := s.pinholes(step.Promises)
	switch {
	case err != nil && forget:
		s.wait(func(ctx context.Context) error { return errors.Join(err, g.closeHoles(ctx, id)) }, nil)
		return
	case err != nil:
		s.done(nil, err)
		return
	}
	if !forget && g.holes.fresh(holes) {
		s.done(holes, nil)
		return
	}
	s.open = true
	open := g.openHoles
	once := !slices.ContainsFunc(holes, func(p Pinhole) bool { return !p.Once })
	s.wait(func(ctx context.Context) error {
		if forget && !once { // else those that take their place close them
			if err := g.closeHoles(ctx, id); err != nil {
				return err
			}
		}
		err := open(ctx, holes)
		if err != nil && forget {
			return errors.Join(err, g.closeHoles(ctx, id))
		}
		return err
	}, holes)
}

// wait has something done that the kernel takes its time for, and then goes on.
func (s *session) wait(do func(context.Context) error, holes []Pinhole) {
	s.busy = true
	l := s.loop
	l.beside.Go(func() {
		err := do(l.ctx)
		l.poll.post(func() {
			s.busy = false
			if s.over {
				s.closeHoles()
				return
			}
			s.done(holes, err)
			s.work()
		})
	})
}

// done does the first step, for which these pinholes were opened, or could not be.
func (s *session) done(holes []Pinhole, err error) {
	step := s.steps[0]
	s.steps = s.steps[1:]
	s.report(step.Refused)
	switch {
	case err != nil && len(step.Promises) > 0:
		s.refuse(ruleOf(err), step.Promises[0].Interface, fmt.Sprintf("%s: %v", step.Promises[0].For, err))
		s.send(step.ElseTo, step.Else)
		return
	case err != nil:
		s.loop.gate.log.Warn("pinholes not closed", "session", s.ID, "err", err)
	case step.Forget && len(holes) == 0:
		s.open = false
	}
	if len(holes) > 0 {
		s.Promised += len(holes)
		s.event(Event{Kind: Promised, Pinholes: holes})
	}
	data := step.Data
	if step.Rewrite != nil && len(holes) > 0 && holes[0].Outside.IsValid() {
		data = step.Rewrite(holes[0].Outside)
	}
	s.send(step.To, data)
}

func (s *session) send(to follow.Side, data []byte) {
	if len(data) > 0 && !s.over {
		s.carrier.send(to, data)
	}
}

// ruleOf returns the rule that kept a pinhole closed.
func ruleOf(err error) string {
	switch {
	case errors.Is(err, ErrPort):
		return "port"
	case errors.Is(err, ErrPinholes), errors.Is(err, ErrPerClient), errors.Is(err, ErrPerServer):
		return "pinholes"
	}
	return "kernel"
}

// pinholes returns those for promises.
func (s *session) pinholes(all []follow.Promise) ([]Pinhole, error) {
	holes := make([]Pinhole, 0, len(all))
	for _, m := range all {
		if !s.entry.Promised(m.By, m.Port) {
			return nil, fmt.Errorf("port %d: %w", m.Port, ErrPort)
		}
		p := Pinhole{
			By: m.By, Protocol: m.Protocol, Once: m.Once, Lifetime: s.entry.Lifetime,
			Interface: m.Interface, For: m.For, Session: s.ID,
		}
		ends := [2]netip.AddrPort{s.Client, s.Server}
		p.From, p.To = ends[m.By].Addr(), netip.AddrPortFrom(ends[m.By.Other()].Addr(), m.Port)
		if m.By == follow.Server && s.loop.policy.NAT.Translates(s.Client.Addr()) {
			if err := s.reserve(m.Protocol, m.Port); err != nil {
				return nil, fmt.Errorf("a port of this host: %w", err)
			}
			p.Outside = s.outside.at
		}
		holes = append(holes, p)
	}
	return holes, nil
}

// reserve takes a port of this host that stands for one of the client's; the one that stands for it already, if one does.
func (s *session) reserve(protocol uint8, port uint16) error {
	if o := s.outside; o != nil && o.protocol == protocol && o.port == port {
		return nil
	}
	a := s.loop.policy.NAT.Address
	if !a.IsValid() {
		var err error
		if a, err = sourceTo(s.Server); err != nil {
			return err
		}
	}
	fd, at, err := reserve(protocol, a)
	if err != nil {
		return err
	}
	s.release()
	s.outside = &standIn{fd, at, protocol, port}
	return nil
}

// release gives back what stands for the client.
func (s *session) release() {
	if s.outside != nil {
		unix.Close(s.outside.fd)
		s.outside = nil
	}
}

// report tells of what a follower did not let through.
func (s *session) report(r *follow.Refusal) {
	if r == nil {
		return
	}
	if r.Rule == "unreadable" {
		s.Unread = true
	}
	s.refuse(r.Rule, r.Interface, r.Why)
}

func (s *session) refuse(rule string, i endpoint.Interface, why string) {
	s.event(Event{Kind: Refused, Rule: rule, Interface: i, Why: why})
}

// event tells of something that happened to the session.
func (s *session) event(e Event) {
	e.At, e.Session, e.Protocol, e.Transport, e.Client, e.Server = time.Now(), s.ID, s.Protocol, s.Transport, s.Client, s.Server
	s.loop.gate.events.publish(e)
}

// begin gives the session its follower, and tells of it.
func (s *session) begin(e *Entry, on carrier) {
	l := s.loop
	s.ID, s.entry, s.carrier = l.gate.nextID(), e, on
	s.Protocol, s.Since, s.Last = e.Protocol, l.now, l.now
	s.follow(l.policy)
	l.open[s.ID] = s
	l.bySource[sourceOf(s.Transport, s.Client)]++
	s.event(Event{Kind: Began})
}

// end ends the session.
func (s *session) end(why string) {
	if s.over {
		return
	}
	l := s.loop
	s.over, s.steps = true, nil
	delete(l.open, s.ID)
	if source := sourceOf(s.Transport, s.Client); l.bySource[source] > 1 {
		l.bySource[source]--
	} else {
		delete(l.bySource, source)
	}
	s.event(Event{Kind: Ended, Why: why})
	if !s.busy { // else it is done when they are open
		s.closeHoles()
	}
	s.release()
}

// closeHoles closes what the session opened, if it was promised for as long as it stands. A gate that stops leaves all open, for data goes on.
func (s *session) closeHoles() {
	l := s.loop
	if !s.open || s.Protocol != FTP || l.stopping {
		return
	}
	l.beside.Go(func() {
		if err := l.gate.closeHoles(l.ctx, s.ID); err != nil && l.ctx.Err() == nil {
			l.gate.log.Warn("pinholes not closed", "session", s.ID, "err", err)
		}
	})
}
