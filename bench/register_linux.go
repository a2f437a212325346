package main

import (
	"bufio"
	"fmt"
	"net"
	"time"
)

const (
	rpcbindSocket = "/run/rpcbind.sock"

	// setsInFlight bounds the pipeline: rpcbind does not read on while it
	// cannot write, and neither would we.
	setsInFlight = 64
)

// register SETs the given number of rows over the local socket.
func register(rows int, deadline time.Time) error {
	conn, err := net.Dial("unix", rpcbindSocket)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	replies := bufio.NewReader(conn)
	var calls []byte
	for i := 0; i < rows; i += setsInFlight {
		end := min(i+setsInFlight, rows)
		calls = calls[:0]
		for row := i; row < end; row++ {
			calls = appendRecord(calls, setRow{}.appendCall(nil, uint32(row), row))
		}
		if _, err := conn.Write(calls); err != nil {
			return fmt.Errorf("register: rows %d to %d: %w", i, end-1, err)
		}
		for row := i; row < end; row++ {
			record, err := readRecord(replies, maxDatagram)
			if err == nil {
				err = setRow{}.check(record, uint32(row), row)
			}
			if err != nil {
				return fmt.Errorf("register: row %d: %w", row, err)
			}
		}
	}
	return nil
}
