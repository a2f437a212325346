package transport

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// PeerOf asks the kernel who connected to a local socket (SO_PEERCRED).
func PeerOf(conn net.Conn) (*Peer, error) {
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
	if err := raw.Control(func(fd uintptr) { peer, peerErr = peerOfFD(int(fd)) }); err != nil {
		return nil, fmt.Errorf("transport: peer credentials: %w", err)
	}
	return peer, peerErr
}

func peerOfFD(fd int) (*Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("transport: SO_PEERCRED: %w", err)
	}
	return &Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}, nil
}
