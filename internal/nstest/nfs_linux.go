package nstest

import (
	"os"
	"os/user"
	"strconv"
	"testing"
)

// NFSFolders gives rpc.statd and rpc.mountd empty folders, with lines for the table of exports.
func NFSFolders(t testing.TB, exports string) {
	t.Helper()
	TmpFS(t, "/var/lib/nfs", "sm", "sm.bak")
	Own(t, "statd", "/var/lib/nfs", "/var/lib/nfs/sm", "/var/lib/nfs/sm.bak")
	for path, text := range map[string]string{"/var/lib/nfs/etab": exports, "/var/lib/nfs/rmtab": ""} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Own gives paths to a user of the host.
func Own(t testing.TB, name string, paths ...string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if err := os.Chown(p, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
}
