package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// TryONC calls procedure 0 of every entry, and sets the fields that are about that. Only the
// host itself is called, at the addresses that the options know, unless they say otherwise: a mapper
// cannot send us to others. What the context leaves no time for is not tried. Ports that are filtered are tried
// as [Prober.Ports] does: many of them take little longer than one.
func (p *Prober) TryONC(ctx context.Context, host netip.Addr, entries []Entry, o ONCOptions) {
	host, o = o.plain(host)
	groups := map[endpoint.Endpoint][]*Entry{}
	var order []endpoint.Endpoint
	for i := range entries {
		e := &entries[i]
		e.State, e.Why, e.Time, e.Low, e.High = NotTried, o.cannotTry(host, e.Endpoint), 0, 0, 0
		if e.Why != "" {
			continue
		}
		if groups[e.Endpoint] == nil {
			order = append(order, e.Endpoint)
		}
		groups[e.Endpoint] = append(groups[e.Endpoint], e)
	}
	begun := p.together(ctx, len(order), func(i int) netip.Addr { return placeOf(host, order[i]) }, func(i int, s *seat) {
		tryTogether(ctx, s, groups[order[i]])
	})
	for _, at := range order[begun:] {
		for _, e := range groups[at] {
			e.State, e.Why = p.judge(ctx, ctx.Err())
		}
	}
}

// cannotTry returns why an endpoint of the host is not called; "" if it is.
func (o ONCOptions) cannotTry(host netip.Addr, at endpoint.Endpoint) string {
	addr := at.Addr.Addr()
	switch {
	case at.NetID == rpcbind.Local && (!o.Here || !hasLocal):
		return "a local socket of that host"
	case at.NetID == rpcbind.Local && at.Validate() != nil:
		return "no path of a socket"
	case at.NetID == rpcbind.Local:
		return ""
	case at.NetID == 0:
		return "a transport that is not known"
	case !addr.IsValid():
		return "an address that cannot be read"
	case at.Addr.Port() == 0:
		return "port 0"
	case addr.IsUnspecified() && addr.Is4():
		return "no IPv4 address of the host is known"
	case addr.IsUnspecified():
		return "no IPv6 address of the host is known"
	case addr.IsLoopback() && !o.isHost(host, addr):
		return "only the host itself reaches its loopback address"
	case isNoHost(addr):
		return "the address of no host"
	case !o.isHost(host, addr) && !o.Foreign:
		return "not the address that was asked, and perhaps of another host"
	}
	return ""
}

// isNoHost tells whether an address is one of many hosts.
func isNoHost(addr netip.Addr) bool {
	return addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// tryTogether calls the entries of one endpoint, one after the other over as few connections as
// the server allows.
func tryTogether(ctx context.Context, s *seat, group []*Entry) {
	t := trial{seat: s, at: group[0].Endpoint}
	defer t.close()
	ranges := map[uint32]versionRange{}
	var silence error // what became of the first, when nobody has answered
	answered := false
	for _, e := range group {
		err := silence
		if err == nil {
			e.Time, err = t.null(ctx, e.Program, e.Version)
			answered = answered || e.Time > 0
		}
		e.State, e.Why = s.p.judge(ctx, err)
		var refused *oncrpc.ReplyError
		if errors.As(err, &refused) && refused.Reply.Stat == oncrpc.MsgAccepted && refused.Reply.Accept == oncrpc.ProcUnavail {
			e.State, e.Why = Listening, "it has no procedure 0"
		}
		if !answered && (e.State == Filtered || e.State == NotListening || e.State == Failed || errors.Is(err, errSilent)) {
			silence = err // the port is the same for all: nobody has to wait for each
		}
		_, known := ranges[e.Program]
		switch low, high, ok := mismatch(err); {
		case ok:
			ranges[e.Program] = versionRange{low, high}
		case e.State == Listening && !known:
			ranges[e.Program] = t.versions(ctx, e.Program)
		}
	}
	for _, e := range group {
		if e.Time > 0 {
			e.Low, e.High = ranges[e.Program].low, ranges[e.Program].high
		}
	}
}

// mismatch returns the versions that a server said it has when it refused another.
func mismatch(err error) (low, high uint32, ok bool) {
	var refused *oncrpc.ReplyError
	if !errors.As(err, &refused) || refused.Reply.Stat != oncrpc.MsgAccepted || refused.Reply.Accept != oncrpc.ProgMismatch {
		return 0, 0, false
	}
	return refused.Reply.Low, refused.Reply.High, true
}

// A versionRange is what a server says of its versions; the zero value is nothing.
type versionRange struct{ low, high uint32 }

func (v versionRange) String() string {
	if v.low == v.high {
		return fmt.Sprintf("version %d", v.low)
	}
	return fmt.Sprintf("versions %d to %d", v.low, v.high)
}

// maxNull is more bytes than any answer to procedure 0 has. Hundreds may be awaited.
const maxNull = 2048

// A trial calls an endpoint, with a new connection when one is needed.
type trial struct {
	seat *seat // of all its connections, which follow one another
	at   endpoint.Endpoint
	c    *caller
}

func (t *trial) close() {
	if t.c != nil {
		t.c.close()
		t.c = nil
	}
}

// null calls procedure 0 and returns how long the answer, also a refusal, took.
func (t *trial) null(ctx context.Context, program, version uint32) (time.Duration, error) {
	for {
		fresh := t.c == nil || t.c.broken
		if fresh {
			t.close()
			var err error
			if t.c, err = t.seat.caller(ctx, t.at, maxNull); err != nil {
				t.c = nil
				return 0, err
			}
		}
		t.c.took = 0
		err := t.c.null(ctx, program, version)
		if t.c.broken && !fresh && t.c.took == 0 && StateOf(err) == Wrong {
			continue // a server may take one call per connection
		}
		return t.c.took, err
	}
}

// versions asks a program that answers which versions it has, as rpcinfo does: by calling
// those that it hardly has.
func (t *trial) versions(ctx context.Context, program uint32) versionRange {
	for _, version := range []uint32{0, math.MaxUint32} {
		_, err := t.null(ctx, program, version)
		if low, high, ok := mismatch(err); ok {
			return versionRange{low, high}
		}
		if err != nil {
			return versionRange{}
		}
	}
	return versionRange{0, math.MaxUint32} // it answers to every version
}
