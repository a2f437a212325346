package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// runOnce runs a program to its end, which it has that long for, and returns what that took. Meanwhile is
// called once it has started, unless it is nil. Of a program that fails the tally is returned too; the error
// wraps its [exec.ExitError].
func runOnce(cmd *exec.Cmd, patience time.Duration, meanwhile func(pid int)) (*tally, error) {
	if err := forgetPeak(); err != nil {
		return nil, err
	}
	var said tail
	cmd.Stderr = &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
	if meanwhile != nil {
		meanwhile(cmd.Process.Pid)
	}
	err := cmd.Wait()
	state := cmd.ProcessState
	t := &tally{Elapsed: time.Since(start), Once: &expense{
		CPU: state.UserTime() + state.SystemTime(), User: state.UserTime(),
		Memory: int64(state.SysUsage().(*syscall.Rusage).Maxrss) << 10,
	}}
	if err != nil {
		err = fmt.Errorf("%s: %w%s", strings.Join(cmd.Args, " "), err, said.quote())
	}
	return t, err
}

// forgetPeak gives back what memory it can and has the kernel forget that there was more: the peak of a child
// is at least its parent's, whose memory is the child's until exec. What this process has left, some
// 10 MiB, no child's peak is below.
func forgetPeak() error {
	debug.FreeOSMemory()
	const resetPeak = "5" // proc_pid_clear_refs(5)
	return os.WriteFile("/proc/self/clear_refs", []byte(resetPeak), 0)
}
