package render

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// A security group stands before each host and filters what comes from the same zone as well, so
// what it lets in is from the plan of the site as a whole.
var terraformAWS = &Target{
	Name:      nameTerraformAWS,
	Title:     "security groups of AWS, as Terraform",
	Extension: ".tf",
	Of:        OfSite,
	Render:    renderTerraformAWS,
}

const (
	nameTerraformAWS = "terraform-aws"
	// groupQuota is how many inbound rules of each family a group has unless AWS is
	// asked for more.
	groupQuota = 60
	// groupLimit is how many AWS gives at most: the quota of rules times that of groups
	// of an interface.
	groupLimit = 1000
	// awsDescription is how long a description may be.
	awsDescription = 255
)

// An ingress is what one resource lets in; it counts as a rule for each of its sources.
type ingress struct {
	ports    string // of a resource's name: tcp_53, all
	protocol string // as AWS has it: tcp, 50, -1
	from, to int    // ports; of ICMP type and code, -1 of them all
	ranged   bool   // has from and to
	family   Family
	number   uint8 // of the protocol, to sort by
}

// An inflow is who comes in by an ingress, and for what.
type inflow struct {
	hosts []*site.Host
	flows []*plan.Flow
}

func renderTerraformAWS(w io.Writer, in *Input) error {
	if err := in.checkPorts(nameTerraformAWS); err != nil {
		return err
	}
	b := &bytes.Buffer{}
	b.WriteString(terraformHead)
	hosts := listeners(in.Rules)
	names := wordsOf(hosts)
	rules := map[*site.Host][]*Rule{} // that lead to a host
	for i := range in.Rules {
		for _, h := range in.Rules[i].To {
			rules[h] = append(rules[h], &in.Rules[i])
		}
	}
	for _, h := range hosts {
		if n := names[h]; n[0] < 'A' { // digits and dashes begin no name
			names[h] = "_" + n + "_" + digest(h.Name)
		}
		if err := writeGroup(b, in, rules[h], h, names[h]); err != nil {
			return err
		}
	}
	b.WriteString("\noutput \"quaymaster_groups\" {\n  description = \"Security groups by names of hosts\"\n  value = {\n")
	width := 0
	for _, h := range hosts {
		width = max(width, len(hclQuote(h.Name)))
	}
	for _, h := range hosts {
		fmt.Fprintf(b, "    %-*s = aws_security_group.%s.id\n", width, hclQuote(h.Name), names[h])
	}
	b.WriteString("  }\n}\n")
	_, err := w.Write(b.Bytes())
	return err
}

const terraformHead = `# A security group for each host that others connect to, with what the plan lets in. Groups filter what stays
# within a zone too, and follow nothing: dynamic ports are open as ranges where no pin makes them few.
# What a host opens itself is let out, as in any new group of AWS, and filtered where it arrives.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "vpc_id" {
  description = "VPC that the hosts are in"
  type        = string
}
`

func writeGroup(b *bytes.Buffer, in *Input, rules []*Rule, h *site.Host, name string) error {
	flows := map[ingress]*inflow{}
	for _, r := range rules {
		from := r.sources(h)
		for _, f := range in.meet(from, []*site.Host{h}) {
			for _, i := range ingresses(r, f) {
				if flows[i] == nil {
					flows[i] = &inflow{}
				}
				flows[i].hosts = append(flows[i].hosts, from...)
				flows[i].flows = append(flows[i].flows, i.of(r.Flows)...)
			}
		}
	}
	counts := map[Family]int{}
	for i, f := range flows {
		counts[i.family] += len(i.family.Addresses(f.hosts))
		if counts[i.family] > groupLimit {
			return &UnsayableError{nameTerraformAWS, f.flows[0], fmt.Sprintf("%s would need more than %d rules in its security group, which is all that AWS has; give those who connect to it as networks, or pin what is dynamic", h.Name, groupLimit)}
		}
	}
	fmt.Fprintf(b, "\n# %s: %d rules of IPv4, %d of IPv6. A group has %d of each", ascii(h.Name), counts[IPv4], counts[IPv6], groupQuota)
	if max(counts[IPv4], counts[IPv6]) > groupQuota {
		fmt.Fprintf(b, ": have the quota raised\n# (Inbound or outbound rules per security group), and that of groups per interface lowered: their product is %d at most", groupLimit)
	}
	fmt.Fprintf(b, ".\nresource \"aws_security_group\" \"%s\" {\n  name        = %s\n  description = %s\n  vpc_id      = var.vpc_id\n}\n",
		name, hclQuote("quaymaster-"+strings.Trim(name, "_")), hclQuote(awsText("What others need of "+h.Name)))
	for _, i := range slices.SortedFunc(maps.Keys(flows), ingress.compare) {
		i.write(b, name, flows[i])
	}
	for _, out := range []struct{ version, key, network string }{{"v4", "cidr_ipv4", "0.0.0.0/0"}, {"v6", "cidr_ipv6", "::/0"}} {
		fmt.Fprintf(b, "\nresource \"aws_vpc_security_group_egress_rule\" \"%s_all_%s\" {\n", name, out.version)
		fmt.Fprintf(b, "  security_group_id = aws_security_group.%s.id\n  %-17s = %q\n  ip_protocol       = \"-1\"\n}\n", name, out.key, out.network)
	}
	return nil
}

