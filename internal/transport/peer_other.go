//go:build !linux

package transport

import (
	"errors"
	"net"
)

// peerOf fails: who connected is known on Linux only.
func peerOf(net.Conn, uint64) (*Peer, error) {
	return nil, errors.New("transport: peer credentials are read on Linux only")
}

func namespaceOf(net.Listener) uint64 { return 0 }

func ownNamespace() uint64 { return 0 }

// PIDFD fails: there are such descriptors on Linux only.
func (p *Peer) PIDFD() (int, error) {
	return -1, errors.New("transport: processes have descriptors on Linux only")
}
