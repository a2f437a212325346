package mapper

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A mapModel is the endpoint map as a list of entries, oldest first, with rules
// that look at all of them.
type mapModel []epm.Entry

func samePlace(a, b *epm.Entry) bool { return a.Object == b.Object && a.Tower == b.Tower }

func (m mapModel) index(e *epm.Entry) int {
	return slices.IndexFunc(m, func(x epm.Entry) bool { return samePlace(&x, e) })
}

func (m *mapModel) insert(entries []epm.Entry, replace bool) {
	if replace {
		*m = slices.DeleteFunc(*m, func(x epm.Entry) bool {
			stale := slices.ContainsFunc(entries, func(e epm.Entry) bool {
				return x.Object == e.Object && x.Tower.Interface == e.Tower.Interface && x.Tower.ProtSeq == e.Tower.ProtSeq
			})
			return stale && mapModel(entries).index(&x) < 0
		})
	}
	for at, e := range entries {
		if mapModel(entries).index(&e) < at { // named twice: what it is named first counts
			continue
		}
		if i := m.index(&e); i < 0 {
			*m = append(*m, e)
		} else if e.Annotation != "" {
			(*m)[i].Annotation = e.Annotation
		}
	}
}

// delete removes all entries or none.
func (m *mapModel) delete(entries []epm.Entry) epm.Status {
	for i := range entries {
		if m.index(&entries[i]) < 0 {
			return epm.StatusNotRegistered
		}
	}
	*m = slices.DeleteFunc(*m, func(x epm.Entry) bool { return mapModel(entries).index(&x) >= 0 })
	return 0
}

func (m mapModel) filter(keep func(*epm.Entry) bool) (kept mapModel) {
	for i := range m {
		if keep(&m[i]) {
			kept = append(kept, m[i])
		}
	}
	return kept
}

// lookup is all that an ept_lookup is told.
func (m mapModel) lookup(q epm.Lookup) mapModel {
	return m.filter(func(e *epm.Entry) bool {
		has, asked := e.Tower.Interface, q.Interface
		later := has.Major > asked.Major || has.Major == asked.Major && has.Minor > asked.Minor
		version := map[epm.VersOption]bool{
			epm.VersAll: true, epm.VersExact: has == asked, epm.VersMajorOnly: has.Major == asked.Major, epm.VersUpTo: !later,
			epm.VersCompatible: has.Major == asked.Major && (later || has == asked),
		}[q.VersOption]
		byInterface, byObject := has.UUID == asked.UUID && version, e.Object == q.Object
		switch q.Inquiry {
		case epm.InquiryByInterface:
			return byInterface
		case epm.InquiryByObject:
			return byObject
		case epm.InquiryByBoth:
			return byInterface && byObject
		}
		return true
	})
}

// find is all that an ept_map is told.
func (m mapModel) find(q epm.Map) (towers []epm.Tower) {
	for _, object := range []ndr.UUID{q.Object, {}} {
		for _, e := range m {
			has, asked := e.Tower.Interface, q.Tower.Interface
			if e.Object == object && e.Tower.ProtSeq == q.Tower.ProtSeq && has.UUID == asked.UUID && has.Major == asked.Major && has.Minor >= asked.Minor {
				towers = append(towers, e.Tower)
			}
		}
		if len(towers) > 0 {
			break
		}
	}
	slices.Reverse(towers)
	return towers
}

// Random values, few enough that they meet.

func drawSyntax(r *rapid.T) dcerpc.Syntax {
	version := rapid.Uint16Range(0, 2)
	return syntax(rapid.SampledFrom([]ndr.UUID{uuidA, uuidB, {}}).Draw(r, "interface"), version.Draw(r, "major"), version.Draw(r, "minor"))
}

func drawObject(r *rapid.T) ndr.UUID {
	return rapid.SampledFrom([]ndr.UUID{{}, objectX, objectY}).Draw(r, "object")
}

