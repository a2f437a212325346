package portpool

import (
	"testing"

	"github.com/quaymaster/quaymaster/portset"
)

func ports(t testing.TB, s string) portset.Set {
	t.Helper()
	set, err := portset.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// The table of 12 rows in Win32, "Configuring the Windows Registry for Port
// Allocations and Selective Binding"; RPC_POLICY has the same in words.
func TestPool(t *testing.T) {
	const list, others = "5000-5020", "49152-65535"
	tests := []struct {
		of       Preference
		pia, uip bool
		pool     Preference
		want     string
	}{
		{Internet, true, true, Internet, list},
		{Internet, true, false, Internet, list},
		{Internet, false, true, Internet, others},
		{Internet, false, false, Internet, others},
		{Intranet, true, true, Intranet, others},
		{Intranet, true, false, Intranet, others},
		{Intranet, false, true, Intranet, list},
		{Intranet, false, false, Intranet, list},
		{Default, true, true, Internet, list},
		{Default, true, false, Intranet, others},
		{Default, false, true, Internet, others},
		{Default, false, false, Intranet, list},
	}
	for _, tt := range tests {
		p := &Policy{[]portset.Range{{First: 5000, Last: 5020}}, tt.pia, tt.uip}
		if got := p.Choose(tt.of); got != tt.pool {
			t.Errorf("PIA %v, UIP %v: Choose(%v) = %v, want %v", tt.pia, tt.uip, tt.of, got, tt.pool)
		}
		if got, want := p.Listed(tt.of), tt.want == list; got != want {
			t.Errorf("PIA %v, UIP %v: Listed(%v) = %v, want %v", tt.pia, tt.uip, tt.of, got, want)
		}
		if got := p.Pool(tt.of, windows).String(); got != tt.want {
			t.Errorf("PIA %v, UIP %v: Pool(%v) = %v, want %v", tt.pia, tt.uip, tt.of, got, tt.want)
		}
	}
}

func TestPoolOfLists(t *testing.T) {
	tests := []struct {
		name, list, dynamic, listed, others string
	}{
		{"far from the dynamic range", "5001-5200", "49152-65535", "5001-5200", "49152-65535"},
		{"within it", "50000-50099", "49152-65535", "50000-50099", "49152-49999,50100-65535"},
		{"at its end", "65000-65535", "49152-65535", "65000-65535", "49152-64999"},
		{"all of it", "49152-65535", "49152-65535", "49152-65535", ""},
		{"one port of the old one", "5000-5020", "1025-5000", "5000-5020", "1025-4999"},
		{"ports that are never given out", "0,1-1023,1024,5001", "49152-65535", "1024,5001", "49152-65535"},
		{"none that is given out", "0,80,443", "49152-65535", "", "49152-65535"},
		{"a dynamic range that begins low", "5001-5200", "1000-5100", "5001-5200", "1024-5000"},
	}
	for _, tt := range tests {
		p := &Policy{PortsInternetAvailable: true}
		for r := range ports(t, tt.list).Ranges() {
			p.Ports = append(p.Ports, r)
		}
		dynamic := ports(t, tt.dynamic)
		if got := p.Pool(Internet, dynamic).String(); got != tt.listed {
			t.Errorf("%s: the Internet pool is %q, want %q", tt.name, got, tt.listed)
		}
		if got := p.Pool(Intranet, dynamic).String(); got != tt.others {
			t.Errorf("%s: the intranet pool is %q, want %q", tt.name, got, tt.others)
		}
	}
}

// Without a policy the flags have no effect (RPC_POLICY).
func TestPoolWithoutPolicy(t *testing.T) {
	for _, of := range []Preference{Default, Internet, Intranet} {
		if got := (*Policy)(nil).Pool(of, windows); !got.Equal(windows) {
			t.Errorf("Pool(%v) of no policy is %v, want %v", of, got, windows)
		}
	}
}

func TestHostDynamic(t *testing.T) {
	tests := []struct{ name, local, reserved, want string }{
		{"the kernel's defaults", "32768\t60999\n", "\n", "61000-65535"},
		{"a list that is reserved", "32768\t60999\n", "50000-50099,8080\n", "50000-50099,61000-65535"},
		{"all of it", "1024\t65535\n", "\n", ""},
		{"elsewhere", "10000\t20000\n", "", "49152-65535"},
	}
	for _, tt := range tests {
		h, err := parseHost(tt.local, tt.reserved)
		if err != nil || h.Dynamic().String() != tt.want {
			t.Errorf("%s: %v, %v, want %s", tt.name, h, err, tt.want)
		}
	}
	for _, tt := range []struct{ local, reserved, want string }{
		{"", "", `ip_local_port_range "": want two ports`},
		{"1\t65536", "", `ip_local_port_range "1\t65536": want two ports`},
		{"1\t2", "x", `ip_local_reserved_ports: portset: offset 0: "x": want a port such as 443 or a range such as 5000-5020`},
	} {
		if _, err := parseHost(tt.local, tt.reserved); err == nil || err.Error() != tt.want {
			t.Errorf("parseHost(%q, %q): %v, want %s", tt.local, tt.reserved, err, tt.want)
		}
	}
}

func TestReadHost(t *testing.T) {
	h, err := ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	if h != nil && h.Local.IsEmpty() {
		t.Errorf("ReadHost() = %v, want the ports of outgoing connections", h)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Default.String(): "default", Internet.String(): "internet", Intranet.String(): "intranet",
		Warning.String(): "warning", Error.String(): "error", Invalid.String(): "invalid", Severity(7).String(): "Severity(7)",
		RegSZ.String(): "REG_SZ", RegExpandSZ.String(): "REG_EXPAND_SZ", RegBinary.String(): "REG_BINARY", RegDWORD.String(): "REG_DWORD",
		RegMultiSZ.String(): "REG_MULTI_SZ", RegQWORD.String(): "REG_QWORD", Type(0).String(): "REG_NONE", Type(0xffff0009).String(): "type 4294901769",
	} {
		if got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}
