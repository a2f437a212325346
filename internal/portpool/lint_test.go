package portpool

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

// defaults is a host with what the kernel has at first.
var defaults = &Host{Local: portset.Of(portset.Range{First: 32768, Last: 60999})}

// lettered is regFile with other letters.
func lettered(pia, uip string, entries ...string) string {
	text := regFile(entries...)
	text = strings.Replace(text, `"PortsInternetAvailable"="Y"`, `"PortsInternetAvailable"="`+pia+`"`, 1)
	return strings.Replace(text, `"UseInternetPorts"="Y"`, `"UseInternetPorts"="`+uip+`"`, 1)
}

func TestLint(t *testing.T) {
	const outside = "error outside-the-list 6: ordinary servers get ports outside the list, since PortsInternetAvailable %s with UseInternetPorts %s selects every other port: Y with Y, or N with N, keeps them inside\n"
	tests := []struct {
		name, text string
		host       *Host
		want       string
	}{
		{"nothing wrong", regFile("5100-5300"), defaults, ""},
		{"nothing wrong with N either", lettered("N", "N", "5100-5300"), defaults, ""},
		{"outside by Y with N", lettered("Y", "N", "5100-5300"), defaults, fmt.Sprintf(outside, "Y", "N")},
		{"outside by N with Y", lettered("N", "Y", "5100-5300"), defaults, fmt.Sprintf(outside, "N", "Y")},
		{"the example of KB 908472", regFile("5001-5021"), defaults,
			"warning few-ports 4: 21 ports can be given out, fewer than the 100 that the vendor advises at least: list more\n"},
		{"the example of KB 154596", regFile("5000-6000"), defaults,
			`warning up-to-5000 4: 5000 lies at 5000 or below, where other programs may be and, up to Windows 2003, outgoing connections are: list ports above 5000
warning pins 4: services are often pinned to ports of the list, 5722 (DFS Replication): leave them out, since fixed ports lie outside the list
warning services 4: services listen by convention on ports of the list, 5040 (WDSServer): leave them out
`},
		{"99 ports", regFile("5100-5198"), defaults, "warning few-ports 4: 99 ports can be given out, fewer than the 100 that the vendor advises at least: list more\n"},
		{"100 ports", regFile("5100-5199"), defaults, ""},
		{"one port", regFile("5001"), defaults, "warning few-ports 4: 1 port can be given out, fewer than the 100 that the vendor advises at least: list more\n"},
		{"well-known ports", regFile("0", "80", "1000-1023", "5100-5300"), defaults,
			"error below-1024 4: 0,80,1000-1023 is below 1024, where no pool reaches: list ports above 5000\n"},
		{"where Windows takes ports from", regFile("50000-50199"), nil,
			"warning dynamic-range 4: Windows 2008 and later give 50000-50199 to outgoing connections too, as part of 49152-65535: exclude it there (quaymaster pool convert FILE --to netsh)\n"},
		{"where this host does too", regFile("50000-50199"), defaults,
			`warning dynamic-range 4: Windows 2008 and later give 50000-50199 to outgoing connections too, as part of 49152-65535: exclude it there (quaymaster pool convert FILE --to netsh)
warning local-range 4: this host gives 50000-50199 to outgoing connections too, as part of 32768-60999 (ip_local_port_range): reserve it here (quaymaster pool convert FILE --to sysctl)
`},
		{"reserved in part", regFile("40000-40199"), &Host{defaults.Local, portset.Of(portset.Range{First: 40000, Last: 40099})},
			"warning local-range 4: this host gives 40100-40199 to outgoing connections too, as part of 32768-60999 (ip_local_port_range): reserve it here (quaymaster pool convert FILE --to sysctl)\n"},
		{"reserved", regFile("40000-40199"), &Host{defaults.Local, portset.Of(portset.Range{First: 40000, Last: 40199})}, ""},
		{"pins and services", regFile("20000-30000"), defaults,
			"warning pins 4: services are often pinned to ports of the list, 20048 (NFS mountd), 24158 (WMI): leave them out, since fixed ports lie outside the list\n"},
		{"what convention puts there", regFile("1600-1750"), defaults,
			`warning up-to-5000 4: 1600-1750 lies at 5000 or below, where other programs may be and, up to Windows 2003, outgoing connections are: list ports above 5000
warning services 4: services listen by convention on ports of the list, 1688 (sppsvc/SppExtComObj): leave them out
`},
		{"all there are", lettered("N", "Y", "1024-65535"), nil,
			`error nothing-left 4: the list takes all of 49152-65535, so that ordinary servers find no port (RPC_S_OUT_OF_RESOURCES, 1721): leave some ports of that range out of the list
warning up-to-5000 4: 1024-5000 lies at 5000 or below, where other programs may be and, up to Windows 2003, outgoing connections are: list ports above 5000
warning pins 4: services are often pinned to ports of the list, 2020 (NFS statd), 2049 (NFS nfsd), 3389 (Remote Desktop listener), 5722 (DFS Replication), 6001 (Exchange 2000/2003/2007 Information Store), 6002 (Exchange 2000/2003/2007 Information Store), 6004 (Exchange 2000/2003/2007 Information Store), 20048 (NFS mountd), and 6 more: leave them out, since fixed ports lie outside the list
warning services 4: services listen by convention on ports of the list, 1688 (sppsvc/SppExtComObj), 2101 (MSMQ DS), 2103 (MSMQ), 2105 (MSMQ), 3388 (TSGateway), 5040 (WDSServer): leave them out
warning dynamic-range 4: Windows 2008 and later give 49152-65535 to outgoing connections too, as part of 49152-65535: exclude it there (quaymaster pool convert FILE --to netsh)
` + fmt.Sprintf(outside, "N", "Y")},
		{"invalid, of which no more is said", lettered("N", "Y", "80", "x"), defaults,
			"invalid bad-string 4: string 2 of Ports, \"x\", is no port or range: write a port such as 5000 or a range such as 5000-5020\n"},
		{"removed", headerUnicode + "\n[-HKLM\\Software\\Microsoft\\Rpc\\Internet]\n", defaults, ""},
		{"in YAML", "pool:\n  ports: [5100-5300]\n  ports_internet_available: false\n  use_internet_ports: true\n", defaults,
			"error outside-the-list 4: ordinary servers get ports outside the list, since ports_internet_available false with use_internet_ports true selects every other port: true with true, or false with false, keeps them inside\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Lint(read(t, "policy", tt.text), tt.host, catalog.Builtin())
			if diff := cmp.Diff(tt.want, lines(r.Findings)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLintServers(t *testing.T) {
	set := func(s string) portset.Set { return ports(t, s) }
	tests := []struct {
		name, text string
		host       *Host
		want       Report
	}{
		{"ordinary servers outside", lettered("Y", "N", "5000-5100"), defaults, Report{Servers: []Servers{
			{Default, Intranet, false, set("49152-65535"), set("1025-4999"), set("61000-65535")},
			{Internet, Internet, true, set("5000-5100"), set("5000-5100"), set("5000-5100")},
			{Intranet, Intranet, false, set("49152-65535"), set("1025-4999"), set("61000-65535")},
		}}},
		{"without a host", lettered("N", "N", "61000-65000"), nil, Report{Servers: []Servers{
			{Default, Intranet, true, set("61000-65000"), set("61000-65000"), set("")},
			{Internet, Internet, false, set("49152-60999,65001-65535"), set("1025-5000"), set("")},
			{Intranet, Intranet, true, set("61000-65000"), set("61000-65000"), set("")},
		}}},
		{"no policy", headerANSI + "\n", defaults, Report{Servers: []Servers{
			{Default, Default, false, set("49152-65535"), set("1025-5000"), set("61000-65535")},
		}}},
		{"invalid", regFile("x"), defaults, Report{Invalid: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Lint(read(t, "policy", tt.text), tt.host, catalog.Builtin())
			got.Findings, got.Policy = nil, nil
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
