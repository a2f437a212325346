//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

// A house is a daemon with files and sockets of its own.
type house struct {
	*nstest.Process
	dir string
}

func (h *house) control() string { return h.dir + "/control.sock" }

func (h *house) start(t *testing.T) {
	t.Helper()
	h.Process = nstest.Start(t, "quaymaster", "serve", "--listen-onc", "none", "--listen-dce", "none", "--control", h.control(),
		"--onc-socket", h.dir+"/rpcbind.sock", "--dce-socket", h.dir+"/epmapper.sock", "--state", h.dir+"/registry.db",
		"--permanent-file", h.dir+"/permanent.yaml", "--pool", h.dir+"/pool.yaml", "--user", "root")
	nstest.WaitFor(t, "the daemon in "+h.dir+" to answer", startTime, func() bool {
		_, err := api.NewClient(h.control()).Pool(t.Context())
		return err == nil
	})
}

func (h *house) list(t *testing.T) []endpoint.Document {
	t.Helper()
	l, err := api.NewClient(h.control()).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l.Endpoints
}

// TestRunsNeverShare has two daemons give ports of one pool to many programs at once, while the
// daemons and some of the programs are killed: no two programs are ever registered at one port, and every one
// that lives is registered in the end.
func TestRunsNeverShare(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const waves, each = 4, 12
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var houses []*house
	for _, name := range []string{"a", "b"} {
		h := &house{dir: "/run/" + name}
		if err := os.Mkdir(h.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		policy := "pool:\n  ports: [5100-5399]\n  ports_internet_available: true\n  use_internet_ports: true\n"
		if err := os.WriteFile(h.dir+"/pool.yaml", []byte(policy), 0o644); err != nil {
			t.Fatal(err)
		}
		h.start(t)
		houses = append(houses, h)
	}
	type program struct {
		*nstest.Process
		house  *house
		number uint32
		rows   int
		args   []string
	}
	unlucky := 0
	var programs []*program
	for wave := range waves {
		for i := range each * len(houses) {
			h := houses[i%len(houses)]
			p := &program{house: h, number: 0x20000000 + uint32(wave*each*len(houses)+i)}
			flags := []string{"run", "--control", h.control(), "--onc", fmt.Sprintf("%d:1", p.number)}
			var words []string
			switch random.IntN(4) {
			case 0:
				p.rows, words = 2, []string{"--tcp", "--udp", "--", listenerName, "tcp4", "0.0.0.0:{port}", "udp4", "0.0.0.0:{port}"}
			case 1:
				p.rows, words = 2, []string{"--", listenerName, "tcp4", "0.0.0.0:{tcp}", "udp4", "127.0.0.1:{udp}"}
			case 2:
				p.rows, words = 1, []string{"--udp", "--", listenerName, "udp6", "[::]:{port}"}
			case 3:
				p.rows, words = 1, []string{"--", listenerName, "tcp4", "127.0.0.1:{tcp}"}
			}
			p.args = append(flags, words...)
			p.Process = nstest.Start(t, "quaymaster", p.args...)
			programs = append(programs, p)
		}
		if wave%2 == 1 { // while they start
			h := houses[random.IntN(len(houses))]
			nstest.WaitFor(t, "some of the programs to be registered", startTime, func() bool { return len(h.list(t)) > 0 })
		}
		// Every one is there, before any is killed.
		for _, p := range programs {
			nstest.WaitFor(t, fmt.Sprintf("program %d to be registered in %s", p.number, p.house.dir), 3*startTime, func() bool {
				if p.Ended() {
					// Somebody had the port for the instant in which the program wanted it, and was gone when run
					// looked: the other of two that shared it and let go, or the other daemon that tried it.
					if unlucky++; !strings.Contains(p.Output(), "address already in use") || unlucky > 3 {
						t.Fatalf("quaymaster run ended; it wrote:\n%s", p.Output())
					}
					p.Process = nstest.Start(t, "quaymaster", p.args...)
				}
				n := 0
				for _, d := range p.house.list(t) {
					if d.Program == p.number {
						n++
					}
				}
				return n == p.rows
			})
		}
		users := map[string]uint32{}
		for _, h := range houses {
			for _, d := range h.list(t) {
				port := fmt.Sprintf("%s %d", strings.TrimSuffix(d.NetID, "6"), d.Port)
				if other, taken := users[port]; taken && other != d.Program && d.Port != 0 {
					t.Errorf("programs %d and %d share %s", d.Program, other, port)
				}
				users[port] = d.Program
			}
		}
		h := houses[random.IntN(len(houses))]
		h.Signal(os.Kill)
		h.Wait(t, startTime)
		for range each / 2 {
			i := random.IntN(len(programs))
			programs[i].Signal(os.Kill) // the program itself goes on
			programs = append(programs[:i], programs[i+1:]...)
		}
		h.start(t)
	}
	for _, h := range houses {
		given, err := api.NewClient(h.control()).Pool(t.Context())
		if text, _ := json.Marshal(given.Grants); err != nil || len(given.Grants) == 0 {
			t.Errorf("given by %s: %s, %v", h.dir, text, err)
		}
	}
}
