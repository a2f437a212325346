// Package hostaddr knows the IP addresses of this host's interfaces, kept fresh
// by the kernel's notifications, so that asking costs no system call.
package hostaddr

import (
	"net/netip"
	"slices"
	"sync/atomic"
)

// An Address is one IP address of an interface that is up.
type Address struct {
	Prefix       netip.Prefix // the address and the length of its network's prefix; IPv6 without a zone
	Loopback     bool         // the interface is a loopback
	PointToPoint bool         // the interface leads to one other host
}

// A Table holds the host's addresses, in the kernel's order. Its methods may be
// called from any goroutine. The zero value is an empty table.
type Table struct {
	addresses atomic.Pointer[[]Address]
}

// Set replaces the table's contents; it keeps addresses.
func (t *Table) Set(addresses []Address) { t.addresses.Store(&addresses) }

// All returns the addresses; the caller must not change them.
func (t *Table) All() []Address {
	if p := t.addresses.Load(); p != nil {
		return *p
	}
	return nil
}

// Ours tells whether an address is one of this host's.
func (t *Table) Ours(a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(t.All(), func(x Address) bool { return x.Prefix.Addr() == a })
}

// Toward returns the address under which a host at hint is best told to reach
// this host: hint itself if it is one of ours, else our first address in the
// network of hint, else our first that reaches furthest, a loopback being the
// last choice. ok is false if there is none of hint's family.
func (t *Table) Toward(hint netip.Addr) (_ netip.Addr, ok bool) {
	var best netip.Addr
	most := none
	for _, a := range t.All() {
		if w := a.worth(hint); w > most {
			best, most = a.Prefix.Addr(), w
		}
	}
	return best, most > none
}

// What an address is worth to a host at the hint, from nothing up.
const (
	none         = iota // another family
	loopback            // reaches nobody but this host
	linkLocal           // reaches those on one link
	pointToPoint        // reaches the other end for sure
	usual
	sameNetwork
	itself
)

// worth returns how well a host at hint is served by the address.
func (a *Address) worth(hint netip.Addr) int {
	switch addr := a.Prefix.Addr(); {
	case addr.Is4() != hint.Is4():
		return none
	case addr == hint:
		return itself
	case a.Prefix.Contains(hint):
		return sameNetwork
	case a.Loopback:
		return loopback
	case addr.IsLinkLocalUnicast():
		return linkLocal
	case a.PointToPoint:
		return pointToPoint
	}
	return usual
}
