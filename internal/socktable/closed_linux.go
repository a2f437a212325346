package socktable

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The groups in which the kernel tells of sockets that are gone, enum
// sknetlink_groups of linux/sock_diag.h.
var closedGroups = []uint32{
	1, // SKNLGRP_INET_TCP_DESTROY
	2, // SKNLGRP_INET_UDP_DESTROY
	3, // SKNLGRP_INET6_TCP_DESTROY
	4, // SKNLGRP_INET6_UDP_DESTROY
}

// WatchClosed calls closed, with "tcp" or "udp" and a port, soon after a socket
// that may have received there was closed by the last process that had it. With
// port 0, and no network, it says that any may have been: at the beginning, from
// when on none is missed, and whenever there were more than the kernel could tell.
// It returns nil when ctx is cancelled, and an error where the kernel does not
// tell.
//
// It is a hint and not the truth: a socket may also stop to receive without being
// closed, as by shutdown or connect, and another one may have the port. The next
// call waits until closed returns.
func WatchClosed(ctx context.Context, closed func(network string, port uint16)) error {
	for {
		link, err := dialClosed()
		if err != nil {
			return fmt.Errorf("socktable: netlink: %w", err)
		}
		closed("", 0)
		err = follow(ctx, link, closed)
		link.Close()
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("socktable: netlink: %w", err)
		}
		// After an overrun the kernel tells nothing until all is read, and does
		// not say when that was: with a new socket it is known.
	}
}

// dialClosed returns a connection to which the kernel tells of closed sockets.
func dialClosed() (*netlink.Conn, error) {
	link, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, &netlink.Config{MessageBufferSize: answerSize})
	if err != nil {
		return nil, err
	}
	err = link.SetBPF(mayHaveReceived) // before anything comes
	for _, group := range closedGroups {
		if err == nil {
			err = link.JoinGroup(group)
		}
	}
	if err != nil {
		link.Close()
		return nil, err
	}
	return link, nil
}

// follow calls closed for what the kernel tells, until reading fails or ctx is cancelled.
func follow(ctx context.Context, link *netlink.Conn, closed func(network string, port uint16)) error {
	stop := context.AfterFunc(ctx, func() { link.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		messages, err := link.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			closed(closedSocket(m.Data))
		}
	}
}

// closedSocket returns what a message tells of, or what stands for any socket.
func closedSocket(message []byte) (network string, port uint16) {
	s, err := parseInet(message)
	switch {
	case err == nil && s.protocol == unix.IPPROTO_TCP:
		return "tcp", s.local.Port()
	case err == nil && s.protocol == unix.IPPROTO_UDP:
		return "udp", s.local.Port()
	}
	return "", 0
}

// mayHaveReceived lets through what is about sockets with a port and without a
// remote end. Of connections a busy host closes more than we could read; those few
// that were refused, or that this host reset, have lost their remote end before.
var mayHaveReceived = assemble(
	bpf.LoadAbsolute{Off: messageHeader + 6, Size: 2}, // idiag_dport
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 3},
	bpf.LoadAbsolute{Off: messageHeader + 4, Size: 2}, // idiag_sport
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
	bpf.RetConstant{Val: 1<<32 - 1},
	bpf.RetConstant{Val: 0},
)

func assemble(program ...bpf.Instruction) []bpf.RawInstruction {
	raw, err := bpf.Assemble(program)
	if err != nil {
		panic(err) // an instruction that does not exist
	}
	return raw
}
