package nstest

import (
	"net"
	"testing"
)

// Answer has a function talk to each connection that a listener takes, in a goroutine of its own, until the test ends. It
// owns the listener, and closes each connection when the function returns.
func Answer(t testing.TB, l net.Listener, talk func(net.Conn)) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				talk(conn)
			}()
		}
	}()
}
