package render

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
)

var firewalld = &Target{Name: "firewalld", Title: "firewalld", Extension: ".sh", Of: OfBox, System: "linux", Render: renderFirewalld}

// fwdName is how many bytes of ours have room in the name of a policy, which has 17 at most: qm-NAME.
const fwdName = 14

// A fwdText is a policy of firewalld that is being written, with the files that it refers to: an IP set where a rule
// has several addresses, a service where it has several ports. Each is there once, however many rules refer to it.
type fwdText struct {
	in    *Input
	name  string
	files bytes.Buffer
	rules bytes.Buffer
	known map[string]string // names of IP sets and services, by what they hold
	count map[string]int    // of them, by the word their names begin with
	help  []helper          // for what the firewall follows
}

// renderFirewalld writes a script of the shell that writes the files of a policy and has firewalld check them: the commands
// of firewalld would take a third of a second for each rule, and a file of its own format
// cannot hold sets, services and a policy. The policy is for whatever is forwarded, or comes to the host,
// without regard to zones: which interfaces are in which zone is not said in a plan. What belongs to connections that
// were let through firewalld accepts by itself.
func renderFirewalld(w io.Writer, in *Input) error {
	if err := in.check("firewalld"); err != nil {
		return err
	}
	t := &fwdText{in: in, name: "qm-" + identifier(in.box(), fwdName), known: map[string]string{}, count: map[string]int{}}
	for _, h := range helpers {
		if len(in.followed(h.Follows)) > 0 {
			t.help = append(t.help, h)
		}
	}
	if in.Host != nil && in.Family != IPv4 {
		for _, typ := range []string{"neighbour-solicitation", "neighbour-advertisement", "router-advertisement", "redirect"} {
			fmt.Fprintf(&t.rules, "  <rule family=\"ipv6\"><icmp-type name=\"%s\"/><accept/></rule>\n", typ)
		}
	}
	for i := range in.Rules {
		if err := t.rule(&in.Rules[i]); err != nil {
			return err
		}
	}

	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "#!/bin/sh\n# %s: what may connect, by the plan.\n", in.subject())
	for _, line := range t.head() {
		fmt.Fprintf(out, "# %s\n", line)
	}
	fmt.Fprintf(out, "set -eu\ncd \"${1:-/etc/firewalld}\"\nmkdir -p ipsets services policies\nrm -f %s\n\n", t.paths())
	t.files.WriteTo(out)
	egress := "ANY"
	if in.Host != nil {
		egress = "HOST"
	}
	fmt.Fprintf(out, "cat >policies/%s.xml <<'END'\n<policy target=\"DROP\" priority=\"-100\">\n  <short>%s</short>\n", t.name, escape(in.subject()))
	fmt.Fprintf(out, "  <ingress-zone name=\"ANY\"/>\n  <egress-zone name=\"%s\"/>\n", egress)
	t.rules.WriteTo(out)
	out.WriteString("</policy>\nEND\n\nfirewall-offline-cmd --system-config \"$PWD\" --check-config\n")
	return out.Flush()
}

// paths are all that the text has ever written for its box.
func (t *fwdText) paths() string {
	return fmt.Sprintf("ipsets/%[1]s-*.xml services/%[1]s-*.xml policies/%[1]s.xml", t.name)
}

// head says what a reader has to know before all else.
func (t *fwdText) head() []string {
	lines := []string{
		"load:   sh FILE && firewall-cmd --reload",
		"remove: cd /etc/firewalld && rm -f " + t.paths() + " && firewall-cmd --reload",
		"It takes firewalld 1.0 or later.",
	}
	if t.in.Host != nil {
		lines = append(lines, "This is a whole input policy: whatever else comes to this host is dropped, whatever the zones let in.")
	} else {
		lines = append(lines, "Whatever else is forwarded is dropped, whatever the zones let through; what comes to the firewall itself is not looked at.")
	}
	return append(lines, t.in.unopened("what follows it has to open them here")...)
}

