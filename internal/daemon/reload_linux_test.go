package daemon

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A reloading is a daemon that takes other options with SIGHUP.
type reloading struct {
	*server
	options Options
	file    string // of the options
}

// startReloading starts a daemon that has everything in a folder of the test's.
func startReloading(t *testing.T, o Options) *reloading {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	o.Dev, o.StateDir = true, dir
	cmd := command(t, o)
	file := filepath.Join(dir, "options.json")
	cmd.Env = append(cmd.Env, reloadVar+"="+file)
	return &reloading{server: startReady(t, cmd), options: o, file: file}
}

func (r *reloading) client() *api.Client { return api.NewClient(r.options.control()) }

// hangUp has the daemon take the options, and waits until it says one of these
// for the first time since.
func (r *reloading) hangUp(t *testing.T, line string) {
	t.Helper()
	text, err := json.Marshal(r.options)
	if err != nil {
		t.Fatal(err)
	}
	write(t, r.file, string(text))
	before := strings.Count(r.Output(), line)
	r.Signal(syscall.SIGHUP)
	nstest.WaitFor(t, "the daemon to log "+line, patience, func() bool { return strings.Count(r.Output(), line) > before })
}

const readAgain = `msg="permanent registrations read again"`

// counter returns what the daemon has counted under a name.
func (r *reloading) counter(t *testing.T, name string) uint64 {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.options.control())
	}}}
	answer, err := c.Get("http://quaymaster/v1/counters")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	counters := api.Counters{}
	if err := json.NewDecoder(answer.Body).Decode(&counters); err != nil {
		t.Fatal(err)
	}
	n, ok := counters[name]
	if !ok {
		t.Fatalf("no counter %s in %v", name, counters)
	}
	return n
}

// dialFrom connects from another host.
func dialFrom(t *testing.T, host, network, address string) net.Conn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		ns, err := os.Open("/run/netns/" + host)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := net.Dial(network, address)
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("%s %s from %s: %v", network, address, host, r.err)
	}
	t.Cleanup(func() { r.conn.Close() })
	if err := r.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return r.conn
}

// send sends a call of the port mapper without arguments.
func send(t *testing.T, conn net.Conn, p rpcbind.Proc) {
	t.Helper()
	header := oncrpc.Call{XID: 7, Program: rpcbind.Program, Version: rpcbind.Version4, Procedure: uint32(p)}
	call := header.Append(nil)
	if conn.LocalAddr().Network() != "udp" {
		call = append(oncrpc.AppendRecordMark(nil, len(call), true), call...)
	}
	if _, err := conn.Write(call); err != nil {
		t.Fatal(err)
	}
}

// ask sends a call and returns what the answer says, nil for success.
func ask(t *testing.T, conn net.Conn, p rpcbind.Proc) error {
	t.Helper()
	send(t, conn, p)
	b, err := receive(conn)
	if err != nil {
		return err
	}
	reply, _, err := oncrpc.ParseReply(b)
	if err != nil {
		return err
	}
	return reply.Err()
}

