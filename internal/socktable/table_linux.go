package socktable

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Table is the kernel's table of sockets, that of the network namespace in
// which it was opened. Its methods may be called from any goroutine.
type Table struct {
	lookups, dumps conn         // two, so that a lookup, which is short, does not wait for a dump
	fromProc       bool         // unix_diag is missing
	tcp, udp       atomic.Int64 // how many sockets the last snapshot had
}

// Open returns the table, which the caller must close. It fails where the kernel
// does not list the sockets of TCP and UDP.
func Open() (*Table, error) {
	t := &Table{}
	if err := t.open(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// open tries what the kernel can do.
func (t *Table) open() error {
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		if err := t.dump(inetRequest{family: unix.AF_INET, protocol: protocol}, func(inetSocket) {}); err != nil {
			if errors.Is(err, unix.ENOENT) {
				err = fmt.Errorf("%w: the kernel lacks inet_diag (modprobe tcp_diag udp_diag)", err)
			}
			return err
		}
	}
	_, err := t.local()
	if errors.Is(err, unix.ENOENT) {
		t.fromProc = true
		_, err = t.local()
	}
	return err
}

// Close frees what the table holds; from then on the methods fail.
func (t *Table) Close() error {
	t.lookups.close()
	t.dumps.close()
	return nil
}

// Snapshot returns every socket of the host that receives. The kernel lists them
// piece by piece: one that is bound or closed meanwhile may be there or not, and
// rarely one is left out that stays, since its place in the list has changed. So
// what is missing here is to be asked for with [Table.At] before it is believed.
func (t *Table) Snapshot() (*Snapshot, error) {
	tcp, err := t.everyReceiver(unix.IPPROTO_TCP, &t.tcp)
	if err != nil {
		return nil, err
	}
	udp, err := t.everyReceiver(unix.IPPROTO_UDP, &t.udp)
	if err != nil {
		return nil, err
	}
	local, err := t.local()
	if err != nil {
		return nil, err
	}
	return newSnapshot(tcp, udp, local, look), nil
}

// At returns sockets that receive what is sent to a valid endpoint, none if there
// is none. It need not be all of them: once the kernel has named one to which it
// would deliver, others at the same port are not looked for.
func (t *Table) At(e endpoint.Endpoint) ([]Socket, error) {
	if !e.NetID.IsIP() {
		local, err := t.local()
		if err != nil {
			return nil, err
		}
		return newSnapshot(nil, nil, local, look).At(e), nil
	}
	protocol := protocolOf(e.NetID)
	found, ok, err := t.lookup(protocol, e.Addr, netip.AddrPort{}, 0)
	if err != nil {
		return nil, err
	}
	if s, receives := found.receiver(protocol); ok && receives && s.backs(e) {
		return []Socket{s}, nil
	}
	// The kernel has looked for what gets a packet to just this address, wildcard
	// or not, that comes from no interface. A socket at another of our addresses,
	// or bound to an interface, as all at link-local addresses are, has to be
	// listed.
	families := bothFamilies
	if e.NetID.IsIPv6() {
		families = onlyIPv6
	}
	sockets, err := t.receivers(nil, protocol, families, e.Addr.Port())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(sockets, func(s Socket) bool { return !s.backs(e) }), nil
}

func protocolOf(n rpcbind.NetID) uint8 {
	if n == rpcbind.TCP || n == rpcbind.TCP6 {
		return unix.IPPROTO_TCP
	}
	return unix.IPPROTO_UDP
}

// What is sent to an IPv4 address may be for a socket of IPv6, but not the other way round.
var (
	bothFamilies = []uint8{unix.AF_INET, unix.AF_INET6}
	onlyIPv6     = []uint8{unix.AF_INET6}
)

// lookup asks for the socket of a protocol that gets what arrives at local from
// remote, on an interface by its index; zero is none. It may have other ends: one
// that listens, or is not connected, gets what nobody else does.
func (t *Table) lookup(protocol uint8, local, remote netip.AddrPort, device uint32) (s inetSocket, ok bool, err error) {
	r := inetRequest{family: unix.AF_INET6, protocol: protocol, states: anyState, source: local, dest: remote, device: device}
	if local.Addr().Is4() {
		r.family = unix.AF_INET
	}
	if protocol == unix.IPPROTO_UDP { // where the kernel takes the ends as those of a datagram that comes in
		r.source, r.dest = remote, local
	}
	request := r.bytes()
	err = t.lookups.ask(0, request[:], func(answer []byte) (err error) {
		s, err = parseInet(answer)
		return err
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return inetSocket{}, false, nil
	case err != nil:
		return inetSocket{}, false, fmt.Errorf("socktable: looking for the socket at %s: %w", local, err)
	}
	return s, true, nil
}

// everyReceiver lists the sockets of a protocol that receive, into a slice that
// has room for a few more than there were last time.
func (t *Table) everyReceiver(protocol uint8, last *atomic.Int64) ([]Socket, error) {
	n := last.Load()
	all, err := t.receivers(make([]Socket, 0, n+n/8), protocol, bothFamilies, 0)
	if err == nil {
		last.Store(int64(len(all)))
	}
	return all, err
}

// receivers appends to all the sockets of a protocol and some families that
// receive at a port; 0 is any.
func (t *Table) receivers(all []Socket, protocol uint8, families []uint8, port uint16) ([]Socket, error) {
	for _, family := range families {
		r := inetRequest{
			family: family, protocol: protocol, states: receiving(protocol).alone(),
			source: netip.AddrPortFrom(netip.Addr{}, port),
		}
		err := t.dump(r, func(s inetSocket) {
			if s, ok := s.receiver(protocol); ok {
				all = append(all, s)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// dump calls each for the sockets of a family and protocol that are in one of the
// states and have the ports.
func (t *Table) dump(r inetRequest, each func(inetSocket)) error {
	request := r.bytes()
	err := t.dumps.ask(unix.NLM_F_DUMP, request[:], func(answer []byte) error {
		s, err := parseInet(answer)
		if err == nil {
			each(s)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("socktable: listing sockets: %w", err)
	}
	return nil
}
