package transport_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// pdu is one of any type, with a body.
func pdu(l ndr.Label, id uint32, body []byte) []byte {
	h := dcerpc.Header{Version: dcerpc.Version, PType: dcerpc.PType(id), Flags: dcerpc.FirstFrag, Label: l, FragLength: uint16(dcerpc.HeaderSize + len(body)), CallID: id}
	return append(h.Append(nil), body...)
}

func readPDU(r io.Reader) ([]byte, error) {
	b := make([]byte, dcerpc.HeaderSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	h, err := dcerpc.ParseHeader(b)
	if err != nil {
		return nil, err
	}
	b = append(b, make([]byte, int(h.FragLength)-len(b))...)
	_, err = io.ReadFull(r, b[dcerpc.HeaderSize:])
	return b, err
}

// A sitter answers PDUs of one connection, and counts its end.
type sitter struct {
	house *house
	calls int
	ends  int
}

// A house makes sessions, and knows them all.
type house struct {
	answer   func(c *transport.Call, buf []byte) transport.Reply
	mu       sync.Mutex // guards what follows
	sessions []*sitter
}

func (h *house) session() transport.Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &sitter{house: h}
	h.sessions = append(h.sessions, s)
	return s
}

func (s *sitter) Answer(c *transport.Call, buf []byte) transport.Reply {
	s.house.mu.Lock()
	defer s.house.mu.Unlock()
	s.calls++
	if s.ends > 0 {
		panic("a call after the end")
	}
	return s.house.answer(c, buf)
}

func (s *sitter) End() {
	s.house.mu.Lock()
	defer s.house.mu.Unlock()
	s.ends++
}

// count returns how many sessions were made, and how many have ended; one that
// ended twice fails the test.
func (h *house) count(t testing.TB) (made, ended int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		if ended += s.ends; s.ends > 1 {
			t.Errorf("a session ended %d times", s.ends)
		}
	}
	return len(h.sessions), ended
}

func (h *house) waitForEnds(t *testing.T, want int) {
	t.Helper()
	nstest.WaitFor(t, fmt.Sprintf("%d sessions to end", want), patience, func() bool {
		_, ended := h.count(t)
		return ended == want
	})
}

// servePDUs answers PDUs on a listener of its own.
func servePDUs(t *testing.T, network, address string, s *transport.StreamServer) (at string, stop func()) {
	t.Helper()
	ln := listen(t, network, address)
	s.Framing = transport.PDUs
	return ln.Addr().String(), start(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
}

// TestPDUs: however a client cuts its PDUs into writes, the handler gets each of
// them whole, and the answers come back in order with nothing between them.
func TestPDUs(t *testing.T) {
	at, _ := servePDUs(t, "tcp", "127.0.0.1:0", &transport.StreamServer{Handler: echo})
	path := localSocket(t)
	servePDUs(t, "unix", path, &transport.StreamServer{Handler: echo})
	rapid.Check(t, func(r *rapid.T) {
		network, address := "tcp", at
		if rapid.Bool().Draw(r, "local") {
			network, address = "unix", path
		}
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		deadline(t, conn)
		var stream []byte
		for id := range rapid.Uint32Range(1, 8).Draw(r, "pdus") {
			label := rapid.SampledFrom([]ndr.Label{ndr.LittleEndian, ndr.BigEndian}).Draw(r, "label")
			stream = append(stream, pdu(label, id, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(r, "body"))...)
		}
		for rest := stream; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(r, "write")
			mustWrite(t, conn, rest[:n])
			rest = rest[n:]
		}
		got := make([]byte, len(stream))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, stream) {
			r.Fatalf("answers %x, %v, want %x", got, err, stream)
		}
	})
}

// TestLargePDU: a PDU may have as many bytes as its header can tell.
func TestLargePDU(t *testing.T) {
	at, _ := servePDUs(t, "tcp", "127.0.0.1:0", &transport.StreamServer{Handler: echo})
	conn := dial(t, "tcp", at)
	want := pdu(ndr.BigEndian, 7, bytes.Repeat([]byte{7}, dcerpc.MaxFrag-dcerpc.HeaderSize))
	for range 3 {
		go conn.Write(want)
		got, err := readPDU(conn)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "a PDU of 65535 bytes", got, want)
	}
}

// TestNoPDU: what cannot be a PDU ends the connection as soon as that can be
// seen, after what came before it was answered.
func TestNoPDU(t *testing.T) {
	h := &house{answer: echo}
	at, _ := servePDUs(t, "tcp", "127.0.0.1:0", &transport.StreamServer{Sessions: h.session})
	good := pdu(ndr.LittleEndian, 1, []byte("body"))
	for i, bad := range [][]byte{
		[]byte("GET / HTTP/1.1\r\n\r\n"), {4}, {5, 2}, {5, 0, 0, 3, 0x20, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0}, {5, 0, 0, 3, 0x10, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0},
	} {
		conn := dial(t, "tcp", at)
		mustWrite(t, conn, good)
		got, err := readPDU(conn)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "the PDU before", got, good)
		mustWrite(t, conn, bad)
		if b, err := readPDU(conn); !isEnd(err) {
			t.Errorf("after %x: %x, %v, want the end", bad, b, err)
		}
		h.waitForEnds(t, i+1)
	}
}

