package probe

import (
	"cmp"
	"context"
	"net/netip"
	"runtime"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// ONCOptions say what is known of a host whose port mapper is asked. The zero value is another
// host that is known by one address.
type ONCOptions struct {
	Port  uint16       // of the port mapper; 0: 111
	Addrs []netip.Addr // other addresses of the host, such as that of the other family
	Here  bool         // it is this host: its local sockets, and what listens on loopback only, can be reached

	Foreign bool // TryONC: also what is said to be at other hosts' addresses

	// Socket is the path of this host's local port mapper; "": /run/rpcbind.sock. The abstract
	// socket of that name is asked first.
	Socket string
}

// mapperSocket is where rpcbind listens on its own host.
const mapperSocket = "/run/rpcbind.sock"

// mapperVersions are those of the port mapper, in the order in which they are tried.
var mapperVersions = []uint32{rpcbind.Version4, rpcbind.Version3, rpcbind.Version2}

// ways returns where the port mapper is asked, in order: locally if it is this host's, then
// over TCP, then over UDP.
func (o ONCOptions) ways(host netip.Addr) []endpoint.Endpoint {
	return append(o.localWays(), o.at(host, rpcbind.TCP), o.at(host, rpcbind.UDP))
}

func (o ONCOptions) localWays() []endpoint.Endpoint {
	if !o.Here || !hasLocal {
		return nil
	}
	path := cmp.Or(o.Socket, mapperSocket)
	ways := []endpoint.Endpoint{{NetID: rpcbind.Local, Path: path}}
	if runtime.GOOS == "linux" {
		ways = append([]endpoint.Endpoint{{NetID: rpcbind.Local, Path: "@" + path}}, ways...)
	}
	return ways
}

// hasLocal tells whether there are local transports: Windows has such sockets, and no RPC on them.
const hasLocal = runtime.GOOS != "windows"

// at returns the port mapper at an address over TCP or UDP, with the netid of the address's family.
func (o ONCOptions) at(addr netip.Addr, n rpcbind.NetID) endpoint.Endpoint {
	if !addr.Is4() {
		n = map[rpcbind.NetID]rpcbind.NetID{rpcbind.TCP: rpcbind.TCP6, rpcbind.UDP: rpcbind.UDP6}[n]
	}
	return endpoint.Endpoint{NetID: n, Addr: netip.AddrPortFrom(addr, cmp.Or(o.Port, rpcbind.Port))}
}

// plain returns the host and the options with IPv4 addresses in their usual form: resolvers
// return them mapped into IPv6.
func (o ONCOptions) plain(host netip.Addr) (netip.Addr, ONCOptions) {
	var addrs []netip.Addr
	for _, a := range o.Addrs {
		addrs = append(addrs, a.Unmap())
	}
	o.Addrs = addrs
	return host.Unmap(), o
}

// isHost tells whether an address is known to be of the host.
func (o ONCOptions) isHost(host, addr netip.Addr) bool {
	return addr == host || slices.Contains(o.Addrs, addr) || (o.Here || host.IsLoopback()) && addr.IsLoopback()
}

// address returns an address of the host in the family of which any is one; any, which is
// 0.0.0.0 or ::, if none is known.
func (o ONCOptions) address(host, any netip.Addr) netip.Addr {
	for _, a := range append([]netip.Addr{host}, o.Addrs...) {
		if a.Is4() == any.Is4() {
			return a
		}
	}
	switch {
	case !o.Here && !host.IsLoopback():
		return any
	case any.Is4():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// ONC asks a host's port mapper for all that it knows: version 4, 3 or 2, by the first way
// that answers. Of what a mapper tells it keeps at most [MaxEntries] rows, and of their texts
// what 16 MiB of an answer can hold: together at most some 100 MB.
func (p *Prober) ONC(ctx context.Context, host netip.Addr, o ONCOptions) *Report {
	host, o = o.plain(host)
	r := &Report{Host: host, Dialect: endpoint.ONC}
	p.askONC(ctx, r, o.ways(host), mapperVersions, func(c *caller, version uint32) error {
		r.Entries, r.Cut = nil, false
		q := question{program: rpcbind.Program, version: version, proc: uint32(rpcbind.ProcDump), long: true}
		err := c.call(ctx, q, func(list *results) error { return p.readDump(list, version, teller{host, o, r}) })
		switch {
		case err != nil && len(r.Entries) > 0: // what was told until then is worth having
			_, why := p.judge(ctx, err)
			r.problem("its list breaks off after row %d: %s", len(r.Entries), why)
			r.Cut = true
		case err != nil:
			return err
		case r.Cut:
			c.broken = true // the rest of the list is still to come
		}
		return nil
	})
	return r
}

// readDump reads the list of a DUMP into the report.
func (p *Prober) readDump(list *results, version uint32, to teller) error {
	for {
		var more bool
		var e Entry
		err := list.next(func(x *xdr.Reader) {
			more = x.Bool()
			switch {
			case !more || x.Err() != nil || len(to.report.Entries) == MaxEntries:
			case version == rpcbind.Version2:
				if row := rpcbind.ReadMapping(x); x.Err() == nil {
					e = to.mapping(row)
				}
			default:
				if row := rpcbind.ReadRPCB(x); x.Err() == nil {
					e = to.row(row)
				}
			}
		})
		switch {
		case err != nil || !more:
			return err
		case len(to.report.Entries) == MaxEntries:
			to.report.Cut = true
			to.report.problem("it tells more than %d rows: the rest was not read", MaxEntries)
			return nil
		case !p.room(&e):
			to.report.Cut = true
			to.report.problem("all mappers together tell more than is read")
			return nil
		}
		to.report.Entries = append(to.report.Entries, e)
	}
}
