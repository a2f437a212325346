package oncrpc

import (
	"encoding/binary"
	"errors"
)

// Record marking carries messages over streams (RFC 5531, section 11): a record
// is a sequence of fragments, each after a 4-byte mark whose highest bit says
// "last" and whose other 31 bits are the fragment's length.
const (
	RecordMarkSize = 4
	LastFragment   = 1 << 31
)

// ErrRecordSize: a record longer than its reader allows.
var ErrRecordSize = errors.New("oncrpc: record over the limit")

// A RecordReader puts records together from a stream, fed to it in slices of
// any size. The zero value takes only empty records; [RecordReader.Reset] sets the limit.
type RecordReader struct {
	limit     int
	record    []byte
	mark      [RecordMarkSize]byte
	markLen   int  // bytes of mark that have arrived
	left      int  // bytes of the fragment still to come
	last      bool // the fragment is the last
	inBody    bool
	fragments int
}

// Reset makes f ready for a new stream whose records have at most limit bytes,
// all fragments together, and at most limit+1 fragments, for they may be empty;
// it keeps its memory.
func (f *RecordReader) Reset(limit int) {
	*f = RecordReader{limit: limit, record: f.record[:0]}
}

// Feed reads from b until a record is complete or b is used up, and returns how
// many bytes it used. A complete record is valid until the next Feed; otherwise
// record is nil (and it is not nil if an empty record is complete).
// After [ErrRecordSize] the stream cannot be followed any more.
func (f *RecordReader) Feed(b []byte) (used int, record []byte, err error) {
	if !f.inBody && f.markLen == 0 && f.fragments == 0 {
		f.record = f.record[:0] // the one returned before
	}
	for used < len(b) {
		if !f.inBody {
			n := copy(f.mark[f.markLen:], b[used:])
			used += n
			f.markLen += n
			if f.markLen < RecordMarkSize {
				break
			}
			if err := f.begin(binary.BigEndian.Uint32(f.mark[:])); err != nil {
				return used, nil, err
			}
		}
		n := min(f.left, len(b)-used)
		f.record = append(f.record, b[used:used+n]...)
		used += n
		f.left -= n
		if f.left > 0 {
			break
		}
		f.inBody = false
		if f.last {
			f.fragments = 0
			if f.record == nil {
				f.record = []byte{}
			}
			return used, f.record, nil
		}
	}
	return used, nil, nil
}

// begin starts the fragment after mark. Empty fragments are legal, so their
// number is bounded too: a stream of them would otherwise never end.
func (f *RecordReader) begin(mark uint32) error {
	f.markLen = 0
	f.fragments++
	size := mark &^ uint32(LastFragment)
	if int64(size) > int64(f.limit-len(f.record)) || f.fragments-1 > f.limit {
		return ErrRecordSize
	}
	f.left = int(size)
	f.last = mark&LastFragment != 0
	f.inBody = true
	return nil
}

// Partial tells whether part of a record has arrived.
func (f *RecordReader) Partial() bool { return f.inBody || f.markLen > 0 || f.fragments > 0 }

// Held returns how many bytes of a record that is not complete are kept.
func (f *RecordReader) Held() int {
	if !f.Partial() {
		return 0
	}
	return len(f.record)
}

// MaxFragment is the most bytes that one fragment can carry.
const MaxFragment = LastFragment - 1

// AppendRecordMark appends the mark of a fragment of size bytes, at most [MaxFragment].
func AppendRecordMark(b []byte, size int, last bool) []byte {
	mark := uint32(size)
	if last {
		mark |= LastFragment
	}
	return binary.BigEndian.AppendUint32(b, mark)
}
