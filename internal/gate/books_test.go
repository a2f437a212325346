package gate

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/follow"
)

// An entry allows pinholes of its own kind: ports that RPC may promise for any number of connections are not those of FTP.
func TestBooksAllow(t *testing.T) {
	b := newBooks(readPolicy(t, strings.Replace(minimal, "{ftp: {", "{epm: {clients: [10.1.0.0/16], servers: [10.3.0.0/24]}, ftp: {server_ports: \"50000-50009\", ", 1)))
	for _, tt := range []struct {
		once bool
		to   string
		want bool
	}{
		{true, "10.3.0.1:50000", true},
		{true, "10.3.0.1:50010", false},
		{false, "10.3.0.1:50010", true},
	} {
		p := Pinhole{By: follow.Client, From: netip.MustParseAddr("10.1.0.1"), To: netip.MustParseAddrPort(tt.to), Protocol: tcp, Once: tt.once, Lifetime: time.Minute}
		if got := b.allowed(&p); got != tt.want {
			t.Errorf("%s, once %v, is allowed: %v, want %v", &p, tt.once, got, tt.want)
		}
	}
}
