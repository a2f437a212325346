package probe

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/google/go-cmp/cmp"
)

// The answers of a domain controller of Samba 4.17, domain CORP, to questions of ours.
const (
	sambaNetlogon   = "307902040421786f64710400306d306b04086e65746c6f676f6e315f045d17000000fd130000db1c7b88e2878b4792569a98bb4a9c0804636f7270076578616d706c6500c01803646331c01804434f5250000344433100001744656661756c742d46697273742d536974652d4e616d6500c03a05000000ffffffff"
	sambaDone       = "300f02040421786f65070a010004000400"
	sambaKRBError   = "7e81aa3081a7a003020105a10302011ea411180f32303236313133303030313833385aa50502030163aba603020106a7141b12515541594d41535445522e494e56414c4944a8273025a003020101a11e301c1b1a717561796d61737465722d61736b732d666f722d6e6f626f6479a9141b12515541594d41535445522e494e56414c4944aa273025a003020102a11e301c1b066b72627467741b12515541594d41535445522e494e56414c4944"
	sambaNodeStatus = "45498400000000010000000020434b41414141414141414141414141414141414141414141414141414141414100002100010000000000bf08444331202020202020202020202020004400444331202020202020202020202020034400444331202020202020202020202020204400434f525020202020202020202020201b4400434f525020202020202020202020201cc400434f5250202020202020202020202000c4005f5f53414d42415f5f20202020202000c6005f5f53414d42415f5f20202020202020c600f007cd40987f00004b407b7e562d0000474140cd00007f9840cd45a07f9800000000000000000000000000000000"
	sambaKpasswd    = "0099000100007e819030818da003020105a10302011ea411180f32303236313133303030313833385aa5050203018e14a603020102a90e1b0c434f52502e4558414d504c45aa1d301ba003020101a11430121b066b61646d696e1b086368616e67657077ac330431000267656e7365635f757064617465206661696c6564202d204e545f5354415455535f4c4f474f4e5f4641494c5552450a"
	sambaSMB2       = "fe534d424000000000000000000001000100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004100030011030100646331000000000000000000000000000700000000008000000080000000800008a391586080dd01000000000000000080006000e0000000605e06062b0601050502a0543052a024302206092a864882f71201020206092a864886f712010202060a2b06010401823702020aa32a3028a0261b246e6f745f646566696e65645f696e5f5246433431373840706c656173655f69676e6f72650100260000000000010020000100795e8d4b7f7c6b78d76eee889756e2e658cf1423948210ce02d7859c963ba8b2"
	sambaRoot       = "308202140201016482020d040030820207302c041464656661756c744e616d696e67436f6e746578743114041244433d636f72702c44433d6578616d706c653081950415737570706f727465644361706162696c6974696573317c0416312e322e3834302e3131333535362e312e342e3830300417312e322e3834302e3131333535362e312e342e313637300417312e322e3834302e3131333535362e312e342e313739310417312e322e3834302e3131333535362e312e342e313933350417312e322e3834302e3131333535362e312e342e32303830301e0414737570706f727465644c44415056657273696f6e31060401320401333032040a76656e646f724e616d653124042253616d6261205465616d202868747470733a2f2f7777772e73616d62612e6f7267293021040b646e73486f73744e616d65311204106463312e636f72702e6578616d706c653081c7040e6e616d696e67436f6e74657874733181b4041244433d636f72702c44433d6578616d706c650423434e3d436f6e66696775726174696f6e2c44433d636f72702c44433d6578616d706c65042d434e3d536368656d612c434e3d436f6e66696775726174696f6e2c44433d636f72702c44433d6578616d706c65042444433d446f6d61696e446e735a6f6e65732c44433d636f72702c44433d6578616d706c65042444433d466f72657374446e735a6f6e65732c44433d636f72702c44433d6578616d706c65"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// entryOf returns an entry in a message.
func entryOf(b []byte) (*ber.Packet, error) {
	message, err := parseBER(b)
	if err != nil {
		return nil, err
	}
	_, op, err := parseLDAP(message)
	if err == nil && op.Tag != ldapEntry {
		err = errAnswer
	}
	return op, err
}

// netlogonOf reads the answer of a domain controller in a message.
func netlogonOf(b []byte) (netlogonAnswer, error) {
	entry, err := entryOf(b)
	if err != nil {
		return netlogonAnswer{}, err
	}
	return parsePing(entry)
}

// An snmpResponse is what agents answer with (RFC 3416, section 4.2).
type snmpResponse struct {
	Version   int
	Community []byte
	PDU       snmpPDU `asn1:"tag:2"`
}

// decoders are all of ours, each with answers that it understands. What it returns is printed for
// comparison.
var decoders = []struct {
	name   string
	decode func([]byte) (any, error)
	good   [][]byte
	want   string // of the first answer
	whole  bool   // it needs every byte
}{
	{"netlogon", func(b []byte) (any, error) { return netlogonOf(b) }, [][]byte{unhex(sambaNetlogon)},
		"domain corp.example (CORP), host dc1.corp.example, site Default-First-Site-Name: PDC, global catalog, KDC, time, reliable time, writable", true},
	{"netlogon alone", func(b []byte) (any, error) { return parseNetlogon(b) }, [][]byte{unhex(sambaNetlogon[2*30 : len(sambaNetlogon)-2*8])},
		"domain corp.example (CORP), host dc1.corp.example, site Default-First-Site-Name: PDC, global catalog, KDC, time, reliable time, writable", true},
	{"ldap", func(b []byte) (any, error) {
		op, err := entryOf(b)
		if err != nil {
			return nil, err
		}
		e, err := parseLDAPEntry(op)
		return e.first("dnshostname"), err
	}, [][]byte{unhex(sambaRoot)}, "dc1.corp.example", true},
	{"kerberos", func(b []byte) (any, error) {
		e, err := parseKRBError(b)
		return fmt.Sprintf("%d %s %s", e.Code, e.Realm, e.Time.Format(time.RFC3339Nano)), err
	}, [][]byte{unhex(sambaKRBError)}, "6 QUAYMASTER.INVALID 2026-11-30T00:18:38.091051Z", true},
	{"kpasswd", func(b []byte) (any, error) {
		e, err := parseKpasswd(b)
		return e.Realm, err
	}, [][]byte{unhex(sambaKpasswd)}, "CORP.EXAMPLE", true},
	{"netbios", func(b []byte) (any, error) { return parseNodeStatus(b) }, [][]byte{unhex(sambaNodeStatus)},
		"host DC1, domain CORP, file server, PDC, domain controller, f0:07:cd:40:98:7f", false},
	{"smb2", func(b []byte) (any, error) { return parseSMB2(b) }, [][]byte{unhex(sambaSMB2)}, "3.1.1, signing required", false},
	{"smb1", func(b []byte) (any, error) { return nil, parseSMB1(b) },
		[][]byte{append(append([]byte("\xffSMB\x72"), make([]byte, 27)...), 17, 0, 0)}, "<nil>", true},
	{"snmp", func(b []byte) (any, error) { return parseSNMP(b) }, [][]byte{
		der(snmpResponse{1, []byte("public"), snmpPDU{ID: 7, Bindings: []snmpBinding{{sysDescr, asn1.RawValue{Tag: asn1.TagOctetString, Bytes: []byte("a switch")}}}}}, ""),
		snmpDiscovery(7),
	}, "{2 7 0 a switch}", true},
	{"ntp", func(b []byte) (any, error) { return parseNTP(b) }, [][]byte{append([]byte{4<<3 | 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'G', 'P', 'S', 0}, make([]byte, 32)...)},
		"version 4, stratum 1, GPS", true},
	{"tftp", func(b []byte) (any, error) { return parseTFTP(b) }, [][]byte{[]byte("\x00\x05\x00\x01no\x00"), {0, 3, 0, 1}}, "error 1: no", false},
	{"ike", func(b []byte) (any, error) { return parseIKE(b) }, [][]byte{appendIKE(make([]byte, 8), 41, 0x20, 34, 0x20, ikePayload(0, []byte{0, 0, 0, 14}))}, "version 2, notice 14", false},
	{"radius", func(b []byte) (any, error) { return parseRADIUS(b) }, [][]byte{radiusAnswer(radiusQuestion(1, ""), "")}, "accepts", true},
	{"sqlbrowser", func(b []byte) (any, error) { return parseSQLBrowser(b) }, [][]byte{[]byte("\x05\x19\x00InstanceName;A;tcp;1433;;")}, "[A tcp 1433]", true},
	{"l2tp", func(b []byte) (any, error) { return parseL2TP(b) },
		[][]byte{l2tpMessageOf(7, 0, 1, l2tpAttribute(l2tpMessage, []byte{0, 2}), l2tpAttribute(l2tpHost, []byte("a")))}, "takes tunnels, host a", true},
	{"rdp", func(b []byte) (any, error) { return parseRDP(b) }, [][]byte{[]byte(rdpAnswer[4:])}, "network level authentication", false},
	{"prelogin", func(b []byte) (any, error) { return parsePrelogin(b) }, [][]byte{[]byte(preloginAnswer[8:])}, "version 16.0.1000, encryption required", true},
}

func TestDecoders(t *testing.T) {
	for _, d := range decoders {
		t.Run(d.name, func(t *testing.T) {
			for i, b := range d.good {
				got, err := d.decode(b)
				if err != nil {
					t.Errorf("%x: %v", b, err)
				}
				if s := fmt.Sprint(got); i == 0 && s != d.want {
					t.Errorf("%s, want %s", s, d.want)
				}
				for n := range b {
					if _, err := d.decode(b[:n:n]); err == nil && d.whole {
						t.Errorf("%x, of which the end is missing: no error", b[:n])
					}
				}
			}
		})
	}
}

// FuzzDecoders: no input makes a decoder of ours fail otherwise than by an error, or return texts that
// are longer than the input lets expect.
func FuzzDecoders(f *testing.F) {
	for i, d := range decoders {
		for _, b := range d.good {
			f.Add(byte(i), b)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		d := decoders[int(which)%len(decoders)]
		before := bytes.Clone(b)
		got, err := d.decode(b)
		if !bytes.Equal(b, before) {
			t.Fatalf("%s changes its input", d.name)
		}
		if s := fmt.Sprint(got); err == nil && len(s) > 200*len(b)+1000 { // eight names of 255 bytes come of pointers
			t.Errorf("%s: %d bytes of text out of %d", d.name, len(s), len(b))
		}
		again, err2 := d.decode(b)
		if !reflect.DeepEqual(got, again) || (err == nil) != (err2 == nil) {
			t.Errorf("%s: %v, %v and then %v, %v", d.name, got, err, again, err2)
		}
	})
}

// nested returns as many elements within each other as fit into a size.
func nested(size int) []byte {
	const header = 4
	depth := min(size/header/2, 990)
	b := make([]byte, size)
	for i := range depth {
		left := size - header*(i+1)
		copy(b[header*i:], []byte{0x30, 0x82, byte(left >> 8), byte(left)})
	}
	left := size - header*(depth+1)
	copy(b[header*depth:], []byte{4, 0x82, byte(left >> 8), byte(left)})
	return b
}

// TestNestedBER: elements within elements cost about what maxBER says, with the race detector some more, and no more are read.
func TestNestedBER(t *testing.T) {
	if _, err := parseBER(nested(maxBER + 1)); !errors.Is(err, errEnd) {
		t.Errorf("more than maxBER: %v, want %v", err, errEnd)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := parseBER(nested(maxBER)); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if size := after.TotalAlloc - before.TotalAlloc; size > 64<<20 {
		t.Errorf("%d bytes cost %d bytes", maxBER, size)
	}
}

// TestLDAPWithoutEnd: no more than maxBER is read of LDAP over TCP.
func TestLDAPWithoutEnd(t *testing.T) {
	r := ask(t, PortQuestion{Network: "tcp", Port: serveTCP(t, says(string(nested(1<<16-1)))), Ask: "ldap"})
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], errEnd.Error()) {
		t.Errorf("problems %q, want %q", r.Problems, errEnd)
	}
}

