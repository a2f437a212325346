package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/follow"
)

// A Pinhole is a way through the firewall from one host to one port of another, which ends by itself.
type Pinhole struct {
	By       follow.Side // who connects: the client, or the server
	From     netip.Addr
	To       netip.AddrPort
	Protocol uint8         // of IP: 6 is TCP, 17 UDP
	Once     bool          // the first packet closes it; its connection goes on
	Lifetime time.Duration // from when it was last opened

	Interface endpoint.Interface // what is there; zero: none
	For       string             // what it is for, for people
	Session   uint64             // the control channel that it came of; 0: not known

	// Outside is the address and port of this host that stand for To where addresses are translated and To is a
	// client's; zero: none do.
	Outside netip.AddrPort
}

// client and server return whose pinhole p is.
func (p *Pinhole) client() netip.Addr {
	if p.By == follow.Client {
		return p.From
	}
	return p.To.Addr()
}

func (p *Pinhole) server() netip.Addr {
	if p.By == follow.Client {
		return p.To.Addr()
	}
	return p.From
}

// check returns nil for what nftables can hold.
func (p *Pinhole) check() error {
	to := p.To.Addr()
	switch {
	case !p.From.IsValid() || !to.IsValid() || p.From.Is4In6() || to.Is4In6() || p.From.Zone() != "" || to.Zone() != "":
		return fmt.Errorf("gate: pinhole from %s to %s: want plain addresses", p.From, p.To)
	case p.From.Is4() != to.Is4():
		return fmt.Errorf("gate: pinhole from %s to %s: they are of two families", p.From, p.To)
	case p.To.Port() == 0:
		return fmt.Errorf("gate: pinhole from %s to %s: there is no port 0", p.From, p.To)
	case p.Protocol != tcp && p.Protocol != udp:
		return fmt.Errorf("gate: pinhole of protocol %d: want 6 or 17", p.Protocol)
	case p.Lifetime < minLifetime || p.Lifetime > maxLifetime:
		return fmt.Errorf("gate: pinhole for %s: want 1s to 1h", p.Lifetime)
	case p.Outside.IsValid() && (p.Outside.Addr().Is4() != to.Is4() || p.Outside.Addr().Is4In6() || p.Outside.Port() == 0):
		return fmt.Errorf("gate: pinhole to %s by way of %s: want an address and port of its family", p.To, p.Outside)
	}
	return nil
}

func (p *Pinhole) String() string {
	return fmt.Sprintf("%s to %s %s", p.From, transportName(p.Protocol), p.To)
}

// An Opened is a pinhole that is open, or was used up and not yet forgotten.
type Opened struct {
	Pinhole
	Since time.Time // when it was last opened; of one that an earlier gate opened, about then
	Ends  time.Time
	Used  uint64 // connections that came through
}

// Errors of opening pinholes.
var (
	ErrPort      = errors.New("the policy does not let this port be promised")
	ErrPinholes  = errors.New("there are as many pinholes as the limits allow")
	ErrPerClient = errors.New("the client has as many pinholes as the limits allow")
	ErrPerServer = errors.New("there are as many pinholes to the server as the limits allow")
	ErrOutside   = errors.New("the address and port stand for another client's already")
	ErrStopped   = errors.New("the gate is stopping")
)
