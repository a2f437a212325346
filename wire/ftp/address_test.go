package ftp

import (
	"net/netip"
	"strings"
	"testing"
)

// Arguments that are written as they are read.
var ports = []struct{ name, arg, want string }{
	{"RFC 959 4.1.2: PORT h1,h2,h3,h4,p1,p2", "132,235,1,2,24,131", "132.235.1.2:6275"},
	{"all least", "0,0,0,0,0,0", "0.0.0.0:0"},
	{"all most", "255,255,255,255,255,255", "255.255.255.255:65535"},
}

var badPorts = []struct{ name, arg string }{
	{"empty", ""}, {"five numbers", "1,2,3,4,5"}, {"seven numbers", "1,2,3,4,5,6,7"}, {"an empty number", "1,2,,4,5,6"}, {"a comma after", "1,2,3,4,5,6,"},
	{"256", "1,2,3,4,256,6"}, {"2^32+1", "1,2,3,4,4294967297,6"}, {"leading zero", "1,2,3,4,05,6"}, {"a sign", "1,2,3,4,+5,6"}, {"a blank", "1,2,3,4, 5,6"},
	{"a blank after", "1,2,3,4,5,6 "}, {"hexadecimal", "1,2,3,4,0x5,6"}, {"dots", "1.2.3.4.5.6"}, {"another argument", "1,2,3,4,5,6 7"}, {"long", strings.Repeat("1", 9000)},
}

var extendedPorts = []struct{ name, arg, want string }{
	{"RFC 2428 2: IPv4", "|1|132.235.1.2|6275|", "132.235.1.2:6275"},
	{"RFC 2428 2: IPv6", "|2|1080::8:800:200c:417a|5282|", "[1080::8:800:200c:417a]:5282"},
}

// Arguments that are read, and written in another way.
var otherExtendedPorts = []struct{ name, arg, want string }{
	{"RFC 2428 2: IPv6 in capitals", "|2|1080::8:800:200C:417A|5282|", "[1080::8:800:200c:417a]:5282"},
	{"another delimiter", "!1!132.235.1.2!6275!", "132.235.1.2:6275"},
}

var badExtendedPorts = []struct{ name, arg string }{
	{"empty", ""}, {"delimiters alone", "|||||"}, {"no last delimiter", "|1|192.0.2.1|6275"}, {"more after", "|1|192.0.2.1|6275|x"}, {"a part more", "|1|192.0.2.1|6275||"},
	{"IPv4 as 2", "|2|192.0.2.1|6275|"}, {"IPv6 as 1", "|1|2001:db8::1|6275|"}, {"protocol 3", "|3|192.0.2.1|6275|"}, {"no protocol", "||192.0.2.1|6275|"}, {"protocol 01", "|01|192.0.2.1|6275|"},
	{"IPv4 mapped into IPv6", "|2|::ffff:192.0.2.1|6275|"}, {"mapped, hexadecimal", "|2|::ffff:c000:201|6275|"}, {"a zone", "|2|fe80::1%eth0|6275|"},
	{"port 65536", "|1|192.0.2.1|65536|"}, {"port 2^32+1024", "|1|192.0.2.1|4294968320|"}, {"leading zero", "|1|192.0.2.1|06275|"}, {"zero in the address", "|1|192.0.02.1|6275|"}, {"a sign", "|1|192.0.2.1|+6275|"},
	{"a name", "|1|localhost|6275|"}, {"delimiter that is a digit", "11119211111"}, {"a dot", ".1.192.0.2.1.6275."}, {"a colon", ":2:2001:db8::1:5282:"}, {"a blank", " 1 192.0.2.1 6275 "},
	{"long", "|1|" + strings.Repeat("1", 9000) + "|6275|"},
}

