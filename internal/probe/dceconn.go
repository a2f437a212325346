package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A DCEConn is a connection to a server of DCE/RPC, on which interfaces are bound and
// called one call at a time. It is not for use from several goroutines.
//
// Each exchange has the prober's timeout, from the first byte sent to the last received.
// After an error that is neither a [dcerpc.Fault] nor a refusal of a bind_ack the
// connection is of no more use.
type DCEConn struct {
	p      *Prober
	conn   net.Conn
	leave  func()    // gives up the place within the prober's bounds
	label  ndr.Label // of what is sent
	in     dcerpc.PDUReader
	room   []byte
	unread []byte // of room, not yet fed to in

	call     uint32           // the last call's id
	contexts uint16           // that were proposed
	context  uint16           // of the interface that was bound last
	bound    bool             // a bind was acknowledged
	group    uint32           // of the association
	maxFrag  uint16           // bytes of the largest fragment that the server takes
	security DCESecurity      // nil: anonymous
	signed   bool             // headers are signed with the stubs
	known    bool             // a call was answered with results
	last     dcerpc.Assembler // of the response that is read
}

const (
	// dceFrag is the size in bytes of the fragments that are offered: what Windows offers.
	dceFrag = 5840
	// httpPort is where endpoint mappers answer ncacn_http.
	httpPort = 593
	// httpGreeting is what servers of ncacn_http say before the first PDU (MS-RPCH, "legacy
	// server response").
	httpGreeting = "ncacn_http/1.0"
	// dceStrays is how many PDUs of other calls are passed over.
	dceStrays = 64
)

// Errors of a connection.
var (
	errGreeting = errors.New("it does not greet as a server of ncacn_http does")
	errNotDCE   = errors.New("it does not speak DCE/RPC")

	errNotAllowed = errors.New("this user may not use the socket")
)

// DialDCE connects to a server at a port of [epm.TCP] or [epm.HTTP], or at a local socket,
// whose endpoint has the protocol sequence [epm.LRPC] and the path. It binds nothing. Of the
// options the byte order and the authentication count. The caller closes the connection.
func (p *Prober) DialDCE(ctx context.Context, at endpoint.Endpoint, o DCEOptions) (*DCEConn, error) {
	s, err := p.seat(ctx, at.Addr.Addr()) // of local sockets the zero one: this host
	if err != nil {
		return nil, err
	}
	c, err := s.dialDCE(ctx, at, o)
	if err != nil {
		s.leave()
		return nil, err
	}
	c.leave = s.leave
	return c, nil
}

