package transport

// A guest is whom an open connection counts for. The zero value is a TCP client
// on this host, or somebody unknown.
type guest struct {
	source source // of a TCP client on another host, else zero
	local  bool   // over a local socket, with a uid
	uid    uint32
}

// share is how many of n connections may be open before a guest like this is refused.
func (v guest) share(n int) int {
	switch tenth := n / 10; {
	case v.local && v.uid == 0:
		return n
	case v.local:
		return n - tenth
	default:
		return n - 2*tenth
	}
}

// enter counts a connection, described by a call without a message, until leave,
// or returns the refusal.
func (g *Guard) enter(c *Call) (guest, error) {
	if g == nil {
		return guest{}, nil
	}
	r := g.rules.Load()
	var v guest
	switch from := c.Client.Addr(); {
	case c.Peer != nil:
		v = guest{local: true, uid: c.Peer.UID}
	case !from.IsValid() || g.thisHost(from):
	case r.Ask != nil && !r.Ask.Contains(from):
		return guest{}, g.refuse(stranger)
	default:
		v = guest{source: sourceOf(from)}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.Connections > 0 && g.open >= v.share(r.Connections):
		return guest{}, g.refuse(busy)
	case v.source != (source{}) && r.PerSource > 0 && g.sources[v.source] >= r.PerSource:
		return guest{}, g.refuse(busySource)
	case v.local && v.uid != 0 && r.PerUser > 0 && g.users[v.uid] >= r.PerUser:
		return guest{}, g.refuse(busyUser)
	}
	g.count(v, 1)
	return v, nil
}

// leave gives back what enter counted.
func (g *Guard) leave(v guest) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(v, -1)
}

// count adds n connections of a guest. Who has none left takes no memory.
func (g *Guard) count(v guest, n int) {
	g.open += n
	if v.local {
		add(g.users, v.uid, n)
	}
	if v.source != (source{}) {
		add(g.sources, v.source, n)
	}
}

func add[K comparable](m map[K]int, k K, n int) {
	if m[k] += n; m[k] == 0 {
		delete(m, k)
	}
}