func TestPort(t *testing.T) {
	for _, tt := range ports {
		want := netip.MustParseAddrPort(tt.want)
		if got, err := ParsePort([]byte(tt.arg)); err != nil || got != want {
			t.Errorf("%s: ParsePort(%q) = %v, %v, want %v", tt.name, tt.arg, got, err, want)
		}
		if got := string(AppendPort(nil, want)); got != tt.arg {
			t.Errorf("%s: AppendPort(%v) = %q, want %q", tt.name, want, got, tt.arg)
		}
		for n := range tt.arg { // a truncation fails, or lacks digits of the last number
			if got, err := ParsePort([]byte(tt.arg[:n])); err == nil && got.Addr() != want.Addr() {
				t.Errorf("%s: ParsePort(%q) = %v, want an error", tt.name, tt.arg[:n], got)
			}
		}
	}
	for _, tt := range badPorts {
		if got, err := ParsePort([]byte(tt.arg)); err == nil {
			t.Errorf("%s: ParsePort(%.60q) = %v, want an error", tt.name, tt.arg, got)
		}
	}
}

func TestExtendedPort(t *testing.T) {
	for i, tt := range append(extendedPorts, otherExtendedPorts...) {
		want := netip.MustParseAddrPort(tt.want)
		if got, err := ParseExtendedPort([]byte(tt.arg)); err != nil || got != want {
			t.Errorf("%s: ParseExtendedPort(%q) = %v, %v, want %v", tt.name, tt.arg, got, err, want)
		}
		if got := string(AppendExtendedPort(nil, want)); (got == tt.arg) != (i < len(extendedPorts)) {
			t.Errorf("%s: AppendExtendedPort(%v) = %q", tt.name, want, got)
		}
		for n := range tt.arg {
			if got, err := ParseExtendedPort([]byte(tt.arg[:n])); err == nil {
				t.Errorf("%s: ParseExtendedPort(%q) = %v, want an error", tt.name, tt.arg[:n], got)
			}
		}
	}
	for _, tt := range badExtendedPorts {
		if got, err := ParseExtendedPort([]byte(tt.arg)); err == nil {
			t.Errorf("%s: ParseExtendedPort(%.60q) = %v, want an error", tt.name, tt.arg, got)
		}
	}
	if got := string(AppendExtendedPort(nil, netip.MustParseAddrPort("[fe80::1%eth0]:1024"))); got != "|2|fe80::1|1024|" {
		t.Errorf("AppendExtendedPort of an address with a zone = %q", got)
	}
}

var passives = []struct{ name, text, want string }{
	{"vsftpd 3.0.3", "Entering Passive Mode (192,0,2,1,156,65).", "192.0.2.1:40001"},
	{"pure-ftpd 1.0.50", "Entering Passive Mode (192,0,2,1,156,65)", "192.0.2.1:40001"},
	{"proftpd 1.3.8", "Entering Passive Mode (192,0,2,1,156,65).", "192.0.2.1:40001"},
	{"no parentheses, and a sign before", "=192,0,2,1,156,65", "192.0.2.1:40001"},
	{"RFC 1123 4.1.2.6: no parentheses", "Entering Passive Mode. 192,0,2,1,156,65", "192.0.2.1:40001"},
	{"commas and numbers of the text", "Ok, entering mode 1 (192,0,2,1,156,65)", "192.0.2.1:40001"},
	{"zeros for the address", "Entering Passive Mode (0,0,0,0,156,65).", "0.0.0.0:40001"},
}

var badPassives = []struct{ name, text string }{
	{"empty", ""}, {"text alone", "Entering Passive Mode"}, {"five numbers", "(192,0,2,1,4)"}, {"seven numbers", "(192,0,2,1,4,1,2)"}, {"twice", "(192,0,2,1,4,1) (192,0,2,1,4,2)"},
	{"twice the same", "(192,0,2,1,4,1) (192,0,2,1,4,1)"}, {"another number with a comma", "after 1,000 seconds (192,0,2,1,4,1)"},
	{"256", "(192,0,2,1,256,1)"}, {"leading zeros", "(192,000,002,001,004,001)"}, {"blanks", "(192, 0, 2, 1, 4, 1)"}, {"a number and two commas", "(192,0,2,1,4,1,)"},
	{"that of 229", "Entering Extended Passive Mode (|||6446|)"},
}

