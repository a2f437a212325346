package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// serve answers on a listener of its own and returns its address.
func serve(t *testing.T, network, address string, h transport.Handler) (at string, stop func()) {
	t.Helper()
	ln := listen(t, network, address)
	s := transport.StreamServer{Handler: h}
	return ln.Addr().String(), start(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
}

// readRecord returns the next record, of whatever fragments.
func readRecord(r io.Reader) ([]byte, error) {
	var message []byte
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, err
		}
		word := binary.BigEndian.Uint32(mark[:])
		fragment := make([]byte, word&^uint32(oncrpc.LastFragment))
		if _, err := io.ReadFull(r, fragment); err != nil {
			return nil, err
		}
		message = append(message, fragment...)
		if word&oncrpc.LastFragment != 0 {
			return message, nil
		}
	}
}

func mustWrite(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := readRecord(r)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return b
}

// isEnd tells whether err is what a client sees of a connection that the server ended.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// localSocket is the path of a socket that everybody may connect to.
func localSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stream") // t.TempDir is too long for a socket, and for its owner only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + "/sock"
}

// TestFragments: however a client cuts its records into fragments and writes,
// the handler gets the messages, and the answers come back in order.
func TestFragments(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", echo)
	path := localSocket(t)
	serve(t, "unix", path, echo)
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
		messages := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 8).Draw(r, "messages")
		for _, message := range messages {
			for rest := message; ; {
				n := rapid.IntRange(0, len(rest)).Draw(r, "fragment")
				last := n == len(rest) && rapid.Bool().Draw(r, "last")
				stream = append(oncrpc.AppendRecordMark(stream, n, last), rest[:n]...)
				if rest = rest[n:]; last {
					break
				}
			}
		}
		for len(stream) > 0 {
			n := rapid.IntRange(1, len(stream)).Draw(r, "write")
			mustWrite(t, conn, stream[:n])
			stream = stream[n:]
		}
		for i, want := range messages {
			got, err := readRecord(conn)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("answer %d: %x, %v, want %x", i, got, err, want)
			}
		}
	})
}

// TestByteByByte: a client that sends every byte for itself is served like others.
func TestByteByByte(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", echo)
	conn := dial(t, "tcp", at)
	message := words(1, 20)
	for i := range record(message) {
		mustWrite(t, conn, record(message)[i:i+1])
	}
	same(t, "the answer", mustRead(t, conn), message)
}

// TestPipeline: calls sent without waiting are answered in order.
func TestPipeline(t *testing.T) {
	path := localSocket(t)
	serve(t, "unix", path, echo)
	at, _ := serve(t, "tcp", "[::1]:0", echo)
	for _, conn := range []net.Conn{dial(t, "tcp", at), dial(t, "unix", path)} {
		const n = 1000
		message := func(i int) []byte { return words(uint32(i)<<8, 1+i%100) }
		var sending sync.WaitGroup
		sending.Go(func() {
			w := bufio.NewWriter(conn)
			for i := range n {
				w.Write(record(message(i)))
			}
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
		})
		r := bufio.NewReader(conn)
		for i := range n {
			got, err := readRecord(r)
			if err != nil || !bytes.Equal(got, message(i)) {
				t.Fatalf("answer %d over %s: %s, %v", i, conn.RemoteAddr().Network(), head(got), err)
			}
		}
		sending.Wait()
	}
}

// TestSilentReplies: calls without an answer leave no trace between those that have one.
func TestSilentReplies(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", handler(func(c *transport.Call, buf []byte) transport.Reply {
		switch c.Message[3] % 3 {
		case 0:
			return transport.Reply{}
		case 1:
			return transport.Reply{Head: append(buf, c.Message...)}
		}
		return transport.Reply{Head: append(buf, c.Message[:4]...), Body: c.Message[4:]}
	}))
	conn := dial(t, "tcp", at)
	var stream []byte
	for i := range 100 {
		stream = append(stream, record(words(uint32(i), 5))...)
	}
	mustWrite(t, conn, stream)
	for i := range 100 {
		if i%3 != 0 {
			same(t, fmt.Sprintf("answer %d", i), mustRead(t, conn), words(uint32(i), 5))
		}
	}
}

