package socktable

import "slices"

// Same tells whether two snapshots have the same sockets of TCP and UDP. Those of
// the UNIX domain are not compared, since where a path leads is not in the table.
func (s *Snapshot) Same(o *Snapshot) bool {
	return slices.Equal(s.tcp, o.tcp) && slices.Equal(s.udp, o.udp)
}
