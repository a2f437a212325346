// Package nstest lets a test run in network namespaces of its own, so that it may listen on
// port 111, mount over /run and start real servers without touching the host, and without root
// where the kernel allows that:
//
//	func TestMapper(t *testing.T) {
//		if !nstest.Inside(t) {
//			return // the same test has run in the namespaces, its result is ours
//		}
//		nstest.Need(t, "rpcinfo")
//		server := nstest.Start(t, "rpcbind", "-f")
//		...
//	}
//
// What a test needs and cannot have, a program or a namespace, skips it with a reason, or fails
// it when the environment says CI=true: there nothing may be skipped.
package nstest

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// debianPackage names the package that holds a program our tests start.
var debianPackage = map[string]string{
	"cc":               "gcc",
	"chronyd":          "chrony",
	"dbus-daemon":      "dbus",
	"dnsmasq":          "dnsmasq-base",
	"dumpcap":          "wireshark-common",
	"gcc":              "gcc",
	"in.tftpd":         "tftpd-hpa",
	"ip6tables-nft":    "iptables",
	"ip":               "iproute2",
	"iptables-legacy":  "iptables",
	"iptables-nft":     "iptables",
	"net":              "samba-common-bin",
	"nft":              "nftables",
	"smtpd":            "opensmtpd",
	"sshd":             "openssh-server",
	"ssh-keygen":       "openssh-client",
	"ss":               "iproute2",
	"pdbedit":          "samba",
	"pkg-config":       "pkg-config",
	"rpc.mountd":       "nfs-kernel-server",
	"rpcclient":        "smbclient",
	"rpc.rquotad":      "quota",
	"rpc.rusersd":      "rusersd",
	"rpc.rwalld":       "rwalld",
	"rpc.statd":        "nfs-common",
	"rpcbind":          "rpcbind",
	"rpcgen":           "rpcsvc-proto",
	"rpcinfo":          "rpcbind",
	"rusers":           "rusers",
	"rwall":            "rwall",
	"samba-tool":       "samba-common-bin",
	"showmount":        "nfs-common",
	"systemctl":        "systemd",
	"systemd-analyze":  "systemd",
	"systemd-sysusers": "systemd",
	"nsenter":          "util-linux",
	"setpriv":          "util-linux",
	"tftp":             "tftp-hpa",
	"tshark":           "tshark",
}

// Need ends the test, as [Unavailable] does, unless all the programs are installed. Programs are
// also looked for in the sbin folders, which an ordinary user's PATH leaves out.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := lookPath(name); err == nil {
			continue
		}
		pkg := debianPackage[name]
		if pkg == "" {
			pkg = name
		}
		Unavailable(t, "%s is not installed: apt-get install %s", name, pkg)
	}
}

// Path returns where a program is installed; without it the test ends as with [Need].
func Path(t testing.TB, program string) string {
	t.Helper()
	Need(t, program)
	path, err := lookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// lookPath is exec.LookPath that knows where Debian keeps daemons.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin/", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", err
}

// NeedRoot ends the test, as [Unavailable] does, unless it runs as the host's root. In a user
// namespace the only user is 0, so a daemon that changes to another one, as rpcbind does, fails.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getenv(userVar) != "" || os.Geteuid() != 0 {
		Unavailable(t, "needs root: a program of this test changes to another user")
	}
}

// Unavailable ends a test whose surroundings lack something: a skip with the reason, a failure
// when CI=true.
func Unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("with CI=true nothing is skipped: "+format, args...)
	}
	t.Skipf(format, args...)
}

// pollInterval is how often WaitFor looks. It bounds how much later than the event a test goes on.
const pollInterval = 2 * time.Millisecond

// WaitFor returns when cond does, and fails the test naming what it waited for if that does not
// happen in time. The condition is asked at least once after the time has passed, so a machine
// that was stopped for a while does not fail the test.
func WaitFor(t testing.TB, what string, timeout time.Duration, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		late := !time.Now().Before(deadline)
		if cond() {
			return
		}
		if late {
			t.Fatalf("waited %v in vain for: %s", timeout, what)
		}
		time.Sleep(pollInterval)
	}
}

// The environment of a re-executed test; see Inside.
const (
	stageVar = "NSTEST_STAGE" // stageInit or stageTest
	nameVar  = "NSTEST_NAME"  // the test that is run
	userVar  = "NSTEST_USER"  // set when a user namespace maps only user 0
)
