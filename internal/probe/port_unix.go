//go:build unix

package probe

import "net"

// hearRefusals has nothing to do: a connected socket of UDP hears of ICMP port unreachable.
func hearRefusals(net.Conn) {}