// receive returns one answer, without its record mark.
func receive(conn net.Conn) ([]byte, error) {
	if conn.LocalAddr().Network() == "udp" {
		b := make([]byte, 9000)
		n, err := conn.Read(b)
		return b[:n], err
	}
	var mark [4]byte
	if _, err := io.ReadFull(conn, mark[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(mark[:])&^oncrpc.LastFragment)
	_, err := io.ReadFull(conn, b)
	return b, err
}

// TestReloadNetworks: who may ask and who may have everything told changes at
// once, also for connections that are open. This host may in any case.
func TestReloadNetworks(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	r := startReloading(t, Options{ListenONC: []string{"0.0.0.0:1111"}})
	udp, tcp := dialFrom(t, "far", "udp4", "10.98.0.1:1111"), dialFrom(t, "far", "tcp4", "10.98.0.1:1111")
	for _, conn := range []net.Conn{udp, tcp} {
		if err := ask(t, conn, rpcbind.ProcNull); err != nil {
			t.Errorf("NULL over %s: %v", conn.LocalAddr().Network(), err)
		}
	}
	if err := ask(t, tcp, rpcbind.ProcDump); err != nil {
		t.Errorf("DUMP over TCP: %v", err)
	}

	r.options.Networks.Ask = []Network{network(t, "10.97.0.0/16")}
	r.hangUp(t, readAgain)
	if err := ask(t, tcp, rpcbind.ProcNull); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a connection of a stranger: %v, want its end", err)
	}
	if n := r.counter(t, "strangers"); n != 1 {
		t.Errorf("%d strangers, want 1", n)
	}
	send(t, udp, rpcbind.ProcNull)
	nstest.WaitFor(t, "a stranger's datagram to be counted", patience, func() bool { return r.counter(t, "strangers") == 2 })
	udp.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := udp.Read(make([]byte, 100)); err == nil {
		t.Errorf("a stranger was answered %d bytes", n)
	}
	for _, a := range []string{"127.0.0.1:1111", "10.98.0.1:1111"} { // this host
		answers(t, "udp4", a)
		answers(t, "tcp4", a)
	}

	r.options.Networks = Networks{Ask: []Network{network(t, "10.98.0.2")}, Dump: []Network{}}
	r.hangUp(t, readAgain)
	tcp = dialFrom(t, "far", "tcp4", "10.98.0.1:1111")
	udp.SetDeadline(time.Now().Add(patience))
	for _, conn := range []net.Conn{udp, tcp} {
		if err := ask(t, conn, rpcbind.ProcNull); err != nil {
			t.Errorf("NULL over %s: %v", conn.LocalAddr().Network(), err)
		}
		if err := ask(t, conn, rpcbind.ProcDump); err == nil || !strings.Contains(err.Error(), "AUTH_TOOWEAK") {
			t.Errorf("DUMP over %s by who may not: %v, want AUTH_TOOWEAK", conn.LocalAddr().Network(), err)
		}
	}

	r.options.Limits.QueriesPerSecond = 1
	r.options.Networks = Networks{}
	r.hangUp(t, readAgain)
	for range 3 {
		send(t, udp, rpcbind.ProcNull)
	}
	nstest.WaitFor(t, "datagrams of who asks too often to be dropped", patience, func() bool { return r.counter(t, "throttled") >= 1 })
	r.stop(t)
}

// permanentRows returns the permanent rows of a daemon: "program version netid address:port annotation".
func (r *reloading) permanentRows(t *testing.T) []string {
	t.Helper()
	l, err := r.client().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, d := range l.Endpoints {
		if d.Evidence == endpoint.Permanent.String() {
			rows = append(rows, strings.TrimSpace(fmt.Sprintf("%d %s %s %s:%d %s", d.Program, d.Version, d.NetID, d.Address, d.Port, d.Annotation)))
		}
	}
	return rows
}

