package gate

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/portset"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Defaults of what gate.yaml leaves out.
var (
	DefaultLimits = Limits{Pinholes: 100_000, PerClient: 64, PerServer: 10_000, Sessions: 4000}
	DefaultMarks  = Marks{Packet: 0x01000000, Flow: 0x02000000, Table: 30111, Port: 30111}
)

// Bounds of what gate.yaml may say.
const (
	minLifetime = time.Second
	maxLifetime = time.Hour
	maxPinholes = 1_000_000
	maxSessions = 100_000
	maxTable    = 32765 // as a priority it comes before the host's own tables
	maxNetworks = 10_000
)

// usual is what entries of a protocol have where gate.yaml says nothing.
var usual = map[Protocol]struct {
	port     uint16
	lifetime time.Duration
}{
	EPM:        {135, time.Minute},
	Portmapper: {111, time.Minute},
	FTP:        {21, 30 * time.Second},
	TFTP:       {69, 30 * time.Second},
}

//go:embed gate.schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of gate.yaml. The bytes are the caller's.
func Schema() []byte { return slices.Clone(schema) }

//go:embed gate.example.yaml
var example []byte

// Example returns a gate.yaml with every key, explained. The bytes are the caller's.
func Example() []byte { return slices.Clone(example) }

// document is gate.yaml, where nat is one word, or has the key snat.
type document[N string | snatDocument] struct {
	ClientSide []string `yaml:"client_side"`
	ServerSide []string `yaml:"server_side"`
	Forward    string   `yaml:"forward"`
	NAT        N        `yaml:"nat"`
	Follow     struct {
		EPM        *entryDocument `yaml:"epm"`
		Portmapper *entryDocument `yaml:"portmapper"`
		FTP        *entryDocument `yaml:"ftp"`
		TFTP       *entryDocument `yaml:"tftp"`
	} `yaml:"follow"`
	Limits struct {
		Pinholes  int `yaml:"pinholes"`
		PerClient int `yaml:"per_client"`
		PerServer int `yaml:"per_server"`
		Sessions  int `yaml:"sessions"`
	} `yaml:"limits"`
	Unreadable string `yaml:"unreadable"`
	Marks      struct {
		Packet uint32 `yaml:"packet"`
		Flow   uint32 `yaml:"flow"`
		Table  uint32 `yaml:"table"`
		Port   uint16 `yaml:"port"`
	} `yaml:"marks"`
}

type snatDocument struct {
	SNAT string `yaml:"snat"`
}

type entryDocument struct {
	Clients     []string      `yaml:"clients"`
	Servers     []string      `yaml:"servers"`
	Ports       []portset.Set `yaml:"ports"`
	ServerPorts portset.Set   `yaml:"server_ports"`
	Lifetime    time.Duration `yaml:"lifetime"`
	Interfaces  []word        `yaml:"interfaces"` // of epm
	Programs    []word        `yaml:"programs"`   // of portmapper
}

// A word is text, or a number, which looks like no text to YAML.
type word string

// UnmarshalText takes any text: the reader says what is wrong with it.
func (w *word) UnmarshalText(b []byte) error {
	*w = word(b)
	return nil
}

