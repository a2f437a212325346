package rpcbind

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// A NetBuf is a transport address as UADDR2TADDR and TADDR2UADDR carry it
// (struct netbuf, RFC 1833, section 2.1): the bytes of a sockaddr of the host
// that made it, so only of use to programs on that host.
type NetBuf struct {
	MaxLen uint32 // bytes the address may have on its transport
	Buf    []byte
}

// maxNetBuf holds the largest address, that of the UNIX domain, with room to spare.
const maxNetBuf = 512

// ParseNetBuf decodes the arguments of TADDR2UADDR or the result of
// UADDR2TADDR. Buf is part of b. An address longer than its own MaxLen is
// refused, as by libtirpc. Errors wrap those of package xdr.
func ParseNetBuf(b []byte) (NetBuf, error) {
	r := xdr.NewReader(b)
	var n NetBuf
	n.MaxLen = r.Uint32()
	n.Buf = r.Opaque(min(n.MaxLen, maxNetBuf))
	if err := r.Err(); err != nil {
		return NetBuf{}, fmt.Errorf("rpcbind: netbuf: %w", err)
	}
	return n, nil
}

// Append appends the address.
func (n NetBuf) Append(b []byte) []byte {
	return xdr.AppendOpaque(xdr.AppendUint32(b, n.MaxLen), n.Buf)
}

// Families and sizes of Linux' socket addresses: numbers in host order, ports
// and addresses in network order.
const (
	afUnix, sizeUnix   = 1, 110
	afInet, sizeInet   = 2, 16
	afInet6, sizeInet6 = 10, 28
)

// TAddr returns the socket address for a universal address of the transport:
// the zero value if it is not one.
func TAddr(n NetID, uaddr string) NetBuf {
	if n == Local {
		if uaddr == "" || len(uaddr) > sizeUnix-3 || strings.IndexByte(uaddr, 0) >= 0 {
			return NetBuf{}
		}
		return NetBuf{sizeUnix, append(binary.NativeEndian.AppendUint16(nil, afUnix), uaddr...)}
	}
	a, err := ParseUniversalAddress(uaddr)
	if err != nil || a.Addr().Is4() != n.IsIPv4() {
		return NetBuf{}
	}
	if n.IsIPv4() {
		b := make([]byte, sizeInet)
		binary.NativeEndian.PutUint16(b, afInet)
		binary.BigEndian.PutUint16(b[2:], a.Port())
		copy(b[4:], a.Addr().AsSlice())
		return NetBuf{sizeInet, b}
	}
	b := make([]byte, sizeInet6)
	binary.NativeEndian.PutUint16(b, afInet6)
	binary.BigEndian.PutUint16(b[2:], a.Port())
	copy(b[8:], a.Addr().AsSlice())
	return NetBuf{sizeInet6, b}
}

// UAddr returns the universal address of a socket address of the transport:
// empty if it is not one.
func UAddr(n NetID, sockaddr []byte) string {
	if len(sockaddr) < 2 {
		return ""
	}
	family := binary.NativeEndian.Uint16(sockaddr)
	switch {
	case n == Local && family == afUnix && len(sockaddr) <= sizeUnix:
		path, _, _ := bytes.Cut(sockaddr[2:], []byte{0})
		return string(path)
	case n.IsIPv4() && family == afInet && len(sockaddr) >= 8:
		return inetUAddr(sockaddr[2:4], sockaddr[4:8])
	case n.IsIPv6() && family == afInet6 && len(sockaddr) >= 24:
		return inetUAddr(sockaddr[2:4], sockaddr[8:24])
	}
	return ""
}

func inetUAddr(port, addr []byte) string {
	a, _ := netip.AddrFromSlice(addr)
	return UniversalAddress(netip.AddrPortFrom(a, binary.BigEndian.Uint16(port)))
}
