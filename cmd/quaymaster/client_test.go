package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// A client asks a mapper, one call at a time. It shares with the server only the wire packages.
type client struct {
	net.Conn
	stream   bool
	xid      uint32
	patience time.Duration // for a whole call
	resend   time.Duration // between transmissions of the same datagram
	resent   int           // how many transmissions were not the first

	records oncrpc.RecordReader
	unread  []byte // of a stream, beyond the last record
	in, out []byte
}

// mapperAddress is where a mapper listens on this host. For "unix" it is the path, because
// rpcbind before version 1.2.7 has no abstract socket.
func mapperAddress(network string) string {
	switch network {
	case "unix":
		return "/run/rpcbind.sock"
	case "udp6", "tcp6":
		return netip.AddrPortFrom(netip.IPv6Loopback(), rpcbind.Port).String()
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), rpcbind.Port).String()
}

// dialMapper connects to this host's mapper; networks are those of net.Dial.
func dialMapper(network string) (*client, error) {
	return dial(network, mapperAddress(network))
}

func dial(network, address string) (*client, error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, patience: 5 * time.Second, resend: 10 * time.Millisecond, in: make([]byte, 1<<16)}
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
		c.stream = true
		c.records.Reset(1 << 20)
	}
	return c, nil
}

// call returns the results of a procedure of the mapper, valid until the next call.
func (c *client) call(version uint32, proc rpcbind.Proc, args []byte) ([]byte, error) {
	c.xid++
	c.out = appendCall(c.out[:0], c.stream, c.xid, version, proc, args)
	exchange := c.exchangeDatagrams
	if c.stream {
		exchange = c.exchangeRecords
	}
	reply, err := exchange()
	if err != nil {
		return nil, err
	}
	header, results, err := oncrpc.ParseReply(reply)
	if err != nil {
		return nil, err
	}
	return results, header.Err()
}

// appendCall appends a call of the mapper's program, for streams with its record mark.
func appendCall(b []byte, stream bool, xid, version uint32, proc rpcbind.Proc, args []byte) []byte {
	header := oncrpc.Call{XID: xid, Program: rpcbind.Program, Version: version, Procedure: uint32(proc)}
	message := append(header.Append(nil), args...)
	if stream {
		b = oncrpc.AppendRecordMark(b, len(message), true)
	}
	return append(b, message...)
}

func (c *client) exchangeRecords() ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return nil, err
	}
	if _, err := c.Write(c.out); err != nil {
		return nil, err
	}
	for {
		used, record, err := c.records.Feed(c.unread)
		c.unread = c.unread[used:]
		if err != nil || record != nil && c.isOurs(record) {
			return record, err
		}
		if len(c.unread) > 0 {
			continue
		}
		n, err := c.Read(c.in)
		if err != nil {
			return nil, err
		}
		c.unread = c.in[:n]
	}
}

// exchangeDatagrams sends the datagram again after every resend without an answer, as real
// clients do, if less patiently.
func (c *client) exchangeDatagrams() ([]byte, error) {
	for end := time.Now().Add(c.patience); time.Now().Before(end); c.resent++ {
		if _, err := c.Write(c.out); err != nil {
			return nil, err
		}
		if err := c.SetReadDeadline(time.Now().Add(c.resend)); err != nil {
			return nil, err
		}
		for {
			n, err := c.Read(c.in)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if c.isOurs(c.in[:n]) {
				return c.in[:n], nil
			}
		}
	}
	return nil, fmt.Errorf("no answer in %v", c.patience)
}

// isOurs tells the answer of this call from a late one of an earlier call.
func (c *client) isOurs(message []byte) bool {
	r := xdr.NewReader(message)
	return r.Uint32() == c.xid && r.Err() == nil
}

// set registers a row with version 4, over the local socket.
func (c *client) set(row rpcbind.RPCB) (bool, error) {
	results, err := c.call(rpcbind.Version4, rpcbind.ProcSet, row.Append(nil))
	if err != nil {
		return false, err
	}
	r := xdr.NewReader(results)
	done := r.Bool()
	return done, r.Err()
}

// getPort asks with version 2.
func (c *client) getPort(program, version, protocol uint32) (uint32, error) {
	question := rpcbind.Mapping{Program: program, Version: version, Protocol: protocol}
	results, err := c.call(rpcbind.Version2, rpcbind.ProcGetPort, question.Append(nil))
	if err != nil {
		return 0, err
	}
	r := xdr.NewReader(results)
	port := r.Uint32()
	return port, r.Err()
}