// ReadPolicy reads gate.yaml; name is the file's. The words for interfaces and programs are those of the catalog. The error is a
// [config.Mistakes]: all that is wrong.
func ReadPolicy(name string, data []byte, c *catalog.Catalog) (*Policy, error) {
	d, f, err := decode(name, data, "none")
	if err != nil {
		// It may be the other form; if that does not fit either, what fits better tells what is wrong.
		m, file, mappingErr := decode(name, data, snatDocument{})
		var mistakes, others config.Mistakes
		switch {
		case mappingErr == nil:
			d, f = document[string]{m.ClientSide, m.ServerSide, m.Forward, "snat " + m.NAT.SNAT, m.Follow, m.Limits, m.Unreadable, m.Marks}, file
		case errors.As(err, &mistakes) && errors.As(mappingErr, &others) && len(others) < len(mistakes):
			return nil, mappingErr
		default:
			return nil, err
		}
	}
	r := reader{file: f, catalog: c}
	p := r.policy(&d)
	if len(r.mistakes) > 0 {
		slices.SortStableFunc(r.mistakes, func(a, b config.Mistake) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, r.mistakes
	}
	return p, nil
}

// decode reads gate.yaml; what it leaves out has its default.
func decode[N string | snatDocument](name string, data []byte, nat N) (document[N], *config.File, error) {
	d := document[N]{Forward: string(ForwardMark), NAT: nat, Unreadable: "relay"}
	d.Limits.Pinholes, d.Limits.PerClient = DefaultLimits.Pinholes, DefaultLimits.PerClient
	d.Limits.PerServer, d.Limits.Sessions = DefaultLimits.PerServer, DefaultLimits.Sessions
	d.Marks.Packet, d.Marks.Flow, d.Marks.Table, d.Marks.Port = DefaultMarks.Packet, DefaultMarks.Flow, DefaultMarks.Table, DefaultMarks.Port
	f, err := config.Decode(name, data, &d)
	return d, f, err
}

// A reader makes a policy of a document, and collects what is wrong.
type reader struct {
	file     *config.File
	catalog  *catalog.Catalog
	mistakes config.Mistakes
}

func (r *reader) note(path, format string, args ...any) {
	r.mistakes = append(r.mistakes, r.file.Mistake(path, format, args...))
}

func (r *reader) policy(d *document[string]) *Policy {
	p := &Policy{ClientSide: r.side("client_side", d.ClientSide), ServerSide: r.side("server_side", d.ServerSide)}
	for i, name := range d.ServerSide {
		if slices.Contains(d.ClientSide, name) {
			r.note(fmt.Sprintf("$.server_side[%d]", i), "%q is on the client side too: the sides have interfaces of their own", name)
		}
	}
	p.Forward = Forward(r.choice("forward", d.Forward, string(ForwardMark), string(ForwardOwn)))
	p.Refuse = r.choice("unreadable", d.Unreadable, "relay", "refuse") == "refuse"
	for i, e := range []*entryDocument{d.Follow.EPM, d.Follow.Portmapper, d.Follow.FTP, d.Follow.TFTP} {
		if e != nil {
			p.Follow = append(p.Follow, r.entry(Protocols[i], e))
		}
	}
	if len(p.Follow) == 0 {
		r.note("$.follow", "nothing is followed: give follow one of epm, portmapper, ftp and tftp")
	}
	r.overlaps(p)
	for i := range p.Follow { // what comes to a followed port is a control channel, and no pinhole lets it through
		for _, e := range p.Follow {
			p.Follow[i].ServerPorts = p.Follow[i].ServerPorts.Minus(e.Ports)
		}
	}
	p.NAT = r.nat(d.NAT, p)
	p.Limits = Limits(d.Limits)
	r.limits(p.Limits)
	p.Marks = Marks(d.Marks)
	r.marks(p.Marks)
	return p
}

func (r *reader) choice(key, text string, known ...string) string {
	if !slices.Contains(known, text) {
		r.note("$."+key, "%s %q: want %s", key, text, strings.Join(known, " or "))
	}
	return text
}

// side reads interfaces of the host.
func (r *reader) side(key string, names []string) []string {
	if len(names) == 0 {
		r.note("$."+key, "%s names no interface: want a list such as [eth1]", key)
	}
	for i, name := range names {
		path := fmt.Sprintf("$.%s[%d]", key, i)
		if err := checkInterface(name); err != nil {
			r.note(path, "%v", err)
		} else if slices.Contains(names[:i], name) {
			r.note(path, "%q is in the list already", name)
		}
	}
	return names
}

// checkInterface returns nil for what may be the name of an interface and means the same to nftables.
func checkInterface(name string) error {
	const longest = 15
	strange := strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`/:*"\$`, c) })
	switch {
	case name == "" || name == "." || name == ".." || strange:
		return fmt.Errorf("%q is no name of an interface", name)
	case len(name) > longest:
		return fmt.Errorf("%q is no name of an interface: they have at most %d characters", name, longest)
	case name == "lo":
		return fmt.Errorf("%q: nothing is forwarded by way of the loopback interface", name)
	}
	return nil
}