// TestSNMPBinding: what gosnmp panics on is an error.
func TestSNMPBinding(t *testing.T) {
	if a, err := parseSNMP(unhex("302702010104067075626c6963a21a020107020100020100300f30887ffffffffffffff506012b0500")); err == nil {
		t.Errorf("%v, want an error", a)
	}
}

func TestPackedNames(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		at, next int
		fails    bool
	}{
		{in: "\x00", want: "", next: 1},
		{in: "\x01a\x01b\x00", want: "a.b", next: 5},
		{in: "\x01b\x00\x01a\xc0\x00", at: 3, want: "a.b", next: 7},
		{in: "\x01c\x00\x01b\xc0\x00\x01a\xc0\x03", at: 7, want: "a.b.c", next: 11},
		{in: "\xc0\x00", fails: true},
		{in: "\x01a\xc0\x00", fails: true},
		{in: "\x01a\xc0\x09", fails: true},
		{in: "\xc0", fails: true},
		{in: "\x05a", fails: true},
		{in: "\x40a", fails: true},
		{in: strings.Repeat("\x3f"+strings.Repeat("a", 63), 5) + "\x00", fails: true},
	} {
		got, next, err := readPacked([]byte(tt.in), tt.at)
		if got != tt.want || next != tt.next || (err != nil) != tt.fails {
			t.Errorf("%q: %q, %d, %v, want %q, %d", tt.in, got, next, err, tt.want, tt.next)
		}
	}
}

