package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A route is what leads control channels of one family to this host: a rule for their mark, and a table with one local route.
type route struct {
	IPv6  bool   `json:"ipv6"`
	Mark  uint32 `json:"mark"`
	Table uint32 `json:"table"`
}

// routes returns those that a policy needs.
func (p *Policy) routes() []route {
	var all []route
	for _, f := range p.families() {
		all = append(all, route{f.ipv6, p.Marks.Packet, p.Marks.Table})
	}
	return all
}

func (r route) family() uint8 {
	if r.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// everything is the network that the local route is of.
func (r route) everything() string {
	if r.IPv6 {
		return "::/0"
	}
	return "0.0.0.0/0"
}

// numbers of linux/fib_rules.h that package unix lacks.
const (
	fraPriority = 6
	fraFwmark   = 10
	fraTable    = 15
	fraFwmask   = 16
	frActToTbl  = 1
)

// messages returns what netlink calls the rule and the route.
func (r route) messages() (rule, local []byte, err error) {
	if rule, err = r.ruleMessage(); err == nil {
		local, err = r.routeMessage()
	}
	return rule, local, err
}

// add puts the rule and the route there, also if they are.
func (r route) add(conn *netlink.Conn) error {
	rule, local, err := r.messages()
	if err != nil {
		return err
	}
	const create = netlink.Request | netlink.Acknowledge | netlink.Create
	if err := execute(conn, unix.RTM_NEWRULE, create|netlink.Excl, rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("gate: ip rule for the mark 0x%08x: %w", r.Mark, err)
	}
	if err := execute(conn, unix.RTM_NEWROUTE, create|netlink.Replace, local); err != nil {
		return fmt.Errorf("gate: ip route local %s in table %d: %w", r.everything(), r.Table, err)
	}
	return nil
}

// remove takes the rule and the route away; it is no error if they are not there.
func (r route) remove(conn *netlink.Conn) error {
	rule, local, err := r.messages()
	if err != nil {
		return err
	}
	const remove = netlink.Request | netlink.Acknowledge
	err = execute(conn, unix.RTM_DELRULE, remove, rule)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
		err = nil
	}
	err2 := execute(conn, unix.RTM_DELROUTE, remove, local)
	if errors.Is(err2, unix.ESRCH) || errors.Is(err2, unix.EAFNOSUPPORT) {
		err2 = nil
	}
	return errors.Join(err, err2)
}

func execute(conn *netlink.Conn, kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte) error {
	_, err := conn.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: flags}, Data: data})
	return err
}

// ruleMessage is "fwmark MARK/MARK lookup TABLE priority TABLE" (linux/fib_rules.h).
func (r route) ruleMessage() ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(fraPriority, r.Table)
	ae.Uint32(fraFwmark, r.Mark)
	ae.Uint32(fraFwmask, r.Mark)
	ae.Uint32(fraTable, r.Table)
	attributes, err := ae.Encode()
	header := make([]byte, 12) // struct fib_rule_hdr
	header[0], header[4], header[7] = r.family(), tableByte(r.Table), frActToTbl
	return append(header, attributes...), err
}

// routeMessage is "local EVERYTHING dev lo table TABLE" (linux/rtnetlink.h).
func (r route) routeMessage() ([]byte, error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, fmt.Errorf("gate: the loopback interface: %w", err)
	}
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.RTA_OIF, uint32(lo.Index))
	ae.Uint32(unix.RTA_TABLE, r.Table)
	attributes, err := ae.Encode()
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[4], header[5], header[7] = r.family(), tableByte(r.Table), unix.RTPROT_STATIC, unix.RTN_LOCAL
	if !r.IPv6 {
		header[6] = unix.RT_SCOPE_HOST
	}
	return append(header, attributes...), err
}

// tableByte is a table's number where there is room for a byte only.
func tableByte(table uint32) uint8 {
	if table < 256 {
		return uint8(table)
	}
	return unix.RT_TABLE_COMPAT
}

// leads reports whether a packet with the mark, to an address that is not this host's, comes here: what the rule and the route are for.
func (r route) leads(conn *netlink.Conn, to netip.Addr) (bool, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(unix.RTA_DST, to.AsSlice())
	ae.Uint32(unix.RTA_MARK, r.Mark)
	attributes, err := ae.Encode()
	if err != nil {
		return false, err
	}
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[1] = r.family(), uint8(to.BitLen())
	binary.NativeEndian.PutUint32(header[8:], unix.RTM_F_LOOKUP_TABLE)
	answer, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
		Data:   append(header, attributes...),
	})
	switch {
	case errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL):
		return false, nil // as the host's own routes have it
	case err != nil:
		return false, fmt.Errorf("gate: ip route get %s mark 0x%08x: %w", to, r.Mark, err)
	}
	for _, m := range answer {
		if len(m.Data) < unix.SizeofRtMsg || m.Data[7] != unix.RTN_LOCAL {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofRtMsg:])
		if err != nil {
			return false, err
		}
		for ad.Next() {
			if ad.Type() == unix.RTA_TABLE && ad.Uint32() == r.Table {
				return true, nil
			}
		}
	}
	return false, nil
}
