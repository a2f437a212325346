package epm

import "github.com/quaymaster/quaymaster/wire/ndr"

// MaxAnnotation is the most bytes of an annotation with its NUL
// (ept_max_annotation_size, C706, appendix O).
const MaxAnnotation = 64

// An Entry is one row of the endpoint map (ept_entry_t, C706, appendix O).
type Entry struct {
	Object ndr.UUID // nil if the server registered none
	Tower  Tower    // zero ProtSeq: of another protocol sequence

	// Annotation is for people. It is cut to MaxAnnotation-1 bytes when it is
	// written. One that is longer with its NUL is refused when it is read, as C706
	// has it, though Samba takes it; one without a NUL is read, as by Samba.
	Annotation string
}

// Entries stand in an array with pointers to their towers, which follow after the array.

func appendEntries(w *ndr.Writer, p pointers, entries []Entry) {
	for i := range entries {
		e := &entries[i]
		annotation := clip(e.Annotation, MaxAnnotation-1)
		w.UUID(e.Object)
		p.append(w, e.Tower != Tower{})
		w.Uint32(0)
		w.Uint32(uint32(len(annotation) + 1))
		w.String(annotation)
		w.Uint8(0)
	}
	for i := range entries {
		if entries[i].Tower != (Tower{}) {
			appendTwr(w, entries[i].Tower)
		}
	}
}

func readEntries(r *ndr.Reader, n int) []Entry {
	var entries []Entry
	var pointed []bool
	for range n {
		e := Entry{Object: r.UUID()}
		pointed = append(pointed, r.Uint32() != 0)
		e.Annotation = clip(readText(r, readVariance(r, MaxAnnotation)), MaxAnnotation-1)
		if r.Err() != nil {
			return nil
		}
		entries = append(entries, e)
	}
	for i := range entries {
		if pointed[i] {
			entries[i].Tower = readTwr(r)
		}
	}
	return entries
}

// readCountedEntries reads a number and an array of that many entries.
func readCountedEntries(r *ndr.Reader) []Entry {
	num := r.Count(MaxEntries)
	if r.Uint32() != num {
		r.Fail(errCount)
	}
	return readEntries(r, int(num))
}

func appendCountedEntries(w *ndr.Writer, entries []Entry) {
	w.Uint32(uint32(len(entries)))
	w.Uint32(uint32(len(entries)))
	appendEntries(w, inRequest, entries)
}

// An Insert holds the arguments of ept_insert; its reply is a [Status].
type Insert struct {
	Entries []Entry // at most MaxEntries
	Replace bool    // take away what is there for an interface, object and protocol sequence
}

// ParseInsert decodes the arguments.
func ParseInsert(b []byte, l ndr.Label) (Insert, error) {
	r := ndr.NewReader(b, l)
	in := Insert{Entries: readCountedEntries(&r), Replace: r.Uint32() != 0}
	if err := failed(&r, "insert"); err != nil {
		return Insert{}, err
	}
	return in, nil
}

// Append appends the arguments.
func (in Insert) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	appendCountedEntries(&w, in.Entries)
	appendBool(&w, in.Replace)
	return w.Result()
}

// A Delete holds the arguments of ept_delete; its reply is a [Status].
type Delete struct {
	Entries []Entry // at most MaxEntries; annotations mean nothing
}

// ParseDelete decodes the arguments.
func ParseDelete(b []byte, l ndr.Label) (Delete, error) {
	r := ndr.NewReader(b, l)
	d := Delete{Entries: readCountedEntries(&r)}
	if err := failed(&r, "delete"); err != nil {
		return Delete{}, err
	}
	return d, nil
}

// Append appends the arguments.
func (d Delete) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	appendCountedEntries(&w, d.Entries)
	return w.Result()
}

// A MgmtDelete holds the arguments of ept_mgmt_delete; its reply is a [Status].
type MgmtDelete struct {
	ObjectSpeced bool // only entries of the object, else of any
	Object       ndr.UUID
	Tower        Tower
}

// ParseMgmtDelete decodes the arguments.
func ParseMgmtDelete(b []byte, l ndr.Label) (MgmtDelete, error) {
	r := ndr.NewReader(b, l)
	d := MgmtDelete{ObjectSpeced: r.Uint32() != 0, Object: readObject(&r), Tower: readTowerPointer(&r)}
	if err := failed(&r, "mgmt delete"); err != nil {
		return MgmtDelete{}, err
	}
	return d, nil
}

// Append appends the arguments.
func (d MgmtDelete) Append(b []byte, l ndr.Label) []byte {
	w, p := ndr.NewWriter(b, l), inRequest
	appendBool(&w, d.ObjectSpeced)
	p.appendObject(&w, d.Object)
	p.appendTower(&w, d.Tower)
	return w.Result()
}
