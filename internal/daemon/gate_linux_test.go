package daemon

import (
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

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/gate"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

// gateVar makes the test binary a gate: the path of a gate.yaml. gateUserVar is the account that it becomes.
const (
	gateVar     = "DAEMON_TEST_GATE"
	gateUserVar = "DAEMON_TEST_GATE_USER"
)

// runGate does what the verb gate does.
func runGate(file string) error {
	p, err := LoadGate(file, os.Geteuid())
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o := GateOptions{Policy: p, User: os.Getenv(gateUserVar)}
	return RunGate(ctx, o, Environment{NotifySocket: os.Getenv("NOTIFY_SOCKET")}, slog.New(slog.NewTextHandler(os.Stderr, nil)), nil, func() {})
}

const gateFile = `client_side: [eth1]
server_side: [eth0]
follow:
  portmapper: {clients: [10.1.0.0/16], servers: [10.3.0.9]}
`

// gateCommand returns a gate as a command, of a host that is fit for it.
func gateCommand(t *testing.T, user string) *exec.Cmd {
	t.Helper()
	nstest.Need(t, "nft")
	file := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(file, []byte(gateFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), gateVar+"="+file, gateUserVar+"="+user)
	return cmd
}

// A gate that root starts becomes another user, with no more rights than it needs, and yet repairs and removes all.
func TestGateOfAnAccount(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	cmd := gateCommand(t, "nobody")
	if err := os.Chmod(filepath.Dir(strings.TrimPrefix(cmd.Env[len(cmd.Env)-2], gateVar+"=")), 0o755); err != nil {
		t.Fatal(err)
	}
	s := startReady(t, cmd)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000003400", "CapBnd:\t0000000000003400", "CapAmb:\t0000000000003400", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), "\n"+want+"\n") {
			t.Errorf("the gate lacks %q:\n%s", want, status)
		}
	}
	if _, err := api.NewClient(api.SystemGate).Pinholes(t.Context()); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("nft", "delete", "table", "inet", gate.Table).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	nstest.WaitFor(t, "the table to be back", patience, func() bool {
		return exec.Command("nft", "list", "chain", "inet", gate.Table, "pinholes").Run() == nil
	})
	s.stop(t)
	if out, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("the gate left behind: %v\n%s", err, out)
	}
	for _, path := range []string{api.SystemGate, gate.DefaultState} {
		if exists(path) {
			t.Errorf("the gate left %s behind", path)
		}
	}
}

// What fails half way leaves nothing behind either.
func TestGateFails(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	cmd := gateCommand(t, "")
	ln := listen(t, "udp4", "127.0.0.1:111")
	p := nstest.StartCommand(t, cmd)
	if status := p.Wait(t, patience); status != 1 || !strings.Contains(p.Output(), "127.0.0.1:111 udp is in use, and has to be free: ") {
		t.Errorf("exit status %d, want 1, and that the port is in use:\n%s", status, p.Output())
	}
	if out, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err != nil || len(out) > 0 || exists(gate.DefaultState) || exists(api.SystemGate) {
		t.Errorf("the gate left behind: %v\n%s", err, out)
	}
	letGo(ln)
	s := startReady(t, gateCommand(t, ""))
	s.stop(t)
}
