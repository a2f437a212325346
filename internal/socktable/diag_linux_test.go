package socktable

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Recorded from Linux 6.18.44 on x86-64: payloads of netlink messages about
// sockets of user 1001.
var inetAnswers = []struct {
	name, hex string
	want      inetSocket
}{
	{"TCP listens", "020a0000006f00007f000001" + zeros(32) + "32ed000000000000000000000000000010000000e90300004709910205000800000000000800" +
		"0f00000000000c00150001000000000000000600160052000000",
		inetSocket{state: tcpListen, local: addr("127.0.0.1:111"), remote: addr("0.0.0.0:0"), uid: 1001, inode: 0x2910947}},
	{"TCP of both families listens", "0a0a0000006f0000" + zeros(36) + "33ed000000000000000000000000000010000000e90300004809910205000800000000000500" +
		"0b000000000008000f00000000000c00150001000000000000000600160012000000",
		inetSocket{state: tcpListen, local: addr("[::]:111"), remote: addr("[::]:0"), dualStack: true, uid: 1001, inode: 0x2910948}},
	{"UDP of IPv6 only", "0a070000006f0000" + zeros(36) + "34ed000000000000000000000000000000000000e90300004909910205000800000000000500" +
		"0b000100000008000f00000000000c00150001000000000000000600160010000000",
		inetSocket{state: tcpClose, local: addr("[::]:111"), remote: addr("[::]:0"), uid: 1001, inode: 0x2910949}},
	{"UDP at an IPv4-mapped address", "0a070000006f000000000000000000000000ffff7f000001" + zeros(20) + "35ed000000000000000000000000000000000000e90300004a099102" +
		"050008000000000005000b000000000008000f00000000000c00150001000000000000000600160010000000",
		inetSocket{state: tcpClose, local: addr("127.0.0.1:111"), remote: addr("[::]:0"), uid: 1001, inode: 0x291094a}},
	{"UDP connected", "02010000006f00097f000001" + zeros(12) + "7f000001" + zeros(16) + "36ed000000000000000000000000000000000000e90300004b099102" +
		"050008000000000008000f00000000000c00150001000000000000000600160050000000",
		inetSocket{state: 1, local: addr("127.0.0.1:111"), remote: addr("127.0.0.1:9"), uid: 1001, inode: 0x291094b}},
	{"TCP connected from IPv6 to IPv4", "0a01000003e8007000000000000000000000ffff7f00000100000000000000000000ffff7f0000010000000037ed0000" +
		"00000000000000000000000000000000e90300004d099102050008000000000008000f00000000000c00150001000000000000000600160012000000",
		inetSocket{state: 1, local: addr("127.0.0.1:1000"), remote: addr("127.0.0.1:112"), uid: 1001, inode: 0x291094d}},
	{"the same, closed by its owner", "0a04010003e8007000000000000000000000ffff7f00000100000000000000000000ffff7f0000010000000037ed0000" +
		"00000000cc0000000000000001000000e903000000000000050008000300000008000f00000000000c00150001000000000000000600160012000000",
		inetSocket{state: 4, local: addr("127.0.0.1:1000"), remote: addr("127.0.0.1:112"), uid: 1001}},
	{"the same, closed by both", "0a06030003e8007000000000000000000000ffff7f00000100000000000000000000ffff7f0000010000000037ed0000" +
		"0000000060ea00000000000000000000000000000000000008000f0000000000",
		inetSocket{state: tcpTimeWait, local: addr("127.0.0.1:1000"), remote: addr("127.0.0.1:112")}},
	{"news of closed UDP", "0a070000006f000000000000000000000000ffff7f000001" + zeros(20) + "35ed0000000000000000000000000000ffffffff000000000000000005000a0011000000",
		inetSocket{state: tcpClose, local: addr("127.0.0.1:111"), remote: addr("[::]:0"), protocol: unix.IPPROTO_UDP}},
	{"news of closed TCP", "02070000006f00007f000001" + zeros(32) + "32ed" + zeros(26) +
		"05000a00060000001c010200070000000000000140420f00000000001802" + zeros(26) +
		"44acb5000000000044acb50044acb50000000000000000000000000090d00300ffffff7f0a0000000000000003000000000000000000000000000000ffffffffffffffffffffffffffffffff" +
		zeros(28) + "ffffffff" + zeros(128),
		inetSocket{state: tcpClose, local: addr("127.0.0.1:111"), remote: addr("0.0.0.0:0"), protocol: unix.IPPROTO_TCP}},
}

func zeros(n int) string { return strings.Repeat("00", n) }