func drawTower(r *rapid.T) epm.Tower {
	t := asking(rapid.SampledFrom([]epm.ProtSeq{epm.TCP, epm.TCP, epm.UDP, epm.NP, epm.LRPC}).Draw(r, "protocol sequence"), drawSyntax(r))
	switch {
	case t.ProtSeq.HasPort():
		t.Port, t.Addr = rapid.Uint16Range(2001, 2003).Draw(r, "port"), loopback
	case t.ProtSeq == epm.NP:
		t.Name, t.Host = `\pipe\`+rapid.SampledFrom([]string{"a", "b"}).Draw(r, "pipe"), rapid.SampledFrom([]string{"", "FS1"}).Draw(r, "host")
	default:
		t.Name = rapid.SampledFrom([]string{"a", "b"}).Draw(r, "name")
	}
	return t
}

func drawEntry(r *rapid.T) epm.Entry {
	return entry(drawObject(r), drawTower(r), rapid.SampledFrom([]string{"", "a", "b"}).Draw(r, "annotation"))
}

func drawLookup(r *rapid.T) epm.Lookup {
	return epm.Lookup{
		Inquiry: epm.Inquiry(rapid.Uint32Range(0, 3).Draw(r, "inquiry")), VersOption: epm.VersOption(rapid.Uint32Range(1, 5).Draw(r, "option")),
		Object: drawObject(r), Interface: drawSyntax(r),
	}
}

// TestMapModel: after any changes every inquiry is told what a list with the same
// rules tells, in parts of any sizes.
func TestMapModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := newDCE(t, DCEConfig{EndWithHandle: rapid.Bool().Draw(r, "end with handle")})
		l := dceLine(t, m, asUser)
		defer l.end()
		label := rapid.SampledFrom([]ndr.Label{ndr.LittleEndian, ndr.BigEndian}).Draw(r, "label")
		c := newClient(t, l.send, label, 0)
		most := rapid.Uint32Range(1, 5)
		var model mapModel
		r.Repeat(map[string]func(*rapid.T){
			"insert": func(r *rapid.T) {
				entries, replace := rapid.SliceOfN(rapid.Custom(drawEntry), 1, 6).Draw(r, "entries"), rapid.Bool().Draw(r, "replace")
				if status, fault := c.change(epm.OpInsert, epm.Insert{Entries: entries, Replace: replace}); status != 0 || fault != 0 {
					r.Fatalf("insert: %v, %v", status, fault)
				}
				model.insert(entries, replace)
			},
			"delete": func(r *rapid.T) {
				entries := rapid.SliceOfN(rapid.Custom(drawEntry), 1, 2).Draw(r, "entries")
				if len(model) > 0 && rapid.Bool().Draw(r, "known") {
					entries = rapid.SliceOfN(rapid.SampledFrom(model), 1, 3).Draw(r, "of those")
				}
				status, fault := c.change(epm.OpDelete, epm.Delete{Entries: entries})
				if want := model.delete(entries); status != want || fault != 0 {
					r.Fatalf("delete: %v, %v, want %v", status, fault, want)
				}
			},
			"lookup": func(r *rapid.T) { checkLookup(r, c, model, drawLookup(r), most) },
			"map": func(r *rapid.T) {
				checkMap(r, c, model, epm.Map{Object: drawObject(r), Tower: drawTower(r)}, most)
			},
			"lookup and changes": func(r *rapid.T) {
				q, stayed := drawLookup(r), slices.Clone(model)
				var told mapModel
				var added int
				for {
					q.MaxEntries = most.Draw(r, "most")
					got := c.lookup(q)
					told = append(told, got.Entries...)
					if q.Handle = got.Handle; got.Handle.IsNil() {
						break
					}
					if len(model) > 0 && rapid.Bool().Draw(r, "delete") {
						entries := []epm.Entry{rapid.SampledFrom(model).Draw(r, "gone")}
						c.remove(entries...)
						model.delete(entries)
						stayed = stayed.filter(func(e *epm.Entry) bool { return !samePlace(e, &entries[0]) })
					} else if added++; added < 5 {
						entries := []epm.Entry{drawEntry(r)}
						c.insert(entries...)
						model.insert(entries, false)
					}
				}
				checkStayed(r, told, stayed.lookup(q))
			},
		})
	})
}

// checkLookup reads a dump in parts.
func checkLookup(r *rapid.T, c *dceClient, model mapModel, q epm.Lookup, most *rapid.Generator[uint32]) {
	var told mapModel
	for {
		q.MaxEntries = most.Draw(r, "most")
		got := c.lookup(q)
		if uint32(len(got.Entries)) > q.MaxEntries || len(got.Entries) == 0 && got.Status != epm.StatusNotRegistered {
			r.Fatalf("at most %d: %d entries, %v", q.MaxEntries, len(got.Entries), got.Status)
		}
		told = append(told, got.Entries...)
		if q.Handle = got.Handle; got.Handle.IsNil() {
			break
		}
	}
	if want := model.lookup(q); !slices.Equal(told, want) {
		r.Fatalf("lookup %+v = %+v, want %+v", q, told, want)
	}
}

// checkMap reads what an ept_map is told in parts.
func checkMap(r *rapid.T, c *dceClient, model mapModel, q epm.Map, most *rapid.Generator[uint32]) {
	var told []epm.Tower
	for {
		q.MaxTowers = most.Draw(r, "most")
		got := c.find(q)
		if uint32(len(got.Towers)) > q.MaxTowers || got.Status != statusFor(len(got.Towers)) {
			r.Fatalf("at most %d: %d towers, %v", q.MaxTowers, len(got.Towers), got.Status)
		}
		told = append(told, got.Towers...)
		if q.Handle = got.Handle; got.Handle.IsNil() {
			break
		}
	}
	if want := model.find(q); !slices.Equal(told, want) {
		r.Fatalf("map %+v = %+v, want %+v", q, told, want)
	}
}

// checkStayed: what was there all the time was told once, in its order.
func checkStayed(r *rapid.T, told, stayed mapModel) {
	got := told.filter(func(e *epm.Entry) bool { return stayed.index(e) >= 0 })
	if !slices.EqualFunc(got, stayed, func(a, b epm.Entry) bool { return samePlace(&a, &b) }) {
		r.Fatalf("of what stayed were told %+v, want %+v", got, stayed)
	}
}
