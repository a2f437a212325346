package mapper

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// An inquiry is what a client looks for.
type inquiry struct {
	object   ndr.UUID
	asked    dcerpc.Syntax
	over     epm.ProtSeq    // of ept_map
	by       epm.Inquiry    // of ept_lookup
	versions epm.VersOption // of ept_lookup
}

// find is ept_map: the towers of servers that can be called as the client asks, those
// of this host first, and the youngest first (MS-RPCE, section 2.2.1.2.5).
func (m *DCE) find(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	q, err := epm.ParseMap(c.Stub, c.header.Label)
	if err != nil {
		return nil, dcerpc.StatusBadStubData
	}
	at := cursor{op: epm.OpMap, inquiry: inquiry{object: q.Object, asked: q.Tower.Interface, over: q.Tower.ProtSeq}}
	if at.object.IsNil() {
		at.object = c.Object // some clients name it in the header only
	}
	at, ok := c.resume(q.Handle, at)
	if !ok {
		return nil, dcerpc.StatusContextMismatch
	}
	rows := m.serving(c, &at)
	slices.SortFunc(rows, func(a, b registry.Ordered) int { return cmp.Compare(m.rank(&a), m.rank(&b)) })
	if at.last != 0 {
		rows = rows[:sort.Search(len(rows), func(i int) bool { return m.rank(&rows[i]) >= at.last })]
	}
	n := int(min(q.MaxTowers, epm.MaxEntries, uint32(len(rows))))
	for i := range n {
		r := &rows[len(rows)-1-i]
		c.towers = append(c.towers, m.tower(r.Registration, c.Call))
		at.last = m.rank(r)
	}
	reply := epm.MapReply{Max: q.MaxTowers, Towers: c.towers}
	switch {
	case len(rows) == 0:
		reply.Status = epm.StatusNotRegistered
	case n > 0 && n < len(rows):
		reply.Handle = c.session.group.open(at)
	}
	if reply.Handle.IsNil() {
		c.session.group.close(q.Handle)
	}
	m.stats.lookup(n, reply.Status)
	return reply.Append(b, c.label()), 0
}

// resume returns where an inquiry goes on that has a handle, and one without as it
// begins; ok is false if the handle is none of this operation.
func (c *dceCall) resume(h ndr.Handle, begins cursor) (_ cursor, ok bool) {
	if h.IsNil() {
		return begins, true
	}
	return c.session.group.find(h, begins.op)
}

// rank orders rows for ept_map, whose last comes first: by age, and those of other
// hosts before. Many clients take the first port that they are told, and call it on
// the host that they have asked.
func (m *DCE) rank(r *registry.Ordered) uint64 {
	const here = 1 << 63 // above every order
	if a := r.Addr.Addr(); a.IsValid() && !a.IsUnspecified() && !m.Addresses.Ours(a) {
		return r.Order
	}
	return r.Order | here
}

// serving returns the rows that an ept_map asks for, oldest first: those of the
// object, or if there are none those without one. Which it is does not change
// between the parts of an answer.
func (m *DCE) serving(c *dceCall, at *cursor) []registry.Ordered {
	for _, object := range [...]ndr.UUID{at.object, {}} {
		c.rows = m.Registry.AppendFamily(c.rows, at.asked.UUID, func(r *endpoint.Registration) bool {
			return r.ProtSeq == at.over && r.Object == object && compatible(r.Syntax(), at.asked)
		})
		if len(c.rows) > 0 || at.last != 0 {
			at.object = object
			break
		}
	}
	return c.rows
}

// lookup is ept_lookup: entries, the oldest first (MS-RPCE, section 2.2.1.2.4).
func (m *DCE) lookup(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	if !m.mayDump(c.Call) {
		return nil, dcerpc.StatusAccessDenied
	}
	q, err := epm.ParseLookup(c.Stub, c.header.Label)
	if err != nil {
		return nil, dcerpc.StatusBadStubData
	}
	at := cursor{op: epm.OpLookup, inquiry: inquiry{object: q.Object, asked: q.Interface, by: q.Inquiry, versions: q.VersOption}}
	at, ok := c.resume(q.Handle, at)
	if !ok {
		return nil, dcerpc.StatusContextMismatch
	}
	reply := epm.LookupReply{Max: q.MaxEntries, Status: at.check()}
	if reply.Status == 0 {
		more := m.page(c, &at, int(min(q.MaxEntries, epm.MaxEntries)))
		reply.Entries = c.entries
		n, most := uint32(len(c.entries)), q.MaxEntries >= epm.MaxEntries
		switch {
		// A reply that is full has a handle even if nothing is left, as Windows' have: who
		// asks for one entry after the other reads on until told "not registered", and
		// throws away what comes with that. Who asks for as many as there can be stops at
		// the nil handle, and takes that status for a failure.
		case n > 0 && (more || n == q.MaxEntries && !most):
			reply.Handle = c.session.group.open(at)
		case n == 0 && q.MaxEntries > 0, n > 0 && !q.Handle.IsNil() && !most && !m.EndWithHandle:
			reply.Status = epm.StatusNotRegistered
		}
	}
	if reply.Handle.IsNil() {
		c.session.group.close(q.Handle)
	}
	m.stats.lookup(len(reply.Entries), reply.Status)
	return reply.Append(b, c.label()), 0
}

