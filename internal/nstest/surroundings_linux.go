package nstest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mustBeInside keeps what changes mounts and interfaces away from the host.
func mustBeInside(t testing.TB) {
	t.Helper()
	if os.Getenv(stageVar) != stageTest {
		t.Fatal("nstest: this test is not in its namespaces: call Inside first")
	}
}

// TmpFS mounts an empty tmpfs over a folder, which must exist on the host, and makes folders in
// it: TmpFS(t, "/var/lib/nfs", "sm", "sm.bak").
func TmpFS(t testing.TB, dir string, inner ...string) {
	t.Helper()
	mustBeInside(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		t.Fatalf("mounting a tmpfs on %s: %v", dir, err)
	}
	for _, name := range inner {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// File shows the test, and what it starts, a file with this content at path, where the host
// must have a file.
func File(t testing.TB, path, content string) {
	t.Helper()
	mustBeInside(t)
	ours := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(ours, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(ours, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mounting over %s: %v", path, err)
	}
	t.Cleanup(func() { // or the temporary folder could not be removed
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", path, err)
		}
	})
}

// Veth adds an Ethernet interface that is up and has the addresses, each written as a prefix,
// "10.99.0.1/24" or "fd99::1/64". Its far end, name+"p", is up too and has none.
func Veth(t testing.TB, name string, prefixes ...string) {
	t.Helper()
	mustBeInside(t)
	run(t, "ip", "link", "add", name, "type", "veth", "peer", "name", name+"p")
	run(t, "ip", "link", "set", name+"p", "up")
	address(t, []string{"ip"}, name, prefixes)
	for _, prefix := range prefixes {
		host, _, _ := strings.Cut(prefix, "/")
		if strings.HasPrefix(host, "fe80:") {
			host += "%" + name
		}
		WaitFor(t, host+" to be reached", 10*time.Second, func() bool { // which takes the kernel a moment for IPv6
			conn, err := net.Dial("udp", net.JoinHostPort(host, "9"))
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
}

// address gives an interface its addresses and sets it up. Detection of duplicates is left out:
// it would keep the address unusable for a while.
func address(t testing.TB, ip []string, iface string, prefixes []string) {
	t.Helper()
	for _, prefix := range prefixes {
		args := append(ip[:len(ip):len(ip)], "address", "add", prefix, "dev", iface)
		if strings.Contains(prefix, ":") {
			args = append(args, "nodad")
		}
		run(t, args[0], args[1:]...)
	}
	args := append(ip[:len(ip):len(ip)], "link", "set", iface, "up")
	run(t, args[0], args[1:]...)
}

// A Host is a second network namespace, joined to the test's own by a cable.
type Host struct{ name string }

// NewHost adds a host. The cable's end here is an interface called name with the address here,
// the end there is called eth0 and has the address there; both are prefixes.
func NewHost(t testing.TB, name, here, there string) *Host {
	t.Helper()
	mustBeInside(t)
	h := &Host{name: name}
	run(t, "ip", "netns", "add", name)
	run(t, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
	address(t, []string{"ip"}, name, []string{here})
	address(t, []string{"ip", "-n", name}, "lo", nil)
	address(t, []string{"ip", "-n", name}, "eth0", []string{there})
	return h
}

// Command is a program on that host; use [StartCommand] or the methods of exec.Cmd.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	if path, err := lookPath(name); err == nil {
		name = path
	}
	ip, err := lookPath("ip")
	if err != nil {
		ip = "ip" // exec says what is wrong with it
	}
	return exec.Command(ip, append([]string{"netns", "exec", h.name, name}, args...)...)
}

// run is for programs that must succeed.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(Path(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
