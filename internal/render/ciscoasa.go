package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

var ciscoASA = &Target{
	Name:      "cisco-asa",
	Title:     "Cisco ASA: object groups and extended access lists",
	Extension: ".asa",
	Of:        OfFirewall,
	Render:    renderCiscoASA,
}

// asaText is how long a remark, and a description here, may be.
const asaText = 100

// asaInspects has what the ASA calls the following of a control channel.
var asaInspects = map[site.Protocol]string{site.EPM: "dcerpc", site.Portmapper: "sunrpc", site.FTP: "ftp", site.TFTP: "tftp"}

// An asa is what is written of a configuration. Names of groups and lists have a digest of what
// is in them: what is pasted into a running configuration adds to what it finds under a name.
type asa struct {
	groups bytes.Buffer
	known  map[string]bool // names of groups that are written
}

func renderCiscoASA(w io.Writer, in *Input) error {
	if in.Firewall == nil {
		return errors.New("rules of cisco-asa are for one firewall: choose it with --for")
	}
	if err := in.check("cisco-asa"); err != nil {
		return err
	}
	a := &asa{known: map[string]bool{}}
	lists, bind := &bytes.Buffer{}, &bytes.Buffer{}
	for _, z := range in.Firewall.Zones {
		lines := a.list(in, z)
		name := fmt.Sprintf("QM-%s-%s", word(z.Name), digest(lines))
		fmt.Fprintf(lists, "!\n! From zone %s.\n", ascii(z.Name))
		for _, l := range lines {
			fmt.Fprintf(lists, "access-list %s %s\n", name, l)
		}
		fmt.Fprintf(bind, "!   access-group %s in interface %s\n", name, word(z.Name))
	}
	b := &bytes.Buffer{}
	fmt.Fprintf(b, asaHead, ascii(in.Firewall.Name), bind)
	writeInspects(b, in)
	b.Write(a.groups.Bytes())
	b.Write(lists.Bytes())
	_, err := w.Write(b.Bytes())
	return err
}

const asaHead = `! What passes %s by the plan. Each list is of what comes from one zone and ends with what the ASA denies by
! itself: everything else. Names change with what they stand for, so lists that are bound do not change while this
! is pasted. Bind the lists then, with the names (nameif) of the interfaces towards the zones:
%s! and remove what is no longer bound: clear configure access-list NAME
`

// writeInspects says what the firewall has to inspect. Without it answers to a ping do not
// come back, and ports that are negotiated are closed.
func writeInspects(b *bytes.Buffer, in *Input) {
	var inspects []string
	if slices.ContainsFunc(in.Rules, func(r Rule) bool { return r.protocol() == catalog.ICMP }) {
		inspects = append(inspects, "icmp")
	}
	for _, p := range in.Firewall.Follows {
		inspects = append(inspects, asaInspects[p])
	}
	if len(inspects) == 0 {
		return
	}
	b.WriteString("!\n! What passes besides, answers to ping and ports that are negotiated, is what is inspected:\n!   policy-map global_policy\n!    class inspection_default\n")
	for _, i := range inspects {
		fmt.Fprintf(b, "!     inspect %s\n", i)
	}
}

// list returns the lines of the access list of what comes from z, without its name.
func (a *asa) list(in *Input, z *site.Zone) []string {
	var lines []string
	known := map[string]bool{}
	for _, r := range in.Rules {
		from := slices.DeleteFunc(slices.Clone(r.From), func(h *site.Host) bool { return !slices.Contains(entries(in.Plan, in.Firewall, h.Zone), z) })
		if len(from) == 0 {
			continue
		}
		var permits []string
		for _, f := range in.meet(from, r.To) {
			protocol, suffix := a.service(&r, f)
			permit := fmt.Sprintf("extended permit %s %s %s%s", protocol, a.network(f, from), a.network(f, r.To), suffix)
			if !known[permit] { // hosts may have the addresses of others
				known[permit] = true
				permits = append(permits, permit)
			}
		}
		if len(permits) > 0 {
			lines = append(append(lines, "remark "+r.Remark(asaText)), permits...)
		}
	}
	if len(lines) == 0 { // without a list the ASA lets pass what goes to an interface of lower security
		return []string{"extended deny ip any any"}
	}
	return lines
}

// entries returns from which of its zones a firewall gets what comes from a zone: that itself, or those
// that are nearest to it.
func entries(p *plan.Plan, f *site.Firewall, from *site.Zone) []*site.Zone {
	if slices.Contains(f.Zones, from) {
		return []*site.Zone{from}
	}
	return slices.DeleteFunc(slices.Clone(f.Zones), func(z *site.Zone) bool {
		on, ok := p.Way(from, z)
		return !ok || slices.Contains(on, f)
	})
}

// network returns how hosts are written in a line.
func (a *asa) network(f Family, hosts []*site.Host) string {
	all := f.Addresses(hosts)
	if len(all) == 1 {
		return asaNetwork(all[0])
	}
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.Name
	}
	lines := []string{" description " + ascii(list(names, asaText))}
	for _, n := range all {
		lines = append(lines, " network-object "+asaNetwork(n))
	}
	return a.group("network", "QM-NET-"+digest(lines), "", lines)
}

// service returns the protocol of a line and what stands behind its addresses.
func (a *asa) service(r *Rule, f Family) (protocol, suffix string) {
	switch p := r.protocol(); {
	case p == 0:
		return "ip", ""
	case p == catalog.ICMP:
		if isEcho(r.Flows) {
			suffix = " echo"
		}
		if f == IPv6 {
			return "icmp6", suffix
		}
		return "icmp", suffix
	case p.HasPorts():
		ranges := slices.Collect(r.Ports.Ranges())
		if len(ranges) == 1 {
			return p.String(), " " + asaPorts(ranges[0])
		}
		var lines []string
		for _, ports := range ranges {
			lines = append(lines, " port-object "+asaPorts(ports))
		}
		word := p.String()
		return word, " " + a.group("service", "QM-"+strings.ToUpper(word)+"-"+digest(lines), " "+word, lines)
	default:
		return p.String(), ""
	}
}

// group writes an object group unless it is there, and returns how it is named in a line.
func (a *asa) group(kind, name, suffix string, lines []string) string {
	if !a.known[name] {
		a.known[name] = true
		fmt.Fprintf(&a.groups, "!\nobject-group %s %s%s\n%s\n", kind, name, suffix, strings.Join(lines, "\n"))
	}
	return "object-group " + name
}

func asaNetwork(n netip.Prefix) string {
	switch {
	case n.IsSingleIP():
		return "host " + n.Addr().String()
	case n.Addr().Is4():
		return n.Addr().String() + " " + net.IP(net.CIDRMask(n.Bits(), 32)).String()
	default:
		return n.String()
	}
}

func asaPorts(r portset.Range) string {
	if r.First == r.Last {
		return fmt.Sprintf("eq %d", r.First)
	}
	return fmt.Sprintf("range %d %d", r.First, r.Last)
}