// byInterface tells whether an ept_lookup is for the rows of one interface.
func (q *inquiry) byInterface() bool {
	return q.by == epm.InquiryByInterface || q.by == epm.InquiryByBoth
}

// check returns the status that an inquiry is refused with, or 0.
func (q *inquiry) check() epm.Status {
	switch {
	case q.by > epm.InquiryByBoth:
		return epm.StatusInvalidInquiryType
	case q.byInterface() && (q.versions < epm.VersAll || q.versions > epm.VersUpTo):
		return epm.StatusInvalidVersOption
	}
	return 0
}

// page adds the next entries to the call's, at most so many, and tells whether there
// are more after them.
func (m *DCE) page(c *dceCall, at *cursor, most int) (more bool) {
	var rows []registry.Ordered
	if at.byInterface() {
		c.rows = m.Registry.AppendFamily(c.rows, at.asked.UUID, at.wants)
		rows = c.rows
	} else {
		rows = m.rows.get()
	}
	for _, r := range rows[sort.Search(len(rows), func(i int) bool { return rows[i].Order > at.last }):] {
		switch {
		case !at.wants(r.Registration):
			continue
		case len(c.entries) == most:
			return true
		}
		c.entries = append(c.entries, epm.Entry{Object: r.Object, Tower: m.tower(r.Registration, c.Call), Annotation: r.Annotation})
		at.last = r.Order
	}
	return false
}

// wants tells whether an ept_lookup is for a registration.
func (q *inquiry) wants(r *endpoint.Registration) bool {
	switch q.by {
	case epm.InquiryByInterface:
		return q.wantsInterface(r)
	case epm.InquiryByObject:
		return r.Object == q.object
	case epm.InquiryByBoth:
		return r.Object == q.object && q.wantsInterface(r)
	}
	return true
}

func (q *inquiry) wantsInterface(r *endpoint.Registration) bool {
	has := r.Syntax()
	if has.UUID != q.asked.UUID {
		return false
	}
	switch q.versions {
	case epm.VersCompatible:
		return compatible(has, q.asked)
	case epm.VersExact:
		return has == q.asked
	case epm.VersMajorOnly:
		return has.Major == q.asked.Major
	case epm.VersUpTo:
		return has.Major < q.asked.Major || has.Major == q.asked.Major && has.Minor <= q.asked.Minor
	}
	return true
}

// tower returns where a registration is, as the client can reach it.
func (m *DCE) tower(r *endpoint.Registration, c *transport.Call) epm.Tower {
	t := epm.Tower{Interface: r.Syntax(), Transfer: dcerpc.NDR, ProtSeq: r.ProtSeq}
	switch {
	case r.ProtSeq.HasPort():
		t.Port, t.Addr = r.Addr.Port(), r.Addr.Addr()
		if t.Addr.IsUnspecified() {
			t.Addr = m.here(c)
		}
	case r.ProtSeq == epm.NP:
		t.Host, t.Name = splitPipe(r.Path)
	default:
		t.Name = r.Path
	}
	return t
}

// here returns this host's address for a client: the configured one, that which it
// called, or over IPv6 none, since towers have no place for that.
func (m *DCE) here(c *transport.Call) netip.Addr {
	switch {
	case m.Address.IsValid():
		return m.Address
	case c.NetID == rpcbind.Local:
		return loopback
	case c.Server.Addr().Is4():
		return c.Server.Addr()
	}
	return netip.Addr{}
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// splitPipe returns the host, if there is one, and the name of a pipe: of
// \\FS1\pipe\winreg that is FS1 and \pipe\winreg. joinPipe is the way back; what
// cannot be a pipe stays alone, for [endpoint.Endpoint.Validate] to refuse.
func splitPipe(path string) (host, pipe string) {
	rest, ok := strings.CutPrefix(path, `\\`)
	if i := strings.IndexByte(rest, '\\'); ok && i > 0 {
		return rest[:i], rest[i:]
	}
	return "", path
}

func joinPipe(host, pipe string) string {
	if host = strings.TrimPrefix(host, `\\`); host != "" && strings.HasPrefix(pipe, `\`) {
		return `\\` + host + pipe
	}
	return pipe
}

// freeHandle is ept_lookup_handle_free.
func (m *DCE) freeHandle(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	q, err := epm.ParseLookupHandleFree(c.Stub, c.header.Label)
	switch {
	case err != nil:
		return nil, dcerpc.StatusBadStubData
	case !q.Handle.IsNil() && !c.session.group.close(q.Handle):
		return nil, dcerpc.StatusContextMismatch
	}
	return epm.LookupHandleFreeReply{}.Append(b, c.label()), 0
}

// inqObject is ept_inq_object: the object that the mapper itself is.
func (m *DCE) inqObject(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	return epm.InqObjectReply{Object: m.object}.Append(b, c.label()), 0
}
