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

func BenchmarkWrite(b *testing.B) { benchmarkWrite(b, oneRow) }

func BenchmarkWriteGrant(b *testing.B) { benchmarkWrite(b, oneGrant) }

// benchmarkWrite writes batches of one, where there are some already.
func benchmarkWrite(b *testing.B, one func(int) (registry.Batch, endpoint.ID)) {
	some := func(from, to int) (all []registry.Batch, ids []endpoint.ID) {
		for i := from; i < to; i++ {
			batch, id := one(i)
			all, ids = append(all, batch), append(ids, id)
		}
		return all, ids
	}
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("put/rows=%d", n), func(b *testing.B) {
			s := newPlace(b).open(b)
			all, _ := some(0, max(n, 1))
			for _, batch := range all {
				write(b, s, batch)
			}
			b.ReportAllocs()
			for b.Loop() {
				write(b, s, all[rand.IntN(len(all))])
			}
		})
		b.Run(fmt.Sprintf("put+gone/rows=%d", n), func(b *testing.B) {
			s := newPlace(b).open(b)
			all, _ := some(0, n)
			for _, batch := range all {
				write(b, s, batch)
			}
			others, ids := some(n, n+1000)
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(len(others))
				write(b, s, others[i])
				write(b, s, registry.Batch{Gone: ids[i : i+1]})
			}
		})
	}
}

// BenchmarkOpen opens a store and loads what is there.
func BenchmarkOpen(b *testing.B) {
	for name, of := range map[string]func(n int) registry.Batch{
		"rows": func(n int) (all registry.Batch) {
			for i := range n {
				all.Rows = append(all.Rows, storetest.Record(i))
			}
			return all
		},
		"grants": func(n int) (all registry.Batch) {
			for i := range n {
				all.Grants = append(all.Grants, storetest.Grant(i))
			}
			return all
		},
	} {
		for _, n := range []int{0, 100, 10_000} {
			b.Run(fmt.Sprintf("%s=%d", name, n), func(b *testing.B) {
				p := newPlace(b)
				s := p.open(b)
				write(b, s, of(n))
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
}
