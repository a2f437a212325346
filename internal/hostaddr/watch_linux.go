package hostaddr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Read fills the table with what the kernel has now.
func (t *Table) Read() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("hostaddr: %w", err)
	}
	var all []Address
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return fmt.Errorf("hostaddr: %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, ok := prefixOf(a); ok {
				all = append(all, Address{p, i.Flags&net.FlagLoopback != 0, i.Flags&net.FlagPointToPoint != 0})
			}
		}
	}
	t.Set(all)
	return nil
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

// settle is how long changes are collected before the addresses are read: they come in bursts.
const settle = 20 * time.Millisecond

// Watch fills the table and keeps it fresh until ctx is cancelled, then returns
// nil. It calls ready once, when the table has its first contents and no change
// can be missed any more. Where changes cannot be watched it fails, and leaves
// the addresses of the beginning.
func (t *Table) Watch(ctx context.Context, log *slog.Logger, ready func()) error {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("hostaddr: netlink: %w", err), t.Read())
	}
	defer conn.Close()
	if err := t.Read(); err != nil {
		return err
	}
	ready()

	changed := make(chan struct{}, 1)
	failed := make(chan error, 1)
	go func() { failed <- receive(conn, changed) }()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		select {
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("hostaddr: netlink: %w", err)
		case <-changed:
			time.Sleep(settle)
			if err := t.Read(); err != nil {
				log.Warn("addresses of this host not read, the former ones stay", "err", err)
			}
		}
	}
}

// receive signals changed for every notification until reading fails.
func receive(conn *netlink.Conn, changed chan<- struct{}) error {
	for {
		_, err := conn.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // more changes than the kernel could tell are a change too
			return err
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
