package follow

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// reply is what becomes of an answer.
func (f *portmapper) reply(b []byte) (Step, *Refusal) {
	p, results, err := oncrpc.ParseReply(b)
	if err != nil {
		return Step{}, oncRefusal("syntax", "%v", err)
	}
	i := f.find(p.XID)
	if i < 0 {
		return Step{Refused: oncRefusal("state", "answer to a call that was not passed on or has one, xid %#x", p.XID)}, nil
	}
	c := f.calls[i]
	f.calls = slices.Delete(f.calls, i, i+1)
	header := b[: len(b)-len(results) : len(b)-len(results)]
	if p.Err() != nil {
		return Step{To: Client, Data: f.frame(header)}, nil // nothing follows an error
	}
	told := list{policy: &f.policy}
	results, err = f.results(c, results, &told)
	if err != nil {
		return f.answer(oncrpc.AppendAccepted(nil, c.xid, oncrpc.SystemErr), refuse("syntax", c.asked, "results of %s: %v", c.name(), err)), nil
	}
	s := Step{To: Client, Data: f.frame(append(header, results...)), Promises: told.promises, Refused: told.refusal()}
	if len(s.Promises) > 0 {
		s.Else, s.ElseTo = f.frame(f.nothing(c)), Client
	}
	return s, nil
}

// results returns the results of a successful call as they are told to the client.
func (f *portmapper) results(c oncCall, b []byte, told *list) ([]byte, error) {
	r := xdr.NewReader(b)
	switch {
	case c.isGetPort():
		port := r.Uint32()
		if r.Err() == nil && !f.portMayBeTold(c, port, told) {
			port = 0
		}
		return xdr.AppendUint32(nil, port), r.Err()
	case c.isGetAddr():
		address := r.String(rpcbind.MaxAddress)
		if err := r.Err(); err != nil {
			return nil, err
		}
		return xdr.AppendString(nil, f.address(c, address, told)), nil
	case c.isGetAddrList():
		return f.entries(c, b, told)
	case c.procedure == rpcbind.ProcNull: // the only one that is passed on in versions that there are none of
		return nil, nil
	case c.procedure == rpcbind.ProcDump && c.version == rpcbind.Version2:
		return f.mappings(b, told)
	case c.procedure == rpcbind.ProcDump:
		return f.rows(b, told)
	}
	return harmless(c, b)
}

// harmless returns results that name no port of a server, without what may follow them.
func harmless(c oncCall, b []byte) ([]byte, error) {
	r := xdr.NewReader(b)
	switch c.procedure {
	case rpcbind.ProcGetTime:
		return xdr.AppendUint32(nil, r.Uint32()), r.Err()
	case rpcbind.ProcTAddr2UAddr:
		return xdr.AppendOpaque(nil, r.Opaque(rpcbind.MaxAddress)), r.Err()
	case rpcbind.ProcUAddr2TAddr:
		n, err := rpcbind.ParseNetBuf(b)
		return n.Append(nil), err
	case rpcbind.ProcGetStat:
		s, err := rpcbind.ParseStats(b)
		return s.Append(nil), err
	}
	return nil, fmt.Errorf("%s has none that can be read", c.name())
}

// portMayBeTold decides about the port that was answered to c, and promises it.
func (f *portmapper) portMayBeTold(c oncCall, port uint32, told *list) bool {
	switch {
	case port == 0:
		return true
	case port > 0xffff:
		told.refuse(refuse("syntax", c.asked, "port %d", port))
		return false
	}
	return told.add(c.asked, c.protocol, uint16(port))
}

// address returns the universal address to tell in the place of the one that was answered to c.
func (f *portmapper) address(c oncCall, address string, told *list) string {
	if address == "" {
		return ""
	}
	a, refused := f.own(c.asked, address)
	switch {
	case refused != nil:
		told.refuse(refused)
		return ""
	case !told.add(c.asked, c.protocol, a.Port()):
		return ""
	}
	return rpcbind.UniversalAddress(netip.AddrPortFrom(f.policy.Ends[Server].Addr(), a.Port()))
}

