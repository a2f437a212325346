package registry

import "github.com/quaymaster/quaymaster/internal/endpoint"

// A row is a registration with what is known of its evidence, and its places in
// the lists it is on.
type row struct {
	reg *endpoint.Registration // never changes: another takes its place
	belief
	order    uint64
	affirmed uint    // how often Add looked, and found that it holds
	links    [3]link // indexed by which
}

type link struct{ prev, next *row }

// which says to which kind of list a link belongs.
type which uint8

const (
	inOrder  which = iota // the list of all rows
	inFamily              // the list of one ONC program on one transport, or of one DCE interface UUID
	atPort                // what is at one port for one dialect: in no list, but chained
)

// A list holds rows in the order in which they came. Adding, removing and both
// ends cost the same at any length.
type list struct {
	by          which
	first, last *row
}

func (l *list) push(r *row) {
	r.links[l.by] = link{prev: l.last}
	if l.last == nil {
		l.first = r
	} else {
		l.last.links[l.by].next = r
	}
	l.last = r
}

func (l *list) remove(r *row) {
	k := r.links[l.by]
	if k.prev == nil {
		l.first = k.next
	} else {
		k.prev.links[l.by].next = k.next
	}
	if k.next == nil {
		l.last = k.prev
	} else {
		k.next.links[l.by].prev = k.prev
	}
	r.links[l.by] = link{} // or who keeps r would keep its neighbours, and those that they had
}
