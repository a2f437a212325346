package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/gate"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A gateway is this process's namespace; clients and a server have namespaces of their own, behind a cable each. On the server
// quaymaster is the port mapper, whoever stands between.
const (
	gateServers = "servers-of-bench"

	gateClient     = "10.120.1.2"
	gateClientSide = "10.120.1.1"
	gateServer     = "10.120.2.2"
	gateServerSide = "10.120.2.1"

	gateFirstPort = 2000   // of the rows, each of which has a port of its own
	gateRows      = 50_000 // so that nearly every lookup is for a port that is not open
	gateHosts     = 40     // addresses that clients have beside, since one may have a part of all control channels only
	gateBulkPort  = 60_000 // where the server takes all that it is sent
)

const (
	gateFile        = "/run/gate-of-bench.yaml"
	gateMapperFile  = "/run/mapper-of-bench.yaml"
	gateMapperLimit = "limits:\n  queries_per_second: 10000000\n  connections: 16000\n  connections_per_source: 15000\n"
	gatePolicy      = `client_side: [far-clients]
server_side: [far-servers]
forward: own
follow:
  portmapper: {clients: [10.120.1.0/24], servers: [10.120.2.2], server_ports: 1024-65535, lifetime: 1s}
limits: {pinholes: 300000, per_client: 300000, per_server: 300000, sessions: 9000}
`
	// plainRules are what a gateway has that does the same without a gate: it lets through what is known, and the ports that are asked at.
	plainRules = `table inet plain {
	chain forward {
		type filter hook forward priority filter; policy drop
		ct state established accept
		th dport { 111, 60000 } accept
	}
}
`
)

// within runs f with the network namespace of that name. Sockets that it opens stay there.
func within(name string, f func() error) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		failed <- func() error {
			fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("setns: %w", err)
			}
			return f()
		}()
	}()
	return <-failed
}

// gateHost returns address i of those that clients have beside.
func gateHost(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 120, 1, byte(10 + i%gateHosts)}) }

// separateBoth lays the cables.
func separateBoth() error {
	var commands []string
	for _, side := range []struct{ name, near, host, gateway string }{
		{clientsName, "far-clients", gateClient, gateClientSide}, {gateServers, "far-servers", gateServer, gateServerSide},
	} {
		commands = append(commands,
			"netns add "+side.name,
			"link add "+side.near+" type veth peer name near netns "+side.name,
			"address add "+side.gateway+"/24 dev "+side.near,
			"link set "+side.near+" up",
			"-n "+side.name+" address add "+side.host+"/24 dev near",
			"-n "+side.name+" link set near up",
			"-n "+side.name+" link set lo up",
			"-n "+side.name+" route add default via "+side.gateway,
			"netns exec "+side.name+" sh -c 'echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets'",
		)
	}
	for i := range gateHosts {
		commands = append(commands, fmt.Sprintf("-n %s address add %s/24 dev near", clientsName, gateHost(i)))
	}
	for _, command := range commands {
		if out, err := exec.Command("sh", "-c", "ip "+command).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

// settleGate starts what stands between, with the port mapper behind it.
func settleGate(b brief) (*server, error) {
	err := errors.Join(
		furnish(), separateBoth(), allowFiles(2*9_000+otherFiles), within(gateServers, serveBulk),
		os.WriteFile(gateMapperFile, []byte(gateMapperLimit), 0o644), os.WriteFile(gateFile, []byte(gatePolicy), 0o644),
	)
	if err != nil {
		return nil, err
	}
	mapper := exec.Command("ip", "netns", "exec", gateServers, b.Path, "serve", "--config", gateMapperFile, "--liveness", "off", "--listen-dce", "none", "--user", "root", "--log-level", "error")
	mapper.Stderr = os.Stderr
	if err := mapper.Start(); err != nil {
		return nil, err
	}
	if err := add(gateRows, gateDocument, time.Now().Add(registerPatience)); err != nil {
		return nil, err
	}
	cmd := exec.Command(b.Path, "gate", "--config", gateFile, "--user", "root", "--log-level", "error")
	if b.Server == serverPlain {
		if err := nft(plainRules); err != nil {
			return nil, err
		}
		cmd = exec.Command("sleep", "infinity")
	}
	cmd.Stderr = os.Stderr
	s := &server{cmd: cmd, exited: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.exited)
		cmd.Wait()
	}()
	if b.Server != serverPlain {
		err = errors.Join(s.waitForGate(), openGate(b.Pinholes))
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	s.pause()
	return s, nil
}

func (s *server) waitForGate() (err error) {
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			return fmt.Errorf("the gate ended at once: %v", s.cmd.ProcessState)
		case <-time.After(5 * time.Millisecond):
		}
		if _, err = api.NewClient(api.SystemGate).Sessions(context.Background()); err == nil {
			return nil
		}
	}
	return err
}

// gateDocument is a row of which each has a port of its own.
func gateDocument(row int) endpoint.Document {
	return endpoint.Document{
		Dialect: endpoint.ONC.String(), Program: firstProgram + uint32(row), Version: endpoint.Version{Major: rowVersion},
		NetID: rpcbind.UDP.String(), Address: netip.IPv4Unspecified().String(), Port: uint16(gateFirstPort + row),
	}
}

// openGate opens the way for what is sent, and other pinholes beside it.
func openGate(pinholes int) error {
	var text strings.Builder
	add := func(from netip.Addr, port int) {
		fmt.Fprintf(&text, "%s . %s . tcp . %d timeout 1h,\n", from, gateServer, port)
	}
	const each = 50_000 // for a client that is not there
	stranger := netip.MustParseAddr("10.120.1.100")
	for i := range pinholes {
		if i%each == 0 {
			stranger = stranger.Next()
		}
		add(stranger, 1024+i%each)
	}
	add(netip.MustParseAddr(gateClient), gateBulkPort)
	return nft(fmt.Sprintf("add element inet %s multi4 {\n%s}\n", gate.Table, &text))
}

func nft(text string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %.200s", err, out)
	}
	return nil
}

// serveBulk takes all that connections send, in the background.
func serveBulk() error {
	ln, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", gateServer, gateBulkPort))
	if err != nil {
		return err
	}
	go answerConnections(ln, func(conn net.Conn) {
		b := make([]byte, 1<<20)
		for {
			n, err := conn.Read(b)
			bulkReceived.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	return nil
}
