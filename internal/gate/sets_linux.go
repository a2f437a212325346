package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernelSets are the sets as the kernel has them, over a connection that lasts.
type kernelSets struct {
	policy *Policy
	conn   *nftables.Conn
	socket *netlink.Conn // of conn
	sets   map[string]*nftables.Set
}

func dialSets(p *Policy) (*kernelSets, error) {
	k := &kernelSets{policy: p, sets: map[string]*nftables.Set{}}
	table := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	for _, f := range families {
		addr := nftables.TypeIPAddr
		if f.ipv6 {
			addr = nftables.TypeIP6Addr
		}
		key := nftables.MustConcatSetType(addr, addr, nftables.TypeInetProto, nftables.TypeInetService)
		for _, name := range []string{setOnce, setMulti} {
			k.sets[name+f.digit] = &nftables.Set{Table: table, Name: name + f.digit, KeyType: key, HasTimeout: true, Concatenation: true}
		}
		k.sets[mapDNAT+f.digit] = &nftables.Set{
			Table: table, Name: mapDNAT + f.digit, KeyType: key, HasTimeout: true, Concatenation: true,
			IsMap: true, DataType: nftables.MustConcatSetType(addr, nftables.TypeInetService),
		}
	}
	return k, k.dial()
}

func (k *kernelSets) dial() error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		k.socket = c
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
	}))
	if err != nil {
		return fmt.Errorf("gate: nftables: %w", err)
	}
	k.conn = conn
	return nil
}

func (k *kernelSets) close() {
	k.conn.CloseLasting()
}

// apply makes changes in one batch. Adding an element that is there leaves it its time, and one that is not there cannot be removed: so what
// may be there is added, removed and, if it is to stay, added again, which others see as one step.
func (k *kernelSets) apply(all []change) error {
	bySet := map[string]*elements{}
	add := func(set string, e nftables.SetElement, c *change) {
		if bySet[set] == nil {
			bySet[set] = &elements{at: map[string]int{}}
		}
		bySet[set].add(e, c)
	}
	for i := range all {
		p := &all[i].Pinhole
		set, element := elementOf(p)
		add(set, element, &all[i])
		if p.Outside.IsValid() {
			set, element := outsideElementOf(p)
			add(set, element, &all[i])
		}
	}
	for name, c := range bySet {
		set := k.sets[name]
		var errs []error
		for some := range slices.Chunk(c.those(c.before), chunk) {
			errs = append(errs, k.conn.SetAddElements(set, some), k.conn.SetDeleteElements(set, some))
		}
		for some := range slices.Chunk(c.those(c.after), chunk) {
			errs = append(errs, k.conn.SetAddElements(set, some))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("gate: nftables: %w", err)
		}
	}
	return k.flush()
}

// Elements are those of one set that a batch changes, each once: what comes last counts.
type elements struct {
	all           []nftables.SetElement
	before, after []bool         // which of them may be there before, and are to be there after
	at            map[string]int // by key
}

func (c *elements) add(e nftables.SetElement, to *change) {
	i, there := c.at[string(e.Key)]
	if !there {
		i = len(c.all)
		c.at[string(e.Key)] = i
		c.all, c.before, c.after = append(c.all, e), append(c.before, false), append(c.after, false)
	}
	c.all[i], c.after[i] = e, !to.remove
	c.before[i] = c.before[i] || !to.fresh
}

// those returns the elements that are marked.
func (c *elements) those(marked []bool) []nftables.SetElement {
	var some []nftables.SetElement
	for i, e := range c.all {
		if marked[i] {
			some = append(some, e)
		}
	}
	return some
}

func (k *kernelSets) flush() error {
	err := k.socket.SetReadDeadline(time.Now().Add(commitPeriod))
	if err == nil {
		err = k.conn.Flush()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%w: the kernel's set is full (%w)", ErrPinholes, err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("gate: the table %s is not there, or not whole: %w", Table, err)
	}
	// Answers that were not read would be taken for those to the next batch.
	k.close()
	return errors.Join(fmt.Errorf("gate: nftables: %w", err), k.dial())
}

