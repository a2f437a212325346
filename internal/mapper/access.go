package mapper

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// strangerReply is the most bytes of an answer in a datagram to another host:
// of the longest to GETADDR. Else who writes another's address under a question
// could have it sent much more than the question.
const strangerReply = 24 + 4 + 48

// SetDumpers says which networks may have everything told at once (DUMP, GETSTAT,
// ept_lookup), over UDP as well; nil: all, but other hosts not over UDP. This host
// always may.
func (m *Shared) SetDumpers(networks *netipx.IPSet) { m.dumpers.Store(networks) }

func (m *Shared) mayDump(c *transport.Call) bool {
	return m.dumpers.Load() == nil || m.trusted(c)
}

// trusted tells whether who asks may have everything told over any transport:
// this host and the networks that were named.
func (m *Shared) trusted(c *transport.Call) bool {
	from, networks := c.Client.Addr(), m.dumpers.Load()
	return c.NetID == rpcbind.Local || networks != nil && networks.Contains(from) || m.Addresses.Ours(from)
}

// tooLarge tells whether an answer of so many bytes may not be sent.
func (m *ONC) tooLarge(q *question, n int) bool {
	if q.MaxReply == 0 || n <= strangerReply {
		return false
	}
	return n > q.MaxReply || !m.trusted(q.Call)
}

// Owners tells whose socket a call over loopback came from; *socktable.Table does.
type Owners interface {
	ConnectionOwner(client, server netip.AddrPort) (uid uint32, err error) // of the client's end of a TCP connection
	SenderOwner(client netip.AddrPort) (uid uint32, err error)             // of the socket a datagram came from
}

// errRemote: only this host may register.
var errRemote = errors.New("only over the local socket or loopback")

// claim returns who calls, as the kernel tells.
func (m *Shared) claim(call *transport.Call) (registry.Claim, error) {
	if p := call.Peer; p != nil {
		c := registry.Claim{Owner: endpoint.Owner{UID: p.UID}, PID: p.PID, Elsewhere: p.Elsewhere}
		c.Process = func() (*process.Process, error) {
			fd, err := p.PIDFD()
			if err != nil {
				return nil, err
			}
			return process.FromFD(p.PID, fd, 0), nil
		}
		return c, nil
	}
	if !call.Client.Addr().IsLoopback() {
		return registry.Claim{}, errRemote
	}
	uid, err := m.owner(call)
	if err != nil && m.TrustLowPorts && call.Client.Port() < privilegedPorts() {
		return registry.Claim{Owner: endpoint.Superuser}, nil
	}
	return registry.Claim{Owner: endpoint.Owner{UID: uid}}, err
}

// owner returns whose socket of this host a call came from.
func (m *Shared) owner(c *transport.Call) (uid uint32, err error) {
	switch {
	case m.Owners == nil:
		return 0, errors.New("the kernel cannot be asked who calls from this host")
	case c.NetID == rpcbind.TCP || c.NetID == rpcbind.TCP6:
		uid, err = m.Owners.ConnectionOwner(c.Client, c.Server)
		if err == nil && !c.Connected() { // what was found may be another connection
			err = fmt.Errorf("the connection from %s has ended", c.Client)
		}
		return uid, err
	}
	uid, err = m.Owners.SenderOwner(c.Client)
	if first := privilegedPorts(); err == nil && uid == endpoint.Superuser.UID && c.Client.Port() >= first {
		// The sender may have closed its socket, and root have its port by now.
		// Root's own clients send from ports that nobody else can have.
		err = fmt.Errorf("over UDP root calls from ports below %d", first)
	}
	return uid, err
}

// privilegedPorts returns the first port that needs no privileges, at most 1024:
// the setting is of this network namespace (ip-sysctl, ip_unprivileged_port_start).
func privilegedPorts() uint16 {
	const usual = 1024
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	if err != nil {
		return 0
	}
	return min(usual, uint16(n))
}
