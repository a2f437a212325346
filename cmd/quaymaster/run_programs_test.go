//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

// poolFile is a policy of twenty ports, 5100-5119, as regedit writes it.
const (
	poolFile            = "/run/policy.reg"
	firstPort, lastPort = 5100, 5119
)

// writePolicy writes poolFile: UTF-16 with a byte order mark, and line ends of Windows.
func writePolicy(t *testing.T) {
	t.Helper()
	list := "hex(7):"
	for _, unit := range utf16.Encode([]rune(fmt.Sprintf("%d-%d\x00\x00", firstPort, lastPort))) {
		list += fmt.Sprintf("%02x,%02x,", unit&0xff, unit>>8)
	}
	text := "Windows Registry Editor Version 5.00\n\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet]\n" +
		"\"Ports\"=" + strings.TrimSuffix(list, ",") + "\n\"PortsInternetAvailable\"=\"Y\"\n\"UseInternetPorts\"=\"Y\"\n"
	b := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(strings.ReplaceAll(text, "\n", "\r\n"))) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	if err := os.WriteFile(poolFile, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A running is a program under quaymaster run.
type running struct {
	*nstest.Process
	name string
}

func startRun(t *testing.T, flags []string, command ...string) running {
	t.Helper()
	args := append([]string{"run"}, flags...)
	return running{nstest.Start(t, "quaymaster", append(append(args, "--"), command...)...), command[0]}
}

// poolOf returns who has which ports.
func poolStatus(t *testing.T) api.Pool {
	t.Helper()
	r := run(t, "quaymaster", "pool", "-o", "json")
	var p api.Pool
	if err := json.Unmarshal([]byte(r.Stdout), &p); r.Exit != 0 || err != nil {
		t.Fatalf("quaymaster pool = %+v: %v", r, err)
	}
	return p
}

// grantOf returns what the run was given; ok is false if it has nothing.
func (r running) grant(t *testing.T) (endpoint.GrantDocument, bool) {
	t.Helper()
	for _, g := range poolStatus(t).Grants {
		if g.PID == int32(r.PID()) {
			return g, true
		}
	}
	return endpoint.GrantDocument{}, false
}

// registered waits until something is at the port of a run, and returns it.
func (r running) registered(t *testing.T, rows int) (port uint16, all []endpoint.Document) {
	t.Helper()
	nstest.WaitFor(t, r.name+" to be registered", 2*startTime, func() bool {
		if r.Ended() {
			t.Fatalf("quaymaster run %s ended; it wrote:\n%s", r.name, r.Output())
		}
		g, ok := r.grant(t)
		port, all = g.TCP, rowsAt(t, g.TCP)
		return ok && len(all) >= rows
	})
	if len(all) != rows {
		t.Errorf("%s: %d registrations at port %d, want %d: %+v", r.name, len(all), port, rows, all)
	}
	if port < firstPort || port > lastPort {
		t.Errorf("%s has port %d, want one of %d-%d", r.name, port, firstPort, lastPort)
	}
	return port, all
}

func rowsAt(t *testing.T, port uint16) []endpoint.Document {
	t.Helper()
	return slices.DeleteFunc(listed(t), func(d endpoint.Document) bool { return d.Port != port || port == 0 })
}

// evidenceAt returns the evidence of what is registered at a port, one word if all have the same.
func evidenceAt(t *testing.T, port uint16) string {
	t.Helper()
	var all []string
	for _, d := range rowsAt(t, port) {
		all = append(all, d.Evidence)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// within waits for what must be true two seconds after an event at the latest.
func within(t *testing.T, since time.Time, what string, cond func() bool) {
	t.Helper()
	nstest.WaitFor(t, what, startTime, cond)
	if d := time.Since(since); d > 2*time.Second+slack {
		t.Errorf("%s took %v, want 2s at most", what, d)
	}
}

// slack is what asking takes, on a machine that has other things to do as well.
const slack = time.Second

// isFree tells whether nothing is registered at a port, and nobody has it.
func isFree(t *testing.T, port uint16) bool {
	t.Helper()
	has := slices.ContainsFunc(poolStatus(t).Grants, func(g endpoint.GrantDocument) bool { return g.TCP == port || g.UDP == port })
	return !has && len(rowsAt(t, port)) == 0
}

// childOf returns the process that a run has started.
func (r running) child(t *testing.T) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		var pid int
		if text, err := os.ReadFile(list); err == nil {
			if n, _ := fmt.Sscan(string(text), &pid); n == 1 {
				return pid
			}
		}
	}
	t.Fatalf("%s: quaymaster run has no child", r.name)
	return 0
}

// startPrograms starts real programs on ports of the pool, registered on each of which are so many rows.
func startPrograms(t *testing.T) (mountd, statd, samr running) {
	t.Helper()
	prepareServices(t)
	mountd = startRun(t, []string{"--onc", "mountd:1,mountd:2,mountd:3", "--tcp", "--udp"}, "rpc.mountd", "-F", "-p", "{port}")
	statd = startRun(t, []string{"--onc", "status:1", "--tcp", "--udp"}, "rpc.statd", "-F", "-L", "-p", "{port}")
	samba := nstest.Samba(t)
	samr = startRun(t, []string{"--interface", "12345778-1234-abcd-ef00-0123456789ac:1.0", "--interface", "12345778-1234-abcd-ef00-0123456789ab:0.0"},
		append(samba, "--option=rpc server dynamic port range={port}-{port}", "/usr/libexec/samba/rpcd_lsad")...)
	return mountd, statd, samr
}

const (
	mountdRows = 3 * 4
	statdRows  = 4
	samrRows   = 2
)

// usePrograms finds each through real clients.
func usePrograms(t *testing.T) {
	t.Helper()
	for _, q := range []question{
		{[]string{"showmount", "-e", "127.0.0.1"}, []string{"/srv/quay 127.0.0.1"}},
		{[]string{"rpcinfo", "-u", "127.0.0.1", "mountd"}, []string{"program 100005 version 1 ready and waiting", "program 100005 version 3 ready and waiting"}},
		{[]string{"rpcinfo", "-T", "tcp6", "::1", "mountd", "3"}, []string{"program 100005 version 3 ready and waiting"}},
		{[]string{"rpcinfo", "-t", "127.0.0.1", "status"}, []string{"program 100024 version 1 ready and waiting"}},
		{[]string{"rpcinfo", "-T", "udp6", "::1", "status"}, []string{"program 100024 version 1 ready and waiting"}},
	} {
		checkQuestion(t, q)
	}
	r := rpcclient(t, "enumdomains")
	if domains := regexp.MustCompile(`(?m)^name:\[.*\] idx:\[0x[01]\]$`).FindAllString(r.Stdout, -1); r.Exit != 0 || len(domains) != 2 {
		t.Errorf("enumdomains = %+v, want two domains", r)
	}
}

// TestRunPrograms: real servers get ports of a policy of Windows, are found by their clients, and give
// the ports back however they end.
func TestRunPrograms(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcinfo", "showmount", "rpcclient", "rpc.mountd", "rpc.statd")
	writePolicy(t)
	startServe(t, "--pool", poolFile)
	mountd, statd, samr := startPrograms(t)
	runs := []running{mountd, statd, samr}
	ports := map[uint16]bool{}
	for i, rows := range []int{mountdRows, statdRows, samrRows} {
		port, _ := runs[i].registered(t, rows)
		ports[port] = true
	}
	if len(ports) != len(runs) {
		t.Errorf("ports %v, want one for each of %d", ports, len(runs))
	}
	usePrograms(t)

	for _, r := range runs {
		g, _ := r.grant(t)
		killed := time.Now()
		if err := syscall.Kill(r.child(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, killed, "row and port of "+r.name+" to return", func() bool { return isFree(t, g.TCP) })
		if status := r.Wait(t, startTime); status != 128+int(syscall.SIGKILL) {
			t.Errorf("exit status %d of quaymaster run %s, want 137", status, r.name)
		}
	}
}

// TestRunKilled: who listens keeps row and port when run is killed, and when the daemon is.
func TestRunKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcinfo", "showmount", "rpcclient", "rpc.mountd", "rpc.statd")
	writePolicy(t)
	daemon := startServe(t, "--pool", poolFile)
	mountd, statd, samr := startPrograms(t)
	runs, children := []running{mountd, statd, samr}, []int{}
	for i, rows := range []int{mountdRows, statdRows, samrRows} {
		runs[i].registered(t, rows)
		children = append(children, runs[i].child(t))
		t.Cleanup(func() { syscall.Kill(children[i], syscall.SIGKILL) })
	}
	before := poolStatus(t).Grants

	daemon.Signal(syscall.SIGKILL)
	daemon.Wait(t, startTime)
	daemon = startServe(t, "--pool", poolFile)
	after := poolStatus(t).Grants
	if !slices.EqualFunc(before, after, func(a, b endpoint.GrantDocument) bool {
		return a.ID == b.ID && a.TCP == b.TCP && a.UDP == b.UDP && !b.RunGone
	}) {
		t.Errorf("given are %+v, before the daemon was killed %+v", after, before)
	}
	usePrograms(t)

	for i, r := range runs {
		g, ok := r.grant(t)
		if !ok {
			t.Fatalf("%s has no port", r.name)
		}
		killed := time.Now()
		r.Signal(syscall.SIGKILL)
		within(t, killed, r.name+" to stand without run", func() bool { return evidenceAt(t, g.TCP) == "listening, run gone" })
		if !slices.ContainsFunc(poolStatus(t).Grants, func(now endpoint.GrantDocument) bool { return now.ID == g.ID && now.RunGone }) {
			t.Errorf("the port of %s is not given any more, though it listens there", r.name)
		}
		if i == 0 {
			usePrograms(t)
			daemon.Signal(syscall.SIGKILL)
			daemon.Wait(t, startTime)
			startServe(t, "--pool", poolFile)
			if now := evidenceAt(t, g.TCP); now != "listening, run gone" {
				t.Errorf("after the daemon was killed too %s stands by %q", r.name, now)
			}
		}
		killed = time.Now()
		if err := syscall.Kill(children[i], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, killed, "row and port of "+r.name+" to return", func() bool { return isFree(t, g.TCP) })
	}
}

// TestRunExhausted: when no port is left, run says who has them, and nothing that is registered is lost.
func TestRunExhausted(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	writePolicy(t)
	daemon := startServe(t, "--pool", poolFile)
	const programs = lastPort - firstPort + 1
	for i := range programs {
		startRun(t, []string{"--onc", fmt.Sprintf("%d:1", 0x20000000+i)}, listenerName, "tcp4", "0.0.0.0:{port}")
	}
	nstest.WaitFor(t, "every port to be taken", 2*startTime, func() bool { return len(listed(t)) == programs })
	ports := map[uint16]bool{}
	for _, d := range listed(t) {
		ports[d.Port] = true
	}
	if len(ports) != programs {
		t.Errorf("%d ports are used by %d programs", len(ports), programs)
	}
	events := startEvents(t)
	r := run(t, "quaymaster", "run", "--onc", "0x2fffffff:1", "--", listenerName, "tcp4", "0.0.0.0:{port}")
	want := "quaymaster: run: no port to give: of the 20 ports of the pool, 5100-5119 on tcp and udp, none is left (root has 20)\n"
	if r.Exit != 125 || r.Stderr != want || r.Stdout != "" {
		t.Errorf("one more = %+v, want exit status 125 and %q", r, want)
	}
	nstest.WaitFor(t, "the event", startTime, func() bool { return bytes.Contains([]byte(events.Output()), []byte(`"event":"exhausted"`)) })
	nstest.WaitFor(t, "the log", startTime, func() bool { return strings.Contains(daemon.Output(), "no port to give") })
	if n := len(listed(t)); n != programs {
		t.Errorf("%d registrations are left, want %d", n, programs)
	}
	counters := exec.Command("curl", "--silent", "--unix-socket", api.SystemSocket, "http://quaymaster"+api.CountersPath)
	if out, err := counters.Output(); err != nil || !strings.Contains(string(out), `"ports_exhausted":1`) {
		t.Errorf("counters %s, %v, want one exhausted", out, err)
	}
}

func startEvents(t *testing.T) *nstest.Process {
	t.Helper()
	p := nstest.Start(t, "quaymaster", "endpoints", "--watch", "-o", "json")
	nstest.WaitFor(t, "the snapshot", startTime, func() bool { return strings.Contains(p.Output(), `"snapshot"`) })
	return p
}

// listenerName is the name under which the test binary is a server that does nothing but listen.
const listenerName = "listener"

// beAListener listens on each NETWORK ADDRESS until it is ended.
func beAListener() {
	for pair := range slices.Chunk(os.Args[1:], 2) {
		var err error
		if pair[0][0] == 'u' {
			_, err = net.ListenPacket(pair[0], pair[1])
		} else {
			_, err = net.Listen(pair[0], pair[1])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	<-signals
}
