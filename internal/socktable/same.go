package socktable

import "slices"

// Same tells whether two snapshots have the same sockets of TCP and UDP. A socket in
// another's place, at its address and of its user, is the same: it receives what that
// did. Those of the UNIX domain are not compared, since where a path leads is not in
// the table.
func (s *Snapshot) Same(o *Snapshot) bool {
	return slices.EqualFunc(s.tcp, o.tcp, inPlace) && slices.EqualFunc(s.udp, o.udp, inPlace)
}

func inPlace(a, b Socket) bool {
	a.Inode = b.Inode
	return a == b
}
