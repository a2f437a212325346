package socktable

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/portset"
)

// The lines are of /proc/net/tcp and tcp6 on little-endian machines (proc(5)).
func TestParseAddr(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // empty: refused
	}{
		{"00000000:006F", "0.0.0.0:111"},
		{"0100007F:0457", "127.0.0.1:1111"},
		{"010200C0:FFFF", "192.0.2.1:65535"},
		{"00000000000000000000000000000000:006F", "[::]:111"},
		{"00000000000000000000000001000000:0035", "[::1]:53"},
		{"B80D0120000000000000000001000000:0801", "[2001:db8::1]:2049"},
		{"0000000000000000FFFF0000010200C0:0016", "[::ffff:192.0.2.1]:22"},
		{"", ""}, {"0100007F", ""}, {"0100007F:", ""}, {"0100007F:10000", ""}, {"0100007:006F", ""},
		{"0100007F00:006F", ""}, {"0100007F0100007F:006F", ""}, {"local_address:006F", ""},
	} {
		got, ok := parseAddr(tt.text)
		want, _ := netip.ParseAddrPort(tt.want)
		if ok && got != want || ok != (tt.want != "") {
			t.Errorf("parseAddr(%q) = %v, %v, want %q", tt.text, got, ok, tt.want)
		}
	}
}

func TestConflicting(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	line := func(local, state, inode string) string {
		return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000     0        0 " + inode + " 1 0000000000000000 100 0 0 10 0\n"
	}
	const any6 = "00000000000000000000000000000000:"
	table := filepath.Join(t.TempDir(), "tcp")
	text := head + line("0100007F:006F", "0A", "1") + line("00000000:0070", "0A", "2") + line("0100007F:0071", "01", "3") +
		line(any6+"0072", "0A", "4") + line("0000000000000000FFFF0000010200C0:0073", "0A", "5") + "cut off\n"
	if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr      string
		listeners bool
		want      string
	}{
		{"127.0.0.1:111", true, "1"},
		{"0.0.0.0:111", true, "1"},   // the wildcard wants it too
		{"127.0.0.2:111", true, ""},  // another address
		{"127.0.0.1:112", true, "2"}, // the wildcard has it
		{"[::1]:112", true, ""},      // IPv6 alone does not want IPv4's
		{"[::]:111", true, ""},       // nor does its wildcard
		{"127.0.0.1:113", true, ""},  // a connection
		{"127.0.0.1:113", false, "3"},
		{"[::1]:114", true, "4"},
		{"127.0.0.1:114", true, "4"}, // as far as the table tells
		{"192.0.2.1:115", true, "5"}, // an IPv4 address on an IPv6 socket
		{"127.0.0.1:1", true, ""},
	} {
		if got := strings.Join(conflicting(table, tt.listeners, netip.MustParseAddrPort(tt.addr)), " "); got != tt.want {
			t.Errorf("conflicting(%s, %v) = %q, want %q", tt.addr, tt.listeners, got, tt.want)
		}
	}
	if got := conflicting(table+"6", true, netip.MustParseAddrPort("127.0.0.1:111")); got != nil {
		t.Errorf("conflicting in a table that does not exist = %q", got)
	}
}

// A filer is a socket that can be passed on.
type filer interface{ File() (*os.File, error) }

func TestHolder(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	dir := t.TempDir()
	stream := func(network, address string) func(*testing.T) filer {
		return func(t *testing.T) filer {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return l.(filer)
		}
	}
	datagram := func(network, address string) func(*testing.T) filer {
		return func(t *testing.T) filer {
			c, err := net.ListenPacket(network, address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c.(filer)
		}
	}
	addr := func(network, a string) func() (Process, bool) {
		return func() (Process, bool) { return HolderOf(network, netip.MustParseAddrPort(a)) }
	}
	path := func(p string) func() (Process, bool) {
		return func() (Process, bool) { return HolderOfPath(p) }
	}
	for _, tt := range []struct {
		name  string
		open  func(*testing.T) filer
		ask   func() (Process, bool)
		other func() (Process, bool) // which nobody holds
	}{
		{"tcp", stream("tcp4", "127.0.0.1:111"), addr("tcp", "127.0.0.1:111"), addr("tcp", "127.0.0.1:112")},
		{"tcp, wildcard asks", stream("tcp4", "127.0.0.1:111"), addr("tcp", "0.0.0.0:111"), addr("udp", "0.0.0.0:111")},
		{"tcp, wildcard holds", stream("tcp4", "0.0.0.0:111"), addr("tcp", "127.0.0.1:111"), addr("tcp", "[::1]:111")},
		{"tcp6", stream("tcp6", "[::1]:111"), addr("tcp", "[::1]:111"), addr("tcp", "127.0.0.1:111")},
		{"dual stack", stream("tcp", ":111"), addr("tcp", "0.0.0.0:111"), addr("tcp", "0.0.0.0:11")},
		{"udp", datagram("udp4", "127.0.0.1:111"), addr("udp", "127.0.0.1:111"), addr("tcp", "127.0.0.1:111")},
		{"udp6", datagram("udp6", "[::]:111"), addr("udp", "[::1]:111"), addr("udp", "[::1]:1111")},
		{"path", stream("unix", dir+"/x.sock"), path(dir + "/x.sock"), path(dir + "/x")},
		{"path with blanks", stream("unix", dir+"/a b 1.sock"), path(dir + "/a b 1.sock"), path("1.sock")},
		{"abstract", stream("unix", "@x.sock"), path("@x.sock"), path("x.sock")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := tt.open(t)
			if p, ok := tt.ask(); !ok || p.PID != os.Getpid() {
				t.Errorf("the holder is %v, %v, want this process, %d", p, ok, os.Getpid())
			}
			if p, ok := tt.other(); ok {
				t.Errorf("the holder of what nobody has is %v", p)
			}
			child := pass(t, socket)
			if p, ok := tt.ask(); !ok || p != (Process{child, "sleep"}) {
				t.Errorf("the holder is %v, %v, want the child sleep (pid %d), which has it too", p, ok, child)
			}
			if l, ok := socket.(*net.UnixListener); ok {
				l.SetUnlinkOnClose(false)
			}
			socket.(interface{ Close() error }).Close()
			if p, ok := tt.ask(); !ok || p != (Process{child, "sleep"}) {
				t.Errorf("the holder is %v, %v, want the child sleep (pid %d), which alone has it", p, ok, child)
			}
		})
	}
}

