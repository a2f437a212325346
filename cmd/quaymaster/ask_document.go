package main

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/show"
)

// askSchema names what an askDocument is.
const askSchema = "quaymaster/ask/1"

// An askDocument is what hosts answered, for programs; docs/ask.md describes it to users.
type askDocument struct {
	Schema string     `json:"schema"`
	Hosts  []*askHost `json:"hosts"`
}

// writeAnswers writes what hosts answered in a format for programs.
func writeAnswers(s show.Screen, format show.Format, hosts []*askHost) error {
	switch format {
	case show.FormatJSON:
		return show.JSONList(s, askSchema, "hosts", hosts)
	case show.FormatYAML:
		return show.YAML(s, askDocument{askSchema, append([]*askHost{}, hosts...)}) // a list, also of none
	}
	return show.Write(s, format, nil, askRows(hosts))
}

// An askHost is what one host answered.
type askHost struct {
	Host    string      `json:"host"`
	Address string      `json:"address"` // that was asked; empty: none
	Error   string      `json:"error"`   // why it could not be asked
	Mappers []askMapper `json:"mappers"`
	Entries []askEntry  `json:"entries"`
	Missing []string    `json:"missing"` // what was asked for and no mapper knows
	Ports   []triedPort `json:"ports"`

	Unanswered []unansweredWord `json:"unanswered,omitempty"` // whose mapper did not answer, where another did
	Statistics *askStatistics   `json:"statistics,omitempty"` // of the port mapper, if that was asked
}

// An unansweredWord is what was asked for and not answered.
type unansweredWord struct {
	Word string `json:"word"`
	Why  string `json:"why"`
}

// An askMapper is what became of asking a mapper.
type askMapper struct {
	Dialect  string      `json:"dialect"`
	Via      string      `json:"via"`
	State    probe.State `json:"state"`
	Why      string      `json:"why"`
	Time     int64       `json:"time_us"` // of the first answer, in microseconds; 0: none
	Cut      bool        `json:"cut"`
	Problems []string    `json:"problems"`
}

// An askEntry is a row that a mapper told. JSON has the fields of its dialect.
type askEntry struct {
	Dialect    string           `json:"dialect"`
	Program    uint32           `json:"program,omitzero"` // of ONC
	UUID       string           `json:"uuid,omitempty"`   // of DCE
	Version    endpoint.Version `json:"version"`
	Name       string           `json:"name"`
	Object     string           `json:"object,omitempty"`
	NetID      string           `json:"netid,omitempty"`
	ProtSeq    string           `json:"protseq,omitempty"`
	Address    string           `json:"address"` // where it can be called from here
	Port       uint16           `json:"port"`
	Path       string           `json:"path"`
	Told       string           `json:"told"` // the address as the mapper told it, where that is another
	State      probe.State      `json:"state"`
	Time       int64            `json:"time_us"`
	Why        string           `json:"why"`
	Versions   *askVersions     `json:"versions,omitempty"` // that a program says it has
	Annotation string           `json:"annotation"`
	Owner      string           `json:"owner"`
	Problems   []string         `json:"problems"`
}

// askVersions are the lowest and the highest.
type askVersions struct {
	Low  uint32 `json:"low"`
	High uint32 `json:"high"`
}

// A triedPort is what became of trying a port.
type triedPort struct {
	Network  string      `json:"network"`
	Port     uint16      `json:"port"`
	Name     string      `json:"name"` // of what the catalog has there first
	State    probe.State `json:"state"`
	Time     int64       `json:"time_us"`
	What     string      `json:"what"`
	Text     string      `json:"text"`
	Problems []string    `json:"problems"`

	Interfaces []portInterface `json:"interfaces,omitempty"` // that a server of DCE/RPC says it has

	Service   string       `json:"service"` // that a host of the role has there; these are empty without --role
	Need      catalog.Need `json:"need"`
	Condition string       `json:"condition"` // of the need
}

// A portInterface is an interface of DCE/RPC that a port says it has.
type portInterface struct {
	UUID    string           `json:"uuid"`
	Version endpoint.Version `json:"version"`
	Name    string           `json:"name"` // in the catalog; empty: none
}

