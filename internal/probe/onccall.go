package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// errUnreachable is what a datagram socket is told by ICMP port unreachable where the
// system has no word of its own for that.
var errUnreachable = errors.New("the port is not reachable")

// A caller calls ONC programs over one connection. It is used by one goroutine.
type caller struct {
	p      *Prober
	seat   *seat
	leave  func() // gives up the seat
	conn   net.Conn
	stream *bufio.Reader // nil of datagrams
	buf    []byte        // of datagrams
	broken bool          // nothing more can be called over the connection
	took   time.Duration // from the call to the answer, of the last that was answered
}

// callerAt connects to an endpoint.
func (p *Prober) callerAt(ctx context.Context, host netip.Addr, at endpoint.Endpoint) (*caller, error) {
	s, err := p.seat(ctx, placeOf(host, at))
	if err != nil {
		return nil, err
	}
	c, err := s.caller(ctx, at, maxDatagram)
	if err != nil {
		s.leave()
		return nil, err
	}
	c.leave = s.leave
	return c, nil
}

// placeOf returns whose connections those to an endpoint of a host count as: a local one's as the host's.
func placeOf(host netip.Addr, at endpoint.Endpoint) netip.Addr {
	if addr := at.Addr.Addr(); addr.IsValid() {
		return addr
	}
	return host
}

// caller is [Prober.callerAt] in a seat, which its caller leaves after the connection was closed, for answers of
// a size: of datagrams, of which more than that is lost.
func (s *seat) caller(ctx context.Context, at endpoint.Endpoint, size int) (*caller, error) {
	c := &caller{p: s.p, seat: s, leave: func() {}}
	var err error
	switch at.NetID {
	case rpcbind.TCP, rpcbind.TCP6:
		c.conn, err = s.connect(ctx, "tcp", at.Addr.String())
	case rpcbind.UDP, rpcbind.UDP6: // whether anybody is there the answer tells
		c.conn, err = s.p.connect(ctx, "udp", at.Addr.String())
		c.buf = make([]byte, size)
	default:
		c.conn, err = s.connect(ctx, "unix", at.Path)
	}
	if err != nil {
		return nil, err
	}
	if c.buf == nil {
		c.stream = bufio.NewReader(c.conn)
	}
	return c, nil
}

func (c *caller) close() {
	c.conn.Close()
	c.leave()
}

// A question is a call of a program.
type question struct {
	program, version, proc uint32
	args                   []byte
	long                   bool // the results may take longPatience times the prober's time
}

// longPatience is how many times the prober's time a long answer may take.
const longPatience = 10

// call calls, and has the results read, which are good until read returns. A refusal is an
// [*oncrpc.ReplyError].
func (c *caller) call(ctx context.Context, q question, read func(*results) error) error {
	header := oncrpc.Call{XID: rand.Uint32(), Program: q.program, Version: q.version, Procedure: q.proc}
	if c.stream == nil {
		return c.callDatagram(ctx, header, q.args, read)
	}
	err := c.callStream(ctx, header, q, read)
	var refused *oncrpc.ReplyError
	if err != nil && !errors.As(err, &refused) {
		c.broken = true
	}
	return err
}

func (c *caller) callDatagram(ctx context.Context, header oncrpc.Call, args []byte, read func(*results) error) error {
	start := time.Now()
	strange := false
	answer, err := c.p.exchange(ctx, c.conn, append(header.Append(nil), args...), c.buf, func(b []byte) bool {
		x := xdr.NewReader(b)
		ours := x.Uint32() == header.XID && x.Err() == nil
		if _, _, err := oncrpc.ParseReply(b); !ours && err != nil {
			strange = true // and not a second answer to an earlier call
		}
		return ours
	})
	switch {
	case err != nil && isReset(err):
		return errUnreachable
	case err != nil && strange && StateOf(err) == Filtered:
		return errAnswer
	case err != nil:
		return err
	}
	c.took = max(time.Since(start), 1) // where clocks are coarse
	c.seat.take(ctx)                   // for what is called next; an error is that there is no time for that
	reply, rest, err := oncrpc.ParseReply(answer)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errAnswer, err)
	case reply.Err() != nil:
		return reply.Err()
	}
	return read(&results{buf: rest})
}

func (c *caller) callStream(ctx context.Context, header oncrpc.Call, q question, read func(*results) error) error {
	stop := c.p.limit(ctx, c.conn, c.p.timeout())
	defer func() { stop() }()
	start := time.Now()
	message := append(header.Append(make([]byte, oncrpc.RecordMarkSize)), q.args...)
	oncrpc.AppendRecordMark(message[:0], len(message)-oncrpc.RecordMarkSize, true)
	if _, err := c.conn.Write(message); err != nil {
		return err
	}
	const strays = 64 // answers to calls that we have given up
	for range strays {
		rec := &record{stream: c.stream}
		res := &results{from: rec}
		reply, err := readReply(res)
		switch {
		case err != nil && rec.size > 0:
			return brokenOff(err)
		case err != nil && StateOf(err) == Filtered:
			return fmt.Errorf("%w: %w", errSilent, err)
		case err != nil:
			return err
		case reply.XID != header.XID:
			if _, err := io.Copy(io.Discard, rec); err != nil {
				return err
			}
			continue
		}
		c.took = max(time.Since(start), 1)
		if q.long {
			stop()
			stop = c.p.limit(ctx, c.conn, longPatience*c.p.timeout())
		}
		if err = reply.Err(); err == nil {
			err = brokenOff(read(res))
		}
		c.broken = c.broken || !rec.done() // what follows is not the next record
		return err
	}
	return errFlood
}

