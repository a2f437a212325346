package dist_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/gate"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

const patience = 30 * time.Second

// A host is a systemd that runs in namespaces.
type host struct{ init *nstest.Process }

// bootHost starts systemd with this folder's units and the quaymaster of this tree.
func bootHost(t *testing.T) *host {
	t.Helper()
	nstest.Need(t, "systemctl", "nsenter", "setpriv", "go", "rpcinfo", "rpc.statd", "ss")
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		nstest.Unavailable(t, "systemd is not installed: apt-get install systemd")
	}
	binary := filepath.Join(t.TempDir(), "quaymaster")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/quaymaster").CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	dist, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nstest.Path(t, "sh"), "testdata/boot.sh", t.TempDir(), dist, binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
		UseCgroupFD: true,
		CgroupFD:    int(newCgroup(t).Fd()),
	}
	h := &host{nstest.StartCommand(t, cmd)}
	t.Cleanup(func() { h.init.Signal(syscall.SIGKILL) }) // SIGTERM would have it start anew
	nstest.WaitFor(t, "systemd to have started", patience, func() bool {
		out, _ := h.command("systemctl", "is-system-running").CombinedOutput()
		return string(out) == "running\n" || h.init.Ended()
	})
	if h.init.Ended() {
		nstest.Unavailable(t, "systemd does not run in namespaces here:\n%s", h.init.Output())
	}
	return h
}

// newCgroup returns a control group of the test's own, which is removed with it.
func newCgroup(t *testing.T) *os.File {
	t.Helper()
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		dir, err := os.MkdirTemp(fields[1], "quaymaster-test-")
		if err != nil {
			nstest.Unavailable(t, "no control group of our own: %v", err)
		}
		t.Cleanup(func() {
			nstest.WaitFor(t, dir+" to be empty", patience, func() bool { return removeGroups(dir) == nil })
		})
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	nstest.Unavailable(t, "no cgroup2 is mounted")
	return nil
}

// removeGroups removes a control group and those in it; their files go with them.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeGroups(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, os.Remove(dir))
}

// command returns a program of the host as a command.
func (h *host) command(name string, args ...string) *exec.Cmd {
	in := []string{"--target", fmt.Sprint(h.init.PID()), "--mount", "--pid", "--ipc", "--cgroup", "--root", "--wd", name}
	return exec.Command("nsenter", append(in, args...)...)
}

// run runs a program that must succeed and returns what it writes.
func (h *host) run(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := h.command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		status, _ := h.command("systemctl", "status", "--no-pager", "quaymaster.service").CombinedOutput()
		t.Fatalf("%s: %v\n%s\n%s\n%s", command, err, out, status, h.log())
	}
	return string(out)
}

func (h *host) log() string {
	out, _ := h.command("cat", "/tmp/log").CombinedOutput()
	return string(out)
}

