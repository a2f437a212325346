package endpoint_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func at(n rpcbind.NetID, addr string) endpoint.Endpoint {
	return endpoint.Endpoint{NetID: n, Addr: netip.MustParseAddrPort(addr)}
}

func local(path string) endpoint.Endpoint {
	return endpoint.Endpoint{NetID: rpcbind.Local, Path: path}
}

// dce returns the endpoint of a protocol sequence with a port.
func dce(p epm.ProtSeq, addr string) endpoint.Endpoint {
	return endpoint.At(p, netip.MustParseAddrPort(addr))
}

// named returns the endpoint of a protocol sequence without ports.
func named(p epm.ProtSeq, name string) endpoint.Endpoint {
	return endpoint.Endpoint{ProtSeq: p, Path: name}
}

// What tests are about: the minor version of drsuapi is made up.
var (
	winreg  = endpoint.FromSyntax(dcerpc.Syntax{UUID: ndr.MustParseUUID("338cd001-2244-31f1-aaaa-900038001003"), Major: 1})
	drsuapi = endpoint.FromSyntax(dcerpc.Syntax{UUID: ndr.MustParseUUID("e3514235-4b06-11d1-ab04-00c04fc2dcd2"), Major: 4, Minor: 10})
	object  = ndr.MustParseUUID("6d9fe472-30f1-4708-8fa8-678362b96155")
)

func TestValidate(t *testing.T) {
	both := at(rpcbind.TCP, "192.0.2.1:111")
	both.Path = "/run/x.sock"
	localWithPort := local("/run/x.sock")
	localWithPort.Addr = netip.MustParseAddrPort("192.0.2.1:111")
	for _, tt := range []struct {
		name string
		e    endpoint.Endpoint
		want string // part of the error; empty for none
	}{
		{"tcp", at(rpcbind.TCP, "192.0.2.1:111"), ""},
		{"udp on every address", at(rpcbind.UDP, "0.0.0.0:1"), ""},
		{"tcp6", at(rpcbind.TCP6, "[2001:db8::1]:65535"), ""},
		{"udp6 on every address", at(rpcbind.UDP6, "[::]:111"), ""},
		{"link-local", at(rpcbind.TCP6, "[fe80::1]:111"), ""},
		{"path", local("/run/x.sock"), ""},
		{"abstract name", local("@x"), ""},
		{"path with a blank", local("/run/a b"), ""},
		{"longest path", local("/" + strings.Repeat("x", endpoint.MaxPath-1)), ""},

		{"nothing", endpoint.Endpoint{}, "unknown transport NetID(0)"},
		{"unknown transport", at(99, "192.0.2.1:111"), "unknown transport NetID(99)"},
		{"no address", endpoint.Endpoint{NetID: rpcbind.TCP}, "tcp needs an address and a port"},
		{"IPv6 on tcp", at(rpcbind.TCP, "[::1]:111"), "::1 is no address of tcp"},
		{"IPv4 on udp6", at(rpcbind.UDP6, "127.0.0.1:111"), "127.0.0.1 is no address of udp6"},
		{"mapped on tcp6", at(rpcbind.TCP6, "[::ffff:192.0.2.1]:111"), "::ffff:192.0.2.1 is no address of tcp6"},
		{"mapped on tcp", at(rpcbind.TCP, "[::ffff:192.0.2.1]:111"), "::ffff:192.0.2.1 is no address of tcp"},
		{"scope id", at(rpcbind.TCP6, "[fe80::1%eth0]:111"), "scope ids cannot be registered"},
		{"port 0", at(rpcbind.TCP, "192.0.2.1:0"), "port 0 cannot be registered"},
		{"address and path", both, "tcp has no path"},
		{"no path", local(""), `path "" does not begin with / or @`},
		{"relative path", local("x.sock"), `path "x.sock" does not begin with / or @`},
		{"root folder", local("/"), "path of 1 bytes; 2 to 107 are possible"},
		{"empty abstract name", local("@"), "path of 1 bytes; 2 to 107 are possible"},
		{"path too long", local("/" + strings.Repeat("x", endpoint.MaxPath)), "path of 108 bytes; 2 to 107 are possible"},
		{"control in a path", local("/run/\x1b[31m"), `path "/run/\x1b[31m" is not printable`},
		{"line end in a path", local("/run/\n"), `path "/run/\n" is not printable`},
		{"path that is not UTF-8", local("/run/\xff"), `path "/run/\xff" is not printable`},
		{"path and port", localWithPort, "local has no address and port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkError(t, "Validate", tt.e.Validate(), tt.want)
		})
	}
}

