package main

import (
	"fmt"
	"net"
	"net/netip"

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
