package socktable

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answerSize is the most bytes that the kernel tells at once in a dump; each
// read of so much saves asking for the size before.
const answerSize = 32 << 10

func dial() (*netlink.Conn, error) {
	return netlink.Dial(unix.NETLINK_SOCK_DIAG, &netlink.Config{MessageBufferSize: answerSize})
}

// A conn is a conversation with the kernel. The zero value is ready.
type conn struct {
	mu    sync.Mutex
	link  *netlink.Conn // nil before the first question, and after a failure
	ended bool
}

// ask sends a request and returns the messages that answer it, of which there is
// at least one unless the request is for a dump.
func (c *conn) ask(flags netlink.HeaderFlags, request []byte) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, net.ErrClosed
	}
	if c.link == nil {
		link, err := dial()
		if err != nil {
			return nil, err
		}
		c.link = link
	}
	answers, err := c.link.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | flags},
		Data:   request,
	})
	var told *netlink.OpError
	switch {
	case errors.As(err, &told) && told.Sequence != 0: // the error is the kernel's answer
		return nil, err
	case err != nil: // an answer may come late, and must not be taken for the next one
		c.link.Close()
		c.link = nil
		return nil, err
	case len(answers) == 0 && flags&netlink.Dump == 0:
		return nil, fmt.Errorf("%w: it is empty", errAnswer)
	}
	return answers, nil
}

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.link != nil {
		c.link.Close()
		c.link = nil
	}
}
