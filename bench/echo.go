package main

import (
	"fmt"
	"net"
	"net/netip"
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
	reply := make([]byte, replyHeaderLength+4)
	copy(reply[4:], acceptedSuccess[:])
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
