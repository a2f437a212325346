package mapper

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func kernelTable(t *testing.T) *socktable.Table {
	t.Helper()
	table, err := socktable.Open()
	if err != nil {
		nstest.Unavailable(t, "the kernel's table: %v", err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// dialAsMe connects in the way in which this user is believed: root over UDP from
// a port that nobody else can have.
func dialAsMe(t *testing.T, network, address string) net.Conn {
	t.Helper()
	if network != "udp" || os.Getuid() != 0 {
		return dial(t, network, address)
	}
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
	for port := int(privilegedPorts()) - 1; port > 0; port-- {
		conn, err := net.DialUDP(network, &net.UDPAddr{IP: to.IP, Port: port}, to)
		if err != nil { // somebody has it
			continue
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	nstest.Unavailable(t, "no privileged port is free")
	return nil
}

// TestLoopback: a call over real loopback sockets is this process's, and its row
// this user's.
func TestLoopback(t *testing.T) {
	m := open(t, registry.Config{}, kernelTable(t))
	at := serve(t, m)
	watcher := watch(t, m)
	for _, s := range []struct {
		network, address string
		program          uint32
	}{{"udp", at.udp.String(), progA}, {"tcp", at.tcp, progB}} {
		conn := dialAsMe(t, s.network, s.address)
		for _, call := range [][]byte{
			message(4, set, rpcb(s.program, 1, "tcp", "0.0.0.0.19.139")), message(2, set, mapping(s.program, 2, 17, 5003)), message(3, unset, rpcb(s.program, 1, "", "")),
		} {
			if got, err := exchangeOver(conn, s.network == "tcp", call); err != nil || !bytes.Equal(got, yes) {
				t.Errorf("over %s: %x, %v, want %x", s.network, got, err, yes)
			}
		}
		if rows := ofProgram(m, s.program); len(rows) != 1 || rows[0].Owner.UID != uint32(os.Getuid()) || rows[0].Version != 2 {
			t.Errorf("over %s: rows %+v, want version 2 of uid %d", s.network, rows, os.Getuid())
		}
	}
	for _, e := range told(t, m, watcher) {
		if e.Kind == registry.Refused {
			t.Errorf("refused: %v", e.Err)
		}
	}
}

// A resetter is asked about a connection, and has its client break it off first.
type resetter struct {
	table *socktable.Table
	conns chan *net.TCPConn // the client's ends
}

func (r *resetter) ConnectionOwner(client, server netip.AddrPort) (uint32, error) {
	conn := <-r.conns
	conn.SetLinger(0) // RST
	conn.Close()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := r.table.ConnectionOwner(server, client); errors.Is(err, socktable.ErrOwner) {
			return 1000, nil
		}
	}
	return 0, errors.New("the server's end of the connection does not go")
}

func (r *resetter) SenderOwner(netip.AddrPort) (uint32, error) { return 0, errUnknown }

// TestConnectionEnded: what the kernel says of a connection that is gone can be
// about the next one from the same port.
func TestConnectionEnded(t *testing.T) {
	r := &resetter{table: kernelTable(t), conns: make(chan *net.TCPConn, 1)}
	m := open(t, registry.Config{}, r)
	at := serve(t, m)
	watcher := m.Registry.Watch(nil)
	defer watcher.Close()
	if _, err := watcher.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, "tcp", at.tcp)
	r.conns <- conn.(*net.TCPConn)
	call := message(4, set, rpcb(progA, 1, "tcp", "0.0.0.0.19.139"))
	if _, err := conn.Write(append(oncrpc.AppendRecordMark(nil, len(call), true), call...)); err != nil {
		t.Fatal(err)
	}
	events, err := watcher.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Kind != registry.Refused || events[0].By != nil {
		t.Fatalf("events %+v, %v, want a refusal by nobody", events, err)
	}
	if want := "the connection from " + conn.LocalAddr().String() + " has ended"; events[0].Err.Error() != want {
		t.Errorf("refused: %v, want %s", events[0].Err, want)
	}
	if rows := ofProgram(m, progA); len(rows) > 0 {
		t.Errorf("rows %+v of a connection that ended", rows)
	}
	if got := askUint32(t, m, asRoot, 2, get, mapping(progA, 1, uint32(rpcbind.TCP.Protocol()), 0)); got != 0 {
		t.Errorf("GETPORT = %d, want 0", got)
	}
}
