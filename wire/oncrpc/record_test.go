package oncrpc

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// testLimit is what port mappers take, all fragments of a record together.
const testLimit = 9000

// readAll feeds a reader with what src reads, one slice after the other, and
// returns the records.
func readAll(limit int, src io.Reader) (records [][]byte, partial bool, err error) {
	var f RecordReader
	f.Reset(limit)
	var buf [512]byte
	for {
		n, eof := src.Read(buf[:])
		for b := buf[:n]; len(b) > 0; {
			used, record, err := f.Feed(b)
			if err != nil {
				return records, f.Partial(), err
			}
			if used == 0 && record == nil {
				panic("Feed makes no progress")
			}
			b = b[used:]
			if record == nil {
				if len(b) > 0 {
					panic("Feed leaves bytes without a record")
				}
				break
			}
			records = append(records, bytes.Clone(record))
		}
		if eof != nil {
			return records, f.Partial(), nil
		}
	}
}

// fragments returns a record of those fragments.
func fragments(parts ...[]byte) []byte {
	var b []byte
	for i, p := range parts {
		b = append(AppendRecordMark(b, len(p), i == len(parts)-1), p...)
	}
	return b
}

// split cuts p into fragments of n bytes.
func split(p []byte, n int) []byte {
	var parts [][]byte
	for ; len(p) > n; p = p[n:] {
		parts = append(parts, p[:n])
	}
	return fragments(append(parts, p)...)
}

func repeat(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }

// A SET with AUTH_SYS as libtirpc 1.3.3 writes it over TCP when its buffer is
// made 100 bytes: in two fragments. rpcbind 1.2.6 answers GARBAGE_ARGS.
var twoFragments = unhex(`
	00000060 5495b0c4 00000000 00000002 000186a0 00000004 00000001 00000001 0000002c 6b038cde 00000005 62657274 68000000
	000003e8 000003e8 00000004 00000004 00000018 0000001b 000003e8 00000000 00000000 20000001 00000002 00000003
	80000020 74637000 0000000d 3132372e 302e302e 312e382e 31000000 00000001 30000000`)

var streams = []struct {
	name    string
	data    []byte
	want    [][]byte
	partial bool
}{
	{"rpc.statd 2.6.2, local: SET", unhex(`
			80000054 2783d80e 00000000 00000002 000186a0 00000003 00000001 00000000 00000000 00000000 00000000 000186b8
			00000001 00000003 75647000 0000000e 302e302e 302e302e 3233372e 36350000 00000003 31303300`),
		[][]byte{unhex(`
			2783d80e 00000000 00000002 000186a0 00000003 00000001 00000000 00000000 00000000 00000000 000186b8 00000001
			00000003 75647000 0000000e 302e302e 302e302e 3233372e 36350000 00000003 31303300`)}, false},
	{"rpcbind 1.2.6, tcp: its answer to rpcinfo -l 127.0.0.1 100005 3", unhex(`
			80000088 c1f07e26 00000001 00000000 00000000 00000000 00000000 00000001 0000000f 3132372e 302e302e 312e3136
			392e3300 00000003 75647000 00000001 00000004 696e6574 00000003 75647000 00000001 00000011 3132372e 302e302e
			312e3233 322e3233 35000000 00000003 74637000 00000003 00000004 696e6574 00000003 74637000 00000000`),
		[][]byte{unhex(`
			c1f07e26 00000001 00000000 00000000 00000000 00000000 00000001 0000000f 3132372e 302e302e 312e3136 392e3300
			00000003 75647000 00000001 00000004 696e6574 00000003 75647000 00000001 00000011 3132372e 302e302e 312e3233
			322e3233 35000000 00000003 74637000 00000003 00000004 696e6574 00000003 74637000 00000000`)}, false},
	{"libtirpc 1.3.3 client, tcp: two fragments", twoFragments,
		[][]byte{append(bytes.Clone(twoFragments[4:100]), twoFragments[104:]...)}, false},
	{"nothing", nil, nil, false},
	{"RFC 5531 11: an empty record", unhex("80000000"), [][]byte{{}}, false},
	{"three empty records", unhex("80000000 80000000 80000000"), [][]byte{{}, {}, {}}, false},
	{"empty fragments before, within and after", unhex("00000000 00000000 00000002 0102 00000000 00000001 03 80000000"), [][]byte{{1, 2, 3}}, false},
	{"pipelined: two records in one slice, the third not complete", unhex("80000001 01 80000002 0203 80000003 0405"), [][]byte{{1}, {2, 3}}, true},
	{"a mark that is not complete", unhex("80000001 01 8000"), [][]byte{{1}}, true},
	{"between fragments", unhex("00000001 01"), nil, true},
	{"limit met by one fragment", fragments(repeat(testLimit)), [][]byte{repeat(testLimit)}, false},
	{"limit met by fragments of one byte", split(repeat(testLimit), 1), [][]byte{repeat(testLimit)}, false},
	{"limit met, then empty fragments", fragments(repeat(testLimit), nil, nil, nil), [][]byte{repeat(testLimit)}, false},
	{"as many fragments as can be: the last is empty", append(bytes.Repeat(unhex("00000001 a5"), testLimit), unhex("80000000")...),
		[][]byte{repeat(testLimit)}, false},
	{"9,001 empty fragments", append(make([]byte, 4*testLimit), unhex("80000000")...), [][]byte{{}}, false},
	{"a large record after a small one", append(fragments(repeat(3)), split(repeat(5000), 1000)...), [][]byte{repeat(3), repeat(5000)}, false},
}