func TestPassive(t *testing.T) {
	for _, tt := range passives {
		want := netip.MustParseAddrPort(tt.want)
		if got, err := ParsePassive([]byte(tt.text)); err != nil || got != want {
			t.Errorf("%s: ParsePassive(%q) = %v, %v, want %v", tt.name, tt.text, got, err, want)
		}
	}
	for _, tt := range badPassives {
		if got, err := ParsePassive([]byte(tt.text)); err == nil {
			t.Errorf("%s: ParsePassive(%q) = %v, want an error", tt.name, tt.text, got)
		}
	}
	if got := string(AppendPassive(nil, netip.MustParseAddrPort("192.0.2.1:40001"))); got != "227 "+passives[0].text+"\r\n" {
		t.Errorf("AppendPassive = %q, want the words of vsftpd", got)
	}
}

var extendedPassives = []struct {
	name, text string
	want       uint16
}{
	{"RFC 2428 3; vsftpd 3.0.3, proftpd 1.3.8", "Entering Extended Passive Mode (|||6446|)", 6446},
	{"pure-ftpd 1.0.50", "Extended Passive mode OK (|||6446|)", 6446},
	{"another delimiter and text after", "x (!!!65535!).", 65535},
}

var badExtendedPassives = []struct{ name, text string }{
	{"empty", ""}, {"no parentheses", "|||6446|"}, {"not closed", "(|||6446|"}, {"no port", "(||||)"}, {"a delimiter less", "(||6446|)"}, {"none after", "(|||6446)"},
	{"an address", "(|1|192.0.2.1|6446|)"}, {"other delimiters", "(|!|6446|)"}, {"port 65536", "(|||65536|)"}, {"leading zero", "(|||06446|)"}, {"a blank", "(||| 6446|)"},
	{"twice", "(|||6446|) (|||6447|)"}, {"nested", "((|||6446|))"}, {"digits for delimiters", "(11164461)"}, {"that of 227", "(192,0,2,1,4,1)"},
}

func TestExtendedPassive(t *testing.T) {
	for _, tt := range extendedPassives {
		if got, err := ParseExtendedPassive([]byte(tt.text)); err != nil || got != tt.want {
			t.Errorf("%s: ParseExtendedPassive(%q) = %d, %v, want %d", tt.name, tt.text, got, err, tt.want)
		}
	}
	for _, tt := range badExtendedPassives {
		if got, err := ParseExtendedPassive([]byte(tt.text)); err == nil {
			t.Errorf("%s: ParseExtendedPassive(%q) = %d, want an error", tt.name, tt.text, got)
		}
	}
	if got := string(AppendExtendedPassive(nil, 6446)); got != "229 "+extendedPassives[0].text+"\r\n" {
		t.Errorf("AppendExtendedPassive = %q, want the words of RFC 2428", got)
	}
}

func FuzzAddress(f *testing.F) {
	for _, tt := range ports {
		f.Add([]byte(tt.arg))
	}
	for _, tt := range extendedPorts {
		f.Add([]byte(tt.arg))
	}
	for _, tt := range passives {
		f.Add([]byte(tt.text))
	}
	for _, tt := range extendedPassives {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if a, err := ParsePort(text); err == nil && string(AppendPort(nil, a)) != string(text) {
			t.Errorf("ParsePort(%q) = %v", text, a)
		}
		if a, err := ParseExtendedPort(text); err == nil {
			if again, err := ParseExtendedPort(AppendExtendedPort(nil, a)); err != nil || again != a || a.Addr().Is4In6() || a.Addr().Zone() != "" {
				t.Errorf("ParseExtendedPort(%q) = %v, written and read %v, %v", text, a, again, err)
			}
		}
		if a, err := ParsePassive(text); err == nil {
			if again, err := ParsePassive(AppendPassive(nil, a)[4:]); err != nil || again != a {
				t.Errorf("ParsePassive(%q) = %v, written and read %v, %v", text, a, again, err)
			}
		}
		if port, err := ParseExtendedPassive(text); err == nil {
			if again, err := ParseExtendedPassive(AppendExtendedPassive(nil, port)[4:]); err != nil || again != port {
				t.Errorf("ParseExtendedPassive(%q) = %d, written and read %d, %v", text, port, again, err)
			}
		}
	})
}
