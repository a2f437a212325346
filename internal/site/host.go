package site

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/portset"
)

func (r *reader) readHosts() {
	all := names(r.raw.Hosts)
	r.checkNames("$.hosts", "host", all, isLetter)
	var blocks []block // of all hosts
	for _, name := range all {
		if r.full {
			return
		}
		raw, path := r.raw.Hosts[name], config.Path("$.hosts", name)
		h := &Host{Name: name, LDAPS: raw.LDAPS, NetBIOS: raw.NetBIOS}
		r.hosts[name] = h
		r.site.Hosts = append(r.site.Hosts, h)
		own := r.addresses(path, name, raw)
		blocks = append(blocks, own...)
		h.Zone = r.zoneOfHost(path, raw, own)
		for _, b := range own {
			h.Addresses = append(h.Addresses, b.Prefix)
		}
		slices.SortFunc(h.Addresses, netip.Prefix.Compare)
		if raw.OS != "" || r.file.Has(path+".os") {
			os, err := r.catalog.ParseOS(string(raw.OS))
			if err != nil {
				r.mistake(path+".os", "%v", err)
			}
			h.OS = os
		}
		if raw.Domain != "" || r.file.Has(path+".domain") {
			h.Domain = r.domain(path+".domain", raw.Domain)
		}
		r.readRoles(path, raw, h)
		r.readDynamic(path, raw, h)
		r.readPins(path, raw, h)
	}
	r.disjoint(blocks, func(later, earlier block, line int) string {
		both := printed(later.Prefix)
		if later.Prefix != earlier.Prefix {
			both = fmt.Sprintf("%s and %s", printed(later.Prefix), printed(earlier.Prefix))
		}
		switch {
		case later.of == earlier.of && later.Prefix == earlier.Prefix:
			return fmt.Sprintf("%s is there twice: remove one", both)
		case later.of == earlier.of:
			return fmt.Sprintf("%s (line %d) overlap: remove the smaller", both, line)
		case later.Prefix == earlier.Prefix:
			return fmt.Sprintf("%s is host %s too (line %d): an address is one host's", both, earlier.of, line)
		}
		return fmt.Sprintf("%s of host %s (line %d) overlap: an address is one host's", both, earlier.of, line)
	})
	for _, h := range r.site.Hosts {
		if r.full {
			return
		}
		r.readUses(h)
	}
}

// addresses returns the addresses of a host that can be read.
func (r *reader) addresses(path, name string, raw fileHost) []block {
	if len(raw.Addresses) == 0 {
		r.missing(path, "addresses", "host %s has no addresses: list them, addresses: [10.0.0.10], or prefixes of a group of hosts", quote(word(name)))
	}
	var own []block
	for i, w := range raw.Addresses {
		at := fmt.Sprintf("%s.addresses[%d]", path, i)
		if p, wrong := parsePrefix(w); wrong != "" {
			r.mistake(at, "%s", wrong)
		} else {
			own = append(own, block{p, netipx.PrefixLastIP(p), name, at})
		}
	}
	return own
}

// zoneOfHost returns the zone that a host is in, which has all its addresses; nil if there is none, which is noted.
func (r *reader) zoneOfHost(path string, raw fileHost, own []block) *Zone {
	var said *Zone
	if raw.Zone != "" || r.file.Has(path+".zone") {
		said = r.zone(path+".zone", raw.Zone)
		if said == nil {
			return nil
		}
	}
	var found *Zone
	var first block // that is in found
	for _, b := range own {
		z, wrong := r.zoneOf(b)
		switch {
		case z == nil && r.holes: // its network may be one that could not be read
		case z == nil:
			r.mistake(b.path, "%s", wrong)
		case said != nil && z != said:
			r.mistake(b.path, "%s is in zone %s, and host %s says %s: correct one of the two", printed(b.Prefix), z.Name, b.of, said.Name)
		case found != nil && z != found:
			r.mistake(b.path, "%s is in zone %s, and %s in zone %s: make two hosts of %s, one in each", printed(b.Prefix), z.Name, printed(first.Prefix), found.Name, b.of)
		default:
			found, first = z, b
		}
	}
	return cmp.Or(said, found)
}

// zone returns the zone that a word of the file is, or nil if there is none.
func (r *reader) zone(path string, w word) *Zone {
	z := r.zones[string(w)]
	if z == nil && !(r.loose && len(r.zones) == 0) {
		advice := "no zone is defined"
		if len(r.zones) > 0 {
			advice = "known are " + join(names(r.zones))
		}
		r.unknown(path, "zone "+quote(w), string(w), namesOf(r.zones), advice)
	}
	return z
}