var badStreams = []struct {
	name  string
	data  []byte
	limit int
}{
	{"one byte over the limit", fragments(repeat(testLimit + 1)), testLimit},
	{"one byte over the limit, in the second fragment", fragments(repeat(testLimit), repeat(1)), testLimit},
	{"one byte over the limit, fragments of one byte", split(repeat(testLimit+1), 1), testLimit},
	{"mark of 2^31-1 bytes, last", unhex("ffffffff"), testLimit},
	{"mark of 2^31-1 bytes, not last", unhex("7fffffff"), testLimit},
	{"mark of 2^31-1 bytes after others", unhex("00000001 01 7fffffff"), testLimit},
	{"9,002 empty fragments", make([]byte, 4*(testLimit+2)), testLimit},
	{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), testLimit},
	{"TLS 1.2 ClientHello", unhex("16030100c8 010000c4"), testLimit},
	{"limit 0: a byte", unhex("80000001 01"), 0},
	{"limit 0: a second empty fragment", unhex("00000000 80000000"), 0},
}

func TestRecordReader(t *testing.T) {
	for _, tt := range streams {
		for _, src := range []struct {
			name string
			io.Reader
		}{
			{"whole", bytes.NewReader(tt.data)},
			{"byte by byte", iotest.OneByteReader(bytes.NewReader(tt.data))},
			{"by halves", iotest.HalfReader(bytes.NewReader(tt.data))},
		} {
			got, partial, err := readAll(testLimit, src)
			if err != nil || partial != tt.partial {
				t.Errorf("%s, %s: %v, partial %t, want nil, %t", tt.name, src.name, err, partial, tt.partial)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s, %s: records (-want +got):\n%s", tt.name, src.name, d)
			}
		}
	}
}

// A truncated record is no record: only the ones before it come out.
func TestRecordReaderTruncated(t *testing.T) {
	for _, tt := range streams {
		if len(tt.data) > 1000 {
			continue // thousands of fragments that are all the same
		}
		for n := range tt.data {
			got, _, err := readAll(testLimit, bytes.NewReader(tt.data[:n]))
			if err != nil || len(got) > len(tt.want) || len(got) == len(tt.want) && !tt.partial {
				t.Errorf("%s: the first %d bytes = %d records, %v, want less than all %d", tt.name, n, len(got), err, len(tt.want))
			}
			for i, record := range got {
				if !bytes.Equal(record, tt.want[i]) {
					t.Errorf("%s: %d bytes: record %d = %x, want %x", tt.name, n, i, record, tt.want[i])
				}
			}
		}
	}
}

