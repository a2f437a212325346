//go:build !linux

package transport

import (
	"errors"
	"net"
)

// PeerOf fails: who connected is known on Linux only.
func PeerOf(net.Conn) (*Peer, error) {
	return nil, errors.New("transport: peer credentials are read on Linux only")
}
