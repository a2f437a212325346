package epm

import "github.com/quaymaster/quaymaster/wire/ndr"

// MaxEntries is the most entries or towers of one call (MS-RPCE, sections
// 2.2.1.2.4 and 2.2.1.2.5).
const MaxEntries = 500

// A Map holds the arguments of ept_map (C706, appendix O; MS-RPCE, section
// 2.2.1.2.5): where is a server of the tower's interface?
type Map struct {
	Object    ndr.UUID   // nil if no object is asked for
	Tower     Tower      // interface and protocol sequence; zero ProtSeq: of one that nobody here serves
	Handle    ndr.Handle // nil in the first call
	MaxTowers uint32     // the most towers wanted; any number
}

// ParseMap decodes the arguments. It allocates nothing but names.
func ParseMap(b []byte, l ndr.Label) (Map, error) {
	r := ndr.NewReader(b, l)
	m := Map{Object: readObject(&r), Tower: readTowerPointer(&r), Handle: r.Handle(), MaxTowers: r.Uint32()}
	if err := failed(&r, "map"); err != nil {
		return Map{}, err
	}
	return m, nil
}

// Append appends the arguments.
func (m Map) Append(b []byte, l ndr.Label) []byte {
	w, p := ndr.NewWriter(b, l), inRequest
	p.appendObject(&w, m.Object)
	p.appendTower(&w, m.Tower)
	w.Handle(m.Handle)
	w.Uint32(m.MaxTowers)
	return w.Result()
}

// A MapReply holds the results of ept_map.
type MapReply struct {
	Handle ndr.Handle // nil if there are no more
	Max    uint32     // MaxTowers of the call: others are refused by Samba's clients
	Towers []Tower    // at most Max, and MaxEntries; zero ProtSeq: of another protocol sequence
	Status Status
}

// ParseMapReply decodes the results.
func ParseMapReply(b []byte, l ndr.Label) (MapReply, error) {
	r := ndr.NewReader(b, l)
	m := MapReply{Handle: r.Handle()}
	num := r.Uint32()
	most, n := readCounts(&r, MaxEntries)
	if uint32(n) != num {
		r.Fail(errCount)
	}
	m.Max = most
	referents := r // the towers stand after all pointers
	r.Bytes(4 * n)
	for range n {
		if r.Err() != nil {
			break
		}
		var t Tower
		if referents.Uint32() != 0 {
			t = readTwr(&r)
		}
		m.Towers = append(m.Towers, t)
	}
	m.Status = Status(r.Uint32())
	if err := failed(&r, "map reply"); err != nil {
		return MapReply{}, err
	}
	return m, nil
}

// Append appends the results. It allocates nothing if b has room.
func (m MapReply) Append(b []byte, l ndr.Label) []byte {
	w, p := ndr.NewWriter(b, l), inReply
	w.Handle(m.Handle)
	w.Uint32(uint32(len(m.Towers)))
	w.Uint32(m.Max)
	w.Uint32(0)
	w.Uint32(uint32(len(m.Towers)))
	for i := range m.Towers {
		p.append(&w, m.Towers[i] != Tower{})
	}
	for i := range m.Towers {
		if m.Towers[i] != (Tower{}) {
			appendTwr(&w, m.Towers[i])
		}
	}
	w.Uint32(uint32(m.Status))
	return w.Result()
}
