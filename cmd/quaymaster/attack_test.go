//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// An attack is one round of misbehaving towards this host's mapper. Its error says what the
// mapper should have done.
type attack struct {
	name  string
	about string
	round func() error
}

// attacks do everything a fixed number of times and with the same random numbers every time.
var attacks = []attack{
	{"endless", "records without a last fragment, at full speed", endlessRecords},
	{"empty", "empty fragments without end", emptyFragments},
	{"huge", "fragments of 2 and 4 GiB announced", hugeLengths},
	{"http", "a browser", httpRequests},
	{"random", "300,000 random datagrams at full speed", randomDatagrams},
	{"zero", "datagrams without a byte", zeroDatagrams},
	{"long", "datagrams over 9,000 bytes", longDatagrams},
	{"halves", "1,000 binds that are not complete", halfBinds},
	{"large", "270 binds of 64 KiB that are not complete", largeBinds},
	{"fragments", "calls of DCE without a last fragment", endlessFragments},
	{"dumps", "dumps of DCE that nobody reads", unreadDumps},
	{"pdus", "conversations of DCE with bytes changed", randomPDUs},
	{"headers", "PDUs that lie about their length, version or byte order", lyingHeaders},
	{"whole", "calls of DCE of 64 KiB, at full speed", wholePDUs},
	{"contexts", "255 contexts bound over and over", manyContexts},
}

// attackTime bounds the repetition of an attack whose victim is slow.
const attackTime = 3 * time.Second

// hostile is a program: its argument is an attack. It makes one round at least and further ones
// until its standard input or its time ends. "hold" is another kind: it makes its connections, says so, and
// stays on them until its standard input ends.
func hostile() {
	name := os.Args[1]
	var over atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	if err := misbehave(name, &over); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func misbehave(name string, over *atomic.Bool) error {
	if name == "hold" {
		return hold(over)
	}
	i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == name })
	if i < 0 {
		return errors.New("unknown attack")
	}
	for end := time.Now().Add(attackTime); ; {
		if err := attacks[i].round(); err != nil {
			return err
		}
		if over.Load() || time.Now().After(end) {
			return nil
		}
	}
}

// hold keeps connections that want something: bytes trickle in fragments that never end, a
// thousand dumps are asked for and not read. The endpoint mapper is besieged meanwhile.
func hold(over *atomic.Bool) error {
	dumps, err := net.Dial("tcp", mapperAddress("tcp"))
	if err != nil {
		return err
	}
	defer dumps.Close()
	var calls []byte
	for xid := range uint32(1000) {
		calls = appendCall(calls, true, xid, rpcbind.Version4, rpcbind.ProcDump, nil)
	}
	if _, err := dumps.Write(calls); err != nil {
		return fmt.Errorf("sending 1,000 calls: %w", err)
	}

	var trickles []net.Conn
	for range 64 {
		conn, err := net.Dial("tcp", mapperAddress("tcp"))
		if err != nil {
			return err
		}
		defer conn.Close()
		trickles = append(trickles, conn)
	}
	calling, err := besiege(over)
	if err != nil {
		return fmt.Errorf("besieging: %w", err)
	}
	fmt.Println("holding")

	drip := time.NewTicker(time.Millisecond)
	defer drip.Stop()
	fragment := append(oncrpc.AppendRecordMark(nil, 1, false), 'x')
	part := requestPDU(2, epm.OpMap, []byte{'x'}, 0)
	for i := 0; !over.Load(); i++ {
		<-drip.C
		calling[i%len(calling)].Write(part)
		trickles[i%len(trickles)].Write(fragment) // an error says that the mapper had enough of it
	}
	return nil
}

func endlessRecords() error {
	fragment := oncrpc.AppendRecordMark(nil, 1000, false)
	fragment = append(fragment, make([]byte, 1000)...)
	return flood(10, slices.Repeat(fragment, 64), 4<<20)
}

func emptyFragments() error {
	return flood(10, make([]byte, 1<<16), 4<<20) // a mark of nothing, not the last
}

// flood sends the bytes over and over on a number of connections, one after the other, until
// limit bytes are sent. The mapper must have closed by then.
func flood(connections int, bytes []byte, limit int) error {
	for i := range connections {
		conn, err := net.Dial("tcp", mapperAddress([]string{"tcp", "tcp6"}[i%2]))
		if err != nil {
			return err
		}
		if err := conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		for sent := 0; sent < limit && err == nil; sent += len(bytes) {
			_, err = conn.Write(bytes)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("the mapper neither reads nor closes")
		}
		if err := mustClose(conn); err != nil {
			return fmt.Errorf("after %d bytes: %w", limit, err)
		}
	}
	return nil
}

func hugeLengths() error {
	for i := range 200 {
		conn, err := net.Dial("tcp", mapperAddress("tcp"))
		if err != nil {
			return err
		}
		word := []uint32{0xffffffff, 0x7fffffff, 0xfffffffc, 0x80010000}[i%4]
		if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, word)); err != nil {
			return err
		}
		conn.Write(make([]byte, 1<<16)) // may find the connection closed already
		if err := mustClose(conn); err != nil {
			return fmt.Errorf("a fragment of %#x: %w", word, err)
		}
	}
	return nil
}

func httpRequests() error {
	for range 200 {
		conn, err := net.Dial("tcp", mapperAddress("tcp"))
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: quay.example\r\nUser-Agent: test\r\n\r\n"); err != nil {
			return err
		}
		if err := mustClose(conn); err != nil {
			return fmt.Errorf("HTTP: %w", err)
		}
	}
	return nil
}

// mustClose closes the connection and fails if the peer had not done so before or within a
// generous time.
func mustClose(conn net.Conn) error {
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the mapper keeps the connection open")
	}
	return nil
}

// randomDatagrams are noise, or good calls with some bytes changed, so that they get further.
func randomDatagrams() error {
	random := rand.New(rand.NewPCG(1833, 5531))
	args := rpcbind.RPCB{Program: 300001, Version: 1, NetID: "udp", Address: "127.0.0.1.0.111"}.Append(nil)
	noise := make([]byte, 1500)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	var call []byte
	return datagrams(300_000, func(i int) []byte {
		if i%2 == 0 {
			from := random.IntN(len(noise))
			return noise[from : from+random.IntN(len(noise)-from)]
		}
		call = appendCall(call[:0], false, random.Uint32(), 2+uint32(i/2)%3, rpcbind.Proc(i/2%13), args)
		for range 1 + i/2%3 {
			call[8+random.IntN(len(call)-8)] = byte(random.Uint32())
		}
		return call[:len(call)-random.IntN(4)*(i/2%8)]
	})
}

func zeroDatagrams() error {
	return datagrams(50_000, func(int) []byte { return nil })
}

func longDatagrams() error {
	call := appendCall(nil, false, 7, rpcbind.Version2, rpcbind.ProcGetPort, make([]byte, 65_400))
	return datagrams(5_000, func(i int) []byte { return call[:9_001+i%56_000] })
}

// datagrams sends as fast as the kernel takes them, alternating between the address families.
func datagrams(count int, content func(i int) []byte) error {
	var conns []net.Conn
	for _, network := range []string{"udp4", "udp6"} {
		conn, err := net.Dial(network, mapperAddress(network))
		if err != nil {
			return err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for i := range count {
		if _, err := conns[i%2].Write(content(i)); err != nil {
			return fmt.Errorf("datagram %d: %w", i, err)
		}
	}
	return nil
}
