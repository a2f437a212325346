package rpcbind

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A universal address is an address as text (RFC 5665, section 5.2.3): for IP
// the address, a dot, the high and the low byte of the port in decimal:
// "192.0.2.1.0.111", "2001:db8::1.0.111", "::.0.111". For local transports it is a path.

// ParseUniversalAddress reads a universal address of IPv4 or IPv6. It refuses
// what could be read in two ways: leading zeros, signs, blanks, scope ids, and
// IPv4 addresses mapped into IPv6.
func ParseUniversalAddress(s string) (netip.AddrPort, error) {
	if len(s) > MaxAddress { // and not to be repeated in an error
		return netip.AddrPort{}, fmt.Errorf("rpcbind: universal address of %d bytes: want at most %d", len(s), MaxAddress)
	}
	host, high, low, ok := splitUniversal(s)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("rpcbind: universal address %q: want address.high.low", s)
	}
	h, okHigh := parseByte(high)
	l, okLow := parseByte(low)
	if !okHigh || !okLow {
		return netip.AddrPort{}, fmt.Errorf("rpcbind: universal address %q: port bytes %q.%q are not two numbers from 0 to 255", s, high, low)
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return netip.AddrPort{}, fmt.Errorf("rpcbind: universal address %q: %q is no IP address", s, host)
	case addr.Zone() != "":
		return netip.AddrPort{}, fmt.Errorf("rpcbind: universal address %q: scope id %q is not allowed", s, addr.Zone())
	case addr.Is4In6():
		return netip.AddrPort{}, fmt.Errorf("rpcbind: universal address %q: an IPv4 address in IPv6 is not allowed", s)
	}
	return netip.AddrPortFrom(addr, uint16(h)<<8|uint16(l)), nil
}

// splitUniversal splits from the right: the address has dots or colons of its own.
func splitUniversal(s string) (host, high, low string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", "", false
	}
	j := strings.LastIndexByte(s[:i], '.')
	if j < 0 {
		return "", "", "", false
	}
	return s[:j], s[j+1 : i], s[i+1:], true
}

// parseByte reads 0 to 255 in the one way it is written.
func parseByte(s string) (byte, bool) {
	v, err := strconv.ParseUint(s, 10, 8)
	return byte(v), err == nil && (s == "0" || s[0] != '0')
}

// AppendUniversalAddress appends the universal address of a, without its zone.
func AppendUniversalAddress(b []byte, a netip.AddrPort) []byte {
	b = a.Addr().WithZone("").AppendTo(b)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(a.Port()>>8), 10)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(a.Port()&0xff), 10)
}

// UniversalAddress returns the universal address of a, without its zone.
func UniversalAddress(a netip.AddrPort) string {
	return string(AppendUniversalAddress(make([]byte, 0, 48), a))
}