func (r *reader) entry(protocol Protocol, d *entryDocument) Entry {
	path := "$.follow." + string(protocol)
	e := Entry{
		Protocol: protocol,
		Clients:  r.networks(path+".clients", d.Clients),
		Servers:  r.networks(path+".servers", d.Servers),
		Ports:    r.ports(path+".ports", protocol, d.Ports),
		Lifetime: d.Lifetime,
	}
	for _, ipv6 := range []bool{false, true} {
		clients, servers := ofFamily(e.Clients, ipv6), ofFamily(e.Servers, ipv6)
		if len(r.mistakes) == 0 && (len(clients) == 0) != (len(servers) == 0) {
			of, missing := "clients", "servers"
			if len(clients) == 0 {
				of, missing = missing, of
			}
			r.note(path, "%s has %s of %s and no %s: they cannot meet", protocol, of, familyName(ipv6), missing)
		}
	}
	if !r.file.Has(path + ".lifetime") {
		e.Lifetime = usual[protocol].lifetime
	}
	if e.Lifetime < minLifetime || e.Lifetime > maxLifetime {
		r.note(path+".lifetime", "lifetime %s: want 1s to 1h", e.Lifetime)
	}
	e.Interfaces = r.interfaces(path, protocol, d)
	e.ServerPorts = r.serverPorts(path+".server_ports", protocol, d, e.Interfaces)
	return e
}

func (r *reader) ports(path string, protocol Protocol, list []portset.Set) portset.Set {
	if !r.file.Has(path) {
		return portset.Ports(usual[protocol].port)
	}
	const most = 64
	var all portset.Set
	for i, s := range list {
		if s.Contains(0) {
			r.note(fmt.Sprintf("%s[%d]", path, i), "no server waits at port 0")
		}
		all = all.Union(s)
	}
	if all.IsEmpty() || all.Len() > most {
		r.note(path, "%s for control channels: want 1 to %d", show.Count(all.Len(), "port", "ports"), most)
	}
	return all
}

func (r *reader) serverPorts(path string, protocol Protocol, d *entryDocument, interfaces []Allowed) portset.Set {
	if !r.file.Has(path) {
		ports := unprivileged.Minus(denied)
		if slices.ContainsFunc(interfaces, func(a Allowed) bool { return a.Program == programNFS }) {
			ports = ports.Union(portset.Ports(portNFS))
		}
		return ports
	}
	switch {
	case protocol == TFTP:
		r.note(path, "server_ports: a server of TFTP sends to the client's port, and no port of its own is opened: remove the key")
	case d.ServerPorts.IsEmpty():
		r.note(path, "server_ports has no port, so nothing could be promised: remove the key for the usual ones")
	case d.ServerPorts.Contains(0):
		r.note(path, "no server waits at port 0")
	}
	return d.ServerPorts
}

// NFS is at a fixed port, which may be promised only where it is among what may be looked up.
const (
	programNFS = 100003
	portNFS    = 2049
)

// networks reads addresses and networks.
func (r *reader) networks(path string, texts []string) []netip.Prefix {
	if len(texts) == 0 {
		r.note(path, "%s: want a list of addresses and networks such as [10.1.0.0/16]", path[strings.LastIndex(path, ".")+1:])
	}
	if len(texts) > maxNetworks {
		r.note(path, "%d networks: want at most %d", len(texts), maxNetworks)
		return nil
	}
	var all []netip.Prefix
	for i, text := range texts {
		n, err := parseNetwork(text)
		if err != nil {
			r.note(fmt.Sprintf("%s[%d]", path, i), "%v", err)
			continue
		}
		all = append(all, n)
	}
	return all
}

// parseNetwork reads an address or a network.
func parseNetwork(text string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(text)
	n := netip.PrefixFrom(a, a.BitLen())
	if strings.Contains(text, "/") {
		n, err = netip.ParsePrefix(text)
	}
	switch {
	case err != nil:
		return n, fmt.Errorf("%q is no address and no network: want 192.0.2.1 or 192.0.2.0/24", text)
	case a.Zone() != "":
		return n, fmt.Errorf("%q: an address with a scope id crosses no gateway", text)
	case n.Addr().Is4In6():
		return n, fmt.Errorf("%q: write it as IPv4", text)
	case n != n.Masked():
		return n, fmt.Errorf("%q has bits behind its network: did you mean %s?", text, n.Masked())
	case n.Bits() > 0 && (n.Addr().IsMulticast() || n.Addr().IsLoopback() || n.Addr().IsLinkLocalUnicast() || n.IsSingleIP() && n.Addr().IsUnspecified()):
		return n, fmt.Errorf("%q crosses no gateway", text)
	}
	return n, nil
}