func TestValidateDCE(t *testing.T) {
	with := func(e endpoint.Endpoint, change func(*endpoint.Endpoint)) endpoint.Endpoint {
		change(&e)
		return e
	}
	const ipv4 = ": the endpoint mapper tells IPv4 addresses only; 0.0.0.0 is every address, of both families"
	for _, tt := range []struct {
		name string
		e    endpoint.Endpoint
		want string // the end of the error; empty for none
	}{
		{"tcp", dce(epm.TCP, "10.0.0.5:50001"), ""},
		{"tcp on every address", dce(epm.TCP, "0.0.0.0:65535"), ""},
		{"udp", dce(epm.UDP, "10.0.0.5:1"), ""},
		{"http", dce(epm.HTTP, "10.0.0.5:593"), ""},
		{"pipe", named(epm.NP, `\pipe\winreg`), ""},
		{"pipe of another host", named(epm.NP, `\\FS1\pipe\winreg`), ""},
		{"longest pipe", named(epm.NP, `\`+strings.Repeat("x", endpoint.MaxPipe-1)), ""},
		{"name", named(epm.LRPC, "epmapper"), ""},
		{"name with a blank", named(epm.LRPC, "LRPC 2f"), ""},
		{"name that looks like a pipe", named(epm.LRPC, `\pipe\winreg`), ""},
		{"longest name", named(epm.LRPC, strings.Repeat("x", endpoint.MaxPipe)), ""},

		{"IPv6", with(dce(epm.TCP, "0.0.0.0:1"), func(e *endpoint.Endpoint) { e.Addr = netip.MustParseAddrPort("[2001:db8::1]:50001") }), "2001:db8::1" + ipv4},
		{"IPv6 on every address", dce(epm.UDP, "[::]:50001"), "::" + ipv4},
		{"mapped", dce(epm.HTTP, "[::ffff:10.0.0.5]:593"), "::ffff:10.0.0.5" + ipv4},
		{"port 0", dce(epm.TCP, "10.0.0.5:0"), "10.0.0.5:0: port 0 cannot be registered"},
		{"tcp without an address", endpoint.At(epm.TCP, netip.AddrPort{}), "tcp needs an address and a port"},
		{"http without an address", endpoint.At(epm.HTTP, netip.AddrPort{}), "http needs an address and a port"},
		{"tcp with a path", with(dce(epm.TCP, "10.0.0.5:1"), func(e *endpoint.Endpoint) { e.Path = `\pipe\x` }), "tcp has no path"},
		{"http with a path", with(dce(epm.HTTP, "10.0.0.5:1"), func(e *endpoint.Endpoint) { e.Path = "x" }), "http has no path"},
		{"http over udp", with(dce(epm.HTTP, "10.0.0.5:1"), func(e *endpoint.Endpoint) { e.NetID = rpcbind.UDP }), "unknown protocol sequence ncacn_http on udp"},
		{"tcp over tcp6", with(dce(epm.TCP, "10.0.0.5:1"), func(e *endpoint.Endpoint) { e.NetID = rpcbind.TCP6 }), "unknown protocol sequence ncacn_ip_tcp on tcp6"},
		{"pipe over local", with(named(epm.NP, `\pipe\x`), func(e *endpoint.Endpoint) { e.NetID = rpcbind.Local }), "unknown protocol sequence ncacn_np on local"},
		{"unknown protocol sequence", named(99, "x"), "unknown protocol sequence ProtSeq(99)"},
		{"pipe without a name", named(epm.NP, ""), "np: name of 0 bytes; 1 to 255 are possible"},
		{"pipe with a slash", named(epm.NP, "/pipe/winreg"), `np: pipe "/pipe/winreg" does not begin with \, as \pipe\winreg does`},
		{"pipe too long", named(epm.NP, `\`+strings.Repeat("x", endpoint.MaxPipe)), "np: name of 256 bytes; 1 to 255 are possible"},
		{"control in a pipe", named(epm.NP, "\\pipe\\\x1b[31m"), `np: name "\\pipe\\\x1b[31m" is not printable`},
		{"pipe that is not UTF-8", named(epm.NP, "\\pipe\\\xff"), `np: name "\\pipe\\\xff" is not printable`},
		{"pipe and port", with(named(epm.NP, `\pipe\x`), func(e *endpoint.Endpoint) { e.Addr = netip.MustParseAddrPort("10.0.0.5:445") }), "np has no address and port"},
		{"no name", named(epm.LRPC, ""), "lrpc: name of 0 bytes; 1 to 255 are possible"},
		{"name too long", named(epm.LRPC, strings.Repeat("x", endpoint.MaxPipe+1)), "lrpc: name of 256 bytes; 1 to 255 are possible"},
		{"NUL in a name", named(epm.LRPC, "a\x00b"), `lrpc: name "a\x00b" is not printable`},
		{"turned name", named(epm.LRPC, "a\u202eb"), `lrpc: name "a\u202eb" is not printable`},
		{"name and address", with(named(epm.LRPC, "x"), func(e *endpoint.Endpoint) { e.Addr = netip.MustParseAddrPort("10.0.0.5:0") }), "lrpc has no address and port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkError(t, "Validate", tt.e.Validate(), tt.want)
		})
	}
}

// checkError fails the test unless the text of err ends in want, or both are nothing.
func checkError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil && want == "" || err != nil && want != "" && strings.HasSuffix(err.Error(), want) {
		return
	}
	t.Errorf("%s = %v, want an error that ends in %q", what, err, want)
}

func TestUniversalAddress(t *testing.T) {
	for _, tt := range []struct {
		netid rpcbind.NetID
		uaddr string
		want  endpoint.Endpoint
	}{
		{rpcbind.UDP, "0.0.0.0.0.111", at(rpcbind.UDP, "0.0.0.0:111")},
		{rpcbind.TCP, "10.99.0.1.19.139", at(rpcbind.TCP, "10.99.0.1:5003")}, // contract, "Universal-address rewriting"
		{rpcbind.TCP6, "::.0.111", at(rpcbind.TCP6, "[::]:111")},
		{rpcbind.UDP6, "fe80::1.8.1", at(rpcbind.UDP6, "[fe80::1]:2049")},
		{rpcbind.Local, "/run/rpcbind.sock", local("/run/rpcbind.sock")},
		{rpcbind.Local, "1.2.3.4.5.6", local("1.2.3.4.5.6")}, // Validate refuses it
	} {
		got, err := endpoint.FromUniversalAddress(tt.netid, tt.uaddr)
		if err != nil || got != tt.want {
			t.Errorf("FromUniversalAddress(%s, %q) = %v, %v, want %v", tt.netid, tt.uaddr, got, err, tt.want)
		}
		if back := got.UniversalAddress(); back != tt.uaddr {
			t.Errorf("%v.UniversalAddress() = %q, want %q", got, back, tt.uaddr)
		}
	}
	for _, uaddr := range []string{"", "zzz", "1.2.3.4", "1.2.3.4.5", "1.2.3.4.256.1", "1.2.3.4.0.1.", "1.2.3.4.00.1", "1.2.3.4.-1.1", "fe80::1%lo.0.1", "::ffff:1.2.3.4.0.1"} {
		if got, err := endpoint.FromUniversalAddress(rpcbind.TCP, uaddr); err == nil {
			t.Errorf("FromUniversalAddress(tcp, %q) = %v, want an error", uaddr, got)
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{endpoint.Program(100005, 3).String(), "onc 100005 version 3"},
		{endpoint.Dialect(7).String(), "Dialect(7)"},
		{at(rpcbind.TCP6, "[::1]:111").String(), "tcp6 [::1]:111"},
		{local("@x").String(), "local @x"},
		{winreg.String(), "dce 338cd001-2244-31f1-aaaa-900038001003 version 1.0"},
		{drsuapi.String(), "dce e3514235-4b06-11d1-ab04-00c04fc2dcd2 version 4.10"},
		{dce(epm.TCP, "10.0.0.5:50001").String(), "tcp 10.0.0.5:50001"},
		{dce(epm.HTTP, "0.0.0.0:593").String(), "http 0.0.0.0:593"},
		{named(epm.NP, `\pipe\winreg`).String(), `np \pipe\winreg`},
		{named(epm.LRPC, "epmapper").String(), "lrpc epmapper"},
		{endpoint.Program(1, 1).Kind(), "program"},
		{winreg.Kind(), "interface"},
	} {
		if tt.got != tt.want {
			t.Errorf("String() = %q, want %q", tt.got, tt.want)
		}
	}
}

func TestIsMapper(t *testing.T) {
	other := endpoint.FromSyntax(epm.Interface)
	other.Major, other.Minor = 9, 9
	for _, tt := range []struct {
		i    endpoint.Interface
		want bool
	}{
		{endpoint.Program(rpcbind.Program, 2), true},
		{endpoint.Program(100005, 3), false},
		{endpoint.FromSyntax(epm.Interface), true},
		{other, true}, // whatever version
		{endpoint.FromSyntax(epm.Management), false}, // every server has it
		{winreg, false},
		{endpoint.Interface{Dialect: endpoint.DCE, Program: rpcbind.Program}, false},
	} {
		if got := tt.i.IsMapper(); got != tt.want {
			t.Errorf("%s: IsMapper = %t, want %t", tt.i, got, tt.want)
		}
	}
	if s := epm.Interface; endpoint.FromSyntax(s).Syntax() != s {
		t.Errorf("%v comes back as %v", s, endpoint.FromSyntax(s).Syntax())
	}
}
