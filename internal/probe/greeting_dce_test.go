package probe

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// TestGreetDCE: servers that tell their interfaces, that do not, and that are none.
func TestGreetDCE(t *testing.T) {
	tells := func(n int) netip.AddrPort {
		ids := epm.InqIfIDsReply{Interfaces: slices.Repeat([]dcerpc.Syntax{{UUID: uuidA, Major: 1, Minor: 2}}, n)}.Append(nil, ndr.LittleEndian)
		return serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte {
			switch epm.MgmtOp(m.Opnum) {
			case epm.MgmtInqIfIDs:
				return respond(h, ids)
			case epm.MgmtIsServerListening:
				return respond(h, epm.IsServerListeningReply{Listening: n > 1}.Append(nil, ndr.LittleEndian))
			}
			return respond(h, epm.InqPrincNameReply{Size: 256, Name: "host/dc1"}.Append(nil, ndr.LittleEndian))
		})
	}
	answers := func(answer func(h dcerpc.Header, pdu []byte) []byte) netip.AddrPort { return serveScript(t, answer) }
	says := func(text string) netip.AddrPort {
		return serveConns(t, func(c net.Conn) {
			c.Write([]byte(text))
			io.Copy(io.Discard, c)
		})
	}
	const refuses = "does not say which interfaces it has: "
	for _, tt := range []struct {
		name       string
		at         netip.AddrPort
		what, text string
		interfaces int
		problems   []string
	}{
		{"two", tells(2), "DCE/RPC", "as host/dc1", 2, nil},
		{"too many", tells(epm.MaxInterfaces), "DCE/RPC", "as host/dc1", maxPortInterfaces, []string{"it has 1000 interfaces, of which 100 are kept"}},
		{"stopped", tells(1), "DCE/RPC", "as host/dc1", 1, []string{"it says that it does not listen"}},
		{"no management interface", answers(func(h dcerpc.Header, pdu []byte) []byte {
			return ackWith(h, pdu, dcerpc.Result{Result: dcerpc.ProviderRejection, Reason: dcerpc.AbstractSyntaxNotSupported})
		}), "DCE/RPC", refuses + "the server there does not have the interface in this version (abstract_syntax_not_supported)", 0, nil},
		{"refused", answers(func(h dcerpc.Header, pdu []byte) []byte {
			return dcerpc.AppendBindNak(nil, h.Reply(), dcerpc.BindNak{Reason: dcerpc.RejectTemporaryCongestion})
		}), "DCE/RPC", refuses + "the server refuses the connection: it is busy (temporary_congestion)", 0, nil},
		{"denied", serveCalls(t, func(h dcerpc.Header, _ dcerpc.Request) []byte { return fault(h, dcerpc.StatusAccessDenied) }),
			"DCE/RPC", refuses + "access denied: it wants to know who asks, or does not let them (rpc_s_access_denied)", 0, nil},
		{"another protocol", says("SSH-2.0-test\r\n"), "", "SSH-2.0-test", 0, []string{"not understood as DCE/RPC: it says something else"}},
		{"silent", says(""), "", "", 0, []string{"not understood as DCE/RPC: it accepts the connection, and is silent"}},
	} {
		r := (&Prober{Timeout: time.Second}).Port(t.Context(), dceHost, PortQuestion{Network: "tcp", Port: tt.at.Port(), Ask: "dce"})
		if r.State != Listening || r.What != tt.what || r.Text != tt.text || len(r.Interfaces) != tt.interfaces || !slices.Equal(r.Problems, tt.problems) {
			t.Errorf("%s: %+v", tt.name, r)
		}
		for _, i := range r.Interfaces {
			if want := (endpoint.Interface{Dialect: endpoint.DCE, UUID: uuidA, Major: 1, Minor: 2}); i != want {
				t.Errorf("%s: interface %v, want %v", tt.name, i, want)
			}
		}
	}
}

// TestUsualDCE: DCE/RPC is usual at dynamic ports, but for those of others.
func TestUsualDCE(t *testing.T) {
	for port, want := range map[uint16]string{135: "dce", 593: "banner", 4915: "", 49151: "", 49152: "dce", 65535: "dce", 8443: "tls"} {
		if got := Usual("tcp", port); got != want {
			t.Errorf("at tcp/%d %q is usual, want %q", port, got, want)
		}
	}
	if got := Usual("udp", 50000); got != "" {
		t.Errorf("at udp/50000 %q is usual", got)
	}
}
