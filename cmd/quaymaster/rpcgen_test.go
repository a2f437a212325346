//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// paths are the ways on which libtirpc's client reaches the echo server: a netid, or a class of
// transports out of which it chooses itself.
var paths = []struct {
	transport, host string
	blob            int // bytes: over streams many fragments, in a datagram all at once
}{
	{"udp", "127.0.0.1", 8000},
	{"tcp", "127.0.0.1", 1 << 20},
	{"udp6", "::1", 8000},
	{"tcp6", "::1", 1 << 20},
	{"local", "localhost", 1 << 20},
	{"udp", "10.99.0.1", 8000},
	{"tcp", "10.99.0.1", 1 << 20},
	{"tcp6", "fd99::1", 1 << 20},
	{"class:udp", "127.0.0.1", 8000},
	{"class:tcp", "127.0.0.1", 1 << 20},
	{"class:circuit_v", "::1", 1 << 20},
	{"class:datagram_v", "::1", 8000},
	{"class:visible", "10.99.0.1", 1000},
	{"class:netpath", "127.0.0.1", 1000},
}

func TestRPCGenPrograms(t *testing.T) {
	programs := buildPrograms(t)
	onEachMapper(t, func(t *testing.T, mapper string) {
		nstest.Need(t, "ip")
		nstest.Veth(t, "v0", "10.99.0.1/24", "fd99::1/64")
		harbour := nstest.NewHost(t, "harbour", "10.98.0.1/24", "10.98.0.2/24")
		startMapper(t, mapper)
		server := startServer(t, programs)

		client := filepath.Join(programs, "client")
		for _, p := range paths {
			converse(t, p.blob, func(args ...string) result {
				return run(t, client, append([]string{p.transport, p.host}, args...)...)
			})
		}
		for _, netid := range []string{"udp", "tcp"} { // from another host
			converse(t, 8000, func(args ...string) result {
				return runCommand(t, harbour.Command(client, append([]string{netid, "10.98.0.1"}, args...)...))
			})
		}
		checkAddresses(t, client)

		if r := run(t, client, "tcp", "127.0.0.1", "leave"); r.Exit != 0 {
			t.Fatalf("the server did not unregister: %s", r.Stderr)
		}
		for _, p := range paths {
			r := run(t, client, p.transport, p.host, "echo", "ahoy")
			if r.Exit != 1 || !strings.Contains(r.Stderr, "RPC: Program not registered") {
				t.Errorf("after svc_unreg over %s at %s: exit status %d, %q, want 1, Program not registered", p.transport, p.host, r.Exit, r.Stderr)
			}
		}
		if server.Ended() {
			t.Error("the server has ended, so that a client could not have reached it anyway")
		}
	})
}

// converse has one client say something short and something long.
func converse(t *testing.T, blob int, client func(args ...string) result) {
	t.Helper()
	if r := client("echo", "ahoy"); r.Exit != 0 || r.Stdout != "1 ahoy\n3 ahoy\n" {
		t.Errorf("echo = %+v, want the answers of versions 1 and 3", r)
	}
	if r := client("blob", strconv.Itoa(blob)); r.Exit != 0 || r.Stdout != fmt.Sprintf("%d bytes\n", blob) {
		t.Errorf("blob = %+v, want %d bytes", r, blob)
	}
}

// checkAddresses holds the mapper to answering with the address that was asked, port included,
// and to telling the time.
func checkAddresses(t *testing.T, client string) {
	t.Helper()
	for _, p := range []struct{ netid, host, want string }{
		{"udp", "127.0.0.1", "127.0.0.1."},
		{"tcp", "127.0.0.1", "127.0.0.1."},
		{"udp", "10.99.0.1", "10.99.0.1."},
		{"tcp", "10.99.0.1", "10.99.0.1."},
		{"udp6", "::1", "::1."},
		{"tcp6", "::1", "::1."},
		{"udp6", "fd99::1", "fd99::1."},
		{"local", "localhost", "/run/echo.sock"},
	} {
		r := run(t, client, p.netid, p.host, "where")
		if r.Exit != 0 || !strings.HasPrefix(r.Stdout, p.want) {
			t.Errorf("GETADDR over %s at %s = %+v, want %s…", p.netid, p.host, r, p.want)
		}
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		before := time.Now().Unix()
		r := run(t, client, "udp", host, "time")
		now, err := strconv.ParseInt(strings.TrimSpace(r.Stdout), 10, 64)
		if err != nil || now < before || now > time.Now().Unix() {
			t.Errorf("GETTIME at %s = %+v, want the time", host, r)
		}
	}
}
