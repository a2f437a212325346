package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// find returns the path of a program, as the PATH has it, or the exit status that says why
// there is none.
func find(name string) (path string, status int, err error) {
	path, err = exec.LookPath(name)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot): // whose PATH has the current folder wants that
		return path, 0, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "", ExitNotFound, fmt.Errorf("%s: there is no such program", name)
	}
	return "", ExitCannotRun, fmt.Errorf("%s: %w: it cannot be executed", name, reason(err))
}

// reason returns what is wrong with a program, without how it was found out.
func reason(err error) error {
	var looked *exec.Error
	if errors.As(err, &looked) {
		err = looked.Err
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err
}

// start starts a program with this process' standard files, group and session.
func start(path string, words, env []string, killWithMe bool) (pid, status int, err error) {
	attr := &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{}}
	if killWithMe {
		attr.Sys.Pdeathsig = syscall.SIGTERM
	}
	// Not os.StartProcess, which would want to wait for it.
	pid, _, err = syscall.StartProcess(path, words, attr)
	switch {
	case err == nil:
		return pid, 0, nil
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM):
		return 0, ExitFailed, fmt.Errorf("%s: %w: no process can be made", path, err)
	case errors.Is(err, syscall.ENOENT): // but it was found
		err = fmt.Errorf("its interpreter: %w", err)
	}
	return 0, ExitCannotRun, fmt.Errorf("%s: %w: it cannot be executed", path, err)
}

// changesUser tells whether a program gets other rights when it is executed, which makes the
// kernel forget the signal of [Job.KillWithMe].
func changesUser(path string) bool {
	if info, err := os.Stat(path); err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		return true
	}
	_, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil
}
