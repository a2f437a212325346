package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

var powershell = &Target{
	Name:      "powershell",
	Title:     "Windows Defender Firewall, of a host itself (New-NetFirewallRule)",
	Extension: ".ps1",
	Of:        OfHost,
	System:    "windows",
	Render:    renderPowerShell,
}

const (
	// mapperPort is where the endpoint mapper of DCE/RPC listens.
	mapperPort = 135
	// mapperService is the catalog's service whose system service the endpoint mapper is.
	mapperService = "rpc"
	// windowsAddresses is how many addresses are written to one rule. Windows names no limit;
	// so many are shown and read in no time.
	windowsAddresses = 1000
)

// A windowsRule is one rule of the host firewall, but for who connects.
type windowsRule struct {
	protocol string
	ports    []string // or keywords; empty: all
	icmpType string   // empty: all
	mapper   bool     // only the endpoint mapper listens there
	family   Family
	flows    []*plan.Flow
}

func renderPowerShell(w io.Writer, in *Input) error {
	if in.Host == nil {
		return errors.New("rules of powershell are for one host: choose it with --for")
	}
	if err := in.check("powershell"); err != nil {
		return err
	}
	b := &bytes.Buffer{}
	fmt.Fprintf(b, powershellHead, ascii(in.Host.Name))
	service := mapperSystemService(in.Plan.Site.Catalog)
	known := map[string]bool{}
	for _, r := range in.Rules {
		for _, wr := range windowsRules(&r, in.Host) {
			var remote []netip.Prefix
			for _, f := range in.meet(r.From, r.To) {
				if wr.family == Both || wr.family == f {
					remote = append(remote, f.Addresses(r.From)...)
				}
			}
			for some := range slices.Chunk(remote, windowsAddresses) {
				if opens := fmt.Sprint(wr.protocol, wr.ports, wr.icmpType, some); !known[opens] { // hosts may have the addresses of others
					known[opens] = true
					wr.write(b, in.Host, some, service)
				}
			}
		}
	}
	b.WriteString(powershellTail)
	_, err := w.Write(b.Bytes())
	return err
}

// What is there already stays until all that is new is there, so the host is never without its rules. A
// rule has no name of its own, because that of the old one would be in its way.
const powershellHead = `# What others need of %s: inbound rules of its own firewall.
# Run it there as an administrator, with "powershell -File". It replaces the rules of the group
# Quaymaster and touches no other: what these let in stays open.
#Requires -RunAsAdministrator
#Requires -Modules NetSecurity
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$all = @{ Group = 'Quaymaster'; Direction = 'Inbound'; Action = 'Allow'; Profile = 'Any' }
$rules = @(
`

const powershellTail = `)

$old = @(Get-NetFirewallRule -Group 'Quaymaster' -ErrorAction SilentlyContinue)
$new = @()
try {
    foreach ($rule in $rules) { $new += New-NetFirewallRule @all @rule }
} catch {
    foreach ($rule in $new) { Remove-NetFirewallRule -InputObject $rule }
    throw
}
foreach ($rule in $old) { Remove-NetFirewallRule -InputObject $rule }
`