// TestReloadPermanent: the file of permanent registrations is for people.
func TestReloadPermanent(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	r := startReloading(t, Options{})
	file := r.options.permanentFile()
	if exists(file) {
		t.Error("a file of no permanent registrations was made")
	}
	expect := func(rows ...string) {
		t.Helper()
		if got := r.permanentRows(t); !slices.Equal(got, rows) {
			t.Errorf("permanent rows %q, want %q", got, rows)
		}
	}
	write(t, file, "- {program: nfs, version: 3, netid: tcp, address: 10.0.0.9, port: 2049}\n- {program: 7, version: 1, netid: udp6, address: '*', port: 700, annotation: mine}\n")
	r.hangUp(t, readAgain)
	expect("100003 3 tcp 10.0.0.9:2049", "7 1 udp6 :::700 mine")

	const damaged = "- {program: nfs, version: 3, netid: tcp, address: 10.0.0.9, port: 2049}\n- {program: 7, version: 1, netid: upd, address: 10.0.0.9, port: 700}\n"
	write(t, file, damaged)
	r.hangUp(t, `msg="permanent registrations stay as they were"`)
	if want := `level=ERROR msg="permanent registrations stay as they were" err="` + file + `:2:3: unknown netid \"upd\": want udp, tcp, udp6, tcp6, local"`; !strings.Contains(r.Output(), want) {
		t.Errorf("the log lacks %s:\n%s", want, r.Output())
	}
	expect("100003 3 tcp 10.0.0.9:2049", "7 1 udp6 :::700 mine")
	if _, err := r.client().Add(t.Context(), api.Addition{Permanent: true, Endpoints: []endpoint.Document{
		{Dialect: "onc", Program: 8, Version: endpoint.Version{Major: 1}, NetID: "tcp", Address: "0.0.0.0", Port: 800},
	}}); err == nil || !strings.Contains(err.Error(), "cannot be kept: "+file+": changed by hand since it was read: send quaymaster SIGHUP first") {
		t.Errorf("a permanent registration while the file is damaged: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != damaged {
		t.Errorf("the damaged file became %s, %v", text, err)
	}

	write(t, file, "- {program: 7, version: 1, netid: udp6, address: '::', port: 701}\n")
	r.hangUp(t, readAgain)
	expect("7 1 udp6 :::701")
	if n := r.counter(t, "ended_file"); n != 2 {
		t.Errorf("%d registrations ended with the file, want 2", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.hangUp(t, readAgain)
	expect()
	r.stop(t)
}

// TestDamagedPermanentFile: with a mistake in it the daemon does not begin.
func TestDamagedPermanentFile(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	dir := t.TempDir()
	write(t, dir+"/permanent.yaml", "- {program: 7}\n")
	p := nstest.StartCommand(t, command(t, Options{Dev: true, StateDir: dir}))
	if want := dir + `/permanent.yaml:1:3: unknown netid "": want udp, tcp, udp6, tcp6, local` + "\n"; p.Wait(t, patience) != 1 || p.Output() != want {
		t.Errorf("the daemon wrote %q, want %q", p.Output(), want)
	}
	if exists(dir+"/control.sock") || exists(dir+"/rpcbind.sock") || exists(dir+"/epmapper.sock") {
		t.Error("sockets are left")
	}
}

// TestSecondJournal: a journal is one daemon's, and the second is told whose.
func TestSecondJournal(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	r := startReloading(t, Options{})
	dir := t.TempDir()
	second := Options{Dev: true, StateDir: dir, ListenONC: []string{"127.0.0.1:1112"}, ListenDCE: []string{"127.0.0.1:1136"}, State: r.options.state()}
	p := nstest.StartCommand(t, command(t, second))
	status := p.Wait(t, patience)
	want := fmt.Sprintf("journal: %s: in use by another daemon (pid %d): stop it or choose --state\n", r.options.state(), r.PID())
	if status != 1 || p.Output() != want {
		t.Errorf("exit status %d, %q, want 1, %q", status, p.Output(), want)
	}
	if exists(second.control()) || exists(second.oncSocket()) || exists(second.dceSocket()) {
		t.Error("the second daemon left sockets behind")
	}
	answers(t, "udp4", "127.0.0.1:1111")
	second.State = inMemory
	s := startReady(t, command(t, second))
	answers(t, "udp4", "127.0.0.1:1112")
	answersDCE(t, "tcp", "127.0.0.1:1136")
	s.stop(t)
	r.stop(t)
}

// TestUnchecked: owners are believed, and what they register stays with nothing there.
func TestUnchecked(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	r := startReloading(t, Options{Liveness: "off", Grace: time.Second})
	l, err := r.client().Add(t.Context(), api.Addition{Endpoints: []endpoint.Document{
		{Dialect: "onc", Program: 7, Version: endpoint.Version{Major: 1}, NetID: "tcp", Address: "0.0.0.0", Port: 2000},
		{Dialect: "onc", Program: 7, Version: endpoint.Version{Major: 1}, NetID: "udp", Address: "192.0.2.1", Port: 2000},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range l.Endpoints {
		if d.Evidence != "unchecked" || d.Until != nil {
			t.Errorf("evidence %s until %v, want unchecked", d.Evidence, d.Until)
		}
	}
	// What a lease of a second outlives is not looked at.
	if _, err := r.client().Add(t.Context(), api.Addition{TTL: 2, Endpoints: []endpoint.Document{
		{Dialect: "onc", Program: 8, Version: endpoint.Version{Major: 1}, NetID: "tcp", Address: "0.0.0.0", Port: 2000},
	}}); err != nil {
		t.Fatal(err)
	}
	nstest.WaitFor(t, "the lease to end", patience, func() bool { return r.counter(t, "ended_lease") == 1 })
	if l, err = r.client().List(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range l.Endpoints {
		if d.Program == 7 {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d unchecked rows, want 2; the log:\n%s", n, r.Output())
	}
	line := regexp.MustCompile(`level=INFO msg="registration ended" program=8 .*evidence=lease why="its lease ended"`)
	nstest.WaitFor(t, "the log to tell of it", patience, func() bool { return line.MatchString(r.Output()) })
	r.stop(t)
}