// TestSlowReader: who does not read a thousand long answers is not answered any
// further and costs little memory; everybody else is served meanwhile. When the
// slow one reads after all, everything is there.
func TestSlowReader(t *testing.T) {
	const calls, size = 1000, 1 << 20
	body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	var dumps atomic.Int64
	h := handler(func(c *transport.Call, buf []byte) transport.Reply {
		if len(c.Message) > 4 {
			return echo(c, buf)
		}
		dumps.Add(1)
		return transport.Reply{Head: append(buf, c.Message...), Body: body}
	})
	path := localSocket(t)
	serve(t, "unix", path, h)
	at, _ := serve(t, "tcp", "127.0.0.1:0", h)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var slow []net.Conn
	for range 10 {
		for _, conn := range []net.Conn{dial(t, "tcp", at), dial(t, "unix", path)} {
			var stream []byte
			for i := range calls {
				stream = append(stream, record(words(uint32(i), 1))...)
			}
			mustWrite(t, conn, stream) // 8 kB: sockets hold it
			slow = append(slow, conn)
		}
	}
	nstest.WaitFor(t, "the slow readers' first answers", patience, func() bool { return dumps.Load() >= int64(len(slow)) })
	for _, conn := range []net.Conn{dial(t, "tcp", at), dial(t, "unix", path)} {
		for i := range 200 {
			message := words(uint32(i), 2+i%50)
			mustWrite(t, conn, record(message))
			same(t, "another client's answer", mustRead(t, conn), message)
		}
	}
	if n := dumps.Load(); n > int64(len(slow)*calls/4) {
		t.Errorf("%d answers of 1 MiB were made for %d clients that read nothing", n, len(slow))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("%d slow readers hold %d bytes", len(slow), grown)
	}
	for _, conn := range slow[:2] {
		deadline(t, conn)
		r := bufio.NewReaderSize(conn, 1<<16)
		for i := range 50 {
			want := append(words(uint32(i), 1), body...)
			if got := mustRead(t, r); !bytes.Equal(got, want) {
				t.Fatalf("answer %d read late over %s: %d bytes %s", i, conn.RemoteAddr().Network(), len(got), head(got))
			}
		}
	}
}

// TestLargeBody: answers of several MiB arrive whole, small ones around them too.
func TestLargeBody(t *testing.T) {
	body := make([]byte, 5<<20)
	for i := range body {
		body[i] = byte(i * i >> 8)
	}
	h := handler(func(c *transport.Call, buf []byte) transport.Reply {
		n := binary.BigEndian.Uint32(c.Message)
		return transport.Reply{Head: append(buf, c.Message...), Body: body[:n]}
	})
	path := localSocket(t)
	serve(t, "unix", path, h)
	at, _ := serve(t, "tcp", "127.0.0.1:0", h)
	sizes := []int{0, 1, 5 << 20, 0, 4095, 4096, 4097, 5<<20 - 1, 3 << 20, 65536, 0}
	for _, conn := range []net.Conn{dial(t, "tcp", at), dial(t, "unix", path)} {
		var stream []byte
		for _, n := range sizes {
			stream = append(stream, record(binary.BigEndian.AppendUint32(nil, uint32(n)))...)
		}
		mustWrite(t, conn, stream)
		for i, n := range sizes {
			want := append(binary.BigEndian.AppendUint32(nil, uint32(n)), body[:n]...)
			if got := mustRead(t, conn); !bytes.Equal(got, want) {
				t.Fatalf("answer %d over %s: %d bytes, want %d", i, conn.RemoteAddr().Network(), len(got), len(want))
			}
		}
	}
}

// TestLargeHead: so do answers whose head outgrew the buffer, and several that do so together.
func TestLargeHead(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", handler(func(c *transport.Call, buf []byte) transport.Reply {
		return transport.Reply{Head: append(buf, bytes.Repeat(c.Message, 40_000)...)}
	}))
	conn := dial(t, "tcp", at)
	mustWrite(t, conn, bytes.Repeat(record(words(5, 1)), 20))
	for i := range 20 {
		if got, want := mustRead(t, conn), bytes.Repeat(words(5, 1), 40_000); !bytes.Equal(got, want) {
			t.Fatalf("answer %d: %d bytes, want %d", i, len(got), len(want))
		}
	}
}

