package portpool

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/portset"
)

// parseHost reads what the kernel says in the two files below /proc/sys/net/ipv4:
// two numbers with blanks between, and ports and ranges with commas between.
func parseHost(localPortRange, localReservedPorts string) (*Host, error) {
	words := strings.Fields(localPortRange)
	if len(words) != 2 {
		return nil, fmt.Errorf("ip_local_port_range %q: want two ports", localPortRange)
	}
	var ends [2]uint16
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("ip_local_port_range %q: want two ports", localPortRange)
		}
		ends[i] = uint16(n)
	}
	reserved, err := portset.Parse(strings.TrimSpace(localReservedPorts))
	if err != nil {
		return nil, fmt.Errorf("ip_local_reserved_ports: %w", err)
	}
	return &Host{portset.Of(portset.Range{First: ends[0], Last: ends[1]}), reserved}, nil
}
