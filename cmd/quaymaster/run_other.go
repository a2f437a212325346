//go:build !linux

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/launch"
)

func (f *runFlags) run(*cobra.Command) (status int, err error) {
	return launch.ExitFailed, fmt.Errorf("runs on Linux only, not on %s: whose sockets there are its kernel tells", runtime.GOOS)
}
