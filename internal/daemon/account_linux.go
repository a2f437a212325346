package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// systemAccount is the account that the system's daemon becomes when root
// starts it and chooses none.
const systemAccount = "quaymaster"

// systemState is the folder of what the system's daemon keeps for good.
const systemState = "/var/lib/quaymaster"

// An account is a user that the daemon runs as; nil is the one that started it.
type account struct {
	name     string
	uid, gid int
	groups   []int
}

// accountFor returns the account that the daemon is to become: the one that was
// chosen; else [systemAccount], if there is one and root starts the system's
// daemon; else nil.
func accountFor(chosen string, system bool) (*account, error) {
	if chosen == "" && system && os.Geteuid() == 0 {
		if _, err := user.Lookup(systemAccount); err == nil {
			return lookUp(systemAccount)
		}
	}
	return lookUp(chosen)
}

// lookUp returns the account of that name, or nil for no name.
func lookUp(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("--user %s: there is no such account: make it (useradd --system %s) or choose another", name, name)
	}
	a := &account{name: name}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("--user %s: %w", name, err)
	}
	for _, id := range ids {
		g, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("--user %s: group %q is no number", name, id)
		}
		a.groups = append(a.groups, g)
	}
	if a.uid, err = strconv.Atoi(u.Uid); err == nil {
		a.gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return nil, fmt.Errorf("--user %s: %w", name, err)
	}
	return a, nil
}

// settle makes the process the account's, for good and in every thread, with no
// privilege left and none to be had from a program that it executes. It is called
// when every socket is open. files are the paths that the daemon makes, replaces
// or removes from then on; [handOver] says what becomes of them.
//
// Without an account the daemon stays who started it. That root serves is then a
// warning in the log, as is what could not be given up; in development neither.
func (a *account) settle(o *Options, files []string, log *slog.Logger) error {
	if a != nil {
		return a.become(files, 0, o.User != "")
	}
	stay := account{uid: os.Geteuid(), gid: os.Getegid()}
	var err error
	if o.Dev && stay.uid == 0 && !rootsOwn(files) {
		err = forbidNew() // in a folder that is another's root needs its capabilities
	} else {
		err = stay.take(files, 0)
	}
	switch {
	case o.Dev:
	case err != nil:
		log.Warn("privileges are not given up", "err", err)
	case stay.uid == 0:
		log.Warn("root serves, without capabilities: make an account to take its place (useradd --system " + systemAccount + ") and restart")
	}
	return nil
}

// become does what [account.settle] says, but for the capabilities to keep.
func (a *account) become(files []string, keep capabilities, chosen bool) error {
	err := a.take(files, keep)
	switch {
	case err == nil:
		return nil
	case chosen:
		return fmt.Errorf("--user %s: %w", a.name, err)
	}
	return fmt.Errorf("account %s: %w", a.name, err)
}

// settleGate is settle for a gate, which keeps what it needs of capabilities; so do the programs that it executes.
func (a *account) settleGate(chosen bool, files []string, log *slog.Logger) error {
	if a != nil {
		return a.become(files, gateCapabilities, chosen)
	}
	stay := account{uid: os.Geteuid(), gid: os.Getegid()}
	keep := gateCapabilities
	if stay.uid == 0 && !rootsOwn(files) {
		keep |= 1 << unix.CAP_DAC_OVERRIDE // in a folder that is another's
	}
	if err := stay.take(files, keep); err != nil {
		log.Warn("privileges are not given up", "err", err)
	} else if stay.uid == 0 {
		log.Info("root stays, with what the gate needs of its capabilities: an account would take its place (useradd --system " + systemAccount + ")")
	}
	return nil
}

// rootsOwn tells whether every folder on the way to the files is root's, so that
// root needs no right to go past permissions there.
func rootsOwn(files []string) bool {
	for _, file := range files {
		for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
			var st unix.Stat_t
			if unix.Stat(dir, &st) != nil || st.Uid != 0 {
				return false
			}
			if dir == "/" {
				break
			}
		}
	}
	return true
}

// take does what [account.settle] says for an account that has been decided on, but for the capabilities to keep.
func (a *account) take(files []string, keep capabilities) error {
	if os.Geteuid() == 0 {
		if err := handOver(files, a.uid, a.gid); err != nil {
			return a.explain(err)
		}
		if err := dropBounding(keep); err != nil {
			return err
		}
	}
	if !a.current() {
		if os.Geteuid() != 0 {
			return errors.New("only root can become another user")
		}
		if keep != 0 {
			if err := keepPermitted(); err != nil {
				return err
			}
		}
		if err := a.change(); err != nil {
			return a.explain(err)
		}
	}
	return dropPrivileges(keep)
}

// current tells whether the process runs as the account.
func (a *account) current() bool { return os.Getuid() == a.uid && os.Geteuid() == a.uid }

// change makes every thread the account's.
func (a *account) change() error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"setgroups", func() error { return syscall.Setgroups(a.groups) }},
		{"setgid", func() error { return syscall.Setresgid(a.gid, a.gid, a.gid) }},
		{"setuid", func() error { return syscall.Setresuid(a.uid, a.uid, a.uid) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// explain says why the kernel does not let root become the account.
func (a *account) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: this user namespace has no user %d, or not all its groups: map them, or choose another account (--user root stays root)", err, a.uid)
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w: it takes CAP_CHOWN, CAP_SETGID and CAP_SETUID: give them, or choose another account (--user root stays root)", err)
	}
	return err
}

// systemFolders are the daemon's alone, in folders that are root's.
var systemFolders = []string{filepath.Dir(SystemControl), systemState}

// handOver gives a user those of the system's folders that hold one of the
// files, made if they are missing, with those of the files that are there. Any
// other folder was chosen by somebody, and stays whose it is. On a file system
// that nobody can write to there is nothing to give.
func handOver(files []string, uid, gid int) error {
	for _, dir := range systemFolders {
		ours := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return filepath.Dir(f) != dir })
		if len(ours) == 0 {
			continue
		}
		if err := giveFolder(dir, ours, uid, gid); err != nil && !errors.Is(err, syscall.EROFS) {
			return err
		}
	}
	return nil
}

// giveFolder gives a user a folder and the files in it. Where an account had
// the folder before, it could have put there what it wants to be given: another's
// file by a second name. So files are given, before the folder, only while
// nobody but root can change the folder, or to root.
func giveFolder(dir string, files []string, uid, gid int) error {
	_, err := os.Lstat(dir)
	missing := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if missing {
		if err := f.Chmod(0o755); err != nil { // whatever the umask
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Uid == 0 && st.Mode&0o022 == 0 || uid == 0 {
		for _, file := range files {
			if err := giveFile(int(f.Fd()), filepath.Base(file), uid, gid); err != nil {
				return &os.PathError{Op: "chown", Path: file, Err: err}
			}
		}
	}
	if st.Uid == uint32(uid) && st.Gid == uint32(gid) {
		return nil // which takes no right
	}
	return f.Chown(uid, gid)
}

// giveFile gives a user a file with one name; what else stands there is left alone.
func giveFile(dir int, name string, uid, gid int) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Uid == uint32(uid) && st.Gid == uint32(gid) {
		return nil
	}
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}
