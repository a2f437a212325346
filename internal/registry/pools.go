package registry

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/portset"
)

// Pools are what ports are given from. The zero value is no pool at all: nobody gets a port.
type Pools struct {
	Source string           // the file that says the policy, for people; empty: there is none
	Policy *portpool.Policy // nil: none
	Host   *portpool.Host   // what the kernel does with its ports; nil: not known, there are no pools
}

// Ports returns the ports that servers with a preference get.
func (p *Pools) Ports(of portpool.Preference) portset.Set {
	if p.Host == nil {
		return portset.Set{}
	}
	return p.Policy.Pool(of, p.Host.Dynamic())
}

// All returns the pools that there are and their ports, that of ordinary servers first.
func (p *Pools) All() iter.Seq2[endpoint.Pool, portset.Set] {
	return func(yield func(endpoint.Pool, portset.Set) bool) {
		switch first := p.name(portpool.Default); {
		case p.Host == nil:
		case !yield(first, p.Ports(portpool.Default)), p.Policy == nil:
		case first == endpoint.InternetPool:
			yield(endpoint.IntranetPool, p.Ports(portpool.Intranet))
		default:
			yield(endpoint.InternetPool, p.Ports(portpool.Internet))
		}
	}
}

// name returns the pool of servers with a preference.
func (p *Pools) name(of portpool.Preference) endpoint.Pool {
	switch {
	case p.Policy == nil:
		return endpoint.DynamicPool
	case p.Policy.Choose(of) == portpool.Internet:
		return endpoint.InternetPool
	}
	return endpoint.IntranetPool
}

// A pools is what the registry has of [Pools]: a rotation for each.
type pools struct {
	Pools
	rotations map[endpoint.Pool]*portpool.Rotation
}

// newPools returns pools of which those that were there before go on where they were.
func newPools(p Pools, seed uint64, before pools) pools {
	all := pools{p, map[endpoint.Pool]*portpool.Rotation{}}
	for name, ports := range p.All() {
		if r := before.rotations[name]; r != nil && r.Ports().Equal(ports) {
			all.rotations[name] = r
		} else {
			all.rotations[name] = portpool.NewRotation(ports, seed)
		}
	}
	return all
}

// of returns the pool of servers with a preference.
func (p *pools) of(pref portpool.Preference) (endpoint.Pool, *portpool.Rotation, error) {
	name := p.name(pref)
	r := p.rotations[name]
	switch {
	case r == nil:
		return 0, nil, fmt.Errorf("%w: the daemon does not know which ports this host gives to outgoing connections", ErrNoPorts)
	case r.Ports().IsEmpty():
		return 0, nil, fmt.Errorf("%w: the %s pool is empty", ErrNoPorts, name)
	}
	return name, r, nil
}

// SetPools has ports given from other pools from now on. Those that were given stay.
func (g *Registry) SetPools(p Pools) {
	g.change.Lock()
	defer g.change.Unlock()
	g.given.pools = newPools(p, g.c.Seed, g.given.pools)
}

// A Given is what ports are given from, and who has which of them.
type Given struct {
	Pools  Pools
	Grants []*endpoint.Grant // oldest first; they are shared and never change
	Busy   []BusyPort        // of the pools, by port
}

// A BusyPort is used by somebody who was not given it.
type BusyPort struct {
	UDP       bool
	Port      uint16
	Listening bool   // a socket is there; otherwise something is registered
	UID       uint32 // of the socket; [endpoint.NoUID] if there is none
}

// Free returns how many ports ordinary servers could be given on both transports.
func (g *Given) Free() int {
	ports := g.Pools.Ports(portpool.Default)
	var used []uint16
	for _, r := range g.Grants {
		used = append(used, r.TCP, r.UDP)
	}
	for _, b := range g.Busy {
		used = append(used, b.Port)
	}
	return ports.Minus(portset.Ports(used...)).Len()
}

// Given returns what was given to whom. The slices are the caller's.
func (g *Registry) Given() (Given, error) {
	g.change.Lock()
	defer g.change.Unlock()
	all := Given{Pools: g.given.pools.Pools, Grants: make([]*endpoint.Grant, 0, len(g.given.grants))}
	for r := range maps.Values(g.given.grants) {
		all.Grants = append(all.Grants, r.Grant)
	}
	slices.SortFunc(all.Grants, func(a, b *endpoint.Grant) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	var err error
	all.Busy, err = g.busy()
	return all, err
}

// busy returns the ports of the pools that are used by who was not given them.
func (g *Registry) busy() ([]BusyPort, error) {
	var table *socktable.Snapshot
	if g.c.Sockets != nil {
		var err error
		if table, err = g.c.Sockets.Snapshot(); err != nil {
			return nil, err
		}
	}
	var pools portset.Set
	for _, ports := range g.given.pools.All() {
		pools = pools.Union(ports)
	}
	var all []BusyPort
	for port := range pools.All() {
		for _, udp := range []bool{false, true} {
			if g.given.at[givenPort{transportOf(udp), port}] != nil {
				continue
			}
			if sockets := table.AtPort(udp, port); len(sockets) > 0 {
				all = append(all, BusyPort{udp, port, true, sockets[0].UID})
			} else if g.held[portKey{endpoint.ONC, udp, port}] != nil || g.held[portKey{endpoint.DCE, udp, port}] != nil {
				all = append(all, BusyPort{udp, port, false, endpoint.NoUID})
			}
		}
	}
	return all, nil
}
