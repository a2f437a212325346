//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// startTime is how long a server may take to listen and register.
const startTime = 10 * time.Second

// onEachMapper runs a test with rpcbind and with quaymaster in its place, each in namespaces of
// its own. What a test demands of ours it demands of the original first.
func onEachMapper(t *testing.T, test func(t *testing.T, mapper string)) {
	for _, mapper := range []string{"rpcbind", "quaymaster"} {
		t.Run(mapper, func(t *testing.T) {
			if nstest.Inside(t) {
				test(t, mapper)
			}
		})
	}
}

// startMapper starts a mapper on its usual addresses and returns when it answers on all of them.
func startMapper(t *testing.T, mapper string) *nstest.Process {
	t.Helper()
	if mapper == "rpcbind" {
		return startRPCBind(t)
	}
	return startQuaymaster(t)
}

func startRPCBind(t *testing.T) *nstest.Process {
	t.Helper()
	nstest.NeedRoot(t) // it changes to the user _rpc
	p := nstest.Start(t, "rpcbind", "-f")
	for _, network := range []string{"unix", "udp4", "tcp4", "udp6", "tcp6"} {
		nstest.WaitFor(t, "rpcbind to answer over "+network, startTime, func() bool {
			c, err := dialMapper(network)
			if err != nil {
				return false
			}
			defer c.Close()
			c.patience = 100 * time.Millisecond
			_, err = c.call(rpcbind.Version3, rpcbind.ProcNull, nil)
			return err == nil
		})
	}
	return p
}

// startQuaymaster waits for what systemd waits for.
func startQuaymaster(t *testing.T) *nstest.Process {
	t.Helper()
	const socket = "/run/notify.sock" // paths of sockets are short, those of temporary folders long
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the server, which also tells when it stops
		notify.Close()
		os.Remove(socket)
	})

	cmd := exec.Command(nstest.Path(t, "quaymaster"), "serve")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	p := nstest.StartCommand(t, cmd)

	deadline := time.Now().Add(startTime)
	b := make([]byte, 4096)
	for {
		// In short steps, so that a server that fails to start is noticed at once.
		if err := notify.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := notify.Read(b)
		switch {
		case err == nil && strings.Contains("\n"+string(b[:n])+"\n", "\nREADY=1\n"):
			return p
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatal(err)
		case p.Ended():
			t.Fatalf("quaymaster serve ended before it was ready; it wrote:\n%s", p.Output())
		case time.Now().After(deadline):
			t.Fatalf("quaymaster serve did not send READY=1 in %v; it wrote:\n%s", startTime, p.Output())
		}
	}
}

// A result is what a program did.
type result struct {
	Stdout, Stderr string
	Exit           int
}

// run runs a program to its end. Failing is a result; hanging is not.
func run(t *testing.T, name string, args ...string) result {
	t.Helper()
	return runCommand(t, exec.Command(nstest.Path(t, name), args...))
}

func runCommand(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !stop() {
		t.Fatalf("%s hangs; so far it wrote:\n%s%s", cmd, &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}
