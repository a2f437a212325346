//go:build !linux

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func runServe(*cobra.Command, *serveFlags) error {
	return fmt.Errorf("runs on Linux only, not on %s: the rights to register come from its kernel", runtime.GOOS)
}
