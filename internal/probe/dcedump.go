package probe

import (
	"context"
	"hash/maphash"
	"net/netip"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Bounds of what one mapper can make us read. With a megabyte for the answer that is being put
// together and the rows themselves, at most [MaxEntries], it is about 100 MB.
const (
	maxDumpText = 16 << 20 // bytes of texts that are kept
	dumpTimes   = 20       // times the prober's timeout, for all that one mapper is asked
	maxStale    = 16       // parts of a list in a row that have nothing new
)

// A dump reads a list of rows in parts, into a report.
type dump struct {
	report *Report
	conn   *DCEConn
	until  time.Time
	most   uint32 // rows that are asked for at a time
	seed   maphash.Seed
	seen   map[uint64]struct{} // rows of this list
	told   int                 // rows of all lists, also the same ones and those that are not kept
	texts  int                 // bytes
}

func newDump(r *Report, c *DCEConn, o DCEOptions) *dump {
	most := uint32(epm.MaxEntries)
	if o.Rows > 0 {
		most = min(o.Rows, most)
	}
	return &dump{
		report: r, conn: c, until: time.Now().Add(dumpTimes * c.p.timeout()), most: most, seed: maphash.MakeSeed(),
	}
}

// read asks for one part after the other until the mapper has no more, and keeps the rows that
// keep takes. Its error is of the first part; later there are rows to show, and the report says
// what happened.
func (d *dump) read(ctx context.Context, op epm.Op, ask func(ndr.Handle) []byte, parse func([]byte, ndr.Label) dceReply, keep func(*Entry) bool) error {
	var handle ndr.Handle
	d.seen = map[uint64]struct{}{}
	stale := 0
	for part := 0; ; part++ { // each has rows, or is the last
		results, label, err := d.conn.Call(ctx, ndr.UUID{}, uint16(op), ask(handle))
		if err != nil {
			if part == 0 {
				return err
			}
			d.broken(ctx, "its list broke off: ", err)
			return nil
		}
		reply := parse(results, label)
		handle = reply.handle
		before := len(d.seen)
		room := d.add(&reply, keep)
		if len(d.seen) > before {
			stale = 0
		} else {
			stale++
		}
		switch {
		case !room:
			d.cut("it tells more than is read")
		case d.ended(&reply):
		case stale >= maxStale:
			d.cut("it tells the same rows again and again, and comes to no end")
		case time.Now().After(d.until):
			d.cut("its list takes too long")
		default:
			continue
		}
		d.free(ctx, handle)
		return nil
	}
}

// cut notes that not all was read.
func (d *dump) cut(why string) {
	d.report.Cut = true
	d.report.problem("%s", why)
}

// broken notes that an error kept us from reading all: the mapper's, or that our time was up.
func (d *dump) broken(ctx context.Context, what string, err error) {
	state, why := dceOutcome(ctx, err)
	if state == NotTried {
		d.report.Cut, d.report.Why = true, why
		return
	}
	d.cut(what + why)
}

// ended tells whether that was the last part, however the mapper says it: no handle, no rows,
// or a status. "Not registered" beside rows is no end while the handle lives.
func (d *dump) ended(q *dceReply) bool {
	r := d.report
	switch {
	case q.err != nil:
		d.cut("an answer breaks off, or its counts are wrong: " + q.err.Error())
		return true
	case q.status == epm.StatusNotRegistered && len(q.rows) > 0:
		r.problem("it ends a list with a status that says nothing was found (%s), beside rows", q.status)
	case q.status != epm.StatusOK && q.status != epm.StatusNotRegistered:
		r.problem("it ends a list with %s", q.status)
		if len(d.seen) == 0 && r.Why == "" {
			r.Why = "it answers " + q.status.String()
		}
		return true
	}
	return len(q.rows) == 0 || q.handle.IsNil()
}

// free gives a handle back that was not read to its end; that it fails does not matter.
func (d *dump) free(ctx context.Context, h ndr.Handle) {
	if h.IsNil() || timeUp(ctx) {
		return
	}
	d.conn.Call(ctx, ndr.UUID{}, uint16(epm.OpLookupHandleFree), epm.LookupHandleFree{Handle: h}.Append(nil, d.conn.label))
}

// add takes the rows of an answer, and returns false if there is no room for more.
func (d *dump) add(q *dceReply, keep func(*Entry) bool) bool {
	r := d.report
	if q.err == nil && q.most != d.most {
		r.problem("its answers name another maximum than was asked for: Samba's clients refuse them")
	}
	if q.odd {
		r.problem("counts in its answers contradict each other")
	}
	if len(q.rows) > int(d.most) {
		r.problem("it tells more rows at a time than were asked for")
	}
	for i := range q.rows {
		if d.told == MaxEntries || d.texts > maxDumpText {
			return false
		}
		d.told++
		if !d.addRow(&q.rows[i], keep) {
			return false
		}
	}
	return true
}

// addRow is add for one.
func (d *dump) addRow(row *dceRow, keep func(*Entry) bool) bool {
	r := d.report
	e, transfer := row.entry(r.Host)
	key := maphash.Comparable(d.seed, keyOf(&e, transfer))
	if _, ok := d.seen[key]; ok {
		r.problem("it tells rows twice")
		return true
	}
	d.seen[key] = struct{}{}
	if len(row.annotation) > epm.MaxAnnotation {
		r.problem("it tells annotations of more than %d bytes, which clients refuse", epm.MaxAnnotation)
	}
	if e.Told == "0.0.0.0" && r.Host.Is4() {
		r.problem("it tells 0.0.0.0: clients have to know that it is the host that they asked")
	}
	if len(e.Problems) > 0 && e.ProtSeq == 0 {
		r.problem("it tells rows that cannot be used: %s", strings.TrimPrefix(firstWords(e.Problems[0]), "the row "))
	}
	if !keep(&e) {
		return true
	}
	if !d.conn.p.room(&e) {
		return false
	}
	d.texts += len(e.Annotation) + len(e.Path) + len(e.Told)
	for _, p := range e.Problems {
		d.texts += len(p)
	}
	r.Entries = append(r.Entries, e)
	return true
}

// firstWords returns a problem without its details, so that many of a kind are one.
func firstWords(s string) string {
	s, _, _ = strings.Cut(s, ":")
	return s
}

// A rowKey is what rows are told apart by.
type rowKey struct {
	iface            endpoint.Interface
	transfer         dcerpc.Syntax
	object           ndr.UUID
	protseq          epm.ProtSeq
	addr             netip.AddrPort
	path, told, note string
}

func keyOf(e *Entry, transfer dcerpc.Syntax) rowKey {
	return rowKey{e.Interface, transfer, e.Object, e.ProtSeq, e.Addr, e.Path, e.Told, e.Annotation}
}