func TestRecordReaderFails(t *testing.T) {
	for _, tt := range badStreams {
		for name, src := range map[string]io.Reader{"whole": bytes.NewReader(tt.data), "byte by byte": iotest.OneByteReader(bytes.NewReader(tt.data))} {
			if got, _, err := readAll(tt.limit, src); !errors.Is(err, ErrRecordSize) || len(got) != 0 {
				t.Errorf("%s, %s: %d records, %v, want ErrRecordSize", tt.name, name, len(got), err)
			}
		}
	}
}

// A mark promises memory that it does not get: the reader holds what has come.
func TestRecordReaderHoldsWhatCame(t *testing.T) {
	var f RecordReader
	f.Reset(MaxFragment)
	if _, record, err := f.Feed(unhex("ffffffff 0102")); record != nil || err != nil {
		t.Fatalf("Feed = %x, %v, want nothing yet", record, err)
	}
	if n := cap(f.record); n > 64 {
		t.Errorf("%d bytes held for 2, want few", n)
	}
}

// Without a limit to speak of a reader goes on, on any size of int.
func TestRecordReaderLargestLimit(t *testing.T) {
	got, partial, err := readAll(math.MaxInt, bytes.NewReader(unhex("00000001 01 80000001 02")))
	if err != nil || partial || len(got) != 1 || !bytes.Equal(got[0], []byte{1, 2}) {
		t.Errorf("records = %x, %t, %v, want 0102", got, partial, err)
	}
}

func TestRecordReaderZero(t *testing.T) {
	var f RecordReader
	if used, record, err := f.Feed(unhex("80000000")); used != 4 || record == nil || len(record) != 0 || err != nil {
		t.Errorf("Feed of an empty record = %d, %x, %v, want 4, empty, nil", used, record, err)
	}
	if used, record, err := f.Feed(nil); used != 0 || record != nil || err != nil {
		t.Errorf("Feed(nil) = %d, %x, %v, want 0, nil, nil", used, record, err)
	}
	if _, _, err := f.Feed(unhex("80000001 01")); !errors.Is(err, ErrRecordSize) {
		t.Errorf("Feed of a byte = %v, want %v", err, ErrRecordSize)
	}
}

// Reset forgets a stream that broke off, or broke the limit, in every state.
func TestRecordReaderReset(t *testing.T) {
	var f RecordReader
	for _, broken := range []string{"80", "00000002 01", "00000001 01", "00000001 01 8000", "7fffffff"} {
		f.Reset(testLimit)
		f.Feed(unhex(broken))
		f.Reset(testLimit)
		if f.Partial() {
			t.Errorf("after %s: Partial() = true after Reset", broken)
		}
		if _, record, err := f.Feed(unhex("80000002 0304")); err != nil || !bytes.Equal(record, []byte{3, 4}) {
			t.Errorf("after %s: Feed = %x, %v, want 0304", broken, record, err)
		}
	}
}

func TestAppendRecordMark(t *testing.T) {
	for _, tt := range []struct {
		size int
		last bool
		want string
	}{
		{0, true, "80000000"}, {0, false, "00000000"}, {84, true, "80000054"}, {96, false, "00000060"},
		{MaxFragment, true, "ffffffff"}, {MaxFragment, false, "7fffffff"},
	} {
		if got := AppendRecordMark(nil, tt.size, tt.last); !bytes.Equal(got, unhex(tt.want)) {
			t.Errorf("AppendRecordMark(nil, %d, %t) = %x, want %s", tt.size, tt.last, got, tt.want)
		}
	}
}

