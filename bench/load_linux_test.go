package main

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen returns a UDP socket on loopback and its address.
func listen(t testing.TB) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// ownClock is the clock of this process.
func ownClock() (map[int]time.Duration, error) {
	d, err := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	return map[int]time.Duration{os.Getpid(): d}, err
}

func TestUDPLoad(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		sockets, outstanding int
	}{{"many sockets", 64, 1}, {"one socket", 1, 64}} {
		t.Run(tt.name, func(t *testing.T) {
			conn, address := listen(t)
			go echo(conn)
			l := newUDPRun(udpLoad{address, tt.sockets, tt.outstanding, 10, echoed{}})
			got, err := measure(l, 50*time.Millisecond, ownClock)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.err(); err != nil || got.Requests < 64 || got.ServerCPU <= 0 || got.P50 <= 0 || got.P99 < got.P50 {
				t.Errorf("measure = %+v, err() = %v", got, err)
			}
		})
	}
}

// A wrong answer is counted and makes the run fail: the echo's port 0 is no
// answer to GETPORT. So is the silence that follows, in which the same call
// is repeated.
func TestUDPLoadCountsWrongAnswers(t *testing.T) {
	conn, address := listen(t)
	go echo(conn)
	l := newUDPRun(udpLoad{address, 1, 1, 10, getPort{}})
	got, err := measure(l, time.Millisecond, ownClock)
	if err != nil {
		t.Fatal(err)
	}
	if got.err() == nil || got.Wrong != maxTransmits || got.Lost != 1 || got.Requests != 0 {
		t.Errorf("measure = %+v, want %d wrong answers, 1 lost call, and nothing else", got, maxTransmits)
	}
}

// A lost datagram is sent again, and only counted.
func TestUDPLoadRetransmits(t *testing.T) {
	conn, address := listen(t)
	go func() {
		conn.Read(make([]byte, maxDatagram)) // this one is lost
		echo(conn)
	}()
	l := newUDPRun(udpLoad{address, 1, 1, 10, echoed{}})
	got, err := measure(l, time.Millisecond, ownClock)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.err(); err != nil || got.Retransmitted != 1 || got.Requests != 1 {
		t.Errorf("measure = %+v, err() = %v, want 1 request, sent twice", got, err)
	}
}

func TestSpent(t *testing.T) {
	before := map[int]time.Duration{2: time.Second, 3: 2 * time.Second}
	after := map[int]time.Duration{2: 3 * time.Second, 3: 2 * time.Second, 4: time.Millisecond}
	if got, err := spent(before, after); got != 2*time.Second+time.Millisecond || err != nil {
		t.Errorf("spent = %v, %v, want 2.001s", got, err)
	}
	delete(after, 3)
	if got, err := spent(before, after); err == nil {
		t.Errorf("spent without a process that was there = %v, want an error", got)
	}
}
