package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

// askMapper has try ask the mapper, in one way and version after the other until it succeeds,
// and puts into the report what became of it.
func (p *Prober) askMapper(ctx context.Context, r *Report, ways []endpoint.Endpoint, versions []uint32, try func(c *caller, version uint32) error) bool {
	var why []string
	for _, way := range ways {
		err := p.askOver(ctx, r, way, versions, try)
		if err == nil {
			r.State, r.Why = Listening, ""
			return true
		}
		state, words := p.judge(ctx, err)
		if r.State == NotTried || says[state] > says[r.State] {
			r.State = state
		}
		why = append(why, wayName(way)+": "+words)
		if over(ctx) {
			break
		}
	}
	r.Why = strings.Join(why, "; ")
	return false
}

// says is how much a state says of a mapper that was asked in several ways: that it hung up
// over UDP says more than silence over TCP.
var says = map[State]int{Failed: 1, Filtered: 2, NotListening: 3, Wrong: 4, Rejected: 5}

// wayName returns how a mapper is asked, for people: "tcp 111".
func wayName(way endpoint.Endpoint) string {
	if way.NetID.IsIP() {
		return fmt.Sprintf("%s %d", way.NetID, way.Addr.Port())
	}
	return fmt.Sprintf("%s %s", way.NetID, way.Path)
}

// askOver is askMapper in one way. A version that the mapper says it lacks leads to those that
// it says it has.
func (p *Prober) askOver(ctx context.Context, r *Report, way endpoint.Endpoint, versions []uint32, try func(c *caller, version uint32) error) error {
	var c *caller
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	var worst error
	low, high := uint32(0), uint32(math.MaxUint32)
	for _, version := range versions {
		if version < low || version > high {
			continue
		}
		if c == nil || c.broken {
			if c != nil {
				c.close()
			}
			var err error
			if c, err = p.callerAt(ctx, r.Host, way); err != nil {
				return first(worst, err)
			}
		}
		c.took = 0
		err := try(c, version)
		if r.Time == 0 {
			r.Time = c.took
		}
		if err == nil {
			r.Via = fmt.Sprintf("%s, version %d", wayName(way), version)
			return nil
		}
		state, _ := p.judge(ctx, err)
		if state == Filtered || state == NotListening || over(ctx) {
			return first(worst, err)
		}
		worst = err
		var refused *oncrpc.ReplyError
		if !errors.As(err, &refused) || refused.Reply.Stat != oncrpc.MsgAccepted {
			continue
		}
		switch reply := refused.Reply; reply.Accept {
		case oncrpc.ProgUnavail:
			return err
		case oncrpc.ProgMismatch:
			if reply.Low <= version && version <= reply.High {
				r.problem("it refuses version %d of the port mapper and says that it has versions %d to %d", version, reply.Low, reply.High)
				continue
			}
			low, high = reply.Low, reply.High
		}
	}
	return worst
}

// first returns the first of two errors that there is.
func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
