package render_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/portset"
)

// A rule of iptables, by its options.
type iptRule struct {
	chain, target        string
	from, to             []netip.Prefix
	protocol, ports, typ string
	other                []string // matches of other kinds
	commentLen           int
}

// readIptables reads back the rules of the chain that says who may connect, and of those it jumps to.
func readIptables(text string) ([]accept, error) {
	rules := map[string][]iptRule{}
	var first string
	_, filter, _ := strings.Cut(text, "*filter\n")
	for _, line := range strings.Split(filter, "\n") {
		switch {
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			if _, ok := rules[name]; ok || len(name) > 28 {
				return nil, fmt.Errorf("%q is declared twice, or long", name)
			}
			rules[name] = []iptRule{}
			if first == "" {
				first = name
			}
		case strings.HasPrefix(line, "-A "):
			r, err := readIptRule(line)
			if err != nil || len(line) > 10000 {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			if rules[r.chain] == nil {
				return nil, fmt.Errorf("%q: no such chain", line)
			}
			rules[r.chain] = append(rules[r.chain], r)
		}
	}
	var all []accept
	for _, r := range rules[first] {
		switch {
		case r.target == "DROP", r.from == nil, len(r.other) > 0 && !slices.Contains(r.other, "ah"),
			r.typ != "" && r.typ != "echo-request": // what is always let through
		case r.target == "ACCEPT":
			a, err := r.accept(r.from)
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		default:
			for _, inner := range rules[r.target] {
				if inner.from != nil || inner.target != "ACCEPT" {
					return nil, fmt.Errorf("chain %s does more than accept", r.target)
				}
				a, err := inner.accept(r.from)
				if err != nil {
					return nil, err
				}
				all = append(all, a)
			}
		}
	}
	return all, nil
}

func (r iptRule) accept(from []netip.Prefix) (accept, error) {
	a := accept{from: from, to: r.to}
	var err error
	switch {
	case len(r.to) == 0:
		return a, fmt.Errorf("%+v has no destination", r)
	case slices.Contains(r.other, "ah"):
		a.protocol = catalog.AH
	case r.protocol == "icmpv6":
		a.protocol = catalog.ICMP
	case r.protocol != "":
		a.protocol, err = catalog.ParseProtocol(r.protocol)
	}
	if err == nil && a.protocol.HasPorts() {
		a.ports, err = portset.Parse(strings.ReplaceAll(r.ports, ":", "-"))
	}
	if (a.protocol == catalog.ICMP) != (r.typ == "echo-request") {
		return a, fmt.Errorf("%+v is no echo request", r)
	}
	if n := strings.Count(r.ports, ",") + strings.Count(r.ports, ":") + 1; n > 15 || r.commentLen > 255 {
		return a, fmt.Errorf("%+v has %d ports, or a long comment", r, n)
	}
	return a, err
}

// readIptRule reads a line -A.
func readIptRule(line string) (iptRule, error) {
	r := iptRule{}
	before, rest, _ := strings.Cut(line, ` --comment "`)
	comment, after, _ := strings.Cut(rest, `"`)
	r.commentLen = len(comment)
	words := strings.Fields(before + after)
	for i := 0; i+1 < len(words); i += 2 {
		var err error
		switch value := words[i+1]; words[i] {
		case "-A":
			r.chain = value
		case "-s":
			r.from, err = readPrefixes(value)
		case "-d":
			r.to, err = readPrefixes(value)
		case "-p":
			r.protocol = value
		case "--dport", "--dports":
			r.ports = value
		case "--icmp-type", "--icmpv6-type":
			r.typ = value
		case "-j":
			r.target = value
		case "-m":
			if value != "multiport" && value != "comment" {
				r.other = append(r.other, value)
			}
		case "-i", "--ctstate", "--helper", "--hl-eq":
		default:
			return r, fmt.Errorf("unknown option %s", words[i])
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

func readPrefixes(list string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, word := range strings.Split(list, ",") {
		p, err := readPrefix(word)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func TestIptablesNeedsAFamily(t *testing.T) {
	in := subjects()["edge"]
	_, err := rendered(targetNamed("iptables"), in)
	if err == nil || !strings.Contains(err.Error(), "--family") || !strings.Contains(err.Error(), "--out") {
		t.Errorf("of both families: %v, want an error that says --family and --out", err)
	}
}

// A flow without ports where there have to be some is not let through as a whole.
func TestNoPortsIsAnError(t *testing.T) {
	for _, name := range []string{"nftables", "iptables"} {
		s := &testSite{}
		core, dmz := s.zone("core"), s.zone("dmz")
		w := s.firewall("edge", core, dmz)
		s.flow("tcp", hosts(s.host("a", dmz, "10.0.0.1")), hosts(s.host("b", core, "10.1.0.1")))
		in := render.ForFirewall(s.plan(), w)
		in.Family = render.IPv4
		_, err := rendered(targetNamed(name), in)
		var unsayable *render.UnsayableError
		if !errors.As(err, &unsayable) {
			t.Errorf("%s: %v, want an UnsayableError", name, err)
		}
	}
}

func targetNamed(name string) *render.Target {
	for _, t := range render.Targets() {
		if t.Name == name {
			return t
		}
	}
	return nil
}
