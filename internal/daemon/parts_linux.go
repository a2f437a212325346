package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/control"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/hostaddr"
	"github.com/quaymaster/quaymaster/internal/mapper"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/boltstore"
	"github.com/quaymaster/quaymaster/internal/registry/filestore"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/internal/transport"
)

// parts are what answers on the sockets, and what it answers from.
type parts struct {
	addresses *hostaddr.Table
	kernel    *socktable.Table // nil if the kernel cannot be asked
	registry  *registry.Registry
	guard     *transport.Guard
	mappers   *mapper.Shared
	onc       *mapper.ONC
	dce       *mapper.DCE
	control   *control.Server
	starter   int // uid of who started the daemon, before privileges were given up
	log       *slog.Logger
}

// assemble makes the parts. own are the mapper's registrations.
func assemble(o *Options, own []endpoint.Registration, pools registry.Pools, log *slog.Logger) (*parts, error) {
	p := &parts{addresses: &hostaddr.Table{}, log: log}
	if err := p.addresses.Read(); err != nil { // what was registered before is looked at first
		log.Warn("this host's addresses are not known", "err", err)
	}
	unchecked, err := o.unchecked()
	if err != nil {
		return nil, err
	}
	c := registry.Config{
		Own: own, Unchecked: unchecked, Ours: p.addresses.Ours,
		Grace: o.Grace, Reserved: o.reserved(log), Pools: pools, Free: socktable.Free, Log: log,
	}
	if p.kernel, err = socktable.Open(); err != nil {
		log.Warn("registrations are believed unseen, and callers over loopback refused", "err", err)
	} else {
		c.Sockets = p.kernel
	}
	if err := p.openStores(o, &c); err != nil {
		p.close()
		return nil, err
	}
	if p.registry, err = registry.Open(c); err != nil {
		err = errors.Join(err, c.Store.Close(), c.Permanent.Close())
		p.close()
		return nil, err
	}
	p.guard = transport.NewGuard(transport.Rules{})
	p.guard.ThisHost = p.addresses.Ours
	shared := mapper.Config{Registry: p.registry, Addresses: p.addresses, TrustLowPorts: o.TrustLowPorts, Log: log}
	if p.kernel != nil {
		shared.Owners = p.kernel
	}
	p.mappers = mapper.New(shared)
	p.onc = mapper.NewONC(p.mappers)
	dce, err := o.dce(log)
	if err != nil {
		p.close()
		return nil, err
	}
	p.dce = mapper.NewDCE(p.mappers, dce)
	p.control = &control.Server{Registry: p.registry, Counters: p.counters, Log: log}
	return p, nil
}

// dce returns what only the endpoint mapper has.
func (o *Options) dce(log *slog.Logger) (mapper.DCEConfig, error) {
	who, err1 := o.inserters()
	address, err2 := o.dceAddress()
	withHandle, err3 := o.endWithHandle()
	if who.any {
		log.Warn("every host that reaches this one may register with the endpoint mapper", "option", "dce_insert: any")
	}
	return mapper.DCEConfig{InsertLoopback: who.loopback, Insert: who.set(), Address: address, EndWithHandle: withHandle}, errors.Join(err1, err2, err3)
}