func TestNTPTime(t *testing.T) {
	for in, want := range map[uint64]time.Time{
		0x83aa7e80 << 32:            time.Unix(0, 0),
		0xffffffff<<32 | 0x80000000: time.Date(2036, 2, 7, 6, 28, 15, 5e8, time.UTC),
		1 << 32:                     time.Date(2036, 2, 7, 6, 28, 17, 0, time.UTC),
	} {
		if got := ntpTime(in); !got.Equal(want) {
			t.Errorf("ntpTime(%#x) = %v, want %v", in, got, want)
		}
	}
}

func TestOffset(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "right", -99 * time.Millisecond: "right", 1234567 * time.Microsecond: "1.235s ahead", -400 * time.Second: "6m40s behind",
	} {
		if got := offset(in); got != want {
			t.Errorf("offset(%v) = %q, want %q", in, got, want)
		}
	}
}

// TestProtocols: every question can be asked somewhere, by one name.
func TestProtocols(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range protocols {
		if seen[p.name] || p.title == "" || p.udp == nil && p.tcp == nil {
			t.Errorf("%+v: a name twice, no title, or nothing to ask", p)
		}
		seen[p.name] = true
		for _, port := range p.ports {
			for _, network := range []string{"tcp", "udp"} {
				if p.over(network) && usualProtocol(network, port).name != p.name {
					t.Errorf("%s/%d is of %s and of %s", network, port, p.name, usualProtocol(network, port).name)
				}
			}
		}
	}
	if diff := cmp.Diff([]string{"dns", "mdns", "kerberos"}, Protocols("udp")[:3]); diff != "" {
		t.Error(diff)
	}
}

// TestKerberosSkew: a clock that is too far from ours is a problem.
func TestKerberosSkew(t *testing.T) {
	e, err := parseKRBError(unhex(sambaKRBError))
	if err != nil {
		t.Fatal(err)
	}
	r := &talk{PortResult: &PortResult{}}
	r.readKRBError(e, e.Time.Add(6*time.Minute))
	if len(r.Problems) != 1 || !strings.Contains(r.Text, "clock 6m0s behind") {
		t.Errorf("%q, problems %q, want one", r.Text, r.Problems)
	}
}