// ingresses returns what a rule is in a group, of one family.
func ingresses(r *Rule, f Family) []ingress {
	protocol := r.protocol()
	one := ingress{ports: protocol.String(), protocol: fmt.Sprint(uint8(protocol)), family: f, number: uint8(protocol)}
	switch {
	case protocol == 0:
		one.ports, one.protocol = "all", "-1"
	case protocol == catalog.ICMP:
		one.ranged, one.from, one.to, one.protocol = true, -1, -1, "icmp"
		if f == IPv6 {
			one.protocol = "icmpv6"
		}
		if isEcho(r.Flows) {
			one.ports, one.from, one.to = "echo", 8, 0
			if f == IPv6 {
				one.from = 128
			}
		}
	case protocol.HasPorts():
		var all []ingress
		for ports := range r.Ports.Ranges() {
			i := one
			i.ports, i.protocol = strings.ReplaceAll(protocol.String()+"_"+ports.String(), "-", "_"), protocol.String()
			i.ranged, i.from, i.to = true, int(ports.First), int(ports.Last)
			all = append(all, i)
		}
		return all
	}
	return []ingress{one}
}

// of returns those of flows that an ingress is for.
func (i ingress) of(flows []*plan.Flow) []*plan.Flow {
	if !catalog.Protocol(i.number).HasPorts() {
		return flows
	}
	ports := portset.Of(portset.Range{First: uint16(i.from), Last: uint16(i.to)})
	return slices.DeleteFunc(slices.Clone(flows), func(f *plan.Flow) bool { return f.Ports.Intersect(ports).IsEmpty() })
}

func (i ingress) compare(j ingress) int {
	return cmp.Or(cmp.Compare(i.number, j.number), cmp.Compare(i.from, j.from), cmp.Compare(i.to, j.to), cmp.Compare(i.family, j.family))
}

func (i ingress) write(b *bytes.Buffer, group string, f *inflow) {
	version, key := "v4", "cidr_ipv4"
	if i.family == IPv6 {
		version, key = "v6", "cidr_ipv6"
	}
	about := Rule{Flows: f.flows}
	fmt.Fprintf(b, "\nresource \"aws_vpc_security_group_ingress_rule\" \"%s_%s_%s\" {\n", group, i.ports, version)
	fmt.Fprintf(b, "  for_each          = toset([%s])\n", hclPrefixes(i.family.Addresses(f.hosts)))
	entry := func(key, value string) { fmt.Fprintf(b, "  %-17s = %s\n", key, value) }
	entry("security_group_id", "aws_security_group."+group+".id")
	entry("description", hclQuote(awsText(about.Remark(awsDescription))))
	entry(key, "each.value")
	entry("ip_protocol", hclQuote(i.protocol))
	if i.ranged {
		entry("from_port", fmt.Sprint(i.from))
		entry("to_port", fmt.Sprint(i.to))
	}
	b.WriteString("}\n")
}

func hclPrefixes(prefixes []netip.Prefix) string {
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = hclQuote(p.String())
	}
	return strings.Join(words, ", ")
}

var hclEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${", "%{", "%%{")

// hclQuote writes a string in which Terraform expands nothing.
func hclQuote(s string) string {
	return `"` + hclEscapes.Replace(ascii(s)) + `"`
}

// awsText returns s with a point for what AWS has in no description, cut to the length
// of one.
func awsText(s string) string {
	s = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(" ._-:/()#,@[]+=&;{}!$*", r) {
			return r
		}
		return '.'
	}, s)
	return s[:min(len(s), awsDescription)]
}
