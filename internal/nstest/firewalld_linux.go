package nstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Firewalld starts firewalld in a network namespace, the test's own if it has no name, with a folder of files as
// /etc/firewalld has them, and a message bus beside it. It returns when firewall-cmd is answered.
func Firewalld(t testing.TB, namespace, dir string) {
	t.Helper()
	mustBeInside(t)
	NeedRoot(t)
	Need(t, "firewalld", "firewall-cmd", "dbus-daemon")
	if err := os.MkdirAll("/run/dbus", 0o755); err != nil {
		t.Fatal(err)
	}
	Start(t, "dbus-daemon", "--system", "--nofork", "--nopidfile")
	WaitFor(t, "the message bus", 20*time.Second, func() bool {
		_, err := os.Stat("/run/dbus/system_bus_socket")
		return err == nil
	})
	log := filepath.Join(dir, "log")
	t.Cleanup(func() {
		if b, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("firewalld logs:\n%s", b)
		}
	})
	args := []string{"--nofork", "--nopid", "--system-config", dir, "--log-file", log}
	cmd := exec.Command(Path(t, "firewalld"), args...)
	if namespace != "" {
		cmd = exec.Command(Path(t, "ip"), append([]string{"netns", "exec", namespace, Path(t, "firewalld")}, args...)...)
	}
	StartCommand(t, cmd)
	WaitFor(t, "firewalld", 60*time.Second, func() bool { return exec.Command(Path(t, "firewall-cmd"), "--state").Run() == nil })
}
