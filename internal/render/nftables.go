package render

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

var nftables = &Target{Name: "nftables", Title: "nftables (Linux)", Extension: ".nft", Of: OfBox, System: "linux", Render: renderNftables}

const (
	nftComment = 128 // bytes of the comment of a rule, at most
	nftName    = 64  // of our names; nftables has room for 255
	nftPerLine = 8   // elements of a set
)

// An nftText is a table of nftables that is being written. What a rule has several of, addresses or ports, is
// a named set, written once however many rules refer to it: what the kernel takes to make a set grows with
// the sets that are there, so that ten thousand of them, with names or without, take it ten seconds. One address
// or range goes without.
type nftText struct {
	in    *Input
	sets  bytes.Buffer
	rules bytes.Buffer
	names map[string]string // of sets, by what they hold
	count map[string]int    // of sets, by the word their names begin with
}

// renderNftables writes a table of its own that lets through what in says, and nothing else. It can be loaded again and again:
// each time the table takes the place of the one before, at once or not at all.
//
// A rule says who may connect to whom by two sets, since all of From may connect to all of To: a set of
// pairs would have as many elements as there are pairs of addresses.
func renderNftables(w io.Writer, in *Input) error {
	if err := in.check("nftables"); err != nil {
		return err
	}
	t := &nftText{in: in, names: map[string]string{}, count: map[string]int{}}
	hook := "forward" // which the chain is named after
	if in.Host != nil {
		hook = "input"
	}
	table := map[Family]string{Both: "inet", IPv4: "ip", IPv6: "ip6"}[in.Family] + " quaymaster_" + identifier(in.box(), nftName)

	follows := t.helpers()
	fmt.Fprintf(&t.rules, "\n\tchain %s {\n\t\ttype filter hook %s priority filter; policy drop;\n\n", hook, hook)
	t.always(follows)
	for i := range in.Rules {
		t.rule(&in.Rules[i])
	}
	t.rules.WriteString("\t}\n")

	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "#!/usr/sbin/nft -f\n# %s: what may connect, by the plan.\n", in.subject())
	for _, line := range t.head(table) {
		fmt.Fprintf(out, "# %s\n", line)
	}
	fmt.Fprintf(out, "\ntable %s\ndelete table %s\ntable %s {\n", table, table, table)
	t.sets.WriteTo(out)
	t.rules.WriteTo(out)
	out.WriteString("}\n")
	return out.Flush()
}

// head says what a reader has to know before all else.
func (t *nftText) head(table string) []string {
	lines := []string{
		"load:   nft -f FILE",
		"remove: nft delete table " + table,
	}
	if t.in.Host != nil {
		lines = append(lines, "This is a whole input policy: whatever else comes to this host is dropped.")
	} else {
		lines = append(lines, "Whatever else is forwarded is dropped; what comes to the firewall itself is not looked at.")
	}
	lines = append(lines, "Other tables stay as they are: what they drop is dropped.")
	return append(lines, t.in.unopened(opensByMark)...)
}

