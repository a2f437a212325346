package main

import (
	"bufio"
	"encoding/binary"
	"errors"
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
			calls = appendRecord(calls, appendSet(nil, uint32(row), row))
		}
		if _, err := conn.Write(calls); err != nil {
			return fmt.Errorf("register: rows %d to %d: %w", i, end-1, err)
		}
		for row := i; row < end; row++ {
			if err := checkSet(replies, row); err != nil {
				return fmt.Errorf("register: row %d: %w", row, err)
			}
		}
	}
	return nil
}

func checkSet(replies *bufio.Reader, row int) error {
	record, err := readRecord(replies, maxDatagram)
	if err != nil {
		return err
	}
	body, err := checkReply(record, uint32(row))
	if err != nil {
		return err
	}
	if len(body) != 4 || binary.BigEndian.Uint32(body) != 1 {
		return errors.New("SET said false")
	}
	return nil
}
