package gate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// startFirewalld has firewalld decide on this host, with clients and servers in zones of their own: those that it has for that.
func startFirewalld(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "zones"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"firewalld.conf":   "FirewallBackend=nftables\n",
		"zones/public.xml": "<?xml version='1.0' encoding='utf-8'?>\n<zone>\n  <interface name='c0'/>\n  <forward/>\n</zone>\n",
		"zones/dmz.xml":    "<?xml version='1.0' encoding='utf-8'?>\n<zone>\n  <interface name='s0'/>\n  <forward/>\n</zone>\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	nstest.Firewalld(t, "", dir)
}

// startUFW has ufw decide on this host, with its own files as Debian has them and these lines where the text says that they belong.
func startUFW(t testing.TB, h HostRules) {
	t.Helper()
	nstest.Need(t, "ufw", "iptables-nft")
	files, err := filepath.Glob("/etc/ufw/*.*")
	if err != nil || len(files) == 0 {
		t.Fatalf("the files of ufw: %q, %v", files, err)
	}
	texts := map[string]string{}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // a folder
		}
		texts[path] = string(b)
	}
	rules := strings.Join(append(h.Forward, h.Input...), "\n")
	for path, rules := range map[string]string{"/etc/ufw/before.rules": rules, "/etc/ufw/before6.rules": strings.ReplaceAll(rules, "ufw-", "ufw6-")} {
		const end = "# End required lines\n"
		if before, after, ok := strings.Cut(texts[path], end); ok {
			texts[path] = before + end + rules + "\n" + after
		} else {
			t.Fatalf("%s has no line %q", path, end)
		}
	}
	nstest.TmpFS(t, "/etc/ufw", "applications.d")
	for path, text := range texts {
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	command(t, nstest.Path(t, "ufw"), "--force", "enable")
}
