package render

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

var iptables = &Target{Name: "iptables", Title: "iptables, ip6tables (Linux)", Extension: ".rules", Of: OfBox, System: "linux", OneFamily: true, Render: renderIptables}

const (
	iptComment = 255 // bytes of a comment, at most
	iptName    = 16  // bytes of ours in the name of a chain, which has 28 at most: qm-NAME-NUMBER
	iptPorts   = 15  // that multiport takes, at most; a range is two
	iptPerLine = 40  // addresses; iptables-restore reads lines of 10 KiB
)

var errNoFamily = errors.New("rules of iptables are of one family: choose it with --family 4 or --family 6, or write a file for each with --out")

// An iptText is a chain of iptables that is being written, with those it jumps to.
type iptText struct {
	in     *Input
	chain  string
	chains []string // those it jumps to
	rules  bytes.Buffer
}

// renderIptables writes what iptables-restore --noflush reads: a chain of its own, which takes the place of the one before
// each time. Nothing in such a text can add a jump only where there is none, so its head tells the command.
//
// Of a rule with several addresses on both sides iptables would make a rule for each two. It
// is written as a jump from the addresses of one side, and those of the other in the chain that it leads to.
func renderIptables(w io.Writer, in *Input) error {
	if err := in.check("iptables"); err != nil {
		return err
	}
	if in.Family == Both {
		return errNoFamily
	}
	t := &iptText{in: in, chain: "qm-" + identifier(in.box(), iptName)}
	control, names := t.helpers()
	t.always(names)
	for i := range in.Rules {
		t.rule(&in.Rules[i])
	}

	out := bufio.NewWriter(w)
	for _, line := range t.head(len(names) > 0) {
		fmt.Fprintf(out, "# %s\n", line)
	}
	if len(names) > 0 {
		fmt.Fprintf(out, "\n*raw\n:%s - [0:0]\n%sCOMMIT\n", t.chain, control)
	}
	fmt.Fprintf(out, "\n*filter\n:%s - [0:0]\n", t.chain)
	for _, c := range t.chains {
		fmt.Fprintf(out, ":%s - [0:0]\n", c)
	}
	t.rules.WriteTo(out)
	fmt.Fprintf(out, "\n-A %s -j DROP\nCOMMIT\n", t.chain)
	return out.Flush()
}

// head says what a reader has to know before all else.
func (t *iptText) head(raw bool) []string {
	program := t.in.Family.pick("iptables", "ip6tables")
	once := func(table, chain string) string {
		return fmt.Sprintf("once:   %[1]s%[2]s -C %[3]s -j %[4]s || %[1]s%[2]s -I %[3]s -j %[4]s", program, table, chain, t.chain)
	}
	lines := []string{
		t.in.subject() + ": what may connect, by the plan, of " + t.in.Family.pick("IPv4.", "IPv6."),
		"load:   " + program + "-restore --noflush FILE",
	}
	if t.in.Host != nil {
		lines = append(lines, once("", "INPUT"))
	} else {
		lines = append(lines, once("", "FORWARD"))
	}
	if raw {
		lines = append(lines, once(" -t raw", "PREROUTING"))
	}
	lines = append(lines, fmt.Sprintf("remove: %s-save | grep -vE '(^:| )%s(-[0-9]+)?( |$)' | %[1]s-restore", program, t.chain))
	if t.in.Host != nil {
		lines = append(lines, "This is a whole input policy: whatever else comes to this host is dropped.")
	} else {
		lines = append(lines, "Whatever else is forwarded is dropped; what comes to the firewall itself is not looked at.")
	}
	return append(lines, t.in.unopened(opensByMark)...)
}

// helpers returns rules that assign helpers to the control channels that the firewall follows, and the names of
// those it has assigned.
func (t *iptText) helpers() (text []byte, names []string) {
	var b bytes.Buffer
	for _, h := range helpers {
		followed := t.in.followed(h.Follows)
		for i := range followed {
			r := &followed[i]
			writeNotes(&b, "# ", r.audit())
			from, to := t.in.Family.Addresses(r.From), t.in.Family.Addresses(r.To)
			for s := range slices.Chunk(from, iptPerLine) { // a rule for each two: those who speak FTP are few
				for d := range slices.Chunk(to, iptPerLine) {
					fmt.Fprintf(&b, "-A %s -s %s -d %s -p %s --dport %d -j CT --helper %s\n", t.chain, addresses(s), addresses(d), h.Protocol, h.Port, h.Name)
				}
			}
		}
		if len(followed) > 0 {
			names = append(names, h.Name)
		}
	}
	return b.Bytes(), names
}