// overlaps finds control channels that two entries would follow.
func (r *reader) overlaps(p *Policy) {
	for i := range p.Follow {
		for j := range i {
			a, b := &p.Follow[j], &p.Follow[i]
			shared := slices.ContainsFunc(a.Protocol.Transports(), func(t uint8) bool { return slices.Contains(b.Protocol.Transports(), t) })
			if both := a.Ports.Intersect(b.Ports); shared && !both.IsEmpty() {
				r.note("$.follow."+string(b.Protocol), "%s and %s both have port %s: a port is followed as one protocol", a.Protocol, b.Protocol, both)
			}
		}
	}
}

func (r *reader) nat(text string, p *Policy) NAT {
	words := strings.Fields(strings.Replace(text, "snat:", "snat ", 1))
	switch {
	case len(words) == 1 && words[0] == "none":
		return NAT{}
	case len(words) == 1 && words[0] == "masquerade":
		return NAT{Masquerade: true}
	case len(words) == 2 && words[0] == "snat":
		return NAT{Address: r.snat(words[1], p)}
	}
	r.note("$.nat", "nat %q: want none, masquerade, or {snat: 192.0.2.1}", text)
	return NAT{}
}

func (r *reader) snat(text string, p *Policy) netip.Addr {
	n, err := parseNetwork(text)
	switch {
	case err != nil:
		r.note("$.nat", "%v", err)
		return netip.Addr{}
	case !n.IsSingleIP():
		r.note("$.nat", "%q is a network: want one address", text)
		return netip.Addr{}
	}
	for _, e := range p.Follow {
		if len(ofFamily(e.Clients, n.Addr().Is6())) > 0 {
			return n.Addr()
		}
	}
	if len(r.mistakes) == 0 { // or the clients may be among them
		r.note("$.nat", "%s: no client has an address of %s, so none would be translated", n.Addr(), familyName(n.Addr().Is6()))
	}
	return n.Addr()
}

func (r *reader) limits(l Limits) {
	for _, one := range []struct {
		key   string
		value int
		most  int
	}{
		{"pinholes", l.Pinholes, maxPinholes},
		{"per_client", l.PerClient, l.Pinholes},
		{"per_server", l.PerServer, l.Pinholes},
		{"sessions", l.Sessions, maxSessions},
	} {
		path := "$.limits." + one.key
		// What is left out follows a smaller limit of all.
		if one.value > one.most && !r.file.Has(path) {
			continue
		}
		if one.value < 1 || one.value > one.most {
			r.note(path, "%s %d: want 1 to %d", one.key, one.value, one.most)
		}
	}
}

func (r *reader) marks(m Marks) {
	for key, bit := range map[string]uint32{"packet": m.Packet, "flow": m.Flow} {
		if bits.OnesCount32(bit) != 1 {
			r.note("$.marks."+key, "%s 0x%08x: want one bit, such as 0x01000000", key, bit)
		}
	}
	if m.Packet&m.Flow != 0 {
		r.note("$.marks.flow", "packet and flow are both 0x%08x: rules that copy one mark to the other would take control channels for data: choose two bits", m.Flow)
	}
	if m.Table < 1 || m.Table > maxTable || m.Table >= 253 && m.Table <= 255 {
		r.note("$.marks.table", "table %d: want 1 to %d, but 253 to 255 are the host's", m.Table, maxTable)
	}
	if m.Port == 0 {
		r.note("$.marks.port", "port 0: want a port that nothing else listens at")
	}
}

