package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// The test binary is also what the tests start: a process that runs a job, and programs
// that are run.
const (
	jobVar  = "LAUNCH_JOB"  // runs this job
	playVar = "LAUNCH_PLAY" // set: does what its arguments say
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(jobVar) != "":
		os.Exit(runJob(os.Getenv(jobVar)))
	case os.Getenv(playVar) != "":
		if err := play(os.Args[1:]); err != nil {
			fmt.Println("play:", err)
			os.Exit(99)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A script is a [Job] that another process can be told.
type script struct {
	Socket     string
	Command    []string
	Interfaces []endpoint.Document
	TCP, UDP   bool
	Wait       time.Duration
	KillWithMe bool
	Mercy      time.Duration
}

// runJob runs a job and says what goes on, a line each.
func runJob(text string) int {
	var s script
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	os.Unsetenv(jobVar)
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, passed...)
	j := Job{
		Command: s.Command, Env: append(os.Environ(), playVar+"=1"), Interfaces: s.Interfaces, TCP: s.TCP, UDP: s.UDP, Wait: s.Wait, KillWithMe: s.KillWithMe, mercy: s.Mercy,
		Daemon: api.NewClient(s.Socket), Explain: func(err error) error { return fmt.Errorf("daemon: %w", err) },
		Signals: signals, Say: func(line string) { fmt.Println("say:", line) },
		Listening: func(pid int, standing []endpoint.Document) {
			fmt.Printf("pid %d listens: %s\n", pid, writtenDocuments(standing))
		},
	}
	if err := j.Complete(); err != nil {
		panic(err)
	}
	status, err := Run(&j)
	if err != nil {
		fmt.Println("error:", err)
	}
	return status
}

// play does what words say, one after the other:
//
//	tcp=ADDRESS   listens, [::] to IPv4 as well; so do udp, and tcp6 and udp6 to IPv6 alone
//	close         closes what listens
//	say=TEXT      writes a line, % for the process' number
//	await=FILE    waits until it is there
//	exit=N, die=N ends with that exit status, by that signal
//	fork          has a child do the rest, and ends as it does
//	daemon        leaves the rest to a grandchild in a session of its own, and ends
//	trap          from here on signals are written, and do not end it
//	self=SOCKET   registers what listens, over that socket, as mountd version 3
//	orphan        makes a grandchild that ends, and waits until somebody has waited for it
//	uid=N         becomes that user
//	zombie        makes a child that ends, and does not wait for it
//	hide          its files in /proc can be seen by root alone from here on
//	serve         goes on until a signal ends it
func play(words []string) error {
	var open []int
	var standing []endpoint.Document
	for i, word := range words {
		verb, value, _ := strings.Cut(word, "=")
		switch verb {
		case "tcp", "tcp6", "udp", "udp6":
			fd, err := listen(verb, netip.MustParseAddrPort(value))
			if err != nil {
				return err
			}
			open = append(open, fd)
			d := mountd3
			at := netip.MustParseAddrPort(value)
			d.NetID, d.Address, d.Port = verb, at.Addr().String(), at.Port()
			standing = append(standing, d)
		case "close":
			for _, fd := range open {
				unix.Close(fd)
			}
			open = nil
		case "say":
			fmt.Println(strings.ReplaceAll(value, "%", strconv.Itoa(os.Getpid())))
		case "await":
			for _, err := os.Stat(value); err != nil; _, err = os.Stat(value) {
				time.Sleep(time.Millisecond)
			}
		case "exit":
			n, _ := strconv.Atoi(value)
			os.Exit(n)
		case "die":
			n, _ := strconv.Atoi(value)
			syscall.Kill(os.Getpid(), syscall.Signal(n))
			select {}
		case "fork":
			err := again(nil, words[i+1:]).Run()
			var ended *exec.ExitError
			if errors.As(err, &ended) {
				os.Exit(ended.ExitCode())
			}
			return err
		case "daemon":
			return again(&syscall.SysProcAttr{Setsid: true}, append([]string{"daemon2"}, words[i+1:]...)).Start()
		case "daemon2":
			return again(&syscall.SysProcAttr{Setsid: true}, words[i+1:]).Start()
		case "trap":
			all := make(chan os.Signal, 64)
			signal.Notify(all, passed...)
			go func() {
				for s := range all {
					fmt.Println("got", unix.SignalName(s.(syscall.Signal)))
				}
			}()
		case "self":
			if _, err := api.NewClient(value).Add(context.Background(), api.Addition{Endpoints: standing}); err != nil {
				return err
			}
		case "zombie":
			cmd := again(nil, []string{"exit=0"})
			if err := cmd.Start(); err != nil {
				return err
			}
			for runs(cmd.Process.Pid) {
				time.Sleep(time.Millisecond)
			}
		case "orphan":
			cmd := again(nil, []string{"leave"})
			cmd.Stdout = nil
			pid, err := cmd.Output()
			if err != nil {
				return err
			}
			for err == nil {
				time.Sleep(time.Millisecond)
				_, err = os.Stat("/proc/" + strings.TrimSpace(string(pid)))
			}
		case "leave":
			cmd := again(nil, []string{"exit=0"})
			cmd.Stdout = nil
			if err := cmd.Start(); err != nil {
				return err
			}
			fmt.Println(cmd.Process.Pid)
		case "uid":
			n, _ := strconv.Atoi(value)
			if err := syscall.Setresuid(n, n, n); err != nil {
				return err
			}
		case "hide":
			if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
				return err
			}
		case "serve":
			for {
				time.Sleep(time.Hour) // select {} would be a deadlock
			}
		default:
			return fmt.Errorf("what is %q?", word)
		}
	}
	return nil
}

// passed are the signals that quaymaster passes on.
var passed = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGWINCH}

// again is a process that does what words say.
func again(attr *syscall.SysProcAttr, words []string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", words...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, attr
	return cmd
}

func listen(network string, at netip.AddrPort) (fd int, err error) {
	kind, family := unix.SOCK_STREAM, unix.AF_INET
	if strings.HasPrefix(network, "udp") {
		kind = unix.SOCK_DGRAM
	}
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: int(at.Port())}
	if at.Addr().Is6() {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	} else {
		to.(*unix.SockaddrInet4).Addr = at.Addr().As4()
	}
	if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	var steps []error
	if kind == unix.SOCK_STREAM { // or what is left of a connection would be in the way
		steps = append(steps, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	if family == unix.AF_INET6 {
		only := 0
		if strings.HasSuffix(network, "6") {
			only = 1
		}
		steps = append(steps, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only))
	}
	steps = append(steps, unix.Bind(fd, to))
	if kind == unix.SOCK_STREAM {
		steps = append(steps, unix.Listen(fd, 64))
	}
	return fd, errors.Join(steps...)
}
