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
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, fmt.Errorf("transport: peer credentials: %w", err)
	}
	if credErr != nil {
		return nil, fmt.Errorf("transport: SO_PEERCRED: %w", credErr)
	}
	return &Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}, nil
}
