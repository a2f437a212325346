package main

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRunOnce(t *testing.T) {
	const patience = 20 * time.Second
	big, err := unix.Mmap(-1, 0, 256<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Munmap(big); err != nil {
		t.Fatal(err)
	}
	own, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	one, err := runOnce(exec.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), patience, func(pid int) { seen = pid })
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 || one.Elapsed == 0 || one.Once.CPU == 0 || one.Once.User > one.Once.CPU {
		t.Errorf("runOnce = %v, %+v, meanwhile of process %d", one.Elapsed, one.Once, seen)
	}
	if m := one.Once.Memory; m == 0 || m > own.Resident+128<<20 {
		t.Errorf("a shell has %d bytes at most, this process %d; it had more before", m, own.Resident)
	}

	var exit *exec.ExitError
	if failed, err := runOnce(exec.Command("sh", "-c", "exit 3"), patience, nil); failed == nil || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("runOnce = %v, %v, want a tally and status 3", failed, err)
	}
	if _, err := runOnce(exec.Command("/nowhere"), patience, nil); err == nil {
		t.Error("runOnce of a program that is not there: want an error")
	}
}
