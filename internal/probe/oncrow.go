package probe

import (
	"fmt"
	"net/netip"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A teller is a port mapper whose words become entries, with what is wrong with them in the report.
type teller struct {
	host    netip.Addr
	options ONCOptions
	report  *Report
}

// row returns the entry for a row of version 3 or 4.
func (t teller) row(row rpcbind.RPCB) Entry {
	e := Entry{Interface: endpoint.Program(row.Program, row.Version), Owner: row.Owner}
	netid, ok := rpcbind.ParseNetID(row.NetID)
	if !ok {
		e.Told = row.Address
		t.wrong(&e, fmt.Sprintf("the netid %q is not known", row.NetID), "it tells the netid %q for %s, which is not known", row.NetID, programName(e))
		return e
	}
	e.NetID = netid
	t.address(&e, row.Address)
	return e
}

// mapping returns the entry for a row of version 2, which has no address.
func (t teller) mapping(m rpcbind.Mapping) Entry {
	e := Entry{Interface: endpoint.Program(m.Program, m.Version)}
	netid, ok := rpcbind.NetIDOf(m.Protocol)
	if !ok {
		e.Told = fmt.Sprintf("port %d", m.Port)
		t.wrong(&e, fmt.Sprintf("the protocol %d is not known", m.Protocol), "it tells the protocol %d for %s: TCP is 6, UDP is 17", m.Protocol, programName(e))
		return e
	}
	e.NetID = netid
	if m.Port > 65535 {
		e.Told = fmt.Sprintf("port %d", m.Port)
		t.wrong(&e, "there is no such port", "it tells port %d for %s on %s, and the last port is 65535", m.Port, programName(e), e.NetID)
		return e
	}
	any := endpoint.Everywhere(netid)
	e.Addr = netip.AddrPortFrom(t.options.address(t.host, any), uint16(m.Port))
	t.port(&e)
	return e
}

// address sets where the entry can be called to what a universal address says.
func (t teller) address(e *Entry, uaddr string) {
	at, err := endpoint.FromUniversalAddress(e.NetID, uaddr)
	if err != nil {
		e.Told = uaddr
		t.wrong(e, fmt.Sprintf("%q is no address", uaddr), "it tells %q for %s on %s, which is no address", uaddr, programName(*e), e.NetID)
		return
	}
	e.Endpoint = at
	if !e.NetID.IsIP() {
		if err := at.Validate(); err != nil {
			t.wrong(e, err.Error(), "it tells %q for %s on %s, which is no path of a socket", uaddr, programName(*e), e.NetID)
		}
		return
	}
	addr := at.Addr.Addr()
	switch {
	case addr.Is4() != e.NetID.IsIPv4():
		t.wrong(e, fmt.Sprintf("%s is no address of %s", addr, e.NetID), "it tells the address %s for %s on %s, which is of the other family", addr, programName(*e), e.NetID)
	case isNoHost(addr):
		t.wrong(e, fmt.Sprintf("%s is the address of no host", addr), "it tells the address %s for %s on %s, which is that of no host", addr, programName(*e), e.NetID)
	case addr.IsUnspecified():
		addr = t.options.address(t.host, addr)
	case addr == t.host.WithZone(""):
		addr = t.host // an address of a link needs the zone, which universal addresses do not have
	}
	if addr != at.Addr.Addr() {
		e.Told = uaddr
		e.Addr = netip.AddrPortFrom(addr, at.Addr.Port())
	}
	t.port(e)
}

func (t teller) port(e *Entry) {
	if e.Addr.Port() == 0 {
		t.wrong(e, "port 0", "it tells port 0 for %s on %s", programName(*e), e.NetID)
	}
}

// wrong notes what is wrong with a row, there in short and in the report in full.
func (t teller) wrong(e *Entry, short, format string, args ...any) {
	e.Problems = append(e.Problems, short)
	t.report.problem(format, args...)
}

// programName returns what people call a program and version.
func programName(e Entry) string {
	if known, ok := catalog.Builtin().Program(e.Program); ok {
		return fmt.Sprintf("%s %d", known.Name, e.Version)
	}
	return fmt.Sprintf("program %d version %d", e.Program, e.Version)
}
