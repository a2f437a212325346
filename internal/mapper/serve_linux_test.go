package mapper

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// sockets are where a mapper answers.
type sockets struct {
	udp   netip.AddrPort
	tcp   string
	local string
}

// serve has a mapper answer over real sockets until the test ends.
func serve(t *testing.T, m *ONC) sockets {
	t.Helper()
	dir, err := os.MkdirTemp("", "mapper") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := sockets{udp: udp.LocalAddr().(*net.UDPAddr).AddrPort(), local: filepath.Join(dir, "sock")}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at.tcp = tcp.Addr().String()
	local, err := net.Listen("unix", at.local)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(serve func() error) {
		running.Go(func() {
			if err := serve(); err != nil {
				t.Error(err)
			}
		})
	}
	streams, datagrams := transport.StreamServer{Handler: m}, transport.DatagramServer{Handler: m}
	run(func() error { return datagrams.Serve(ctx, udp) })
	run(func() error { return streams.Serve(ctx, tcp) })
	run(func() error { return streams.Serve(ctx, local) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		os.RemoveAll(dir)
	})
	return at
}

// TestServed: register over the local socket, find over the others, remove.
func TestServed(t *testing.T) {
	m := newMapper(t)
	at := serve(t, m)
	conns := map[string]net.Conn{}
	for network, address := range map[string]string{"udp": at.udp.String(), "tcp": at.tcp, "unix": at.local} {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		conns[network] = conn
	}
	owner := fmt.Sprint(os.Getuid())
	if os.Getuid() == 0 {
		owner = "superuser"
	}
	row := rpcbind.RPCB{Program: progA, Version: 1, NetID: "udp", Address: "0.0.0.0.19.139", Owner: owner}.Append(rpcbind.AppendNext(nil))
	tooWeak := denied(oncrpc.AuthTooWeak)
	for i, s := range []struct {
		network string
		call    []byte
		want    []byte // all of the answer, or what it contains
	}{
		{"udp", message(2, get, mapping(progA, 1, 17, 0)), no},
		{"udp", message(4, set, rpcb(progA, 1, "udp", "0.0.0.0.19.139")), tooWeak},
		{"tcp", message(2, set, mapping(progA, 1, 17, 5003)), tooWeak},
		{"unix", message(4, set, rpcb(progA, 1, "udp", "0.0.0.0.19.139")), yes},
		{"unix", message(4, set, rpcb(progA, 1, "tcp", "127.0.0.1.19.139")), yes},
		{"udp", message(2, get, mapping(progA, 1, 17, 0)), success(0, 0, 0x13, 0x8b)},
		{"tcp", message(2, get, mapping(progA, 1, 17, 0)), success(0, 0, 0x13, 0x8b)},
		{"udp", message(4, get, rpcb(progA, 1, "", "")), success(text("127.0.0.1.19.139")...)},
		{"tcp", message(3, get, rpcb(progA, 1, "", "10.99.0.1.0.111")), success(text("127.0.0.1.19.139")...)},
		{"udp", message(3, get, rpcb(progA, 1, "", "10.99.0.1.0.111")), success(text("10.99.0.1.19.139")...)},
		{"tcp", message(4, dumpP, nil), row},
		{"udp", message(4, dumpP, nil), row},
		{"unix", message(4, unset, rpcb(progA, 1, "", "")), yes},
		{"udp", message(2, get, mapping(progA, 1, 17, 0)), no},
	} {
		got, err := exchangeOver(conns[s.network], s.network != "udp", s.call)
		if err != nil || !bytes.Contains(got, s.want) {
			t.Errorf("step %d over %s: %x, %v, want %x", i, s.network, got, err, s.want)
		}
	}
}

// exchangeOver sends a call over a connection, with record marks if it is a stream.
func exchangeOver(conn net.Conn, stream bool, call []byte) ([]byte, error) {
	if stream {
		call = append(oncrpc.AppendRecordMark(nil, len(call), true), call...)
	}
	if _, err := conn.Write(call); err != nil {
		return nil, err
	}
	answer := make([]byte, 1<<16)
	if !stream {
		n, err := conn.Read(answer)
		return answer[:n], err
	}
	if _, err := io.ReadFull(conn, answer[:4]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(answer) &^ oncrpc.LastFragment
	_, err := io.ReadFull(conn, answer[:n])
	return answer[:n], err
}

// TestPathAllocations: the UDP path allocates nothing per request, from the
// kernel through the registry and back.
func TestPathAllocations(t *testing.T) {
	const rounds = 2000
	m := newMapper(t, row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139"), row(t, progB, 1, rpcbind.UDP, "127.0.0.1.19.140"))
	at := serve(t, m)
	client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, transport.MaxMessage)
	for _, tt := range []struct {
		name string
		call []byte
	}{
		{"NULL", message(2, null, nil)},
		{"GETPORT", message(2, get, mapping(progA, 1, 17, 0))},
		{"GETPORT, unknown", message(2, get, mapping(progD, 1, 17, 0))},
		{"GETADDR", message(4, get, rpcb(progA, 1, "udp", ""))},
		{"GETADDR, hint", message(4, get, rpcb(progA, 1, "udp", "10.99.0.1.0.111"))},
		{"GETADDR, one address", message(3, get, rpcb(progB, 1, "udp", ""))},
		{"DUMP", message(4, dumpP, nil)},
	} {
		ask := func() {
			_, err := client.WriteToUDPAddrPort(tt.call, at.udp)
			n, _, readErr := client.ReadFromUDPAddrPort(b)
			if err != nil || readErr != nil || n < 24 || binary.BigEndian.Uint32(b) != xid {
				t.Fatalf("%s: %v, %v, %x", tt.name, err, readErr, b[:n])
			}
		}
		for range 100 { // the first ones warm up the runtime's poll, the statistics and the cached dump
			ask()
		}
		runtime.GC() // or its own few objects may fall into the time that counts
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			ask()
		}
		runtime.ReadMemStats(&after)
		perRequest := float64(after.Mallocs-before.Mallocs) / rounds
		t.Logf("%s: %.4f allocations per request", tt.name, perRequest)
		if perRequest >= 0.1 {
			t.Errorf("%s over UDP allocates %.2f times per request", tt.name, perRequest)
		}
	}
}
