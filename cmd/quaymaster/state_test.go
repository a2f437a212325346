//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// startServe starts the daemon with these flags and returns when it answers. Other than
// startQuaymaster it can be called again in the same test.
func startServe(t *testing.T, flags ...string) *nstest.Process {
	t.Helper()
	p := nstest.Start(t, "quaymaster", append([]string{"serve"}, flags...)...)
	nstest.WaitFor(t, "the daemon to answer", startTime, func() bool {
		if p.Ended() {
			t.Fatalf("quaymaster serve ended before it answered; it wrote:\n%s", p.Output())
		}
		c, err := dialMapper("unix")
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.call(rpcbind.Version4, rpcbind.ProcNull, nil)
		return err == nil
	})
	return p
}

// elsewhere is a process in a network namespace of its own.
func elsewhere() *syscall.SysProcAttr { return &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET} }

// TestOtherNamespace: of a process in another network namespace no socket can be seen.
func TestOtherNamespace(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const grace = time.Second
	startServe(t, "--grace", grace.String())
	w := startWatch(t)
	const stays, tool, foreign = userProgram, userProgram + 1, userProgram + 2

	// A server of a container, say. Nothing listens at these ports here.
	server := startPeer(t, elsewhere())
	for _, netid := range everyNetID {
		server.register(t, "unix", stays, netid)
	}
	// An address that is not this host's, from a process that goes on.
	other := startPeer(t, nil)
	mustAnswer(t, "true", other.do(t, "set unix %d 1 tcp 192.0.2.7.39.16", foreign))
	rows := append(listed(t, stays), onlyRow(t, foreign, endpoint.Process))
	for i, d := range rows {
		pid := server.PID()
		if d.Program == foreign {
			pid = other.PID()
		}
		if d.Evidence != endpoint.Process.String() || int(d.PID) != pid {
			t.Errorf("row %d is %+v, want the evidence process %d", i, d, pid)
		}
	}
	if len(rows) != len(everyNetID)+1 {
		t.Errorf("registered are %+v", rows)
	}

	// Tools register and end, whether they are in another namespace or mean another host.
	for i, attr := range []*syscall.SysProcAttr{elsewhere(), nil} {
		program := tool + uint32(i)*10
		p := startPeer(t, attr)
		asked := time.Now()
		mustAnswer(t, "true", p.do(t, "set unix %d 1 udp 192.0.2.8.39.16", program))
		kill(t, p.Process)
		w.wait(t, "the tool's row to become a lease", func(a arrival) bool {
			return a.Event.Event == registry.Renewed.String() && a.Endpoint.Program == program
		})
		d := onlyRow(t, program, endpoint.Lease)
		if d.Until == nil || d.Until.Sub(asked) < registry.DefaultLease-time.Minute || d.Until.Sub(asked) > registry.DefaultLease+time.Minute {
			t.Errorf("the tool's row is %+v, want a lease of about %v from %v on", d, registry.DefaultLease, asked)
		}
	}

	nstest.WaitFor(t, "the grace to be over, in which a process may be a tool", eventTime, func() bool {
		return !slices.ContainsFunc(rows, func(d endpoint.Document) bool { return time.Since(d.Since) < 2*grace })
	})
	if now := append(listed(t, stays), listed(t, foreign)...); !slices.EqualFunc(now, rows, sameRow) {
		t.Errorf("registered are\n%+v, want\n%+v", now, rows)
	}
	for _, p := range []*peer{server, other} {
		killed := time.Now()
		kill(t, p.Process)
		for _, d := range rows {
			if int(d.PID) == p.PID() {
				w.mustEnd(t, d, killed, registry.ProcessOver)
			}
		}
	}
}