// keyOf returns the bytes of a key: each part fills up registers of four bytes.
func keyOf(from, to netip.Addr, protocol uint8, port uint16) []byte {
	key := append(from.AsSlice(), to.AsSlice()...)
	return append(key, protocol, 0, 0, 0, byte(port>>8), byte(port), 0, 0)
}

func digitOf(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

func setOf(p *Pinhole) string {
	if p.Once {
		return setOnce + digitOf(p.From)
	}
	return setMulti + digitOf(p.From)
}

func elementOf(p *Pinhole) (set string, e nftables.SetElement) {
	return setOf(p), nftables.SetElement{Key: keyOf(p.From, p.To.Addr(), p.Protocol, p.To.Port()), Timeout: p.Lifetime}
}

func outsideElementOf(p *Pinhole) (set string, e nftables.SetElement) {
	port := p.To.Port()
	return mapDNAT + digitOf(p.From), nftables.SetElement{
		Key:     keyOf(p.From, p.Outside.Addr(), p.Protocol, p.Outside.Port()),
		Val:     append(p.To.Addr().AsSlice(), byte(port>>8), byte(port), 0, 0),
		Timeout: p.Lifetime,
	}
}

// An inKernel is a pinhole that the kernel has.
type inKernel struct {
	Pinhole
	left    time.Duration
	packets uint64 // first ones of connections
}

// list returns what is in the sets, over a connection of its own.
func (k *kernelSets) list() ([]inKernel, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("gate: nftables: %w", err)
	}
	outside := map[string]netip.AddrPort{} // by server, protocol and client's port: what stands for it
	if k.policy.NAT.On() {
		for _, f := range families {
			elements, err := conn.GetSetElements(k.sets[mapDNAT+f.digit])
			if err != nil {
				return nil, fmt.Errorf("gate: nftables: %s%s: %w", mapDNAT, f.digit, err)
			}
			for _, e := range elements {
				from, out, protocol, ok := parseKey(e.Key)
				if client, ok2 := parseValue(e.Val); ok && ok2 {
					outside[string(keyOf(from, client.Addr(), protocol, client.Port()))] = out
				}
			}
		}
	}
	var all []inKernel
	for _, f := range families {
		for _, name := range []string{setOnce, setMulti} {
			elements, err := conn.GetSetElements(k.sets[name+f.digit])
			if err != nil {
				return nil, fmt.Errorf("gate: nftables: %s%s: %w", name, f.digit, err)
			}
			for _, e := range elements {
				from, to, protocol, ok := parseKey(e.Key)
				if !ok || e.Expires <= 0 {
					continue
				}
				p := inKernel{Pinhole{From: from, To: to, Protocol: protocol, Once: name == setOnce, Lifetime: e.Timeout, Outside: outside[string(e.Key)]}, e.Expires, 0}
				if e.Counter != nil {
					p.packets = e.Counter.Packets
				}
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func parseKey(key []byte) (from netip.Addr, to netip.AddrPort, protocol uint8, ok bool) {
	n := (len(key) - 8) / 2
	if n != 4 && n != 16 || len(key) != 2*n+8 {
		return from, to, 0, false
	}
	from, _ = netip.AddrFromSlice(key[:n])
	addr, _ := netip.AddrFromSlice(key[n : 2*n])
	rest := key[2*n:]
	return from, netip.AddrPortFrom(addr, uint16(rest[4])<<8|uint16(rest[5])), rest[0], true
}

func parseValue(v []byte) (netip.AddrPort, bool) {
	n := len(v) - 4
	if n != 4 && n != 16 {
		return netip.AddrPort{}, false
	}
	addr, _ := netip.AddrFromSlice(v[:n])
	return netip.AddrPortFrom(addr, uint16(v[n])<<8|uint16(v[n+1])), true
}
