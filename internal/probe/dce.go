package probe

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// DCEOptions say how servers of DCE/RPC are asked. The zero value asks over TCP, anonymously.
type DCEOptions struct {
	HTTP    bool    // over ncacn_http
	Port    uint16  // of the mapper; 0: 135, of ncacn_http 593
	Socket  string  // path of the mapper's local socket, instead of a port: ours, or Samba's EPMAPPER among its ncalrpc sockets
	Auth    DCEAuth // who asks; nil: nobody in particular
	Foreign bool    // TryDCE: also what is said to be at other hosts' addresses

	Addrs []netip.Addr // other addresses of the host, at which TryDCE tries too

	Rows      uint32 // that are asked for at a time, at most epm.MaxEntries; 0: that many
	BigEndian bool   // integers are sent so; servers may answer as they like
}

// place returns where the mapper of a host is asked, and the words for that.
func (o DCEOptions) place(host netip.Addr) (endpoint.Endpoint, string) {
	switch {
	case o.Socket != "":
		return endpoint.Endpoint{ProtSeq: epm.LRPC, Path: o.Socket}, o.Socket
	case o.HTTP:
		at := endpoint.At(epm.HTTP, netip.AddrPortFrom(host, cmp.Or(o.Port, httpPort)))
		return at, fmt.Sprintf("http %d", at.Addr.Port())
	}
	at := endpoint.At(epm.TCP, netip.AddrPortFrom(host, cmp.Or(o.Port, epm.Port)))
	return at, fmt.Sprintf("tcp %d", at.Addr.Port())
}

// A DCEQuery is what [Prober.LocateDCE] looks for.
type DCEQuery struct {
	UUID       ndr.UUID
	AnyVersion bool   // else a server of the major version, and of no older minor one
	Major      uint16 // of the version
	Minor      uint16
	Object     ndr.UUID      // nil: none; with AnyVersion all
	ProtSeqs   []epm.ProtSeq // none: all
}

// DCE asks a host's endpoint mapper for all that it has. With a local socket the zero Addr
// means this host.
func (p *Prober) DCE(ctx context.Context, host netip.Addr, o DCEOptions) *Report {
	return p.askMapper(ctx, host, o, func(d *dump) error {
		return d.lookup(ctx, epm.Lookup{VersOption: epm.VersAll}, func(*Entry) bool { return true })
	})
}

// LocateDCE asks a host's endpoint mapper where an interface is. Answers that are not about
// it are left out, and the report says so.
func (p *Prober) LocateDCE(ctx context.Context, host netip.Addr, q DCEQuery, o DCEOptions) *Report {
	if len(q.ProtSeqs) == 0 {
		q.ProtSeqs = epm.ProtSeqs[:]
	}
	return p.askMapper(ctx, host, o, func(d *dump) error {
		if q.AnyVersion {
			return d.locateAny(ctx, q)
		}
		return d.locate(ctx, q)
	})
}

// askMapper binds the interface of a mapper and has it asked.
func (p *Prober) askMapper(ctx context.Context, host netip.Addr, o DCEOptions, ask func(*dump) error) *Report {
	r := &Report{Host: hostOrSelf(host), Dialect: endpoint.DCE}
	var at endpoint.Endpoint
	at, r.Via = o.place(r.Host)
	c, err := p.DialDCE(ctx, at, o)
	if err == nil {
		defer c.Close()
		start := time.Now()
		if err = c.Bind(ctx, epm.Interface); err == nil {
			r.Time = time.Since(start)
			err = ask(newDump(r, c, o))
		}
	}
	state, why := dceOutcome(ctx, err)
	r.State, r.Why = state, cmp.Or(why, r.Why)
	return r
}

// hostOrSelf returns the address of a host, loopback for the zero Addr.
func hostOrSelf(host netip.Addr) netip.Addr {
	if !host.IsValid() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return host.Unmap()
}

// lookup is ept_lookup.
func (d *dump) lookup(ctx context.Context, q epm.Lookup, keep func(*Entry) bool) error {
	q.MaxEntries = d.most
	return d.read(ctx, epm.OpLookup, func(h ndr.Handle) []byte {
		q.Handle = h
		return q.Append(nil, d.conn.label)
	}, readDCELookup, keep)
}

// locate is ept_map for each protocol sequence.
func (d *dump) locate(ctx context.Context, q DCEQuery) error {
	want := dcerpc.Syntax{UUID: q.UUID, Major: q.Major, Minor: q.Minor}
	var refused error // for some protocol sequence
	answered := false
	for _, protseq := range q.ProtSeqs {
		m := epm.Map{Object: q.Object, Tower: epm.Tower{Interface: want, Transfer: dcerpc.NDR, ProtSeq: protseq}, MaxTowers: d.most}
		err := d.read(ctx, epm.OpMap, func(h ndr.Handle) []byte {
			m.Handle = h
			return m.Append(nil, d.conn.label)
		}, readDCEMap, func(e *Entry) bool { return d.answers(e, q, protseq) })
		switch {
		case err == nil:
			answered = true
		case isFault(err):
			refused = err
			continue
		case !answered:
			return err
		default:
			d.broken(ctx, "it could not be asked all: ", err)
		}
		if d.report.Cut {
			return nil
		}
	}
	if answered && refused != nil {
		d.broken(ctx, "it does not answer for every protocol sequence: ", refused)
		return nil
	}
	return refused
}

