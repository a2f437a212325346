package nowait

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads from a descriptor; 0 bytes are its end.
func Read(fd int, b []byte) (int, error) {
	return result(unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

// Write writes to a descriptor what fits.
func Write(fd int, b []byte) (int, error) {
	return result(unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

// Close closes a descriptor.
func Close(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// Poll sets events to what can be done now with the descriptors of an epoll, and returns how many there are.
func Poll(epoll int, events []unix.EpollEvent) (int, error) {
	return result(unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0))
}

// Watch adds a descriptor to an epoll, changes or removes it: op is one of unix.EPOLL_CTL_*.
func Watch(epoll, op, fd int, event *unix.EpollEvent) error {
	_, err := result(unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(event)), 0, 0))
	return os.NewSyscallError("epoll_ctl", err)
}

// Accept takes a connection that waits at a listener; from is its client's address. The connection is non-blocking.
func Accept(listener int) (fd int, from Address, err error) {
	size := uint32(unsafe.Sizeof(from.raw))
	fd, err = result(unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&from.raw)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0))
	return fd, from, err
}

// NameOf returns the address that a socket is bound to.
func NameOf(fd int) (Address, error) {
	var a Address
	size := uint32(unsafe.Sizeof(a.raw))
	_, err := result(unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.raw)), uintptr(unsafe.Pointer(&size))))
	return a, os.NewSyscallError("getsockname", err)
}

// Option reads an option of a socket into value.
func Option[T any](fd, level, name int, value *T) error {
	size := uint32(unsafe.Sizeof(*value))
	_, err := result(unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(value)), uintptr(unsafe.Pointer(&size)), 0))
	return err
}

// SetOption sets an option of a socket.
func SetOption(fd, level, name, value int) error {
	v := int32(value)
	_, err := result(unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0))
	return os.NewSyscallError("setsockopt", err)
}

func result(n, _ uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// An Address is what the kernel tells of a socket, of IP or not.
type Address struct{ raw unix.RawSockaddrInet6 } // which has room for one of IPv4

// AddrPort returns the address of a socket of IP, never mapped.
func (a *Address) AddrPort() (netip.AddrPort, bool) {
	switch a.raw.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), networkOrder(v4.Port)), true
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.raw.Addr).Unmap(), networkOrder(a.raw.Port)), true
	}
	return netip.AddrPort{}, false
}

// Set makes it the address of a socket of IP, as the kernel is told whom a datagram is for; it returns its size.
func (a *Address) Set(to netip.AddrPort) (size uint32) {
	a.raw = unix.RawSockaddrInet6{}
	if to.Addr().Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(to.Port()), Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	a.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(to.Port()), Addr: to.Addr().As16()}
	return unix.SizeofSockaddrInet6
}

func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