// always writes the rules that are needed whatever is planned: for what belongs to connections that were let through,
// and for a host to be part of its network.
func (t *iptText) always(helpers []string) {
	var matches []string
	if t.in.Host != nil {
		matches = append(matches, "-i lo")
	}
	matches = append(matches, "-m conntrack --ctstate ESTABLISHED", "-p "+t.in.Family.pick("icmp", "icmpv6")+" -m conntrack --ctstate RELATED")
	for _, h := range helpers {
		matches = append(matches, "-m conntrack --ctstate RELATED -m helper --helper "+h)
	}
	if t.in.gated() {
		matches = append(matches, "-m connmark --mark "+gateFlow+"/"+gateFlow+" -m comment --comment \"pinholes of quaymaster gate\"")
	}
	if t.in.Host != nil && t.in.Family == IPv6 {
		for _, typ := range []string{"neighbour-solicitation", "neighbour-advertisement", "router-advertisement", "redirect"} {
			matches = append(matches, "-p icmpv6 --icmpv6-type "+typ+" -m hl --hl-eq 255")
		}
		matches = append(matches, "-s fe80::/10 -p icmpv6 --icmpv6-type 130") // a query of MLD
	}
	for _, m := range matches {
		fmt.Fprintf(&t.rules, "-A %s %s -j ACCEPT\n", t.chain, m)
	}
}

// rule writes a rule in as many lines as it takes.
func (t *iptText) rule(r *Rule) {
	t.rules.WriteByte('\n')
	writeNotes(&t.rules, "# ", r.audit())
	from, to := t.in.Family.Addresses(r.From), t.in.Family.Addresses(r.To)
	if len(from) == 0 || len(to) == 0 {
		fmt.Fprintf(&t.rules, "# %s\n", noAddress)
		return
	}
	accept := fmt.Sprintf(" -m comment --comment \"%s\" -j ACCEPT", r.Remark(iptComment))
	what := t.what(r)
	write := func(chain, who string) {
		for _, w := range what {
			fmt.Fprintf(&t.rules, "-A %s%s%s%s\n", chain, who, w, accept)
		}
	}
	if len(from) == 1 || len(to) == 1 {
		for s := range slices.Chunk(from, iptPerLine) {
			for d := range slices.Chunk(to, iptPerLine) {
				write(t.chain, " -s "+addresses(s)+" -d "+addresses(d))
			}
		}
		return
	}
	chain := fmt.Sprintf("%s-%d", t.chain, len(t.chains)+1)
	t.chains = append(t.chains, chain)
	for s := range slices.Chunk(from, iptPerLine) {
		fmt.Fprintf(&t.rules, "-A %s -s %s -j %s\n", t.chain, addresses(s), chain)
	}
	for d := range slices.Chunk(to, iptPerLine) {
		write(chain, " -d "+addresses(d))
	}
}

// what returns protocol and ports of a rule as matches, each after a blank, one of which has to hold.
func (t *iptText) what(r *Rule) []string {
	switch p := r.protocol(); {
	case p == 0:
		return []string{""}
	case p.HasPorts():
		return multiports(p, r.Ports)
	case p == catalog.ICMP:
		return []string{t.in.Family.pick(" -p icmp --icmp-type echo-request", " -p icmpv6 --icmpv6-type echo-request")}
	case p == catalog.AH && t.in.Family == IPv6:
		return []string{" -m ah"} // for -p it is a header on the way to the protocol
	default:
		return []string{" -p " + p.String()}
	}
}

// multiports returns matches of ports, as few as multiport lets it be.
func multiports(p catalog.Protocol, ports portset.Set) []string {
	var lists [][]string
	room := 0
	for r := range ports.Ranges() {
		word, takes := strings.Replace(r.String(), "-", ":", 1), min(r.Len(), 2)
		if room < takes {
			lists, room = append(lists, nil), iptPorts
		}
		last := &lists[len(lists)-1]
		*last = append(*last, word)
		room -= takes
	}
	var matches []string
	for _, list := range lists {
		if len(list) == 1 {
			matches = append(matches, fmt.Sprintf(" -p %s --dport %s", p, list[0]))
			continue
		}
		matches = append(matches, fmt.Sprintf(" -p %s -m multiport --dports %s", p, strings.Join(list, ",")))
	}
	return matches
}

// addresses writes prefixes as a list.
func addresses(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = address(a)
	}
	return strings.Join(words, ",")
}
