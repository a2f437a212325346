package transport

import (
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that never wait, on descriptors that are non-blocking. The Go
// runtime is not told of them: to prepare for a call that may wait, and to find
// out afterwards that it did not, costs as much as most of these do.

func read(fd int, b []byte) (int, error) {
	return result(unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

func write(fd int, b []byte) (int, error) {
	return result(unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

func closeFD(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// ready sets events to what can be done now, and returns how many there are.
func ready(epoll int, events []unix.EpollEvent) (int, error) {
	return result(unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0))
}

// accept takes a connection that waits at a listener; addr is its client's address.
func accept(listener int) (fd int, addr address, err error) {
	var a address
	size := uint32(unsafe.Sizeof(a.raw))
	fd, err = result(unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&a.raw)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0))
	return fd, a, err
}

// nameOf returns the address that a socket is bound to.
func nameOf(fd int) (address, error) {
	var a address
	size := uint32(unsafe.Sizeof(a.raw))
	_, err := result(unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.raw)), uintptr(unsafe.Pointer(&size))))
	return a, os.NewSyscallError("getsockname", err)
}

// An address is what the kernel tells of a socket, of IP or not.
type address struct{ raw unix.RawSockaddrInet6 } // which has room for one of IPv4

// addrPort returns the address of a socket of IP, never mapped.
func (a *address) addrPort() (netip.AddrPort, bool) {
	switch a.raw.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), networkOrder(v4.Port)), true
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.raw.Addr).Unmap(), networkOrder(a.raw.Port)), true
	}
	return netip.AddrPort{}, false
}

// option reads an option of a socket into value.
func option[T any](fd, level, name int, value *T) error {
	size := uint32(unsafe.Sizeof(*value))
	_, err := result(unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(value)), uintptr(unsafe.Pointer(&size)), 0))
	return err
}

func result(n, _ uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
