package dcerpc

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// cut returns the PDUs that b consists of.
func cut(tb testing.TB, b []byte) (pdus [][]byte) {
	tb.Helper()
	var f PDUReader
	f.Reset(MaxFrag)
	for len(b) > 0 {
		used, pdu, err := f.Feed(b)
		if err != nil || pdu == nil {
			tb.Fatalf("Feed(%x) = %x, %v, want a PDU", b, pdu, err)
		}
		pdus = append(pdus, pdu)
		b = b[used:]
	}
	return pdus
}

// add decodes a request and adds it.
func add(a *Assembler, pdu []byte) (Request, bool, error) {
	h, err := ParseHeader(pdu)
	if err != nil {
		return Request{}, false, err
	}
	m, err := ParseRequest(h, pdu)
	if err != nil {
		return Request{}, false, err
	}
	return a.Add(h, m)
}

// Samba's answer in two fragments comes out whole, and we cut it as Samba does.
func TestAssembleCapture(t *testing.T) {
	_, server := dialogue(t)
	var a Assembler
	var whole Response
	for i, pdu := range server[1:3] {
		h, err := ParseHeader(pdu)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseResponse(h, pdu)
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := a.AddResponse(h, m)
		if err != nil || ok != (i == 1) {
			t.Fatalf("fragment %d: %t, %v", i, ok, err)
		}
		whole = got
	}
	if want := 6684; len(whole.Stub) != want || int(whole.AllocHint) != want {
		t.Errorf("stub of %d bytes, hint %d, want %d", len(whole.Stub), whole.AllocHint, want)
	}
	got := cut(t, AppendResponse(nil, le(0, 0, 0, 0, 1), whole, 4280))
	for i, want := range server[1:3] {
		if !bytes.Equal(got[i], want) {
			t.Errorf("fragment %d = %x, want %x", i, got[i], want)
		}
	}
}

// A call in one fragment is not copied.
func TestAssembleWhole(t *testing.T) {
	for _, tt := range rows {
		if tt.header.PType != PTypeRequest {
			continue
		}
		var a Assembler
		want := tt.want.(Request)
		got, ok, err := a.Add(tt.header, want)
		if !ok || err != nil || !cmp.Equal(got, want) || len(want.Stub) > 0 && &got.Stub[0] != &want.Stub[0] || a.calls != nil {
			t.Errorf("%s: %v, %t, %v, want %v", tt.name, got, ok, err, want)
		}
	}
}

// frag is a fragment of call 7 with defaults that go together.
func frag(f Flags, stub string) (Header, Request) {
	return le(PTypeRequest, f, 0, 0, 7), Request{ContextID: 1, Opnum: 2, Stub: []byte(stub)}
}

// fragOf is frag for another call.
func fragOf(call uint32, f Flags, stub string) (Header, Request) {
	h, m := frag(f, stub)
	h.CallID = call
	return h, m
}

func TestAssembleFails(t *testing.T) {
	type fragment struct {
		h Header
		m Request
	}
	of := func(h Header, m Request) fragment { return fragment{h, m} }
	first := of(frag(FirstFrag, "abc"))
	opnum, context, label := of(frag(LastFrag, "d")), of(frag(LastFrag, "d")), of(frag(LastFrag, "d"))
	opnum.m.Opnum++
	context.m.ContextID++
	label.h.Label = ndr.BigEndian
	large := of(frag(0, string(make([]byte, 60000))))
	tooMany := make([]fragment, MaxCalls+1)
	for i := range tooMany {
		tooMany[i] = of(fragOf(uint32(i), FirstFrag, "a"))
	}
	tooMuch := []fragment{first}
	for range MaxHeld/60000 + 1 {
		tooMuch = append(tooMuch, large)
	}
	tooMuchOfMany := []fragment{}
	for i := range uint32(MaxHeld/60000 + 1) {
		tooMuchOfMany = append(tooMuchOfMany, of(fragOf(i%8, FirstFrag*Flags(1&^min(i/8, 1)), string(make([]byte, 60000)))))
	}
	for _, tt := range []struct {
		name  string
		frags []fragment // the last one fails
		want  error
	}{
		{"last of an unknown call", []fragment{of(frag(LastFrag, "d"))}, errNoFirst},
		{"last of another call", []fragment{first, of(fragOf(8, LastFrag, "d"))}, errNoFirst},
		{"first twice", []fragment{first, first}, errFirst},
		{"whole within a call", []fragment{first, of(frag(FirstFrag|LastFrag, "d"))}, errFirst},
		{"another operation", []fragment{first, opnum}, errDiffers},
		{"another context", []fragment{first, context}, errDiffers},
		{"another byte order", []fragment{first, label}, errDiffers},
		{"empty first", []fragment{of(frag(FirstFrag, ""))}, errEmpty},
		{"empty in the middle", []fragment{first, of(frag(0, ""))}, errEmpty},
		{"calls over the limit", tooMany, errMaxCalls},
		{"one call over the limit", tooMuch, errMaxHeld},
		{"calls together over the limit", tooMuchOfMany, errMaxHeld},
	} {
		var a Assembler
		for i, p := range tt.frags {
			got, ok, err := a.Add(p.h, p.m)
			var typed *AssembleError
			switch isLast := i == len(tt.frags)-1; {
			case isLast && (!errors.Is(err, tt.want) || !errors.As(err, &typed) || ok):
				t.Errorf("%s: %v, %t, %v, want %v", tt.name, got, ok, err, tt.want)
			case !isLast && (ok || err != nil):
				t.Errorf("%s: fragment %d: %v, %t, %v", tt.name, i, got, ok, err)
			}
		}
		// The call that failed is forgotten; the others go on.
		for i := range uint32(MaxCalls + 1) {
			a.Drop(i)
		}
		if a.held != 0 || len(a.calls) != 0 {
			t.Errorf("%s: %d bytes of %d calls held after all are dropped", tt.name, a.held, len(a.calls))
		}
	}
}

