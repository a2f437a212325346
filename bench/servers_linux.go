package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// mapperAddress is where every server under test answers, each in its own
// network namespace.
var mapperAddress = netip.AddrPortFrom(mapperAddr, rpcbind.Port)

const startPatience = 10 * time.Second

// A server is a process under test.
type server struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has been waited for
}

// startServer starts a server of the given kind and returns when it answers.
// path is quaymaster's executable.
func startServer(kind, path string) (*server, error) {
	var cmd *exec.Cmd
	switch kind {
	case serverRPCBind:
		if err := os.Mkdir("/run/rpcbind", 0o755); err != nil { // for -w
			return nil, err
		}
		cmd = exec.Command("rpcbind", "-f", "-w") // as its systemd unit does
	case serverQuaymaster:
		cmd = exec.Command(path, "serve")
	case serverEcho:
		cmd = exec.Command("/proc/self/exe", roleEcho)
	default:
		return nil, fmt.Errorf("unknown server %q", kind)
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
	if err := s.ready(kind); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return s, nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// pause keeps the server from spending time that another one is measured in;
// resume lets it go on.
func (s *server) pause()  { s.cmd.Process.Signal(unix.SIGSTOP) }
func (s *server) resume() { s.cmd.Process.Signal(unix.SIGCONT) }

// stop ends the server, if there is one, and waits for that.
func (s *server) stop() {
	if s == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.exited
}

// ready waits until the server answers NULL over UDP and, unless it is the
// echo, takes connections on the local socket.
func (s *server) ready(kind string) error {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(mapperAddress))
	if err != nil {
		return err
	}
	defer conn.Close()
	reply := make([]byte, maxDatagram)
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			return fmt.Errorf("ended at once: %v", s.cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
		const xid, procNull = 1, 0
		// Until something listens there is ECONNREFUSED, from here or there.
		if _, err := conn.Write(appendCall(nil, xid, 2, procNull)); err != nil {
			continue
		}
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := conn.Read(reply)
		if err != nil {
			continue
		}
		if _, err := checkReply(reply[:n], xid); err != nil {
			return fmt.Errorf("NULL: %w", err)
		}
		if kind == serverEcho {
			return nil
		}
		if local, err := net.Dial("unix", rpcbindSocket); err == nil {
			local.Close()
			return nil
		}
	}
	return fmt.Errorf("does not answer within %v", startPatience)
}

// newLoad returns the load a job names.
func newLoad(j job, kind string) (load, error) {
	var getport question = getPort{}
	if kind == serverEcho {
		getport = echoed{}
	}
	switch j.Kind {
	case kindGetPort:
		return newUDPRun(udpLoad{mapperAddress, 64, 1, j.Rows, getport}), nil
	case kindSaturated:
		return newUDPRun(udpLoad{mapperAddress, 1, 64, j.Rows, getport}), nil
	case kindGetAddr:
		return newUDPRun(udpLoad{mapperAddress, 1, 64, j.Rows, getAddr{}}), nil
	case kindDump:
		return &dumpRun{dumpLoad: dumpLoad{mapperAddress, 8, j.Rows}}, nil
	case kindConnect:
		return newConnectRun(8, mapperAddress, j.Rows, getport), nil
	case kindPairs:
		return newPairRun(8, rpcbindSocket), nil
	case kindIdle:
		return idleLoad{}, nil
	}
	return nil, fmt.Errorf("unknown load %q", j.Kind)
}