// TestRecordLimit: a record may have MaxMessage bytes, in any number of fragments.
func TestRecordLimit(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", echo)
	conn := dial(t, "tcp", at)
	message := bytes.Repeat([]byte{7}, transport.MaxMessage)
	mustWrite(t, conn, record(message))
	same(t, "one fragment", mustRead(t, conn), message)
	var stream []byte
	for i := range message {
		stream = append(oncrpc.AppendRecordMark(stream, 1, i == len(message)-1), 7)
	}
	mustWrite(t, conn, stream)
	same(t, "fragments of one byte", mustRead(t, conn), message)
}

// TestHopeless: a stream that cannot be followed is ended without reading it to
// its end, and without asking the handler.
func TestHopeless(t *testing.T) {
	s := &scribe{}
	at, _ := serve(t, "tcp", "127.0.0.1:0", s)
	path := localSocket(t)
	serve(t, "unix", path, s)
	mark := func(size int, last bool) []byte { return oncrpc.AppendRecordMark(nil, size, last) }
	for _, tt := range []struct {
		name         string
		first, again []byte // what comes first, and then without end
	}{
		{"one byte too long", mark(transport.MaxMessage+1, true), []byte{0}},
		{"4 GiB", []byte{0xff, 0xff, 0xff, 0xff}, make([]byte, 1000)},
		{"2 GiB, more to come", []byte{0x7f, 0xff, 0xff, 0xff}, make([]byte, 1000)},
		{"HTTP", nil, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")},
		{"TLS", nil, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")},
		{"fragments of 1,000 bytes", nil, append(mark(1000, false), make([]byte, 1000)...)},
		{"fragments of one byte", nil, append(mark(1, false), 0)},
		{"empty fragments", nil, mark(0, false)},
		{"too much in the last of two", append(mark(transport.MaxMessage, false), make([]byte, transport.MaxMessage)...), append(mark(1, true), 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, conn := range []net.Conn{dial(t, "tcp", at), dial(t, "unix", path)} {
				const limit = 64 << 20 // far more than sockets hold
				mustWrite(t, conn, tt.first)
				var err error
				chunk := bytes.Repeat(tt.again, 1+(32<<10)/len(tt.again))
				sent := 0
				for err == nil && sent < limit {
					_, err = conn.Write(chunk)
					sent += len(chunk)
				}
				if !isEnd(err) {
					t.Errorf("over %s %d bytes were taken: %v", conn.RemoteAddr().Network(), sent, err)
				}
				if b, err := readRecord(conn); !isEnd(err) {
					t.Errorf("then the server says %x, %v", b, err)
				}
			}
		})
	}
	if n := s.count(); n != 0 {
		t.Errorf("the handler was asked %d times", n)
	}
}

// TestReset: who cannot be followed is told so at once, by a reset.
func TestReset(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", echo)
	conn := dial(t, "tcp", at)
	mustWrite(t, conn, []byte("GET / HTTP/1.1\r\n\r\n"))
	if b, err := readRecord(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %x, %v, want %v", b, err, syscall.ECONNRESET)
	}
}

// refuse answers everything with itself, but ends the connection after "bye",
// and without an answer after "bad".
var refuse = handler(func(c *transport.Call, buf []byte) transport.Reply {
	switch {
	case bytes.HasPrefix(c.Message, []byte("bad")):
		return transport.Reply{Close: true}
	case bytes.HasPrefix(c.Message, []byte("bye")):
		return transport.Reply{Head: append(buf, c.Message...), Close: true}
	}
	return transport.Reply{Head: append(buf, c.Message...)}
})

// TestRefused: a message that its handler refuses ends the connection, after
// the answers to what came before it.
func TestRefused(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", refuse)
	path := localSocket(t)
	serve(t, "unix", path, refuse)
	for _, tt := range []struct {
		name    string
		stream  [][]byte
		answers []string
	}{
		{"at once", [][]byte{record([]byte("bad"))}, nil},
		{"with an answer", [][]byte{record([]byte("bye"))}, []string{"bye"}},
		{"in one write", [][]byte{record([]byte("good")), record([]byte("bad")), record([]byte("good"))}, []string{"good"}},
		{"in one write, with an answer", [][]byte{record([]byte("good")), record([]byte("bye")), record([]byte("good"))}, []string{"good", "bye"}},
		{"an empty record", [][]byte{record([]byte("good")), record([]byte("bad"))}, []string{"good"}},
		{"a record over the limit", [][]byte{record([]byte("one")), record([]byte("two")), {0xff, 0xff, 0xff, 0xff}}, []string{"one", "two"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, conn := range []net.Conn{dial(t, "tcp", at), dial(t, "unix", path)} {
				mustWrite(t, conn, bytes.Join(tt.stream, nil))
				for _, want := range tt.answers {
					if got, err := readRecord(conn); err != nil || string(got) != want {
						t.Errorf("over %s: %q, %v, want %q", conn.RemoteAddr().Network(), got, err, want)
					}
				}
				if b, err := readRecord(conn); !isEnd(err) {
					t.Errorf("over %s the connection goes on: %q, %v", conn.RemoteAddr().Network(), b, err)
				}
			}
		})
	}
}

// TestNothingLeaks: what a connection that ends badly leaves unsent never
// reaches another one.
func TestNothingLeaks(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", refuse)
	for i := range 100 {
		bad := dial(t, "tcp", at)
		mustWrite(t, bad, append(record([]byte("secret")), 0xff, 0xff, 0xff, 0xff))
		if _, err := io.Copy(io.Discard, bad); err != nil && !isEnd(err) {
			t.Fatal(err)
		}
		bad.Close()
		good := dial(t, "tcp", at)
		message := words(uint32(i), 3)
		mustWrite(t, good, record(message))
		if got := mustRead(t, good); !bytes.Equal(got, message) {
			t.Fatalf("asked %x, answered %q", message, got)
		}
		good.Close()
	}
}

// TestHalfClose: a client that has said all it will say still gets its answers.
func TestHalfClose(t *testing.T) {
	body := make([]byte, 4<<20)
	at, _ := serve(t, "tcp", "127.0.0.1:0", handler(func(c *transport.Call, buf []byte) transport.Reply {
		return transport.Reply{Head: append(buf, c.Message...), Body: body}
	}))
	conn := dial(t, "tcp", at).(*net.TCPConn)
	mustWrite(t, conn, bytes.Repeat(record(words(9, 1)), 5))
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if got := mustRead(t, conn); len(got) != 4+len(body) {
			t.Errorf("answer %d has %d bytes", i, len(got))
		}
	}
	if b, err := readRecord(conn); err != io.EOF {
		t.Errorf("at the end: %x, %v, want EOF", b, err)
	}
}

// TestStreamCall: what the handler is told of a connection.
func TestStreamCall(t *testing.T) {
	for _, tt := range []struct {
		network, listen, ask string
		netid                rpcbind.NetID
		server               string
	}{
		{"tcp4", "127.0.0.1:0", "127.0.0.1", rpcbind.TCP, "127.0.0.1"},
		{"tcp4", "0.0.0.0:0", "127.0.0.2", rpcbind.TCP, "127.0.0.2"},
		{"tcp6", "[::1]:0", "::1", rpcbind.TCP6, "::1"},
		{"tcp6", "[::]:0", "::1", rpcbind.TCP6, "::1"},
		{"tcp", "[::]:0", "127.0.0.1", rpcbind.TCP, "127.0.0.1"},
		{"tcp", "[::]:0", "::1", rpcbind.TCP6, "::1"},
	} {
		s := &scribe{}
		at, _ := serve(t, tt.network, tt.listen, s)
		conn := dial(t, "tcp", net.JoinHostPort(tt.ask, fmt.Sprint(netip.MustParseAddrPort(at).Port())))
		mustWrite(t, conn, record(words(1, 2)))
		mustRead(t, conn)
		got := s.last()
		got.Message = nil
		want := transport.Call{NetID: tt.netid, Client: conn.LocalAddr().(*net.TCPAddr).AddrPort(), Server: netip.AddrPortFrom(netip.MustParseAddr(tt.server), netip.MustParseAddrPort(at).Port())}
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(transport.Call{}), cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})); d != "" {
			t.Errorf("%s %s asked at %s (-want +got):\n%s", tt.network, tt.listen, tt.ask, d)
		}
	}
}

