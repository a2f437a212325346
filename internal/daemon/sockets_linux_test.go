package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
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
	"github.com/quaymaster/quaymaster/internal/socktable"
)

const patience = 20 * time.Second

// A filer is a socket that can be passed on.
type filer interface {
	File() (*os.File, error)
	Close() error
}

func listen(t *testing.T, network, address string) filer {
	t.Helper()
	var s any
	var err error
	if strings.HasPrefix(network, "udp") {
		s, err = net.ListenPacket(network, address)
	} else {
		s, err = net.Listen(network, address)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.(filer).Close() })
	return s.(filer)
}

// letGo closes our side of a socket and leaves its path.
func letGo(s filer) {
	if l, ok := s.(*net.UnixListener); ok {
		l.SetUnlinkOnClose(false)
	}
	s.Close()
}

// hold makes another process hold a socket, and returns it as messages name it.
func hold(t *testing.T, network, address string) string {
	t.Helper()
	s := listen(t, network, address)
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(nstest.Path(t, "sleep"), "1000")
	cmd.ExtraFiles = []*os.File{f}
	pid := nstest.StartCommand(t, cmd).PID()
	letGo(s)
	nstest.WaitFor(t, "the process to have its name", patience, func() bool { // which comes a little after its files
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(name) == "sleep\n"
	})
	return fmt.Sprintf("sleep (pid %d)", pid)
}

// opened opens the sockets of o and closes them with the test; log has what was logged.
func opened(t *testing.T, o Options) (s *sockets, log string, err error) {
	t.Helper()
	var text bytes.Buffer
	s, err = open(&o, &sockets{}, slog.New(slog.NewTextHandler(&text, nil)))
	if err == nil {
		t.Cleanup(s.close)
	}
	return s, text.String(), err
}

// names returns what stands, for comparing.
func (s *sockets) names() []string {
	var all []string
	for _, b := range s.bound() {
		if b.Network == "unix" {
			all = append(all, b.Path)
			continue
		}
		all = append(all, b.Network+" "+b.Addr.String())
	}
	return append(all, s.control.Addr().String())
}

var systemNames = []string{
	"tcp 0.0.0.0:111", "tcp [::]:111", "udp 0.0.0.0:111", "udp [::]:111", SystemONCSocket, "@" + SystemONCSocket, SystemControl,
}

func TestOpenDefaults(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	s, log, err := opened(t, Options{})
	if err != nil || log != "" {
		t.Fatalf("open: %v; log %q", err, log)
	}
	if got := s.names(); !slices.Equal(got, systemNames) {
		t.Errorf("open = %q, want %q", got, systemNames)
	}
	for _, path := range []string{SystemONCSocket, SystemControl} { // clients are unprivileged
		if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o666 {
			t.Errorf("%s: mode %v, %v, want a socket with 0666", path, info.Mode(), err)
		}
	}
	s.close()
	nothingListens(t)
}

// nothingListens checks that everything the daemon takes is free.
func nothingListens(t *testing.T) {
	t.Helper()
	for _, path := range []string{SystemONCSocket, SystemControl} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is there, %v, want it gone", path, err)
		}
	}
	s, err := open(&Options{}, &sockets{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Errorf("something still listens: %v", err)
		return
	}
	s.close()
}

// TestHeld has another program in one place after the other. Nothing must be
// left listening after the failure, and the rest must be served when asked to.
func TestHeld(t *testing.T) {
	for _, tt := range []struct {
		name, network, address string
		want                   string // with the holder as %s
		taken                  []string
	}{
		{"tcp", "tcp4", "0.0.0.0:111", "0.0.0.0:111 tcp: address in use by %s: stop it or choose --listen-onc", []string{"tcp 0.0.0.0:111"}},
		{"tcp on one address", "tcp4", "127.0.0.1:111", "0.0.0.0:111 tcp: address in use by %s: stop it or choose --listen-onc", []string{"tcp 0.0.0.0:111"}},
		{"udp", "udp4", "0.0.0.0:111", "0.0.0.0:111 udp: address in use by %s: stop it or choose --listen-onc", []string{"udp 0.0.0.0:111"}},
		{"udp6", "udp6", "[::1]:111", "[::]:111 udp: address in use by %s: stop it or choose --listen-onc", []string{"udp [::]:111"}},
		{
			"both families", "tcp", ":111",
			"0.0.0.0:111 tcp: address in use by %[1]s: stop it or choose --listen-onc\n" +
				"[::]:111 tcp: address in use by %[1]s: stop it or choose --listen-onc",
			[]string{"tcp 0.0.0.0:111", "tcp [::]:111"},
		},
		{"path", "unix", SystemONCSocket, SystemONCSocket + ": in use by %s: stop it or choose --onc-socket", []string{SystemONCSocket}},
		{"abstract name", "unix", "@" + SystemONCSocket, "@" + SystemONCSocket + ": in use by %s: stop it or choose --onc-socket", []string{"@" + SystemONCSocket}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			holder := hold(t, tt.network, tt.address)
			want := fmt.Sprintf(tt.want, holder)
			_, log, err := opened(t, Options{})
			if errorText(err) != want || log != "" {
				t.Errorf("open: %v; log %q, want\n%s", err, log, want)
			}
			rest := slices.DeleteFunc(slices.Clone(systemNames), func(n string) bool { return slices.Contains(tt.taken, n) })
			s, log, err := opened(t, Options{KeepGoing: true}) // which can open the rest, so nothing was left listening
			if err != nil {
				t.Fatal(err)
			}
			if got := s.names(); !slices.Equal(got, rest) {
				t.Errorf("with --keep-going open = %q, want %q", got, rest)
			}
			for line := range strings.SplitSeq(want, "\n") {
				if !strings.Contains(log, `level=ERROR msg="not served" err="`+line) {
					t.Errorf("the log %q lacks %q", log, line)
				}
			}
		})
	}
}

