package ftp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// Protocols of the network, as EPRT and EPSV number them (RFC 2428, section 2).
const (
	IPv4 = 1
	IPv6 = 2
)

// maxAddress is the most bytes of an argument with an address that are looked at: "|2|", 39 of IPv6, "|65535|".
const maxAddress = 64

var (
	errHostPort = errors.New("not six numbers from 0 to 255 with commas between them, written without leading zeros")
	errExtended = errors.New("not a protocol, an address of it and a port, between delimiters")
	errPort     = errors.New("not a port in parentheses, after three delimiters and before a fourth")
)

// ParsePort reads the argument of PORT, four numbers of an IPv4 address and two of a port (RFC 959, section 5.3.2).
// It refuses what could be read in two ways: leading zeros, signs and blanks.
func ParsePort(arg []byte) (netip.AddrPort, error) {
	a, ok := parseHostPort(arg)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("ftp: argument of PORT, %d bytes: %w", len(arg), errHostPort)
	}
	return a, nil
}

func parseHostPort(b []byte) (netip.AddrPort, bool) {
	var six [6]byte
	for i := range six {
		field, rest, more := bytes.Cut(b, []byte{','})
		if more != (i < 5) {
			return netip.AddrPort{}, false
		}
		v, ok := parseNumber(field, 255)
		if !ok {
			return netip.AddrPort{}, false
		}
		six[i], b = byte(v), rest
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(six[:4])), uint16(six[4])<<8|uint16(six[5])), true
}

// parseNumber reads a number from 0 to limit in the one way it is written.
func parseNumber(b []byte, limit uint32) (uint32, bool) {
	if len(b) == 0 || len(b) > 5 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	v := uint32(0)
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		v = v*10 + uint32(c-'0')
	}
	return v, v <= limit
}

// AppendPort appends a, which is of IPv4, as the argument of PORT.
func AppendPort(b []byte, a netip.AddrPort) []byte {
	for _, v := range a.Addr().As4() {
		b = strconv.AppendUint(b, uint64(v), 10)
		b = append(b, ',')
	}
	b = strconv.AppendUint(b, uint64(a.Port()>>8), 10)
	b = append(b, ',')
	return strconv.AppendUint(b, uint64(a.Port()&0xff), 10)
}

// ParseExtendedPort reads the argument of EPRT: "|1|192.0.2.1|6275|", "|2|2001:db8::1|5282|", with any delimiter
// (RFC 2428, section 2). It refuses zones, addresses of IPv4 mapped into IPv6, and leading zeros.
func ParseExtendedPort(arg []byte) (netip.AddrPort, error) {
	a, ok := parseExtendedPort(arg)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("ftp: argument of EPRT, %d bytes: %w", len(arg), errExtended)
	}
	return a, nil
}

func parseExtendedPort(arg []byte) (netip.AddrPort, bool) {
	if len(arg) == 0 || len(arg) > maxAddress || !isDelimiter(arg[0]) {
		return netip.AddrPort{}, false
	}
	fields := bytes.Split(arg, arg[:1])
	if len(fields) != 5 || len(fields[4]) > 0 { // before the first delimiter there is nothing
		return netip.AddrPort{}, false
	}
	protocol, okProtocol := parseNumber(fields[1], IPv6)
	addr, err := netip.ParseAddr(string(fields[2]))
	port, okPort := parseNumber(fields[3], 65535)
	if !okProtocol || err != nil || !okPort || addr.Zone() != "" || addr.Is4In6() || uint32(ProtocolOf(addr)) != protocol {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, uint16(port)), true
}

// isDelimiter reports whether c may separate the parts of an address. RFC 2428 allows all that is printed; what an address or
// a number has in it cannot be meant.
func isDelimiter(c byte) bool {
	return '!' <= c && c <= '~' && !isDigit(c) && c != '.' && c != ':' && c != '(' && c != ')' && (c|0x20 < 'a' || c|0x20 > 'f')
}

// ProtocolOf returns [IPv4] or [IPv6].
func ProtocolOf(a netip.Addr) int {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// AppendExtendedPort appends a, without its zone, as the argument of EPRT.
func AppendExtendedPort(b []byte, a netip.AddrPort) []byte {
	b = append(b, '|')
	b = strconv.AppendInt(b, int64(ProtocolOf(a.Addr())), 10)
	b = append(b, '|')
	b = a.Addr().WithZone("").AppendTo(b)
	b = append(b, '|')
	b = strconv.AppendUint(b, uint64(a.Port()), 10)
	return append(b, '|')
}

// ParsePassive reads the address in the text of a reply 227 (RFC 959, section 5.4). The
// specification does not say where in the text it stands, or between what (RFC 1123, section 4.1.2.6), so it
// is found as the only six numbers; text with other numbers that have commas between them is refused.
func ParsePassive(text []byte) (netip.AddrPort, error) {
	var found netip.AddrPort
	for rest := text; len(rest) > 0; {
		start := bytes.IndexFunc(rest, isHostPort)
		if start < 0 {
			break
		}
		rest = rest[start:]
		n := bytes.IndexFunc(rest, func(c rune) bool { return !isHostPort(c) })
		if n < 0 {
			n = len(rest)
		}
		run := rest[:n]
		rest = rest[n:]
		if bytes.IndexByte(run, ',') < 0 || len(run) == 1 {
			continue // a number or a comma of the text
		}
		a, ok := parseHostPort(run)
		if !ok || found.IsValid() {
			return netip.AddrPort{}, fmt.Errorf("ftp: reply 227 of %d bytes: %w, once", len(text), errHostPort)
		}
		found = a
	}
	if !found.IsValid() {
		return netip.AddrPort{}, fmt.Errorf("ftp: reply 227 of %d bytes: %w", len(text), errHostPort)
	}
	return found, nil
}

func isHostPort(c rune) bool { return c == ',' || '0' <= c && c <= '9' }

// AppendPassive appends a reply 227 that tells a, which is of IPv4, in the words that most servers use.
func AppendPassive(b []byte, a netip.AddrPort) []byte {
	b = append(b, "227 Entering Passive Mode ("...)
	b = AppendPort(b, a)
	return append(b, ").\r\n"...)
}

// ParseExtendedPassive reads the port in the text of a reply 229: "Entering Extended Passive Mode (|||6446|)",
// with any delimiter (RFC 2428, section 3). There is one pair of parentheses.
func ParseExtendedPassive(text []byte) (uint16, error) {
	_, rest, opened := bytes.Cut(text, []byte{'('})
	inner, after, closed := bytes.Cut(rest, []byte{')'})
	bad := func() (uint16, error) {
		return 0, fmt.Errorf("ftp: reply 229 of %d bytes: %w", len(text), errPort)
	}
	n := len(inner)
	if !opened || !closed || n < 5 || bytes.IndexByte(after, '(') >= 0 || bytes.IndexByte(inner, '(') >= 0 {
		return bad()
	}
	d := inner[0]
	port, ok := parseNumber(inner[3:n-1], 65535)
	if !ok || !isDelimiter(d) || inner[1] != d || inner[2] != d || inner[n-1] != d {
		return bad()
	}
	return uint16(port), nil
}

// AppendExtendedPassive appends a reply 229 that tells a port.
func AppendExtendedPassive(b []byte, port uint16) []byte {
	b = append(b, "229 Entering Extended Passive Mode (|||"...)
	b = strconv.AppendUint(b, uint64(port), 10)
	return append(b, "|)\r\n"...)
}