// pass gives a copy of a socket to a process that does nothing, and returns its pid.
func pass(t *testing.T, socket filer) int {
	t.Helper()
	f, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(nstest.Path(t, "sleep"), "1000")
	cmd.ExtraFiles = []*os.File{f}
	pid := nstest.StartCommand(t, cmd).PID()
	nstest.WaitFor(t, "the process to have its name", 10*time.Second, func() bool { // which comes a little after its files
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(name) == "sleep\n"
	})
	return pid
}

// The right one of two is named when both families have the port.
func TestHolderOfEachFamily(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	ours, err := net.Listen("tcp4", "0.0.0.0:111")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := net.Listen("tcp6", "[::]:111")
	if err != nil {
		t.Fatal(err)
	}
	child := pass(t, theirs.(filer))
	theirs.Close()
	for address, want := range map[string]int{"0.0.0.0:111": os.Getpid(), "127.0.0.1:111": os.Getpid(), "[::]:111": child, "[::1]:111": child} {
		if p, ok := HolderOf("tcp", netip.MustParseAddrPort(address)); !ok || p.PID != want {
			t.Errorf("HolderOf(tcp, %s) = %v, %v, want pid %d", address, p, ok, want)
		}
	}
}

// A connection that was accepted does not listen, whoever has it.
func TestHolderOfPathIsNoConnection(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "x.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	pass(t, accepted.(filer))
	if p, ok := HolderOfPath(path); !ok || p.PID != os.Getpid() {
		t.Errorf("HolderOfPath = %v, %v, want this process, %d, which listens", p, ok, os.Getpid())
	}
	l.Close()
	if p, ok := HolderOfPath(path); ok {
		t.Errorf("HolderOfPath of a path on which nobody listens = %v", p)
	}
}

// TestHoldersOf: all at once, of either family and at any address.
func TestHoldersOf(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, address := range []string{"0.0.0.0:2001", "127.0.0.1:2002", "[::1]:2003", "[::]:2004", "127.0.0.1:2006"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if address == "127.0.0.1:2002" {
			child := pass(t, ln.(filer))
			ln.Close()
			if got, want := HoldersOf("tcp", portset.Ports(2002)), (map[uint16]Process{2002: {child, "sleep"}}); !maps.Equal(got, want) {
				t.Errorf("HoldersOf = %v, want %v", got, want)
			}
		}
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:2005")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := net.Dial("tcp", "127.0.0.1:2006") // whose port no socket listens at
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	port := netip.MustParseAddrPort(client.LocalAddr().String()).Port()
	some := portset.Of(portset.Range{First: 2000, Last: 2005}).Union(portset.Ports(port))
	for network, want := range map[string][]uint16{"tcp": {2001, 2002, 2003, 2004}, "udp": {2005}} {
		got := HoldersOf(network, some)
		if ports := slices.Sorted(maps.Keys(got)); !slices.Equal(ports, want) {
			t.Errorf("HoldersOf(%s) has ports %v, want %v", network, ports, want)
		}
		for p, holder := range got {
			if p != 2002 && holder.PID != os.Getpid() {
				t.Errorf("HoldersOf(%s): %d is held by %v, want this process, %d", network, p, holder, os.Getpid())
			}
		}
	}
	if got := HoldersOf("tcp", portset.Set{}); len(got) > 0 {
		t.Errorf("HoldersOf no port = %v", got)
	}
}
