package catalog

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// An Interface is what is known of one version of a DCE/RPC interface: a row of
// rpc-interfaces.tsv. A few rows are UUIDs of objects, which stand in the same
// places of traces and tables: see Kind.
type Interface struct {
	UUID           ndr.UUID
	Major, Minor   uint16      // version
	VersionUnknown bool        // the sources do not tell the version, which then is 0.0 here
	Name           string      // the name to show: winreg; empty when the sources have none
	Aliases        []string    // other names in use, which may be names of other interfaces too
	Docs           []string    // specifications that define it: MS-RRP; empty when none is published
	Service        string      // of Windows, or the product, that serves it: RemoteRegistry; empty when not known
	Module         string      // the file that holds its code, sometimes with its product: regsvc.dll; empty when not known
	Kind           Kind        // whether, and by whom, it can be called
	Transports     []Transport // how servers are reached by convention; empty when not known
	TransportBasis []string    // where Transports was found; "unknown" alone when nobody says, empty for UUIDs of objects
	Sources        []string    // where the other facts were found; never empty
	Status         Status      // how well they are confirmed
	Note           string      // a remark for people, which tells where sources disagree; often empty
}

// A Kind says what an [Interface] is to others.
type Kind string

const (
	KindRPC             Kind = "rpc"          // called directly, as its specification or common use has it
	KindDCOM            Kind = "dcom"         // of a DCOM object: called where the object's activation says (MS-DCOM)
	KindInternal        Kind = "internal"     // between parts of one product: no specification is published, and most are reached by ncalrpc only
	KindObjectUUID      Kind = "object-uuid"  // no interface, but an object UUID in calls of one (C706, section 12.6.4.9)
	KindMaybeObjectUUID Kind = "object-uuid?" // probably such; the sources do not tell
)

// A Status says how well an [Interface] is confirmed.
type Status string

const (
	StatusVerified     Status = "verified"      // by two sources or more
	StatusSingleSource Status = "single-source" // by nobody else
)

// clone returns a copy that shares nothing with is.
func (is *Interface) clone() Interface {
	c := *is
	c.Aliases = slices.Clone(c.Aliases)
	c.Docs = slices.Clone(c.Docs)
	c.Transports = slices.Clone(c.Transports)
	c.TransportBasis = slices.Clone(c.TransportBasis)
	c.Sources = slices.Clone(c.Sources)
	return c
}

// compare orders interfaces by UUID and version; one that is not known is last.
func (is *Interface) compare(other *Interface) int {
	return cmp.Or(
		bytes.Compare(is.UUID[:], other.UUID[:]),
		cmp.Compare(is.version(), other.version()),
	)
}

// version returns the version as a number that grows with it, above all others
// when it is not known.
func (is *Interface) version() int64 {
	if is.VersionUnknown {
		return math.MaxInt64
	}
	return int64(is.Major)<<16 | int64(is.Minor)
}

// distance returns how far the version of is is from another one: a difference
// of the major version outweighs any of the minor, and a version that is not
// known is farthest.
func (is *Interface) distance(major, minor uint16) int64 {
	if is.VersionUnknown {
		return math.MaxInt64
	}
	return abs(int64(is.Major)-int64(major))<<16 + abs(int64(is.Minor)-int64(minor))
}

func abs(n int64) int64 { return max(n, -n) }

// Interface returns the interface with the given UUID and version. Where the
// catalog does not have that version it returns the nearest one, so that a row
// of a table gets its name: the nearest major version, of that the nearest minor
// one, and the newer of two that are equally near. The result's version tells
// which it is. It returns false if the catalog does not know the UUID. The result
// is the caller's to change.
func (c *Catalog) Interface(uuid ndr.UUID, major, minor uint16) (Interface, bool) {
	is := c.nearest(uuid, major, minor)
	if is == nil {
		return Interface{}, false
	}
	return is.clone(), true
}

// InterfaceName returns the name of what [Catalog.Interface] returns, or "" if
// that is nothing or has no name. It does not allocate.
func (c *Catalog) InterfaceName(uuid ndr.UUID, major, minor uint16) string {
	is := c.nearest(uuid, major, minor)
	if is == nil {
		return ""
	}
	return is.Name
}

