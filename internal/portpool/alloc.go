package portpool

import (
	"math/bits"

	"github.com/quaymaster/quaymaster/portset"
)

// A Transport is TCP, UDP or, as TCP|UDP, both with one number.
type Transport uint8

// The transports.
const (
	TCP Transport = 1 << iota
	UDP
)

// Transports are all transports, one by one.
var Transports = [...]Transport{TCP, UDP}

// String returns "tcp", "udp" or "tcp and udp".
func (t Transport) String() string {
	switch t {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "tcp and udp"
}

// Marks are ports of TCP and of UDP. The zero value is none.
type Marks [len(Transports)]portBits

// Set marks a port on the transports; Clear takes the mark away; Has tells whether
// one of them has it.
func (m *Marks) Set(on Transport, port uint16) {
	for i, t := range Transports {
		if on&t != 0 {
			m[i][port/64] |= 1 << (port % 64)
		}
	}
}

func (m *Marks) Clear(on Transport, port uint16) {
	for i, t := range Transports {
		if on&t != 0 {
			m[i][port/64] &^= 1 << (port % 64)
		}
	}
}

func (m *Marks) Has(on Transport, port uint16) bool {
	return m.word(on, int(port/64))&(1<<(port%64)) != 0
}

// word returns a word of the ports that are marked on one of the transports.
func (m *Marks) word(on Transport, i int) (w uint64) {
	if on&TCP != 0 { // rather than a loop: it is asked a thousand times for one port
		w = m[0][i]
	}
	if on&UDP != 0 {
		w |= m[1][i]
	}
	return w
}

// portBits has a bit for each port.
type portBits [1 << 16 / 64]uint64

// A Rotation goes round the ports of a pool, so that a port which came back is the
// last to be given again: clients may still know what was there, and the kernel may
// not be done with its connections. It is for one goroutine.
type Rotation struct {
	ports portset.Set
	bits  portBits
	next  uint16 // where to go on
}

// NewRotation returns one that begins with the port of the pool whose place in it
// is seed, modulo their number. The same seed and calls give the same ports.
func NewRotation(ports portset.Set, seed uint64) *Rotation {
	r := &Rotation{ports: ports}
	n := uint64(ports.Len())
	i := uint64(0)
	for port := range ports.All() {
		r.bits[port/64] |= 1 << (port % 64)
		if i++; i-1 == seed%n {
			r.next = port
		}
	}
	return r
}

// Ports returns the ports of the pool.
func (r *Rotation) Ports() portset.Set { return r.ports }

// Next returns the next port that free is true of, among those that are marked on
// none of the transports in any of taken; ok is false if there is none. The next call goes on
// behind it.
func (r *Rotation) Next(on Transport, free func(port uint16) bool, taken ...*Marks) (port uint16, ok bool) {
	start := int(r.next / 64)
	for i := range len(r.bits) + 1 { // the first word once more, for what lies before next
		at := (start + i) % len(r.bits)
		w := r.bits[at]
		for _, m := range taken {
			w &^= m.word(on, at)
		}
		switch behind := ^uint64(0) << (r.next % 64); i {
		case 0:
			w &= behind
		case len(r.bits):
			w &^= behind
		}
		for ; w != 0; w &= w - 1 {
			port := uint16(at*64 + bits.TrailingZeros64(w))
			if free(port) {
				r.next = port + 1
				return port, true
			}
		}
	}
	return 0, false
}

// Count returns how many ports of the pool are marked on one of the transports.
func (r *Rotation) Count(m *Marks, on Transport) (n int) {
	for i, w := range r.bits {
		n += bits.OnesCount64(w & m.word(on, i))
	}
	return n
}
