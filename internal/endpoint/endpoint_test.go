package endpoint_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func at(n rpcbind.NetID, addr string) endpoint.Endpoint {
	return endpoint.Endpoint{NetID: n, Addr: netip.MustParseAddrPort(addr)}
}

func local(path string) endpoint.Endpoint {
	return endpoint.Endpoint{NetID: rpcbind.Local, Path: path}
}

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
	} {
		if tt.got != tt.want {
			t.Errorf("String() = %q, want %q", tt.got, tt.want)
		}
	}
}
