package epm

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// An Inquiry says which entries are looked for (MS-RPCE, section 2.2.1.2.4).
type Inquiry uint32

// Inquiries.
const (
	InquiryAll         Inquiry = 0
	InquiryByInterface Inquiry = 1
	InquiryByObject    Inquiry = 2
	InquiryByBoth      Inquiry = 3
)

var inquiryNames = [...]string{"all", "by interface", "by object", "by both"}

func (i Inquiry) String() string {
	if uint32(i) >= uint32(len(inquiryNames)) {
		return fmt.Sprintf("Inquiry(%d)", uint32(i))
	}
	return inquiryNames[i]
}

// A VersOption says which versions of the interface are looked for (MS-RPCE,
// section 2.2.1.2.4). It means nothing where the inquiry has no interface.
type VersOption uint32

// Version options.
const (
	VersAll        VersOption = 1
	VersCompatible VersOption = 2 // same major, minor at least that
	VersExact      VersOption = 3
	VersMajorOnly  VersOption = 4 // same major
	VersUpTo       VersOption = 5 // lower major, or same major and minor at most that
)

var versOptionNames = [...]string{VersAll: "all", VersCompatible: "compatible", VersExact: "exact", VersMajorOnly: "major only", VersUpTo: "up to"}

func (v VersOption) String() string {
	if v == 0 || uint32(v) >= uint32(len(versOptionNames)) {
		return fmt.Sprintf("VersOption(%d)", uint32(v))
	}
	return versOptionNames[v]
}

// A Lookup holds the arguments of ept_lookup (C706, appendix O; MS-RPCE,
// section 2.2.1.2.4): which entries are there?
type Lookup struct {
	Inquiry    Inquiry
	Object     ndr.UUID
	Interface  dcerpc.Syntax
	VersOption VersOption
	Handle     ndr.Handle // nil in the first call
	MaxEntries uint32     // the most entries wanted; any number
}

// ParseLookup decodes the arguments.
func ParseLookup(b []byte, l ndr.Label) (Lookup, error) {
	r := ndr.NewReader(b, l)
	k := Lookup{Inquiry: Inquiry(r.Uint32()), Object: readObject(&r)}
	if r.Uint32() != 0 {
		k.Interface = readIfID(&r)
	}
	k.VersOption = VersOption(r.Uint32())
	k.Handle = r.Handle()
	k.MaxEntries = r.Uint32()
	if err := failed(&r, "lookup"); err != nil {
		return Lookup{}, err
	}
	return k, nil
}

// Append appends the arguments.
func (k Lookup) Append(b []byte, l ndr.Label) []byte {
	w, p := ndr.NewWriter(b, l), inRequest
	w.Uint32(uint32(k.Inquiry))
	p.appendObject(&w, k.Object)
	p.append(&w, k.Interface != dcerpc.Syntax{})
	if k.Interface != (dcerpc.Syntax{}) {
		appendIfID(&w, k.Interface)
	}
	w.Uint32(uint32(k.VersOption))
	w.Handle(k.Handle)
	w.Uint32(k.MaxEntries)
	return w.Result()
}

// A LookupReply holds the results of ept_lookup.
type LookupReply struct {
	Handle  ndr.Handle // nil if there are no more
	Max     uint32     // MaxEntries of the call: others are refused by Samba's clients
	Entries []Entry    // at most Max, and MaxEntries
	Status  Status
}

// ParseLookupReply decodes the results.
func ParseLookupReply(b []byte, l ndr.Label) (LookupReply, error) {
	r := ndr.NewReader(b, l)
	k := LookupReply{Handle: r.Handle()}
	num := r.Uint32()
	most, n := readCounts(&r, MaxEntries)
	if uint32(n) != num {
		r.Fail(errCount)
	}
	k.Max = most
	k.Entries = readEntries(&r, n)
	k.Status = Status(r.Uint32())
	if err := failed(&r, "lookup reply"); err != nil {
		return LookupReply{}, err
	}
	return k, nil
}

// Append appends the results. It allocates nothing if b has room.
func (k LookupReply) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Handle(k.Handle)
	w.Uint32(uint32(len(k.Entries)))
	w.Uint32(k.Max)
	w.Uint32(0)
	w.Uint32(uint32(len(k.Entries)))
	appendEntries(&w, inReply, k.Entries)
	w.Uint32(uint32(k.Status))
	return w.Result()
}

// A LookupHandleFree holds the argument of ept_lookup_handle_free.
type LookupHandleFree struct {
	Handle ndr.Handle
}

// ParseLookupHandleFree decodes the argument.
func ParseLookupHandleFree(b []byte, l ndr.Label) (LookupHandleFree, error) {
	r := ndr.NewReader(b, l)
	f := LookupHandleFree{Handle: r.Handle()}
	if err := failed(&r, "lookup handle free"); err != nil {
		return LookupHandleFree{}, err
	}
	return f, nil
}

// Append appends the argument.
func (f LookupHandleFree) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Handle(f.Handle)
	return w.Result()
}

// A LookupHandleFreeReply holds the results of ept_lookup_handle_free.
type LookupHandleFreeReply struct {
	Handle ndr.Handle // nil
	Status Status
}

// ParseLookupHandleFreeReply decodes the results.
func ParseLookupHandleFreeReply(b []byte, l ndr.Label) (LookupHandleFreeReply, error) {
	r := ndr.NewReader(b, l)
	f := LookupHandleFreeReply{Handle: r.Handle(), Status: Status(r.Uint32())}
	if err := failed(&r, "lookup handle free reply"); err != nil {
		return LookupHandleFreeReply{}, err
	}
	return f, nil
}

// Append appends the results.
func (f LookupHandleFreeReply) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Handle(f.Handle)
	w.Uint32(uint32(f.Status))
	return w.Result()
}

// An InqObjectReply holds the results of ept_inq_object, which has no arguments.
type InqObjectReply struct {
	Object ndr.UUID // of the endpoint mapper itself
	Status Status
}

// ParseInqObjectReply decodes the results.
func ParseInqObjectReply(b []byte, l ndr.Label) (InqObjectReply, error) {
	r := ndr.NewReader(b, l)
	o := InqObjectReply{Object: r.UUID(), Status: Status(r.Uint32())}
	if err := failed(&r, "inq object reply"); err != nil {
		return InqObjectReply{}, err
	}
	return o, nil
}

// Append appends the results.
func (o InqObjectReply) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.UUID(o.Object)
	w.Uint32(uint32(o.Status))
	return w.Result()
}