// own reads a universal address of the server: its own as the client sees it, or none in particular.
func (f *portmapper) own(i endpoint.Interface, address string) (netip.AddrPort, *Refusal) {
	a, err := rpcbind.ParseUniversalAddress(address)
	server := f.policy.Ends[Server].Addr()
	switch {
	case err != nil:
		return a, refuse("syntax", i, "%v", err)
	case a.Port() == 0:
		return a, refuse("syntax", i, "universal address %q: port 0", address)
	case a.Addr().Is4() != server.Is4(), !a.Addr().IsUnspecified() && a.Addr() != server:
		return a, refuse("address", i, "%s was told, which is not %s that was asked", a.Addr(), server)
	}
	return a, nil
}

// mappings returns the rows of a version 2 dump that may be told.
func (f *portmapper) mappings(b []byte, told *list) ([]byte, error) {
	rows, err := rpcbind.ParseMappings(b)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, m := range rows {
		i := endpoint.Program(m.Program, m.Version)
		if _, ok := rpcbind.NetIDOf(m.Protocol); !ok || m.Port == 0 || m.Port > 0xffff {
			told.refuse(refuse("syntax", i, "row with protocol %d, port %d", m.Protocol, m.Port))
			continue
		}
		if told.add(i, uint8(m.Protocol), uint16(m.Port)) {
			all = m.Append(rpcbind.AppendNext(all))
		}
	}
	return rpcbind.AppendEnd(all), nil
}

// rows returns the rows of a dump of version 3 or 4 that may be told.
func (f *portmapper) rows(b []byte, told *list) ([]byte, error) {
	rows, err := rpcbind.ParseRPCBs(b)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, m := range rows {
		if f.rowMayBeTold(m, told) {
			all = m.Append(rpcbind.AppendNext(all))
		}
	}
	return rpcbind.AppendEnd(all), nil
}

// rowMayBeTold decides about a row of a dump. Those of another family or of the local transport are for people: nothing is
// promised for them, and they name no address of any host.
func (f *portmapper) rowMayBeTold(m rpcbind.RPCB, told *list) bool {
	i := endpoint.Program(m.Program, m.Version)
	netid, ok := rpcbind.ParseNetID(m.NetID)
	if !ok {
		told.refuse(refuse("syntax", i, "row of the unknown transport %q", m.NetID))
		return false
	}
	if protocol := f.protocol(netid); protocol != 0 {
		a, refused := f.own(i, m.Address)
		if refused != nil {
			told.refuse(refused)
			return false
		}
		return told.add(i, protocol, a.Port())
	}
	if !f.policy.allows(i) {
		told.refuse(refuse("interface", i, "%v may not be looked up", i))
		return false
	}
	if a, err := rpcbind.ParseUniversalAddress(m.Address); netid.IsIP() && (err != nil || !a.Addr().IsUnspecified()) {
		told.refuse(refuse("address", i, "row of %s with the address %q", netid, m.Address))
		return false
	}
	return true
}

// protocol returns the protocol of a transport of the channel's family; 0 for others.
func (f *portmapper) protocol(n rpcbind.NetID) uint8 {
	switch n {
	case f.netids[0]:
		return protocolTCP
	case f.netids[1]:
		return protocolUDP
	}
	return 0
}

// entries returns those results of GETADDRLIST that may be told.
func (f *portmapper) entries(c oncCall, b []byte, told *list) ([]byte, error) {
	entries, err := rpcbind.ParseEntries(b)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, e := range entries {
		netid, _ := rpcbind.ParseNetID(e.NetID)
		c.protocol = f.protocol(netid)
		if c.protocol == 0 {
			told.refuse(refuse("address", c.asked, "address on the transport %q", e.NetID))
			continue
		}
		if e.Address = f.address(c, e.Address, told); e.Address != "" {
			all = e.Append(rpcbind.AppendNext(all))
		}
	}
	return rpcbind.AppendEnd(all), nil
}
