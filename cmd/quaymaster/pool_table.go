package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/portset"
)

// A portUse is a port of a pool that is not free, and why.
type portUse struct {
	port       uint16
	transports string // "tcp", "udp", "tcp udp"
	holder     string // who was given it or has a socket there
	what       string // what is registered there, else the program
	state      string
	since      time.Time // zero if nobody knows
}

// The states of a port that is not free.
const (
	stateRegistered = "registered"            // given, and something is registered there
	stateWaiting    = "waiting"               // the same, and nothing listens there yet
	stateGiven      = "given"                 // nothing is registered there yet
	stateRunGone    = "run gone"              // the process that it was given to has ended, and something listens there still
	stateNotGiven   = "registered, not given" // to whoever registered there
	stateForeign    = "not from the pool"     // a socket of somebody who was not given it
)

// transportPort is a port of TCP or UDP.
type transportPort struct {
	transport string // "tcp", "udp"
	port      uint16
}

// findHolders returns the processes that listen at ports which nobody was given, as
// far as the caller may look into them.
func findHolders(p *api.Pool) map[transportPort]socktable.Process {
	all := map[transportPort]socktable.Process{}
	ports := map[string][]uint16{}
	for _, b := range p.Busy {
		if b.Listening {
			ports[b.Transport] = append(ports[b.Transport], b.Port)
		}
	}
	for transport, list := range ports {
		for port, process := range socktable.HoldersOf(transport, portset.Ports(list...)) {
			all[transportPort{transport, port}] = process
		}
	}
	return all
}

// portUses returns the ports that are not free, by number; rows are what is registered.
func portUses(p *api.Pool, rows []endpoint.Document, holders map[transportPort]socktable.Process) []portUse {
	registered := map[transportPort][]*endpoint.Document{}
	for i := range rows {
		if at, ok := transportPortOf(&rows[i]); ok {
			registered[at] = append(registered[at], &rows[i])
		}
	}
	var uses []portUse
	for i := range p.Grants {
		g := &p.Grants[i]
		if g.TCP == g.UDP { // one use of one number, whichever of the two is registered
			u := givenUse(g, transportPort{"tcp", g.TCP}, slices.Concat(registered[transportPort{"tcp", g.TCP}], registered[transportPort{"udp", g.UDP}]))
			u.transports = "tcp udp"
			uses = append(uses, u)
			continue
		}
		for _, at := range []transportPort{{"tcp", g.TCP}, {"udp", g.UDP}} {
			if at.port != 0 {
				uses = append(uses, givenUse(g, at, registered[at]))
			}
		}
	}
	for _, b := range p.Busy {
		at := transportPort{b.Transport, b.Port}
		uses = append(uses, foreignUse(b, at, registered[at], holders[at]))
	}
	slices.SortStableFunc(uses, func(a, b portUse) int {
		return cmp.Or(cmp.Compare(a.port, b.port), strings.Compare(a.transports, b.transports))
	})
	return joinTransports(uses)
}

// transportPortOf returns where a registration listens; ok is false if that is no port.
func transportPortOf(d *endpoint.Document) (at transportPort, ok bool) {
	switch d.Transport() {
	case "tcp", "tcp6", "http":
		return transportPort{"tcp", d.Port}, true
	case "udp", "udp6":
		return transportPort{"udp", d.Port}, true
	}
	return at, false
}

func givenUse(g *endpoint.GrantDocument, at transportPort, rows []*endpoint.Document) portUse {
	u := portUse{at.port, at.transport, withPID(g.Owner, int(g.PID)), cmp.Or(registeredNames(rows), g.Command), stateGiven, g.Since}
	listening := slices.ContainsFunc(rows, func(d *endpoint.Document) bool { return d.Evidence != endpoint.Waiting.String() })
	switch {
	case g.RunGone:
		u.state = stateRunGone
	case listening:
		u.state = stateRegistered
	case len(rows) > 0:
		u.state = stateWaiting
	}
	return u
}

func foreignUse(b api.BusyPort, at transportPort, rows []*endpoint.Document, holder socktable.Process) portUse {
	u := portUse{port: at.port, transports: at.transport, what: registeredNames(rows), state: stateNotGiven}
	switch {
	case len(rows) > 0:
		u.holder, u.since = withPID(rows[0].Owner, int(rows[0].PID)), rows[0].Since
	case b.Listening:
		u.holder, u.what, u.state = withPID(ownerName(b.UID), holder.PID), holder.Name, stateForeign
	}
	return u
}

// withPID returns "root (1188)".
func withPID(owner string, pid int) string {
	if pid == 0 {
		return owner
	}
	return strings.TrimSpace(fmt.Sprintf("%s (%d)", owner, pid))
}

// ownerName returns the name of a user, the uid where it has none, and nothing for nobody.
func ownerName(uid uint32) string {
	if uid == endpoint.NoUID {
		return ""
	}
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}

