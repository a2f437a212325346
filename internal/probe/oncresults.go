package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// maxRecord is the most bytes that are read of a record, its marks included.
const maxRecord = 16 << 20

// A record reads one record of a stream without its marks (RFC 5531, section 11), however
// long its fragments say they are. At its end it returns io.EOF; when the stream ends before,
// io.ErrUnexpectedEOF.
type record struct {
	stream *bufio.Reader
	left   int // bytes of the fragment still to come
	last   bool
	size   int // bytes read, with the marks
}

// Read implements [io.Reader].
func (r *record) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.last {
			return 0, io.EOF
		}
		if err := r.begin(); err != nil {
			return 0, err
		}
	}
	if r.size >= maxRecord {
		return 0, errEnd
	}
	n, err := r.stream.Read(p[:min(len(p), r.left, maxRecord-r.size)])
	r.left -= n
	r.size += n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *record) begin() error {
	var mark [oncrpc.RecordMarkSize]byte
	n, err := io.ReadFull(r.stream, mark[:])
	r.size += n
	switch {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case r.size > maxRecord: // empty fragments without an end
		return errEnd
	}
	m := binary.BigEndian.Uint32(mark[:])
	r.left, r.last = int(m&^oncrpc.LastFragment), m&oncrpc.LastFragment != 0
	return nil
}

// done tells whether all of the record has been read.
func (r *record) done() bool { return r.last && r.left == 0 }

// results are what a call returned, read piece by piece: only the piece is in memory.
type results struct {
	from  io.Reader // what is not yet in buf; nil: nothing
	buf   []byte    // arrived, and not decoded
	space [2048]byte
}

// next decodes an item that has at most as many bytes as space.
func (r *results) next(decode func(*xdr.Reader)) error {
	for {
		x := xdr.NewReader(r.buf)
		decode(&x)
		err := x.Err()
		switch {
		case err == nil:
			r.buf = r.buf[x.Offset():]
			return nil
		case !errors.Is(err, xdr.ErrShort):
			return fmt.Errorf("%w: %w", errAnswer, err)
		}
		if more := r.more(); more == io.EOF {
			return fmt.Errorf("%w: %w", errAnswer, err)
		} else if more != nil {
			return more
		}
	}
}

// more reads some bytes more; io.EOF if there are none.
func (r *results) more() error {
	if r.from == nil {
		return io.EOF
	}
	n := copy(r.space[:], r.buf)
	if n == len(r.space) {
		return errEnd
	}
	m, err := r.from.Read(r.space[n:])
	r.buf = r.space[:n+m]
	if m > 0 {
		return nil
	}
	return err
}

// all returns the rest, of at most limit bytes.
func (r *results) all(limit int) ([]byte, error) {
	b := append([]byte(nil), r.buf...)
	if r.from != nil {
		rest, err := io.ReadAll(io.LimitReader(r.from, int64(limit+1)))
		if err != nil {
			return nil, err
		}
		b = append(b, rest...)
	}
	if len(b) > limit {
		return nil, errEnd
	}
	return b, nil
}
