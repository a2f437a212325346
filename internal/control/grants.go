package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/portset"
)

// grant gives ports to the process that asks.
func (s *Server) grant(w http.ResponseWriter, r *http.Request) {
	by, err := caller(r)
	var g *endpoint.Grant
	if err == nil {
		g, err = s.give(by, http.MaxBytesReader(w, r.Body, maxBody))
	}
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, g.Document(by.names.of(g.Owner)))
}

func (s *Server) give(by *client, body io.Reader) (*endpoint.Grant, error) {
	var asked api.GrantRequest
	if err := decode(body, &asked); err != nil {
		return nil, err
	}
	wanted, err := wantedOf(&asked)
	if err != nil {
		return nil, err
	}
	return s.Registry.Grant(registry.Claim{
		Owner: endpoint.Owner{UID: by.UID}, PID: by.PID, Elsewhere: by.Elsewhere,
		Process: by.process,
	}, wanted)
}

// process returns the process that connected.
func (c *client) process() (*process.Process, error) {
	fd, err := c.PIDFD()
	if err != nil {
		return nil, unnamed(err)
	}
	p := process.FromFD(c.PID, fd, c.began)
	c.began = p.Started
	return p, nil
}

// preferences are the words for which pool is wanted.
var preferences = map[string]portpool.Preference{
	"": portpool.Default, "default": portpool.Default, "internet": portpool.Internet, "intranet": portpool.Intranet,
}

func wantedOf(r *api.GrantRequest) (registry.Wanted, error) {
	w := registry.Wanted{Apart: r.Apart, Command: r.Command}
	var ok bool
	if w.For, ok = preferences[r.Pool]; !ok {
		return w, fmt.Errorf("pool %q: want default, internet or intranet", r.Pool)
	}
	for _, d := range []endpoint.Dialect{endpoint.ONC, endpoint.DCE} {
		if r.Dialect == d.String() {
			w.Dialect = d
		}
	}
	if w.Dialect == 0 {
		return w, fmt.Errorf("dialect %q: want onc or dce", r.Dialect)
	}
	if r.TCP {
		w.On |= portpool.TCP
	}
	if r.UDP {
		w.On |= portpool.UDP
	}
	if w.On == 0 {
		return w, errors.New("want tcp, udp or both")
	}
	return w, nil
}

// pool tells what ports are given from, and who has which.
func (s *Server) pool(w http.ResponseWriter, _ *http.Request) {
	given, err := s.Registry.Given()
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, poolOf(&given))
}

func poolOf(given *registry.Given) api.Pool {
	p := api.Pool{Source: given.Pools.Source, Pools: []api.PoolPorts{}, Grants: []endpoint.GrantDocument{}, Busy: []api.BusyPort{}}
	users := names{}
	var taken, busy portpool.Marks
	for _, g := range given.Grants {
		p.Grants = append(p.Grants, g.Document(users.of(g.Owner)))
		if g.TCP != 0 {
			taken.Set(portpool.TCP, g.TCP)
		}
		if g.UDP != 0 {
			taken.Set(portpool.UDP, g.UDP)
		}
	}
	for _, b := range given.Busy {
		on := portpool.TCP
		if b.UDP {
			on = portpool.UDP
		}
		busy.Set(on, b.Port)
		p.Busy = append(p.Busy, api.BusyPort{Transport: on.String(), Port: b.Port, UID: b.UID, Listening: b.Listening})
	}
	all := portset.Set{}
	for name, ports := range given.Pools.All() {
		r := portpool.NewRotation(ports, 0)
		count := func(on portpool.Transport) api.PortCounts {
			c := api.PortCounts{Given: r.Count(&taken, on), Busy: r.Count(&busy, on)}
			c.Free = ports.Len() - c.Given - c.Busy
			return c
		}
		p.Pools = append(p.Pools, api.PoolPorts{
			Pool: name.String(), Default: len(p.Pools) == 0, Ports: ports, TCP: count(portpool.TCP), UDP: count(portpool.UDP),
		})
		all = all.Union(ports)
	}
	if given.Pools.Host != nil {
		p.Shared = all.Intersect(given.Pools.Host.Outgoing())
	}
	return p
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
