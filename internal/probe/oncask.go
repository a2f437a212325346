package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

// askONC has try ask the mapper, in one way and version after the other until it succeeds,
// and puts into the report what became of it.
func (p *Prober) askONC(ctx context.Context, r *Report, ways []endpoint.Endpoint, versions []uint32, try func(c *caller, version uint32) error) bool {
	var why []string
	var ahead *lookAhead // at the way that comes next; nil: there is nothing to look at
	for i, way := range ways {
		var err error
		if ahead != nil {
			err, ahead = ahead.silence(), nil
		}
		if err == nil {
			if i+1 < len(ways) {
				ahead = p.lookAhead(ctx, r, ways[i+1])
			}
			err = p.askONCOver(ctx, r, way, versions, try)
		}
		if err == nil {
			if ahead != nil {
				ahead.end()
			}
			r.State, r.Why = Listening, ""
			return true
		}
		state, words := p.judge(ctx, err)
		if r.State == NotTried || weight[state] > weight[r.State] {
			r.State = state
		}
		why = append(why, wayName(way)+": "+words)
		if over(ctx) {
			if ahead != nil {
				ahead.end()
			}
			break
		}
	}
	r.Why = strings.Join(why, "; ")
	return false
}

// weight is how much a state says of a mapper that was asked in several ways: that it hung up
// over UDP says more than silence over TCP.
var weight = map[State]int{Failed: 1, Filtered: 2, NotListening: 3, Wrong: 4, Rejected: 5}

// wayName returns how a mapper is asked, for people: "tcp 111".
func wayName(way endpoint.Endpoint) string {
	if way.NetID.IsIP() {
		return fmt.Sprintf("%s %d", way.NetID, way.Addr.Port())
	}
	return fmt.Sprintf("%s %s", way.NetID, way.Path)
}

// askONCOver is askONC in one way. A version that the mapper says it lacks leads to those that
// it says it has.
func (p *Prober) askONCOver(ctx context.Context, r *Report, way endpoint.Endpoint, versions []uint32, try func(c *caller, version uint32) error) error {
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
				return cmp.Or(worst, err)
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
		if c.took == 0 && (errors.Is(err, errAnswer) || errors.Is(err, errFlood) || errors.Is(err, errEnd)) {
			return err // it has no version at all
		}
		if state == Filtered || state == NotListening || errors.Is(err, errSilent) || over(ctx) {
			return cmp.Or(worst, err)
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
				r.problem("it refuses version %d of the port mapper and says that it has %s", version, versionRange{reply.Low, reply.High})
				continue
			}
			low, high = reply.Low, reply.High
		}
	}
	return worst
}
