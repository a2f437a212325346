package probe

import (
	"errors"

	"golang.org/x/sys/windows"
)

func isRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

func isProhibited(err error) bool {
	return errors.Is(err, windows.WSAEHOSTUNREACH) || errors.Is(err, windows.WSAEACCES) || errors.Is(err, windows.WSAEHOSTDOWN)
}

// isReset tells whether the other side hung up. Of UDP it is how Windows tells of ICMP port
// unreachable: the prober takes that for a refusal before it asks.
func isReset(err error) bool {
	return errors.Is(err, windows.WSAECONNRESET) || errors.Is(err, windows.WSAECONNABORTED)
}

// isNoNetwork tells whether this host has no route, or a router says that it has none.
func isNoNetwork(err error) bool { return errors.Is(err, windows.WSAENETUNREACH) }