// answers tells whether a row is what was asked for.
func (d *dump) answers(e *Entry, q DCEQuery, protseq epm.ProtSeq) bool {
	r := d.report
	switch {
	case e.ProtSeq == 0 && (e.UUID == q.UUID || e.UUID.IsNil()): // what cannot be read is shown
		return true
	case e.UUID != q.UUID:
		r.problem("it ignores the interface it was asked for, and tells of others")
		return false
	case !q.AnyVersion && (e.Major != q.Major || e.Minor < q.Minor):
		r.problem("it ignores the version it was asked for")
		return false
	case protseq != 0 && e.ProtSeq != protseq:
		r.problem("it ignores the protocol sequence it was asked for")
		return false
	}
	return true
}

// locateAny is ept_lookup by interface. If an object is asked for only its servers are kept,
// or if there are none those without, as ept_map has it.
func (d *dump) locateAny(ctx context.Context, q DCEQuery) error {
	ask := epm.Lookup{Inquiry: epm.InquiryByInterface, Interface: dcerpc.Syntax{UUID: q.UUID}, VersOption: epm.VersAll}
	err := d.lookup(ctx, ask, func(e *Entry) bool {
		return d.answers(e, q, 0) && (e.ProtSeq == 0 || slices.Contains(q.ProtSeqs, e.ProtSeq))
	})
	of := func(object ndr.UUID) func(Entry) bool { return func(e Entry) bool { return e.Object == object } }
	object := q.Object
	if !slices.ContainsFunc(d.report.Entries, of(object)) {
		object = ndr.UUID{}
	}
	if !q.Object.IsNil() {
		d.report.Entries = slices.DeleteFunc(d.report.Entries, func(e Entry) bool { return e.Object != object })
	}
	return err
}

// A DCEServer is what a server says of itself by its management interface (C706, appendix Q).
type DCEServer struct {
	State      State
	Why        string        // what the state is about; may hold foreign text
	Time       time.Duration // of the first answer
	Interfaces []endpoint.Interface
	Stopped    bool     // it says that it does not listen
	Principal  string   // its name for SPNEGO, if it has one; as it came
	Problems   []string // what it does not answer
}

// InterfacesDCE asks a server at a port which interfaces it has. Of the options Port and Socket
// do not count.
func (p *Prober) InterfacesDCE(ctx context.Context, at netip.AddrPort, o DCEOptions) *DCEServer {
	s := &DCEServer{}
	protseq := epm.TCP
	if o.HTTP {
		protseq = epm.HTTP
	}
	c, err := p.DialDCE(ctx, endpoint.At(protseq, at), o)
	if err != nil {
		s.State, s.Why = dceOutcome(ctx, err)
		return s
	}
	defer c.Close()
	s.read(ctx, c)
	return s
}

// read reads what the server at the other end of a connection says. Its error is what the state is about.
func (s *DCEServer) read(ctx context.Context, c *DCEConn) error {
	start := time.Now()
	err := c.Bind(ctx, epm.Management)
	if err == nil {
		s.Time = time.Since(start)
		err = s.ask(ctx, c)
	}
	s.State, s.Why = dceOutcome(ctx, err)
	return err
}

// ask calls what is cheap. Its error is of the first call.
func (s *DCEServer) ask(ctx context.Context, c *DCEConn) error {
	results, label, err := c.Call(ctx, ndr.UUID{}, uint16(epm.MgmtInqIfIDs), nil)
	if err != nil {
		return err
	}
	ids, err := epm.ParseInqIfIDsReply(results, label)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errAnswer, err)
	case ids.Status != epm.StatusOK:
		s.problem(epm.MgmtInqIfIDs, ids.Status.String())
	}
	for _, id := range ids.Interfaces {
		s.Interfaces = append(s.Interfaces, endpoint.FromSyntax(id))
	}
	results, label, err = c.Call(ctx, ndr.UUID{}, uint16(epm.MgmtIsServerListening), nil)
	if err == nil {
		var q epm.IsServerListeningReply
		if q, err = epm.ParseIsServerListeningReply(results, label); err == nil {
			s.Stopped = q.Status == epm.StatusOK && !q.Listening
		}
	}
	if err != nil {
		_, why := dceOutcome(ctx, err)
		s.problem(epm.MgmtIsServerListening, why)
		if !isFault(err) {
			return nil
		}
	}
	const room = 256 // bytes
	name := epm.InqPrincName{AuthnProtocol: uint32(dcerpc.AuthSPNEGO), Size: room}
	if results, label, err = c.Call(ctx, ndr.UUID{}, uint16(epm.MgmtInqPrincName), name.Append(nil, c.label)); err != nil {
		return nil // many have none
	}
	if q, err := epm.ParseInqPrincNameReply(results, label); err == nil && q.Status == epm.StatusOK {
		s.Principal = q.Name
	}
	return nil
}

func (s *DCEServer) problem(op epm.MgmtOp, why string) {
	s.Problems = append(s.Problems, op.String()+": "+why)
}
