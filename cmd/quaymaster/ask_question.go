package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/portset"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// An askQuestion is what every host is asked.
type askQuestion struct {
	facts    *catalog.Catalog
	onc, dce bool        // for all that this mapper has
	must     askDialects // whose mapper being absent is an error
	try      bool        // whether what is told is true
	role     *askRole    // nil: none

	statistics bool // of the port mapper
	wanted     []askWanted
	ports      []probe.PortQuestion
}

// An askWanted is what a word stands for: of a name perhaps several interfaces, in both dialects.
type askWanted struct {
	word       string
	netid      rpcbind.NetID        // of the programs; 0: all
	programs   []endpoint.Interface // version 0: any
	interfaces []probe.DCEQuery
}

// parse reads interfaces and ports into the question. The error has a line for each mistake.
func (q *askQuestion) parse(words []string, dialects askDialects) error {
	var mistakes []error
	seen := map[string]bool{}
	var tcp, udp portset.Set
	for _, word := range words {
		if seen[word] {
			continue
		}
		seen[word] = true
		if isPorts(word) {
			t, u, err := parseAskPorts(word)
			mistakes = append(mistakes, err)
			tcp, udp = tcp.Union(t), udp.Union(u)
			continue
		}
		w, err := parseWanted(q.facts, word, dialects)
		mistakes = append(mistakes, err)
		q.wanted = append(q.wanted, w)
	}
	for _, set := range []struct {
		network string
		ports   portset.Set
	}{{"tcp", tcp}, {"udp", udp}} {
		for port := range set.ports.All() {
			q.ports = append(q.ports, probe.PortQuestion{Network: set.network, Port: port, Greet: true})
		}
	}
	return errors.Join(mistakes...)
}

// greetAll has TCP ports at which no protocol is usual asked for what they say.
func (q *askQuestion) greetAll() {
	for i := range q.ports {
		if p := &q.ports[i]; p.Network == "tcp" && probe.Usual(p.Network, p.Port) == "" {
			p.Ask = "banner"
		}
	}
}

// askDialects are mappers.
type askDialects struct{ onc, dce bool }

func (d askDialects) has(dialect string) bool {
	return d.onc && dialect == endpoint.ONC.String() || d.dce && dialect == endpoint.DCE.String()
}

// isPorts tells whether a word means ports, rather than an interface: no program has a number
// that could be a port.
func isPorts(word string) bool {
	if strings.Contains(word, "/") {
		return true
	}
	if _, err := ndr.ParseUUID(word); err == nil || word == "" || strings.Trim(word, "0123456789,-") != "" {
		return false
	}
	n, err := strconv.ParseUint(word, 10, 32)
	return err != nil || n <= 65535
}

// parseAskPorts reads "tcp/88,135", or "88/tcp,135" in which a port without a transport is on both.
func parseAskPorts(word string) (tcp, udp portset.Set, err error) {
	list, transport := word, ""
	if first, rest, ok := strings.Cut(word, "/"); ok && strings.Trim(first, "0123456789-,") != "" {
		list, transport = rest, first
	}
	var mistakes []error
	for item := range strings.SplitSeq(list, ",") {
		numbers, behind, ok := strings.Cut(item, "/")
		over := transport
		if ok && over == "" {
			over = behind
		} else if ok {
			numbers = item // two transports: no number
		}
		ports, err := parsePorts(numbers)
		over = strings.ToLower(over)
		switch {
		case err != nil:
			mistakes = append(mistakes, usagef("port %q: %w", item, err))
		case over != "tcp" && over != "udp" && (over != "" || ok):
			mistakes = append(mistakes, usagef("port %q: transport %q: want tcp or udp", item, over))
		}
		if over != "udp" {
			tcp = tcp.Union(ports)
		}
		if over != "tcp" {
			udp = udp.Union(ports)
		}
	}
	return tcp, udp, errors.Join(mistakes...)
}

// An askedPort is a port on one transport.
type askedPort struct {
	network string
	port    uint16
}

