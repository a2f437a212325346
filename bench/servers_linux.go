package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// addressOf returns where every server under test answers in a dialect, each in
// its own network namespace.
func addressOf(d endpoint.Dialect) netip.AddrPort {
	if d == endpoint.DCE {
		return netip.AddrPortFrom(mapperAddr, epm.Port)
	}
	return netip.AddrPortFrom(mapperAddr, rpcbind.Port)
}

const poolFile = "/run/pool-of-bench.yaml"

// askedConfig lifts the limits of one source: a thousand hosts that are asked by one are all
// one daemon here.
const (
	askedFile   = "/run/asked-of-bench.yaml"
	askedConfig = "limits:\n  queries_per_second: 1000000\n  connections_per_source: 2000\n"
)

const startPatience = 10 * time.Second

// A server is a process under test, and what it starts.
type server struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has been waited for
}

// startServer starts the server of a brief and returns when it answers.
func startServer(b brief) (*server, error) {
	cmd, err := command(b)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // our own standard output is the parent's
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(s.exited)
		cmd.Wait() // an exit is an error to us whatever its status
	}()
	if err := s.ready(b); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", b.Server, err)
	}
	return s, nil
}

// command prepares a server.
func command(b brief) (*exec.Cmd, error) {
	dce := b.Dialect == endpoint.DCE
	switch {
	case b.Server == serverRPCBind:
		return exec.Command("rpcbind", "-f", "-w"), os.Mkdir("/run/rpcbind", 0o755) // as its systemd unit does, for -w
	case b.Server == serverSamba:
		return sambaCommand(b.Rows)
	case b.Server == serverQuaymaster && b.Grants > 0:
		return exec.Command(b.Path, "serve", "--pool", poolFile), os.WriteFile(poolFile, []byte(poolPolicy), 0o644)
	case b.Asked:
		return exec.Command(b.Path, "serve", "--config", askedFile), os.WriteFile(askedFile, []byte(askedConfig), 0o644)
	case b.Server == serverQuaymaster:
		return exec.Command(b.Path, "serve"), nil
	case b.Server == serverEcho && dce:
		return exec.Command("/proc/self/exe", roleCanned), nil
	case b.Server == serverEcho:
		return exec.Command("/proc/self/exe", roleEcho), nil
	}
	return nil, fmt.Errorf("unknown server %q", b.Server)
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// processes lists the server's, which are all in the namespace but this one: Samba
// starts others that answer.
func (s *server) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// clock is the server's [clock].
func (s *server) clock() (map[int]time.Duration, error) {
	pids, err := s.processes()
	if err != nil {
		return nil, err
	}
	times := make(map[int]time.Duration)
	for _, pid := range pids {
		if times[pid], err = cpuTime(processClock(pid)); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// pause keeps the server from spending time that another one is measured in;
// resume lets it go on.
func (s *server) pause()  { s.signal(unix.SIGSTOP) }
func (s *server) resume() { s.signal(unix.SIGCONT) }

func (s *server) signal(sig unix.Signal) {
	pids, _ := s.processes()
	for _, pid := range pids {
		unix.Kill(pid, sig)
	}
}

// stop ends the server, if there is one, and waits for that. What it started
// ends with the namespace.
func (s *server) stop() {
	if s == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.exited
}

// ready waits until the server answers.
func (s *server) ready(b brief) error {
	answers := answersONC
	if b.Dialect == endpoint.DCE {
		answers = answersDCE
	}
	err := errors.New("nobody asked")
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			return fmt.Errorf("ended at once: %v", s.cmd.ProcessState)
		case <-time.After(time.Millisecond):
		}
		if err = answers(b.Server); err == nil {
			return nil
		}
	}
	return fmt.Errorf("does not answer within %v: %w", startPatience, err)
}

// answersONC tells whether the server answers NULL over UDP and, unless it is
// the echo, takes connections on the local socket.
func answersONC(server string) error {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addressOf(endpoint.ONC)))
	if err != nil {
		return err
	}
	defer conn.Close()
	const xid, procNull = 1, 0
	// Until something listens there is ECONNREFUSED, from here or there.
	if _, err := conn.Write(appendCall(nil, xid, 2, procNull)); err != nil {
		return err
	}
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	reply := make([]byte, maxDatagram)
	n, err := conn.Read(reply)
	if err != nil {
		return err
	}
	if _, err := checkReply(reply[:n], xid); err != nil || server == serverEcho {
		return err
	}
	local, err := net.Dial("unix", rpcbindSocket)
	if err != nil {
		return err
	}
	return local.Close()
}

// answersDCE tells whether the server takes a bind. Samba listens before it does.
func answersDCE(string) error {
	conn, err := net.DialTimeout("tcp4", addressOf(endpoint.DCE).String(), startPatience)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(startPatience))
	const callID = 1
	if _, err := conn.Write(bind{}.appendCall(nil, callID, 0)); err != nil {
		return err
	}
	reply := make([]byte, shortReply)
	n, err := io.ReadAtLeast(conn, reply, 1)
	if err != nil {
		return err
	}
	return bind{}.check(reply[:n], callID, 0)
}

// newLoad returns the load a job names.
func newLoad(j job, kind string) (load, error) {
	var getport question = getPort{}
	var eptMap streamQuestion = new(mapRow)
	if kind == serverEcho {
		getport, eptMap = echoed{}, new(canned)
	}
	address := addressOf(dialectOf(j.Kind))
	switch j.Kind {
	case kindGetPort:
		return newUDPRun(udpLoad{address, 64, 1, j.Rows, getport}), nil
	case kindSaturated:
		return newUDPRun(udpLoad{address, 1, 64, j.Rows, getport}), nil
	case kindGetAddr:
		return newUDPRun(udpLoad{address, 1, 64, j.Rows, getAddr{}}), nil
	case kindDump:
		return &dumpRun{dumpLoad: dumpLoad{address, 8, j.Rows}}, nil
	case kindConnect:
		return newConnectRun(8, address, j.Rows, getport), nil
	case kindPairs:
		return newPairRun(8, rpcbindSocket), nil
	case kindGrants:
		return newGrantRun(8, daemon.SystemControl), nil
	case kindMap1:
		return newLastingRun(1, address, j.Rows, eptMap, shortReply), nil
	case kindMap8:
		return newLastingRun(8, address, j.Rows, eptMap, shortReply), nil
	case kindMap64:
		return newLastingRun(64, address, j.Rows, eptMap, shortReply), nil
	case kindBindMap:
		return newBindRun(64, address, j.Rows, eptMap), nil
	case kindLookup:
		return newLastingRun(8, address, j.Rows, &lookupRows{rows: j.Rows}, longLookup), nil
	case kindIdle:
		return idleLoad{}, nil
	}
	return nil, fmt.Errorf("unknown load %q", j.Kind)
}