// registeredNames returns what people call the interfaces of rows, the first of them if they are many.
func registeredNames(rows []*endpoint.Document) string {
	const most = 4
	var names, ids []string
	for _, d := range rows {
		if id := interfaceID(d); !slices.Contains(ids, id) {
			ids = append(ids, id)
			names = append(names, cmp.Or(interfaceName(d), short(id)))
		}
	}
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s, %d more", strings.Join(names[:most], " "), more)
	}
	return strings.Join(names, " ")
}

// joinTransports joins the uses of a port, which stand together, that differ in their
// transport and age only. The older one counts.
func joinTransports(uses []portUse) []portUse {
	var joined []portUse
	for _, u := range uses {
		if len(joined) > 0 {
			last := &joined[len(joined)-1]
			alike := u
			alike.transports, alike.since = last.transports, last.since
			if alike == *last {
				last.transports += " " + u.transports
				if u.since.Before(last.since) {
					last.since = u.since
				}
				continue
			}
		}
		joined = append(joined, u)
	}
	return joined
}

// printPool shows the pools, their ports that are not free, a summary and what to do.
func printPool(s show.Screen, p *api.Pool, uses []portUse, now time.Time) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	if len(p.Pools) == 0 {
		fmt.Fprintln(w, "there is no pool: nobody is given a port        (the daemon's log says why)")
		return w.Flush()
	}
	printPools(s, p)
	fmt.Fprintln(w)
	if len(uses) > 0 {
		printUses(s, uses, now)
		fmt.Fprintln(w)
	}
	policy := "no policy"
	if p.Source != "" {
		policy = "policy: " + show.Clean(home(p.Source))
	}
	fmt.Fprintf(w, "%s, %s; %s, %s in use by others        (%s)\n",
		show.Count(len(p.Pools), "pool", "pools"), show.Count(allPorts(p).Len(), "port", "ports"),
		show.Count(len(p.Grants), "grant", "grants"), show.Count(busyPorts(p).Len(), "port", "ports"), policy)
	for _, line := range poolAdvice(p) {
		fmt.Fprintln(w, "! "+line)
	}
	return w.Flush()
}

func printPools(s show.Screen, p *api.Pool) {
	t := show.NewTable(show.Column{Head: "pool"}, show.Column{Head: "ports", Shrink: true}, show.Column{Head: "transport"},
		show.Column{Head: "given", Right: true}, show.Column{Head: "busy", Right: true}, show.Column{Head: "free", Right: true})
	add := func(pool, ports, transport string, n api.PortCounts) {
		t.Add(pool, ports, transport, strconv.Itoa(n.Given), strconv.Itoa(n.Busy), strconv.Itoa(n.Free))
	}
	for i := range p.Pools {
		of := &p.Pools[i]
		name := of.Pool
		if of.Default && len(p.Pools) > 1 {
			name += " (default)"
		}
		const above = " " // what stands there; no dash
		add(name, of.Ports.String(), "tcp", of.TCP)
		add(above, above, "udp", of.UDP)
	}
	t.Print(s)
}

func printUses(s show.Screen, uses []portUse, now time.Time) {
	t := show.NewTable(show.Column{Head: "port", Right: true}, show.Column{Head: "transport"}, show.Column{Head: "held by"},
		show.Column{Head: "for", Shrink: true}, show.Column{Head: "state"}, show.Column{Head: "since", Right: true})
	for _, u := range uses {
		since := ""
		if !u.since.IsZero() {
			since = show.Age(now.Sub(u.since))
		}
		t.Add(strconv.Itoa(int(u.port)), u.transports, u.holder, u.what, u.state, since)
	}
	t.Print(s)
}

func allPorts(p *api.Pool) portset.Set {
	var all portset.Set
	for i := range p.Pools {
		all = all.Union(p.Pools[i].Ports)
	}
	return all
}

func busyPorts(p *api.Pool) portset.Set {
	var ports []uint16
	for _, b := range p.Busy {
		ports = append(ports, b.Port)
	}
	return portset.Ports(ports...)
}

// poolAdvice returns what there is to do, at most two lines, what is worse first.
func poolAdvice(p *api.Pool) []string {
	var all []string
	for i := range p.Pools {
		of := &p.Pools[i]
		var full []string
		if of.TCP.Free == 0 {
			full = append(full, "tcp")
		}
		if of.UDP.Free == 0 {
			full = append(full, "udp")
		}
		if of.Default && len(full) > 0 {
			all = append(all, fmt.Sprintf("ordinary servers find no free port of %s: let the policy have more ports for them", strings.Join(full, " and ")))
		}
	}
	if !p.Shared.IsEmpty() {
		all = append(all, fmt.Sprintf("the kernel gives %s to outgoing connections too: quaymaster pool convert FILE --to sysctl reserves the list", compact(p.Shared)))
	}
	if busy := busyPorts(p); !busy.IsEmpty() {
		all = append(all, fmt.Sprintf("others use %s: list other ports, or have their programs ask for ports", compact(busy)))
	}
	const most = 2
	return all[:min(most, len(all))]
}
