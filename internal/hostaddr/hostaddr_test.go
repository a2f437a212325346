package hostaddr_test

import (
	"net/netip"
	"testing"

	"github.com/quaymaster/quaymaster/internal/hostaddr"
)

func ethernet(prefix string) hostaddr.Address {
	return hostaddr.Address{Prefix: netip.MustParsePrefix(prefix)}
}

func loopback(prefix string) hostaddr.Address {
	return hostaddr.Address{Prefix: netip.MustParsePrefix(prefix), Loopback: true}
}

func tunnel(prefix string) hostaddr.Address {
	return hostaddr.Address{Prefix: netip.MustParsePrefix(prefix), PointToPoint: true}
}

// "measured" rows are those of the contract, "Universal-address rewriting", where
// the host had 127.0.0.1/8 and 10.99.0.1/24; the others follow from its rules.
func TestToward(t *testing.T) {
	measured := []hostaddr.Address{loopback("127.0.0.1/8"), loopback("::1/128"), ethernet("10.99.0.1/24"), ethernet("fd99::1/64"), ethernet("fe80::1/64")}
	two := append(measured[:len(measured):len(measured)], ethernet("192.0.2.1/24"), ethernet("192.0.2.2/24"), ethernet("2001:db8::1/64"))
	only := measured[:2]
	dialUp := []hostaddr.Address{loopback("127.0.0.1/8"), tunnel("10.8.0.1/32")}
	first6 := []hostaddr.Address{loopback("::1/128"), ethernet("fe80::1/64"), ethernet("2001:db8::1/64")}
	for _, tt := range []struct {
		name string
		on   []hostaddr.Address
		hint string
		want string // empty: none
	}{
		{"measured: asked at 10.99.0.1 by itself", measured, "10.99.0.1", "10.99.0.1"},
		{"measured: asked at 127.0.0.1", measured, "127.0.0.1", "127.0.0.1"},
		{"same subnet", measured, "10.99.0.7", "10.99.0.1"},
		{"last of the subnet", measured, "10.99.0.255", "10.99.0.1"},
		{"beyond the subnet", measured, "10.99.1.0", "10.99.0.1"},
		{"loopback's subnet", measured, "127.3.2.1", "127.0.0.1"},
		{"first non-loopback", measured, "198.51.100.9", "10.99.0.1"},
		{"second interface, its subnet", two, "192.0.2.9", "192.0.2.1"},
		{"second address, exactly", two, "192.0.2.2", "192.0.2.2"},
		{"first of two for a stranger", two, "198.51.100.9", "10.99.0.1"},
		{"only loopback", only, "198.51.100.9", "127.0.0.1"},
		{"only loopback, IPv6", only, "2001:db8::9", "::1"},
		{"tunnel rather than loopback", dialUp, "198.51.100.9", "10.8.0.1"},
		{"the tunnel's other end", dialUp, "10.8.0.2", "10.8.0.1"},
		{"no tunnel to itself", dialUp, "127.0.0.1", "127.0.0.1"},
		{"usual rather than tunnel", append(dialUp[:2:2], ethernet("10.99.0.1/24")), "198.51.100.9", "10.99.0.1"},

		{"IPv6 exactly", measured, "fd99::1", "fd99::1"},
		{"IPv6 same subnet", measured, "fd99::7", "fd99::1"},
		{"IPv6 loopback", measured, "::1", "::1"},
		{"IPv6 stranger", measured, "2001:db8::9", "fd99::1"},
		{"IPv6 link-local", measured, "fe80::7", "fe80::1"},
		{"IPv6 of two, its subnet", two, "2001:db8::9", "2001:db8::1"},
		{"IPv6 stranger, link-local comes first", first6, "2001:db8:1::9", "2001:db8::1"},
		{"link-local rather than loopback", first6[:2], "2001:db8::9", "fe80::1"},

		{"none of the family", only[:1], "::1", ""},
		{"none of the other family", only[1:], "127.0.0.1", ""},
		{"no address at all", nil, "10.0.0.1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var table hostaddr.Table
			table.Set(tt.on)
			got, ok := table.Toward(netip.MustParseAddr(tt.hint))
			want, _ := netip.ParseAddr(tt.want)
			if got != want || ok != (tt.want != "") {
				t.Errorf("Toward(%s) = %v, %v, want %q", tt.hint, got, ok, tt.want)
			}
		})
	}
}

func TestZeroTable(t *testing.T) {
	var table hostaddr.Table
	if got, ok := table.Toward(netip.MustParseAddr("10.0.0.1")); ok || table.All() != nil {
		t.Errorf("Toward on an empty table = %v, want nothing", got)
	}
}

func TestTowardAllocatesNothing(t *testing.T) {
	var table hostaddr.Table
	table.Set([]hostaddr.Address{loopback("127.0.0.1/8"), ethernet("10.99.0.1/24")})
	hint := netip.MustParseAddr("10.99.0.7")
	if n := testing.AllocsPerRun(100, func() { table.Toward(hint) }); n != 0 {
		t.Errorf("Toward allocates %v times, want 0", n)
	}
}

func TestOurs(t *testing.T) {
	var table hostaddr.Table
	for _, a := range []string{"127.0.0.1", "127.9.9.9", "::1"} { // in any case
		if !table.Ours(netip.MustParseAddr(a)) {
			t.Errorf("an empty table: %s is not ours", a)
		}
	}
	if table.Ours(netip.Addr{}) {
		t.Error("no address is ours")
	}
	table.Set([]hostaddr.Address{ethernet("10.99.0.1/24"), ethernet("fe80::99/64"), tunnel("10.8.0.1/32")})
	for a, want := range map[string]bool{
		"10.99.0.1": true, "10.8.0.1": true, "fe80::99": true,
		"10.99.0.2": false, "10.99.0.255": false, "fe80::1": false, "0.0.0.0": false, "::": false, "::ffff:10.99.0.1": false,
	} {
		if got := table.Ours(netip.MustParseAddr(a)); got != want {
			t.Errorf("Ours(%s) = %v, want %v", a, got, want)
		}
	}
}
