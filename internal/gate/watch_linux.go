package gate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Times of watching.
const (
	lookPeriod  = 2 * time.Second        // between looks without a reason
	settlePause = 100 * time.Millisecond // for changes, which come in bursts
	mendPause   = 300 * time.Millisecond // between two repairs, should somebody insist
)

// Watch sees that all stays in place until ctx is cancelled, then returns nil: what somebody flushes, deletes or sets otherwise is put back within seconds, and logged.
func (s *System) Watch(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	failed := make(chan error, 2)
	tables, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err == nil {
		defer tables.Close()
		err = errors.Join(tables.SetBPF(withoutElements), tables.JoinGroup(unix.NFNLGRP_NFTABLES))
	}
	if err != nil {
		return fmt.Errorf("gate: watching nftables: %w", err)
	}
	rules, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err == nil {
		defer rules.Close()
		err = errors.Join(rules.JoinGroup(unix.RTNLGRP_IPV4_RULE), rules.JoinGroup(unix.RTNLGRP_IPV6_RULE))
	}
	if err != nil {
		return fmt.Errorf("gate: watching routes: %w", err)
	}
	for _, conn := range []*netlink.Conn{tables, rules} {
		go func() { failed <- notice(conn, changed) }()
		stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			if ctx.Err() != nil {
				<-failed
				return nil
			}
			rules.Close()
			tables.Close()
			<-failed
			return fmt.Errorf("gate: watching: %w", err)
		case <-changed:
			if !pause(ctx, settlePause) {
				continue
			}
		case <-tick.C:
		}
		if s.look(ctx) {
			pause(ctx, mendPause)
		}
	}
}

// pause reports whether the time went by before the end.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// withoutElements lets all of nftables' news through but those of elements, which pinholes make all the time. What
// begins with an element and is more than that, the periodic look sees.
var withoutElements = func() []bpf.RawInstruction {
	low := uint32(4) // offset of the byte of a message's type that has the kind of message
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		low = 5
	}
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: low, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NFT_MSG_NEWSETELEM, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NFT_MSG_DELSETELEM, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NFT_MSG_NEWGEN, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 30},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err)
	}
	return filter
}()

// notice signals changed for all that is told, until reading fails.
func notice(conn *netlink.Conn, changed chan<- struct{}) error {
	for {
		if _, err := conn.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) { // more than could be told is a change too
			return err
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// look puts back what is not as Up left it, and reports whether there was anything.
func (s *System) look(ctx context.Context) (mended bool) {
	for _, want := range s.Policy.Settings() {
		is, err := readSetting(want.Name)
		if err == nil && is != want.Value {
			s.report(writeSetting(want), "setting", want.Name, "was", is, "is", want.Value)
			mended = true
		}
	}
	if missing := s.missingRoutes(); len(missing) > 0 {
		s.report(s.addRoutes(), "routes", strings.Join(missing, ", "))
		mended = true
	}
	if ctx.Err() == nil && s.tableChanged(ctx) {
		err := s.load(ctx)
		if ctx.Err() != nil {
			return mended
		}
		s.report(err, "table", Table)
		mended = true
		if err == nil && s.Mended != nil {
			s.Mended(ctx)
		}
	}
	return mended
}

func (s *System) report(err error, facts ...any) {
	if err != nil {
		if s.failed != err.Error() { // it is tried again and again
			s.log().Error("somebody changed what the gate needs, and it cannot be put back", append(facts, "err", err)...)
		}
		s.failed = err.Error()
		return
	}
	s.failed = ""
	s.log().Warn("somebody changed what the gate needs: put back", facts...)
}

func (s *System) missingRoutes() []string {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil // the next look may tell
	}
	defer conn.Close()
	var missing []string
	for _, r := range s.Policy.routes() {
		there := slices.ContainsFunc(nobodys[r.IPv6], func(a netip.Addr) bool {
			leads, err := r.leads(conn, a)
			return leads || err != nil // the next look may tell
		})
		if !there {
			missing = append(missing, fmt.Sprintf("mark 0x%08x of %s", r.Mark, familyName(r.IPv6)))
		}
	}
	return missing
}

// nobodys are addresses that no host has (RFC 5737, RFC 3849, RFC 6666); one that this host has all the same says nothing.
var nobodys = map[bool][]netip.Addr{
	false: {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")},
	true:  {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:ffff::1"), netip.MustParseAddr("100::1")},
}

// tableChanged reports whether the table is not what was loaded. Pinholes that are opened meanwhile can make a list incomplete, so a
// difference counts if it stays.
func (s *System) tableChanged(ctx context.Context) bool {
	for range 3 {
		is, err := tableParts()
		if err == nil && is == s.loaded {
			return false
		}
		if !pause(ctx, 10*time.Millisecond) {
			return false
		}
	}
	return true
}

// Numbers of linux/netfilter/nf_tables.h for what tableParts asks.
const (
	attrTable     = 1 // NFTA_RULE_TABLE, NFTA_CHAIN_TABLE, NFTA_SET_TABLE
	attrRuleChain = 2
	attrRule      = 3 // handle
	attrSetName   = 2
	attrChainID   = 2 // handle
	attrPolicy    = 5
)

// tableParts returns a text that changes when a chain, its policy, a rule or a set of the table goes, comes or is replaced: the kernel's numbers of
// them. Elements and counters are not in it.
func tableParts() (string, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return "", fmt.Errorf("gate: nftables: %w", err)
	}
	defer conn.Close()
	var parts []string
	for _, q := range []struct {
		kind  netlink.HeaderType
		attrs []uint16
	}{
		{unix.NFT_MSG_GETCHAIN, []uint16{attrChainID, attrPolicy}},
		{unix.NFT_MSG_GETRULE, []uint16{attrRuleChain, attrRule}},
		{unix.NFT_MSG_GETSET, []uint16{attrSetName}},
	} {
		ae := netlink.NewAttributeEncoder()
		ae.String(attrTable, Table)
		attributes, err := ae.Encode()
		if err != nil {
			return "", err
		}
		answer, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | q.kind, Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{unix.NFPROTO_INET, 0, 0, 0}, attributes...), // struct nfgenmsg
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return "", fmt.Errorf("gate: nftables: %w", err)
		}
		for _, m := range answer {
			part, ok, err := partOf(m, q.attrs)
			if err != nil {
				return "", fmt.Errorf("gate: nftables: %w", err)
			}
			if ok {
				parts = append(parts, fmt.Sprintf("%d%s", q.kind, part))
			}
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n"), nil
}

// partOf returns some attributes of a message about the gate's table; false if it is about another.
func partOf(m netlink.Message, attrs []uint16) (part string, ours bool, err error) {
	if len(m.Data) < 4 {
		return "", false, nil
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return "", false, err
	}
	for ad.Next() {
		if ad.Type() == attrTable {
			ours = ad.String() == Table
		}
		if slices.Contains(attrs, ad.Type()) {
			part += fmt.Sprintf(" %x", ad.Bytes())
		}
	}
	return part, ours, ad.Err()
}
