package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// maxStatistics is the most bytes of an answer to GETSTAT: rpcbind's lists never shrink.
const maxStatistics = 1 << 20

// StatisticsONC asks a host's port mapper what it has counted, by GETSTAT, which only
// version 4 has.
func (p *Prober) StatisticsONC(ctx context.Context, host netip.Addr, o ONCOptions) (rpcbind.Stats, error) {
	var stats rpcbind.Stats
	r := &Report{Host: host.Unmap()}
	ok := p.askONC(ctx, r, o.ways(r.Host), []uint32{rpcbind.Version4}, func(c *caller, version uint32) error {
		q := question{program: rpcbind.Program, version: version, proc: uint32(rpcbind.ProcGetStat)}
		return c.call(ctx, q, func(res *results) error {
			b, err := res.all(maxStatistics)
			if err != nil {
				return err
			}
			if stats, err = rpcbind.ParseStats(b); err != nil {
				return fmt.Errorf("%w: %w", errAnswer, err)
			}
			return nil
		})
	})
	if !ok {
		return rpcbind.Stats{}, errors.New(r.Why)
	}
	return stats, nil
}

// TimeONC asks a host's port mapper what time it is there, to the second, by GETTIME, which
// versions 3 and 4 have.
func (p *Prober) TimeONC(ctx context.Context, host netip.Addr, o ONCOptions) (time.Time, error) {
	var seconds uint32
	r := &Report{Host: host.Unmap()}
	ok := p.askONC(ctx, r, o.ways(r.Host), []uint32{rpcbind.Version4, rpcbind.Version3}, func(c *caller, version uint32) error {
		q := question{program: rpcbind.Program, version: version, proc: uint32(rpcbind.ProcGetTime)}
		return c.call(ctx, q, func(res *results) error {
			return res.next(func(x *xdr.Reader) { seconds = x.Uint32() })
		})
	})
	if !ok {
		return time.Time{}, errors.New(r.Why)
	}
	return time.Unix(int64(seconds), 0), nil
}