// TestAddWithReason: what "endpoints add" can have a registration stand on.
func TestAddWithReason(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	p := startServe(t)
	w := startWatch(t)
	number := func(i int) string { return fmt.Sprint(userProgram + i) }

	sleeper := nstest.Start(t, "sleep", "1000")
	add(t, "onc", number(1), "1", "tcp", "127.0.0.1:4711", "--pid", fmt.Sprint(sleeper.PID()))
	d := onlyRow(t, userProgram+1, endpoint.Process)
	if int(d.PID) != sleeper.PID() {
		t.Errorf("registered is %+v, want pid %d", d, sleeper.PID())
	}
	r := quaymasterAs(t, alice, "endpoints", "add", "onc", number(2), "1", "tcp", "127.0.0.1:4711", "--pid", fmt.Sprint(sleeper.PID()))
	if process := fmt.Sprintf("process %d ", sleeper.PID()); r.Exit != 1 || !strings.Contains(r.Stderr, process) || !strings.Contains(r.Stderr, "another user's") {
		t.Errorf("with root's process as alice: %+v, want 1 and whose %sis", r, process)
	}
	killed := time.Now()
	kill(t, sleeper)
	w.mustEnd(t, d, killed, registry.ProcessOver)
	mustNotBe(t, userProgram+2)
	r = run(t, "quaymaster", "endpoints", "add", "onc", number(2), "1", "tcp", "127.0.0.1:4711", "--pid", fmt.Sprint(sleeper.PID()))
	if r.Exit != 1 || !strings.Contains(r.Stderr, fmt.Sprintf("process %d", sleeper.PID())) {
		t.Errorf("with a process that has ended: %+v, want 1 and its number", r)
	}

	added := time.Now()
	add(t, "onc", number(3), "1", "tcp", "127.0.0.1:4711", "--ttl", "2s")
	d = onlyRow(t, userProgram+3, endpoint.Lease)
	a := w.waitEnd(t, d)
	if took := a.at.Sub(added); took < 2*time.Second || took > 2*time.Second+goneAfter || a.Why != registry.LeaseOver.String() {
		t.Errorf("a lease of 2s ended after %v: %q", took, a.Why)
	}

	r = quaymasterAs(t, alice, "endpoints", "add", "onc", number(4), "1", "tcp", "127.0.0.1:4711", "--permanent")
	if want := "permanent registrations are for root"; r.Exit != 1 || !strings.Contains(r.Stderr, want) {
		t.Errorf("--permanent as alice: %+v, want 1 and %q", r, want)
	}
	mustNotBe(t, userProgram+4)
	add(t, "onc", number(4), "1", "tcp", "127.0.0.1:4711", "--permanent", "--annotation", "kept")
	d = onlyRow(t, userProgram+4, endpoint.Permanent)
	kill(t, p)
	p = startServe(t)
	if now := onlyRow(t, userProgram+4, endpoint.Permanent); !sameRow(now, d) {
		t.Errorf("after a restart there is %+v, want %+v", now, d)
	}
	kill(t, p)
	if err := os.Remove(daemon.SystemState); err != nil {
		t.Fatal(err)
	}
	startServe(t)
	if now := onlyRow(t, userProgram+4, endpoint.Permanent); !sameRow(now, d) {
		t.Errorf("without the journal there is %+v, want %+v", now, d)
	}
	r = quaymasterAs(t, alice, "endpoints", "remove", d.ID)
	if r.Exit != 1 || !strings.Contains(r.Stderr, "only its owner or root") {
		t.Errorf("remove as alice: %+v, want 1 and who may", r)
	}
	if r := run(t, "quaymaster", "endpoints", "remove", d.ID); r.Exit != 0 {
		t.Errorf("remove = %+v", r)
	}
	if text, err := os.ReadFile(daemon.SystemPermanentFile); err != nil || bytes.Contains(text, []byte(d.ID)) {
		t.Errorf("%s is after the removal:\n%s%v", daemon.SystemPermanentFile, text, err)
	}
}

