//go:build !linux

package transport

import (
	"errors"
	"net"
)

func peerOf(net.Conn) (*Peer, error) {
	return nil, errors.New("transport: peer credentials are read on Linux only")
}