// TestSessions: each connection has a session of its own, which ends once,
// however the connection does; who is refused has none.
func TestSessions(t *testing.T) {
	const (
		plain = iota
		closing
		closingSilently
		large // an answer that no socket holds
		largeAndClosing
	)
	big := make([]byte, 16<<20)
	h := &house{answer: func(c *transport.Call, buf []byte) transport.Reply {
		r := transport.Reply{Head: append(buf, c.Message...)}
		switch c.Message[2] {
		case closing:
			r.Close = true
		case closingSilently:
			return transport.Reply{Close: true}
		case large:
			r.Body = big
		case largeAndClosing:
			r.Body, r.Close = big, true
		}
		return r
	}}
	message := func(kind uint32) []byte { return pdu(ndr.LittleEndian, kind, nil) }
	guard := transport.NewGuard(transport.Rules{Connections: 10})
	at, stop := servePDUs(t, "tcp", "127.0.0.1:0", &transport.StreamServer{Sessions: h.session, Guard: guard})
	open := 0
	connect := func(first uint32) net.Conn {
		t.Helper()
		conn := dial(t, "tcp", at)
		open++
		mustWrite(t, conn, message(first))
		return conn
	}
	answered := func(conn net.Conn, kind uint32) {
		t.Helper()
		if b, err := readPDU(conn); err != nil || !bytes.Equal(b, message(kind)) {
			t.Errorf("answer %x, %v, want %x", b, err, message(kind))
		}
	}
	ended := 0
	over := func() {
		t.Helper()
		ended++
		h.waitForEnds(t, ended)
	}

	conn := connect(plain) // closed by the client
	answered(conn, plain)
	conn.Close()
	over()

	conn = connect(plain) // broken off by the client
	answered(conn, plain)
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	over()

	conn = dial(t, "tcp", at) // in the middle of a PDU
	open++
	mustWrite(t, conn, message(plain)[:10])
	conn.Close()
	over()

	conn = connect(closing) // by the handler, after an answer that arrives
	answered(conn, closing)
	if _, err := readPDU(conn); err != io.EOF {
		t.Errorf("after the last answer: %v, want EOF", err)
	}
	over()

	conn = connect(closingSilently) // by the handler
	if _, err := readPDU(conn); !isEnd(err) || err == io.EOF {
		t.Errorf("without an answer: %v, want a reset", err)
	}
	over()

	conn = connect(largeAndClosing) // whose last answer is taken slowly
	answered(conn, largeAndClosing)
	if n, err := io.Copy(io.Discard, conn); n != int64(len(big)) || err != nil {
		t.Errorf("after a last answer of %d bytes: %d, %v", len(big), n, err)
	}
	over()

	conn = connect(large) // closed while an answer is not taken
	answered(conn, large)
	conn.Close()
	over()

	conn = connect(plain) // more calls behind the one that ends it
	answered(conn, plain)
	mustWrite(t, conn, bytes.Join([][]byte{message(plain), message(closing), message(plain)}, nil))
	answered(conn, plain)
	answered(conn, closing)
	if _, err := readPDU(conn); err != io.EOF {
		t.Errorf("behind the last answer: %v, want EOF", err)
	}
	over()

	var conns []net.Conn
	for range 8 { // the last two tenths are not for TCP
		conns = append(conns, connect(plain))
		answered(conns[len(conns)-1], plain)
	}
	refused, err := net.Dial("tcp", at)
	if err == nil { // else it was reset already
		deadline(t, refused)
		_, err = readPDU(refused)
		refused.Close()
	}
	if !isEnd(err) {
		t.Errorf("a connection too many: %v, want the end", err)
	}
	if made, _ := h.count(t); made != open {
		t.Errorf("%d sessions for %d connections, one refused", made, open)
	}
	stop()
	if made, ended := h.count(t); made != open || ended != open {
		t.Errorf("at the end %d sessions of %d have ended, want %d", ended, made, open)
	}
	for _, s := range h.sessions[len(h.sessions)-8:] {
		if s.calls != 1 {
			t.Errorf("a session had %d calls, want its own", s.calls)
		}
	}
}

// TestLastAnswerArrives: a client gets the answer after which its connection ends,
// and an end that is no error, every time.
func TestLastAnswerArrives(t *testing.T) {
	last := handler(func(c *transport.Call, buf []byte) transport.Reply {
		return transport.Reply{Head: append(buf, c.Message...), Close: true}
	})
	at, _ := servePDUs(t, "tcp", "127.0.0.1:0", &transport.StreamServer{Handler: last})
	want := pdu(ndr.LittleEndian, 1, bytes.Repeat([]byte{1}, 100))
	for range 200 {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		deadline(t, conn)
		mustWrite(t, conn, want)
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x, %v, want %x and the end", got, err, want)
		}
		conn.Close()
	}
}
