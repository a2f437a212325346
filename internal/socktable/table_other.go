//go:build !linux

package socktable

import (
	"context"
	"errors"
	"net/netip"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

var errLinux = errors.New("socktable: sockets are listed on Linux only")

// A Table is the kernel's table of sockets. Here it cannot be opened.
type Table struct{}

// Open returns an error.
func Open() (*Table, error) { return nil, errLinux }

// Close returns an error.
func (*Table) Close() error { return errLinux }

// Snapshot returns an error.
func (*Table) Snapshot() (*Snapshot, error) { return nil, errLinux }

// At returns an error.
func (*Table) At(endpoint.Endpoint) ([]Socket, error) { return nil, errLinux }

// Receivers returns an error.
func (*Table) Receivers(string, uint16) ([]Socket, error) { return nil, errLinux }

// Users returns an error.
func (*Table) Users(string, uint16) ([]Socket, error) { return nil, errLinux }

// ConnectionOwner returns an error.
func (*Table) ConnectionOwner(_, _ netip.AddrPort) (uint32, error) { return 0, errLinux }

// SenderOwner returns an error.
func (*Table) SenderOwner(netip.AddrPort) (uint32, error) { return 0, errLinux }

// WatchClosed returns an error.
func WatchClosed(context.Context, func(network string, port uint16)) error { return errLinux }
