package probe

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// hearRefusals has a socket of UDP tell of ICMP port unreachable, which package net turns off.
func hearRefusals(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { // an error leaves the port "filtered or silent", which is no lie
		on, size := uint32(1), uint32(0)
		windows.WSAIoctl(windows.Handle(fd), windows.SIO_UDP_CONNRESET, (*byte)(unsafe.Pointer(&on)), uint32(unsafe.Sizeof(on)), nil, 0, &size, nil, 0)
	})
}
