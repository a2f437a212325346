package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	retransmitAfter = 500 * time.Millisecond
	maxTransmits    = 5
	maxDatagram     = 512
)

// A udpLoad keeps a number of calls outstanding on each of several sockets:
// as soon as one is answered the next leaves. One thread does it all, with as
// few system calls as there are, so that the server is the limit.
type udpLoad struct {
	server      netip.AddrPort
	sockets     int
	outstanding int // per socket
	rows        int
	question    question
}

// An asked is one outstanding call.
type asked struct {
	xid       uint32
	row       int
	call      []byte // in storage
	storage   [128]byte
	first     time.Duration // sent, since the start of the run
	last      time.Duration // sent again
	transmits int           // 0: nothing is outstanding
}

// A udpRun is the state of a udpLoad at work. Slot s is a call on socket
// s / outstanding, and its xid is s modulo the number of slots.
type udpRun struct {
	udpLoad
	*tally
	poll       int
	fds        []int
	slots      []asked
	unanswered int
	out, in    *batch
	arrived    [][]byte // the buffers of in
	pick       rowPicker
	generation uint32
	start      time.Time
	window     time.Duration
	latency    histogram
}

func newUDPRun(l udpLoad) *udpRun {
	r := &udpRun{
		udpLoad: l,
		poll:    -1,
		slots:   make([]asked, l.sockets*l.outstanding),
		out:     newBatch(l.outstanding),
		in:      newBatch(l.outstanding),
		pick:    rowPicker{rows: l.rows},
	}
	for i := range l.outstanding {
		r.arrived = append(r.arrived, make([]byte, maxDatagram))
		r.in.set(i, r.arrived[i])
	}
	return r
}

func (r *udpRun) open() (err error) {
	if r.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		r.poll = -1
		return fmt.Errorf("epoll_create1: %w", err)
	}
	for i := range r.sockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		r.fds = append(r.fds, fd)
		if err := unix.Connect(fd, sockaddr(r.server)); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		// Edge-triggered: what is outstanding is all that can arrive, and it
		// is read at once, so the kernel need not look again.
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(i)}
		if err := unix.EpollCtl(r.poll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return nil
}

func (r *udpRun) close() {
	for _, fd := range r.fds {
		unix.Close(fd)
	}
	if r.poll >= 0 {
		unix.Close(r.poll)
	}
}

func (r *udpRun) run(window time.Duration, t *tally) error {
	if err := r.loop(window, t); err != nil {
		return fmt.Errorf("udp %v: %w", r.server, err)
	}
	t.time(&r.latency)
	return nil
}

func (r *udpRun) loop(window time.Duration, t *tally) error {
	r.start, r.window, r.tally = time.Now(), window, t
	for socket := range r.fds {
		n := 0
		for s := socket * r.outstanding; s < (socket+1)*r.outstanding; s++ {
			r.ask(s, n)
			n++
		}
		if err := r.out.send(r.fds[socket], n); err != nil {
			return fmt.Errorf("sendmmsg: %w", err)
		}
	}
	events := make([]unix.EpollEvent, r.sockets)
	looked := time.Duration(0)
	for r.unanswered > 0 {
		n, err := unix.EpollWait(r.poll, events, int(retransmitAfter/time.Millisecond)/5)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			if err := r.answers(int(event.Fd)); err != nil {
				return err
			}
		}
		if now := time.Since(r.start); now-looked > retransmitAfter/5 {
			looked = now
			if err := r.retransmit(now); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask makes a new call of slot s, datagram n of the batch to send.
func (r *udpRun) ask(s, n int) {
	slot := &r.slots[s]
	r.generation++
	slot.xid = r.generation*uint32(len(r.slots)) + uint32(s)
	slot.row = r.pick.next()
	slot.call = r.question.appendCall(slot.storage[:0], slot.xid, slot.row)
	slot.first = time.Since(r.start)
	slot.last = slot.first
	slot.transmits = 1
	r.unanswered++
	r.out.set(n, slot.call)
}

// answers takes what has arrived on a socket and asks anew for each.
func (r *udpRun) answers(socket int) error {
	fd := r.fds[socket]
	got, err := r.in.receive(fd, r.outstanding)
	if err != nil {
		return fmt.Errorf("recvmmsg: %w", err)
	}
	now := time.Since(r.start)
	n := 0
	for i := range got {
		s, ok := r.verify(r.arrived[i][:r.in.length(i)])
		if !ok {
			continue
		}
		slot := &r.slots[s]
		r.Requests++
		r.latency.add(now - slot.first)
		slot.transmits = 0
		r.unanswered--
		if now < r.window {
			r.ask(s, n)
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if err := r.out.send(fd, n); err != nil {
		return fmt.Errorf("sendmmsg: %w", err)
	}
	return nil
}

// verify returns the slot a reply answers.
func (r *udpRun) verify(reply []byte) (slot int, ok bool) {
	if len(reply) < 4 {
		r.wrong(errRefused)
		return 0, false
	}
	xid := binary.BigEndian.Uint32(reply)
	slot = int(xid % uint32(len(r.slots)))
	asked := &r.slots[slot]
	if asked.xid != xid || asked.transmits == 0 {
		if r.Retransmitted == 0 { // else the answer to the first of two
			r.wrong(errXID)
		}
		return 0, false
	}
	if err := r.question.check(reply, xid, asked.row); err != nil {
		r.wrong(fmt.Errorf("row %d: %w", asked.row, err))
		return 0, false
	}
	return slot, true
}

// retransmit sends again what is overdue, and gives up what has been sent
// often enough.
func (r *udpRun) retransmit(now time.Duration) error {
	for s := range r.slots {
		slot := &r.slots[s]
		if slot.transmits == 0 || now-slot.last < retransmitAfter {
			continue
		}
		if slot.transmits == maxTransmits {
			r.Lost++
			r.latency.add(now - slot.first)
			r.unanswered--
			slot.transmits = 0
			continue
		}
		slot.last = now
		slot.transmits++
		r.Retransmitted++
		r.out.set(0, slot.call)
		if err := r.out.send(r.fds[s/r.outstanding], 1); err != nil {
			return fmt.Errorf("sendmmsg: %w", err)
		}
	}
	return nil
}
