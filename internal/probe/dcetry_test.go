package probe

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
)

// TestTryDCE: servers that take alter_context and servers that do not, and all their ways to refuse.
func TestTryDCE(t *testing.T) {
	var (
		x      = dcerpc.Syntax{UUID: uuidA, Major: 1}
		y      = dcerpc.Syntax{UUID: uuidA, Major: 2}
		z      = dcerpc.Syntax{UUID: uuidB, Major: 1}
		reject = func(r dcerpc.ProviderReason) dcerpc.Result {
			return dcerpc.Result{Result: dcerpc.ProviderRejection, Reason: r}
		}
		lacks   = reject(dcerpc.AbstractSyntaxNotSupported)
		isAlter = func(h dcerpc.Header) bool { return h.PType == dcerpc.PTypeAlterContext }
		wanted  = func(h dcerpc.Header, pdu []byte) dcerpc.Syntax {
			m, err := dcerpc.ParseBind(h, pdu)
			if err != nil || len(m.Contexts) != 1 || !slices.Equal(m.Contexts[0].Transfers, []dcerpc.Syntax{dcerpc.NDR}) {
				t.Errorf("bind %+v, %v", m, err)
				return dcerpc.Syntax{}
			}
			return m.Contexts[0].Abstract
		}
		// unlessY accepts all but y.
		unlessY = func(h dcerpc.Header, pdu []byte) []byte {
			if wanted(h, pdu) == y {
				return ackWith(h, pdu, lacks)
			}
			return ack(h, pdu)
		}
	)
	nak := func(r dcerpc.RejectReason) func(dcerpc.Header, []byte) []byte {
		return func(h dcerpc.Header, pdu []byte) []byte {
			return dcerpc.AppendBindNak(nil, h.Reply(), dcerpc.BindNak{Reason: r})
		}
	}
	with := func(r dcerpc.Result) func(dcerpc.Header, []byte) []byte {
		return func(h dcerpc.Header, pdu []byte) []byte { return ackWith(h, pdu, r) }
	}
	const other = "wrong: the server there does not have the interface in this version"
	for _, tt := range []struct {
		name   string
		answer func(h dcerpc.Header, pdu []byte) []byte
		binds  int32 // connections
		want   []string
	}{
		{"alter_context", unlessY, 1, []string{"listening", other, "listening"}},
		{"alter_context is a fault", func(h dcerpc.Header, pdu []byte) []byte {
			if isAlter(h) {
				return fault(h, dcerpc.StatusProtoError)
			}
			return unlessY(h, pdu)
		}, 3, []string{"listening", other, "listening"}},
		{"alter_context ends it", func(h dcerpc.Header, pdu []byte) []byte {
			if isAlter(h) {
				return nil
			}
			return unlessY(h, pdu)
		}, 3, []string{"listening", other, "listening"}},
		{"alter_context has no answer", func(h dcerpc.Header, pdu []byte) []byte {
			if isAlter(h) {
				return []byte{}
			}
			return unlessY(h, pdu)
		}, 3, []string{"listening", other, "listening"}},
		{"alter_context is rejected", func(h dcerpc.Header, pdu []byte) []byte {
			if isAlter(h) {
				return ackWith(h, pdu, reject(dcerpc.LocalLimitExceeded))
			}
			return unlessY(h, pdu)
		}, 3, []string{"listening", other, "listening"}},
		{"one interface hangs up", func(h dcerpc.Header, pdu []byte) []byte {
			if wanted(h, pdu) == y {
				return nil
			}
			return ack(h, pdu)
		}, 3, []string{"listening", "wrong: it ends the connection", "listening"}},
		{"all hang up", func(dcerpc.Header, []byte) []byte { return nil }, 3, []string{"wrong: it ends the connection", "wrong: it ends", "wrong: it ends"}},
		{"silent", func(dcerpc.Header, []byte) []byte { return []byte{} }, 1, slices.Repeat([]string{"wrong: " + silentWords}, 3)},
		{"another protocol", func(dcerpc.Header, []byte) []byte { return []byte("SSH-2.0-x\r\n") }, 1, []string{"wrong: it does not speak DCE/RPC", "wrong", "wrong"}},
		{"access denied", func(h dcerpc.Header, pdu []byte) []byte { return fault(h, dcerpc.StatusAccessDenied) }, 3, slices.Repeat([]string{"rejected: access denied"}, 3)},
		{"busy", nak(dcerpc.RejectTemporaryCongestion), 3, slices.Repeat([]string{"rejected: the server refuses the connection: it is busy (temporary_congestion)"}, 3)},
		{"nak of unknown reason", nak(77), 3, slices.Repeat([]string{"rejected: the server refuses the connection: RejectReason(77)"}, 3)},
		{"no NDR", with(reject(dcerpc.TransferSyntaxesNotSupported)), 3, slices.Repeat([]string{"rejected: the server has the interface, but not for NDR"}, 3)},
		{"user rejection", with(dcerpc.Result{Result: dcerpc.UserRejection}), 3, slices.Repeat([]string{"rejected: the server refuses the interface (user_rejection)"}, 3)},
		{"no reason", with(reject(0)), 3, slices.Repeat([]string{"rejected: the server refuses the interface and does not say why"}, 3)},
		{"unknown reason", with(reject(9)), 3, slices.Repeat([]string{"rejected: the server refuses the interface: ProviderReason(9)"}, 3)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var binds atomic.Int32
			at := serveScript(t, func(h dcerpc.Header, pdu []byte) []byte {
				if h.PType == dcerpc.PTypeBind {
					binds.Add(1)
				}
				return tt.answer(h, pdu)
			})
			entries := []Entry{dceEntryAt(x, epm.TCP, at), dceEntryAt(y, epm.TCP, at), dceEntryAt(z, epm.TCP, at), dceEntryAt(x, epm.TCP, at)}
			start := time.Now()
			(&Prober{Timeout: 500 * time.Millisecond}).TryDCE(t.Context(), dceHost, entries, DCEOptions{})
			checkTried(t, entries, append(slices.Clone(tt.want), tt.want[0]))
			if n := binds.Load(); n != tt.binds {
				t.Errorf("%d connections, want %d", n, tt.binds)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestTryDCEPorts: each port has its own state, many are tried, and foreign ones where that is wanted.
func TestTryDCEPorts(t *testing.T) {
	good := serveScript(t, ack)
	http := serveHTTPScript(t)
	s := dcerpc.Syntax{UUID: uuidA, Major: 1}
	here := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(dceHost, port) }
	entries := []Entry{
		dceEntryAt(s, epm.TCP, good), dceEntryAt(s, epm.TCP, here(closedPort(t))), dceEntryAt(s, epm.HTTP, http), dceEntryAt(s, epm.HTTP, good), dceEntryAt(s, epm.TCP, here(0)),
		{Interface: endpoint.Program(100003, 3)},
	}
	(&Prober{Timeout: 500 * time.Millisecond}).TryDCE(t.Context(), dceHost, entries, DCEOptions{})
	checkTried(t, entries, []string{"listening", "not listening: nothing listens there", "listening", "wrong: " + silentWords, "not tried: has no port", "not tried"})

	foreign := []Entry{dceEntryAt(s, epm.TCP, good)}
	new(Prober).TryDCE(t.Context(), netip.MustParseAddr("192.0.2.7"), foreign, DCEOptions{})
	checkTried(t, foreign, []string{"not tried: is told at another address than the host's: 127.0.0.1"})
	for _, addr := range []string{"192.0.2.8", "192.0.2.9", "224.0.0.1"} {
		foreign = append(foreign, dceEntryAt(s, epm.TCP, netip.AddrPortFrom(netip.MustParseAddr(addr), good.Port())))
	}
	elsewhere := &Prober{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "127.") || strings.HasPrefix(address, "224.") {
			t.Errorf("dialed %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, good.String())
	}}
	const notHere = "not tried: is told at another address than the host's: "
	elsewhere.TryDCE(t.Context(), netip.MustParseAddr("192.0.2.7"), foreign, DCEOptions{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.8")}})
	checkTried(t, foreign, []string{notHere + "127.0.0.1", "listening", notHere + "192.0.2.9", notHere + "224.0.0.1"})
	elsewhere.TryDCE(t.Context(), netip.MustParseAddr("192.0.2.7"), foreign, DCEOptions{Foreign: true})
	checkTried(t, foreign, []string{"not tried: only the host itself reaches its loopback address", "listening", "listening", "not tried: is told at the address of no host: 224.0.0.1"})

	var many []Entry
	for range 300 {
		many = append(many, dceEntryAt(s, epm.TCP, here(serveScript(t, ack).Port())))
	}
	new(Prober).TryDCE(t.Context(), dceHost, many, DCEOptions{})
	checkTried(t, many, slices.Repeat([]string{"listening"}, len(many)))
}