// dialDCE is [Prober.DialDCE] in a seat, which the caller leaves after it has closed the connection.
func (s *seat) dialDCE(ctx context.Context, at endpoint.Endpoint, o DCEOptions) (*DCEConn, error) {
	network, address := "tcp", at.Addr.String()
	if at.ProtSeq == epm.LRPC {
		network, address = "unix", at.Path
	}
	conn, err := s.connect(ctx, network, address)
	if err != nil {
		if network == "unix" && errors.Is(err, os.ErrPermission) { // of a port that says that a firewall is in the way
			return nil, errNotAllowed
		}
		return nil, err
	}
	c := newDCEConn(s.p, conn, o)
	if at.ProtSeq == epm.HTTP {
		err = c.exchange(ctx, nil, c.greeting)
	}
	if err == nil && o.Auth != nil {
		c.security, err = o.Auth.Begin(at)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func newDCEConn(p *Prober, conn net.Conn, o DCEOptions) *DCEConn {
	c := &DCEConn{p: p, conn: conn, leave: func() {}, label: ndr.LittleEndian, maxFrag: dceFrag}
	if o.BigEndian {
		c.label = ndr.BigEndian
	}
	c.in.Reset(dcerpc.MaxFrag)
	return c
}

// Close ends the connection, and with it whatever handles the server keeps for it.
func (c *DCEConn) Close() error {
	defer c.leave()
	return c.conn.Close()
}

// exchange sends and then receives, within the time for one answer.
func (c *DCEConn) exchange(ctx context.Context, pdus []byte, receive func() error) error {
	defer c.p.limit(ctx, c.conn, c.p.timeout())()
	c.last = dcerpc.Assembler{}
	var err error
	if len(pdus) > 0 {
		_, err = c.conn.Write(pdus)
	}
	if err == nil {
		err = receive()
	}
	switch {
	case err == nil || StateOf(err) != Filtered:
		return err
	case timeUp(ctx):
		return cmp.Or(ctx.Err(), context.DeadlineExceeded)
	case c.in.Partial() || c.last.Held() > 0:
		return fmt.Errorf("%w: it began and did not come to an end in time", errAnswer)
	}
	return fmt.Errorf("%w: %w", errSilent, err)
}

// timeUp tells whether a context has ended, or its time is up, which it may notice late.
func timeUp(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(d)
}

// read waits for bytes.
func (c *DCEConn) read() error {
	if c.room == nil {
		c.room = make([]byte, 16<<10)
	}
	n, err := c.conn.Read(c.room)
	c.unread = c.room[:n]
	if n > 0 {
		return nil
	}
	return err
}

// greeting reads what a server of ncacn_http says first.
func (c *DCEConn) greeting() error {
	for rest := httpGreeting; rest != ""; {
		if len(c.unread) == 0 {
			if err := c.read(); err != nil {
				return err
			}
		}
		n := min(len(rest), len(c.unread))
		if string(c.unread[:n]) != rest[:n] {
			return fmt.Errorf("%w: %q", errGreeting, c.unread[:min(len(c.unread), 64)])
		}
		rest, c.unread = rest[n:], c.unread[n:]
	}
	return nil
}

// next returns the next PDU of a call; it is good until the one after it is read.
func (c *DCEConn) next() (dcerpc.Header, []byte, error) {
	for range dceStrays {
		h, pdu, err := c.receive()
		if err != nil || h.CallID == c.call && h.PType != dcerpc.PTypeShutdown {
			return h, pdu, err
		}
	}
	return dcerpc.Header{}, nil, fmt.Errorf("%w: it answers calls that were not made", errAnswer)
}

// receive returns the next PDU.
func (c *DCEConn) receive() (dcerpc.Header, []byte, error) {
	for {
		start := c.unread
		used, pdu, err := c.in.Feed(c.unread)
		c.unread = c.unread[used:]
		switch {
		case errors.Is(err, dcerpc.ErrVersion):
			return dcerpc.Header{}, nil, fmt.Errorf("%w: %q", errNotDCE, start[:min(len(start), 32)])
		case err != nil:
			return dcerpc.Header{}, nil, fmt.Errorf("%w: %w", errNotDCE, err)
		case pdu != nil:
			h, err := dcerpc.ParseHeader(pdu)
			return h, pdu, err
		}
		if err := c.read(); err != nil {
			if err == io.EOF && c.in.Partial() {
				err = io.ErrUnexpectedEOF
			}
			return dcerpc.Header{}, nil, err
		}
	}
}

// header returns that of a new call.
func (c *DCEConn) header() dcerpc.Header {
	c.call++
	return dcerpc.Header{Label: c.label, CallID: c.call}
}

// Call calls an operation of the interface that was bound last, on an object if that is not
// nil, and returns the results, which are good until the next call, and their byte order.
// A refusal is a [dcerpc.Fault].
func (c *DCEConn) Call(ctx context.Context, object ndr.UUID, op uint16, stub []byte) (results []byte, l ndr.Label, err error) {
	h := c.header()
	pdus, err := c.protect(dcerpc.AppendRequest(nil, h, dcerpc.Request{ContextID: c.context, Opnum: op, Object: object, Stub: stub}, c.fragLimit()))
	if err != nil {
		return nil, l, err
	}
	err = c.exchange(ctx, pdus, func() error {
		for {
			h, pdu, err := c.next()
			if err != nil {
				return err
			}
			whole, ok, err := c.response(h, pdu)
			if err != nil {
				return err
			}
			if ok {
				results, l = whole, h.Label
				return nil
			}
		}
	})
	var f dcerpc.Fault
	if c.security != nil && !c.known && errors.As(err, &f) {
		err = refusedUser{f}
	}
	c.known = c.known || err == nil
	return results, l, err
}

// A refusedUser is a fault of the first call of a client that said who it is. Often it is
// about that: rpc_auth_3 is not answered.
type refusedUser struct{ dcerpc.Fault }

func (r refusedUser) Unwrap() error { return r.Fault }

// response takes a fragment of an answer, and returns all of it when that was the last.
func (c *DCEConn) response(h dcerpc.Header, pdu []byte) (stub []byte, whole bool, err error) {
	switch h.PType {
	case dcerpc.PTypeResponse:
		if err := c.unprotect(h, pdu); err != nil {
			return nil, false, err
		}
		m, err := dcerpc.ParseResponse(h, pdu)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", errAnswer, err)
		}
		m, ok, err := c.last.AddResponse(h, m)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", errAnswer, err)
		}
		return m.Stub, ok, nil
	case dcerpc.PTypeFault:
		f, err := dcerpc.ParseFault(h, pdu)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", errAnswer, err)
		}
		return nil, false, f
	}
	return nil, false, fmt.Errorf("%w: a call is answered with %s", errAnswer, h.PType)
}
