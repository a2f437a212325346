package render_test

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

// readNftables reads back the rules of a chain forward or input that say who may connect.
func readNftables(text string) ([]accept, error) {
	sets := map[string][]string{}
	var all []accept
	var set, chain string
	for _, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case words[0] == "set":
			set = "@" + words[1]
			if sets[set] != nil {
				return nil, fmt.Errorf("two sets %s", set)
			}
		case words[0] == "chain":
			set, chain = "", words[1]
		case set != "" && strings.HasSuffix(line, ","):
			for _, w := range words {
				sets[set] = append(sets[set], strings.TrimSuffix(w, ","))
			}
		case (chain == "forward" || chain == "input") && len(words) > 6 && words[1] == "saddr" && words[4] == "daddr":
			r, err := readNftRule(sets, words)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// readNftRule reads "ip saddr A ip daddr B … accept".
func readNftRule(sets map[string][]string, words []string) (accept, error) {
	resolve := func(w string) []string {
		if strings.HasPrefix(w, "@") {
			return sets[w]
		}
		return []string{w}
	}
	r := accept{}
	for _, side := range []struct {
		to   *[]netip.Prefix
		word string
	}{{&r.from, words[2]}, {&r.to, words[5]}} {
		for _, a := range resolve(side.word) {
			p, err := readPrefix(a)
			if err != nil {
				return r, err
			}
			if p.Addr().Is4() != (words[0] == "ip") {
				return r, fmt.Errorf("%s after %s", a, words[0])
			}
			*side.to = append(*side.to, p)
		}
	}
	match, comment, _ := strings.Cut(strings.Join(words[6:], " "), "accept")
	if len(comment) > len(` comment ""`)+128 {
		return r, fmt.Errorf("the comment has more than 128 bytes")
	}
	var err error
	switch what := strings.TrimSpace(match); {
	case what == "":
	case strings.HasPrefix(what, "tcp dport "), strings.HasPrefix(what, "udp dport "):
		if r.protocol, err = catalog.ParseProtocol(what[:3]); err == nil {
			r.ports, err = portset.Parse(strings.Join(resolve(what[10:]), ","))
		}
	case what == "icmp type echo-request" && words[0] == "ip", what == "icmpv6 type echo-request" && words[0] == "ip6":
		r.protocol = catalog.ICMP
	case what == "ip6 nexthdr ah":
		r.protocol = catalog.AH
	case strings.HasPrefix(what, "meta l4proto "):
		r.protocol, err = catalog.ParseProtocol(what[13:])
	default:
		err = fmt.Errorf("unknown match %q", what)
	}
	return r, err
}

// readPrefix reads an address or prefix.
func readPrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen()), err
}