// newAskHost returns a host of which nothing is known; its lists are lists in JSON.
func newAskHost(name string) *askHost {
	return &askHost{Host: name, Mappers: []askMapper{}, Entries: []askEntry{}, Missing: []string{}, Ports: []triedPort{}}
}

// texts returns a list that is one in JSON.
func texts(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// addMapper adds what a mapper told, in one report or one for each interface.
func (h *askHost) addMapper(facts *catalog.Catalog, reports []*probe.Report) {
	if len(reports) == 0 {
		return
	}
	first := reports[0]
	m := askMapper{Dialect: first.Dialect.String(), Via: first.Via, State: first.State, Why: first.Why, Time: first.Time.Microseconds(), Problems: []string{}}
	seen := map[entryKey]bool{}
	for _, r := range reports {
		if r.State == probe.Listening && m.State != probe.Listening {
			m.Via, m.State, m.Why, m.Time = r.Via, r.State, r.Why, r.Time.Microseconds()
		}
		m.Cut = m.Cut || r.Cut
		for _, p := range r.Problems {
			if !slices.Contains(m.Problems, p) {
				m.Problems = append(m.Problems, p)
			}
		}
		for i := range r.Entries {
			e := entryOf(facts, &r.Entries[i])
			if key := e.key(); len(reports) == 1 || !seen[key] {
				seen[key] = true
				h.Entries = append(h.Entries, e)
			}
		}
	}
	h.Mappers = append(h.Mappers, m)
}

// addPorts adds what became of ports, with their names and, if there is a role, what a host of
// that has there.
func (h *askHost) addPorts(facts *catalog.Catalog, results []probe.PortResult, names map[askedPort]string, role *askRole) {
	for _, r := range results {
		p := triedPort{Network: r.Network, Port: r.Port, Name: names[askedPort{r.Network, r.Port}], State: r.State, Time: r.Time.Microseconds(), What: r.What, Text: r.Text, Problems: texts(r.Problems)}
		if role != nil {
			if of := role.ports[portSeat{r.Network, r.Port}]; of != nil {
				p.Service, p.Need, p.Condition = of.service(facts), of.need, of.condition
			}
		}
		for _, i := range r.Interfaces {
			p.Interfaces = append(p.Interfaces, portInterface{i.UUID.String(), dottedVersion(i), facts.InterfaceName(i.UUID, i.Major, i.Minor)})
		}
		h.Ports = append(h.Ports, p)
	}
}

// entryOf returns a row for programs.
func entryOf(facts *catalog.Catalog, from *probe.Entry) askEntry {
	e := askEntry{
		Dialect: from.Dialect.String(), Told: from.Told, State: from.State, Time: from.Time.Microseconds(), Why: from.Why,
		Annotation: from.Annotation, Owner: from.Owner, Path: from.Path, Problems: texts(from.Problems),
	}
	if from.Addr.IsValid() {
		e.Address, e.Port = from.Addr.Addr().String(), from.Addr.Port()
	}
	if from.Dialect == endpoint.DCE {
		e.UUID = from.UUID.String()
		e.Version = dottedVersion(from.Interface)
		if from.ProtSeq != 0 {
			e.ProtSeq = from.ProtSeq.String()
		}
		if !from.Object.IsNil() {
			e.Object = from.Object.String()
		}
	} else {
		e.Program, e.Version = from.Program, endpoint.Version{Major: from.Version}
		if from.NetID != 0 {
			e.NetID = from.NetID.String()
		}
		if from.Low != 0 || from.High != 0 {
			e.Versions = &askVersions{from.Low, from.High}
		}
	}
	d := e.document()
	e.Name = nameIn(facts, &d)
	return e
}

// dottedVersion returns that of an interface of DCE.
func dottedVersion(i endpoint.Interface) endpoint.Version {
	return endpoint.Version{Major: uint32(i.Major), Minor: i.Minor, Dotted: true}
}

// document returns a row as those of a registry are, so that they look alike. What was told as every address
// is that.
func (e *askEntry) document() endpoint.Document {
	d := endpoint.Document{
		Dialect: e.Dialect, Program: e.Program, UUID: e.UUID, Version: e.Version, Object: e.Object, NetID: e.NetID, ProtSeq: e.ProtSeq,
		Address: e.Address, Port: e.Port, Path: e.Path, Owner: e.Owner, Evidence: e.State.String(), Annotation: e.Annotation, Name: e.Name,
	}
	switch {
	case e.NetID == "" && e.ProtSeq == "" || e.Address == "" && e.Path == "":
		d.Address = e.Told
	case e.Port != 0 && e.toldEverywhere():
		d.Address = netip.IPv4Unspecified().String()
	}
	return d
}

// toldEverywhere tells whether the mapper told the wildcard of a family: as a universal address, or as
// one of a tower.
func (e *askEntry) toldEverywhere() bool {
	told := e.Told
	if parts := strings.Split(told, "."); e.Dialect == endpoint.ONC.String() && len(parts) > 2 {
		told = strings.Join(parts[:len(parts)-2], ".")
	}
	addr, err := netip.ParseAddr(told)
	return err == nil && addr.IsUnspecified()
}

// at returns where an entry was called, with the address of the host.
func (e *askEntry) at() string {
	addr, err := netip.ParseAddr(e.Address)
	if err != nil {
		return cmp.Or(e.Path, e.Told)
	}
	return netip.AddrPortFrom(addr, e.Port).String()
}

// title returns what people call an entry's interface.
func (e *askEntry) title() string {
	return cmp.Or(e.Name, e.UUID, strconv.FormatUint(uint64(e.Program), 10))
}

// An entryKey is what rows of two answers are held against each other by.
type entryKey struct {
	dialect, id, object, transport, place, annotation string
	version                                           endpoint.Version
}

func (e *askEntry) key() entryKey {
	d := e.document()
	return entryKey{e.Dialect, interfaceID(&d), e.Object, d.Transport(), place(&d), e.Annotation, e.Version}
}

// mapper returns what became of a dialect's mapper; nil: it was not asked.
func (h *askHost) mapper(dialect string) *askMapper {
	for i := range h.Mappers {
		if h.Mappers[i].Dialect == dialect {
			return &h.Mappers[i]
		}
	}
	return nil
}

// speaks tells whether a state is one that only a host which is there can cause.
func speaks(s probe.State) bool {
	switch s {
	case probe.Listening, probe.NotListening, probe.Wrong, probe.Rejected:
		return true
	}
	return false
}

// isBad tells whether a state of something that was tried is one to look into.
func isBad(s probe.State) bool {
	switch s {
	case probe.NotListening, probe.Filtered, probe.Wrong, probe.Failed:
		return true
	}
	return false
}

// rank is how much an address says of the host: 2 if something listens, 1 if somebody says that nothing does.
func (h *askHost) rank() int {
	best := 0
	for _, m := range h.Mappers {
		best = max(best, rankOf(m.State))
	}
	for _, p := range h.Ports {
		best = max(best, rankOf(p.State))
	}
	return best
}

// rankOf is how much a state says of the host.
func rankOf(s probe.State) int {
	switch {
	case s == probe.Listening:
		return 2
	case speaks(s):
		return 1
	}
	return 0
}

// status returns the exit status that a host's answer stands for.
func (h *askHost) status(q *askQuestion) int {
	if h.unreachable() {
		return exitFailed
	}
	answered := len(h.Mappers) == 0 || q.role != nil && len(q.wanted) == 0 // a role may do without a mapper
	found := len(h.Missing)+len(h.Unanswered) > 0 || h.Statistics != nil && h.Statistics.Error != ""
	for _, m := range h.Mappers {
		answered = answered || m.State == probe.Listening
		found = found || q.must.has(m.Dialect) && m.State != probe.Listening
	}
	for _, e := range h.Entries {
		found = found || isBad(e.State)
	}
	for _, p := range h.Ports {
		found = found || isBad(p.State) && q.mustListen(p.Network, p.Port)
	}
	if found || !answered {
		return exitFound
	}
	return exitDone
}

// statusOf returns that of many hosts: one that cannot be asked weighs more than something found.
func statusOf(hosts []*askHost, q *askQuestion) int {
	worst := exitDone
	for _, h := range hosts {
		switch s := h.status(q); {
		case s == exitFailed:
			return s
		case s == exitFound:
			worst = s
		}
	}
	return worst
}
