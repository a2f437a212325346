package rpcbind

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var uaddrs = []struct {
	name  string
	uaddr string
	want  string
}{
	{"rpcbind 1.2.6: its own row on udp", "0.0.0.0.0.111", "0.0.0.0:111"},
	{"rpcbind 1.2.6: its own row on udp6", "::.0.111", "[::]:111"},
	{"libtirpc 1.3.3: hint of rpcinfo -p 127.0.0.1", "127.0.0.1.0.111", "127.0.0.1:111"},
	{"libtirpc 1.3.3: hint of rpcinfo ::1", "::1.0.111", "[::1]:111"},
	{"rpcbind 1.2.6 on 192.0.2.1", "192.0.2.1.8.1", "192.0.2.1:2049"},
	{"RFC 5665 5.2.3.3: IPv4", "255.255.255.255.255.255", "255.255.255.255:65535"},
	{"RFC 5665 5.2.3.4: IPv6", "2001:db8:0:1:2:3:4:5.3.232", "[2001:db8:0:1:2:3:4:5]:1000"},
	{"link-local", "fe80::1.8.1", "[fe80::1]:2049"},
	{"port 0", "10.0.0.1.0.0", "10.0.0.1:0"},
	{"port 256", "10.0.0.1.1.0", "10.0.0.1:256"},
}

// Other ways to write the same: read, but never written so.
var otherUAddrs = []struct {
	name  string
	uaddr string
	want  string
}{
	{"IPv6 in capitals", "FE80::ABCD.8.1", "[fe80::abcd]:2049"},
	{"IPv6 without ::", "0:0:0:0:0:0:0:1.0.111", "[::1]:111"},
	{"IPv6 with leading zeros, RFC 4291 2.2", "2001:0db8::0001.0.111", "[2001:db8::1]:111"},
	{"IPv6 that ends as IPv4, RFC 4291 2.2", "64:ff9b::192.0.2.1.0.111", "[64:ff9b::c000:201]:111"},
}

var badUAddrs = []struct{ name, uaddr string }{
	{"empty", ""},
	{"hand-built, rpcbind 1.2.6 refuses: no address", "zzz"},
	{"hand-built, rpcbind 1.2.6 refuses: trailing dot", "1.2.3.4.0.111."},
	{"two trailing dots", "1.2.3.4.0.111.."},
	{"leading dot", ".1.2.3.4.0.111"},
	{"dots alone", "....."},
	{"two dots", ".."},
	{"one dot", "."},
	{"port alone", "0.111"},
	{"no address before the port", ".0.111"},
	{"no port", "1.2.3.4"},
	{"one port byte", "1.2.3.4.111"},
	{"a byte too many", "1.2.3.4.0.0.111"},
	{"an empty port byte", "1.2.3.4..111"},
	{"an empty last byte", "1.2.3.4.0."},
	{"hand-built, rpcbind 1.2.6 takes it: port byte of 256", "1.2.3.4.256.1"},
	{"port byte of 256, the low one", "1.2.3.4.0.256"},
	{"address byte of 256", "256.2.3.4.0.111"},
	{"port byte of 2^64", "1.2.3.4.0.18446744073709551616"},
	{"port byte that is 111 in 8 bits", "1.2.3.4.0.367"},
	{"hand-built, rpcbind 1.2.6 takes it: leading zeros in the port", "1.2.3.4.010.01"},
	{"leading zero in the port", "1.2.3.4.00.111"},
	{"leading zeros in the low byte", "1.2.3.4.0.0111"},
	{"leading zero in the address", "1.2.3.04.0.111"},
	{"plus sign", "1.2.3.4.+0.111"},
	{"minus sign", "1.2.3.4.-0.111"},
	{"minus sign in the address", "1.2.3.-4.0.111"},
	{"hexadecimal", "1.2.3.4.0x0.111"},
	{"hexadecimal without a mark", "1.2.3.4.0.6f"},
	{"underscore", "1.2.3.4.0.1_1"},
	{"blank before", " 1.2.3.4.0.111"},
	{"blank after", "1.2.3.4.0.111 "},
	{"blank within", "1.2.3.4. 0.111"},
	{"tab", "1.2.3.4.\t0.111"},
	{"line feed", "1.2.3.4.0.111\n"},
	{"zero byte", "1.2.3.4.0.111\x00"},
	{"comma", "1.2.3.4,0,111"},
	{"digits that are not ASCII", "1.2.3.4.0.١١١"},
	{"hand-built, rpcbind 1.2.6 refuses: scope id", "fe80::1%lo.8.1"},
	{"scope id with a dot", "fe80::1%eth0.100.8.1"},
	{"empty scope id", "fe80::1%.8.1"},
	{"scope id of IPv4", "1.2.3.4%lo.0.111"},
	{"hand-built, rpcbind 1.2.6 takes it: IPv4 in IPv6", "::ffff:192.0.2.1.8.1"},
	{"IPv4 in IPv6, hexadecimal", "::ffff:c000:201.8.1"},
	{"brackets", "[::1].0.111"},
	{"address and port as URLs have them", "127.0.0.1:111"},
	{"two ::", "::1::.0.111"},
	{"IPv6 of nine groups", "1:2:3:4:5:6:7:8:9.0.111"},
	{"group of five digits", "12345::.0.111"},
	{"path", "/run/rpcbind.sock"},
	{"name", "localhost.0.111"},
	{"4 MB of digits", strings.Repeat("1", 4<<20)},
	{"4 MB of dots", strings.Repeat(".", 4<<20)},
	{"a port after 4 MB", strings.Repeat("0", 4<<20) + ".0.111"},
}

