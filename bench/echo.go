package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// runEcho serves the echo at address until it fails.
func runEcho(address netip.AddrPort) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	defer conn.Close()
	return fmt.Errorf("echo: %w", echo(conn))
}

// echo answers every datagram with its first four bytes, the xid, and the
// rest of a GETPORT reply, until conn fails. It is the least a UDP server
// written the plain Go way can do.
func echo(conn *net.UDPConn) error {
	in := make([]byte, 9000)
	reply := xdr.AppendUint32(oncrpc.AppendAccepted(nil, 0, oncrpc.Success), 0)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(in)
		if err != nil {
			return err
		}
		if n < 4 {
			continue
		}
		copy(reply, in[:4])
		if _, err := conn.WriteToUDPAddrPort(reply, from); err != nil {
			return err
		}
	}
}

// runCanned serves the same answers to everybody at address until it fails.
func runCanned(address netip.AddrPort) error {
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(address))
	if err != nil {
		return fmt.Errorf("canned: %w", err)
	}
	defer ln.Close()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return fmt.Errorf("canned: %w", err)
		}
		go func() {
			defer conn.Close()
			answerCanned(conn)
		}()
	}
}

// answerCanned takes every read for a PDU, of which it looks at the type and the
// call's identifier. It is the least a TCP server written the plain Go way can do.
func answerCanned(conn net.Conn) {
	ack := dcerpc.AppendBindAck(nil, callHeader(0), dcerpc.BindAck{
		MaxXmitFrag: maxFrag, MaxRecvFrag: maxFrag, AssocGroup: 1, SecondaryAddr: "135",
		Results: []dcerpc.Result{{Result: dcerpc.Acceptance, Transfer: dcerpc.NDR}},
	})
	m := epm.MapReply{Max: maxTowers, Towers: []epm.Tower{rowTower(0, mapperAddr, 0)}}
	stub := m.Append(nil, ndr.LittleEndian)
	response := dcerpc.AppendResponse(nil, callHeader(0), dcerpc.Response{Stub: stub}, maxFrag)
	in := make([]byte, 4096)
	for {
		n, err := conn.Read(in)
		if err != nil || n < dcerpc.HeaderSize {
			return
		}
		reply := response
		if dcerpc.PType(in[2]) == dcerpc.PTypeBind {
			reply = ack
		}
		copy(reply[callIDAt:dcerpc.HeaderSize], in[callIDAt:])
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}
