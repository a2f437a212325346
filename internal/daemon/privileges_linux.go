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

// capabilities are a set of them, a bit for each.
type capabilities uint64

// gateCapabilities are what a gate needs while it runs: rules, routes and settings; sockets with addresses of others; their ports below 1024.
const gateCapabilities capabilities = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE

// dropBounding takes from the process what a program that it executes could be
// given, but for keep. It needs CAP_SETPCAP; without that the set stays, and what the process
// has and executes is decided by [dropPrivileges] alone.
func dropBounding(keep capabilities) error {
	if err := seesThreads(); err != nil {
		return err
	}
	for c := uintptr(0); ; c++ {
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		switch {
		case err != nil: // the kernel knows no more
			return nil
		case held == 0 || keep&(1<<c) != 0:
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
// capabilities for good, but for those to keep that the process has: no program that it executes gets
// any other.
func dropPrivileges(keep capabilities) error {
	if err := forbidNew(); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has, want [2]unix.CapUserData
	if err := unix.Capget(&header, &has[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	for i := range want {
		kept := uint32(keep>>(32*i)) & has[i].Permitted
		want[i] = unix.CapUserData{Effective: kept, Permitted: kept, Inheritable: kept}
	}
	// The ambient set never has more than the others (capabilities(7)).
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0)
	if errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	for c := range uintptr(64) {
		if want[c/32].Permitted&(1<<(c%32)) == 0 {
			continue
		}
		if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0, 0); errno != 0 {
			return fmt.Errorf("ambient capabilities: %w", errno)
		}
	}
	return nil
}

// keepPermitted has the permitted capabilities stay when the process becomes another user.
func keepPermitted() error {
	if err := seesThreads(); err != nil {
		return err
	}
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("keeping capabilities: %w", errno)
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
