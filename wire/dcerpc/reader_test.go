package dcerpc

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// testLimit is the fragment size that Windows and others agree upon.
const testLimit = 5840

// readAll feeds a reader with what src reads, one slice after the other, and
// returns the PDUs.
func readAll(limit int, src io.Reader) (pdus [][]byte, partial bool, err error) {
	var f PDUReader
	f.Reset(limit)
	var buf [512]byte
	for {
		n, eof := src.Read(buf[:])
		for b := buf[:n]; len(b) > 0; {
			used, pdu, err := f.Feed(b)
			if err != nil {
				return pdus, f.Partial(), err
			}
			if used == 0 || pdu == nil && used < len(b) {
				panic("Feed leaves bytes without a PDU")
			}
			b = b[used:]
			if pdu != nil {
				pdus = append(pdus, bytes.Clone(pdu))
			}
		}
		if eof != nil {
			return pdus, f.Partial(), nil
		}
	}
}

// ofSize returns a PDU of n bytes.
func ofSize(n int) []byte {
	h := le(PTypeRequest, 3, uint16(n), 0, 1)
	return append(h.Append(nil), make([]byte, n-HeaderSize)...)
}

func TestPDUReader(t *testing.T) {
	client, server := dialogue(t)
	var small [][]byte
	for _, tt := range rows {
		small = append(small, unhex(tt.data))
	}
	for _, tt := range []struct {
		name    string
		pdus    [][]byte
		tail    []byte // not a whole PDU
		partial bool
	}{
		{"impacket-rpcdump, client", client, nil, false},
		{"Samba 4.17.12 as AD DC to impacket-rpcdump", server, nil, false},
		{"every row", small, nil, false},
		{"nothing", nil, nil, false},
		{"a header alone", [][]byte{ofSize(HeaderSize)}, nil, false},
		{"limit met", [][]byte{ofSize(testLimit), ofSize(testLimit)}, nil, false},
		{"small after large", [][]byte{ofSize(testLimit), ofSize(24)}, nil, false},
		{"first byte of the second", client[:1], client[1][:1], true},
		{"header of the second", client[:1], client[1][:HeaderSize], true},
		{"all but a byte of the second", client[:1], client[1][:len(client[1])-1], true},
	} {
		stream := append(bytes.Join(tt.pdus, nil), tt.tail...)
		for _, src := range []struct {
			name string
			io.Reader
		}{
			{"whole", bytes.NewReader(stream)},
			{"byte by byte", iotest.OneByteReader(bytes.NewReader(stream))},
			{"by halves", iotest.HalfReader(bytes.NewReader(stream))},
		} {
			got, partial, err := readAll(testLimit, src)
			if err != nil || partial != tt.partial {
				t.Errorf("%s, %s: %v, partial %t, want nil, %t", tt.name, src.name, err, partial, tt.partial)
			}
			if d := cmp.Diff(tt.pdus, got); d != "" {
				t.Errorf("%s, %s: PDUs (-want +got):\n%s", tt.name, src.name, d)
			}
		}
	}
}

// A truncated PDU is none: the stream is partial.
func TestPDUReaderTruncated(t *testing.T) {
	for _, tt := range rows {
		b := unhex(tt.data)
		for n := 1; n < len(b); n++ {
			if got, partial, err := readAll(testLimit, bytes.NewReader(b[:n])); len(got) > 0 || !partial || err != nil {
				t.Errorf("%s: %d bytes of %d = %x, partial %t, %v, want none, true, nil", tt.name, n, len(b), got, partial, err)
			}
		}
	}
}

