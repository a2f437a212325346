package registry_test

import (
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A table is the kernel's, as a test would have it: what receives is for
// socktable to say.
type table struct {
	mu      sync.Mutex // guards what follows
	sockets []opened
	asked   int  // how often At was
	listed  int  // how often Snapshot was
	blind   bool // At names none
	err     error
	missing int    // the next snapshots lack everything
	unread  bool   // Snapshot fails
	during  func() // is called once, before Snapshot returns
}

type opened struct {
	netid rpcbind.NetID
	socktable.Socket
}

func (t *table) open(o endpoint.Owner, e endpoint.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sockets = append(t.sockets, opened{e.NetID, socktable.Socket{Addr: e.Addr, Path: e.Path, UID: o.UID}})
}

func (t *table) openDual(o endpoint.Owner, n rpcbind.NetID, port uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sockets = append(t.sockets, opened{n, socktable.Socket{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), port), DualStack: true, UID: o.UID}})
}

func (t *table) close(e endpoint.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sockets = slices.DeleteFunc(t.sockets, func(s opened) bool { return s.netid == e.NetID && s.Addr == e.Addr && s.Path == e.Path })
}

// closeOf closes one user's sockets at an endpoint.
func (t *table) closeOf(o endpoint.Owner, e endpoint.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sockets = slices.DeleteFunc(t.sockets, func(s opened) bool {
		return s.netid == e.NetID && s.Addr == e.Addr && s.Path == e.Path && s.UID == o.UID
	})
}

// fail has the table answer with an error from now on; nil ends that.
func (t *table) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *table) timesListed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listed
}

func (t *table) Snapshot() (*socktable.Snapshot, error) {
	s, err := t.list()
	t.mu.Lock()
	during := t.during
	t.during = nil
	t.mu.Unlock()
	if during != nil {
		during()
	}
	return s, err
}

func (t *table) list() (*socktable.Snapshot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listed++
	if t.err != nil {
		return nil, t.err
	}
	if t.unread {
		return nil, errors.New("not listed")
	}
	if t.missing > 0 {
		t.missing--
		return socktable.NewSnapshot(nil, nil, nil), nil
	}
	return t.snapshot(), nil
}

func (t *table) snapshot() *socktable.Snapshot {
	var tcp, udp, local []socktable.Socket
	for _, s := range t.sockets {
		switch s.netid {
		case rpcbind.TCP, rpcbind.TCP6:
			tcp = append(tcp, s.Socket)
		case rpcbind.UDP, rpcbind.UDP6:
			udp = append(udp, s.Socket)
		default:
			local = append(local, s.Socket)
		}
	}
	return socktable.NewSnapshot(tcp, udp, local)
}

func (t *table) At(e endpoint.Endpoint) ([]socktable.Socket, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if t.err != nil {
		return nil, t.err
	}
	if t.blind {
		return nil, nil
	}
	return t.snapshot().At(e), nil
}

var _ registry.Sockets = (*table)(nil)
