package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
)

// A target is the daemon that a client verb asks.
type target struct {
	control string
	dev     bool
}

// addFlags adds the flags to a verb and to those below it.
func (t *target) addFlags(cmd *cobra.Command) { t.addTo(cmd.PersistentFlags()) }

func (t *target) addTo(f *pflag.FlagSet) {
	f.StringVar(&t.control, "control", "", "control `socket` of the daemon (default "+daemon.SystemControl+")")
	f.BoolVar(&t.dev, "dev", false, "ask the daemon that \"serve --dev\" runs")
}

// client returns a client of the daemon that the flags name or, without any,
// of the system's daemon or else of the user's development daemon.
func (t *target) client() (*api.Client, string, error) {
	path, err := t.path()
	if err != nil {
		return nil, "", err
	}
	return api.NewClient(path), path, nil
}

func (t *target) path() (string, error) {
	switch {
	case t.control != "" && t.dev:
		return "", usagef("--control and --dev name two daemons: choose one")
	case t.control != "":
		return t.control, nil
	}
	dir, err := stateDir()
	if t.dev {
		return daemon.DevControl(dir), err
	}
	if exists(daemon.SystemControl) || err != nil || !exists(daemon.DevControl(dir)) {
		return daemon.SystemControl, nil
	}
	fmt.Fprintf(os.Stderr, "quaymaster: no system daemon here; asking the development one at %s\n", home(daemon.DevControl(dir)))
	return daemon.DevControl(dir), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// explain adds to an error of a client what to do about it.
func (t *target) explain(path string, err error) error {
	var op *net.OpError
	switch {
	case runtime.GOOS != "linux" && errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("no daemon answers on %s, since it runs on Linux only: \"quaymaster ask HOST\" asks other hosts", home(path))
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		start := "quaymaster serve, or serve --dev to try it out"
		if t.dev {
			start = "quaymaster serve --dev"
		}
		return fmt.Errorf("no daemon answers on %s: start one (%s) or choose --control", home(path), start)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: permission denied: the folder must let you through", path)
	}
	return err
}

// stateDir returns the folder of the user's development daemon.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "quaymaster"), nil
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the development daemon: set HOME or XDG_STATE_HOME")
	}
	return filepath.Join(dir, ".local", "state", "quaymaster"), nil
}

// home shortens a path for people.
func home(path string) string {
	dir, err := os.UserHomeDir()
	if err != nil || dir == "/" {
		return path
	}
	if rest, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rest) {
		return filepath.Join("~", rest)
	}
	return path
}