// uidVar makes the test binary a client of a local socket, for TestPeer.
const uidVar = "TRANSPORT_TEST_SOCKET"

// TestPeer: on the local socket the handler is told which process connected, as
// the kernel says, also if it is another user's.
func TestPeer(t *testing.T) {
	if path := os.Getenv(uidVar); path != "" {
		conn := dial(t, "unix", path)
		mustWrite(t, conn, record(words(1, 1)))
		mustRead(t, conn)
		fmt.Printf("pid %d\n", os.Getpid())
		return
	}
	s := &scribe{}
	path := localSocket(t)
	serve(t, "unix", path, s)
	abstract := "@" + strings.TrimPrefix(path, "/")
	serve(t, "unix", abstract, s)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{path, abstract} {
		conn := dial(t, "unix", address)
		mustWrite(t, conn, record(words(1, 1)))
		mustRead(t, conn)
		call := s.last()
		want := transport.Peer{PID: int32(os.Getpid()), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
		if call.NetID != rpcbind.Local || call.Peer == nil || !samePeer(*call.Peer, want) || call.Client.IsValid() || call.Server.IsValid() || call.MaxReply != 0 {
			t.Errorf("%s: the handler is told %+v, peer %+v, want local and %+v", address, call, call.Peer, want)
		}
		peer, err := transport.PeerOf(conn) // whom a client reached: this process too
		if err != nil || !samePeer(*peer, want) {
			t.Errorf("PeerOf = %+v, %v, want %+v", peer, err, want)
		}
	}
	if os.Getuid() != 0 {
		t.Log("not root: nothing is tried as another user")
		return
	}
	for _, address := range []string{path, abstract} {
		pid := connectAs(t, 65534, 1000, address)
		if want := (transport.Peer{PID: pid, UID: 65534, GID: 1000}); !samePeer(*s.last().Peer, want) {
			t.Errorf("%s: the handler is told %+v, want %+v", address, *s.last().Peer, want)
		}
	}
}

// samePeer compares what is known of two processes.
func samePeer(a, b transport.Peer) bool {
	return cmp.Equal(a, b, cmpopts.IgnoreUnexported(transport.Peer{}))
}

// connectAs asks at a local socket as another user, and returns the process that did.
func connectAs(t *testing.T, uid, gid uint32, address string) (pid int32) {
	t.Helper()
	self, err := os.Open("/proc/self/exe") // the folder of the test binary is closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestPeer$", "-test.v")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), uidVar+"="+address, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as user %d: %v\n%s", uid, err, out)
	}
	_, after, _ := bytes.Cut(out, []byte("pid "))
	if _, err := fmt.Sscan(string(after), &pid); err != nil {
		t.Fatalf("as user %d: %v\n%s", uid, err, out)
	}
	return pid
}

