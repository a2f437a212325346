package probe

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
)

const (
	tryTimes   = 10 // times the prober's timeout, for all interfaces of one port
	maxHangUps = 3  // interfaces in a row over which a server ends the connection
)

// TryDCE connects to the ports of a mapper's entries and binds their interfaces, and sets the
// entries' State, Why and Time. Interfaces at one port share a connection where the server
// takes that. After ten times the prober's timeout a port is given up; all together take as
// long as the context lets them. Ports that are filtered are tried as [Prober.Ports] does: many of them take
// little longer than one.
//
// Entries at addresses that are not known to be the host's are left alone unless the options say
// otherwise: a mapper could have anybody connected to.
func (p *Prober) TryDCE(ctx context.Context, host netip.Addr, entries []Entry, o DCEOptions) {
	host = hostOrSelf(host)
	ports := map[endpoint.Endpoint][]*Entry{}
	var order []endpoint.Endpoint
	for i := range entries {
		e := &entries[i]
		if e.Dialect != endpoint.DCE {
			continue
		}
		e.State, e.Time = NotTried, 0
		if e.Why = untried(host, e, o); e.Why != "" {
			continue
		}
		if ports[e.Endpoint] == nil {
			order = append(order, e.Endpoint)
		}
		ports[e.Endpoint] = append(ports[e.Endpoint], e)
	}
	begun := p.together(ctx, len(order), func(i int) netip.Addr { return order[i].Addr.Addr() }, func(i int, s *seat) {
		tryPort(ctx, s, order[i], ports[order[i]], o)
	})
	for _, at := range order[begun:] {
		for _, e := range ports[at] {
			e.State, e.Why = dceOutcome(ctx, ctx.Err())
		}
	}
}

// untried returns why an entry is not tried; empty if it is.
func untried(host netip.Addr, e *Entry, o DCEOptions) string {
	switch {
	case e.ProtSeq == 0:
		return "nothing here knows how"
	case e.ProtSeq == epm.NP:
		return "needs SMB 445"
	case e.ProtSeq == epm.LRPC:
		return "is reached on its own host only"
	case e.ProtSeq == epm.UDP:
		return "connectionless RPC is not spoken here"
	case !e.Addr.IsValid() || e.Addr.Port() == 0:
		return "has no port"
	}
	addr := e.Addr.Addr().Unmap()
	switch {
	case addr == host || slices.Contains(o.Addrs, addr):
		return ""
	case !o.Foreign:
		return "is told at another address than the host's: " + addr.String()
	case addr.IsLoopback():
		return "only the host itself reaches its loopback address"
	case isNoHost(addr):
		return "is told at the address of no host: " + addr.String()
	}
	return ""
}

// An outcome is what became of one interface.
type outcome struct {
	state State
	why   string
	took  time.Duration
	final bool // the port answers no other interface differently
}

// tryPort tries the interfaces of one port.
func tryPort(ctx context.Context, s *seat, at endpoint.Endpoint, entries []*Entry, o DCEOptions) {
	t := portTrial{seat: s, at: at, o: o, alter: o.Auth == nil}
	defer t.close()
	until := time.Now().Add(tryTimes * s.p.timeout())
	known := map[dcerpc.Syntax]outcome{}
	var last outcome
	for _, e := range entries {
		s := e.Syntax()
		out, ok := known[s]
		switch {
		case ok:
		case last.final:
			out = last
		case time.Now().After(until):
			out = outcome{state: NotTried, why: "its server takes too long to answer"}
		default:
			out = t.try(ctx, s)
			last = out
		}
		known[s] = out
		e.State, e.Why, e.Time = out.state, out.why, out.took
	}
}

// A portTrial tries interfaces at one port, one after the other.
type portTrial struct {
	seat    *seat // of all its connections, which follow one another
	at      endpoint.Endpoint
	o       DCEOptions
	conn    *DCEConn // nil: there is none
	alter   bool     // the server may take alter_context
	hangUps int      // in a row, of connections for one interface
}

func (t *portTrial) close() {
	if t.conn != nil {
		t.conn.Close()
		t.conn = nil
	}
}

// try binds an interface: on the connection that there is, if it comes to an answer there, else on another.
func (t *portTrial) try(ctx context.Context, s dcerpc.Syntax) outcome {
	if t.conn != nil {
		out, err := t.bind(ctx, s)
		if err == nil || isUnsupported(err) {
			return out
		}
		t.alter = t.alter && isRejection(err) // it may be this interface only
		t.close()
		if timeUp(ctx) {
			return out
		}
	}
	c, err := t.seat.dialDCE(ctx, t.at, t.o)
	if err != nil {
		state, why := dceOutcome(ctx, err)
		return outcome{state: state, why: why, final: true}
	}
	t.conn = c
	out, err := t.bind(ctx, s)
	if err != nil && !isRejection(err) || !t.alter {
		t.close()
	}
	if out.state == Wrong && !isRejection(err) && !isFault(err) {
		t.hangUps++
	} else {
		t.hangUps = 0
	}
	out.final = errors.Is(err, errSilent) || errors.Is(err, errNotDCE) || timeUp(ctx) || t.hangUps == maxHangUps
	return out
}

func (t *portTrial) bind(ctx context.Context, s dcerpc.Syntax) (outcome, error) {
	start := time.Now()
	err := t.conn.Bind(ctx, s)
	out := outcome{took: time.Since(start)}
	out.state, out.why = dceOutcome(ctx, err)
	if out.state != Listening && out.state != Wrong && out.state != Rejected || errors.Is(err, errSilent) {
		out.took = 0
	}
	return out, err
}

// isUnsupported tells whether an error says that the server does not have an interface.
func isUnsupported(err error) bool {
	var r rejection
	return errors.As(err, &r) && r.Result == dcerpc.ProviderRejection && r.Reason == dcerpc.AbstractSyntaxNotSupported
}

// isFault tells whether an error is a fault, after which the connection goes on.
func isFault(err error) bool {
	var f dcerpc.Fault
	return errors.As(err, &f)
}
