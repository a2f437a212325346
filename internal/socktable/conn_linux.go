package socktable

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A conn is a conversation with the kernel. The zero value is ready.
type conn struct {
	mu    sync.Mutex // held while a question is asked and answered
	link  *link      // nil before the first question, and after a failure
	ended atomic.Bool
}

// ask sends a request and calls each with what answers it, which is not to be
// kept. An error may be what the kernel answers. If the conversation fails, a new
// one is begun once, unless each has been told something: that must not be told
// again.
func (c *conn) ask(flags uint16, request []byte, each func(answer []byte) error) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	over, told := false, false
	for try := 0; try < 2 && !over && !told; try++ {
		over, err = c.try(flags, request, func(answer []byte) error {
			told = true
			return each(answer)
		})
	}
	if err == nil && !told && flags&unix.NLM_F_DUMP == 0 {
		return fmt.Errorf("%w: it is empty", errAnswer)
	}
	return err
}

// try is ask, once. If over is false the conversation has failed.
func (c *conn) try(flags uint16, request []byte, each func(answer []byte) error) (over bool, err error) {
	if c.ended.Load() {
		return false, net.ErrClosed
	}
	if c.link == nil {
		if c.link, err = openLink(); err != nil {
			return false, err
		}
	}
	err = c.link.send(flags, request)
	for err == nil && !over {
		var datagram []byte
		if datagram, err = c.link.receive(); err == nil {
			over, err = hear(datagram, c.link.sequence, each)
		}
		if !over && c.ended.Load() {
			err = net.ErrClosed
		}
	}
	if !over { // an answer may come late, and must not be taken for the next one
		c.drop()
	}
	return over, err
}

func (c *conn) drop() {
	if c.link != nil {
		c.link.close()
		c.link = nil
	}
}

// close ends the conversation, and what is being asked.
func (c *conn) close() {
	c.ended.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}
