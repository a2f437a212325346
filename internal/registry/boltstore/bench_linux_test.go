package boltstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

func oneRow(i int) (registry.Batch, endpoint.ID) {
	r := storetest.Record(i)
	return registry.Batch{Rows: []registry.Record{r}}, r.ID
}

func oneGrant(i int) (registry.Batch, endpoint.ID) {
	g := storetest.Grant(i)
	return registry.Batch{Grants: []registry.GrantRecord{g}}, g.ID
}

// some returns batches of one, and the ids.
func some(one func(int) (registry.Batch, endpoint.ID), from, to int) (all []registry.Batch, ids []endpoint.ID) {
	for i := from; i < to; i++ {
		batch, id := one(i)
		all, ids = append(all, batch), append(ids, id)
	}
	return all, ids
}

func writeAll(b *testing.B, s registry.Store, all []registry.Batch) {
	for _, batch := range all {
		write(b, s, batch)
	}
}

func BenchmarkWrite(b *testing.B) { benchmarkWrite(b, oneRow) }

func BenchmarkWriteGrant(b *testing.B) { benchmarkWrite(b, oneGrant) }

func benchmarkWrite(b *testing.B, one func(int) (registry.Batch, endpoint.ID)) {
	for _, n := range []int{0, 10_000} {
		all, _ := some(one, 0, max(n, 1))
		b.Run(fmt.Sprintf("put/rows=%d", n), func(b *testing.B) {
			s := newPlace(b).open(b)
			writeAll(b, s, all)
			b.ReportAllocs()
			for b.Loop() {
				write(b, s, all[rand.IntN(len(all))])
			}
		})
		b.Run(fmt.Sprintf("put+gone/rows=%d", n), func(b *testing.B) {
			s := newPlace(b).open(b)
			writeAll(b, s, all[:n])
			others, ids := some(one, n, n+1000)
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(len(others))
				write(b, s, others[i])
				write(b, s, registry.Batch{Gone: ids[i : i+1]})
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) { benchmarkOpen(b, oneRow) }

func BenchmarkOpenGrants(b *testing.B) { benchmarkOpen(b, oneGrant) }

// benchmarkOpen opens a store and loads what is there.
func benchmarkOpen(b *testing.B, one func(int) (registry.Batch, endpoint.ID)) {
	for _, n := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			p := newPlace(b)
			s := p.open(b)
			all, _ := some(one, 0, n)
			writeAll(b, s, all)
			b.ReportAllocs()
			for b.Loop() {
				s.Close()
				s = p.open(b)
				if got, err := s.Load(); err != nil || len(got.Rows)+len(got.Grants) != n {
					b.Fatal(len(got.Rows), len(got.Grants), err)
				}
			}
		})
	}
}
