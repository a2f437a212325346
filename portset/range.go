package portset

import "strconv"

// A Range is the ports from First to Last, both included. A Range whose Last is
// below its First holds no port. The zero value holds one: port 0.
type Range struct {
	First, Last uint16
}

// Len returns the number of ports in r, from 0 to 65536.
func (r Range) Len() int { return max(0, int(r.Last)-int(r.First)+1) }

// String returns r as "5000-5020", or as "443" when it is a single port.
func (r Range) String() string { return string(r.append(nil)) }

func (r Range) append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.First), 10)
	if r.First == r.Last {
		return b
	}
	b = append(b, '-')
	return strconv.AppendUint(b, uint64(r.Last), 10)
}
