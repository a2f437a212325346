package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

type handle struct{ fd int }

// Open returns the process with a number.
func Open(pid int32) (*Process, error) {
	fd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return FromFD(pid, fd, 0), nil
}

// FromFD returns the process of a pidfd, which it owns from now on. began is Started
// of another Process that is the same one; if it is 0 the kernel is asked.
func FromFD(pid int32, fd int, began uint64) *Process {
	p := &Process{PID: pid, Started: began, handle: handle{fd}}
	if pid != 0 && began == 0 {
		p.Started = started(pid)
	}
	return p
}

// Reopen returns the process that had a number and began at a time, as told by
// an earlier Process, if it still runs.
func Reopen(pid int32, began uint64) (*Process, bool) {
	if pid == 0 || began == 0 {
		return nil, false
	}
	p, err := Open(pid)
	if err != nil {
		return nil, false
	}
	if p.Started != began || !p.Alive() {
		p.Close()
		return nil, false
	}
	return p, true
}

// Alive tells whether the process runs: not if it has ended, whether or not its
// parent has taken notice.
func (p *Process) Alive() bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	for err == unix.EINTR {
		n, err = unix.Poll(fds, 0)
	}
	return n <= 0
}

// Close lets the process go.
func (p *Process) Close() { unix.Close(p.fd) }

// UID returns the real uid of the process.
func (p *Process) UID() (uint32, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err == nil && !p.Alive() { // what was read may be of the next process with this number
		err = unix.ESRCH
	}
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", p.PID, err)
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Uid:")); ok {
			if fields := bytes.Fields(rest); len(fields) > 0 {
				uid, err := strconv.ParseUint(string(fields[0]), 10, 32)
				return uint32(uid), err
			}
		}
	}
	return 0, fmt.Errorf("process %d: no uid in /proc/%d/status", p.PID, p.PID)
}

// State returns the state of the process that has a number, such as 'Z' of one that has ended
// and was not waited for, and the number of its parent; zeros if there is none.
func State(pid int) (state byte, parent int) {
	fields := stat(pid)
	if len(fields) < 2 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(string(fields[1]))
	return fields[0][0], parent
}

// started returns field 22 of /proc/PID/stat, or 0.
func started(pid int32) uint64 {
	const at = 22 - firstField
	fields := stat(int(pid))
	if len(fields) <= at {
		return 0
	}
	began, _ := strconv.ParseUint(string(fields[at]), 10, 64)
	return began
}

// firstField is the number of the first field that stat returns.
const firstField = 3

// stat returns the fields of /proc/PID/stat (proc(5)) behind the name, field 2, as far as
// started; nil if there is no such process.
func stat(pid int) [][]byte {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/stat", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	// One read: package os would take three, and ask whether the file can be polled.
	var buf [512]byte // more than the fields up to this one can have
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return nil
	}
	text := buf[:n]
	// The name may have blanks and brackets in it.
	return bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
}