var badStreams = []struct {
	name  string
	data  []byte
	used  int // bytes, one at a time, after which that is known
	limit int
	want  error
}{
	{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), 1, testLimit, ErrVersion},
	{"TLS 1.2 ClientHello", unhex("16030100c8 010000c4"), 1, testLimit, ErrVersion},
	{"connectionless", unhex("04"), 1, testLimit, ErrVersion},
	{"version 5.2", unhex("0502"), 2, testLimit, ErrVersion},
	{"EBCDIC", unhex("05000b03 11000000 4800 0000 01000000"), HeaderSize, testLimit, ndr.ErrLabel},
	{"shorter than the header", unhex("05000b03 10000000 0f00 0000 01000000 00"), HeaderSize, testLimit, ErrFragLength},
	{"one byte over the limit", unhex("05000b03 10000000 d116 0000 01000000 00"), HeaderSize, testLimit, ErrFragLength},
	{"one byte over the limit, big-endian", unhex("05000b03 00000000 16d1 0000 00000001 00"), HeaderSize, testLimit, ErrFragLength},
	{"65,535 bytes", unhex("05000b03 10000000 ffff 0000 01000000 00"), HeaderSize, testLimit, ErrFragLength},
	{"limit 0", unhex("05000b03 10000000 1000 0000 01000000"), HeaderSize, 0, ErrFragLength},
}

// The reader looks at what there is, so that garbage ends at once.
func TestPDUReaderFails(t *testing.T) {
	good := unhex(rows[0].data)
	for _, tt := range badStreams {
		for name, src := range map[string]io.Reader{"whole": bytes.NewReader(tt.data), "byte by byte": iotest.OneByteReader(bytes.NewReader(tt.data))} {
			if got, _, err := readAll(tt.limit, src); !errors.Is(err, tt.want) || len(got) != 0 {
				t.Errorf("%s, %s: %d PDUs, %v, want %v", tt.name, name, len(got), err, tt.want)
			}
		}
		var f PDUReader
		f.Reset(tt.limit)
		for i, c := range tt.data {
			_, _, err := f.Feed([]byte{c})
			if (err != nil) != (i+1 >= tt.used) {
				t.Errorf("%s: byte %d: %v, want the error after %d, and for good", tt.name, i+1, err, tt.used)
			}
		}
		f.Reset(testLimit)
		if _, pdu, err := f.Feed(good); f.Partial() || err != nil || !bytes.Equal(pdu, good) {
			t.Errorf("%s: after Reset: %x, %v, want %x", tt.name, pdu, err, good)
		}
	}
}

// The largest bind arrives in any number of slices.
func TestPDUReaderLargest(t *testing.T) {
	want := ofSize(MaxFrag)
	for _, src := range []io.Reader{bytes.NewReader(want), iotest.HalfReader(bytes.NewReader(want))} {
		got, partial, err := readAll(MaxFrag, src)
		if err != nil || partial || len(got) != 1 || !bytes.Equal(got[0], want) {
			t.Errorf("%d PDUs, partial %t, %v, want 1", len(got), partial, err)
		}
	}
}

// A PDU within one slice is not copied, and has no room to append into the next.
func TestPDUReaderDoesNotCopy(t *testing.T) {
	client, _ := dialogue(t)
	stream := bytes.Join(client, nil)
	var f PDUReader
	f.Reset(testLimit)
	for _, want := range client {
		used, pdu, err := f.Feed(stream)
		if err != nil || used != len(want) || &pdu[0] != &stream[0] || cap(pdu) != used {
			t.Errorf("Feed = %d, %x with room for %d, %v, want %d bytes of the slice", used, pdu, cap(pdu), err, len(want))
		}
		stream = stream[used:]
	}
	if f.pdu != nil {
		t.Errorf("%d bytes held", cap(f.pdu))
	}
}

// A header promises memory that it does not get, and the memory of a large PDU
// does not stay.
func TestPDUReaderHoldsWhatCame(t *testing.T) {
	large, small := ofSize(MaxFrag), ofSize(100)
	var f PDUReader
	f.Reset(MaxFrag)
	f.Feed(large[:20])
	if n := cap(f.pdu); n > 64 {
		t.Errorf("%d bytes held for 20, want few", n)
	}
	if _, pdu, err := f.Feed(large[20:]); pdu == nil || err != nil {
		t.Fatal(err)
	}
	if f.Feed(small); f.Partial() || cap(f.pdu) > keepSize {
		t.Errorf("%d bytes held after the PDU, want at most %d", cap(f.pdu), keepSize)
	}
}