func TestAssembleAfterFailure(t *testing.T) {
	var a Assembler
	a.Add(frag(FirstFrag, "abc"))
	a.Add(fragOf(8, FirstFrag, "xyz"))
	if _, _, err := a.Add(frag(FirstFrag, "abc")); !errors.Is(err, errFirst) {
		t.Fatal(err)
	}
	if _, _, err := a.Add(frag(LastFrag, "d")); !errors.Is(err, errNoFirst) {
		t.Errorf("a fragment of the call that failed: %v, want %v", err, errNoFirst)
	}
	if got, ok, err := a.Add(fragOf(8, LastFrag, "!")); !ok || err != nil || string(got.Stub) != "xyz!" {
		t.Errorf("the other call: %q, %t, %v, want xyz!", got.Stub, ok, err)
	}
}

func TestDrop(t *testing.T) {
	var a Assembler
	a.Drop(7)
	a.Add(frag(FirstFrag, "abc"))
	a.Drop(8)
	if a.held != 3 {
		t.Errorf("%d bytes held, want 3", a.held)
	}
	if a.Drop(7); a.held != 0 {
		t.Errorf("%d bytes held after Drop, want 0", a.held)
	}
	if _, ok, err := a.Add(frag(FirstFrag, "abc")); ok || err != nil {
		t.Errorf("the same call again: %t, %v", ok, err)
	}
}

// Without flags: whole where no call is under way, else in the middle.
func TestAssembleNoFlags(t *testing.T) {
	var a Assembler
	if got, ok, err := a.Add(frag(0, "abc")); !ok || err != nil || string(got.Stub) != "abc" {
		t.Errorf("no flags: %q, %t, %v, want abc", got.Stub, ok, err)
	}
	a.Add(frag(FirstFrag, "abc"))
	if _, ok, err := a.Add(frag(0, "def")); ok || err != nil {
		t.Errorf("in the middle: %t, %v, want false", ok, err)
	}
	if got, ok, err := a.Add(fragOf(8, 0, "xyz")); !ok || err != nil || string(got.Stub) != "xyz" {
		t.Errorf("no flags, another call: %q, %t, %v, want xyz", got.Stub, ok, err)
	}
	if got, ok, err := a.Add(frag(LastFrag, "")); !ok || err != nil || string(got.Stub) != "abcdef" {
		t.Errorf("last: %q, %t, %v, want abcdef", got.Stub, ok, err)
	}
}

// The first fragment's object and hint count.
func TestAssembleObject(t *testing.T) {
	var a Assembler
	h, m := frag(FirstFrag|ObjectUUID, "abc")
	m.Object, m.AllocHint = object, 4
	a.Add(h, m)
	h, m = frag(LastFrag, "d")
	m.AllocHint = 1
	want := Request{4, 1, 2, object, []byte("abcd")}
	if got, ok, err := a.Add(h, m); !ok || err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %t, %v, want %v", got, ok, err, want)
	}
}

// The stub is a copy: the slices that fragments come in are used again.
func TestAssembleCopies(t *testing.T) {
	var a Assembler
	h, m := frag(FirstFrag, "abc")
	a.Add(h, m)
	copy(m.Stub, "xyz")
	if got, ok, _ := a.Add(frag(LastFrag, "d")); !ok || string(got.Stub) != "abcd" {
		t.Errorf("stub %q, %t, want abcd", got.Stub, ok)
	}
}

