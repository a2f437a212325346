package nstest

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// SambaDir is the folder that [Samba] keeps to. Paths of sockets are short.
const SambaDir = "/run/samba-test"

// SambaConfig is its configuration file.
const SambaConfig = SambaDir + "/smb.conf"

// Samba returns Samba's server of DCE/RPC as a command to start: standalone, with a folder of its own, and with lines for its
// configuration besides. It skips the test where Samba is not installed, or who tests is not root.
func Samba(t testing.TB, options ...string) []string {
	t.Helper()
	mustBeInside(t)
	const program = "/usr/libexec/samba/samba-dcerpcd"
	if _, err := os.Stat(program); err != nil {
		Unavailable(t, "samba is not installed: apt-get install samba")
	}
	NeedRoot(t)
	lines := append([]string{"[global]", "server role = standalone server", "rpc start on demand helpers = no", "log file = " + SambaDir + "/log"}, options...)
	folders := map[string]string{
		"private dir": "private", "lock directory": "lock", "state directory": "state", "cache directory": "cache", "pid directory": "pid", "ncalrpc dir": "ncalrpc",
	}
	for _, key := range slices.Sorted(maps.Keys(folders)) {
		dir := filepath.Join(SambaDir, folders[key])
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s = %s", key, dir))
	}
	if err := os.WriteFile(SambaConfig, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{program, "-F", "--no-process-group", "-s", SambaConfig}
}

// WaitToConnect waits until somebody takes connections at an address, as net.Dial has it.
func WaitToConnect(t testing.TB, network, address string, timeout time.Duration) {
	t.Helper()
	WaitFor(t, "somebody to listen at "+address, timeout, func() bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