func TestPeerOfTCP(t *testing.T) {
	conn := dial(t, "tcp", listen(t, "tcp", "127.0.0.1:0").Addr().String())
	if peer, err := transport.PeerOf(conn); err == nil {
		t.Errorf("PeerOf(a TCP connection) = %+v, want an error", peer)
	}
}

// TestStreamStop: when the context is cancelled every connection ends, whatever
// it is doing, and nothing listens any more.
func TestStreamStop(t *testing.T) {
	body := make([]byte, 8<<20)
	h := handler(func(c *transport.Call, buf []byte) transport.Reply {
		return transport.Reply{Head: append(buf, c.Message...), Body: body}
	})
	path := localSocket(t)
	for _, tt := range []struct{ network, listen string }{{"tcp", "127.0.0.1:0"}, {"unix", path}} {
		at, stop := serve(t, tt.network, tt.listen, h)
		idle, used, partial, blocked := dial(t, tt.network, at), dial(t, tt.network, at), dial(t, tt.network, at), dial(t, tt.network, at)
		mustWrite(t, used, record(words(1, 1)))
		mustRead(t, used)
		mustWrite(t, partial, record(words(1, 10))[:20])
		mustWrite(t, blocked, bytes.Repeat(record(words(1, 1)), 10))
		var first [4]byte
		if _, err := io.ReadFull(blocked, first[:]); err != nil { // it has begun to answer
			t.Fatal(err)
		}
		stop()
		for i, conn := range []net.Conn{idle, used, partial, blocked} {
			deadline(t, conn)
			if n, err := io.Copy(io.Discard, conn); err != nil && !isEnd(err) || n > 32<<20 {
				t.Errorf("%s connection %d: %d bytes, %v", tt.network, i, n, err)
			}
		}
		if conn, err := net.Dial(tt.network, at); err == nil {
			conn.Close()
			t.Errorf("somebody listens at %s still", at)
		}
	}
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s := transport.StreamServer{Handler: h}
		for range 20 {
			ln := listen(t, "tcp", "127.0.0.1:0")
			if err := s.Serve(ctx, ln); err != nil {
				t.Fatalf("Serve = %v, want nil", err)
			}
			if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("the listener is not closed: %v", err)
			}
		}
	})
}

