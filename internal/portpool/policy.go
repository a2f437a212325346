// Package portpool holds the policy by which Windows bounds the dynamic ports of
// RPC servers, the key HKEY_LOCAL_MACHINE\Software\Microsoft\Rpc\Internet (KB
// 154596; Win32, "Configuring the Windows Registry for Port Allocations and
// Selective Binding"; RPC_POLICY), as a value: what a file says of it, which ports
// it means, what is wrong with it, and the same for other programs.
//
// The policy is a list of ports and two letters. PortsInternetAvailable says whether the
// list is the Internet pool (Y) or the intranet pool (N); the other pool is every
// port that is not listed. UseInternetPorts says which pool servers get that do
// not ask for one. So Y with Y and N with N keep ordinary servers within the
// list, and Y with N and N with Y keep them out of it.
package portpool

import "github.com/quaymaster/quaymaster/portset"

// A Policy is a valid Rpc\Internet policy. A nil *Policy is none at all, which is
// how systems come: then preferences have no effect (RPC_POLICY).
type Policy struct {
	Ports                  []portset.Range // the list, in its order; entries may overlap
	PortsInternetAvailable bool            // Y: the list is the Internet pool. N: it is the intranet pool
	UseInternetPorts       bool            // Y: servers that state no preference get the Internet pool
}

// A Preference is what a server asks for in the member EndpointFlags of its
// RPC_POLICY. It counts for ncacn_ip_tcp and ncadg_ip_udp only.
type Preference uint8

// The preferences, with the values they have in EndpointFlags.
const (
	Default  Preference = 0 // what the policy says: the server is an ordinary one
	Internet Preference = 1 // RPC_C_USE_INTERNET_PORT
	Intranet Preference = 2 // RPC_C_USE_INTRANET_PORT
)

// String returns "default", "internet" or "intranet".
func (p Preference) String() string {
	switch p {
	case Internet:
		return "internet"
	case Intranet:
		return "intranet"
	}
	return "default"
}

// Choose returns the pool, Internet or Intranet, of a server with the preference.
func (p *Policy) Choose(of Preference) Preference {
	switch {
	case of != Default:
		return of
	case p.UseInternetPorts:
		return Internet
	}
	return Intranet
}

// Listed reports whether servers with the preference get ports that are listed.
// The others get ports that are not.
func (p *Policy) Listed(of Preference) bool {
	return (p.Choose(of) == Internet) == p.PortsInternetAvailable
}

// List returns the ports of the list, those that are never given out among them.
func (p *Policy) List() portset.Set { return portset.Of(p.Ports...) }

// Pool returns the ports that servers with the preference get: those listed, or
// those of dynamic that are not. Dynamic is the range from which the system gives
// ports to servers where there is no policy; all of it is the pool when p is nil.
// No pool has ports below 1024.
func (p *Policy) Pool(of Preference, dynamic portset.Set) portset.Set {
	pool := dynamic
	switch {
	case p == nil:
	case p.Listed(of):
		pool = p.List()
	default:
		pool = dynamic.Minus(p.List())
	}
	return pool.Intersect(unprivileged)
}

var (
	privileged   = portset.Of(portset.Range{First: 0, Last: 1023})
	unprivileged = portset.Of(portset.Range{First: 1024, Last: 65535})

	// From these Windows gives ports to servers and to outgoing connections
	// (KB 929851), unless netsh says otherwise.
	windows     = portset.Of(portset.Range{First: 49152, Last: 65535}) // Vista, 2008 and later
	windows2003 = portset.Of(portset.Range{First: 1025, Last: 5000})   // 2000, XP, 2003
)

// A Host is what a Linux host does with its ports.
type Host struct {
	Local    portset.Set // ip_local_port_range: outgoing connections get their ports from it
	Reserved portset.Set // ip_local_reserved_ports: what the kernel gives nobody who does not ask for it
}

// Dynamic returns the ports that servers on h get where there is no policy: those of Windows
// that the kernel does not give to outgoing connections. With the kernel's defaults
// that is 61000-65535.
func (h *Host) Dynamic() portset.Set { return windows.Minus(h.Outgoing()) }

// Outgoing returns the ports that the kernel gives to outgoing connections.
func (h *Host) Outgoing() portset.Set { return h.Local.Minus(h.Reserved) }
