package render_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

func TestCiscoASA(t *testing.T) {
	p := company(t, true)
	for _, f := range p.Site.Firewalls {
		s := text(t, target("cisco-asa"), render.ForFirewall(p, f))
		golden(t, "cisco-asa-"+f.Name, s)
		if _, err := readASA(s); err != nil {
			t.Error(err)
		}
	}
}

// An asaConfig is what the tests read of a configuration.
type asaConfig struct {
	networks map[string][]netip.Prefix
	services map[string]portset.Set
	lists    map[string][]allowance // by name
	bound    map[string]string      // names of lists, by interface; from the comment that says so
}

// asaWords are the words of a line, from the left.
type asaWords struct {
	words []string
	err   error
}

func (w *asaWords) next() string {
	if len(w.words) == 0 {
		w.err = fmt.Errorf("the line ends too early")
		return ""
	}
	word := w.words[0]
	w.words = w.words[1:]
	return word
}

func (w *asaWords) network() netip.Prefix {
	word := w.next()
	if word == "host" {
		a, err := netip.ParseAddr(w.next())
		if err != nil {
			w.err = err
			return netip.Prefix{}
		}
		return netip.PrefixFrom(a, a.BitLen())
	}
	if n, err := netip.ParsePrefix(word); err == nil && n.Addr().Is6() {
		return n
	}
	a, err := netip.ParseAddr(word)
	mask := net.ParseIP(w.next()).To4()
	if err != nil || mask == nil {
		w.err = fmt.Errorf("%q: no network", word)
		return netip.Prefix{}
	}
	bits, _ := net.IPMask(mask).Size()
	return netip.PrefixFrom(a, bits)
}

func (w *asaWords) ports() portset.Set {
	switch word := w.next(); word {
	case "eq":
		p, err := strconv.ParseUint(w.next(), 10, 16)
		if err != nil {
			w.err = err
		}
		return portset.Ports(uint16(p))
	case "range":
		s, err := portset.Parse(w.next() + "-" + w.next())
		if err != nil {
			w.err = err
		}
		return s
	default:
		w.err = fmt.Errorf("unknown word %q", word)
		return portset.Set{}
	}
}

func readASA(s string) (*asaConfig, error) {
	c := &asaConfig{map[string][]netip.Prefix{}, map[string]portset.Set{}, map[string][]allowance{}, map[string]string{}}
	group := ""
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if err := c.line(line, &group); err != nil {
			return nil, fmt.Errorf("%q: %v", line, err)
		}
	}
	return c, nil
}

func (c *asaConfig) line(line string, group *string) error {
	if comment, ok := strings.CutPrefix(line, "!"); ok {
		if f := strings.Fields(comment); len(f) == 5 && f[0] == "access-group" {
			c.bound[f[4]] = f[1]
		}
		return nil
	}
	w := &asaWords{words: strings.Fields(line)}
	switch verb := w.next(); verb {
	case "object-group":
		kind, name := w.next(), w.next()
		if *group = name; len(name) > 64 || c.networks[name] != nil || !c.services[name].IsEmpty() {
			return fmt.Errorf("the name is too long, or taken")
		}
		if kind == "service" {
			*group = w.next() + " " + name
		}
	case "description":
		if len(strings.TrimPrefix(line, " description ")) > 200 {
			return fmt.Errorf("too long")
		}
		w.words = nil
	case "network-object":
		c.networks[*group] = append(c.networks[*group], w.network())
	case "port-object":
		_, name, _ := strings.Cut(*group, " ")
		c.services[name] = c.services[name].Union(w.ports())
	case "access-list":
		return c.entry(w)
	default:
		return fmt.Errorf("unknown word")
	}
	if w.err == nil && len(w.words) > 0 {
		return fmt.Errorf("what is %q?", w.words)
	}
	return w.err
}

func (c *asaConfig) entry(w *asaWords) error {
	name := w.next()
	if len(name) > 64 {
		return fmt.Errorf("the name is too long")
	}
	if w.words[0] == "remark" {
		if n := len(strings.Join(w.words[1:], " ")); n > 100 {
			return fmt.Errorf("a remark of %d", n)
		}
		return nil
	}
	if slices.Equal(w.words, []string{"extended", "deny", "ip", "any", "any"}) {
		if len(c.lists[name]) > 0 {
			return fmt.Errorf("not alone")
		}
		c.lists[name] = []allowance{}
		return nil
	}
	if w.next() != "extended" || w.next() != "permit" {
		return fmt.Errorf("not extended permit")
	}
	protocol := w.next()
	a := allowance{what: protocol}
	side := func() []netip.Prefix {
		if len(w.words) == 0 || w.words[0] != "object-group" {
			return []netip.Prefix{w.network()}
		}
		w.next()
		name := w.next()
		if c.networks[name] == nil {
			w.err = fmt.Errorf("no group %q", name)
		}
		return c.networks[name]
	}
	a.from, a.to = side(), side()
	switch protocol {
	case "tcp", "udp":
		if len(w.words) == 2 && w.words[0] == "object-group" {
			a.ports = c.services[w.words[1]]
			w.words = nil
		} else {
			a.ports = w.ports()
		}
		if a.ports.IsEmpty() {
			return fmt.Errorf("no ports")
		}
	case "ip":
		a.what = "all"
	case "icmp", "icmp6":
		a.what = "icmp"
		if len(w.words) > 0 {
			a.what = w.next()
		}
		if a.from[0].Addr().Is4() != (protocol == "icmp") {
			return fmt.Errorf("of the other family")
		}
	case "gre", "esp", "ah":
	default:
		return fmt.Errorf("unknown protocol")
	}
	if w.err == nil && len(w.words) > 0 {
		return fmt.Errorf("what is %q?", w.words)
	}
	for _, b := range c.lists[name] {
		if slices.Equal(a.from, b.from) && slices.Equal(a.to, b.to) && a.what == b.what && a.ports.Equal(b.ports) {
			return fmt.Errorf("it is there already")
		}
	}
	c.lists[name] = append(c.lists[name], a)
	return w.err
}

// Each list lets pass what comes from its zone, or through it, and no other.
func TestCiscoASAIsThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t, everyProtocol...)
		f := rapid.SampledFrom(p.Site.Firewalls).Draw(t, "firewall")
		in := drawFamily(t, render.ForFirewall(p, f))
		s, err := rendered(target("cisco-asa"), in)
		if err != nil {
			t.Fatal(err)
		}
		c, err := readASA(s)
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		middle := p.Site.Zones[1] // that both firewalls have
		if len(c.bound) != 2 || len(c.lists) != 2 {
			t.Fatalf("%d lists, of which %d are bound\n%s", len(c.lists), len(c.bound), s)
		}
		for _, z := range f.Zones {
			compare(t, in,
				func(flow *plan.Flow) bool { return !slices.Contains(flow.Narrowing.Pinhole, f) },
				func(from, to *site.Host) bool {
					on, _ := p.Way(from.Zone, to.Zone)
					enters := from.Zone
					if !slices.Contains(f.Zones, enters) {
						enters = middle
					}
					return slices.Contains(on, f) && enters == z
				}, c.lists[c.bound[z.Name]], s)
		}
	})
}
