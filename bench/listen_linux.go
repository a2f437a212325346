package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// otherFiles is how many descriptors the loads need at most, and more than that.
const otherFiles = 200

// listenForRows opens what the registered rows stand for, at each of their
// ports a UDP socket and a TCP socket that listens, and keeps it until the
// process ends: a row at whose port nothing listens ends after a while.
func listenForRows() error {
	if err := allowFiles(2*rowPorts + otherFiles); err != nil {
		return err
	}
	for port := firstPort; port < firstPort+rowPorts; port++ {
		for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
			if err := listenAt(kind, port); err != nil {
				return fmt.Errorf("listening at port %d for the rows: %w", port, err)
			}
		}
	}
	return nil
}

// listenAt listens on every IPv4 address.
func listenAt(kind, port int) error {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if kind == unix.SOCK_DGRAM {
		return nil
	}
	if err := unix.Listen(fd, 1); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// allowFiles raises the limit of open files to n if it is lower. Where it
// suffices it is left alone, since the server would inherit another one.
func allowFiles(n uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	if limit.Cur >= n {
		return nil
	}
	limit.Cur, limit.Max = n, max(n, limit.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raising the limit of open files to %d: %w", n, err)
	}
	return nil
}
