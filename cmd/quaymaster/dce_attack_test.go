//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

const (
	dceAddress = "127.0.0.1:135"
	dceSocket  = "/run/quaymaster/epmapper.sock"
)

// bindPDU is a good bind to the endpoint mapper.
func bindPDU() []byte {
	return dcerpc.AppendBind(nil, dcerpc.Header{Label: ndr.LittleEndian, CallID: 1}, dcerpc.Bind{
		MaxXmitFrag: 4280, MaxRecvFrag: 4280,
		Contexts: []dcerpc.Context{{Abstract: epm.Interface, Transfers: []dcerpc.Syntax{dcerpc.NDR}}},
	})
}

// requestPDU is a call, or with other flags a fragment of one.
func requestPDU(call uint32, op epm.Op, stub []byte, flags dcerpc.Flags) []byte {
	pdu := dcerpc.AppendRequest(nil, dcerpc.Header{Label: ndr.LittleEndian, CallID: call}, dcerpc.Request{Opnum: uint16(op), Stub: stub}, dcerpc.MaxFrag)
	pdu[3] = byte(flags)
	return pdu
}

const wholeCall = dcerpc.FirstFrag | dcerpc.LastFrag

// connectDCE connects over loopback and binds.
func connectDCE() (net.Conn, error) { return bindDCE("tcp", dceAddress) }

func bindDCE(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	pdu, err := askDCE(conn, bindPDU())
	if err == nil && dcerpc.PType(pdu[2]) != dcerpc.PTypeBindAck {
		err = fmt.Errorf("a bind is answered by %v", dcerpc.PType(pdu[2]))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// askDCE sends a PDU and returns the one that answers.
func askDCE(conn net.Conn, pdu []byte) ([]byte, error) {
	if _, err := conn.Write(pdu); err != nil {
		return nil, err
	}
	answer := make([]byte, dcerpc.HeaderSize)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, err
	}
	h, err := dcerpc.ParseHeader(answer)
	if err != nil {
		return nil, err
	}
	answer = append(answer, make([]byte, int(h.FragLength)-len(answer))...)
	_, err = io.ReadFull(conn, answer[dcerpc.HeaderSize:])
	return answer, err
}

// mapDCE asks for the mapper's own interface.
func mapDCE(conn net.Conn) error {
	stub := epm.Map{Tower: epm.Tower{Interface: epm.Interface, Transfer: dcerpc.NDR, ProtSeq: epm.TCP, Addr: netip.Addr{}}, MaxTowers: 1}.Append(nil, ndr.LittleEndian)
	pdu, err := askDCE(conn, requestPDU(7, epm.OpMap, stub, wholeCall))
	if err != nil {
		return err
	}
	h, _ := dcerpc.ParseHeader(pdu)
	m, err := dcerpc.ParseResponse(h, pdu)
	if err != nil {
		return err
	}
	reply, err := epm.ParseMapReply(m.Stub, h.Label)
	if err == nil && (len(reply.Towers) != 1 || reply.Towers[0].Port != epm.Port) {
		err = fmt.Errorf("ept_map = %+v", reply)
	}
	return err
}

// dceProbe asks the endpoint mapper over one connection.
func dceProbe(t *testing.T) *honestClient {
	t.Helper()
	conn, err := connectDCE()
	if err != nil {
		t.Fatal(err)
	}
	p := &honestClient{name: "DCE", close: func() { conn.Close() }}
	p.call = func() error {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		return mapDCE(conn)
	}
	return p
}

// dceConnectingProbe connects and binds for each call, as most clients do.
func dceConnectingProbe() *honestClient {
	return &honestClient{name: "DCE, connecting anew", close: func() {}, call: func() error {
		conn, err := connectDCE()
		if err != nil {
			return err
		}
		defer conn.Close()
		return mapDCE(conn)
	}}
}

// halfBinds are a thousand connections at a time that never say all of what they began.
func halfBinds() error {
	pdu := bindPDU()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 1000 {
		conn, err := net.DialTimeout("tcp", dceAddress, 5*time.Second)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		if _, err := conn.Write(pdu[:1+i%(len(pdu)-1)]); err != nil {
			return err
		}
	}
	return nil
}

// largeBinds announce 64 KiB, send nearly all of it, and stay: on so many connections that
// keeping them all would take more than there is for that.
func largeBinds() error {
	pdu := bindPDU()
	pdu[8], pdu[9] = 0xff, 0xff // frag_length
	pdu = append(pdu, make([]byte, 0xfff0-len(pdu))...)
	refused := 0
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range 270 { // 17 MiB
		conn, err := net.DialTimeout("tcp", dceAddress, 5*time.Second)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write(pdu); err != nil {
			refused++
		}
	}
	for _, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			refused++
		}
	}
	if refused == 0 {
		return errors.New("the mapper keeps 270 binds of 64 KiB that are not complete")
	}
	return nil
}

// endlessFragments are calls without a last fragment: the mapper must end each connection.
func endlessFragments() error {
	for i := range 20 {
		conn, err := connectDCE()
		if err != nil {
			return err
		}
		flags := dcerpc.FirstFrag
		for sent := 0; sent < 4<<20 && err == nil; sent += 4000 {
			call := uint32(5)
			if i%2 == 1 { // as many calls as there can be, too
				call, flags = uint32(sent), dcerpc.FirstFrag
			}
			_, err = conn.Write(requestPDU(call, epm.OpInsert, make([]byte, 4000), flags))
			flags = 0
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("the mapper neither reads nor closes")
		}
		if err := mustClose(conn); err != nil {
			return fmt.Errorf("fragments without end: %w", err)
		}
	}
	return nil
}

// unreadDumps ask for everything, again and again, and read nothing.
func unreadDumps() error {
	stub := epm.Lookup{MaxEntries: epm.MaxEntries}.Append(nil, ndr.LittleEndian)
	for range 8 {
		conn, err := connectDCE()
		if err != nil {
			return err
		}
		conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // it blocks: nothing is read
		for call := range uint32(1000) {
			if _, err := conn.Write(requestPDU(call, epm.OpLookup, stub, wholeCall)); err != nil {
				break
			}
		}
		conn.Close()
	}
	return nil
}

// randomPDUs are good conversations with some bytes changed, so that they get far.
func randomPDUs() error {
	random := rand.New(rand.NewPCG(135, 706))
	stubs := [][]byte{
		epm.Map{Tower: dceEntry(50000, "").Tower, MaxTowers: 5}.Append(nil, ndr.LittleEndian),
		epm.Lookup{Inquiry: epm.InquiryByBoth, VersOption: epm.VersAll, MaxEntries: 5}.Append(nil, ndr.LittleEndian),
		epm.Insert{Entries: []epm.Entry{dceEntry(50000, "x")}}.Append(nil, ndr.LittleEndian),
		epm.LookupHandleFree{Handle: ndr.Handle{Attributes: 1}}.Append(nil, ndr.LittleEndian),
	}
	for range 2000 {
		b := bindPDU()
		for call := range 4 {
			b = append(b, requestPDU(uint32(call), epm.Op(random.IntN(8)), stubs[random.IntN(len(stubs))], wholeCall)...)
		}
		for range random.IntN(5) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		conn, err := net.DialTimeout("tcp", dceAddress, 5*time.Second)
		if err != nil {
			return err
		}
		conn.Write(b[:len(b)-random.IntN(20)]) // may find the connection closed already
		conn.Close()
	}
	return nil
}
