package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The namespace of the clients that ask, and the addresses of the cable to it.
const (
	clientsName = "clients-of-bench"
	nearAddress = "10.110.0.2" // theirs
	farAddress  = "10.110.0.1" // the server's
)

// separateClients puts clients into a network namespace of their own, so that they ask as
// another host does: what is on the same host is asked over its local socket. The server
// has all addresses of farHosts; what goes to filteredHosts is dropped there, since a host
// is no router.
func separateClients() error {
	for _, command := range []string{
		"netns add " + clientsName,
		"link add far type veth peer name near netns " + clientsName,
		"address add " + farAddress + "/24 dev far",
		"link set far up",
		"route add local " + farHosts.String() + " dev lo",
		"-n " + clientsName + " address add " + nearAddress + "/24 dev near",
		"-n " + clientsName + " link set near up",
		"-n " + clientsName + " link set lo up",
		"-n " + clientsName + " route add " + farHosts.String() + " via " + farAddress,
		"-n " + clientsName + " route add " + filteredHosts.String() + " via " + farAddress,
	} {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
		}
	}
	// What one program has closed would be in the table that is read while the next one is stopped.
	const noTimeWait = "echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets"
	if out, err := amongClients([]string{"sh", "-c", noTimeWait}).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", noTimeWait, err, strings.TrimSpace(string(out)))
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0)
}

// amongClients prepares a command that runs in the clients' namespace.
func amongClients(args []string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", clientsName}, args...)...)
}

// countConnections stops a child of this process again and again until that ends, and returns the most
// connections that it had open at a time to hosts that are asked. Were it not stopped, those that it
// closes and those that it opens while the table is read would both be counted.
func countConnections(pid int) expense {
	var most expense
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		<-tick.C
		if !stopped(pid) {
			return most
		}
		all, hosts := 0, map[netip.Addr]int{}
		for _, host := range openConnections(pid) {
			all++
			hosts[host]++
			most.HostConns = max(most.HostConns, hosts[host])
		}
		most.Conns = max(most.Conns, all)
		unix.Kill(pid, unix.SIGCONT)
	}
}

// stopped stops a child, all of its threads, unless it has ended. It leaves to others to wait for that.
func stopped(pid int) bool {
	var info unix.Siginfo
	unix.Kill(pid, unix.SIGSTOP)
	const cldStopped = 5 // sigaction(2)
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil && info.Code == cldStopped
		}
	}
}

// openConnections returns, by inode, where the connections and UDP sockets in a process's network namespace lead to.
func openConnections(pid int) map[string]netip.Addr {
	found := map[string]netip.Addr{}
	for _, table := range []string{"tcp", "udp"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if inode, host, ok := connectedTo(lines.Text()); ok {
				found[inode] = host // a table that changes may tell one twice
			}
		}
		f.Close()
	}
	return found
}

// connectedTo returns the inode and the remote address of a line of /proc/net/tcp or udp (proc_net_tcp(5))
// that is a socket which some process has open and that leads to a host that is asked.
func connectedTo(line string) (inode string, host netip.Addr, ok bool) {
	const remoteField, inodeField = 2, 9
	fields := strings.Fields(line)
	if len(fields) <= inodeField || fields[inodeField] == "0" { // closed, the kernel alone still has it
		return "", netip.Addr{}, false
	}
	remote, _, _ := strings.Cut(fields[remoteField], ":")
	number, err := strconv.ParseUint(remote, 16, 32)
	if err != nil { // the first line has titles
		return "", netip.Addr{}, false
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(number)) // printed as a number of this machine
	host = netip.AddrFrom4(b)
	return fields[inodeField], host, farHosts.Contains(host)
}
