//go:build !race

// Under the race detector a pool forgets things at random.

package mapper

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// request is a call of the mapper in the context that a bench has bound.
func request(op epm.Op, a arguments, l ndr.Label) []byte {
	return dcerpc.AppendRequest(nil, dcerpc.Header{Label: l, CallID: 7},
		dcerpc.Request{ContextID: mapperContext, Opnum: uint16(op), Stub: a.Append(nil, l)}, maxFrag)
}

// TestDCEAllocations: what is asked all day allocates nothing; what makes a
// handle or tells of names little.
func TestDCEAllocations(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	setup := client(t, m, asRoot)
	insertMany(setup, 500)
	for _, e := range inquiryRows {
		if e.Tower.Interface.UUID != uuidA {
			setup.insert(e)
		}
	}
	setup.insert(entry(ndr.UUID{}, named(epm.NP, `\pipe\winreg`, "FS1"), ""))
	findA, findB := mapA(ndr.Handle{}, 500), epm.Map{Tower: asking(epm.TCP, syntax(uuidB, 1, 0)), MaxTowers: 4}
	ofObject := findB
	ofObject.Object = objectY
	none := epm.Map{Tower: asking(epm.TCP, syntax(uuidC, 1, 0)), MaxTowers: 4}
	pipes := epm.Map{Tower: asking(epm.NP, syntax(uuidA, 1, 0)), MaxTowers: 4}
	byInterface := epm.Lookup{Inquiry: epm.InquiryByInterface, Interface: syntax(uuidB, 1, 0), VersOption: epm.VersAll, MaxEntries: 500}
	for _, tt := range []struct {
		name string
		w    way
		op   epm.Op
		a    arguments
		want float64
	}{
		{"map", tcpFar, epm.OpMap, findB, 0},
		{"map, IPv6", tcp6Far, epm.OpMap, findB, 0},
		{"map, local", asUser, epm.OpMap, findB, 0},
		{"map, object", tcpFar, epm.OpMap, ofObject, 0},
		{"map, unknown", tcpFar, epm.OpMap, none, 0},
		{"map, 500 towers", tcpFar, epm.OpMap, findA, 0},
		{"map, pipes", tcpFar, epm.OpMap, pipes, 0},
		{"map, handle", tcpFar, epm.OpMap, mapA(ndr.Handle{}, 1), 1},
		{"lookup, interface", tcpFar, epm.OpLookup, byInterface, 0},
		{"lookup, all", tcpFar, epm.OpLookup, epm.Lookup{MaxEntries: 500}, 0},
		{"inq_object", tcpFar, epm.OpInqObject, epm.LookupHandleFree{}, 0},
		{"unknown operation", tcpFar, 99, epm.LookupHandleFree{}, 0},
	} {
		for name, label := range labels {
			l := dceLine(t, m, tt.w)
			newClient(t, l.send, label, 0)
			l.call.Message = request(tt.op, tt.a, label)
			buf := make([]byte, 0, 128<<10)
			if got := testing.AllocsPerRun(200, func() { l.session.Answer(l.call, buf) }); got > tt.want {
				t.Errorf("%s, %s: allocates %v times, want %v", tt.name, name, got, tt.want)
			}
		}
	}
}

// manyInterfaces returns an endpoint mapper of n interfaces with one row each, and
// calls of ept_map that find them in no order.
func manyInterfaces(b *testing.B, n int) (m *DCE, calls [][]byte) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	regs := make([]endpoint.Registration, n)
	for i := range regs {
		var u ndr.UUID
		binary.BigEndian.PutUint64(u[:], rng.Uint64())
		binary.BigEndian.PutUint64(u[8:], rng.Uint64())
		regs[i] = endpoint.Registration{
			Interface: endpoint.FromSyntax(syntax(u, 1, uint16(rng.Uint32N(4)))),
			Endpoint:  endpoint.At(epm.TCP, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(1024+rng.Uint32N(60000)))),
		}
	}
	g := registry.New()
	if _, err := g.Add(registry.Claim{Owner: endpoint.Superuser}, regs...); err != nil {
		b.Fatal(err)
	}
	for range 4096 {
		r := regs[rng.IntN(n)]
		calls = append(calls, request(epm.OpMap, epm.Map{Tower: asking(epm.TCP, r.Syntax()), MaxTowers: 4}, ndr.LittleEndian))
	}
	return NewDCE(New(Config{Registry: g, Addresses: hostAddresses()}), DCEConfig{}), calls
}

func BenchmarkDCE(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		m, calls := manyInterfaces(b, n)
		b.Run(fmt.Sprintf("map/interfaces=%d", n), func(b *testing.B) {
			l := dceLine(b, m, tcpFar)
			newClient(b, l.send, ndr.LittleEndian, 0)
			buf, i := make([]byte, 0, transportBuf), 0
			b.ReportAllocs()
			for b.Loop() {
				l.call.Message = calls[i&4095]
				i++
				if r := l.session.Answer(l.call, buf); len(r.Head) < 24+75 {
					b.Fatalf("%x", r.Head)
				}
			}
		})
		b.Run(fmt.Sprintf("bind+map/interfaces=%d", n), func(b *testing.B) {
			call, buf, i := tcpFar.call(nil), make([]byte, 0, transportBuf), 0
			bind := bindPDU(ctx(mapperContext, epm.Interface, dcerpc.NDR))
			b.ReportAllocs()
			for b.Loop() {
				s := m.Session()
				var r transport.Reply
				for _, call.Message = range [][]byte{bind, calls[i&4095]} {
					r = s.Answer(call, buf)
				}
				i++
				if s.End(); len(r.Head) < 24+75 {
					b.Fatalf("%x", r.Head)
				}
			}
		})
		b.Run(fmt.Sprintf("lookup/entries=%d/of=%d", min(n, 500), n), func(b *testing.B) {
			l := dceLine(b, m, tcpFar)
			newClient(b, l.send, ndr.LittleEndian, 0)
			l.call.Message = request(epm.OpLookup, epm.Lookup{MaxEntries: 500}, ndr.LittleEndian)
			buf := make([]byte, 0, 128<<10)
			b.ReportAllocs()
			for b.Loop() {
				if r := l.session.Answer(l.call, buf); len(r.Head) < min(n, 500)*75 {
					b.Fatal(len(r.Head))
				}
			}
		})
	}
}
