package gate

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// gateVar has TestGateProcess be a gate, with the policy of a file.
const gateVar = "GATE_POLICY"

// TestGateProcess is the process that others start and kill.
func TestGateProcess(t *testing.T) {
	file := os.Getenv(gateVar)
	if file == "" {
		return // not called for
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if err := runProcess(ctx, readPolicy(t, string(text))); err != nil {
		t.Fatal(err)
	}
}

// runProcess is the life of a gate.
func runProcess(ctx context.Context, p *Policy) error {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	s := &System{Policy: p, Log: log}
	if err := s.Up(ctx); err != nil {
		return err
	}
	h, err := NewPinholes(p, log)
	if err != nil {
		return err
	}
	s.Mended = func(ctx context.Context) {
		if err := h.Restore(ctx); err != nil {
			log.Error("not restored", "err", err)
		}
	}
	g := New(p, h, log)
	if err := g.Listen(); err != nil {
		return err
	}
	fmt.Println("the gate is ready")
	done := make(chan error, 3)
	for _, run := range []func(context.Context) error{s.Watch, h.Run, g.Run} {
		go func() { done <- run(ctx) }()
	}
	for range 3 {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// startProcess starts a gate in a process of its own.
func startProcess(t testing.TB, text string) *nstest.Process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestGateProcess$", "-test.v")
	cmd.Env = append(os.Environ(), gateVar+"="+file)
	return nstest.StartCommand(t, cmd)
}

// startGateProcess is startProcess for a gate that starts.
func startGateProcess(t testing.TB, text string) *nstest.Process {
	t.Helper()
	p := startProcess(t, text)
	nstest.WaitFor(t, "the gate to start", patience, func() bool {
		if p.Ended() {
			t.Fatalf("the gate has ended:\n%s", p.Output())
		}
		return strings.Contains(p.Output(), "the gate is ready")
	})
	return p
}

// A transfer is a client that takes a few seconds.
type transfer struct {
	cmd  *exec.Cmd
	out  string
	said bytes.Buffer
}

// startTransfer starts one by curl, and returns when data flows.
func startTransfer(t testing.TB, args ...string) *transfer {
	t.Helper()
	return startClient(t, "curl", append([]string{"-gsS", "--max-time", "20", "-o", "OUT"}, args...)...)
}

// startClient is startTransfer for a client that writes to the file OUT.
func startClient(t testing.TB, name string, args ...string) *transfer {
	t.Helper()
	f := &transfer{out: filepath.Join(t.TempDir(), "out")}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "OUT", f.out)
	}
	f.cmd = on(t, "c0", name, args...)
	f.cmd.Stdout, f.cmd.Stderr = &f.said, &f.said
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	nstest.WaitFor(t, "data", patience, func() bool {
		s, err := os.Stat(f.out)
		return err == nil && s.Size() > 0
	})
	return f
}

// goesOn fails the test if the transfer has ended.
func (f *transfer) goesOn(t testing.TB) {
	t.Helper()
	if s, err := os.Stat(f.out); err != nil || s.Size() >= int64(len(bulk)) {
		t.Fatalf("the transfer was too fast to be disturbed: %v, %v", s, err)
	}
}

// noLastWord is the exit status of curl that has all the data, and not the reply that says so.
const noLastWord = 56

// end waits for its end, which has to be a good one; without the control channel the last word is missing.
func (f *transfer) end(t testing.TB) {
	t.Helper()
	err := f.cmd.Wait()
	if f.cmd.ProcessState.ExitCode() == noLastWord {
		err = nil
	}
	if got, readErr := os.ReadFile(f.out); err != nil || readErr != nil || !bytes.Equal(got, bulk) {
		t.Errorf("transfer: %v, %v, %d bytes of %d, said %q", err, readErr, len(got), len(bulk), f.said.String())
	}
}

// A gate that is killed leaves running transfers alone, lets nothing new through, and one that is started after it works at once.
func TestKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	startServers(t)
	const text = "forward: own\n" + edgePolicy
	gate := startGateProcess(t, text)
	nft(t, "", "add", "element", "inet", Table, "multi4", "{ 10.1.0.2 . 10.3.0.2 . tcp . 50000 timeout 1h }")
	for _, way := range [][]string{{"ftp://10.3.0.2/bulk"}, {"-P", "-", "ftp://[fd00:3::2]/bulk"}} {
		running := startTransfer(t, way...)
		gate.Signal(syscall.SIGKILL)
		gate.Wait(t, patience)
		running.goesOn(t)
		for _, f := range append(fetches("10.3.0.2", false)[:2], fetches("10.3.0.2", false)[7]) {
			if f.run(t, time.Second) == nil {
				t.Errorf("%s works without a gate", f.name)
			}
		}
		running.end(t)
		gate = startGateProcess(t, text)
		for _, f := range fetches("10.3.0.2", false) {
			if err := f.run(t, patience); err != nil {
				t.Errorf("%s after a restart: %v", f.name, err)
			}
		}
	}
	if n := elementsOf(t, "multi4"); n != 1 {
		t.Errorf("%d pinholes for any number of connections are open, want 1", n)
	}
	if !strings.Contains(gate.Output(), "pinholes of an earlier gate taken over") {
		t.Errorf("the gate does not say that it took over:\n%s", gate.Output())
	}
	// One that is asked to end does so at once, and leaves data alone too.
	running := startTransfer(t, "ftp://10.3.0.2/bulk")
	gate.Signal(syscall.SIGTERM)
	if status := gate.Wait(t, patience); status != 0 {
		t.Errorf("exit status %d:\n%s", status, gate.Output())
	}
	running.goesOn(t)
	running.end(t)
}

