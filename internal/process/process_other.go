//go:build !linux

package process

import (
	"context"
	"errors"
)

type handle struct{}

var errLinux = errors.New("process: Linux only")

// Open fails: other systems have no pidfd.
func Open(int32) (*Process, error) { return nil, errLinux }

// Reopen finds nothing.
func Reopen(int32, uint64) (*Process, bool) { return nil, false }

// Alive is true of nothing.
func (p *Process) Alive() bool { return false }

// Close does nothing.
func (p *Process) Close() {}

// FromFD returns a process of which nothing is known.
func FromFD(pid int32, _ int, began uint64) *Process { return &Process{PID: pid, Started: began} }

// UID fails.
func (p *Process) UID() (uint32, error) { return 0, errLinux }

// Ends tells of nothing.
type Ends struct{}

// NewEnds fails.
func NewEnds() (*Ends, error) { return nil, errLinux }

// Add fails.
func (e *Ends) Add(*Process) error { return errLinux }

// Watch fails.
func (e *Ends) Watch(context.Context, func()) error { return errLinux }

// Close does nothing.
func (e *Ends) Close() error { return nil }