// InterfacesByUUID returns all versions of the interface with the given UUID in
// ascending order, or none. They are the caller's to change.
func (c *Catalog) InterfacesByUUID(uuid ndr.UUID) []Interface {
	var versions []Interface
	for _, is := range c.versions(uuid) {
		versions = append(versions, is.clone())
	}
	return versions
}

// InterfacesByName returns the interfaces with the given name, in lower or upper
// case, or if there are none those with such an alias: the alias lsarpc of
// another interface does not make lsarpc ambiguous. Names are not unique, so
// there may be several, in order of UUID and version. They are the caller's to
// change.
func (c *Catalog) InterfacesByName(name string) []Interface {
	if name == "" { // which would find those without a name
		return nil
	}
	var named, aliased []Interface
	for _, is := range c.allInterfaces() {
		same := func(s string) bool { return strings.EqualFold(s, name) }
		switch {
		case same(is.Name):
			named = append(named, is.clone())
		case slices.ContainsFunc(is.Aliases, same):
			aliased = append(aliased, is.clone())
		}
	}
	if len(named) > 0 {
		return named
	}
	return aliased
}

// Interfaces returns all interfaces in ascending order of UUID and version. They
// are the caller's to change.
func (c *Catalog) Interfaces() iter.Seq[Interface] {
	return func(yield func(Interface) bool) {
		for _, is := range c.allInterfaces() {
			if !yield(is.clone()) {
				return
			}
		}
	}
}

func (c *Catalog) allInterfaces() []*Interface {
	if c.interfaces == nil {
		return nil
	}
	return c.interfaces()
}

// versions returns the interfaces that have the given UUID.
func (c *Catalog) versions(uuid ndr.UUID) []*Interface {
	all := c.allInterfaces()
	first, _ := slices.BinarySearchFunc(all, uuid, func(is *Interface, uuid ndr.UUID) int {
		return bytes.Compare(is.UUID[:], uuid[:])
	})
	end := first
	for end < len(all) && all[end].UUID == uuid {
		end++
	}
	return all[first:end]
}

func (c *Catalog) nearest(uuid ndr.UUID, major, minor uint16) *Interface {
	var best *Interface
	for _, is := range c.versions(uuid) {
		if best == nil || is.distance(major, minor) <= best.distance(major, minor) {
			best = is
		}
	}
	return best
}

// readInterfaces reads rpc-interfaces.tsv, and returns what has the interfaces of all
// layers in ascending order of UUID and version. They are many, so those of a layer
// below are left until they are asked for.
func (b *build) readInterfaces() (func() []*Interface, error) {
	t, err := b.table("rpc-interfaces.tsv", []string{
		"uuid", "version", "doc", "name", "aliases", "service", "module", "kind",
		"transports", "transport_basis", "n_sources", "sources", "status", "note",
	})
	if err != nil {
		return nil, err
	}
	if b.site && len(t.rows) == 0 && len(t.mistakes) == 0 {
		return b.below.allInterfaces, nil
	}
	type key struct {
		uuid    ndr.UUID
		version int64
	}
	interfaces := make([]*Interface, 0, len(t.rows))
	lineOf := make(map[key]int, len(t.rows))
	for _, r := range t.rows {
		is := r.rpcInterface()
		k := key{is.UUID, is.version()}
		if line, taken := lineOf[k]; taken {
			r.mistake("uuid", "%s in this version is on line %d too: make one row of the two", is.UUID, line)
		}
		lineOf[k] = r.line
		interfaces = append(interfaces, is)
	}
	if err := t.err(); err != nil {
		return nil, err
	}
	merged := merge(b, "interface", b.below.allInterfaces(), interfaces, func(is **Interface) string { return (*is).key() }, t.place)
	slices.SortFunc(merged, (*Interface).compare)
	return value(merged), nil
}

// key returns the UUID and version of is: 338cd001-2244-31f1-aaaa-900038001003 1.0.
func (is *Interface) key() string {
	if is.VersionUnknown {
		return is.UUID.String() + " ?"
	}
	return fmt.Sprintf("%s %d.%d", is.UUID, is.Major, is.Minor)
}