// TestWarmStart moves a host from rpcbind -w: what is alive stays, and what is dead goes.
func TestWarmStart(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t) // rpcbind changes to the user _rpc
	nstest.Need(t, "rpcbind")
	const dir = "/run/rpcbind" // where Debian's rpcbind keeps its files
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	nstest.Own(t, "_rpc", dir)
	const alive, dead = userProgram, userProgram + 1
	living, dying := startPeer(t, nil), startPeer(t, nil)
	original := nstest.Start(t, "rpcbind", "-f", "-w")
	nstest.WaitFor(t, "rpcbind to answer", startTime, func() bool {
		c, err := dialMapper("unix")
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.call(rpcbind.Version4, rpcbind.ProcNull, nil)
		return err == nil
	})
	for _, netid := range everyNetID {
		living.register(t, "unix", alive, netid)
		dying.register(t, "unix", dead, netid)
	}
	original.Signal(syscall.SIGTERM)
	original.Wait(t, startTime)
	kill(t, dying.Process)
	files, err := filepath.Glob(dir + "/*.xdr")
	if err != nil || len(files) != 2 {
		t.Fatalf("rpcbind -w left %q, %v; it wrote:\n%s", files, err, original.Output())
	}

	p := startServe(t, "--grace", "1s")
	w := startWatch(t)
	add(t, "--from-warm-start", dir)
	rows, lost := listed(t, alive), listed(t, dead)
	if len(rows) != len(everyNetID) || len(lost) != len(everyNetID) {
		t.Fatalf("taken over are\n%+v\n%+v", rows, lost)
	}
	stays(t, w, rows)
	for _, d := range lost {
		if a := w.waitEnd(t, d); a.Why != registry.NeverThere.String() {
			t.Errorf("%s ended because %q", describe(&d), a.Why)
		}
	}
	if r := run(t, "quaymaster", "endpoints", "add", "--from-warm-start", t.TempDir()); r.Exit != 1 || !strings.Contains(r.Stderr, "rpcbind.xdr") {
		t.Errorf("add --from-warm-start of an empty folder = %+v", r)
	}
	mustAnswer(t, "true", living.do(t, "unset unix %d 1 tcp", alive))
	if p.Ended() {
		t.Error("the daemon has ended")
	}
}

// TestDamagedJournal: what cannot be read, or is of another boot, is moved aside.
func TestDamagedJournal(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const bad = daemon.SystemState + ".bad"
	server := startPeer(t, nil)
	p := startServe(t)
	server.register(t, "unix", userProgram, "tcp")
	rows := listed(t)
	if len(rows) != 1 {
		t.Fatalf("registered are %+v", rows)
	}
	for _, damage := range []struct {
		name, says string
		do         func()
	}{
		{"garbage", "cannot be read", func() {
			writeFile(t, daemon.SystemState, bytes.Repeat([]byte("ahoy"), 1<<14))
		}},
		{"truncated", "cannot be read", func() {
			text := mustRead(t, daemon.SystemState)
			writeFile(t, daemon.SystemState, text[:len(text)/2-100])
		}},
		{"one bit", "cannot be read", func() {
			text := mustRead(t, daemon.SystemState)
			i := bytes.LastIndex(text, bytes.TrimSpace(mustRead(t, bootFile)))
			if i < 0 {
				t.Fatal("the boot is not in the journal")
			}
			text[i-len("boot")-1] ^= 0x40 // in front of it
			writeFile(t, daemon.SystemState, text)
		}},
		{"another boot", "another boot", func() {
			nstest.File(t, bootFile, "00000000-0000-4000-8000-000000000001\n")
		}},
	} {
		os.Remove(bad) // of the one before, if any
		kill(t, p)
		damage.do()
		was := mustRead(t, daemon.SystemState)
		p = startServe(t)
		if rows := listed(t); len(rows) > 0 {
			t.Errorf("%s: registered are %+v", damage.name, rows)
		}
		if kept, err := os.ReadFile(bad); err != nil || !bytes.Equal(kept, was) {
			t.Errorf("%s: %s has %d bytes (%v), want the %d of the journal", damage.name, bad, len(kept), err, len(was))
		}
		nstest.WaitFor(t, fmt.Sprintf("%s: the log to have %q and %s", damage.name, damage.says, bad), eventTime, func() bool {
			log := p.Output()
			return strings.Contains(log, damage.says) && strings.Contains(log, bad)
		})
		// The new journal is as good as any.
		server.register(t, "unix", userProgram, "tcp")
		rows := listed(t)
		kill(t, p)
		p = startServe(t)
		if now := listed(t); len(now) != 1 || !slices.EqualFunc(now, rows, sameRow) {
			t.Errorf("%s: after another restart there are\n%+v, want\n%+v", damage.name, now, rows)
		}
	}
}

