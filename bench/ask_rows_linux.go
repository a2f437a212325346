package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// triedRow is row i of a host whose rows are tried: a DCE interface over TCP and a program
// of ONC in turn, the latter over TCP and UDP in turn, each at a port of its own. Those of
// ONC are at one address, since a datagram must be answered from the address that it was sent to.
func triedRow(i int) endpoint.Document {
	if i%2 == 0 {
		return rowDocument(i)
	}
	netid := rpcbind.TCP
	if i%4 == 3 {
		netid = rpcbind.UDP
	}
	return endpoint.Document{
		Dialect: endpoint.ONC.String(), Program: firstProgram + uint32(i), Version: endpoint.Version{Major: rowVersion},
		NetID: netid.String(), Address: farHost(0).String(), Port: rowPort(i),
	}
}

// answerTried listens where these rows say, and answers until the process ends.
func answerTried(rows int) error {
	if err := allowFiles(uint64(rows) + otherFiles); err != nil {
		return err
	}
	for i := range rows {
		row := triedRow(i)
		address := net.JoinHostPort(row.Address, strconv.Itoa(int(row.Port)))
		if row.NetID == rpcbind.UDP.String() {
			conn, err := net.ListenPacket("udp4", address)
			if err != nil {
				return fmt.Errorf("row %d: %w", i, err)
			}
			go answerDatagrams(conn, i)
			continue
		}
		ln, err := net.Listen("tcp4", address)
		if err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		if row.Dialect == endpoint.DCE.String() {
			go answerConnections(ln, answerCanned)
		} else {
			go answerConnections(ln, func(conn net.Conn) { answerRecords(conn, i) })
		}
	}
	return nil
}

func answerConnections(ln net.Listener, answer func(net.Conn)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			answer(conn)
		}()
	}
}

// answerRecords answers calls of a program over TCP.
func answerRecords(conn net.Conn, row int) {
	for {
		call, err := readRecord(conn, maxDatagram)
		if err != nil {
			return
		}
		if reply := answerNull(call, row); reply != nil {
			if _, err := conn.Write(appendRecord(nil, reply)); err != nil {
				return
			}
		}
	}
}

// answerDatagrams answers calls of a program over UDP.
func answerDatagrams(conn net.PacketConn, row int) {
	call := make([]byte, maxDatagram)
	for {
		n, from, err := conn.ReadFrom(call)
		if err != nil {
			return
		}
		if reply := answerNull(call[:n], row); reply != nil {
			conn.WriteTo(reply, from) // who is gone needs no answer
		}
	}
}

// answerNull returns the reply to a call of a row's program, which answers to its own
// version only; nil to what is no call.
func answerNull(call []byte, row int) []byte {
	c, _, err := oncrpc.ParseCall(call)
	switch {
	case err != nil:
		return nil
	case c.Program != firstProgram+uint32(row):
		return oncrpc.AppendAccepted(nil, c.XID, oncrpc.ProgUnavail)
	case c.Version != rowVersion:
		return oncrpc.AppendProgMismatch(nil, c.XID, rowVersion, rowVersion)
	}
	return oncrpc.AppendAccepted(nil, c.XID, oncrpc.Success)
}
