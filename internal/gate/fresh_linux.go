package gate

import "time"

// fresh reports whether all of these are open for any number of connections, with more than half of their lifetime left, and counts them if so: nothing has to
// be told to the kernel, and nobody has to wait.
func (h *Pinholes) fresh(all []Pinhole) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.books.forget(now)
	for i := range all {
		p := &all[i]
		old := h.books.held[p.place()]
		if p.Once || old == nil || !old.committed || old.Outside != p.Outside || old.ends.Sub(now) <= p.Lifetime/2 || !h.books.allowed(p) {
			return false
		}
	}
	h.counts.fresh.Add(uint64(len(all)))
	return true
}
