package daemon

import (
	"errors"
	"fmt"
	"net/netip"

	"go4.org/netipx"
)

// inserters are who may register with the endpoint mapper over the network.
type inserters struct {
	loopback bool // callers of this host, who are known by their sockets
	any      bool // everybody
	networks []Network
}

// inserters returns who may register over the network.
func (o *Options) inserters() (inserters, error) {
	var i inserters
	for _, text := range o.DCEInsert {
		if err := i.add(text); err != nil {
			return inserters{}, fmt.Errorf("--dce-insert %s: %w", text, err)
		}
	}
	return i, nil
}

// add reads loopback, any or a network.
func (i *inserters) add(text string) error {
	switch text {
	case "loopback":
		i.loopback = true
		return nil
	case "any":
		i.any = true
		for _, p := range []string{"0.0.0.0/0", "::/0"} {
			i.networks = append(i.networks, Network{netip.MustParsePrefix(p)})
		}
		return nil
	}
	var n Network
	err := n.UnmarshalText([]byte(text))
	switch {
	case errors.Is(err, errNoNetwork):
		return fmt.Errorf("%w, loopback or any", err)
	case err != nil:
		return err
	}
	i.networks = append(i.networks, n)
	return nil
}

// set returns the networks, nil for none.
func (i *inserters) set() *netipx.IPSet { return setOf(i.networks) }

// dceAddress returns the address that is told of servers which listen everywhere;
// the zero Addr if there is none in particular.
func (o *Options) dceAddress() (netip.Addr, error) {
	if o.DCEAddress == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(o.DCEAddress)
	if err != nil || !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}, fmt.Errorf("dce_address %q: want an IPv4 address, since the endpoint mapper tells no other", o.DCEAddress)
	}
	return a, nil
}

// endWithHandle tells whether a dump in parts ends with a nil handle alone.
func (o *Options) endWithHandle() (bool, error) {
	switch o.DCELookupEnd {
	case "", "status":
		return false, nil
	case "handle":
		return true, nil
	}
	return false, fmt.Errorf("dce_lookup_end %q: want status or handle", o.DCELookupEnd)
}