// openStores opens the journal and the file of permanent registrations.
func (p *parts) openStores(o *Options, c *registry.Config) error {
	permanent, err := filestore.Open(o.permanentFile())
	if err != nil {
		return err
	}
	c.Permanent = permanent
	path := o.state()
	if path == "" {
		c.Store = registry.NewMemory()
		return nil
	}
	if c.Store, err = boltstore.Open(path, p.log); err != nil {
		permanent.Close()
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (p *parts) close() {
	if p.registry != nil {
		if err := p.registry.Close(); err != nil {
			p.log.Warn("journal not closed", "err", err)
		}
	}
	if p.kernel != nil {
		p.kernel.Close()
	}
}

// apply takes the rules of the options over, which may come anew while the daemon runs.
func (p *parts) apply(o *Options) {
	l := o.Limits.orDefault()
	if room := descriptors(); uint64(l.Connections) > room {
		p.log.Warn("fewer connections than configured: raise the limit of open files (LimitNOFILE, ulimit -n)", "connections", room, "configured", l.Connections)
		l.Connections = uint32(room)
	}
	p.registry.SetLimits(int(l.Registrations), int(l.RegistrationsPerUser), int(l.GrantsPerUser))
	p.guard.SetRules(transport.Rules{
		Ask:         setOf(o.Networks.Ask),
		Connections: int(l.Connections), PerSource: int(l.ConnectionsPerSource), PerUser: int(l.ConnectionsPerUser),
		Queries: int(l.QueriesPerSecond),
	})
	p.mappers.SetDumpers(setOf(o.Networks.Dump))
}

// descriptors returns how many connections can be open: the limit of open files
// without what everything else may take.
func descriptors() uint64 {
	const others = 256
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*others {
		return others
	}
	return limit.Cur - others
}

// reloads applies options as they come.
func (p *parts) reloads(ctx context.Context, reload <-chan Options) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-reload:
			p.apply(&o)
			p.reloadPools(&o)
			if err := p.registry.Reload(); err != nil {
				p.log.Error("permanent registrations stay as they were", "err", err)
				continue
			}
			p.log.Info("permanent registrations read again")
		}
	}
}

// reloadPools has ports given from what the options say now. If that cannot be, they
// are given as before.
func (p *parts) reloadPools(o *Options) {
	host, err := portpool.ReadHost()
	var pools registry.Pools
	if err == nil {
		pools, err = o.pools(host, p.starter, p.log)
	}
	if err != nil {
		p.log.Error("policy of ports stays as it was", "err", forAccount(err))
		return
	}
	p.registry.SetPools(pools)
	p.log.Info("policy of ports read again", "file", cmp.Or(pools.Source, "none"))
}

// watchSockets tells the registry of sockets that closed. Where the kernel does
// not tell, the registry looks every second all the same.
func (p *parts) watchSockets(ctx context.Context) {
	if p.kernel == nil {
		return
	}
	err := socktable.WatchClosed(ctx, func(_ string, port uint16) { p.registry.Hint(port) })
	if err != nil {
		p.log.Debug("closing sockets are not told", "err", err)
	}
}

// watchProcesses tells the registry of processes that ended. Where the kernel does
// not tell, the registry looks every second all the same.
func (p *parts) watchProcesses(ctx context.Context) {
	if err := p.registry.WatchProcesses(ctx); err != nil {
		p.log.Debug("ending processes are not told", "err", err)
	}
}

// counterNames are the names of reasons in the counters.
var counterNames = map[registry.Reason]string{
	registry.Removed: "ended_removed", registry.Gone: "ended_gone", registry.TakenOver: "ended_taken_over",
	registry.NeverThere: "ended_never_there", registry.ProcessOver: "ended_process", registry.LeaseOver: "ended_lease",
	registry.FileChanged: "ended_file",
}

// counters returns what was counted since the daemon began.
func (p *parts) counters() api.Counters {
	r, g, d := p.registry.Counts(), p.guard.Counts(), p.dce.Counts()
	c := api.Counters{
		"made": r.Made, "renewed": r.Renewed, "refused": r.Refused,
		"ports_granted": r.Granted, "ports_returned": r.Returned, "ports_exhausted": r.Exhausted,
		"ignored": p.onc.Ignored(), "connections": uint64(g.Open),
		"dce_calls": d.Calls, "dce_found": d.Found, "dce_not_found": d.NotFound,
		"dce_denied": d.Denied, "dce_faults": d.Faults, "dce_bind_refused": d.Naks, "dce_broken": d.Broken,
		"strangers": g.Strangers, "busy": g.Busy, "busy_source": g.BusySource, "busy_user": g.BusyUser, "throttled": g.Throttled,
	}
	for reason, name := range counterNames {
		c[name] = r.Ended[reason]
	}
	return c
}
