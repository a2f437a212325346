package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/boltstore"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// BenchmarkPair registers a row and removes it, with one part or another of what
// the daemon does: what a part costs is the difference to the first line. What
// is left of a pair of calls are two connections.
func BenchmarkPair(b *testing.B) {
	sockets, err := socktable.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer sockets.Close()
	watched := func() (*process.Process, error) { return process.Open(int32(os.Getpid())) }
	self := registry.Claim{PID: int32(os.Getpid()), Process: watched}
	_, here := listen(b)
	nowhere := netip.AddrPortFrom(here.Addr(), 1) // tcpmux, which nobody has
	for _, rows := range []int{10, 10_000} {
		for _, tt := range []struct {
			name    string
			config  registry.Config
			at      netip.AddrPort
			journal bool
		}{
			{"believed", registry.Config{}, here, false},
			{"listening", registry.Config{Sockets: sockets}, here, false},
			{"waiting", registry.Config{Sockets: sockets}, nowhere, false}, // the process is held, too
			{"journalled", registry.Config{}, here, true},
			{"listening,journalled", registry.Config{Sockets: sockets}, here, true},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, tt.name), func(b *testing.B) {
				if tt.journal {
					tt.config.Store = journalOfTest(b)
				}
				benchmarkPair(b, tt.config, self, tt.at, rows)
			})
		}
	}
}

// benchmarkPair is one line; the registry closes its journal.
func benchmarkPair(b *testing.B, c registry.Config, claim registry.Claim, at netip.AddrPort, rows int) {
	g, err := registry.Open(c)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	row := func(i int) endpoint.Registration {
		return endpoint.Registration{
			Interface: endpoint.Program(firstProgram+uint32(i), rowVersion),
			Endpoint:  endpoint.Endpoint{NetID: rpcbind.UDP, Addr: at},
		}
	}
	add := func(claim registry.Claim, regs ...endpoint.Registration) {
		if _, err := g.Add(claim, regs...); err != nil {
			b.Fatal(err)
		}
	}
	var all []endpoint.Registration
	for i := range rows {
		all = append(all, row(i))
	}
	add(registry.Claim{Evidence: endpoint.Lease, TTL: time.Hour}, all...)
	r := row(firstPairRow)
	b.ReportAllocs()
	before := cpuOfTest(b)
	for b.Loop() {
		add(claim, r)
		if n, err := g.Remove(endpoint.Superuser, r.Interface, rpcbind.UDP); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
	// Where others use the machine too the time by the clock says little.
	b.ReportMetric(micros(cpuOfTest(b)-before)/float64(b.N), "cpu-µs/op")
}

func cpuOfTest(b *testing.B) time.Duration {
	b.Helper()
	spent, err := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	if err != nil {
		b.Fatal(err)
	}
	return spent
}

// journalOfTest returns a journal in memory, as the daemon's is.
func journalOfTest(b *testing.B) registry.Store {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "quaymaster-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	s, err := boltstore.Open(filepath.Join(dir, "registry.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	return s
}
