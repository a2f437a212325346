// Package hostaddr knows the IP addresses of this host's interfaces, kept fresh
// by the kernel's notifications, so that asking costs no system call.
package hostaddr

import (
	"net/netip"
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

// Toward returns the address under which a host at hint is best told to reach
// this host: hint itself if it is one of ours, else our first address in the
// network of hint, else our first that is neither loopback nor point-to-point,
// else our first. ok is false if there is none of hint's family.
func (t *Table) Toward(hint netip.Addr) (_ netip.Addr, ok bool) {
	var near, usual, any netip.Addr
	for _, a := range t.All() {
		addr := a.Prefix.Addr()
		switch {
		case addr.Is4() != hint.Is4():
			continue
		case addr == hint:
			return addr, true
		case !near.IsValid() && a.Prefix.Contains(hint):
			near = addr
		case !usual.IsValid() && !a.Loopback && !a.PointToPoint:
			usual = addr
		case !any.IsValid():
			any = addr
		}
	}
	for _, a := range [...]netip.Addr{near, usual, any} {
		if a.IsValid() {
			return a, true
		}
	}
	return netip.Addr{}, false
}