// TestComeAndGo: connections that end in every way leave no goroutine, no
// descriptor and no harm. That no goroutine is left, start sees to.
func TestComeAndGo(t *testing.T) {
	path := localSocket(t)
	body := make([]byte, 1<<20)
	h := handler(func(c *transport.Call, buf []byte) transport.Reply {
		if len(c.Message) == 4 {
			return transport.Reply{Head: append(buf, c.Message...), Body: body}
		}
		return refuse(c, buf)
	})
	at, stop := serve(t, "tcp", "127.0.0.1:0", h)
	_, stopLocal := serve(t, "unix", path, h)
	for _, conn := range []net.Conn{dial(t, "tcp", at), dial(t, "unix", path)} { // so that the servers have all they need
		mustWrite(t, conn, record(words(1, 2)))
		mustRead(t, conn)
		defer conn.Close()
	}
	before := descriptors(t)
	var clients sync.WaitGroup
	for i := range 8 {
		network, address := "tcp", at
		if i%2 == 1 {
			network, address = "unix", path
		}
		clients.Go(func() {
			for j := range 50 {
				conn, err := net.Dial(network, address)
				if err != nil {
					t.Error(err)
					return
				}
				conn.SetDeadline(time.Now().Add(patience))
				switch j % 6 {
				case 0: // says nothing
				case 1:
					conn.Write(record(words(1, 5))[:11])
				case 2:
					conn.Write(record([]byte("bad")))
				case 3:
					conn.Write([]byte{0xff, 0xff, 0xff, 0xff})
				case 4: // leaves in the middle of an answer
					conn.Write(bytes.Repeat(record(words(1, 1)), 8))
					readRecord(io.LimitReader(conn, 1000))
				case 5:
					message := words(uint32(i<<16|j), 7)
					conn.Write(record(message))
					if got, err := readRecord(conn); err != nil || !bytes.Equal(got, message) {
						t.Errorf("client %d, connection %d: %x, %v", i, j, got, err)
					}
				}
				conn.Close()
			}
		})
	}
	clients.Wait()
	nstest.WaitFor(t, "the server to close its connections", patience, func() bool { return descriptors(t) <= before })
	stop()
	stopLocal()
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestNoDescriptors: when the process may open no more files, connections wait;
// those that are open go on, and the others are served when there is room.
func TestNoDescriptors(t *testing.T) {
	at, _ := serve(t, "tcp", "127.0.0.1:0", echo)
	open := dial(t, "tcp", at)
	mustWrite(t, open, record(words(1, 2)))
	mustRead(t, open)

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// The client takes the last descriptor below the limit; the server finds none.
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	waiting := os.NewFile(uintptr(client), "client")
	defer waiting.Close()
	highest := client
	for _, name := range entries(t, "/proc/self/fd") {
		var fd int
		fmt.Sscan(name, &fd)
		highest = max(highest, fd)
	}
	var fill []*os.File
	defer func() {
		for _, f := range fill {
			f.Close()
		}
	}()
	low := limit
	low.Cur = uint64(highest + 1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restore := sync.OnceFunc(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) })
	defer restore()
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			break
		}
		fill = append(fill, f)
	}
	server := netip.MustParseAddrPort(at)
	if err := unix.Connect(client, &unix.SockaddrInet4{Port: int(server.Port()), Addr: server.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	message := words(77, 4)
	mustWrite(t, waiting, record(message))
	for i := range 200 {
		mustWrite(t, open, record(words(uint32(i), 3)))
		same(t, "meanwhile", mustRead(t, open), words(uint32(i), 3))
	}
	restore()
	answer := make(chan []byte, 1)
	go func() {
		b, err := readRecord(waiting)
		if err != nil {
			t.Error(err)
		}
		answer <- b
	}()
	select {
	case got := <-answer:
		same(t, "the one that waited", got, message)
	case <-time.After(patience):
		t.Fatal("the connection that waited is not served")
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}