func TestParseUniversalAddress(t *testing.T) {
	for _, tt := range uaddrs {
		want := netip.MustParseAddrPort(tt.want)
		if got, err := ParseUniversalAddress(tt.uaddr); err != nil || got != want {
			t.Errorf("%s: ParseUniversalAddress(%q) = %v, %v, want %v", tt.name, tt.uaddr, got, err, want)
		}
		if got := UniversalAddress(want); got != tt.uaddr {
			t.Errorf("%s: UniversalAddress(%v) = %q, want %q", tt.name, want, got, tt.uaddr)
		}
	}
	for _, tt := range otherUAddrs {
		want := netip.MustParseAddrPort(tt.want)
		if got, err := ParseUniversalAddress(tt.uaddr); err != nil || got != want {
			t.Errorf("%s: ParseUniversalAddress(%q) = %v, %v, want %v", tt.name, tt.uaddr, got, err, want)
		}
	}
}

// Every truncation fails, or is another address: digits of the last byte were cut.
func TestParseUniversalAddressTruncated(t *testing.T) {
	for _, tt := range uaddrs {
		for n := range tt.uaddr {
			got, err := ParseUniversalAddress(tt.uaddr[:n])
			if again := ""; err == nil {
				if again = UniversalAddress(got); again != tt.uaddr[:n] {
					t.Errorf("ParseUniversalAddress(%q) = %v, want an error", tt.uaddr[:n], got)
				}
			}
		}
	}
}

func TestParseUniversalAddressFails(t *testing.T) {
	for _, tt := range badUAddrs {
		got, err := ParseUniversalAddress(tt.uaddr)
		if err == nil || got.IsValid() || !strings.HasPrefix(err.Error(), "rpcbind: universal address ") {
			t.Errorf("%s: ParseUniversalAddress(%.40q) = %v, %v, want an error", tt.name, tt.uaddr, got, err)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", tt.name, len(err.Error()))
		}
	}
}

func TestUniversalAddressLeavesZoneOut(t *testing.T) {
	a := netip.MustParseAddrPort("[fe80::1%eth0.100]:2049")
	if got := UniversalAddress(a); got != "fe80::1.8.1" {
		t.Errorf("UniversalAddress(%v) = %q, want fe80::1.8.1", a, got)
	}
	if got := string(AppendUniversalAddress([]byte("at "), a)); got != "at fe80::1.8.1" {
		t.Errorf("AppendUniversalAddress = %q, want at fe80::1.8.1", got)
	}
}

func TestUniversalAddressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
		want := netip.AddrPortFrom(a, rapid.Uint16().Draw(t, "port"))
		s := UniversalAddress(want)
		if got, err := ParseUniversalAddress(s); a.Is4In6() == (err == nil) || err == nil && got != want || len(s) > MaxAddress {
			t.Fatalf("ParseUniversalAddress(%q) = %v, %v, want %v", s, got, err, want)
		}
	})
}

func FuzzParseUniversalAddress(f *testing.F) {
	for _, tt := range uaddrs {
		f.Add(tt.uaddr)
	}
	for _, tt := range otherUAddrs {
		f.Add(tt.uaddr)
	}
	for _, tt := range badUAddrs {
		if len(tt.uaddr) <= MaxAddress {
			f.Add(tt.uaddr)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := ParseUniversalAddress(s)
		if err != nil {
			return
		}
		if want.Addr().Zone() != "" || want.Addr().Is4In6() {
			t.Fatalf("ParseUniversalAddress(%q) = %v, want it refused", s, want)
		}
		again := UniversalAddress(want)
		if got, err := ParseUniversalAddress(again); err != nil || got != want {
			t.Fatalf("ParseUniversalAddress(%q) = %v, %v, want %v", again, got, err, want)
		}
	})
}

func TestUniversalAddressesAllocateNothing(t *testing.T) {
	buf := make([]byte, 0, 64)
	for _, tt := range uaddrs {
		n := testing.AllocsPerRun(100, func() {
			a, err := ParseUniversalAddress(tt.uaddr)
			if err != nil {
				t.Fatal(err)
			}
			AppendUniversalAddress(buf, a)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations, want 0", tt.uaddr, n)
		}
	}
}

func BenchmarkParseUniversalAddress(b *testing.B) {
	for _, tt := range uaddrs[2:4] {
		b.Run(tt.uaddr, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseUniversalAddress(tt.uaddr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendUniversalAddress(b *testing.B) {
	buf := make([]byte, 0, 64)
	for _, tt := range uaddrs[2:4] {
		a := netip.MustParseAddrPort(tt.want)
		b.Run(tt.uaddr, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AppendUniversalAddress(buf, a)
			}
		})
	}
}