func TestHeldTogether(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	s, _, err := opened(t, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = opened(t, Options{})
	name, nameErr := os.ReadFile("/proc/self/comm")
	if nameErr != nil {
		t.Fatal(nameErr)
	}
	holder := socktable.Process{PID: os.Getpid(), Name: strings.TrimSpace(string(name))}
	want := fmt.Sprintf(`0.0.0.0:111 tcp udp: another address of --listen-onc covers it: leave it out
[::]:111 tcp udp: another address of --listen-onc covers it: leave it out
%[2]s and @%[2]s: in use by %[1]s: stop it or choose --onc-socket
%[3]s: in use by %[1]s: stop it or choose --control`, holder, SystemONCSocket, SystemControl)
	if errorText(err) != want {
		t.Errorf("open twice: %v, want\n%s", err, want)
	}
	if _, err := os.Lstat(SystemONCSocket); err != nil {
		t.Errorf("the failure of the second took the first's socket: %v", err)
	}
	s.close()
	nothingListens(t)
}

func TestControlHeld(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	if err := os.Mkdir(filepath.Dir(SystemControl), 0o755); err != nil {
		t.Fatal(err)
	}
	want := SystemControl + ": in use by " + hold(t, "unix", SystemControl) + ": stop it or choose --control"
	for _, keepGoing := range []bool{false, true} { // without it nobody could see what is served
		if _, _, err := opened(t, Options{KeepGoing: keepGoing}); errorText(err) != want {
			t.Errorf("open, keep going %v: %v, want %s", keepGoing, err, want)
		}
	}
	if _, err := os.Lstat(SystemONCSocket); !os.IsNotExist(err) {
		t.Errorf("%s is left after the failure: %v", SystemONCSocket, err)
	}
}

func TestNothingToServe(t *testing.T) {
	dir := t.TempDir()
	o := Options{ListenONC: []string{"none"}, ONCSocket: dir + "/no/x.sock", Control: dir + "/c.sock", KeepGoing: true}
	hold(t, "unix", "@"+o.ONCSocket)
	if s, log, err := opened(t, o); err == nil {
		t.Errorf("open = %q; log %s, want an error: there is nothing to answer on", s.names(), log)
	}
}

func TestRemedy(t *testing.T) {
	for _, tt := range []struct {
		p    socktable.Process
		want string
	}{
		{socktable.Process{PID: 611, Name: "rpcbind"}, "stop it (systemctl stop rpcbind.socket rpcbind)"},
		{socktable.Process{PID: 1, Name: "systemd"}, "stop it (systemctl stop rpcbind.socket rpcbind)"},
		{socktable.Process{PID: 700, Name: "systemd"}, "stop it"},
		{socktable.Process{PID: 9, Name: "quaymaster"}, "stop it (it is this program)"},
		{socktable.Process{PID: 9, Name: "nc"}, "stop it"},
	} {
		if got := remedy(tt.p); got != tt.want {
			t.Errorf("remedy(%v) = %q, want %q", tt.p, got, tt.want)
		}
	}
}

// TestPathTaken has something at the path of the local socket.
func TestPathTaken(t *testing.T) {
	leftOver := func(t *testing.T, path string) { letGo(listen(t, "unix", path)) }
	for _, tt := range []struct {
		name string
		make func(*testing.T, string)
		want string // empty: it is replaced
	}{
		{"nothing", func(*testing.T, string) {}, ""},
		{"left over from a daemon", leftOver, ""},
		{"left over, of datagrams", func(t *testing.T, path string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}, ""},
		{"a file", func(t *testing.T, path string) { write(t, path, "precious") }, "a file that is no socket stands there: move it away or choose --onc-socket"},
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "a file that is no socket stands there: move it away or choose --onc-socket"},
		{"a link to a left-over socket", func(t *testing.T, path string) {
			leftOver(t, path+".real")
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		}, "a file that is no socket stands there: move it away or choose --onc-socket"},
		{"a socket that answers", func(t *testing.T, path string) { hold(t, "unix", path) }, "in use by sleep (pid "},
		{"a socket of datagrams", func(t *testing.T, path string) {
			c, err := net.ListenPacket("unixgram", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}, "in use: stop the program that listens there or choose --onc-socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.sock")
			tt.make(t, path)
			s, _, err := opened(t, Options{ListenONC: []string{"none"}, ONCSocket: path, Control: filepath.Join(dir, "c.sock")})
			if tt.want != "" {
				if !strings.HasPrefix(errorText(err), path+": "+tt.want) {
					t.Errorf("open: %v, want %s: %s", err, path, tt.want)
				}
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("what stood there: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := s.names(), []string{path, "@" + path, filepath.Join(dir, "c.sock")}; !slices.Equal(got, want) {
				t.Errorf("open = %q, want %q", got, want)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBadPaths(t *testing.T) {
	dir := t.TempDir()
	long := dir + "/" + strings.Repeat("x", 108-len(dir)-1)
	write(t, dir+"/file", "")
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"too long", Options{ONCSocket: long}, fmt.Sprintf("%[1]s and @%[1]s: too long for a socket's path, which has at most 107 bytes: choose --onc-socket", long)},
		{"no folder", Options{ONCSocket: dir + "/no/x.sock"}, dir + "/no/x.sock: its folder does not exist: make it or choose --onc-socket"},
		{"a file for a folder", Options{ONCSocket: dir + "/file/x.sock"}, dir + "/file/x.sock: not a directory: choose --onc-socket"},
		{"a file for the control folder", Options{Control: dir + "/file/c.sock"}, dir + "/file/c.sock: not a directory: choose --control"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{ListenONC: []string{"none"}, ONCSocket: dir + "/x.sock", Control: dir + "/c.sock"}
			if tt.o.ONCSocket != "" {
				o.ONCSocket = tt.o.ONCSocket
			}
			if tt.o.Control != "" {
				o.Control = tt.o.Control
			}
			if _, _, err := opened(t, o); errorText(err) != tt.want {
				t.Errorf("open: %v, want %s", err, tt.want)
			}
		})
	}
}

func TestChosenAddresses(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, tt := range []struct {
		listen []string
		want   string // names or error
	}{
		{[]string{"none"}, ""},
		{[]string{"127.0.0.1"}, "tcp 127.0.0.1:111 udp 127.0.0.1:111"},
		{[]string{"127.0.0.1", "127.0.0.1:111"}, "tcp 127.0.0.1:111 udp 127.0.0.1:111"},
		{[]string{"[::1]:1111", "127.0.0.1:1111"}, "tcp [::1]:1111 tcp 127.0.0.1:1111 udp [::1]:1111 udp 127.0.0.1:1111"},
		{[]string{"192.0.2.1"}, "192.0.2.1:111 tcp udp: this host has no such address: choose --listen-onc"},
		{[]string{":111", "127.0.0.1"}, "127.0.0.1:111 tcp udp: another address of --listen-onc covers it: leave it out"},
	} {
		s, _, err := opened(t, Options{ListenONC: tt.listen})
		got := errorText(err)
		if err == nil {
			got = strings.Join(s.names()[:len(s.names())-3], " ")
			s.close()
		}
		if got != tt.want {
			t.Errorf("open %q = %s, want %s", tt.listen, got, tt.want)
		}
	}
	nothingListens(t)
}

func TestIPv6Off(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const notice = `level=WARN msg="IPv6 is switched off on this host: address left out" server=`
	check := func(o Options, names, logged, want string) {
		t.Helper()
		s, log, err := opened(t, o)
		got := ""
		if err == nil {
			got = strings.Join(s.names()[:len(s.names())-3], " ")
			s.close()
		}
		if got != names || errorText(err) != want || !strings.Contains(log, logged) || (log == "") != (logged == "") {
			t.Errorf("open %+v = %q, %v; log %q, want %q, %q; log %q", o, got, err, log, names, want, logged)
		}
	}
	dev := Options{Dev: true, StateDir: t.TempDir()}
	write(t, "/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1")
	check(dev, "tcp 127.0.0.1:1111 udp 127.0.0.1:1111", notice+"[::1]:1111", "")
	check(Options{}, "tcp 0.0.0.0:111 tcp [::]:111 udp 0.0.0.0:111 udp [::]:111", "", "") // other interfaces may have it
	write(t, "/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
	check(dev, "tcp 127.0.0.1:1111 udp 127.0.0.1:1111", notice+"[::1]:1111", "")
	check(Options{}, "tcp 0.0.0.0:111 udp 0.0.0.0:111", notice+"[::]:111", "")
	check(Options{ListenONC: []string{"127.0.0.1", "::1"}}, "", "", "[::1]:111: IPv6 is switched off on this host: leave --listen-onc [::1]:111 out")
	check(Options{ListenONC: []string{":111"}}, "", "", "[::]:111: IPv6 is switched off on this host: leave --listen-onc [::]:111 out")
	check(Options{ListenONC: []string{"::1", "127.0.0.1"}, KeepGoing: true}, "tcp 127.0.0.1:111 udp 127.0.0.1:111", `msg="not served" err="[::1]:111: IPv6`, "")
	nothingListensIPv4(t)
}

func nothingListensIPv4(t *testing.T) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if p, ok := socktable.HolderOf(network, netip.MustParseAddrPort("0.0.0.0:111")); ok {
			t.Errorf("%v still has port 111 %s", p, network)
		}
	}
}
