package registry

import (
	"fmt"

	"github.com/quaymaster/quaymaster/internal/process"
)

// A held process is one that rows stand on or that registered them. It is closed
// with the last use.
type held struct {
	*process.Process
	uses   int
	grants []*grant // that stand on it, each a use
}

// processes are those that are held and whose number is known, by number: a
// process that many rows stand on takes one descriptor.
type processes map[int32]*held

// get returns the process of a claim, for one use, or nil if it has none.
func (p processes) get(c *Claim) (*held, error) {
	if c.Process == nil {
		return nil, nil
	}
	// It is asked for even if the number is held: who may have the process is for
	// the claim to say, and it may be another that had this number before.
	proc, err := c.Process()
	if err != nil {
		return nil, fmt.Errorf("process %d cannot be watched: %w", c.PID, err)
	}
	if h := p.find(proc.PID, proc.Started); h != nil {
		proc.Close()
		return h, nil
	}
	return p.hold(proc), nil
}

// reopen returns, for one use, the process that had a number and began at a
// time, or nil if it has ended.
func (p processes) reopen(pid int32, started uint64) *held {
	if h := p.find(pid, started); h != nil {
		return h
	}
	if proc, ok := process.Reopen(pid, started); ok {
		return p.hold(proc)
	}
	return nil
}

// find returns a process that is held, for one more use, or nil.
func (p processes) find(pid int32, started uint64) *held {
	h := p[pid]
	if h == nil || h.Started == 0 || h.Started != started {
		return nil
	}
	return p.take(h)
}

func (p processes) hold(proc *process.Process) *held {
	h := &held{Process: proc}
	if h.PID != 0 {
		p[h.PID] = h
	}
	return p.take(h)
}

// take counts a use; drop ends one. Both do nothing with nil.
func (p processes) take(h *held) *held {
	if h != nil {
		h.uses++
	}
	return h
}

func (p processes) drop(h *held) {
	if h == nil {
		return
	}
	if h.uses--; h.uses > 0 {
		return
	}
	if p[h.PID] == h {
		delete(p, h.PID)
	}
	h.Close()
}