func (r *reader) readRoles(path string, raw fileHost, h *Host) {
	r.unsure[h] = r.loose && !r.file.Has(path+".roles")
	var needs []string // roles that need a domain, in the words of the file
	for i, w := range raw.Roles {
		at := fmt.Sprintf("%s.roles[%d]", path, i)
		name, group, grouped := strings.Cut(string(w), ":")
		id, ok := r.roleWord(at, fmt.Sprintf("role %s of host %s", quote(word(name)), h.Name), word(name))
		if !ok {
			r.unsure[h] = true
			continue
		}
		if grouped && !isName(group, isLetter) {
			r.mistake(at, "%s: after the colon stands a word for those who serve together, as in %s:a", quote(w), name)
			continue
		}
		role := Role{id, group}
		if slices.Contains(h.Roles, role) {
			r.mistake(at, "%s is role %s, which host %s has already: remove one", quote(w), id, h.Name)
			continue
		}
		h.Roles = append(h.Roles, role)
		if r.words.needsDomain(id) {
			needs = append(needs, name)
		}
	}
	slices.SortFunc(h.Roles, func(a, b Role) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Group, b.Group))
	})
	if len(needs) > 0 && !r.file.Has(path+".domain") {
		r.missing(path, "domain", "host %s is %s, which needs a domain: say which, domain: corp.example", h.Name, join(needs))
	}
	if r.words.has(h, roleDC) && r.words.has(h, roleRODC) && !slices.Contains(r.words.closure(roleRODC), roleDC) {
		r.mistake(path+".roles", "host %s is a domain controller that is writable and one that is read-only: remove one of the two", h.Name)
	}
}

// readDynamic sets the ports that a host gives out.
func (r *reader) readDynamic(path string, raw fileHost, h *Host) {
	ranged, policed := r.file.Has(path+".dynamic_range"), r.file.Has(path+".rpc_policy")
	if ranged && policed {
		r.mistake(path+".rpc_policy", "host %s has dynamic_range and rpc_policy: keep one, rpc_policy if it has that policy of RPC", h.Name)
	}
	if ranged {
		ports, err := portset.Parse(string(raw.DynamicRange))
		switch {
		case err != nil:
			r.mistake(path+".dynamic_range", "dynamic_range %s: %s", quote(raw.DynamicRange), reason(err))
		case ports.IsEmpty():
			r.mistake(path+".dynamic_range", "dynamic_range has no ports: name them, 50000-50255, or remove the key for those of the system")
		case ports.Contains(0):
			r.mistake(path+".dynamic_range", "dynamic_range %s: 0 is no port that a host gives out", ports)
		default:
			h.Dynamic = Dynamic{Ports: ports, From: "dynamic_range"}
		}
	}
	if policed {
		p := r.policy(raw.RPCPolicy)
		if p.Policy == nil {
			r.note(r.file.Mistake(path+".rpc_policy", "rpc_policy %s: %s", quote(raw.RPCPolicy), p.why), p.mistakes...)
			return
		}
		ports := p.Pool(portpool.Default, r.dynamicOf(h.OS))
		if ports.IsEmpty() {
			r.mistake(path+".rpc_policy", "rpc_policy %s leaves ordinary servers no port: see quaymaster pool lint", quote(raw.RPCPolicy))
		}
		h.Dynamic = Dynamic{Ports: ports, From: "rpc_policy " + printable(string(raw.RPCPolicy)), Policy: true}
	}
}

// dynamicOf returns the dynamic ports of a system, of a current Windows if it is nil.
func (r *reader) dynamicOf(os *catalog.OS) portset.Set {
	if os != nil {
		return r.catalog.DynamicPorts(os).Ports
	}
	for _, g := range r.catalog.Generations() {
		if g.ID == "modern" {
			return g.DynamicRPC
		}
	}
	return portset.Set{}
}

// policy returns the policy that the named file has. It is read once.
func (r *reader) policy(name word) policy {
	if p, ok := r.policies[string(name)]; ok {
		return p
	}
	p := r.readPolicy(string(name))
	r.policies[string(name)] = p
	return p
}

func (r *reader) readPolicy(name string) policy {
	if name == "" {
		return policy{why: "name the file, or remove the key"}
	}
	data, err := r.open(name)
	if err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok {
			err = failed.Err // the name is said already
		}
		return policy{why: err.Error()}
	}
	d, err := portpool.Read(name, bytes.NewReader(data))
	if err == nil {
		var p *portpool.Policy
		if p, err = d.Valid(); p != nil {
			return policy{Policy: p}
		}
	}
	if mistakes, ok := errors.AsType[config.Mistakes](err); ok {
		return policy{why: "the file has no policy that holds", mistakes: mistakes}
	}
	return policy{why: err.Error()}
}

// reason returns what an error of portset says, without where in the word that is.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}