// bootFile tells which boot of the host this is.
const bootFile = "/proc/sys/kernel/random/boot_id"

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSecondDaemon: two daemons do not share a journal.
func TestSecondDaemon(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const state = "/run/shared.db"
	first := startServe(t, "--state", state)
	server := startPeer(t, nil)
	server.register(t, "unix", userProgram, "tcp")
	rows := listed(t)
	r := run(t, "quaymaster", "serve", "--state", state, "--listen-onc", "none", "--onc-socket", "/run/second.sock", "--listen-dce", "none", "--dce-socket", "/run/second-dce.sock", "--control", "/run/second-control.sock")
	if want := fmt.Sprintf("pid %d", first.PID()); r.Exit != 1 || !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, state) {
		t.Errorf("the second daemon = %+v, want 1, %q and %s", r, want, state)
	}
	if now := listed(t); len(now) != 1 || !slices.EqualFunc(now, rows, sameRow) {
		t.Errorf("the first has\n%+v, want\n%+v", now, rows)
	}
	kill(t, first)
	startServe(t, "--state", state)
	if now := listed(t); len(now) != 1 || !slices.EqualFunc(now, rows, sameRow) {
		t.Errorf("after a restart there are\n%+v, want\n%+v", now, rows)
	}
}

// TestStateInMemory: no journal, and nothing of the run before.
func TestStateInMemory(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	p := startServe(t, "--state", "memory")
	server := startPeer(t, nil)
	server.register(t, "unix", userProgram, "tcp")
	onlyRow(t, userProgram, endpoint.Listening)
	for _, path := range []string{daemon.SystemState, "memory"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	kill(t, p)
	startServe(t, "--state", "memory")
	if rows := listed(t); len(rows) > 0 {
		t.Errorf("after a restart there are %+v", rows)
	}
}

// TestFullDisk: what cannot be kept for ever is not registered, and a journal that cannot be
// written stops nobody.
func TestFullDisk(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const dir, size = "/run/small", 256 << 10
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	const permanent, state, ballast = dir + "/permanent.yaml", dir + "/registry.db", dir + "/ballast"
	flags := []string{"--permanent-file", permanent, "--state", state}
	p := startServe(t, flags...)
	add(t, "onc", fmt.Sprint(userProgram), "1", "tcp", "127.0.0.1:4711", "--permanent")
	before, err := os.ReadFile(permanent)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, ballast)

	one := []string{"onc", fmt.Sprint(userProgram + 1), "1", "tcp", "127.0.0.1:4711", "--permanent"}
	r := run(t, "quaymaster", append([]string{"endpoints", "add"}, one...)...)
	if r.Exit != 1 || !strings.Contains(r.Stderr, "no space left") {
		t.Errorf("--permanent on a full disk = %+v, want 1 and the reason", r)
	}
	mustNotBe(t, userProgram+1)
	if after, err := os.ReadFile(permanent); err != nil || !bytes.Equal(after, before) {
		t.Errorf("%s is now\n%s%v, want\n%s", permanent, after, err, before)
	}
	// Enough of them that no free page of the journal is left.
	server := startPeer(t, nil)
	port := atoi(t, server.do(t, "listen tcp4 0.0.0.0:0"))
	const many = 500
	mustAnswer(t, fmt.Sprint(many), server.do(t, "many %d %d tcp %s", userProgram+1000, many, universal("0.0.0.0", port)))
	nstest.WaitFor(t, "a line that the journal cannot be written", eventTime, func() bool { return strings.Contains(p.Output(), "not kept for a restart") })

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	nstest.WaitFor(t, "the journal to be written again", eventTime, func() bool { return strings.Contains(p.Output(), "journal written again") })
	add(t, one...)
	rows := listed(t)
	kill(t, p)
	startServe(t, flags...)
	now := listed(t)
	byID := func(a, b endpoint.Document) int { return strings.Compare(a.ID, b.ID) } // permanent ones come first after a start
	slices.SortFunc(now, byID)
	slices.SortFunc(rows, byID)
	if len(now) != many+2 || !slices.EqualFunc(now, rows, sameRow) {
		t.Errorf("after a restart there are %d rows, want the %d from before", len(now), len(rows))
	}
}

// fill writes a file until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); err != nil {
			if !strings.Contains(err.Error(), "no space left") {
				t.Fatal(err)
			}
			return
		}
	}
}