// mapsEndpoints fails the test unless the endpoint mapper answers a bind over TCP, in both
// families, and over the local socket.
func (h *host) mapsEndpoints(t *testing.T) {
	t.Helper()
	bind := dcerpc.AppendBind(nil, dcerpc.Header{Label: ndr.LittleEndian, CallID: 1}, dcerpc.Bind{
		MaxXmitFrag: 4280, MaxRecvFrag: 4280, Contexts: []dcerpc.Context{{Abstract: epm.Interface, Transfers: []dcerpc.Syntax{dcerpc.NDR}}},
	})
	local := fmt.Sprintf("/proc/%d/root%s", h.init.PID(), daemon.SystemDCESocket)
	for _, a := range []struct{ network, address string }{{"tcp", "127.0.0.1:135"}, {"tcp", "[::1]:135"}, {"unix", local}} {
		conn, err := net.Dial(a.network, a.address)
		if err != nil {
			t.Errorf("the endpoint mapper: %v", err)
			continue
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		conn.Write(bind)
		b := make([]byte, dcerpc.HeaderSize)
		if _, err := io.ReadFull(conn, b); err != nil {
			t.Errorf("the endpoint mapper at %s: %v\n%s", a.address, err, h.log())
		} else if head, err := dcerpc.ParseHeader(b); err != nil || head.PType != dcerpc.PTypeBindAck {
			t.Errorf("the endpoint mapper at %s answers a bind with %v, %v", a.address, head.PType, err)
		}
	}
}

// somaxconn is what the kernel makes of a larger backlog, and of ours at most.
func somaxconn(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(min(n, 4096))
}

// TestService has a real systemd start the daemon by its units, and servers and
// clients use it, under all that the service forbids.
func TestService(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	h := bootHost(t)
	h.run(t, "systemd-sysusers")
	h.run(t, "systemctl enable quaymaster.service")
	h.run(t, "systemctl start rpcbind.socket")
	if got := h.run(t, "systemctl show --property=Id --value rpcbind.socket rpcbind.service"); got != "quaymaster.socket\n\nquaymaster.service\n" {
		t.Errorf("rpcbind's units are %q", got)
	}

	h.run(t, "rpcinfo -T tcp 127.0.0.1 100000 4") // starts the service
	h.run(t, "rpcinfo -T udp6 ::1 100000 3")
	h.mapsEndpoints(t)
	if got := h.run(t, "ss -Hltn ( sport = :111 or sport = :135 )"); len(strings.Split(strings.TrimSpace(got), "\n")) != 4 {
		t.Errorf("listening are\n%s\nwant both ports in both families", got)
	} else {
		for line := range strings.Lines(got) {
			if f := strings.Fields(line); len(f) < 4 || f[2] != somaxconn(t) {
				t.Errorf("%swants room for %s connections that wait", line, somaxconn(t))
			}
		}
	}
	h.run(t, "systemctl start rpc-statd.service") // which requires rpcbind.socket, and registers as user statd
	if got := h.run(t, "rpcinfo -s"); !strings.Contains(got, "status") {
		t.Errorf("a server registered; rpcinfo -s:\n%s", got)
	}
	if got := h.run(t, "quaymaster endpoints"); !strings.Contains(got, "statd") {
		t.Errorf("a server registered; endpoints:\n%s", got)
	}
	const mainPID = "systemctl show --property=MainPID --value quaymaster.service"
	pid := strings.TrimSpace(h.run(t, mainPID))
	status := h.run(t, "cat /proc/"+pid+"/status")
	for _, want := range []string{"CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, "\n"+want+"\n") {
			t.Errorf("the daemon lacks %q:\n%s", want, status)
		}
	}

	h.run(t, "touch /run/quaymaster/kept /var/lib/quaymaster/kept")
	h.run(t, "kill -9 "+pid)
	nstest.WaitFor(t, "the daemon to be started again", patience, func() bool {
		now := strings.TrimSpace(h.run(t, mainPID))
		return now != pid && now != "0"
	})
	h.run(t, "systemctl restart quaymaster.service")
	h.run(t, "ls /run/quaymaster/kept /var/lib/quaymaster/kept")
	h.run(t, "rpcinfo -T tcp 127.0.0.1 100000 4")
	h.mapsEndpoints(t)
	h.run(t, "systemctl stop quaymaster.service") // and not its sockets, which start it again
	h.mapsEndpoints(t)
	h.run(t, "systemctl stop quaymaster.socket quaymaster.service")
	if log := h.log(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the daemon complains:\n%s", log)
	}
}

// gateFile is a gate.yaml of a namespace that has these interfaces.
const gateFile = `client_side: [eth1]
server_side: [eth0]
forward: own
follow:
  portmapper: {clients: [10.1.0.0/16], servers: [10.3.0.9]}
  ftp: {clients: [10.1.0.0/16], servers: [10.3.0.9]}
`

