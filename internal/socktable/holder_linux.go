package socktable

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/portset"
)

// HolderOf returns the process whose socket keeps others from listening at
// addr; network is "tcp" or "udp". It sees the processes that the caller may
// look into: all of them for root. Of a socket that several hold it returns the
// youngest, which is the server where a socket was handed on.
func HolderOf(network string, addr netip.AddrPort) (Process, bool) {
	own, other := network, network+"6" // an IPv6 socket may take IPv4 too, which the table does not tell
	if addr.Addr().Is6() {
		own, other = other, own
	}
	for _, table := range []string{own, other} {
		if p, ok := holding(conflicting("/proc/net/"+table, network == "tcp", addr)); ok {
			return p, true
		}
	}
	return Process{}, false
}

// HoldersOf returns the processes whose sockets receive at ports, at whatever
// address, by the port; network, and who is seen, is as for [HolderOf].
func HoldersOf(network string, ports portset.Set) map[uint16]Process {
	at := map[string]uint16{}
	for _, table := range []string{network, network + "6"} {
		eachLine("/proc/net/"+table, func(line string) {
			fields := strings.Fields(line)
			if len(fields) < 10 || network == "tcp" && fields[3] != stateListen {
				return
			}
			if a, ok := parseAddr(fields[1]); ok && ports.Contains(a.Port()) {
				at[linkOf(fields[9])] = a.Port()
			}
		})
	}
	holders := map[uint16]Process{}
	eachHolder(at, func(port uint16, p Process) {
		if p.PID > holders[port].PID {
			holders[port] = p
		}
	})
	return holders
}

// HolderOfPath returns the process that listens on a socket of the UNIX domain;
// path begins with "@" for an abstract name.
func HolderOfPath(path string) (Process, bool) {
	var inodes []string
	eachLine("/proc/net/unix", func(line string) {
		if inode, at, ok := parseProcUnix(line); ok && at == path {
			inodes = append(inodes, inode)
		}
	})
	return holding(inodes)
}

// acceptsConnections is __SO_ACCEPTCON, a flag in /proc/net/unix.
const acceptsConnections = "00010000"

// stateListen is TCP_LISTEN in the tables of /proc/net.
const stateListen = "0A"

// conflicting returns the inodes of the sockets of a table at the port of addr
// whose address is the same, or where either is a wildcard.
func conflicting(table string, listeners bool, addr netip.AddrPort) []string {
	var inodes []string
	eachLine(table, func(line string) {
		fields := strings.Fields(line)
		if len(fields) < 10 || listeners && fields[3] != stateListen {
			return
		}
		at, ok := parseAddr(fields[1])
		if !ok || at.Port() != addr.Port() {
			return
		}
		a, b := at.Addr().Unmap(), addr.Addr()
		if a == b || a.IsUnspecified() && (a.Is4() == b.Is4() || a.Is6()) || b.IsUnspecified() && a.Is4() == b.Is4() {
			inodes = append(inodes, fields[9])
		}
	})
	return inodes
}

func eachLine(file string, f func(line string)) {
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		f(strings.TrimSuffix(line, "\n"))
	}
}

// parseAddr reads "0100007F:006F": the words of the address in host order, the port as a number.
func parseAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(p)), ok
}

// holding returns the youngest process that has a socket with one of the inodes open.
func holding(inodes []string) (Process, bool) {
	want := map[string]struct{}{}
	for _, i := range inodes {
		want[linkOf(i)] = struct{}{}
	}
	var best Process
	eachHolder(want, func(_ struct{}, p Process) {
		if p.PID > best.PID {
			best = p
		}
	})
	return best, best.PID != 0
}

// linkOf returns where a descriptor of a socket leads, in the folder fd of its process.
func linkOf(inode string) string { return "socket:[" + inode + "]" }

// eachHolder calls f for every descriptor that leads to one of the links, with what that
// link has in the map.
func eachHolder[T any](links map[string]T, f func(T, Process)) {
	if len(links) == 0 {
		return
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, file := range files {
		target, err := os.Readlink(file)
		what, ok := links[target]
		if err != nil || !ok {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
			f(what, Process{PID: pid, Name: strings.TrimSpace(string(name))})
		}
	}
}