// helpers assigns helpers to the control channels that the firewall follows, in a chain of its own, and
// returns the names of those it has assigned.
func (t *nftText) helpers() []string {
	var names []string
	var lines bytes.Buffer
	for _, h := range helpers {
		followed := t.in.followed(h.Follows)
		if len(followed) == 0 {
			continue
		}
		names = append(names, h.Name)
		fmt.Fprintf(&t.sets, "\tct helper %s {\n\t\ttype %q protocol %s\n\t}\n", h.Name, h.Name, h.Protocol)
		for i := range followed {
			r := &followed[i]
			writeNotes(&lines, "\t\t# ", r.audit())
			for _, f := range t.in.Family.each() {
				if who := t.who(r, f); who != "" {
					fmt.Fprintf(&lines, "\t\t%s %s dport %d ct helper set %q\n", who, h.Protocol, h.Port, h.Name)
				}
			}
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(&t.rules, "\n\t# What the control channels tell is followed by the kernel.\n"+
			"\tchain helpers {\n\t\ttype filter hook forward priority filter - 1; policy accept;\n\n%s\t}\n", &lines)
	}
	return names
}

// always writes the rules that are needed whatever is planned: for what belongs to connections that were let through,
// and for a host to be part of its network.
func (t *nftText) always(helpers []string) {
	if t.in.Host != nil {
		t.rules.WriteString("\t\tiif \"lo\" accept\n")
	}
	t.rules.WriteString("\t\tct state established accept\n")
	errors := map[Family]string{Both: "{ icmp, ipv6-icmp }", IPv4: "icmp", IPv6: "ipv6-icmp"}[t.in.Family]
	fmt.Fprintf(&t.rules, "\t\tmeta l4proto %s ct state related accept comment \"errors\"\n", errors)
	for _, h := range helpers {
		fmt.Fprintf(&t.rules, "\t\tct state related ct helper %q accept\n", h)
	}
	if t.in.gated() {
		fmt.Fprintf(&t.rules, "\t\tct mark and %s == %[1]s accept comment \"pinholes of quaymaster gate\"\n", gateFlow)
	}
	if t.in.Host != nil && t.in.Family != IPv4 {
		t.rules.WriteString("\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, nd-redirect } ip6 hoplimit 255 accept\n" +
			"\t\tip6 saddr fe80::/10 icmpv6 type mld-listener-query accept\n")
	}
}

// rule writes one for each family in which the two sides have addresses.
func (t *nftText) rule(r *Rule) {
	t.rules.WriteByte('\n')
	writeNotes(&t.rules, "\t\t# ", r.audit())
	written := false
	for _, f := range t.in.Family.each() {
		if who := t.who(r, f); who != "" {
			fmt.Fprintf(&t.rules, "\t\t%s%s accept comment \"%s\"\n", who, t.what(r, f), r.Remark(nftComment))
			written = true
		}
	}
	if !written {
		fmt.Fprintf(&t.rules, "\t\t# %s\n", noAddress)
	}
}

// who returns the addresses of a rule as matches; nothing if one side has none of the family.
func (t *nftText) who(r *Rule, f Family) string {
	from, to := f.Addresses(r.From), f.Addresses(r.To)
	if len(from) == 0 || len(to) == 0 {
		return ""
	}
	ip := f.pick("ip", "ip6")
	return ip + " saddr " + t.hosts(f, from) + " " + ip + " daddr " + t.hosts(f, to)
}

// what returns protocol and ports of a rule as a match, after a blank; nothing for everything.
func (t *nftText) what(r *Rule, f Family) string {
	switch p := r.protocol(); {
	case p == 0:
		return ""
	case p.HasPorts():
		return " " + p.String() + " dport " + t.ports(r.Ports)
	case p == catalog.ICMP:
		return f.pick(" icmp", " icmpv6") + " type echo-request"
	case p == catalog.AH && f == IPv6:
		return " ip6 nexthdr ah" // for meta l4proto it is a header on the way to the protocol
	default:
		return " meta l4proto " + p.String()
	}
}

// hosts returns an address, or the name of the set that has several.
func (t *nftText) hosts(f Family, list []netip.Prefix) string {
	words := make([]string, len(list))
	interval := false
	for i, a := range list {
		words[i] = address(a)
		interval = interval || !a.IsSingleIP()
	}
	return t.set(f.pick("hosts4_", "hosts6_"), f.pick("ipv4_addr", "ipv6_addr"), interval, words)
}

// ports returns a port or range, or the name of the set that has several.
func (t *nftText) ports(ports portset.Set) string {
	var words []string
	interval := false
	for r := range ports.Ranges() {
		words = append(words, r.String())
		interval = interval || r.Len() > 1
	}
	return t.set("ports", "inet_service", interval, words)
}

// set returns what stands for elements: one itself, several a set of which the name begins with a word. There is one set
// of the same elements.
func (t *nftText) set(word, typ string, interval bool, elements []string) string {
	if len(elements) == 1 {
		return elements[0]
	}
	k := word + strings.Join(elements, " ")
	name, ok := t.names[k]
	if ok {
		return name
	}
	t.count[word]++
	name = fmt.Sprintf("@%s%d", word, t.count[word])
	t.names[k] = name
	fmt.Fprintf(&t.sets, "\tset %s {\n\t\ttype %s\n", name[1:], typ)
	if interval {
		t.sets.WriteString("\t\tflags interval\n")
	}
	t.sets.WriteString("\t\telements = {\n")
	for line := range slices.Chunk(elements, nftPerLine) {
		fmt.Fprintf(&t.sets, "\t\t\t%s,\n", strings.Join(line, ", "))
	}
	t.sets.WriteString("\t\t}\n\t}\n")
	return name
}