// TestGateService has a real systemd start a gate by its unit, under all that it forbids.
func TestGateService(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "nft", "ip")
	for i, name := range []string{"eth0", "eth1"} {
		if out, err := exec.Command("ip", "link", "add", name, "type", "veth", "peer", "name", fmt.Sprintf("peer%d", i)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, end := range []string{name, fmt.Sprintf("peer%d", i)} {
			if out, err := exec.Command("ip", "link", "set", end, "up").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	if got, want := filepath.Dir(gate.DefaultState), filepath.Dir(api.SystemGate); got != want {
		t.Errorf("the gate remembers in %s, which is not its unit's %s", got, want)
	}
	h := bootHost(t)
	h.run(t, "systemd-sysusers")
	h.run(t, "mkdir -p /etc/quaymaster")
	write := h.command("tee", "/etc/quaymaster/gate.yaml")
	write.Stdin = strings.NewReader(gateFile)
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	before := rulesNow(t)
	h.run(t, "systemctl start quaymaster-gate.service")
	const mainPID = "systemctl show --property=MainPID --value quaymaster-gate.service"
	pid := strings.TrimSpace(h.run(t, mainPID))
	status := h.run(t, "cat /proc/"+pid+"/status")
	for _, want := range []string{"CapPrm:\t0000000000003400", "CapEff:\t0000000000003400", "CapBnd:\t0000000000003400", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, "\n"+want+"\n") {
			t.Errorf("the gate lacks %q:\n%s", want, status)
		}
	}
	if strings.Contains(status, "\nUid:\t0\t") {
		t.Errorf("the gate is root:\n%s", status)
	}
	const none = "0 pinholes, 0 control sessions; nothing refused in the last hour"
	if got := h.run(t, "quaymaster gate pinholes"); !strings.Contains(got, none) {
		t.Errorf("pinholes:\n%s", got)
	}

	h.run(t, "sed -i s/own/mark/ /etc/quaymaster/gate.yaml")
	h.run(t, "systemctl reload quaymaster-gate.service")
	nstest.WaitFor(t, "the file to be read again", patience, func() bool { return strings.Contains(h.log(), "policy read again") })
	if rules := rulesNow(t); strings.Contains(rules, "policy drop") {
		t.Errorf("after the reload the gate decides still:\n%s", rules)
	}

	const pinhole = "10.1.0.20 . 10.3.0.9 . tcp . 2050 "
	if out, err := exec.Command("nft", "add element inet "+gate.Table+" multi4 { "+pinhole+" timeout 1h }").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.run(t, "kill -9 "+pid)
	nstest.WaitFor(t, "the gate to be started again", patience, func() bool {
		now := strings.TrimSpace(h.run(t, mainPID))
		out, _ := h.command("quaymaster", "gate", "pinholes").CombinedOutput()
		return now != pid && now != "0" && strings.Contains(string(out), "tcp 2050")
	})
	h.run(t, "systemctl restart quaymaster-gate.service")
	if got := h.run(t, "quaymaster gate pinholes"); !strings.Contains(got, "tcp 2050") {
		t.Errorf("a pinhole did not outlive a restart:\n%s", got)
	}
	h.run(t, "systemctl stop quaymaster-gate.service")
	if !strings.Contains(rulesNow(t), pinhole) {
		t.Error("a pinhole did not outlive the stop")
	}
	h.run(t, "quaymaster gate down")
	if after := rulesNow(t); after != before {
		t.Errorf("before the gate:\n%s\nafterwards:\n%s", before, after)
	}
	if log := h.log(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the gate complains:\n%s", log)
	}
}

// rulesNow are rules and routes of the test's namespace.
func rulesNow(t *testing.T) string {
	t.Helper()
	var all []string
	for _, command := range []string{"nft list ruleset", "ip rule", "ip -6 rule", "ip route show table all", "cat /proc/sys/net/ipv4/ip_early_demux"} {
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		all = append(all, string(out))
	}
	return strings.Join(all, "")
}