// brokenOff tells silence amid an answer from silence in place of one.
func brokenOff(err error) error {
	if err != nil && StateOf(err) != Failed {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return err
}

// readReply reads the header of a reply; the results follow.
func readReply(res *results) (oncrpc.Reply, error) {
	for {
		reply, rest, err := oncrpc.ParseReply(res.buf)
		switch {
		case err == nil:
			res.buf = rest
			return reply, nil
		case !errors.Is(err, xdr.ErrShort):
			return reply, fmt.Errorf("%w: %w", errAnswer, err)
		}
		if more := res.more(); more == io.EOF {
			return reply, fmt.Errorf("%w: %w", errAnswer, err)
		} else if more != nil {
			return reply, more
		}
	}
}

// null calls procedure 0, which does nothing.
func (c *caller) null(ctx context.Context, program, version uint32) error {
	return c.call(ctx, question{program: program, version: version}, func(*results) error { return nil })
}

// judge returns what the error of a call says of whom was called, and the words for it.
func (p *Prober) judge(ctx context.Context, err error) (State, string) {
	var refused *oncrpc.ReplyError
	var errno syscall.Errno
	switch {
	case err == nil:
		return Listening, ""
	case errors.As(err, &refused):
		return judgeRefusal(refused.Reply)
	case over(ctx) && (StateOf(err) == Filtered || errors.Is(err, context.Canceled)):
		return NotTried, "the time was over before it answered"
	case errors.Is(err, xdr.ErrTooLong):
		return Wrong, "a text in its answer is longer than any should be"
	case errors.Is(err, errAnswer) && StateOf(err) != Failed:
		return Wrong, "its answer does not come to an end"
	case errors.Is(err, errAnswer):
		return Wrong, "what it answers is not ONC RPC"
	case errors.Is(err, errFlood), errors.Is(err, errEnd):
		return Wrong, err.Error()
	case errors.Is(err, errSilent):
		return Wrong, silentWords
	case errors.Is(err, errUnreachable), errors.Is(err, fs.ErrNotExist):
		return NotListening, "nothing listens"
	}
	state := StateOf(err)
	switch {
	case state == NotListening:
		return state, "nothing listens"
	case state == Wrong:
		return state, "it hung up without an answer"
	case errors.As(err, &errno): // such as "no route to host"
		return state, errno.Error()
	case state == Filtered:
		return state, fmt.Sprintf("no answer in %v", p.timeout())
	}
	return state, err.Error()
}

// over tells whether a context's time is over, also when a connection that has its deadline is
// the first to notice.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// judgeRefusal is judge for what a server refuses.
func judgeRefusal(r oncrpc.Reply) (State, string) {
	switch {
	case r.Stat == oncrpc.MsgDenied && r.Reject == oncrpc.RPCMismatch:
		return Wrong, fmt.Sprintf("it speaks %s of ONC RPC, and not 2", versionRange{r.Low, r.High})
	case r.Stat == oncrpc.MsgDenied:
		return Rejected, authWords(r.Auth)
	}
	switch r.Accept {
	case oncrpc.ProgUnavail:
		return Wrong, "an RPC server without this program answers"
	case oncrpc.ProgMismatch:
		return Wrong, fmt.Sprintf("the program answers in %s only", versionRange{r.Low, r.High})
	case oncrpc.ProcUnavail:
		return Wrong, "it does not have the procedure"
	case oncrpc.GarbageArgs:
		return Wrong, "it does not understand the arguments"
	case oncrpc.SystemErr:
		return Wrong, "it has an error of its own (SYSTEM_ERR)"
	}
	return Wrong, fmt.Sprintf("it refuses for the unknown reason %d", uint32(r.Accept))
}

// authErrors are the reasons for a failed authentication (RFC 5531, section 9) by number.
var authErrors = [...]string{
	1: "AUTH_BADCRED: it finds our credential damaged", 2: "AUTH_REJECTEDCRED: it wants another credential",
	3: "AUTH_BADVERF: it finds our verifier damaged", 4: "AUTH_REJECTEDVERF: our verifier is too old",
	5: "AUTH_TOOWEAK: it does not let us in without better credentials, or not from here",
	6: "AUTH_INVALIDRESP: its own verifier is wrong", 7: "AUTH_FAILED: it does not say why",
	8: "AUTH_KERB_GENERIC: error of Kerberos", 9: "AUTH_TIMEEXPIRE: the credential is too old", 10: "AUTH_TKT_FILE: error of the ticket file",
	11: "AUTH_DECODE: it cannot read the authenticator", 12: "AUTH_NET_ADDR: wrong address in the ticket",
	13: "RPCSEC_GSS_CREDPROBLEM: it knows of no GSS credentials for us", 14: "RPCSEC_GSS_CTXPROBLEM: error of the GSS context",
}

func authWords(s oncrpc.AuthStat) string {
	if s > 0 && int64(s) < int64(len(authErrors)) {
		return authErrors[s]
	}
	return fmt.Sprintf("authentication error %d", uint32(s))
}
