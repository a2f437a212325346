package probe

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// LocateONC asks a host's port mapper for one program, over each transport, since rpcbind tells
// the address on the transport over which it is asked; over one only if netid is not 0. Version 0 is any version: the entries
// have the highest that the program says it has, and 0 if it says nothing.
//
// A port mapper that lacks a version tells the address of another one; the entry and the
// report say so. Where the mapper has no version 4, it is the program that is asked for that.
func (p *Prober) LocateONC(ctx context.Context, host netip.Addr, program, version uint32, netid rpcbind.NetID, o ONCOptions) *Report {
	host, o = o.plain(host)
	var lookups []*lookup
	add := func(versions []uint32, netid rpcbind.NetID, ways ...endpoint.Endpoint) {
		l := &lookup{p: p, what: endpoint.Program(program, version), options: o, versions: versions, netid: netid, ways: ways}
		l.report.Host = host
		lookups = append(lookups, l)
	}
	for _, addr := range append([]netip.Addr{host}, o.Addrs...) {
		for _, n := range []rpcbind.NetID{rpcbind.TCP, rpcbind.UDP} {
			way := o.at(addr, n)
			if netid != 0 && way.NetID != netid {
				continue
			}
			if slices.ContainsFunc(lookups, func(l *lookup) bool { return l.netid == way.NetID }) {
				continue // one address of each family is enough
			}
			if addr.Is4() {
				add(mapperVersions, n, way)
			} else {
				add(mapperVersions[:2], way.NetID, way) // version 2 knows no IPv6
			}
		}
	}
	if local := o.localWays(); local != nil && (netid == 0 || netid == rpcbind.Local) {
		add(mapperVersions[:2], rpcbind.Local, local...)
	}
	if len(lookups) == 0 {
		why := "no address of the host is known for " + netid.String()
		if netid == rpcbind.Local {
			why = "a local socket of that host"
		}
		return &Report{Host: host, Dialect: endpoint.ONC, Why: why}
	}
	runLookups(ctx, lookups)

	// What could not be asked over its own transport may be told over the other one, by version 2.
	tcp, udp := find(lookups, rpcbind.TCP), find(lookups, rpcbind.UDP)
	if tcp != nil && udp != nil && (tcp.report.State == Listening) != (udp.report.State == Listening) {
		silent, heard := tcp, udp
		if tcp.report.State == Listening {
			silent, heard = udp, tcp
		}
		before := len(lookups)
		add(mapperVersions[2:], silent.netid, heard.ways...)
		runLookups(ctx, lookups[before:])
	}

	r := &Report{Host: host, Dialect: endpoint.ONC}
	var via, why []string
	for _, l := range lookups {
		r.merge(&l.report)
		if l.report.State == Listening {
			via = append(via, l.report.Via)
		} else {
			why = append(why, l.report.Why)
		}
	}
	r.Via, r.Why = strings.Join(via, "; "), strings.Join(why, "; ")
	if r.State == Listening && len(r.Entries) == 0 {
		r.Why = strings.Join(append([]string{"it does not know the program"}, why...), "; ")
	}
	return r
}

// merge adds what was found in one way to what was found in others.
func (r *Report) merge(one *Report) {
	switch {
	case r.State == NotTried, one.State == Listening:
		r.State = one.State
	case r.State != Listening && weight[one.State] > weight[r.State]:
		r.State = one.State
	}
	if one.Time > 0 && (r.Time == 0 || one.Time < r.Time) {
		r.Time = one.Time
	}
	r.Entries = append(r.Entries, one.Entries...)
	for _, text := range one.Problems {
		r.problem("%s", text)
	}
}

// A lookup asks for a program on one transport.
type lookup struct {
	p        *Prober
	what     endpoint.Interface
	options  ONCOptions
	netid    rpcbind.NetID
	ways     []endpoint.Endpoint
	versions []uint32 // of the mapper
	report   Report
}

func find(lookups []*lookup, n rpcbind.NetID) *lookup {
	for _, l := range lookups {
		if l.netid == n {
			return l
		}
	}
	return nil
}

func runLookups(ctx context.Context, lookups []*lookup) {
	var all sync.WaitGroup
	for _, l := range lookups {
		all.Go(func() { l.run(ctx) })
	}
	all.Wait()
}

func (l *lookup) run(ctx context.Context) {
	sure := false // the address is that of the version
	ok := l.p.askONC(ctx, &l.report, l.ways, l.versions, func(c *caller, version uint32) (err error) {
		l.report.Entries = nil
		sure, err = l.ask(ctx, c, version)
		return err
	})
	if !ok || sure || len(l.report.Entries) == 0 {
		return
	}
	e := &l.report.Entries[0]
	if l.options.cannotTry(l.report.Host, e.Endpoint) != "" {
		return
	}
	s, err := l.p.seat(ctx, placeOf(l.report.Host, e.Endpoint))
	if err != nil {
		return
	}
	defer s.leave()
	t := trial{seat: s, at: e.Endpoint}
	defer t.close()
	v := t.versions(ctx, e.Program)
	e.Low, e.High = v.low, v.high
	switch {
	case v == versionRange{}:
	case e.Version == 0 && v.high < math.MaxUint32:
		e.Version = v.high
	case e.Version == 0:
	case e.Version < v.low || e.Version > v.high:
		l.another(e, v.String())
	}
}

// another notes that a mapper told the address of another version.
func (l *lookup) another(e *Entry, has string) {
	note := "the address is that of another version"
	if has != "" {
		note += ": the program has " + has
	}
	e.Problems = append(e.Problems, note)
	l.report.problem("it does not know %s on %s, and tells the address of another version", programName(*e), e.NetID)
}

// ask asks one version of the mapper. Version 4 says also whether the address that it told is
// that of the version which was asked for.
func (l *lookup) ask(ctx context.Context, c *caller, version uint32) (sure bool, err error) {
	to := teller{l.report.Host, l.options, &l.report}
	q := question{program: rpcbind.Program, version: version, proc: uint32(rpcbind.ProcGetAddr)}
	if version == rpcbind.Version2 {
		row := rpcbind.Mapping{Program: l.what.Program, Version: l.what.Version, Protocol: l.netid.Protocol()}
		q.args = row.Append(nil)
		err := c.call(ctx, q, func(res *results) error {
			return res.next(func(x *xdr.Reader) { row.Port = x.Uint32() })
		})
		if err == nil && row.Port != 0 {
			l.report.Entries = []Entry{to.mapping(row)}
		}
		return false, err
	}
	row := rpcbind.RPCB{Program: l.what.Program, Version: l.what.Version, NetID: l.netid.String()}
	if l.netid.IsIP() {
		row.Address = rpcbind.UniversalAddress(l.ways[0].Addr) // so that the answer is in its network
	}
	q.args = row.Append(nil)
	told, err := getAddr(ctx, c, q)
	if err != nil || told == "" {
		return false, err
	}
	row.Address = told
	e := to.row(row)
	if version == rpcbind.Version4 && l.what.Version != 0 {
		q.proc = uint32(rpcbind.ProcGetVersAddr)
		exact, err := getAddr(ctx, c, q)
		sure = err == nil
		if sure && exact == "" {
			l.another(&e, "")
		}
	}
	l.report.Entries = []Entry{e}
	return sure, nil
}

// getAddr asks for an address; "" if there is none.
func getAddr(ctx context.Context, c *caller, q question) (uaddr string, err error) {
	err = c.call(ctx, q, func(res *results) error {
		return res.next(func(x *xdr.Reader) { uaddr = x.String(rpcbind.MaxAddress) })
	})
	return uaddr, err
}
