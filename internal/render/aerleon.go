package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

var aerleon = &Target{
	Name:      "aerleon",
	Title:     "Aerleon, which writes the rules of thirty more kinds of firewalls",
	Extension: ".yaml",
	Of:        OfBox,
	Render:    renderAerleon,
}

// One text is both of Aerleon's files, the definitions and the policy: as either of them it takes of a file what
// it knows, networks and services or filters.
func renderAerleon(w io.Writer, in *Input) error {
	if err := in.check("aerleon"); err != nil {
		return err
	}
	a := &aerleonTerms{family: in.Family, prefix: strings.ToUpper("QM_" + word(in.box()) + "_"), names: wordsOf(everybody(in.Rules)), known: map[string]bool{}}
	for _, r := range in.Rules {
		a.rule(in, &r)
	}
	b := &bytes.Buffer{}
	b.WriteString(aerleonHead)
	writeDefinitions(b, "networks", &a.networks)
	writeDefinitions(b, "services", &a.services)
	fmt.Fprintf(b, "filters:\n- header:\n    comment: %s\n    targets:\n", yamlQuote("What passes "+in.box()+" by the plan"))
	name := "qm-" + word(in.box())
	fmt.Fprintf(b, "      cisco: %s mixed\n      juniper: %[1]s mixed\n", name)
	fmt.Fprintf(b, "  terms:\n%s  - name: nothing-else\n    comment: What no other term lets pass\n    action: deny\n", a.terms.String())
	_, err := w.Write(b.Bytes())
	return err
}

const aerleonHead = `# Definitions and policy for Aerleon, in one file. Name the targets that you have under targets; then
#   aclgen --definitions_directory . --base_directory . --policy_file FILE --output_directory rules
# Targets that know no connections (routers, switches) need a way back as well, and targets with zones their names.
`

// everybody returns the hosts of rules, ascending.
func everybody(rules []Rule) []*site.Host {
	var all []*site.Host
	for _, r := range rules {
		all = append(append(all, r.From...), r.To...)
	}
	slices.SortFunc(all, byName)
	return slices.Compact(all)
}

// aerleonTerms is what is written of a policy.
type aerleonTerms struct {
	family             Family
	prefix             string
	names              map[*site.Host]string
	known              map[string]bool // definitions that are written, with their kind: "network A"
	networks, services bytes.Buffer    // definitions
	terms              bytes.Buffer
}

func writeDefinitions(b *bytes.Buffer, of string, definitions *bytes.Buffer) {
	if definitions.Len() == 0 {
		of += ": {}\n"
	} else {
		of += ":\n"
	}
	b.WriteString(of)
	b.Write(definitions.Bytes())
}

// rule writes the terms of a rule: one, or of ICMP one for each family.
func (a *aerleonTerms) rule(in *Input, r *Rule) {
	from, to := of(in.Family, r.From), of(in.Family, r.To)
	both := in.meet(from, to)
	if len(both) == 0 {
		return
	}
	switch protocol := r.protocol(); {
	case protocol == catalog.ICMP:
		icmpType := ""
		if isEcho(r.Flows) {
			icmpType = "echo-request"
		}
		for _, f := range both {
			name := "icmp"
			if f == IPv6 {
				name = "icmpv6"
			}
			a.term(r, name, of(f, from), of(f, to), "protocol", name, "icmp-type", icmpType)
		}
	case protocol == 0:
		a.term(r, "all", from, to)
	case protocol.HasPorts():
		a.term(r, protocol.String(), from, to, "protocol", protocol.String(), "destination-port", a.service(r))
	default:
		a.term(r, protocol.String(), from, to, "protocol", protocol.String())
	}
}

// of returns those of hosts that have an address of a family.
func of(f Family, hosts []*site.Host) []*site.Host {
	return slices.DeleteFunc(slices.Clone(hosts), func(h *site.Host) bool { return len(f.Addresses([]*site.Host{h})) == 0 })
}

// term writes one term, with keys and values; those without a value are left out.
func (a *aerleonTerms) term(r *Rule, protocol string, from, to []*site.Host, entries ...string) {
	ids, _ := flowIDs(r.Flows)
	sources, destinations := a.network(from), a.network(to)
	fmt.Fprintf(&a.terms, "  - name: %s-%s\n    comment: %s\n    source-address: %s\n    destination-address: %s\n",
		protocol, digest(ids, sources, destinations, entries), yamlQuote(r.Remark(70)), sources, destinations)
	for i := 0; i < len(entries); i += 2 {
		if entries[i+1] != "" {
			fmt.Fprintf(&a.terms, "    %s: %s\n", entries[i], entries[i+1])
		}
	}
	a.terms.WriteString("    action: accept\n")
}

// network defines what hosts have of addresses unless it is defined, and returns its name. What a term is from
// or to has one name: generators put neighbouring addresses of several together, and some then
// give what comes of it one of their names, which would be wider elsewhere.
func (a *aerleonTerms) network(hosts []*site.Host) string {
	name := a.prefix + strings.ToUpper(a.names[hosts[0]])
	if len(hosts) > 1 {
		all := make([]string, len(hosts))
		for i, h := range hosts {
			all[i] = h.Name
		}
		name = a.prefix + "HOSTS_" + strings.ToUpper(digest(all))
	}
	if !a.known["network "+name] {
		a.known["network "+name] = true
		fmt.Fprintf(&a.networks, "  %s:\n    values:\n", name)
		for _, h := range hosts {
			for _, n := range a.family.Addresses([]*site.Host{h}) {
				fmt.Fprintf(&a.networks, "    - {address: %s, comment: %s}\n", yamlQuote(n.String()), yamlQuote(ascii(h.Name)))
			}
		}
	}
	return name
}

// service defines the ports of a rule unless they are defined, and returns their name.
func (a *aerleonTerms) service(r *Rule) string {
	protocol := r.protocol().String()
	name := a.prefix + strings.ToUpper(protocol) + "_" + strings.ToUpper(digest(r.Ports))
	if !a.known["service "+name] {
		a.known["service "+name] = true
		fmt.Fprintf(&a.services, "  %s:\n", name)
		for ports := range r.Ports.Ranges() {
			fmt.Fprintf(&a.services, "  - {protocol: %s, port: %s}\n", protocol, yamlQuote(ports.String()))
		}
	}
	return name
}

// yamlQuote writes a string of ASCII as YAML and JSON both have it.
func yamlQuote(s string) string {
	b, err := json.Marshal(ascii(s))
	if err != nil {
		panic(err) // strings have no errors
	}
	return string(b)
}
