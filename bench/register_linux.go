package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

const (
	rpcbindSocket = "/run/rpcbind.sock"

	// setsInFlight bounds the pipeline: rpcbind does not read on while it
	// cannot write, and neither would we.
	setsInFlight = 64
)

// register fills a server that does not come with its rows.
func register(b brief, deadline time.Time) error {
	switch {
	case b.Server == serverEcho, b.Server == serverSamba:
		return nil
	case b.Tried:
		return add(b.Rows, triedRow, deadline)
	case b.Dialect == endpoint.DCE:
		return add(b.Rows, rowDocument, deadline)
	case b.Grants > 0:
		return hold(b.Grants, deadline)
	}
	return set(b.Rows, deadline)
}

// addAtOnce bounds a request to the control socket, which takes 8 MiB.
const addAtOnce = 10_000

// add registers rows over the control socket of quaymaster, as soon as that takes them.
func add(rows int, document func(row int) endpoint.Document, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	client := api.NewClient(daemon.SystemControl)
	for i := 0; i < rows; i += addAtOnce {
		var a api.Addition
		for row := i; row < min(i+addAtOnce, rows); row++ {
			a.Endpoints = append(a.Endpoints, document(row))
		}
		for {
			_, err := client.Add(ctx, a)
			if err == nil {
				break
			}
			var refused *api.RefusedError
			if ctx.Err() != nil || errors.As(err, &refused) {
				return fmt.Errorf("register: from row %d on: %w", i, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// hold has this process given ports, which it keeps until it ends.
func hold(grants int, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	client := api.NewClient(daemon.SystemControl)
	for i := range grants {
		if _, err := client.Grant(ctx, wantedPort(i)); err != nil {
			return fmt.Errorf("grant %d: %w", i, err)
		}
	}
	return nil
}

// set registers programs over the local socket.
func set(rows int, deadline time.Time) error {
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
