package site

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/config"
)

// A block is a network or an address with who has it and where that stands.
type block struct {
	netip.Prefix
	last netip.Addr
	of   string // name of a zone or host
	path string
}

// compareBlocks brings a network before those that are part of it.
func compareBlocks(a, b block) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()), strings.Compare(a.of, b.of), strings.Compare(a.path, b.path))
}

// barred are what no host has as its address, with the word for it.
var barred = []struct {
	netip.Prefix
	what string
}{
	{netip.MustParsePrefix("0.0.0.0/32"), "unspecified"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 in IPv6"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
}

// parsePrefix returns the network, or the address as a prefix of full length, that a word is;
// the text says what is wrong with it and what to do.
func parsePrefix(w word) (netip.Prefix, string) {
	text := string(w)
	p, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var a netip.Addr
		a, err = netip.ParseAddr(text)
		if a.Zone() != "" {
			return p, fmt.Sprintf("%s: want an address without a scope: write %s", quote(w), a.WithZone(""))
		}
		if err == nil {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	switch {
	case err != nil:
		return p, fmt.Sprintf("%s is no address or network: write one such as 10.0.0.10, 10.0.0.0/24 or fd00:1::/64", quote(w))
	case p.Addr().Is4In6() && p.Bits() >= 96:
		four := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		return p, fmt.Sprintf("%s is IPv4 in IPv6: write %s", text, printed(four.Masked()))
	case p != p.Masked():
		return p, fmt.Sprintf("%s has bits set behind its length: write %s, or %s for the one address", text, p.Masked(), p.Addr())
	case p.Bits() == 0:
		return p, fmt.Sprintf("%s is every address there is: name the networks that are meant", text)
	}
	for _, b := range barred {
		if b.Overlaps(p) && b.Bits() <= p.Bits() {
			return p, fmt.Sprintf("%s is %s: no host has it as its address", text, b.what)
		} else if b.Overlaps(p) {
			return p, fmt.Sprintf("%s contains %s, which is %s: name the networks that are meant", text, printed(b.Prefix), b.what)
		}
	}
	return p, ""
}

// printed returns p, without its length if that is full.
func printed(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (r *reader) readZones() {
	if len(r.raw.Zones) == 0 {
		r.holes = true
		r.missing("$", "zones", "no zones: name at least one with its networks, zones: {core: {networks: [10.0.0.0/24]}}")
	}
	r.checkNames("$.zones", "zone", names(r.raw.Zones), isLetter)
	for _, name := range names(r.raw.Zones) {
		z := &Zone{Name: name}
		r.zones[name] = z
		r.site.Zones = append(r.site.Zones, z)
		path := config.Path("$.zones", name)
		if len(r.raw.Zones[name].Networks) == 0 {
			r.holes = true
			r.missing(path, "networks", "zone %s has no networks: name them, networks: [10.0.0.0/24]", quote(word(name)))
		}
		for i, w := range r.raw.Zones[name].Networks {
			if r.full {
				return
			}
			at := fmt.Sprintf("%s.networks[%d]", path, i)
			p, wrong := parsePrefix(w)
			if wrong != "" {
				r.holes = true
				r.mistake(at, "%s", wrong)
				continue
			}
			r.networks = append(r.networks, block{p, netipx.PrefixLastIP(p), name, at})
		}
	}
	r.networks = r.disjoint(r.networks, func(later, earlier block, line int) string {
		switch {
		case later.of != earlier.of && later.Prefix == earlier.Prefix:
			return fmt.Sprintf("%s is in zone %s too (line %d): zones share no address", printed(later.Prefix), earlier.of, line)
		case later.of != earlier.of:
			return fmt.Sprintf("%s of zone %s and %s of zone %s (line %d) overlap: zones share no address", printed(later.Prefix), later.of, printed(earlier.Prefix), earlier.of, line)
		case later.Prefix == earlier.Prefix:
			return fmt.Sprintf("%s is there twice: remove one", printed(later.Prefix))
		}
		return fmt.Sprintf("%s and %s (line %d) overlap: remove the smaller", printed(later.Prefix), printed(earlier.Prefix), line)
	})
	for _, b := range r.networks {
		z := r.zones[b.of]
		z.Networks = append(z.Networks, b.Prefix)
	}
}

// disjoint returns blocks in ascending order, without those that others contain; what says what is wrong with
// two of them, at the one that comes later in the file.
func (r *reader) disjoint(blocks []block, what func(later, earlier block, line int) string) []block {
	slices.SortFunc(blocks, compareBlocks)
	var kept []block
	for _, b := range blocks {
		// Two prefixes overlap only if one contains the other, and who contains comes first.
		if n := len(kept); n > 0 && kept[n-1].Overlaps(b.Prefix) {
			later, earlier := b, kept[n-1]
			at, before := r.file.Mistake(later.path, ""), r.file.Mistake(earlier.path, "")
			if cmp.Or(cmp.Compare(at.Line, before.Line), cmp.Compare(at.Column, before.Column)) < 0 {
				later, earlier, before = earlier, later, at
			}
			r.mistake(later.path, "%s", what(later, earlier, before.Line))
			continue
		}
		kept = append(kept, b)
	}
	return kept
}

// zoneOf returns the zone that has a whole block, or nil and what is wrong with it.
func (r *reader) zoneOf(b block) (*Zone, string) {
	// The last network that begins at or before the block, and those that begin within it.
	i, _ := slices.BinarySearchFunc(r.networks, b, func(n, b block) int { return cmp.Or(n.Addr().Compare(b.Addr()), -1) })
	var of []string // zones that the block touches
	whole := false
	next := b.Addr() // the first address that is not known to be in a zone
	for j := max(0, i-1); j < len(r.networks) && r.networks[j].Addr().Compare(b.last) <= 0; j++ {
		n := r.networks[j]
		if !n.Overlaps(b.Prefix) {
			continue
		}
		if !slices.Contains(of, n.of) {
			of = append(of, n.of)
		}
		if len(of) > 1 {
			return nil, fmt.Sprintf("%s is in zones %s and %s: make a host of each part", printed(b.Prefix), of[0], of[1])
		}
		if n.Addr().Compare(next) > 0 {
			break
		}
		if next = n.last.Next(); !next.IsValid() || n.last.Compare(b.last) >= 0 {
			whole = true
		}
	}
	switch {
	case len(of) == 0:
		return nil, fmt.Sprintf("%s is in no zone: correct it, or add its network to a zone", printed(b.Prefix))
	case !whole:
		return nil, fmt.Sprintf("%s is in zone %s only in part: correct it, or add its network to the zone", printed(b.Prefix), of[0])
	}
	return r.zones[of[0]], ""
}