// Fragments are of the size that was agreed upon, tell what is left, and start
// with all but the last at multiples of 8.
func TestFragments(t *testing.T) {
	for _, tt := range []struct {
		stub    int
		maxFrag uint16
		object  ndr.UUID
		want    []int // bytes of the PDUs
	}{
		{0, 5840, ndr.UUID{}, []int{24}},
		{5816, 5840, ndr.UUID{}, []int{5840}},
		{5817, 5840, ndr.UUID{}, []int{5840, 25}},
		{5801, 5840, object, []int{5840, 41}},
		{4270, 4285, ndr.UUID{}, []int{4280, 38}},
		{2 * 1408, 1432, ndr.UUID{}, []int{1432, 1432}},
		{2 * 1408, 0, ndr.UUID{}, []int{1432, 1432}},
		{2 * 1408, 48, ndr.UUID{}, []int{1432, 1432}},
		{65504, MaxFrag, ndr.UUID{}, []int{65528}},
		{65505, MaxFrag, ndr.UUID{}, []int{65528, 25}},
		{100000, MaxFrag, object, []int{65528, 34552}},
	} {
		left := tt.stub
		b := AppendRequest(nil, le(0, Multiplex, 0, 0, 7), Request{0, 1, 2, tt.object, make([]byte, tt.stub)}, tt.maxFrag)
		for i, pdu := range cut(t, b) {
			h, err := ParseHeader(pdu)
			m, err2 := ParseRequest(h, pdu)
			if i >= len(tt.want) || len(pdu) != tt.want[i] || err != nil || err2 != nil {
				t.Errorf("stub of %d bytes in fragments of %d: fragment %d has %d bytes, %v, %v, want %v", tt.stub, tt.maxFrag, i, len(pdu), err, err2, tt.want)
				break
			}
			flags := Multiplex
			if i == 0 {
				flags |= FirstFrag
			}
			if i == len(tt.want)-1 {
				flags |= LastFrag
			}
			if !tt.object.IsNil() {
				flags |= ObjectUUID
			}
			if h.Flags != flags || int(m.AllocHint) != left || m.Object != tt.object || m.ContextID != 1 || m.Opnum != 2 {
				t.Errorf("stub of %d bytes: fragment %d: flags %#x, want %#x; %d bytes left, want %d", tt.stub, i, uint8(h.Flags), uint8(flags), m.AllocHint, left)
			}
			left -= len(m.Stub)
		}
		if left != 0 {
			t.Errorf("stub of %d bytes in fragments of %d: %d bytes missing", tt.stub, tt.maxFrag, left)
		}
	}
}

// However calls are cut into fragments, and these interleaved, the same calls
// come out.
func TestAssembling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.SampledFrom([]ndr.Label{ndr.LittleEndian, ndr.BigEndian}).Draw(t, "label")
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Request {
			m := Request{
				ContextID: rapid.Uint16().Draw(t, "context"),
				Opnum:     rapid.Uint16().Draw(t, "opnum"),
				Stub:      bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 97).Draw(t, "stub"), 60),
			}
			if rapid.Bool().Draw(t, "has object") {
				m.Object = object
			}
			m.AllocHint = uint32(len(m.Stub))
			return m
		}), 1, MaxCalls).Draw(t, "calls")
		var a Assembler
		queues := make([][]byte, len(want)) // what is to come of every call
		for i, m := range want {
			maxFrag := rapid.Uint16Range(0, 6000).Draw(t, "maxFrag")
			queues[i] = AppendRequest(nil, Header{Label: label, CallID: uint32(i)}, m, maxFrag)
		}
		var f PDUReader
		f.Reset(MaxFrag)
		for done := 0; done < len(want); {
			i := rapid.IntRange(0, len(want)-1).Draw(t, "next")
			for len(queues[i]) == 0 {
				i = (i + 1) % len(want)
			}
			used, pdu, err := f.Feed(queues[i])
			if err != nil {
				t.Fatal(err)
			}
			queues[i] = queues[i][used:]
			got, ok, err := add(&a, pdu)
			if err != nil || ok != (len(queues[i]) == 0) {
				t.Fatalf("call %d: %t, %v with %d bytes to come", i, ok, err, len(queues[i]))
			}
			if ok {
				done++
				if !bytes.Equal(got.Stub, want[i].Stub) || got.Opnum != want[i].Opnum || got.ContextID != want[i].ContextID ||
					got.Object != want[i].Object || got.AllocHint != want[i].AllocHint {
					t.Fatalf("call %d = %v, want %v", i, got, want[i])
				}
			}
		}
		if a.held != 0 || len(a.calls) != 0 {
			t.Fatalf("%d bytes of %d calls held, want none", a.held, len(a.calls))
		}
	})
}

// Any fragments in any order keep the books and the limits.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{0x11, 0x12, 0x13, 0x20, 0x01, 0x02})
	f.Add(bytes.Repeat([]byte{0x31, 0x30}, 100))
	f.Fuzz(func(t *testing.T, script []byte) {
		stub := make([]byte, 0xf000)
		var a Assembler
		for _, op := range script {
			call, flags := uint32(op>>2&7), Flags(op&3)
			if op>>5 == 7 {
				a.Drop(call)
			} else {
				h, m := fragOf(call, flags, "")
				m.Stub = stub[:int(op>>5)*0x2000]
				whole, ok, err := a.Add(h, m)
				if ok && err != nil || !ok && whole.Stub != nil {
					t.Fatalf("Add = %d bytes, %t, %v", len(whole.Stub), ok, err)
				}
			}
			held := 0
			for _, c := range a.calls {
				held += len(c.request.Stub)
			}
			if held != a.held || held > MaxHeld || len(a.calls) > MaxCalls {
				t.Fatalf("%d calls with %d bytes, counted %d", len(a.calls), held, a.held)
			}
		}
	})
}
