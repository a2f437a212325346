package main

import (
	"errors"
	"os/exec"
	"testing"
	"time"
)

func TestRunOnce(t *testing.T) {
	const patience = 20 * time.Second
	big := make([]byte, 256<<20)
	for i := range big {
		big[i] = 1 // so that it is there
	}
	if big = nil; big != nil {
		t.Fatal(big)
	}
	seen := 0
	one, err := runOnce(exec.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), patience, func(pid int) { seen = pid })
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 || one.Elapsed == 0 || one.Once.CPU == 0 || one.Once.User > one.Once.CPU {
		t.Errorf("runOnce = %v, %+v, meanwhile of process %d", one.Elapsed, one.Once, seen)
	}
	if m := one.Once.Memory; m == 0 || m > 128<<20 {
		t.Errorf("a shell has %d bytes at most, of which this process had most", m)
	}

	var exit *exec.ExitError
	if failed, err := runOnce(exec.Command("sh", "-c", "exit 3"), patience, nil); failed == nil || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("runOnce = %v, %v, want a tally and status 3", failed, err)
	}
	if _, err := runOnce(exec.Command("/nowhere"), patience, nil); err == nil {
		t.Error("runOnce of a program that is not there: want an error")
	}
}
