//go:build unix

package probe

import (
	"errors"
	"syscall"
)

// isRefused tells whether the host says that nothing listens: by RST, or by ICMP port unreachable.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isProhibited tells whether a router or firewall says by ICMP that it does not let us
// through, or that the host is not there.
func isProhibited(err error) bool {
	return errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EHOSTDOWN)
}

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// isNoNetwork tells whether this host has no route, or a router says that it has none.
func isNoNetwork(err error) bool { return errors.Is(err, syscall.ENETUNREACH) }