func addr(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseInet(t *testing.T) {
	for _, tt := range inetAnswers {
		b := unhex(t, tt.hex)
		if got, err := parseInet(b); err != nil || got != tt.want {
			t.Errorf("%s: parseInet = %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
		for n := range inetAnswerSize {
			if got, err := parseInet(b[:n]); err == nil {
				t.Errorf("%s: parseInet of %d bytes = %+v, want an error", tt.name, n, got)
			}
		}
	}
	good := unhex(t, inetAnswers[0].hex)
	for name, attributes := range map[string]string{
		"3 bytes of an attribute":       "080000",
		"an attribute of 0 bytes":       "00000b00",
		"an attribute of 3 bytes":       "03000b00",
		"an attribute that is cut off":  "05000b00",
		"a second attribute of 0 bytes": "05000b00000000000000",
	} {
		if got, err := parseInet(append(good[:inetAnswerSize:inetAnswerSize], unhex(t, attributes)...)); err == nil {
			t.Errorf("%s: parseInet = %+v, want an error", name, got)
		}
	}
	other := append([]byte{unix.AF_UNIX}, good[1:]...)
	if got, err := parseInet(other); err == nil {
		t.Errorf("another family: parseInet = %+v, want an error", got)
	}
}

func encoded(r inetRequest) string {
	b := r.bytes()
	return hex.EncodeToString(b[:])
}

func TestInetRequest(t *testing.T) {
	r := inetRequest{
		family: unix.AF_INET6, protocol: unix.IPPROTO_UDP, states: tcpClose.alone() | tcpListen.alone(),
		source: addr("[::1]:111"), dest: addr("[fe80::2]:1000"), device: 3,
	}
	const want = "0a11000080040000006f03e800000000000000000000000000000001fe80000000000000000000000000000203000000ffffffffffffffff"
	if got := encoded(r); got != want {
		t.Errorf("bytes = %s, want %s", got, want)
	}
	r = inetRequest{family: unix.AF_INET, protocol: unix.IPPROTO_TCP, states: anyState}
	if got, want := encoded(r), "02060000ffffffff"+zeros(40)+"ffffffffffffffff"; got != want {
		t.Errorf("bytes = %s, want %s", got, want)
	}
}

// Recorded as [inetAnswers].
var localAnswers = []struct {
	name, hex string
	want      localSocket
	ok        bool
}{
	{"path", "01010a008933ad02c53d020000000000100000002f746d702f782e736f636b000c000100194198000000e00f050006000000000008000700e9030000",
		localSocket{Socket: Socket{Path: "/tmp/x.sock", UID: 1001}, inode: 0x984119, hasUID: true}, true},
	{"abstract", "01010a008a33ad02c63d0200000000000600000000780000050006000000000008000700e9030000",
		localSocket{Socket: Socket{Path: "@x", UID: 1001}, hasUID: true}, true},
	{"the kernel's choice of a name", "01010a008b33ad02c73d0200000000000a000000003530663831000005000600000000000800070000000000",
		localSocket{Socket: Socket{Path: "@50f81", UID: 0}, hasUID: true}, true},

	// Not recorded.
	{"without a name", "01010a008a33ad02c63d02000000000008000700e9030000", localSocket{Socket: Socket{UID: 1001}, hasUID: true}, false},
	{"without a uid", "01010a008a33ad02c63d02000000000006000000007800000500060000000000", localSocket{Socket: Socket{Path: "@x", UID: NoUID}}, true},
	{"connected", "010101008a33ad02c63d0200000000000600000000780000", localSocket{Socket: Socket{Path: "@x", UID: NoUID}}, false},
}

func TestParseLocal(t *testing.T) {
	for _, tt := range localAnswers {
		got, ok, err := parseLocal(unhex(t, tt.hex))
		if err != nil || ok != tt.ok || got != tt.want {
			t.Errorf("%s: parseLocal = %+v, %t, %v, want %+v, %t", tt.name, got, ok, err, tt.want, tt.ok)
		}
	}
}

func TestParseLocalMistakes(t *testing.T) {
	b := unhex(t, localAnswers[0].hex)
	for n := range localAnswerSize {
		if l, ok, err := parseLocal(b[:n]); err == nil {
			t.Errorf("parseLocal of %d bytes = %+v, %t, want an error", n, l, ok)
		}
	}
	if l, ok, err := parseLocal(append([]byte{unix.AF_INET}, b[1:]...)); err == nil {
		t.Errorf("another family: parseLocal = %+v, %t, want an error", l, ok)
	}
}

func TestPathOf(t *testing.T) {
	for name, want := range map[string]string{
		"":               "",
		"\x00":           "@",
		"\x00x":          "@x",
		"\x00/run/x y":   "@/run/x y",
		"\x00x\x00":      "@x\x00", // another name than @x
		"/run/x\x00":     "/run/x",
		"/run/x":         "/run/x",
		"/run/x\x00junk": "/run/x",
		"x\x00":          "x",
		"@x\x00":         "./@x", // a file in some folder
	} {
		if got := pathOf([]byte(name)); got != want {
			t.Errorf("pathOf(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzParseInet(f *testing.F) {
	for _, a := range inetAnswers {
		f.Add(unhex(f, a.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseInet(b)
		if err != nil {
			return
		}
		for _, a := range []netip.Addr{s.local.Addr(), s.remote.Addr()} {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Errorf("address %s", a)
			}
		}
		if s.dualStack && s.local.Addr() != netip.IPv6Unspecified() {
			t.Errorf("%s takes both families", s.local)
		}
		for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			if _, ok := s.receiver(protocol); ok && (s.local.Port() == 0 || s.state != tcpListen && s.state != tcpClose) {
				t.Errorf("%+v receives", s)
			}
		}
		closedSocket(b)
	})
}

func FuzzParseLocal(f *testing.F) {
	for _, a := range localAnswers {
		f.Add(unhex(f, a.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok, err := parseLocal(b); err == nil && ok && (l.Path == "" || !l.hasUID && l.UID != NoUID) {
			t.Errorf("parseLocal = %+v", l)
		}
	})
}
