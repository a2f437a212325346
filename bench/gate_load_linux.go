package main

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// gatePort is getPort about rows that have a port each.
type gatePort struct{ getPort }

func (gatePort) check(reply []byte, xid uint32, i int) error {
	port, err := portIn(reply, xid)
	if err == nil && port != uint32(gateFirstPort+i) {
		return errMismatch
	}
	return err
}

// workGate does a job twice, the first time briefly and only to warm up, with clients that are behind the gateway.
func workGate(j job, s *server) (t *tally, err error) {
	return t, within(clientsName, func() error {
		for _, window := range [...]time.Duration{warmUp, j.Window} {
			l, err := newGateLoad(j, s)
			if err != nil {
				return err
			}
			if t, err = measure(l, window, s.clock); err != nil {
				return err
			}
			if err := t.err(); err != nil {
				return err
			}
		}
		return nil
	})
}

func newGateLoad(j job, s *server) (load, error) {
	mapper := netip.AddrPortFrom(netip.MustParseAddr(gateServer), rpcbind.Port)
	switch j.Kind {
	case kindGateBulk:
		return &bulkLoad{}, nil
	case kindGateConnect:
		return newConnectRun(8, mapper, 10, gatePort{}), nil
	case kindGateGetPort:
		return newUDPRun(udpLoad{mapper, 64, 1, 10, gatePort{}}), nil
	case kindGateOpen:
		return newUDPRun(udpLoad{mapper, 1, 1, gateRows, gatePort{}}), nil
	case kindGateIdle:
		return &idleSessions{mapper: mapper, n: j.Rows, pid: s.pid()}, nil
	}
	return nil, fmt.Errorf("unknown load %q", j.Kind)
}

// bulkReceived is how many bytes the server was sent.
var bulkReceived atomic.Int64

// A bulkLoad sends what one connection takes.
type bulkLoad struct{ conn net.Conn }

func (l *bulkLoad) open() (err error) {
	l.conn, err = net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", gateServer, gateBulkPort), tcpPatience)
	return err
}

// run counts MiB as requests.
func (l *bulkLoad) run(window time.Duration, t *tally) error {
	before := bulkReceived.Load()
	b := make([]byte, 1<<20)
	for end := time.Now().Add(window); time.Now().Before(end); {
		if _, err := l.conn.Write(b); err != nil {
			return err
		}
	}
	t.Requests = int((bulkReceived.Load() - before) >> 20)
	return nil
}

func (l *bulkLoad) close() {
	if l.conn != nil {
		l.conn.Close()
	}
}

// idleSessions are control channels on which something was asked once.
type idleSessions struct {
	mapper netip.AddrPort
	n, pid int
	conns  []net.Conn
}

func (l *idleSessions) open() error {
	reply := make([]byte, maxDatagram)
	for i := range l.n {
		from := net.Dialer{Timeout: tcpPatience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(gateHost(i), 0))}
		conn, err := from.Dial("tcp4", l.mapper.String())
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		l.conns = append(l.conns, conn)
		conn.SetDeadline(time.Now().Add(tcpPatience))
		call := record{gatePort{}}.appendCall(nil, uint32(i), i%10)
		if _, err := conn.Write(call); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		n, err := conn.Read(reply)
		if err == nil {
			err = record{gatePort{}}.check(reply[:n], uint32(i), i%10)
		}
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
	}
	return nil
}

func (l *idleSessions) run(window time.Duration, t *tally) (err error) {
	t.Idle = true
	time.Sleep(window)
	t.Memory, err = memoryOf(l.pid)
	return err
}

func (l *idleSessions) close() {
	for _, c := range l.conns {
		c.Close()
	}
}
