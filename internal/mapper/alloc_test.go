package mapper

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/hostaddr"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// TestAllocations: answering what is asked all day allocates nothing.
func TestAllocations(t *testing.T) {
	m := newMapper(t,
		row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139"), row(t, progA, 1, rpcbind.TCP, "0.0.0.0.19.139"),
		row(t, progA, 1, rpcbind.UDP6, "::.19.139"), row(t, progB, 1, rpcbind.UDP, "10.98.0.1.19.140"),
		row(t, progB, 1, rpcbind.UDP6, "fd98::1.19.140"), row(t, progA, 1, rpcbind.Local, "/run/a.sock"))
	auth := messageWith(oncrpc.Call{
		XID: xid, Program: rpcbind.Program, Version: 4, Procedure: uint32(get),
		Cred: oncrpc.OpaqueAuth{Flavor: oncrpc.AuthSys, Body: sysCred(20, 16)},
	}, rpcb(progA, 1, "udp", "10.99.0.1.0.111"))
	link := way{netid: rpcbind.UDP6, client: "fe80::7", server: "fe80::98"}
	for _, tt := range []struct {
		name string
		w    way
		call []byte
	}{
		{"v2 NULL", udpFar, message(2, null, nil)},
		{"v4 NULL", udp6Far, message(4, null, nil)},
		{"GETPORT", udpFar, message(2, get, mapping(progA, 1, 17, 0))},
		{"GETPORT, another version", udpFar, message(2, get, mapping(progA, 9, 6, 0))},
		{"GETPORT, unknown", udpFar, message(2, get, mapping(progD, 1, 17, 0))},
		{"GETPORT, protocol 99", udpFar, message(2, get, mapping(progA, 1, 99, 0))},
		{"v3 GETADDR", udpFar, message(3, get, rpcb(progA, 1, "udp", ""))},
		{"v4 GETADDR", udpFar, message(4, get, rpcb(progA, 1, "udp", ""))},
		{"v4 GETADDR, hint", udpFar, message(4, get, rpcb(progA, 1, "udp", "10.99.0.1.0.111"))},
		{"v4 GETADDR, AUTH_SYS", udpFar, auth},
		{"v4 GETADDR, IPv6", udp6Far, message(4, get, rpcb(progA, 1, "udp6", ""))},
		{"v4 GETADDR, IPv6, hint", udp6Far, message(4, get, rpcb(progA, 1, "udp6", "fd99::1.0.111"))},
		{"v4 GETADDR, link-local", link, message(4, get, rpcb(progA, 1, "udp6", "fe80::98.0.111"))},
		{"v4 GETADDR, one address", udpFar, message(4, get, rpcb(progB, 1, "udp", ""))},
		{"v4 GETADDR, one address, hint", udpFar, message(4, get, rpcb(progB, 1, "udp", "10.99.0.1.0.111"))},
		{"v4 GETADDR, one address, IPv6", udp6Far, message(4, get, rpcb(progB, 1, "udp6", ""))},
		{"v4 GETADDR, unknown", udpFar, message(4, get, rpcb(progD, 1, "udp", ""))},
		{"v4 GETADDR, another version", udpFar, message(4, get, rpcb(progA, 9, "udp", ""))},
		{"v4 GETADDR, local", asUser, message(4, get, rpcb(progA, 1, "local", ""))},
		{"GETVERSADDR", tcpFar, message(4, rpcbind.ProcGetVersAddr, rpcb(progA, 1, "tcp", ""))},
		{"GETVERSADDR, unknown", tcpFar, message(4, rpcbind.ProcGetVersAddr, rpcb(progA, 9, "tcp", ""))},
		{"GETTIME", udpFar, message(3, rpcbind.ProcGetTime, nil)},
		{"v2 DUMP", udpFar, message(2, dumpP, nil)},
		{"v4 DUMP", tcpFar, message(4, dumpP, nil)},
		{"unknown program", udpFar, messageTo(100003, 3, 0, nil)},
		{"unknown procedure", udpFar, message(2, 99, nil)},
		{"unknown version", udpFar, message(9, null, nil)},
		{"AUTH_SHORT", udpFar, cred(oncrpc.AuthShort, make([]byte, 8))},
		{"rpcvers 3", udpFar, patch(message(2, null, nil), 2, 3)},
		{"a REPLY", udpFar, success()},
	} {
		c := tt.w.call(tt.call)
		buf := make([]byte, 0, transportBuf)
		if n := testing.AllocsPerRun(200, func() { m.Answer(c, buf) }); n != 0 {
			t.Errorf("%s allocates %v times", tt.name, n)
		}
	}
}

// randomRows has n registrations of which no two are of the same program, and
// calls of GETPORT and GETADDR that find them, in no order that a cache could like.
func randomRows(b *testing.B, n int) (m *ONC, getPort, getAddr [][]byte) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var t hostaddr.Table
	t.Set(hostAddresses().All())
	g := registry.New()
	used := map[uint32]bool{}
	var rows []endpoint.Registration
	for len(rows) < n {
		program := rng.Uint32()
		if used[program] || program == rpcbind.Program {
			continue
		}
		used[program] = true
		rows = append(rows, endpoint.Registration{
			Interface: endpoint.Program(program, rng.Uint32N(8)),
			Endpoint:  endpoint.Endpoint{NetID: rpcbind.UDP, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(1024+rng.Uint32N(60000)))},
		})
	}
	if _, err := g.Add(registry.Claim{}, rows...); err != nil {
		b.Fatal(err)
	}
	for range 4096 {
		r := rows[rng.IntN(n)]
		getPort = append(getPort, message(2, get, mapping(r.Program, r.Version, 17, 0)))
		getAddr = append(getAddr, message(4, get, rpcb(r.Program, r.Version, "udp", "10.98.0.1.0.111")))
	}
	return NewONC(New(Config{Registry: g, Addresses: &t})), getPort, getAddr
}

func BenchmarkAnswer(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		m, getPort, getAddr := randomRows(b, n)
		run := func(name string, messages [][]byte) {
			b.Run(fmt.Sprintf("%s/rows=%d", name, n), func(b *testing.B) {
				c := udpFar.call(nil)
				buf := make([]byte, 0, transportBuf)
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					c.Message = messages[i&4095]
					i++
					if r := m.Answer(c, buf); len(r.Head) <= 24 {
						b.Fatalf("%x", r.Head)
					}
				}
			})
		}
		run("GETPORT", getPort)
		run("GETADDR", getAddr)
		b.Run(fmt.Sprintf("DUMP/rows=%d", n), func(b *testing.B) {
			c := tcpFar.call(message(4, dumpP, nil))
			buf := make([]byte, 0, transportBuf)
			var r transport.Reply
			b.ReportAllocs()
			for b.Loop() {
				r = m.Answer(c, buf)
			}
			if !bytes.Equal(r.Body, freshDump(b, m.Registry, 4)) {
				b.Fatal("not the rows")
			}
		})
	}
}