// interfaces reads what may be looked up.
func (r *reader) interfaces(path string, protocol Protocol, d *entryDocument) []Allowed {
	keys := map[Protocol]string{EPM: "interfaces", Portmapper: "programs"}
	for _, key := range []string{"interfaces", "programs"} {
		if key == keys[protocol] || !r.file.Has(path+"."+key) {
			continue
		}
		if keys[protocol] == "" {
			r.note(path+"."+key, "nothing is looked up by %s: remove %s", protocol, key)
		} else {
			r.note(path+"."+key, "%s has %s, not %s", protocol, keys[protocol], key)
		}
	}
	words, parse := d.Interfaces, r.parseInterface
	switch protocol {
	case Portmapper:
		words, parse = d.Programs, r.parseProgram
	case FTP, TFTP:
		return nil
	}
	key := path + "." + keys[protocol]
	if r.file.Has(key) && len(words) == 0 {
		r.note(key, "%s names none: without the key all may be looked up", keys[protocol])
	}
	var all []Allowed
	for i, w := range words {
		a, err := parse(string(w))
		if err != nil {
			r.note(fmt.Sprintf("%s[%d]", key, i), "%v", err)
			continue
		}
		all = append(all, a)
	}
	return all
}

// parseInterface reads an interface of DCE/RPC: a name of the catalog or a UUID, with or without a version.
func (r *reader) parseInterface(text string) (Allowed, error) {
	name, version, has := strings.Cut(text, ":")
	a := Allowed{Interface: endpoint.Interface{Dialect: endpoint.DCE}, AnyVersion: !has}
	if has {
		v, err := endpoint.ParseVersion(version)
		if err != nil || v.Major > 1<<16-1 {
			return a, fmt.Errorf("version %q: want MAJOR or MAJOR.MINOR", version)
		}
		a.Major, a.Minor = uint16(v.Major), v.Minor
	}
	uuid, err := ndr.ParseUUID(name)
	if err == nil {
		a.UUID = uuid
		return a, nil
	}
	var found []ndr.UUID
	for _, i := range r.catalog.InterfacesByName(name) {
		if !slices.Contains(found, i.UUID) {
			found = append(found, i.UUID)
		}
	}
	switch {
	case len(found) == 1:
		a.UUID = found[0]
		return a, nil
	case len(found) > 1:
		var texts []string
		for _, u := range found {
			texts = append(texts, u.String())
		}
		return a, fmt.Errorf("several interfaces are called %q: say which by its UUID: %s", name, strings.Join(texts, ", "))
	}
	var known []string
	for i := range r.catalog.Interfaces() {
		known = append(append(known, i.Name), i.Aliases...)
	}
	if near, ok := config.Suggest(name, known); ok {
		return a, fmt.Errorf("interface %q is neither a UUID nor known; did you mean %q?", name, near)
	}
	return a, fmt.Errorf("interface %q is neither a UUID such as 12345778-1234-abcd-ef00-0123456789ac nor a name of the catalog", name)
}

// parseProgram reads a program of ONC RPC: a name of the catalog or a number, with or without a version.
func (r *reader) parseProgram(text string) (Allowed, error) {
	name, version, has := strings.Cut(text, ":")
	a := Allowed{Interface: endpoint.Interface{Dialect: endpoint.ONC}, AnyVersion: !has}
	if has {
		n, err := strconv.ParseUint(version, 10, 32)
		if err != nil {
			return a, fmt.Errorf("version %q: want a number", version)
		}
		a.Version = uint32(n)
	}
	digits, base := name, 10
	if hex, ok := strings.CutPrefix(name, "0x"); ok {
		digits, base = hex, 16
	}
	if n, err := strconv.ParseUint(digits, base, 32); err == nil {
		a.Program = uint32(n)
		return a, nil
	}
	if p, ok := r.catalog.ProgramByName(name); ok {
		a.Program = p.Number
		return a, nil
	}
	var known []string
	for p := range r.catalog.Programs() {
		known = append(append(known, p.Name), p.Aliases...)
	}
	if near, ok := config.Suggest(name, known); ok {
		return a, fmt.Errorf("program %q is neither a number nor known; did you mean %q?", name, near)
	}
	return a, fmt.Errorf("program %q is neither a number from 0 to 4294967295 nor a name of the catalog", name)
}

func familyName(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}
