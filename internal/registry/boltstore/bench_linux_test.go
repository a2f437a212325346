package boltstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quaymaster/quaymaster/internal/registry"
)

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		all := records(0, max(n, 1))
		b.Run(fmt.Sprintf("put/rows=%d", n), func(b *testing.B) {
			s := newPlace(b).open(b)
			write(b, s, all)
			b.ReportAllocs()
			for b.Loop() {
				write(b, s, all[rand.IntN(len(all)):][:1])
			}
		})
		b.Run(fmt.Sprintf("put+gone/rows=%d", n), func(b *testing.B) {
			s := newPlace(b).open(b)
			write(b, s, all[:n])
			others := records(n, n+1000)
			b.ReportAllocs()
			for b.Loop() {
				r := others[rand.IntN(len(others))]
				write(b, s, []registry.Record{r})
				write(b, s, nil, r.ID)
			}
		})
	}
}

// BenchmarkOpen opens a store and loads what is there.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			p := newPlace(b)
			s := p.open(b)
			write(b, s, records(0, n))
			b.ReportAllocs()
			for b.Loop() {
				s.Close()
				s = p.open(b)
				if got, err := s.Load(); err != nil || len(got) != n {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}