// However records are cut into fragments and these into slices, the same
// records come out.
func TestRecordSplitting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 0, 5).Draw(t, "records")
		var stream []byte
		for _, record := range want {
			var parts [][]byte
			for rest := record; ; {
				n := rapid.IntRange(0, len(rest)).Draw(t, "fragment")
				parts = append(parts, rest[:n])
				rest = rest[n:]
				if len(rest) == 0 || len(parts) == 40 {
					parts = append(parts, rest)
					break
				}
			}
			stream = append(stream, fragments(parts...)...)
		}
		var f RecordReader
		f.Reset(40)
		var got [][]byte
		for len(stream) > 0 {
			slice := stream[:rapid.IntRange(1, len(stream)).Draw(t, "slice")]
			used, record, err := f.Feed(slice)
			if err != nil || used == 0 || record == nil && used < len(slice) {
				t.Fatalf("Feed(%x) = %d, %x, %v", slice, used, record, err)
			}
			stream = stream[used:]
			if record != nil {
				got = append(got, bytes.Clone(record))
			}
		}
		if f.Partial() || len(got) != len(want) {
			t.Fatalf("%d records, partial %t, want %d", len(got), f.Partial(), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("record %d = %x, want %x", i, got[i], want[i])
			}
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

// Any stream cut anyhow gives the records, and the failure, of the whole.
func FuzzRecordReader(f *testing.F) {
	for _, tt := range streams {
		f.Add(tt.data, uint16(testLimit), []byte{0, 3, 100})
	}
	for _, tt := range badStreams {
		f.Add(tt.data, uint16(tt.limit), []byte{6})
	}
	f.Fuzz(func(t *testing.T, b []byte, limit uint16, cuts []byte) {
		want, wantPartial, wantErr := readAll(int(limit), bytes.NewReader(b))
		got, partial, err := readAll(int(limit), &pieces{b, bytes.Clone(cuts)})
		if !errors.Is(err, wantErr) || partial != wantPartial || !cmp.Equal(got, want) {
			t.Fatalf("%x by %v = %x, %t, %v, want %x, %t, %v", b, cuts, got, partial, err, want, wantPartial, wantErr)
		}
		marks := 0
		for _, record := range got {
			if len(record) > int(limit) {
				t.Fatalf("record of %d bytes, limit %d", len(record), limit)
			}
			marks += RecordMarkSize + len(record)
		}
		if marks > len(b) {
			t.Fatalf("%d records out of %d bytes", len(got), len(b))
		}
		var again []byte
		for _, record := range got {
			again = append(again, fragments(record)...)
		}
		if got, partial, err := readAll(int(limit), bytes.NewReader(again)); err != nil || partial || !cmp.Equal(got, want) {
			t.Fatalf("%x = %x, %t, %v, want %x", again, got, partial, err, want)
		}
	})
}

// A reader that has seen its largest record allocates no more.
func TestRecordReaderAllocatesNothing(t *testing.T) {
	stream := append(bytes.Clone(twoFragments), twoFragments...)
	var f RecordReader
	f.Reset(testLimit)
	n := testing.AllocsPerRun(100, func() {
		for b := stream; len(b) > 0; {
			used, _, err := f.Feed(b)
			if err != nil {
				t.Fatal(err)
			}
			b = b[used:]
		}
		f.Reset(testLimit)
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkRecordReader(b *testing.B) {
	for _, bench := range []struct {
		name string
		data []byte
	}{
		{"SET in two fragments", twoFragments},
		{"9,000 bytes in one fragment", fragments(repeat(testLimit))},
		{"9,000 bytes in fragments of one byte", split(repeat(testLimit), 1)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var f RecordReader
			f.Reset(testLimit)
			b.SetBytes(int64(len(bench.data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, record, err := f.Feed(bench.data); record == nil || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