// portNames returns what the catalog knows to be at ports, of each what it names first.
func portNames(facts *catalog.Catalog, questions []probe.PortQuestion) map[askedPort]string {
	names := map[askedPort]string{}
	if len(questions) == 0 {
		return names
	}
	lookup := newPortLookup(facts, nil)
	for _, q := range questions {
		known := lookup.port(portQuestion{q.Port, q.Network == "tcp", q.Network == "udp"})
		names[askedPort{q.Network, q.Port}] = known.Transports[0].title()
	}
	return names
}

// title returns the name of what has the port as its own and comes first; empty if nothing has.
func (t *transportAnswer) title() string {
	for i := range t.Uses {
		if !t.Uses[i].Wide {
			return t.Uses[i].App
		}
	}
	switch {
	case len(t.Programs) > 0:
		return t.Programs[0].Name
	case len(t.Flows) > 0:
		return t.Flows[0].App
	}
	return ""
}

// parsePorts reads a port or a range. Its error does not repeat it.
func parsePorts(numbers string) (portset.Set, error) {
	ports, err := portset.Parse(numbers)
	switch {
	case err != nil:
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return portset.Set{}, err
	case ports.IsEmpty():
		return ports, errors.New("want a port such as 443 or a range such as 5000-5020")
	case ports.Contains(0):
		return portset.Set{}, errors.New("nothing can be at port 0")
	}
	return ports, nil
}

// parseWanted reads NAME, UUID or PROGRAM, with :VERSION and @TRANSPORT or without.
func parseWanted(facts *catalog.Catalog, word string, dialects askDialects) (askWanted, error) {
	w := askWanted{word: word}
	rest, transport, hasTransport := strings.Cut(word, "@")
	id, text, hasVersion := strings.Cut(rest, ":")
	version := endpoint.Version{}
	if hasVersion {
		var err error
		if version, err = endpoint.ParseVersion(text); err != nil {
			return w, usagef("%s: %w", word, err)
		}
	}
	if uuid, err := ndr.ParseUUID(id); err == nil {
		w.addInterface(uuid, version, hasVersion)
	} else if n, err := parseNumber(id); err == nil {
		w.programs = append(w.programs, endpoint.Program(n, version.Major))
	} else if err := w.named(facts, id, version, hasVersion); err != nil {
		return w, err
	}
	if version.Dotted && len(w.interfaces) == 0 {
		return w, usagef("%s: a program of ONC RPC has versions such as 3, not %s", word, text)
	}
	if version.Dotted {
		w.programs = nil
	}
	if hasTransport {
		if err := w.over(transport); err != nil {
			return w, err
		}
	}
	before := w
	if !dialects.onc {
		w.programs = nil
	}
	if !dialects.dce {
		w.interfaces = nil
	}
	switch {
	case len(w.programs)+len(w.interfaces) > 0:
		return w, nil
	case len(before.programs) > 0:
		return w, usagef("%s is a program of ONC RPC: leave --dce out", word)
	}
	return w, usagef("%s is an interface of DCE/RPC: leave --onc out", word)
}

// over leaves what can be on a transport, and has it asked for on that one.
func (w *askWanted) over(transport string) error {
	netid, onc := rpcbind.ParseNetID(transport)
	protseq, dce := epm.ParseProtSeq(transport)
	ofONC, ofDCE := listOf(rpcbind.NetIDs[:], rpcbind.NetID.String), listOf(epm.ProtSeqs[:], epm.ProtSeq.Short)
	switch {
	case !onc && len(w.interfaces) == 0:
		return usagef("%s: a program of ONC RPC is on %s", w.word, ofONC)
	case !dce && len(w.programs) == 0:
		return usagef("%s: an interface of DCE/RPC is on %s", w.word, ofDCE)
	case !onc && !dce:
		return usagef("%s: no transport is called %q: want %s, or %s", w.word, transport, ofONC, ofDCE)
	}
	if w.netid = netid; !onc {
		w.programs = nil
	}
	if !dce {
		w.interfaces = nil
	}
	for i := range w.interfaces {
		w.interfaces[i].ProtSeqs = []epm.ProtSeq{protseq}
	}
	return nil
}

