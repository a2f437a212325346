package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Privileges belong to threads. What is called here is called on all of them,
// also on those that C made in a binary built with cgo, of which the Go runtime
// does not know; and it is inherited by those that come later.

var errForeignProc = errors.New("/proc is missing, or that of another PID namespace: mount this one's")

// dropBounding takes from the process what a program that it executes could be
// given. It needs CAP_SETPCAP; without that the set stays, and what the process
// has and executes is decided by [dropPrivileges] alone.
func dropBounding() error {
	if err := seesThreads(); err != nil {
		return err
	}
	for c := uintptr(0); ; c++ {
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		switch {
		case err != nil: // the kernel knows no more
			return nil
		case held == 0:
			continue
		}
		_, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0, 0)
		switch {
		case errno == unix.EPERM:
			return nil
		case errno != 0:
			return fmt.Errorf("bounding set: %w", errno)
		}
	}
}

// dropPrivileges empties the effective, permitted, inheritable and ambient
// capabilities for good: no program that the process executes gets any either.
func dropPrivileges() error {
	if err := forbidNew(); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData // the ambient set goes with the others (capabilities(7))
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	return nil
}

// forbidNew keeps the process from getting privileges by executing a program.
func forbidNew() error {
	if err := seesThreads(); err != nil {
		return err
	}
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("no_new_privs: %w", errno)
	}
	return nil
}

// seesThreads returns an error where package psx would wait for ever, or end
// the process: it finds the threads in /proc, which may be missing, or be that
// of another PID namespace.
func seesThreads() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return errForeignProc
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok && len(strings.Fields(ids)) != 1 {
			return errForeignProc // it shows our number in the namespace of /proc, then in those within
		}
	}
	return nil
}
