package launch

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

const someUser = 1001

var asSomeUser = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: someUser, Gid: someUser}}

// letIn lets every user reach the fake, and returns the folder of its socket.
func (f *fake) letIn(t *testing.T) string {
	t.Helper()
	dir := filepath.Dir(f.path)
	for _, path := range []string{filepath.Dir(dir), dir, f.path} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program copies the test binary into a folder, with a mode.
func program(t *testing.T, dir string, mode os.FileMode) string {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "server")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	to.Close() // or it cannot be executed
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// Programs of an ordinary user that he may not look into.
func TestHidden(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	for _, tt := range []struct {
		name   string
		mode   os.FileMode
		words  []string
		want   string
		status int
		proc   string // how /proc is mounted
	}{
		{"its socket is the user's", 0o755, []string{"hide", "say=%", "tcp=0.0.0.0:{port}"}, `^pid \d+ listens: 3 tcp 0\.0\.0\.0:5001$`, 128 + 15, ""},
		{"setuid, and back before it listens", 0o755 | os.ModeSetuid, []string{fmt.Sprintf("uid=%d", someUser), "say=%", "tcp=0.0.0.0:{port}"},
			`^pid \d+ listens: 3 tcp 0\.0\.0\.0:5001$`, 128 + 15, ""},
		{"setuid, and its socket is root's", 0o755 | os.ModeSetuid, []string{"say=%", "tcp=0.0.0.0:{port}"},
			`^error: .* did not listen on tcp port 5001 within 300ms: a socket of uid 0 is there, .*: if it is the server's, run quaymaster as uid 0$`, ExitFailed, ""},
		{"unseen in /proc, and its socket is the user's", 0o755, []string{"hide", "say=%", "tcp=0.0.0.0:{port}"}, `^pid \d+ listens: 3 tcp 0\.0\.0\.0:5001$`, 128 + 15, "hidepid=2"},
		{"unseen in /proc, and its socket is root's", 0o755 | os.ModeSetuid, []string{"say=%", "tcp=0.0.0.0:{port}"},
			`^error: .* did not listen on tcp port 5001 within 300ms: a socket of uid 0 is there, `, ExitFailed, "hidepid=2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.proc != "" {
				if err := unix.Mount("proc", "/proc", "proc", 0, tt.proc); err != nil {
					t.Fatal(err)
				}
				defer unix.Unmount("/proc", 0)
			}
			f := startFake(t)
			path := program(t, f.letIn(t), tt.mode)
			var fs unix.Statfs_t
			if err := unix.Statfs(path, &fs); err != nil || fs.Flags&unix.ST_NOSUID != 0 && tt.mode&os.ModeSetuid != 0 {
				nstest.Unavailable(t, "%s is on a file system without setuid (%v)", path, err)
			}
			s := mountd(t, append(tt.words, "serve")...)
			s.Command[0] = path
			if tt.status == ExitFailed {
				s.Wait = 300 * time.Millisecond
			}
			cmd := f.command(t, s)
			cmd.SysProcAttr = asSomeUser
			p := nstest.StartCommand(t, cmd)
			pid := await(t, p, `^(\d+)$`)[1]
			if _, err := os.Readlink("/proc/" + pid + "/exe"); err != nil {
				t.Fatal(err) // root may, or it has ended
			}
			await(t, p, tt.want)
			p.Signal(unix.SIGTERM)
			f.ended(t, p, tt.status)
			gone(t, pid)
		})
	}
	t.Run("a stranger of another user has the port", func(t *testing.T) {
		f := startFake(t)
		dir := f.letIn(t)
		if err := os.WriteFile(dir+"/5002", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		defer occupy(t, "tcp", "0.0.0.0:5001")()
		s := mountd(t, "zombie", "await="+dir+"/{port}", "tcp=0.0.0.0:{port}", "serve") // a zombie hides no sockets
		s.Command[0] = program(t, dir, 0o755)
		s.Wait = time.Second
		cmd := f.command(t, s)
		cmd.SysProcAttr = asSomeUser
		p := nstest.StartCommand(t, cmd)
		await(t, p, `^say: tcp port 5001 was taken by a socket of uid 0 before server listened there: trying another`)
		await(t, p, `listens: 3 tcp 0\.0\.0\.0:5002$`)
	})
	t.Run("a stranger of the same user has the port", func(t *testing.T) {
		f := startFake(t)
		dir := f.letIn(t)
		if err := os.WriteFile(dir+"/5002", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		stranger := exec.Command("/proc/self/exe", "tcp=0.0.0.0:5001", "say=%", "serve")
		stranger.Env = append(os.Environ(), playVar+"=1")
		stranger.SysProcAttr = asSomeUser
		pid := await(t, nstest.StartCommand(t, stranger), `^(\d+)$`)[1]
		s := mountd(t, "hide", "await="+dir+"/{port}", "tcp=0.0.0.0:{port}", "serve")
		s.Command[0] = program(t, dir, 0o755)
		s.Wait = time.Second
		cmd := f.command(t, s)
		cmd.SysProcAttr = asSomeUser
		p := nstest.StartCommand(t, cmd)
		await(t, p, `^say: tcp port 5001 was taken by \S+ \(pid `+pid+`\) before server listened there: trying another`)
		await(t, p, `listens: 3 tcp 0\.0\.0\.0:5002$`)
	})
}

// The kernel forgets the signal of a parent's death where rights change: that is said.
func TestKillWithMeAndSetuid(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for mode, want := range map[os.FileMode]bool{0o755: false, 0o755 | os.ModeSetuid: true, 0o755 | os.ModeSetgid: true} {
		f := startFake(t)
		s := mountd(t, "exit=0")
		s.Command[0] = program(t, t.TempDir(), mode)
		s.KillWithMe = true
		p := f.start(t, s)
		f.ended(t, p, 0)
		if got := strings.Contains(p.Output(), "server gets other rights when it starts, so --kill-with-me does not reach it"); got != want {
			t.Errorf("%v: it is said: %t, want %t", mode, got, want)
		}
	}
}

// terminal opens a terminal: what is typed there, and what a process has for its own.
func terminal(t *testing.T) (keys, tty *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		nstest.Unavailable(t, "no terminal: %v", err)
	}
	t.Cleanup(func() { keys.Close() })
	n, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		nstest.Unavailable(t, "no terminal: %v", err)
	}
	t.Cleanup(func() { tty.Close() })
	return keys, tty
}

// What is typed reaches a program once, whether or not it has the group of the terminal.
func TestKeys(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for name, words := range map[string][]string{"same group": nil, "another session": {"daemon"}} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			keys, tty := terminal(t)
			cmd := f.command(t, mountd(t, append(words, "trap", "tcp=0.0.0.0:{port}", "say=%", "serve")...))
			cmd.Stdin = tty
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			p := nstest.StartCommand(t, cmd)
			pid := await(t, p, `^(\d+)$`)[1]
			await(t, p, "listens")
			if _, err := keys.WriteString("\x03"); err != nil {
				t.Fatal(err)
			}
			await(t, p, "^got SIGINT$")
			p.Signal(unix.SIGUSR1) // is passed on after whatever came of the key
			await(t, p, "^got SIGUSR1$")
			if n := strings.Count(p.Output(), "got SIGINT"); n != 1 {
				t.Errorf("SIGINT came %d times", n)
			}
			kill(t, pid, unix.SIGKILL)
			p.Wait(t, limit)
		})
	}
}