// listOf returns "tcp, udp or local".
func listOf[T any](all []T, name func(T) string) string {
	var names []string
	for _, one := range all {
		names = append(names, name(one))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func (w *askWanted) addInterface(uuid ndr.UUID, v endpoint.Version, hasVersion bool) {
	q := probe.DCEQuery{UUID: uuid, AnyVersion: !hasVersion, Major: uint16(v.Major), Minor: v.Minor}
	if v.Major > 65535 || slices.ContainsFunc(w.interfaces, func(o probe.DCEQuery) bool { return o.UUID == uuid }) {
		return
	}
	w.interfaces = append(w.interfaces, q)
}

// named adds all that have a name: names are not unique.
func (w *askWanted) named(c *catalog.Catalog, name string, v endpoint.Version, hasVersion bool) error {
	if p, ok := c.ProgramByName(name); ok {
		w.programs = append(w.programs, endpoint.Program(p.Number, v.Major))
	}
	for _, i := range c.InterfacesByName(name) {
		w.addInterface(i.UUID, v, hasVersion)
	}
	if len(w.programs)+len(w.interfaces) > 0 {
		return nil
	}
	var known []string
	for p := range c.Programs() {
		known = append(append(known, p.Name), p.Aliases...)
	}
	for i := range c.Interfaces() {
		known = append(append(known, i.Name), i.Aliases...)
	}
	if near, ok := config.Suggest(name, known); ok {
		return usagef("%q is no interface of the catalog; did you mean %q?", name, near)
	}
	return usagef("%q is no interface of the catalog: want a name, UUID[:VERSION], PROGRAM[:VERSION], or ports such as tcp/88,135", name)
}

func parseNumber(s string) (uint32, error) {
	base := 10
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		s, base = hex, 16
	}
	n, err := strconv.ParseUint(s, base, 32)
	return uint32(n), err
}

// mostHosts is how many hosts can be asked at once.
const mostHosts = 10_000

// readHosts returns the hosts that a file lists, each once. The error has a line for each mistake.
func readHosts(name string) ([]string, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, usagef("--hosts: %w", err)
	}
	if len(text) > config.MaxSize {
		return nil, usagef("%s: more than %d bytes are not read", name, config.MaxSize)
	}
	var hosts []string
	var mistakes []error
	seen := map[string]bool{}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		host := strings.TrimSpace(line)
		if host == "" || seen[host] {
			continue
		}
		seen[host] = true
		if err := checkHost(host); err != nil {
			mistakes = append(mistakes, usagef("%s:%d: %w", name, number, err))
		}
		hosts = append(hosts, host)
	}
	switch {
	case len(mistakes) > 0:
		return nil, errors.Join(mistakes...)
	case len(hosts) == 0:
		return nil, usagef("%s: no host is listed: want one in each line", name)
	case len(hosts) > mostHosts:
		return nil, usagef("%s: at most %d hosts are asked at once, not %d", name, mostHosts, len(hosts))
	}
	return hosts, nil
}

// checkHost refuses what can be neither a name nor an address.
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	switch {
	case strings.ContainsAny(host, " \t"):
		return fmt.Errorf("host %q: want one host in a line", host)
	case strings.Contains(host, "/"):
		return fmt.Errorf("host %q: want a host, not a network or ports", host)
	case strings.ContainsAny(host, ":[]"):
		return fmt.Errorf("host %q: want a name or an address, without a port", host)
	case len(host) > 253:
		return fmt.Errorf("host %.40q…: names have at most 253 bytes", host)
	case strings.Trim(host, "0123456789.") == "":
		return fmt.Errorf("host %q: no address", host)
	}
	for _, r := range host {
		if r > 127 || !strings.ContainsRune("-._", r) && !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return fmt.Errorf("host %q: a name cannot have %q", host, r)
		}
	}
	return nil
}
