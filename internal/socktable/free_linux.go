package socktable

import "golang.org/x/sys/unix"

// Free tells whether a server could have a port of TCP or UDP now, on every address
// of both families, by binding it for an instant: what the table does not show
// counts too, such as the port of an outgoing connection. A connection that is over
// and still remembered (TIME_WAIT) keeps no server from listening. Over TCP that instant is in the
// way of nobody who reuses addresses, as servers do.
func Free(udp bool, port uint16) bool {
	kind := unix.SOCK_STREAM
	if udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil { // no IPv6 here
		if fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return false
		}
		defer unix.Close(fd)
		return bindable(fd, udp, &unix.SockaddrInet4{Port: int(port)})
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
		return false
	}
	return bindable(fd, udp, &unix.SockaddrInet6{Port: int(port)})
}

func bindable(fd int, udp bool, at unix.Sockaddr) bool {
	if udp { // where reusing means sharing
		return unix.Bind(fd, at) == nil
	}
	// Where somebody listens the kernel refuses to reuse.
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) == nil && unix.Bind(fd, at) == nil
}
