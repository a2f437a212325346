package portpool

import (
	"fmt"
	"os"
)

// ReadHost returns what this host, or the network namespace that the program is
// in, does with its ports. It is nil on systems other than Linux.
func ReadHost() (*Host, error) {
	const dir = "/proc/sys/net/ipv4/" // of IPv6 too
	local, err := os.ReadFile(dir + "ip_local_port_range")
	if err != nil {
		return nil, fmt.Errorf("portpool: %w", err)
	}
	reserved, err := os.ReadFile(dir + "ip_local_reserved_ports")
	if err != nil {
		return nil, fmt.Errorf("portpool: %w", err)
	}
	h, err := parseHost(string(local), string(reserved))
	if err != nil {
		return nil, fmt.Errorf("portpool: %s%w", dir, err)
	}
	return h, nil
}
