package process_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/process"
)

// cat starts a process that runs until it is ended.
func cat(t *testing.T) (p *process.Process, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if p, err = process.Open(int32(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	end = func() { in.Close(); cmd.Wait() }
	t.Cleanup(end)
	return p, end
}

// TestEnds: each end is told, once, though nobody takes the process out of the set, and
// one that was closed is not told.
func TestEnds(t *testing.T) {
	e, err := process.NewEnds()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	told := make(chan struct{}, 10)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- e.Watch(ctx, func() { told <- struct{}{} }) }()

	first, endFirst := cat(t)
	closed, endClosed := cat(t)
	last, endLast := cat(t)
	for _, p := range []*process.Process{first, closed, last} {
		if err := e.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	defer first.Close()
	defer last.Close()
	closed.Close()
	endClosed()
	for _, end := range []func(){endFirst, endLast} {
		end()
		select {
		case <-told:
		case <-time.After(20 * time.Second):
			t.Fatal("an end was not told")
		}
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Errorf("Watch = %v, want nil", err)
	}
	if n := len(told); n != 0 {
		t.Errorf("%d ends more were told than processes ended", n)
	}
}

// TestEndsLate: a process that has ended when it is added is told at once.
func TestEndsLate(t *testing.T) {
	e, err := process.NewEnds()
	if err != nil {
		t.Fatal(err)
	}
	p, end := cat(t)
	defer p.Close()
	end()
	if err := e.Add(p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := e.Watch(ctx, cancel); err != nil {
		t.Error(err)
	}
	if ctx.Err() == nil {
		t.Error("the end was not told")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Watch(context.Background(), func() { t.Error("told when closed") }); err == nil {
		t.Error("Watch when closed = nil, want an error")
	}
}
