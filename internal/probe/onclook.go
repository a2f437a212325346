package probe

import (
	"context"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// lookPatience is the part of the prober's time after which a mapper that is silent over TCP is called over
// UDP beside: 0.3 s of 3 s.
const lookPatience = 10

// A lookAhead calls the mapper's procedure 0 in the next way while another is still silent, so that a
// host that drops everything takes the time of one way and not of each.
type lookAhead struct {
	skip chan struct{} // closed when the other way has ended
	done chan error
	stop context.CancelFunc
}

// lookAhead begins to look ahead, or returns nil if the way is none that begins with silence.
func (p *Prober) lookAhead(ctx context.Context, r *Report, way endpoint.Endpoint) *lookAhead {
	if way.NetID != rpcbind.UDP && way.NetID != rpcbind.UDP6 {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	l := &lookAhead{make(chan struct{}), make(chan error, 1), stop}
	wait := time.NewTimer(p.timeout() / lookPatience)
	go func() {
		defer wait.Stop()
		select {
		case <-wait.C:
			l.done <- p.null(ctx, r, way)
		case <-l.skip:
			l.done <- nil
		}
	}()
	return l
}

// null calls the mapper's procedure 0.
func (p *Prober) null(ctx context.Context, r *Report, way endpoint.Endpoint) error {
	c, err := p.callerAt(ctx, r.Host, way)
	if err != nil {
		return err
	}
	defer c.close()
	return c.call(ctx, question{program: rpcbind.Program, version: rpcbind.Version2}, func(*results) error { return nil })
}

// silence returns an error if nobody has answered. If the other way has ended before this one was called,
// it is not called any more.
func (l *lookAhead) silence() error {
	close(l.skip)
	defer l.stop()
	if err := <-l.done; StateOf(err) == Filtered {
		return err
	}
	return nil
}

// end stops looking, for who needs not know.
func (l *lookAhead) end() {
	l.stop()
	l.silence()
}
