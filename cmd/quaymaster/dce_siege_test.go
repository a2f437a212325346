//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// insertRows makes dumps of the endpoint mapper long.
func insertRows(t *testing.T) {
	t.Helper()
	c := dialDCE(t, "unix", dceSocket, ndr.LittleEndian, epm.Interface)
	entries := make([]epm.Entry, 0, rowCount)
	for i := range rowCount {
		e := dceEntry(uint16(20000+i), fmt.Sprint("row ", i))
		e.Tower.Interface.UUID = ndr.MustParseUUID(fmt.Sprintf("deadbeef-0001-4000-8000-%012x", i))
		entries = append(entries, e)
	}
	for some := range slices.Chunk(entries, epm.MaxEntries) {
		if s := c.status(epm.OpInsert, epm.Insert{Entries: some}.Append(nil, c.label)); s != epm.StatusOK {
			t.Fatalf("ept_insert of %d entries = %s", len(some), s)
		}
	}
}

// dumpPDU asks for as much as there can be.
func dumpPDU() []byte {
	return requestPDU(2, epm.OpLookup, epm.Lookup{MaxEntries: epm.MaxEntries}.Append(nil, ndr.LittleEndian), wholeCall)
}

// besiege keeps connections to the endpoint mapper while hold lasts, and makes another for each that
// was ended: a thousand that say nothing, and many that ask for a thousand dumps and read none,
// of which the mapper ends those that would take too much memory. On others, which it returns,
// calls have begun that never end.
func besiege(over *atomic.Bool) ([]net.Conn, error) {
	var there sync.WaitGroup
	keep := func(count int, said []byte, reads bool) {
		for range count {
			there.Add(1)
			go stay(said, reads, over, sync.OnceFunc(there.Done))
		}
	}
	keep(1000, nil, true)
	keep(200, append(bindPDU(), slices.Repeat(dumpPDU(), 1000)...), false)
	there.Wait()

	trickles := make([]net.Conn, 64)
	for i := range trickles {
		conn, err := connectDCE()
		if err != nil {
			return nil, err
		}
		conn.SetDeadline(time.Time{})
		if _, err := conn.Write(requestPDU(2, epm.OpMap, []byte("begin"), dcerpc.FirstFrag)); err != nil {
			return nil, err
		}
		trickles[i] = conn
	}
	return trickles, nil
}

// stay says something on a connection and keeps it as long as it can, over and over.
func stay(said []byte, reads bool, over *atomic.Bool, there func()) {
	defer there()
	for !over.Load() {
		conn, err := net.DialTimeout("tcp", dceAddress, 5*time.Second)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		conn.Write(said) // it blocks where nothing is read, or finds the connection closed
		there()
		for ended := false; !reads && !ended && !over.Load(); {
			time.Sleep(100 * time.Millisecond)
			_, err := conn.Write([]byte{0})
			ended = err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
		}
		if reads {
			io.Copy(io.Discard, conn)
		}
		conn.Close()
	}
}

// lyingHeaders are followed by nothing that could be read.
func lyingHeaders() error {
	good, err := dcerpc.ParseHeader(bindPDU())
	if err != nil {
		return err
	}
	short, empty, old, strange, auth, bare := good, good, good, good, good, good
	short.FragLength, empty.FragLength = dcerpc.HeaderSize-1, 0
	old.Version, strange.Label = 4, ndr.Label{0x20}
	auth.AuthLength, bare.FragLength = 0xffff, dcerpc.HeaderSize
	for i := range 200 {
		h := []dcerpc.Header{short, empty, old, strange, auth, bare}[i%6]
		conn, err := net.DialTimeout("tcp", dceAddress, 5*time.Second)
		if err != nil {
			return err
		}
		if _, err := conn.Write(h.Append(nil)); err != nil {
			return err
		}
		conn.Write(make([]byte, 1<<16)) // may find the connection closed already
		if err := mustClose(conn); err != nil {
			return fmt.Errorf("a header %+v: %w", h, err)
		}
	}
	return nil
}

// wholePDUs are good, and have 64 KiB each.
func wholePDUs() error {
	return pour(append(bindPDU(), slices.Repeat(requestPDU(2, epm.OpMap, make([]byte, 65_000), wholeCall), 64)...))
}

// manyContexts bind as many contexts as there can be, over and over.
func manyContexts() error {
	bind := dcerpc.Bind{MaxXmitFrag: 4280, MaxRecvFrag: 4280}
	for i := range dcerpc.MaxContexts {
		bind.Contexts = append(bind.Contexts, dcerpc.Context{ID: uint16(i), Abstract: epm.Interface, Transfers: []dcerpc.Syntax{dcerpc.NDR}})
	}
	again := dcerpc.AppendAlterContext(nil, dcerpc.Header{Label: ndr.LittleEndian, CallID: 2}, bind)
	return pour(append(bindPDU(), slices.Repeat(again, 100)...))
}

// pour says all of it on ten connections, one after the other, and reads what comes: the mapper
// answers all of it, or closes.
func pour(said []byte) error {
	for range 10 {
		conn, err := net.DialTimeout("tcp", dceAddress, 5*time.Second)
		if err != nil {
			return err
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
		_, err = conn.Write(said)
		conn.(*net.TCPConn).CloseWrite() // an error says that the mapper closed
		if end := <-ended; errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(end, os.ErrDeadlineExceeded) {
			return errors.New("the mapper neither answers nor closes")
		}
		conn.Close()
	}
	return nil
}