// rpcInterface returns what r says, having noted what is wrong with it.
func (r row) rpcInterface() *Interface {
	is := &Interface{
		UUID:           r.uuid(),
		Name:           r.text("name"),
		Aliases:        r.list("aliases", ","),
		Docs:           r.list("doc", ";"),
		Service:        r.text("service"),
		Module:         r.text("module"),
		Kind:           Kind(r.text("kind")),
		Transports:     r.transports(),
		TransportBasis: r.list("transport_basis", "+"),
		Sources:        r.sources(),
		Status:         Status(r.text("status")),
		Note:           r.text("note"),
	}
	is.Major, is.Minor, is.VersionUnknown = r.version()
	if is.Name != "" && !isWords(is.Name) {
		r.mistake("name", "%q: %s", is.Name, wantWords)
	}
	for _, alias := range is.Aliases {
		if !isWords(alias) {
			r.mistake("aliases", "%q: %s", alias, wantWords)
		}
	}
	if is.Name == "" && len(is.Aliases) > 0 {
		r.mistake("name", "none: make the first alias the name")
	}
	switch is.Kind {
	case KindRPC, KindDCOM, KindInternal, KindObjectUUID, KindMaybeObjectUUID:
	default:
		r.mistake("kind", "%q: want rpc, dcom, internal, object-uuid or object-uuid?", is.Kind)
	}
	r.checkBasis(is)
	r.checkStatus(is)
	return is
}

// checkBasis notes a basis of nothing, and transports without one.
func (r row) checkBasis(is *Interface) {
	const column = "transport_basis"
	basis := strings.Join(is.TransportBasis, "+")
	switch known := basis != "" && basis != "unknown"; {
	case len(is.Transports) > 0 && !known:
		r.mistake(column, "%q: want where transports was found", basis)
	case len(is.Transports) == 0 && known:
		r.mistake(column, "%q: want unknown or -, as transports has none", basis)
	}
}

// checkStatus notes a status that the number of sources belies.
func (r row) checkStatus(is *Interface) {
	n := len(is.Sources)
	switch {
	case is.Status != StatusVerified && is.Status != StatusSingleSource:
		r.mistake("status", "%q: want verified or single-source", is.Status)
	case is.Status == StatusVerified && n < 2:
		r.mistake("status", "%q takes two sources, and sources has %d", is.Status, n)
	case is.Status == StatusSingleSource && n > 1:
		r.mistake("status", "%q, but sources has %d", is.Status, n)
	}
}

func (r row) uuid() ndr.UUID {
	const column = "uuid"
	text := r.text(column)
	uuid, err := ndr.ParseUUID(text)
	if err != nil {
		r.mistake(column, "%w", err)
	} else if text != strings.ToLower(text) {
		r.mistake(column, "%q: write it in lower case, as tools search for it", text)
	}
	return uuid
}

func (r row) version() (major, minor uint16, unknown bool) {
	const column = "version"
	text := r.text(column)
	if text == "?" {
		return 0, 0, true
	}
	before, after, _ := strings.Cut(text, ".")
	m, _ := strconv.ParseUint(before, 10, 16)
	n, _ := strconv.ParseUint(after, 10, 16)
	if strconv.FormatUint(m, 10)+"."+strconv.FormatUint(n, 10) != text { // what does not parse differs
		r.mistake(column, "%q: want a major and a minor version such as 1.0, or ? where they are not known", text)
	}
	return uint16(m), uint16(n), false
}

func (r row) transports() []Transport {
	const column = "transports"
	items := r.list(column, ";")
	if len(items) == 1 && items[0] == "unknown (mostly ncalrpc)" {
		return nil
	}
	var transports []Transport
	for _, text := range items {
		t, err := parseTransport(text)
		if err != nil {
			r.mistake(column, "%w", err)
		}
		transports = append(transports, t)
	}
	return transports
}

const wantWords = "want words of letters, digits, '.', '_' and '-', each with at least one letter"

// isWords reports whether s is names with a space between each two of them.
func isWords(s string) bool {
	for word := range strings.SplitSeq(s, " ") {
		if !isName(word) {
			return false
		}
	}
	return true
}
