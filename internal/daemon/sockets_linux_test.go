package daemon

import (
	"bytes"
	"cmp"
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

// names returns what stands, for comparing: the port mapper's, then the endpoint
// mapper's with "dce" before them, then the control socket.
func (s *sockets) names() []string {
	var all []string
	for _, b := range s.bound() {
		all = append(all, b.name())
	}
	for _, b := range s.boundDCE() {
		all = append(all, "dce "+b.name())
	}
	return append(all, s.control.Addr().String())
}

func (b Bound) name() string {
	if b.Network == "unix" {
		return b.Path
	}
	return b.Network + " " + b.Addr.String()
}

// onNetwork returns the names that are no paths.
func (s *sockets) onNetwork() string {
	return strings.Join(slices.DeleteFunc(s.names(), func(n string) bool { return strings.ContainsAny(n, "/@") }), " ")
}

var (
	systemNames = []string{
		"tcp 0.0.0.0:111", "tcp [::]:111", "udp 0.0.0.0:111", "udp [::]:111", SystemONCSocket, "@" + SystemONCSocket,
		"dce tcp 0.0.0.0:135", "dce tcp [::]:135", "dce " + SystemDCESocket, SystemControl,
	}
	systemPaths = []string{SystemONCSocket, SystemDCESocket, SystemControl}
)

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
	for _, path := range systemPaths { // clients are unprivileged
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
	for _, path := range systemPaths {
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
		{"dce tcp", "tcp4", "0.0.0.0:135", "0.0.0.0:135 tcp: address in use by %s: stop it or choose --listen-dce", []string{"dce tcp 0.0.0.0:135"}},
		{"dce tcp on one address", "tcp4", "127.0.0.1:135", "0.0.0.0:135 tcp: address in use by %s: stop it or choose --listen-dce", []string{"dce tcp 0.0.0.0:135"}},
		{"dce tcp6", "tcp6", "[::1]:135", "[::]:135 tcp: address in use by %s: stop it or choose --listen-dce", []string{"dce tcp [::]:135"}},
		{
			"dce, both families", "tcp", ":135",
			"0.0.0.0:135 tcp: address in use by %[1]s: stop it or choose --listen-dce\n" +
				"[::]:135 tcp: address in use by %[1]s: stop it or choose --listen-dce",
			[]string{"dce tcp 0.0.0.0:135", "dce tcp [::]:135"},
		},
		{"dce path", "unix", SystemDCESocket, SystemDCESocket + ": in use by %s: stop it or choose --dce-socket", []string{"dce " + SystemDCESocket}},
		{"path", "unix", SystemONCSocket, SystemONCSocket + ": in use by %s: stop it or choose --onc-socket", []string{SystemONCSocket}},
		{"abstract name", "unix", "@" + SystemONCSocket, "@" + SystemONCSocket + ": in use by %s: stop it or choose --onc-socket", []string{"@" + SystemONCSocket}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			if err := os.MkdirAll(filepath.Dir(SystemDCESocket), 0o755); err != nil {
				t.Fatal(err)
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

const covered = "another address of --listen-onc or --listen-dce covers it: leave it out"

func TestHeldTogether(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	s, _, err := opened(t, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = opened(t, Options{})
	holder := ourselves(t)
	want := fmt.Sprintf(`0.0.0.0:111 tcp udp: %[2]s
[::]:111 tcp udp: %[2]s
0.0.0.0:135 tcp: %[2]s
[::]:135 tcp: %[2]s
%[3]s and @%[3]s: in use by %[1]s: stop it or choose --onc-socket
%[4]s: in use by %[1]s: stop it or choose --dce-socket
%[5]s: in use by %[1]s: stop it or choose --control`, holder, covered, SystemONCSocket, SystemDCESocket, SystemControl)
	if errorText(err) != want {
		t.Errorf("open twice: %v, want\n%s", err, want)
	}
	for _, path := range systemPaths {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("the failure of the second took the first's socket: %v", err)
		}
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
	for _, path := range []string{SystemONCSocket, SystemDCESocket} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left after the failure: %v", path, err)
		}
	}
}

func TestNothingToServe(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "")
	o := Options{ListenONC: []string{"none"}, ONCSocket: dir + "/no/x.sock", Control: dir + "/c.sock", KeepGoing: true}
	o.ListenDCE, o.DCESocket = []string{"none"}, dir+"/file/x.sock"
	hold(t, "unix", "@"+o.ONCSocket)
	if s, log, err := opened(t, o); err == nil {
		t.Errorf("open = %q; log %s, want an error: there is nothing to answer on", s.names(), log)
	}
}

func TestRemedy(t *testing.T) {
	const (
		samba  = "stop it (it is Samba's own endpoint mapper)"
		bind   = "stop it (systemctl stop rpcbind.socket rpcbind)"
		socket = "stop it (systemctl stop quaymaster.socket quaymaster)"
	)
	for _, tt := range []struct {
		p        socktable.Process
		onc, dce string // in the place of which mapper
	}{
		{socktable.Process{PID: 611, Name: "rpcbind"}, bind, bind},
		{socktable.Process{PID: 1, Name: "systemd"}, bind, socket},
		{socktable.Process{PID: 700, Name: "systemd"}, "stop it", "stop it"},
		{socktable.Process{PID: 9, Name: "quaymaster"}, "stop it (it is this program)", "stop it (it is this program)"},
		{socktable.Process{PID: 9, Name: "nc"}, "stop it", "stop it"},

		// As Samba 4.17 names its processes: a domain controller's, and the mapper of other servers.
		{socktable.Process{PID: 9, Name: "samba"}, "stop it", samba},
		{socktable.Process{PID: 9, Name: "rpc[master]"}, "stop it", samba},
		{socktable.Process{PID: 9, Name: "rpc(0)"}, "stop it", samba},
		{socktable.Process{PID: 9, Name: "samba-dcerpcd"}, "stop it", samba},
		{socktable.Process{PID: 9, Name: "rpcd_epmapper"}, "stop it", samba},
		{socktable.Process{PID: 9, Name: "rpc.statd"}, "stop it", "stop it"},
	} {
		for flag, want := range map[string]string{"--listen-onc": tt.onc, "--onc-socket": tt.onc, "--listen-dce": tt.dce, "--dce-socket": tt.dce} {
			if got := remedy(tt.p, flag); got != want {
				t.Errorf("remedy(%v, %s) = %q, want %q", tt.p, flag, got, want)
			}
		}
	}
}

// TestPathTaken has something at the path of a local socket.
func TestPathTaken(t *testing.T) {
	leftOver := func(t *testing.T, path string) { letGo(listen(t, "unix", path)) }
	const noSocket = "a file that is no socket stands there: move it away or choose FLAG"
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
		{"a file", func(t *testing.T, path string) { write(t, path, "precious") }, noSocket},
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, noSocket},
		{"a link to a left-over socket", func(t *testing.T, path string) {
			leftOver(t, path+".real")
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		}, noSocket},
		{"a socket that answers", func(t *testing.T, path string) { hold(t, "unix", path) }, "in use by sleep (pid "},
		{"a socket of datagrams", func(t *testing.T, path string) {
			c, err := net.ListenPacket("unixgram", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}, "in use: stop the program that listens there or choose FLAG"},
	} {
		for _, flag := range []string{"--onc-socket", "--dce-socket"} {
			t.Run(tt.name+flag, func(t *testing.T) {
				o := besideHost(t)
				path := o.ONCSocket
				if flag == "--dce-socket" {
					path = o.DCESocket
				}
				tt.make(t, path)
				s, _, err := opened(t, o)
				if tt.want != "" {
					if want := path + ": " + strings.Replace(tt.want, "FLAG", flag, 1); !strings.HasPrefix(errorText(err), want) {
						t.Errorf("open: %v, want %s", err, want)
					}
					if _, err := os.Lstat(path); err != nil {
						t.Errorf("what stood there: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, want := s.names(), []string{o.ONCSocket, "@" + o.ONCSocket, "dce " + o.DCESocket, o.Control}; !slices.Equal(got, want) {
					t.Errorf("open = %q, want %q", got, want)
				}
			})
		}
	}
}

// besideHost returns options with which nothing is opened that the host could have:
// local sockets in a folder of the test's.
func besideHost(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	return Options{
		ListenONC: []string{"none"}, ONCSocket: dir + "/x.sock",
		ListenDCE: []string{"none"}, DCESocket: dir + "/e.sock",
		Control: dir + "/c.sock",
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
		{"dce, too long", Options{DCESocket: long}, long + ": too long for a socket's path, which has at most 107 bytes: choose --dce-socket"},
		{"dce, a file for a folder", Options{DCESocket: dir + "/file/x.sock"}, dir + "/file/x.sock: not a directory: choose --dce-socket"},
		{"dce, where the port mapper is", Options{ONCSocket: dir + "/same.sock", DCESocket: dir + "/same.sock"}, dir + "/same.sock: in use by " + ourselves(t) + ": stop it or choose --dce-socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := besideHost(t)
			o.ONCSocket, o.DCESocket, o.Control = cmp.Or(tt.o.ONCSocket, o.ONCSocket), cmp.Or(tt.o.DCESocket, o.DCESocket), cmp.Or(tt.o.Control, o.Control)
			if _, _, err := opened(t, o); errorText(err) != tt.want {
				t.Errorf("open: %v, want %s", err, tt.want)
			}
			for _, path := range []string{o.ONCSocket, o.DCESocket, o.Control} {
				if exists(path) {
					t.Errorf("%s is left after the failure", path)
				}
			}
		})
	}
}

// ourselves returns this process as messages name it.
func ourselves(t *testing.T) string {
	t.Helper()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return socktable.Process{PID: os.Getpid(), Name: strings.TrimSpace(string(name))}.String()
}

// TestMadeFolder: the folders of two sockets are made, open to all.
func TestMadeFolder(t *testing.T) {
	o := besideHost(t)
	dir := filepath.Dir(o.Control)
	o.DCESocket, o.Control = dir+"/d/e/e.sock", dir+"/c/c.sock"
	s, _, err := opened(t, o)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		dir + "/d": os.ModeDir | 0o755, dir + "/d/e": os.ModeDir | 0o755, dir + "/c": os.ModeDir | 0o755,
		o.DCESocket: os.ModeSocket | 0o666, o.Control: os.ModeSocket | 0o666, o.ONCSocket: os.ModeSocket | 0o666,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want the mode %v", path, info, err, want)
		}
	}
	s.close()
	for _, path := range []string{o.ONCSocket, o.DCESocket, o.Control} {
		if exists(path) {
			t.Errorf("%s is left", path)
		}
	}
}

func TestChosenAddresses(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	none := []string{"none"}
	for _, tt := range []struct {
		onc, dce []string
		want     string // names or error
	}{
		{none, none, ""},
		{[]string{"127.0.0.1"}, none, "tcp 127.0.0.1:111 udp 127.0.0.1:111"},
		{[]string{"127.0.0.1", "127.0.0.1:111"}, none, "tcp 127.0.0.1:111 udp 127.0.0.1:111"},
		{[]string{"[::1]:1111", "127.0.0.1:1111"}, none, "tcp [::1]:1111 tcp 127.0.0.1:1111 udp [::1]:1111 udp 127.0.0.1:1111"},
		{[]string{"192.0.2.1"}, none, "192.0.2.1:111 tcp udp: this host has no such address: choose --listen-onc"},
		{[]string{":111", "127.0.0.1"}, none, "127.0.0.1:111 tcp udp: " + covered},

		{none, []string{"127.0.0.1"}, "dce tcp 127.0.0.1:135"},
		{none, []string{"127.0.0.1", "127.0.0.1:135"}, "dce tcp 127.0.0.1:135"},
		{none, []string{"[::1]:1135", "127.0.0.1:1135"}, "dce tcp [::1]:1135 dce tcp 127.0.0.1:1135"},
		{none, []string{"192.0.2.1"}, "192.0.2.1:135 tcp: this host has no such address: choose --listen-dce"},
		{none, []string{":135", "127.0.0.1"}, "127.0.0.1:135 tcp: " + covered},
		{[]string{"127.0.0.1:1111"}, []string{"127.0.0.1:1112"}, "tcp 127.0.0.1:1111 udp 127.0.0.1:1111 dce tcp 127.0.0.1:1112"},
		{[]string{"127.0.0.1:1111"}, []string{"127.0.0.1:1111"}, "127.0.0.1:1111 tcp: " + covered},
		{[]string{":1111"}, []string{"127.0.0.1:1111"}, "127.0.0.1:1111 tcp: " + covered},
	} {
		s, _, err := opened(t, Options{ListenONC: tt.onc, ListenDCE: tt.dce})
		got := errorText(err)
		if err == nil {
			got = s.onNetwork()
			s.close()
		}
		if got != tt.want {
			t.Errorf("open %q, %q = %s, want %s", tt.onc, tt.dce, got, tt.want)
		}
	}
	nothingListens(t)
}

// TestOneMapperAlone: what can be served is served, be it one of the mappers only.
func TestOneMapperAlone(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	if err := os.Mkdir(filepath.Dir(SystemDCESocket), 0o755); err != nil {
		t.Fatal(err)
	}
	onc := []filer{listen(t, "tcp", ":111"), listen(t, "udp", ":111"), listen(t, "unix", SystemONCSocket), listen(t, "unix", "@"+SystemONCSocket)}
	check := func(want []string, failures int) {
		t.Helper()
		if _, _, err := opened(t, Options{}); err == nil {
			t.Error("open without --keep-going succeeds")
		}
		s, log, err := opened(t, Options{KeepGoing: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.names(); !slices.Equal(got, want) || strings.Count(log, `level=ERROR msg="not served"`) != failures {
			t.Errorf("open = %q, want %q; log, of which %d lines are wanted:\n%s", got, want, failures, log)
		}
		s.close()
	}
	dceAlone := systemNames[6:]
	check(dceAlone, 3)
	dce := []filer{listen(t, "tcp", ":135"), listen(t, "unix", SystemDCESocket)}
	if s, _, err := opened(t, Options{KeepGoing: true}); err == nil {
		t.Errorf("open = %q, want an error: there is nothing to answer on", s.names())
	}
	for _, s := range onc {
		s.Close()
	}
	check(append(slices.Clone(systemNames[:6]), SystemControl), 3)
	for _, s := range dce {
		s.Close()
	}
	nothingListens(t)
}

func TestIPv6Off(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const notice = `level=WARN msg="IPv6 is switched off on this host and left out" server=`
	check := func(o Options, names, logged, want string) {
		t.Helper()
		s, log, err := opened(t, o)
		got := ""
		if err == nil {
			got = s.onNetwork()
			s.close()
		}
		if got != names || errorText(err) != want || !strings.Contains(log, logged) || (log == "") != (logged == "") {
			t.Errorf("open %+v = %q, %v; log %q, want %q, %q; log %q", o, got, err, log, names, want, logged)
		}
	}
	const (
		dev4 = "tcp 127.0.0.1:1111 udp 127.0.0.1:1111 dce tcp 127.0.0.1:1135"
		all4 = "tcp 0.0.0.0:111 udp 0.0.0.0:111 dce tcp 0.0.0.0:135"
		all  = "tcp 0.0.0.0:111 tcp [::]:111 udp 0.0.0.0:111 udp [::]:111 dce tcp 0.0.0.0:135 dce tcp [::]:135"
	)
	none := []string{"none"}
	dev := Options{Dev: true, StateDir: t.TempDir()}
	write(t, "/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1")
	check(dev, dev4, notice+`"[::1]:1111 [::1]:1135"`+"\n", "") // said once
	check(Options{}, all, "", "")                               // other interfaces may have it
	write(t, "/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
	check(dev, dev4, notice+`"[::1]:1111 [::1]:1135"`+"\n", "")
	check(Options{}, all4, notice+`"[::]:111 [::]:135"`+"\n", "")
	check(Options{ListenONC: none}, "dce tcp 0.0.0.0:135", notice+"[::]:135\n", "")
	check(Options{ListenDCE: none}, "tcp 0.0.0.0:111 udp 0.0.0.0:111", notice+"[::]:111\n", "")
	check(Options{ListenDCE: none, ListenONC: []string{"127.0.0.1", "::1"}}, "", "", "[::1]:111: IPv6 is switched off on this host: leave --listen-onc [::1]:111 out")
	check(Options{ListenDCE: none, ListenONC: []string{":111"}}, "", "", "[::]:111: IPv6 is switched off on this host: leave --listen-onc [::]:111 out")
	check(Options{ListenDCE: none, ListenONC: []string{"::1", "127.0.0.1"}, KeepGoing: true}, "tcp 127.0.0.1:111 udp 127.0.0.1:111", `msg="not served" err="[::1]:111: IPv6`, "")
	check(Options{ListenONC: none, ListenDCE: []string{"127.0.0.1", "::1"}}, "", "", "[::1]:135: IPv6 is switched off on this host: leave --listen-dce [::1]:135 out")
	check(Options{ListenONC: none, ListenDCE: []string{"::1", "127.0.0.1"}, KeepGoing: true}, "dce tcp 127.0.0.1:135", `msg="not served" err="[::1]:135: IPv6`, "")
	nothingListensIPv4(t)
}

func nothingListensIPv4(t *testing.T) {
	t.Helper()
	for _, a := range []struct{ network, address string }{{"tcp", "0.0.0.0:111"}, {"udp", "0.0.0.0:111"}, {"tcp", "0.0.0.0:135"}} {
		if p, ok := socktable.HolderOf(a.network, netip.MustParseAddrPort(a.address)); ok {
			t.Errorf("%v still has %s %s", p, a.network, a.address)
		}
	}
}
