//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

const (
	maxGrowth  = 64 << 20              // bytes of memory above idle, at the peak
	maxLatency = 50 * time.Millisecond // of 99 in 100 calls of an honest client
	minSamples = 400                   // calls by each honest client under each attack
	rowCount   = 2000
)

// TestHostilePeers attacks quaymaster in every way of the table attacks while honest clients
// count how long their calls take.
func TestHostilePeers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	server := startServe(t, "--grace", "1h") // nothing listens at the rows, which must outlast the test
	idle := memory(t, server.PID(), "VmRSS")
	registerRows(t)
	insertRows(t)

	holder := startHostile(t, "hold")
	nstest.WaitFor(t, "the connections that are held", startTime, func() bool {
		return holder.Ended() || strings.Contains(holder.Output(), "holding")
	})
	for _, a := range attacks {
		slow := slowDuring(t, a)
		if slow != nil { // other tests may have had the processors: it must be slow twice
			t.Logf("again: %v", slow)
			slow = slowDuring(t, a)
		}
		if slow != nil {
			t.Error(slow)
		}
		if server.Ended() {
			t.Fatalf("quaymaster has ended during %s", a.name)
		}
	}
	holder.stop(t)

	growth := memory(t, server.PID(), "VmHWM") - idle
	t.Logf("memory: %.1f MiB idle, %.1f MiB more at the peak", float64(idle)/(1<<20), float64(growth)/(1<<20))
	if growth >= maxGrowth && !raceDetector() {
		t.Errorf("memory grew by %d bytes, want less than %d", growth, maxGrowth)
	}
}

// slowDuring returns which honest clients have to wait during an attack, nil if none has.
func slowDuring(t *testing.T, a attack) error {
	t.Helper()
	var slow []error
	for _, p := range probeDuring(t, a) {
		latency := percentile(p.samples, 99)
		t.Logf("%-9s %-22s %5d calls, %4d datagrams sent again, p50 %8v, p99 %8v, worst %8v", a.name, p.name,
			len(p.samples), p.resent, percentile(p.samples, 50), latency, percentile(p.samples, 100))
		if p.err != nil {
			t.Errorf("during %s (%s): %s: %v", a.name, a.about, p.name, p.err)
		}
		if latency >= maxLatency {
			slow = append(slow, fmt.Errorf("during %s (%s): %s: p99 = %v, want less than %v", a.name, a.about, p.name, latency, maxLatency))
		}
	}
	return errors.Join(slow...)
}

// registerRows makes a dump long.
func registerRows(t *testing.T) {
	t.Helper()
	c, err := dialMapper("unix")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range uint32(rowCount) {
		port := 20000 + i
		address := fmt.Sprintf("0.0.0.0.%d.%d", port>>8, port&0xff)
		done, err := c.set(rpcbind.RPCB{Program: 300000 + i, Version: 1, NetID: "udp", Address: address, Owner: "0"})
		if err != nil || !done {
			t.Fatalf("SET of row %d = %v, %v", i, done, err)
		}
	}
}

// A hostileProcess misbehaves until it is told to stop.
type hostileProcess struct {
	*nstest.Process
	stdin io.Closer
}

func startHostile(t *testing.T, attack string) hostileProcess {
	t.Helper()
	cmd := exec.Command(nstest.Path(t, "hostile"), attack)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1") // one attacker has one processor
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return hostileProcess{nstest.StartCommand(t, cmd), stdin}
}

// stop fails the test if the mapper has not dealt with the attack as it should.
func (h hostileProcess) stop(t *testing.T) {
	t.Helper()
	h.stdin.Close()
	if status := h.Wait(t, 20*time.Second); status != 0 {
		t.Errorf("the attack: %s", h.Output())
	}
}

// An honestClient is a client that behaves, and what it measured.
type honestClient struct {
	name    string
	call    func() error
	close   func()
	resent  int
	samples []time.Duration
	err     error
}

// probeDuring makes calls, one after the other on each of the probes, while the attack lasts.
// The attack goes on until every probe has made enough.
func probeDuring(t *testing.T, a attack) []*honestClient {
	t.Helper()
	probes := []*honestClient{udpProbe(t), tcpProbe(t), connectingProbe(), dceProbe(t), dceConnectingProbe()}
	attacker := startHostile(t, a.name)
	var calls, enough sync.WaitGroup
	for _, p := range probes {
		enough.Add(1)
		calls.Go(func() {
			p.run(attacker.Ended, enough.Done)
			p.close()
		})
	}
	enough.Wait()
	attacker.stop(t)
	calls.Wait()
	return probes
}

// run samples until the attack is over, and says when it has enough samples.
func (p *honestClient) run(over func() bool, enough func()) {
	once := sync.OnceFunc(enough)
	defer once()
	for !over() && p.err == nil {
		begin := time.Now()
		p.err = p.call()
		p.samples = append(p.samples, time.Since(begin))
		if len(p.samples) == minSamples {
			once()
		}
	}
}

// A udpProbe sends its call again after 10 ms without an answer; the sample is the time from
// the first transmission to the answer.
func udpProbe(t *testing.T) *honestClient {
	t.Helper()
	c, err := dialMapper("udp4")
	if err != nil {
		t.Fatal(err)
	}
	p := &honestClient{name: "UDP"}
	p.call = func() error { return askPort(c) }
	p.close = func() { p.resent = c.resent; c.Close() }
	return p
}

func tcpProbe(t *testing.T) *honestClient {
	t.Helper()
	c, err := dialMapper("tcp4")
	if err != nil {
		t.Fatal(err)
	}
	return &honestClient{name: "TCP", call: func() error { return askPort(c) }, close: func() { c.Close() }}
}

// A connectingProbe makes a connection for each call, as libtirpc does.
func connectingProbe() *honestClient {
	return &honestClient{name: "TCP, connecting anew", close: func() {}, call: func() error {
		c, err := dialMapper("tcp4")
		if err != nil {
			return err
		}
		defer c.Close()
		return askPort(c)
	}}
}

// askPort asks for the last of the rows.
func askPort(c *client) error {
	port, err := c.getPort(300000+rowCount-1, 1, rpcbind.ProtocolUDP)
	if err == nil && port != 20000+rowCount-1 {
		err = fmt.Errorf("GETPORT = %d, want %d", port, 20000+rowCount-1)
	}
	return err
}

// percentile returns the smallest sample that n percent of the samples do not exceed.
func percentile(samples []time.Duration, n int) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[(len(sorted)*n+99)/100-1]
}

func TestPercentile(t *testing.T) {
	samples := make([]time.Duration, 100)
	for i := range samples {
		samples[i] = time.Duration(100 - i)
	}
	for n, want := range map[int]time.Duration{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(samples, n); got != want {
			t.Errorf("percentile(1 to 100, %d) = %v, want %v", n, got, want)
		}
	}
	if got := percentile(samples[:3], 99); got != 100 {
		t.Errorf("percentile of 100, 99, 98 = %v, want the worst", got)
	}
}

// memory returns a field of /proc/PID/status in bytes: VmRSS is the memory in use, VmHWM its
// highest value so far.
func memory(t *testing.T, pid int, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in\n%s", field, status)
	}
	kilobytes, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// raceDetector tells whether this binary, and so quaymaster, needs a multiple of its memory.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
