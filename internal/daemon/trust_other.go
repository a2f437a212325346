//go:build !linux

package daemon

import (
	"errors"
	"os"
)

// openTrusted opens no file here.
func openTrusted(string, int) (*os.File, error) {
	return nil, errors.New("who can change a file is told on Linux only")
}
