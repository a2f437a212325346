package transport

import (
	"net"
	"sync"
)

// Listener returns a listener of local connections that closes those which g
// refuses, and passes on the others. A connection counts from there to its
// Close; [PeerOf] knows whether its peer is in another network namespace than ln.
// Closing the listener closes ln.
func (g *Guard) Listener(ln net.Listener) net.Listener {
	return &listener{Listener: ln, guard: g, home: namespaceOf(ln)}
}

type listener struct {
	net.Listener
	guard *Guard
	home  uint64 // the namespace of the listening socket
}

// Accept waits for a connection that the guard does not refuse.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, peerErr := peerOf(conn, l.home)
		v, err := l.guard.enter(&Call{Peer: peer})
		if err != nil {
			conn.Close()
			continue
		}
		return &visit{Conn: conn, peer: peer, err: peerErr, leave: sync.OnceFunc(func() { l.guard.leave(v) })}, nil
	}
}

// A visit is a connection that a guard let in.
type visit struct {
	net.Conn
	peer  *Peer
	err   error // why there is no peer
	leave func()
}

// Close closes the connection and gives its place back, once.
func (c *visit) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// PeerOf returns who connected to a local socket, as the kernel tells. The
// connection may be one of a [Guard]'s listener; of any other it is not known
// where it was accepted, and Elsewhere compares with this process.
func PeerOf(conn net.Conn) (*Peer, error) {
	if c, ok := conn.(*visit); ok {
		return c.peer, c.err
	}
	return peerOf(conn, ownNamespace())
}