// rule writes one for each family in which the two sides have addresses.
func (t *fwdText) rule(r *Rule) error {
	t.rules.WriteByte('\n')
	for _, line := range r.audit() {
		fmt.Fprintf(&t.rules, "  %s\n", comment(line))
	}
	written := false
	for _, f := range t.in.Family.each() {
		from, to := f.Addresses(r.From), f.Addresses(r.To)
		if len(from) == 0 || len(to) == 0 {
			continue
		}
		if r.protocol() == catalog.AH && f == IPv6 {
			return &UnsayableError{"firewalld", r.Flows[0], "it knows AH of IPv4 only; plan for IPv4 with --family 4, or for nftables"}
		}
		fmt.Fprintf(&t.rules, "  <rule family=\"%s\"><source %s/><destination %s/>%s<accept/></rule>\n",
			f.pick("ipv4", "ipv6"), t.hosts(f, from), t.hosts(f, to), t.what(r))
		written = true
	}
	if !written {
		fmt.Fprintf(&t.rules, "  %s\n", comment(noAddress))
	}
	return nil
}

// hosts returns an address, or the set that has several, as an attribute.
func (t *fwdText) hosts(f Family, list []netip.Prefix) string {
	if len(list) == 1 {
		return fmt.Sprintf("address=\"%s\"", address(list[0]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<ipset type=\"hash:net\">\n  <option name=\"family\" value=\"%s\"/>\n", f.pick("inet", "inet6"))
	if len(list) > 65536 { // which is what it has room for if nothing is said
		fmt.Fprintf(&b, "  <option name=\"maxelem\" value=\"%d\"/>\n", len(list))
	}
	for _, a := range list {
		fmt.Fprintf(&b, "  <entry>%s</entry>\n", address(a))
	}
	b.WriteString("</ipset>\n")
	return fmt.Sprintf("ipset=\"%s\"", t.file("ipsets", f.pick("v4-", "v6-"), b.String()))
}

// what returns protocol and ports of a rule as an element; nothing for everything.
func (t *fwdText) what(r *Rule) string {
	switch p := r.protocol(); {
	case p == 0:
		return ""
	case p == catalog.ICMP:
		return "<icmp-type name=\"echo-request\"/>"
	case !p.HasPorts():
		return fmt.Sprintf("<protocol value=\"%s\"/>", p)
	default:
		var ports []string
		for one := range r.Ports.Ranges() {
			ports = append(ports, fmt.Sprintf("<port port=\"%s\" protocol=\"%s\"/>", one, p))
		}
		for _, h := range t.help {
			// It is for all that passes in the end, since firewalld has no source for it.
			if h.Protocol == p && r.Ports.Contains(h.Port) {
				ports = append(ports, fmt.Sprintf("<helper name=\"%s\"/>", h.Name))
			}
		}
		if len(ports) == 1 {
			return ports[0]
		}
		return fmt.Sprintf("<service name=\"%s\"/>", t.file("services", "", "<service>\n  "+strings.Join(ports, "\n  ")+"\n</service>\n"))
	}
}

// file returns the name of a file of ours in a folder that has a text. There is one of the same text.
func (t *fwdText) file(folder, word, text string) string {
	if name, ok := t.known[text]; ok {
		return name
	}
	k := folder + word
	t.count[k]++
	name := fmt.Sprintf("%s-%s%d", t.name, word, t.count[k])
	t.known[text] = name
	fmt.Fprintf(&t.files, "cat >%s/%s.xml <<'END'\n%sEND\n", folder, name, text)
	return name
}

// escape writes a text for XML.
func escape(text string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(text)) // never fails with a buffer
	return b.String()
}

// comment writes a text for a comment of XML, in which two dashes would end it.
func comment(text string) string {
	for range 2 { // of three in a row two are left the first time
		text = strings.ReplaceAll(text, "--", "- -")
	}
	return "<!-- " + text + " -->"
}
