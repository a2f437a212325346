package portpool

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/portset"
)

// policyOf returns a policy with letters such as "YN" for the two values.
func policyOf(t testing.TB, letters, list string) *Policy {
	t.Helper()
	p := &Policy{PortsInternetAvailable: letters[0] == 'Y', UseInternetPorts: letters[1] == 'Y'}
	for item := range strings.SplitSeq(list, ",") {
		r, why := parseEntry(item)
		if why != "" {
			t.Fatalf("%q %s", item, why)
		}
		p.Ports = append(p.Ports, r)
	}
	return p
}

func TestConvert(t *testing.T) {
	const netsh = "rem The ports of the RPC list: Windows gives them to no outgoing connection.\n"
	tests := []struct{ format, letters, list, want string }{
		{"yaml", "YY", "5000-5020", "pool:\n  ports: [\"5000-5020\"]\n  ports_internet_available: true\n  use_internet_ports: true\n"},
		{"yaml", "NY", "6000,5000-5020,6000", "pool:\n  ports: [\"6000\", \"5000-5020\", \"6000\"]\n  ports_internet_available: false\n  use_internet_ports: true\n"},
		{"reg", "YY", "5001-5200,6000", markLittle + utf16Text(crlf(exported))},
		{"sysctl", "YY", "5000-5020,5021,80,6000", `# The ports of the RPC list: the kernel gives them to nobody who does not ask for them.
# The line replaces what is reserved already: add that to it.
net.ipv4.ip_local_reserved_ports = 5000-5021,6000
`},
		{"netsh", "YY", "5001-5300", netsh + `netsh int ipv4 add excludedportrange tcp startport=5001 numberofports=300
netsh int ipv4 add excludedportrange udp startport=5001 numberofports=300
netsh int ipv6 add excludedportrange tcp startport=5001 numberofports=300
netsh int ipv6 add excludedportrange udp startport=5001 numberofports=300

rem Or in place of the policy and of the commands above: outgoing connections share the range then.
rem netsh int ipv4 set dynamicport tcp start=5001 num=300
rem netsh int ipv4 set dynamicport udp start=5001 num=300
rem netsh int ipv6 set dynamicport tcp start=5001 num=300
rem netsh int ipv6 set dynamicport udp start=5001 num=300
`},
		{"netsh", "NN", "5001-5254", netsh + `netsh int ipv4 add excludedportrange tcp startport=5001 numberofports=254
netsh int ipv4 add excludedportrange udp startport=5001 numberofports=254
netsh int ipv6 add excludedportrange tcp startport=5001 numberofports=254
netsh int ipv6 add excludedportrange udp startport=5001 numberofports=254

rem No dynamicport command can stand in place of the policy: it takes 255 ports or more.
`},
		{"samba", "YY", "5001-5200", "# In the section [global]: the ports that ordinary RPC servers get.\nrpc server dynamic port range = 5001-5200\n"},
		{"samba", "NN", "80,5001-5200,6000-6500,7000", "# In the section [global]: the ports that ordinary RPC servers get.\n# Samba takes one range; left out: 5001-5200,7000\nrpc server dynamic port range = 6000-6500\n"},
		{"samba", "YY", "5001", "# In the section [global]: the ports that ordinary RPC servers get.\nrpc server dynamic port range = 5001-5001\n"},
		{"samba", "YN", "50000-50099", `# In the section [global]: the ports that ordinary RPC servers get.
# They are outside the list: 49152-65535 without it.
# Samba takes one range; left out: 49152-49999
rpc server dynamic port range = 50100-65535
`},
	}
	for _, tt := range tests {
		t.Run(tt.format+" of "+tt.list, func(t *testing.T) {
			got, err := policyOf(t, tt.letters, tt.list).Convert(tt.format)
			text := string(got)
			if tt.format == "netsh" {
				text = strings.ReplaceAll(text, "\r\n", "\n")
			}
			if diff := cmp.Diff(tt.want, text); err != nil || diff != "" {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestNoDynamicPort(t *testing.T) {
	for _, tt := range []struct{ letters, list, why string }{
		{"YN", "5001-5300", "the policy keeps ordinary servers out of its list"},
		{"YY", "5001-5300,5400-5800", "it takes one range"},
		{"YY", "1024-5300", "it begins at 1025 or above"},
	} {
		got, err := policyOf(t, tt.letters, tt.list).Convert("netsh")
		if want := "rem No dynamicport command can stand in place of the policy: " + tt.why + ".\r\n"; err != nil || !strings.HasSuffix(string(got), want) {
			t.Errorf("%s %s: %v, %s, want %s", tt.letters, tt.list, err, got, want)
		}
	}
}

func TestNotConverted(t *testing.T) {
	for _, tt := range []struct{ format, letters, list, want string }{
		{"sysctl", "YY", "80", "the list has no port from 1024 up"},
		{"netsh", "YY", "0-1023", "the list has no port from 1024 up"},
		{"samba", "YY", "80", "the list has no port from 1024 up"},
		{"samba", "YN", "1024-65535", "the list takes all of 49152-65535, so that nothing is left for ordinary servers"},
		{"toml", "YY", "5000", `format "toml": want yaml, reg, sysctl, netsh, samba`},
	} {
		if got, err := policyOf(t, tt.letters, tt.list).Convert(tt.format); err == nil || err.Error() != tt.want {
			t.Errorf("%s of %s: %q, %v, want %s", tt.format, tt.list, got, err, tt.want)
		}
	}
}

// Files of regedit have lines of at most 80 characters.
func TestRegLines(t *testing.T) {
	var p Policy
	for i := range uint16(200) {
		p.Ports = append(p.Ports, portset.Range{First: 5000 + i, Last: 5000 + i})
	}
	n := 0
	for line := range strings.Lines(p.RegText()) {
		if n++; len(line) > 81 {
			t.Errorf("a line of %d characters: %s", len(line)-1, line)
		}
	}
	if n < 200*10*3/77 {
		t.Errorf("%d lines for 200 ports", n)
	}
	checkReadsBack(t, &p, "reg", encodeUTF16(crlf(p.RegText())))
}

// What is written and read is the same policy, over both formats and back.
func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entry := rapid.Custom(func(t *rapid.T) portset.Range {
			first := rapid.Uint16().Draw(t, "first")
			return portset.Range{First: first, Last: rapid.Uint16Range(first, 65535).Draw(t, "last")}
		})
		p := &Policy{rapid.SliceOfN(entry, 1, 300).Draw(t, "ports"), rapid.Bool().Draw(t, "pia"), rapid.Bool().Draw(t, "uip")}
		for _, formats := range [][2]string{{"reg", "yaml"}, {"yaml", "reg"}} {
			q := p
			for _, format := range formats {
				b, err := q.Convert(format)
				if err != nil {
					t.Fatal(err)
				}
				checkReadsBack(t, q, format, b)
				d, _ := Read("p."+format, strings.NewReader(string(b)))
				q, _ = d.Policy()
			}
			if !cmp.Equal(q, p) {
				t.Fatalf("over %v: %v, want %v", formats, q, p)
			}
		}
	})
}

// Whatever else is written never has ports that the policy does not give.
func TestOtherFormatsStayInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		port := rapid.SampledFrom([]uint16{0, 1023, 1024, 5000, 49151, 49152, 50000, 65534, 65535})
		entry := rapid.Custom(func(t *rapid.T) portset.Range {
			a, b := port.Draw(t, "a"), port.Draw(t, "b")
			return portset.Range{First: min(a, b), Last: max(a, b)}
		})
		p := &Policy{rapid.SliceOfN(entry, 1, 4).Draw(t, "ports"), rapid.Bool().Draw(t, "pia"), rapid.Bool().Draw(t, "uip")}
		if b, err := p.Convert("samba"); err == nil {
			var r portset.Range
			_, value, _ := strings.Cut(string(b), "\nrpc server dynamic port range = ")
			if value == "" {
				t.Fatalf("samba: %s", b)
			}
			fmt.Sscanf(value, "%d-%d", &r.First, &r.Last)
			if pool := p.Pool(Default, windows); !portset.Of(r).Minus(pool).IsEmpty() || r.Len() == 0 {
				t.Fatalf("samba gets %v of %v", r, pool)
			}
		}
		if b, err := p.Convert("sysctl"); err == nil {
			_, value, _ := strings.Cut(string(b), "ip_local_reserved_ports = ")
			if set, err := portset.Parse(strings.TrimSpace(value)); err != nil || !set.Equal(p.List().Minus(privileged)) {
				t.Fatalf("sysctl reserves %v, %v of %v", set, err, p.List())
			}
		}
	})
}