func TestPDUReaderZero(t *testing.T) {
	var f PDUReader
	if used, pdu, err := f.Feed(nil); used != 0 || pdu != nil || err != nil || f.Partial() {
		t.Errorf("Feed(nil) = %d, %x, %v, want 0, nil, nil", used, pdu, err)
	}
	if _, _, err := f.Feed(ofSize(HeaderSize)); !errors.Is(err, ErrFragLength) {
		t.Errorf("Feed of a PDU = %v, want %v", err, ErrFragLength)
	}
}

// However a stream is cut into slices, the same PDUs come out.
func TestPDUSplitting(t *testing.T) {
	var all [][]byte
	for _, tt := range rows {
		all = append(all, unhex(tt.data))
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.SampledFrom(all), 0, 6).Draw(t, "PDUs")
		stream := bytes.Join(want, nil)
		var f PDUReader
		f.Reset(testLimit)
		var got [][]byte
		for len(stream) > 0 {
			slice := stream[:rapid.IntRange(1, len(stream)).Draw(t, "slice")]
			used, pdu, err := f.Feed(slice)
			if err != nil || used == 0 || pdu == nil && used < len(slice) {
				t.Fatalf("Feed(%x) = %d, %x, %v", slice, used, pdu, err)
			}
			if f.Partial() != (pdu == nil) {
				t.Fatalf("Partial() = %t with PDU %x", f.Partial(), pdu)
			}
			stream = stream[used:]
			if pdu != nil {
				got = append(got, bytes.Clone(pdu))
			}
		}
		if f.Partial() || !cmp.Equal(got, want) && len(want) > 0 {
			t.Fatalf("%x, partial %t, want %x", got, f.Partial(), want)
		}
	})
}

// pieces reads from b in the sizes that cuts gives, in turn.
type pieces struct{ b, cuts []byte }

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(p.cuts) > 0 {
		n += int(p.cuts[0])
		p.cuts = append(p.cuts[1:], p.cuts[0])
	}
	n = copy(to, p.b[:min(n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

// Any stream cut anyhow gives the PDUs, and the failure, of the whole.
func FuzzPDUReader(f *testing.F) {
	for _, tt := range rows {
		f.Add(unhex(tt.data), uint16(testLimit), []byte{0, 3, 100})
	}
	for _, tt := range badStreams {
		f.Add(tt.data, uint16(tt.limit), []byte{6})
	}
	f.Fuzz(func(t *testing.T, b []byte, limit uint16, cuts []byte) {
		want, wantPartial, wantErr := readAll(int(limit), bytes.NewReader(b))
		got, partial, err := readAll(int(limit), &pieces{b, bytes.Clone(cuts)})
		if (err == nil) != (wantErr == nil) || err == nil && partial != wantPartial || !cmp.Equal(got, want) {
			t.Fatalf("%x by %v = %x, %t, %v, want %x, %t, %v", b, cuts, got, partial, err, want, wantPartial, wantErr)
		}
		for _, pdu := range got {
			h, err := ParseHeader(pdu)
			if err != nil || int(h.FragLength) != len(pdu) || len(pdu) > int(limit) {
				t.Fatalf("PDU %x has header %+v, %v", pdu, h, err)
			}
		}
		if !bytes.HasPrefix(b, bytes.Join(got, nil)) {
			t.Fatalf("%x out of %x", got, b)
		}
	})
}

// A reader that has seen its largest PDU allocates no more.
func TestPDUReaderAllocatesNothing(t *testing.T) {
	b := unhex(mapRequest)
	var f PDUReader
	f.Reset(testLimit)
	n := testing.AllocsPerRun(100, func() {
		f.Feed(b[:7])
		if _, pdu, err := f.Feed(b[7:]); pdu == nil || err != nil {
			t.Fatal(err)
		}
		if _, pdu, err := f.Feed(b); pdu == nil || err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkPDUReader(b *testing.B) {
	data := unhex(mapRequest)
	for _, bench := range []struct {
		name string
		cut  int
	}{{"whole", 0}, {"in two", 50}} {
		b.Run(bench.name, func(b *testing.B) {
			var f PDUReader
			f.Reset(testLimit)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				f.Feed(data[:bench.cut])
				if _, pdu, err := f.Feed(data[bench.cut:]); pdu == nil || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
