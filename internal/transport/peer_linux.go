package transport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
)

// peerOf asks the kernel who connected to a local socket that was accepted in
// the network namespace home.
func peerOf(conn net.Conn, home uint64) (*Peer, error) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("transport: %s connections have no peer credentials", conn.LocalAddr().Network())
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("transport: peer credentials: %w", err)
	}
	var peer *Peer
	var peerErr error
	if err := raw.Control(func(fd uintptr) { peer, peerErr = peerOfFD(int(fd), home, raw) }); err != nil {
		return nil, fmt.Errorf("transport: peer credentials: %w", err)
	}
	return peer, peerErr
}

func peerOfFD(fd int, home uint64, s socket) (*Peer, error) {
	var cred unix.Ucred
	if err := nowait.Option(fd, unix.SOL_SOCKET, unix.SO_PEERCRED, &cred); err != nil {
		return nil, fmt.Errorf("transport: SO_PEERCRED: %w", err)
	}
	return &Peer{
		PID: cred.Pid, UID: cred.Uid, GID: cred.Gid,
		Elsewhere: home != 0 && namespaceOfFD(fd) != home, // an accepted socket is in the namespace of the one that connected
		socket:    s,
	}, nil
}

// namespaceOfFD returns a number for the network namespace of a socket
// (SO_NETNS_COOKIE, Linux 5.14); 0 if the kernel does not tell.
func namespaceOfFD(fd int) uint64 {
	var cookie uint64
	nowait.Option(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE, &cookie)
	return cookie
}

func namespaceOf(ln net.Listener) (cookie uint64) {
	if s, ok := ln.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { cookie = namespaceOfFD(int(fd)) })
		}
	}
	return cookie
}

// ownNamespace returns the namespace in which this process opens sockets.
var ownNamespace = sync.OnceValue(func() uint64 {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	return namespaceOfFD(fd)
})

// PIDFD returns a descriptor of the process (pidfd_open(2)), which the caller
// closes. It means the process that connected, whoever has its number now, from
// Linux 6.5 on (SO_PEERPIDFD); before it is as good as the number.
//
// Of a process that has ended, and for which its parent has waited, kernels give
// either a descriptor of nothing, with "Pid: -1" in /proc/self/fdinfo, or the
// error EINVAL or ESRCH. Before that it is a descriptor as of any other process.
//
// It must be called while the connection is open: for the Peer of a [Call] before
// Answer returns; one of [PeerOf] fails once the connection is closed.
func (p *Peer) PIDFD() (int, error) {
	if p.socket == nil {
		return p.openPID()
	}
	var fd int
	var sockErr error
	err := p.socket.Control(func(s uintptr) {
		fd, sockErr = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	})
	switch {
	case err != nil:
		return -1, fmt.Errorf("transport: SO_PEERPIDFD: %w", err)
	case errors.Is(sockErr, unix.ENOPROTOOPT):
		return p.openPID()
	case sockErr != nil:
		return -1, fmt.Errorf("transport: SO_PEERPIDFD: %w", sockErr)
	}
	return fd, nil
}

// openPID returns a descriptor of the process that has the number now.
func (p *Peer) openPID() (int, error) {
	fd, err := unix.PidfdOpen(int(p.PID), 0)
	if err != nil {
		return -1, fmt.Errorf("transport: process %d: %w", p.PID, os.NewSyscallError("pidfd_open", err))
	}
	return fd, nil
}
