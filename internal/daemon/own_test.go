package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/epm"
)

func bound(network, addr string) Bound {
	return Bound{Network: network, Addr: netip.MustParseAddrPort(addr)}
}

// TestOwnDCE: one row for each IPv4 address.
func TestOwnDCE(t *testing.T) {
	dual := bound("tcp", "[::]:135")
	dual.DualStack = true
	for _, tt := range []struct {
		name  string
		bound []Bound
		want  []string
	}{
		{"nothing", nil, nil},
		{"local sockets have no tower", []Bound{{Network: "unix", Path: "/run/e.sock"}, {Network: "unix", Path: "@/run/e.sock"}}, nil},
		{"the default", []Bound{bound("tcp", "0.0.0.0:135"), bound("tcp", "[::]:135"), {Network: "unix", Path: "/run/e.sock"}}, []string{"tcp 0.0.0.0:135"}},
		{"IPv6 alone", []Bound{bound("tcp", "[::1]:135")}, nil},
		{"one socket for both families", []Bound{dual}, []string{"tcp 0.0.0.0:135"}},
		{"several", []Bound{bound("tcp", "192.0.2.1:135"), bound("tcp", "192.0.2.2:1135")}, []string{"tcp 192.0.2.1:135", "tcp 192.0.2.2:1135"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range ownDCE(tt.bound, endpoint.Superuser) {
				got = append(got, r.Endpoint.String())
				if err := r.Validate(); err != nil || !r.Own || r.Syntax() != epm.Interface || r.ProtSeq != epm.TCP {
					t.Errorf("row %+v, %v, want one of the mapper's own", r, err)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("ownDCE = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOwnRows(t *testing.T) {
	dual := func(network string) Bound {
		b := bound(network, "[::]:111")
		b.DualStack = true
		return b
	}
	for _, tt := range []struct {
		name  string
		bound []Bound
		want  []string
	}{
		{"nothing", nil, nil},
		{"an abstract name alone", []Bound{{Network: "unix", Path: "@/run/x.sock"}}, nil},
		{"a socket and its twin", []Bound{{Network: "unix", Path: "/run/x.sock"}, {Network: "unix", Path: "@/run/x.sock"}}, []string{"4 local /run/x.sock", "3 local /run/x.sock"}},
		{"version 2 is IPv4's", []Bound{bound("tcp", "0.0.0.0:111"), bound("udp", "[::]:111")}, []string{
			"4 udp6 [::]:111", "3 udp6 [::]:111", "4 tcp 0.0.0.0:111", "3 tcp 0.0.0.0:111", "2 tcp 0.0.0.0:111",
		}},
		{"the widest of several", []Bound{bound("udp", "192.0.2.1:111"), bound("udp", "0.0.0.0:1111"), bound("udp", "192.0.2.2:111")}, []string{
			"4 udp 0.0.0.0:1111", "3 udp 0.0.0.0:1111", "2 udp 0.0.0.0:1111",
		}},
		{"else the first", []Bound{bound("udp", "192.0.2.1:111"), bound("udp", "192.0.2.2:111")}, []string{
			"4 udp 192.0.2.1:111", "3 udp 192.0.2.1:111", "2 udp 192.0.2.1:111",
		}},
		{"one socket for both families", []Bound{dual("tcp")}, []string{
			"4 tcp6 [::]:111", "3 tcp6 [::]:111", "4 tcp 0.0.0.0:111", "3 tcp 0.0.0.0:111", "2 tcp 0.0.0.0:111",
		}},
		{"a scope id stays here", []Bound{bound("tcp", "[fe80::1%eth0]:111")}, []string{"4 tcp6 [fe80::1]:111", "3 tcp6 [fe80::1]:111"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range ownRows(tt.bound, endpoint.Superuser) {
				got = append(got, fmt.Sprintf("%d %s", r.Version, r.Endpoint))
				if err := r.Validate(); err != nil || !r.Own || r.Program != 100000 {
					t.Errorf("row %+v, %v, want one of the mapper's own", r, err)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("ownRows = %q, want %q", got, tt.want)
			}
		})
	}
}