// Clients that log in again when the control channel is gone end as if nothing had happened, with a gate that was killed and started during a transfer.
func TestKilledAndStarted(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	startServers(t)
	const text = "forward: own\n" + edgePolicy
	gate := startGateProcess(t, text)
	lftp := "set net:timeout 5; set net:reconnect-interval-base 1; open ftp://10.3.0.2; get bulk -o OUT"
	for _, client := range [][]string{
		{"lftp", "-c", lftp},
		{"lftp", "-c", "set ftp:passive-mode false; " + lftp},
		{"curl", "-gsS", "--max-time", "20", "--retry", "2", "--retry-all-errors", "--continue-at", "-", "-o", "OUT", "ftp://10.3.0.2/bulk"},
	} {
		running := startClient(t, client[0], client[1:]...)
		gate.Signal(syscall.SIGKILL)
		gate.Wait(t, patience)
		running.goesOn(t)
		gate = startGateProcess(t, text)
		err := running.cmd.Wait()
		if got, readErr := os.ReadFile(running.out); err != nil || readErr != nil || !bytes.Equal(got, bulk) {
			t.Errorf("%s: %v, %v, %d bytes of %d, said %q", client, err, readErr, len(got), len(bulk), running.said.String())
		}
	}
}

// A second gate is refused, and told who is in its place.
func TestSecond(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	gate := startGateProcess(t, "forward: own\n"+edgePolicy)
	second := startProcess(t, "forward: own\n"+edgePolicy)
	want := fmt.Sprintf("gate: 127.0.0.1:30111/tcp: address already in use by gate.test (pid %d): stop it", gate.PID())
	if status := second.Wait(t, patience); status == 0 || !strings.Contains(second.Output(), want) {
		t.Errorf("a second gate: exit status %d, want %q:\n%s", status, want, second.Output())
	}
}

// What somebody else removes is put back, and what runs goes on beside the host's own rules.
func TestDisturbed(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	startServers(t)
	m := modes[1]
	m.prepare(t, readPolicy(t, m.text+edgePolicy))
	gate := startGateProcess(t, m.text+edgePolicy)
	running := startTransfer(t, "ftp://10.3.0.2/bulk")
	for i, harm := range []string{"nft delete table inet " + Table, "ip rule delete priority 30111", "nft flush chain inet " + Table + " pinholes"} {
		command(t, "sh", "-c", harm)
		nstest.WaitFor(t, "the end of "+harm, patience, func() bool { return strings.Count(gate.Output(), "put back") > i })
		if i == 0 {
			running.goesOn(t)
			running.end(t)
		}
		for _, f := range fetches("10.3.0.2", false) {
			if err := f.run(t, patience); err != nil {
				t.Errorf("%s after %s: %v", f.name, harm, err)
			}
		}
	}
}

// Where the gate is the one that drops, somebody who removes all rules is an accident for what runs, and no more: the
// kernel meanwhile does not follow connections, and what it then finds out of place has to get through all the same.
func TestFlushed(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	startServers(t)
	gate := startGateProcess(t, "forward: own\n"+edgePolicy)
	for i := range 2 {
		running := startTransfer(t, "ftp://10.3.0.2/bulk")
		command(t, "nft", "flush", "ruleset")
		nstest.WaitFor(t, "the rules to be back", patience, func() bool { return strings.Count(gate.Output(), "put back") > i })
		running.goesOn(t)
		running.end(t)
	}
	for _, f := range fetches("10.3.0.2", false) {
		if err := f.run(t, patience); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

// The program itself, as a user that has no more rights than it needs, lets all clients through.
func TestProgram(t *testing.T) {
	program := buildQuaymaster(t)
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	startServers(t)
	file := filepath.Join(t.TempDir(), "gate.yaml")
	for _, text := range []string{"", "nat: masquerade\n"} {
		if err := os.WriteFile(file, []byte("forward: own\n"+text+edgePolicy), 0o644); err != nil {
			t.Fatal(err)
		}
		gate := nstest.Start(t, program, "gate", "--user", "nobody", "--config", file)
		nstest.WaitFor(t, "the gate to start", patience, func() bool {
			if gate.Ended() {
				t.Fatalf("the gate has ended:\n%s", gate.Output())
			}
			return strings.Contains(gate.Output(), "msg=following")
		})
		for _, f := range append(fetches("10.3.0.2", false), fetches("[fd00:3::2]", true)...) {
			if err := f.run(t, patience); err != nil {
				t.Errorf("%s, %q: %v", f.name, text, err)
			}
		}
		gate.Signal(os.Interrupt)
		if status := gate.Wait(t, patience); status != 0 {
			t.Errorf("exit status %d:\n%s", status, gate.Output())
		}
	}
}
