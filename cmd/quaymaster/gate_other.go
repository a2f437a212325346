//go:build !linux

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/gate"
)

func (f *gateFlags) run(*cobra.Command) error { return errGateLinux() }

func (f *gateFlags) preflight(*cobra.Command, *gate.Policy) error { return errGateLinux() }

func (f *gateFlags) down(*cobra.Command) error { return errGateLinux() }

func errGateLinux() error {
	return fmt.Errorf("runs on Linux only, not on %s: what it opens is nftables of its kernel; --print works everywhere", runtime.GOOS)
}