// windowsRules returns what a rule is on the host that it leads to.
//
// The vendor asks for words in place of dynamic ports: the firewall then opens those that servers
// of RPC have at the time, and no others of the range.
func windowsRules(r *Rule, to *site.Host) []windowsRule {
	number := func(name string) []windowsRule { return []windowsRule{{protocol: name, flows: r.Flows}} }
	switch protocol := r.protocol(); protocol {
	case 0:
		return number("Any")
	case catalog.ICMP:
		four, six := windowsRule{protocol: "ICMPv4", family: IPv4, flows: r.Flows}, windowsRule{protocol: "ICMPv6", family: IPv6, flows: r.Flows}
		if isEcho(r.Flows) {
			four.icmpType, six.icmpType = "8", "128"
		}
		return []windowsRule{four, six}
	case catalog.UDP: // the words are of TCP
		return []windowsRule{{protocol: "UDP", ports: portWords(r.Ports), flows: r.Flows}}
	case catalog.TCP:
	default:
		return number(fmt.Sprint(uint8(protocol)))
	}
	var ports portset.Set
	var mapper, dynamic, others []*plan.Flow
	activates := false
	for _, f := range r.Flows {
		activates = activates || f.DCOM
		known := f.Ports
		if f.Symbol == catalog.DynamicRPC && f.Narrowing.By != plan.ByPin {
			dynamic = append(dynamic, f)
			known = f.Ports.Intersect(pinned(to)) // a pinned service is not dynamic, and the word does not open it
		}
		if known.Contains(mapperPort) {
			mapper = append(mapper, f)
			known = known.Minus(portset.Ports(mapperPort))
		}
		if !known.IsEmpty() {
			ports = ports.Union(known)
			others = append(others, f)
		}
	}
	var all []windowsRule
	if len(mapper) > 0 {
		words := []string{"RPCEPMap"}
		if activates {
			words = append(words, fmt.Sprint(mapperPort)) // objects are activated there too, which the word leaves out
		}
		for _, word := range words {
			all = append(all, windowsRule{protocol: "TCP", ports: []string{word}, mapper: true, flows: mapper})
		}
	}
	if len(dynamic) > 0 {
		all = append(all, windowsRule{protocol: "TCP", ports: []string{"RPC"}, flows: dynamic})
	}
	if len(others) > 0 {
		all = append(all, windowsRule{protocol: "TCP", ports: portWords(ports), flows: others})
	}
	return all
}

// pinned returns the ports that services of h are pinned to.
func pinned(h *site.Host) portset.Set {
	var ports portset.Set
	for _, p := range h.Pins {
		ports = ports.Union(p.Ports)
	}
	return ports
}

func portWords(ports portset.Set) []string {
	var words []string
	for r := range ports.Ranges() {
		words = append(words, r.String())
	}
	return words
}

// mapperSystemService returns what Windows calls the service that has the endpoint
// mapper; empty if the catalog does not know.
func mapperSystemService(c *catalog.Catalog) string {
	if c == nil {
		return ""
	}
	if s, ok := c.Service(mapperService); ok && len(s.SystemServices) == 1 {
		return s.SystemServices[0]
	}
	return ""
}

func (wr *windowsRule) write(b *bytes.Buffer, to *site.Host, remote []netip.Prefix, service string) {
	about := Rule{Flows: wr.flows}
	protocol := strings.ToLower(wr.protocol)
	ids, sources := flowIDs(wr.flows)
	addresses := make([]string, len(remote))
	for i, a := range remote {
		addresses[i] = address(a)
	}
	name := fmt.Sprintf("Quaymaster %s: %s", protocol, about.Remark(80))
	fmt.Fprintf(b, "    @{\n")
	entry := func(key, value string) { fmt.Fprintf(b, "        %s = %s\n", key, value) }
	entry("DisplayName", psQuote(name+" ("+digest(to.Name, protocol, wr.ports, wr.icmpType, ids, addresses)+")"))
	entry("Description", psQuote(list(ids, 700)+"; sources: "+list(sources, 300)))
	entry("Protocol", psQuote(wr.protocol))
	if len(wr.ports) > 0 {
		entry("LocalPort", psList(wr.ports))
	}
	if wr.icmpType != "" {
		entry("IcmpType", psQuote(wr.icmpType))
	}
	if wr.mapper && service != "" {
		entry("Program", psQuote(`%SystemRoot%\system32\svchost.exe`))
		entry("Service", psQuote(service))
	}
	entry("RemoteAddress", psList(addresses))
	fmt.Fprintf(b, "    }\n")
}

// psQuote writes a string in which PowerShell expands nothing.
func psQuote(s string) string { return "'" + strings.ReplaceAll(ascii(s), "'", "''") + "'" }

func psList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = psQuote(w)
	}
	return "@(" + strings.Join(quoted, ", ") + ")"
}
