package render

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/site"
)

// What texts for packet filters of a firewall or host have in common.

// families are those that the addresses of one packet can be of.
var families = []Family{IPv4, IPv6}

// each returns the families that f stands for.
func (f Family) each() []Family {
	if f == Both {
		return families
	}
	return []Family{f}
}

// pick returns a for IPv4, and b for IPv6.
func (f Family) pick(a, b string) string {
	if f == IPv6 {
		return b
	}
	return a
}

// box returns the name of the firewall or host that in is about.
func (in *Input) box() string {
	if in.Host != nil {
		return in.Host.Name
	}
	return in.Firewall.Name
}

// subject says what in is about: "firewall edge between core, dmz".
func (in *Input) subject() string {
	if in.Host != nil {
		return oneLine("host " + in.Host.Name)
	}
	var zones []string
	for _, z := range in.Firewall.Zones {
		zones = append(zones, z.Name)
	}
	return oneLine("firewall " + in.Firewall.Name + " between " + strings.Join(zones, ", "))
}

// oneLine returns a text as one line of moderate length: the rest of a comment that is too long for iptables-restore
// would be taken for a rule.
func oneLine(text string) string {
	const limit = 1000
	text = show.Clean(text)
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + " ..."
}

// protocol returns what is spoken by the rule, 0 for everything.
func (r *Rule) protocol() catalog.Protocol { return r.Flows[0].Protocol }

// check returns an error if in is about no box, or as checkPorts does.
func (in *Input) check(target string) error {
	if in.Host == nil && in.Firewall == nil {
		return fmt.Errorf("rules of %s are for one firewall or host: choose it with --for", target)
	}
	return in.checkPorts(target)
}

// checkPorts returns an error if a flow lacks the ports that its protocol has: its rule would be
// as wide as can be, or without it.
func (in *Input) checkPorts(target string) error {
	for _, r := range in.Rules {
		for _, f := range r.Flows {
			if f.Protocol.HasPorts() && f.Ports.IsEmpty() {
				return &UnsayableError{target, f, "no port is known for it; give the host a dynamic_range or pins"}
			}
		}
	}
	return nil
}

// noAddress stands for a rule of which one side has no address of a family that the other has one of.
const noAddress = "nothing: the two have no addresses of one family here"

// audit returns what the rule is for, in lines that can be followed back to the plan: who connects to whom,
// then each flow.
func (r *Rule) audit() []string {
	lines := []string{oneLine(names(r.From)) + " -> " + oneLine(names(r.To))}
	for _, f := range r.Flows {
		text := f.ID + ": " + f.App
		if f.Service != "" && f.Service != f.Relationship {
			text += " (" + f.Service + ")"
		}
		text += ", " + string(f.Need)
		if f.Condition != "" {
			text += " (" + f.Condition + ")"
		}
		lines = append(lines, oneLine(text+" ["+strings.Join(f.Sources, " ")+"]"))
	}
	return lines
}

// names lists some hosts, and counts the rest.
func names(hosts []*site.Host) string {
	var all []string
	for _, h := range hosts[:min(len(hosts), 20)] {
		all = append(all, h.Name)
	}
	if rest := len(hosts) - len(all); rest > 0 {
		all = append(all, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(all, ", ")
}

// address writes a prefix, and one of full length as an address.
func address(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// identifier returns a name with an underscore in place of all but ASCII letters and digits, at most limit bytes
// of it. The end of a longer one makes room for a number that tells it from others.
func identifier(name string, limit int) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, name)
	if len(clean) <= limit {
		return clean
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	sum := fmt.Sprintf("_%08x", h.Sum32())
	return clean[:limit-len(sum)] + sum
}

// A helper is what follows a control channel in the kernel.
type helper struct {
	Follows  site.Protocol
	Name     string // nf_conntrack_NAME is its module
	Protocol catalog.Protocol
	Port     uint16 // of the control channel
}

var helpers = []helper{
	{site.FTP, "ftp", catalog.TCP, 21},
	{site.TFTP, "tftp", catalog.UDP, 69},
}

// gateFlow is the bit of the conntrack mark that quaymaster gate puts on what it opened, unless its gate.yaml says otherwise.
const gateFlow = "0x02000000"

// opensByMark says who opens what is not open, in a text that accepts the mark of quaymaster gate.
const opensByMark = "quaymaster gate opens them, by the mark that is accepted below"

// A mapper is a control channel that no helper of the kernel follows.
type mapper struct {
	follows site.Protocol
	name    string
}

var mappers = []mapper{{site.EPM, "endpoint mapper"}, {site.Portmapper, "port mapper"}}

// gated reports whether something besides the rules follows a mapper, as quaymaster gate does.
func (in *Input) gated() bool {
	return slices.ContainsFunc(mappers, func(m mapper) bool { return len(in.followed(m.follows)) > 0 })
}

// unopened says what is not open because something besides the rules follows a mapper, and how that opens it.
func (in *Input) unopened(how string) []string {
	var lines []string
	for _, m := range mappers {
		followed := in.followed(m.follows)
		if len(followed) > 0 {
			lines = append(lines, "Ports that the "+m.name+" tells are not open: "+how+", for")
		}
		for i := range followed {
			for _, line := range followed[i].audit() {
				lines = append(lines, "  "+line)
			}
		}
	}
	return lines
}

// followed returns what the firewall lets through because it follows a protocol, as rules: what they let
// through is not among in.Rules.
func (in *Input) followed(of site.Protocol) []Rule {
	if in.Firewall == nil {
		return nil
	}
	return rules(in.Plan.Flows, scope{
		open: func(f *plan.Flow) bool {
			return slices.Contains(f.Narrowing.Pinhole, in.Firewall) && followedBy(f) == of
		},
		listens: everything.listens,
		passes:  through(in.Plan, in.Firewall),
	})
}

// followedBy returns the control channel on which the ports of a dynamic flow are told.
func followedBy(f *plan.Flow) site.Protocol {
	switch {
	case f.Symbol == catalog.DynamicONC:
		return site.Portmapper
	case f.Symbol == catalog.DynamicRPC:
		return site.EPM
	case f.Protocol == catalog.UDP:
		return site.TFTP
	}
	return site.FTP
}

// writeNotes writes lines, each after a prefix that makes it a comment.
func writeNotes(b *bytes.Buffer, prefix string, lines []string) {
	for _, line := range lines {
		b.WriteString(prefix)
		b.WriteString(line)
		b.WriteByte('\n')
	}
}
