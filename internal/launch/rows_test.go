package launch

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

var (
	mountd3 = endpoint.Document{Dialect: "onc", Program: 100005, Version: endpoint.Version{Major: 3}, Annotation: "mounts"}
	mountd2 = endpoint.Document{Dialect: "onc", Program: 100005, Version: endpoint.Version{Major: 2}}
	samr    = endpoint.Document{Dialect: "dce", UUID: "12345778-1234-abcd-ef00-0123456789ac", Version: endpoint.Version{Major: 1, Dotted: true}}
)

// sockets reads "0.0.0.0:1 [::]:1*": with "*" for dual-stack, numbered from 1.
func sockets(text string) []socktable.Socket {
	var all []socktable.Socket
	for i, word := range strings.Fields(text) {
		addr, dual := strings.CutSuffix(word, "*")
		all = append(all, socktable.Socket{Addr: netip.MustParseAddrPort(addr), DualStack: dual, Inode: uint32(i + 1)})
	}
	return all
}

func written(rows []row) string {
	var all []string
	for _, r := range rows {
		all = append(all, fmt.Sprintf("%s %s %v", r.Version, r.Transport(), netip.AddrPortFrom(netip.MustParseAddr(r.Address), r.Port)))
	}
	return strings.Join(all, ", ")
}

func TestRowsOf(t *testing.T) {
	for _, tt := range []struct {
		of      []endpoint.Document
		network string
		sockets string
		want    string
	}{
		{[]endpoint.Document{mountd3}, "tcp", "", ""},
		{[]endpoint.Document{mountd3}, "tcp", "0.0.0.0:5", "3 tcp 0.0.0.0:5"},
		{[]endpoint.Document{mountd3, mountd2}, "udp", "0.0.0.0:5", "3 udp 0.0.0.0:5, 2 udp 0.0.0.0:5"},
		{[]endpoint.Document{mountd3}, "tcp", "[::]:5", "3 tcp6 [::]:5"},
		{[]endpoint.Document{mountd3}, "tcp", "[::]:5*", "3 tcp 0.0.0.0:5, 3 tcp6 [::]:5"},
		{[]endpoint.Document{mountd3}, "udp", "127.0.0.1:5", "3 udp 127.0.0.1:5"},
		{[]endpoint.Document{mountd3}, "tcp", "127.0.0.1:5 192.0.2.7:5 192.0.2.1:5", "3 tcp 192.0.2.1:5"},
		{[]endpoint.Document{mountd3}, "tcp", "192.0.2.1:5 0.0.0.0:5 [2001:db8::1]:5 [::1]:5", "3 tcp 0.0.0.0:5, 3 tcp6 [2001:db8::1]:5"},
		{[]endpoint.Document{mountd3}, "udp", "[fe80::1]:5 224.0.0.1:5 [ff02::1]:5", ""},
		{[]endpoint.Document{mountd3}, "udp", "[fe80::1]:5 [::1]:5", "3 udp6 [::1]:5"},
		{[]endpoint.Document{samr}, "tcp", "0.0.0.0:5", "1.0 tcp 0.0.0.0:5"},
		{[]endpoint.Document{samr}, "udp", "[::]:5*", "1.0 udp 0.0.0.0:5"},
		{[]endpoint.Document{samr}, "tcp", "[::]:5", ""},
		{[]endpoint.Document{samr}, "tcp", "127.0.0.1:5 192.0.2.7:5 192.0.2.1:5 [::1]:5", "1.0 tcp 192.0.2.1:5, 1.0 tcp 192.0.2.7:5, 1.0 tcp 127.0.0.1:5"},
		{[]endpoint.Document{samr}, "tcp", "192.0.2.1:5 [::]:5*", "1.0 tcp 0.0.0.0:5"},
	} {
		if got := written(rowsOf(tt.of, tt.network, sockets(tt.sockets))); got != tt.want {
			t.Errorf("%s at %q: %q, want %q", tt.network, tt.sockets, got, tt.want)
		}
	}
	if got := rowsOf([]endpoint.Document{mountd3}, "tcp", sockets("0.0.0.0:5 0.0.0.0:5 [::]:5*"))[0]; fmt.Sprintf("%v %s", got.sockets, got.Annotation) != "[1 2 3] mounts" {
		t.Errorf("row = %+v, want it on the sockets 1, 2 and 3, with its annotation", got)
	}
}
