package registry_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// BenchmarkLookup asks for random rows, as many clients do: the time is flat but
// for what the processor's caches no longer hold.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			g := registry.New()
			rows := many(n)
			mustAdd(b, g, rows...)
			random := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				r := &rows[random.IntN(n)]
				if g.Lookup(r.Interface, rpcbind.UDP) == nil {
					b.Fatal("Lookup finds nothing")
				}
			}
		})
	}
}

func BenchmarkAddRemove(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			g := registry.New()
			mustAdd(b, g, many(n)...)
			r := row(alice, 7, 1, rpcbind.TCP, 2000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := add(g, r); err != nil {
					b.Fatal(err)
				}
				if n, err := g.Remove(alice, r.Interface, rpcbind.TCP); n != 1 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// What it costs to register at a port that the other dialect has, among many rows.
func BenchmarkAddAtPortOfOtherDialect(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			g := registry.New()
			mustAdd(b, g, many(n)...)
			mustAdd(b, g, dce(alice, x1, "tcp 0.0.0.0:2000"))
			r := row(alice, 7, 1, rpcbind.TCP, 2000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := add(g, r); err != nil {
					b.Fatal(err)
				}
				if n, err := g.Remove(alice, r.Interface, rpcbind.TCP); n != 1 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
