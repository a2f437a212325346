package mapper

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// PDUs of a client that has call 1 unless it says otherwise.

var le = dcerpc.Header{Label: ndr.LittleEndian, CallID: 1}

// callID is the header of another call.
func callID(id uint32) dcerpc.Header { return dcerpc.Header{Label: ndr.LittleEndian, CallID: id} }

func bindPDU(contexts ...dcerpc.Context) []byte {
	return dcerpc.AppendBind(nil, le, dcerpc.Bind{MaxXmitFrag: 5840, MaxRecvFrag: 5840, Contexts: contexts})
}

func alterPDU(contexts ...dcerpc.Context) []byte {
	return dcerpc.AppendAlterContext(nil, le, dcerpc.Bind{MaxXmitFrag: 5840, MaxRecvFrag: 5840, Contexts: contexts})
}

// goodBind binds the mapper as context 0 and the management interface as context 1.
var goodBind = bindPDU(ctx(0, epm.Interface, dcerpc.NDR), ctx(1, epm.Management, dcerpc.NDR))

// callPDU is a call in one fragment.
func callPDU(h dcerpc.Header, context, opnum uint16, stub []byte) []byte {
	return dcerpc.AppendRequest(nil, h, dcerpc.Request{ContextID: context, Opnum: opnum, Stub: stub}, 5840)
}

// inqObject is a call that has no arguments, so that any bytes can be its stub.
func inqObject(h dcerpc.Header) []byte { return callPDU(h, 0, uint16(epm.OpInqObject), nil) }

// fragment is part of a call of ept_inq_object.
func fragment(id uint32, flags dcerpc.Flags, stub ...byte) []byte {
	return withFlags(callPDU(callID(id), 0, uint16(epm.OpInqObject), stub), flags)
}

// withFlags has a PDU other flags.
func withFlags(pdu []byte, f dcerpc.Flags) []byte {
	pdu = bytes.Clone(pdu)
	pdu[3] = byte(f)
	return pdu
}

// withType has a PDU another type.
func withType(pdu []byte, t dcerpc.PType) []byte {
	pdu = bytes.Clone(pdu)
	pdu[2] = byte(t)
	return pdu
}

// bare is a PDU that is nothing but a header.
func bare(t dcerpc.PType, id uint32) []byte {
	return dcerpc.Header{Version: 5, PType: t, Flags: whole, Label: ndr.LittleEndian, FragLength: 16, CallID: id}.Append(nil)
}

const whole = dcerpc.FirstFrag | dcerpc.LastFrag

// withAuth appends a trailer for NTLM, with a token of 8 bytes, to a PDU.
func withAuth(pdu []byte) []byte {
	pdu = append(bytes.Clone(pdu), 10, 2, 0, 0, 1, 0, 0, 0)
	pdu = append(pdu, "NTLMSSP\x00"...)
	pdu[8], pdu[9], pdu[10] = byte(len(pdu)), byte(len(pdu)>>8), 8
	return pdu
}

func cut(pdu []byte, n int) []byte {
	pdu = bytes.Clone(pdu[:n])
	pdu[8], pdu[9] = byte(n), byte(n>>8)
	return pdu
}

func join(pdus ...[]byte) []byte { return slices.Concat(pdus...) }

// outcome says in words what a client gets.
func outcome(t testing.TB, answer []byte, closed bool) string {
	t.Helper()
	var words []string
	for _, pdu := range split(t, answer) {
		h, err := dcerpc.ParseHeader(pdu)
		if err != nil {
			t.Fatal(err)
		}
		word := fmt.Sprintf("%s %d", h.PType, h.CallID)
		switch h.PType {
		case dcerpc.PTypeFault:
			f, err := dcerpc.ParseFault(h, pdu)
			if err != nil || len(pdu) != dcerpc.FaultSize {
				t.Fatal(err)
			}
			word += " " + f.Status.String()
			if h.Flags&dcerpc.DidNotExecute == 0 {
				word += " executed"
			}
		case dcerpc.PTypeBindNak:
			n, err := dcerpc.ParseBindNak(h, pdu)
			if err != nil {
				t.Fatal(err)
			}
			word += " " + n.Reason.String()
		case dcerpc.PTypeBindAck, dcerpc.PTypeAlterContextResp:
			ack, err := dcerpc.ParseBindAck(h, pdu)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range ack.Results {
				word += fmt.Sprintf(" %s:%d", r.Result, r.Reason)
				if wantNDR := r.Result == dcerpc.Acceptance; wantNDR != (r.Transfer == dcerpc.NDR) || !wantNDR && r.Transfer != (dcerpc.Syntax{}) {
					t.Errorf("result %+v", r)
				}
			}
		}
		words = append(words, word)
	}
	if closed {
		words = append(words, "closed")
	}
	return strings.Join(words, ", ")
}

// verification is a trailer of authenticated clients: the signature, and one command
// that is the last, of a bit mask (MS-RPCE, section 2.2.2.13).
var verification, _ = hex.DecodeString("8ae3137102f43671" + "01400400" + "01000000")

// TestPDUs: what a client gets for streams of PDUs; ok and other words are as
// outcome has them.
func TestPDUs(t *testing.T) {
	const ack, ok = "bind_ack 1 acceptance:0 acceptance:0", "response 1"
	const protocol, malformed = "fault 1 nca_s_proto_error, closed", "bind_nak 1 protocol_version_not_supported, closed"
	both := dcerpc.SecurityContextMultiplexing | dcerpc.KeepConnectionOnOrphan
	lookup := epm.Lookup{MaxEntries: 1}.Append(nil, ndr.LittleEndian)
	unknown := syntax(uuidC, 3, 0)
	for _, tt := range []struct {
		name   string
		stream []byte
		want   string
	}{
		{"bind without contexts", bindPDU(), malformed},
		{"bind that is cut", cut(goodBind, 40), malformed},
		{"bind of a header", bare(dcerpc.PTypeBind, 1), malformed},
		{"bind in fragments", withFlags(goodBind, dcerpc.FirstFrag), malformed},
		{"end of a bind", withFlags(goodBind, dcerpc.LastFrag), malformed},
		{"bind with zero flags", withFlags(goodBind, 0), ack},
		{"bind with header signing and multiplexing", withFlags(goodBind, whole|dcerpc.SupportHeaderSign|dcerpc.Multiplex), ack},
		{"context without transfer syntaxes", bindPDU(ctx(0, epm.Interface)), "bind_ack 1 provider_rejection:2"},
		{"unknown interface", bindPDU(ctx(0, unknown, dcerpc.NDR), ctx(1, epm.Interface, dcerpc.NDR)), "bind_ack 1 provider_rejection:1 acceptance:0"},
		{"version 3.1", bindPDU(ctx(0, syntax(epm.Interface.UUID, 3, 1), dcerpc.NDR)), "bind_ack 1 provider_rejection:1"},
		{"version 2.0", bindPDU(ctx(0, syntax(epm.Interface.UUID, 2, 0), dcerpc.NDR)), "bind_ack 1 provider_rejection:1"},
		{"version 4.0", bindPDU(ctx(0, syntax(epm.Interface.UUID, 4, 0), dcerpc.NDR)), "bind_ack 1 provider_rejection:1"},
		{"management 1.1", bindPDU(ctx(0, syntax(epm.Management.UUID, 1, 1), dcerpc.NDR)), "bind_ack 1 provider_rejection:1"},
		{"NDR64", bindPDU(ctx(0, epm.Interface, dcerpc.NDR64)), "bind_ack 1 provider_rejection:2"},
		{"NDR64 and NDR", bindPDU(ctx(0, epm.Interface, dcerpc.NDR64, dcerpc.NDR)), "bind_ack 1 acceptance:0"},
		{"NDR, NDR64, features", bindPDU(ctx(0, epm.Interface, dcerpc.NDR), ctx(1, epm.Interface, dcerpc.NDR64), ctx(2, epm.Interface, both.Syntax())),
			"bind_ack 1 acceptance:0 provider_rejection:2 negotiate_ack:2"},
		{"features that are not had", bindPDU(ctx(2, epm.Interface, dcerpc.SecurityContextMultiplexing.Syntax())), "bind_ack 1 negotiate_ack:0"},
		{"all features", bindPDU(ctx(2, epm.Interface, dcerpc.Features(0xffff).Syntax())), "bind_ack 1 negotiate_ack:2"},
		{"features, called", join(bindPDU(ctx(2, epm.Interface, both.Syntax())), callPDU(le, 2, 5, nil)), "bind_ack 1 negotiate_ack:2, fault 1 nca_s_unk_if"},
		{"features in alter_context", join(goodBind, alterPDU(ctx(2, epm.Interface, both.Syntax()))), ack + ", alter_context_resp 1 provider_rejection:2"},
		{"alter_context", join(goodBind, alterPDU(ctx(2, epm.Interface, dcerpc.NDR)), callPDU(le, 2, 5, nil)), ack + ", alter_context_resp 1 acceptance:0, " + ok},
		{"alter_context with zero flags", join(goodBind, withFlags(alterPDU(ctx(2, unknown, dcerpc.NDR)), 0)), ack + ", alter_context_resp 1 provider_rejection:1"},
		{"alter_context without contexts", join(goodBind, alterPDU()), ack + ", " + protocol},
		{"alter_context that is cut", join(goodBind, cut(alterPDU(ctx(2, epm.Interface, dcerpc.NDR)), 50)), ack + ", " + protocol},
		{"alter_context in fragments", join(goodBind, withFlags(alterPDU(ctx(2, epm.Interface, dcerpc.NDR)), dcerpc.FirstFrag)), ack + ", " + protocol},
		{"alter_context with a trailer", join(goodBind, withAuth(alterPDU(ctx(2, epm.Interface, dcerpc.NDR)))), ack + ", " + protocol},
		{"alter_context before bind", alterPDU(ctx(0, epm.Interface, dcerpc.NDR)), protocol},
		{"second bind", join(goodBind, goodBind), ack + ", bind_nak 1 reason_not_specified, closed"},
		{"second bind with a trailer", join(goodBind, withAuth(goodBind)), ack + ", bind_nak 1 reason_not_specified, closed"},
		{"same context twice", join(bindPDU(ctx(0, epm.Interface, dcerpc.NDR), ctx(0, epm.Management, dcerpc.NDR)), callPDU(le, 0, 6, nil), callPDU(le, 0, 2, nil)),
			ack + ", fault 1 nca_s_op_rng_error, " + ok},
		{"same context twice, the second refused", join(bindPDU(ctx(0, epm.Interface, dcerpc.NDR), ctx(0, unknown, dcerpc.NDR)), inqObject(le)),
			"bind_ack 1 acceptance:0 provider_rejection:1, " + ok},

		{"bind with a trailer", withAuth(goodBind), "bind_nak 1 authentication_type_not_recognized"},
		{"bind with a trailer, then without", join(withAuth(goodBind), goodBind, inqObject(le)), "bind_nak 1 authentication_type_not_recognized, " + ack + ", " + ok},
		{"bind with a trailer, then a request", join(withAuth(goodBind), inqObject(le)), "bind_nak 1 authentication_type_not_recognized, " + protocol},
		{"bind with a trailer that does not fit", cut(withAuth(goodBind), 24), malformed},

		{"request before bind", inqObject(le), protocol},
		{"request of a context that was refused", join(bindPDU(ctx(3, unknown, dcerpc.NDR)), callPDU(le, 3, 5, nil), callPDU(le, 3, 5, nil)),
			"bind_ack 1 provider_rejection:1, fault 1 nca_s_unk_if, fault 1 nca_s_unk_if"},
		{"request of no context", join(goodBind, callPDU(le, 9, 5, nil), inqObject(le)), ack + ", fault 1 nca_s_unk_if, " + ok},
		{"operation 7", join(goodBind, callPDU(le, 0, 7, nil), inqObject(le)), ack + ", fault 1 nca_s_op_rng_error, " + ok},
		{"operation 65535", join(goodBind, callPDU(le, 0, 65535, nil)), ack + ", fault 1 nca_s_op_rng_error"},
		{"operation 5 of the management", join(goodBind, callPDU(le, 1, 5, nil)), ack + ", fault 1 nca_s_op_rng_error"},
		{"arguments missing", join(goodBind, callPDU(le, 0, 3, nil), inqObject(le)), ack + ", fault 1 rpc_x_bad_stub_data executed, " + ok},
		{"request that is cut", join(goodBind, cut(inqObject(le), 20)), ack + ", " + protocol},
		{"object flag without room for it", join(goodBind, withFlags(inqObject(le), whole|dcerpc.ObjectUUID)), ack + ", " + protocol},
		{"zero flags", join(goodBind, withFlags(inqObject(le), 0)), ack + ", " + ok},
		{"pending cancel", join(goodBind, withFlags(inqObject(le), whole|dcerpc.PendingCancel)), ack + ", " + ok},
		{"verification trailer", join(goodBind, callPDU(le, 0, 2, append(lookup, verification...))), ack + ", " + ok},
		{"auth trailer in a request", join(goodBind, withAuth(inqObject(le))), ack + ", " + protocol},

		{"auth3 from nowhere", bare(dcerpc.PTypeAuth3, 1), "closed"},
		{"auth3 after a bind", join(goodBind, withAuth(bare(dcerpc.PTypeAuth3, 1))), ack + ", closed"},
		{"auth3 after a bind that was refused", join(withAuth(goodBind), withAuth(bare(dcerpc.PTypeAuth3, 1))), "bind_nak 1 authentication_type_not_recognized, closed"},
		{"shutdown", join(goodBind, bare(dcerpc.PTypeShutdown, 1)), ack + ", closed"},
		{"response", join(goodBind, withType(inqObject(le), dcerpc.PTypeResponse)), ack + ", closed"},
		{"fault", join(goodBind, dcerpc.AppendFault(nil, le, dcerpc.Fault{})), ack + ", closed"},
		{"bind_ack", join(goodBind, withType(goodBind, dcerpc.PTypeBindAck)), ack + ", closed"},
		{"bind_nak", join(goodBind, dcerpc.AppendBindNak(nil, le, dcerpc.BindNak{})), ack + ", closed"},
		{"ping, of the connectionless protocol", join(goodBind, bare(1, 1)), ack + ", closed"},
		{"type 255", bare(255, 1), "closed"},
		{"co_cancel of nothing", join(bare(dcerpc.PTypeCoCancel, 1), goodBind, bare(dcerpc.PTypeCoCancel, 1), inqObject(le)), ack + ", " + ok},
		{"orphaned of nothing", join(bare(dcerpc.PTypeOrphaned, 1), goodBind, bare(dcerpc.PTypeOrphaned, 1), inqObject(le)), ack + ", " + ok},

		{"in fragments", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), fragment(1, 0, 2), fragment(1, dcerpc.LastFrag, 3)), ack + ", " + ok},
		{"the last one empty", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), fragment(1, dcerpc.LastFrag)), ack + ", " + ok},
		{"co_cancel within a call", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), bare(dcerpc.PTypeCoCancel, 1), fragment(1, dcerpc.LastFrag|dcerpc.PendingCancel, 2)), ack + ", " + ok},
		{"orphaned within a call", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), bare(dcerpc.PTypeOrphaned, 1), inqObject(le)), ack + ", " + ok},
		{"orphaned, but it goes on", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), bare(dcerpc.PTypeOrphaned, 1), fragment(1, dcerpc.LastFrag, 2)), ack + ", " + protocol},
		{"the same call twice", join(goodBind, inqObject(le), inqObject(le)), ack + ", " + ok + ", " + ok},
		{"the same call twice at a time", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), fragment(1, dcerpc.FirstFrag, 1)), ack + ", " + protocol},
		{"a whole call within the same call", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), inqObject(le)), ack + ", " + protocol},
		{"interleaved", join(goodBind, fragment(3, dcerpc.FirstFrag, 1), fragment(4, dcerpc.FirstFrag, 1), inqObject(callID(5)), fragment(3, 0, 2), fragment(4, dcerpc.LastFrag, 2), fragment(3, dcerpc.LastFrag, 3)),
			ack + ", response 5, response 4, response 3"},
		{"the end of a call that has not begun", join(goodBind, fragment(1, dcerpc.LastFrag, 1)), ack + ", " + protocol},
		{"an empty fragment", join(goodBind, fragment(1, dcerpc.FirstFrag)), ack + ", " + protocol},
		{"an empty fragment in the middle", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), fragment(1, 0)), ack + ", " + protocol},
		{"another operation in the middle", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), withFlags(callPDU(le, 0, 4, []byte{2}), dcerpc.LastFrag)), ack + ", " + protocol},
		{"another context in the middle", join(goodBind, fragment(1, dcerpc.FirstFrag, 1), withFlags(callPDU(le, 1, 5, []byte{2}), dcerpc.LastFrag)), ack + ", " + protocol},
		{"another byte order in the middle", join(goodBind, fragment(1, dcerpc.FirstFrag, 1),
			withFlags(callPDU(dcerpc.Header{Label: ndr.BigEndian, CallID: 1}, 0, 5, []byte{2}), dcerpc.LastFrag)), ack + ", " + protocol},

		{"maybe", join(goodBind, withFlags(inqObject(le), whole|dcerpc.Maybe)), ack},
		{"maybe, faulty", join(goodBind, withFlags(callPDU(le, 0, 3, nil), whole|dcerpc.Maybe), withFlags(callPDU(le, 9, 3, nil), whole|dcerpc.Maybe), inqObject(le)), ack + ", " + ok},
	} {
		m := newDCE(t, DCEConfig{})
		l := dceLine(t, m, tcpFar)
		if got := outcome(t, l.send(tt.stream), l.closed); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if broken := m.Counts().Broken; broken != uint64(btoi(l.closed)) {
			t.Errorf("%s: %d connections counted as broken", tt.name, broken)
		}
		if naks := m.Counts().Naks; naks != uint64(strings.Count(tt.want, "bind_nak")) {
			t.Errorf("%s: %d binds counted as refused", tt.name, naks)
		}
		l.end()
		checkNothingLeft(t, m)
	}
}

// TestNakVersions: a bind_nak says which versions of the protocol are spoken, where
// that is its reason (C706, section 12.6.3.1).
func TestNakVersions(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	for _, stream := range [][]byte{bindPDU(), withAuth(goodBind)} {
		pdu := dceLine(t, m, tcpFar).send(stream)
		h, err := dcerpc.ParseHeader(pdu)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dcerpc.ParseBindNak(h, pdu)
		want := dcerpc.BindNak{Reason: dcerpc.RejectAuthenticationTypeNotRecognized}
		if bytes.Equal(stream, bindPDU()) {
			want = dcerpc.BindNak{Reason: dcerpc.RejectProtocolVersionNotSupported, Versions: []dcerpc.ProtocolVersion{{Major: 5, Minor: 0}, {Major: 5, Minor: 1}}}
		}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}

// TestMaybeIsDone: a call without an answer is a call.
func TestMaybeIsDone(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	l := dceLine(t, m, asUser)
	stub := epm.Insert{Entries: ports(2001, 1)}.Append(nil, ndr.LittleEndian)
	l.send(join(goodBind, withFlags(callPDU(le, 0, uint16(epm.OpInsert), stub), whole|dcerpc.Maybe)))
	checkRows(t, "after a maybe call", m, "tcp 0.0.0.0:2001 of 1000")
	far := dceLine(t, m, tcpFar)
	far.send(join(goodBind, withFlags(callPDU(le, 0, uint16(epm.OpInsert), stub), whole|dcerpc.Maybe)))
	if n := m.Counts().Denied; n != 1 {
		t.Errorf("%d calls counted as denied, want 1", n)
	}
}

// TestManyContexts: as many as there can be, and one more.
func TestManyContexts(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	l := dceLine(t, m, tcpFar)
	many := func(from, n int) (contexts []dcerpc.Context) {
		for i := range n {
			contexts = append(contexts, ctx(uint16(from+i), epm.Interface, dcerpc.NDR))
		}
		return contexts
	}
	repeat := func(n int) string { return strings.Repeat(" acceptance:0", n) }
	if got, want := outcome(t, l.send(bindPDU(many(1000, 255)...)), l.closed), "bind_ack 1"+repeat(255); got != want {
		t.Errorf("255 contexts: %s", got)
	}
	if got, want := outcome(t, l.send(alterPDU(many(1254, 3)...)), l.closed), "alter_context_resp 1"+repeat(2)+" provider_rejection:3"; got != want {
		t.Errorf("one again, one more, and one too many: %s, want %s", got, want)
	}
	if got, want := outcome(t, l.send(alterPDU(ctx(1000, epm.Management, dcerpc.NDR))), l.closed), "alter_context_resp 1 acceptance:0"; got != want {
		t.Errorf("another interface for one: %s, want %s", got, want)
	}
	for id, want := range map[uint16]string{1001: "response 1", 1255: "response 1", 1256: "fault 1 nca_s_unk_if", 1000: "fault 1 nca_s_op_rng_error"} {
		if got := outcome(t, l.send(callPDU(le, id, 5, nil)), l.closed); got != want {
			t.Errorf("context %d: %s, want %s", id, got, want)
		}
	}
}

// TestCallLimits: what one connection can have under way.
func TestCallLimits(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	l := dceLine(t, m, tcpFar)
	l.send(goodBind)
	for id := range uint32(dcerpc.MaxCalls) {
		if got := outcome(t, l.send(fragment(100+id, dcerpc.FirstFrag, 1)), l.closed); got != "" {
			t.Fatalf("call %d: %s", id, got)
		}
	}
	if got, want := outcome(t, l.send(fragment(1, dcerpc.FirstFrag, 1)), l.closed), "fault 1 nca_s_server_too_busy, closed"; got != want {
		t.Errorf("a call too many: %s, want %s", got, want)
	}
	l = dceLine(t, m, tcpFar)
	l.send(goodBind)
	part := make([]byte, 60_000)
	for sent := 0; ; sent += len(part) {
		pdu := fragmentOf(part)
		if sent > 0 {
			pdu = withFlags(pdu, 0)
		}
		got := outcome(t, l.send(pdu), l.closed)
		if got == "" && sent <= dcerpc.MaxHeld-len(part) {
			continue
		}
		if want := "fault 1 nca_s_server_too_busy, closed"; got != want || sent <= dcerpc.MaxHeld-len(part) {
			t.Errorf("after %d bytes: %s, want %s", sent, got, want)
		}
		break
	}
}

// fragmentOf is the first fragment of call 1, of any size.
func fragmentOf(stub []byte) []byte {
	return withFlags(dcerpc.AppendRequest(nil, le, dcerpc.Request{Opnum: uint16(epm.OpInqObject), Stub: stub}, dcerpc.MaxFrag), dcerpc.FirstFrag)
}

// TestLabels: an answer is in the byte order of the PDU that it answers, and else
// as everybody writes; its minor version is the client's.
func TestLabels(t *testing.T) {
	for _, tt := range []struct{ label, want ndr.Label }{
		{ndr.LittleEndian, ndr.LittleEndian}, {ndr.BigEndian, ndr.BigEndian},
		{ndr.Label{0x10, 2, 1, 1}, ndr.LittleEndian}, {ndr.Label{0, 3, 0, 0}, ndr.BigEndian},
	} {
		for minor := range uint8(2) {
			m := newDCE(t, DCEConfig{})
			h := dcerpc.Header{MinorVersion: minor, Label: tt.label, CallID: 0x01020304}
			var stream []byte
			stream = dcerpc.AppendBind(stream, h, dcerpc.Bind{Contexts: []dcerpc.Context{ctx(0, epm.Interface, dcerpc.NDR)}})
			stream = append(stream, callPDU(h, 0, uint16(epm.OpInqObject), nil)...)
			stream = append(stream, callPDU(h, 0, 99, nil)...)
			stream = dcerpc.AppendAlterContext(stream, h, dcerpc.Bind{Contexts: []dcerpc.Context{ctx(1, epm.Interface, dcerpc.NDR)}})
			stream = dcerpc.AppendBind(stream, h, dcerpc.Bind{})
			pdus := split(t, dceLine(t, m, tcpFar).send(stream))
			types := []dcerpc.PType{dcerpc.PTypeBindAck, dcerpc.PTypeResponse, dcerpc.PTypeFault, dcerpc.PTypeAlterContextResp, dcerpc.PTypeBindNak}
			if len(pdus) != len(types) {
				t.Fatalf("%d answers, want %d", len(pdus), len(types))
			}
			for i, pdu := range pdus {
				got, err := dcerpc.ParseHeader(pdu)
				if err != nil || got.PType != types[i] || got.Label != tt.want || got.MinorVersion != minor || got.CallID != h.CallID {
					t.Errorf("to %x 5.%d: %+v, %v, want a %s with label %x", tt.label, minor, got, err, types[i], tt.want)
				}
			}
		}
	}
	// The session does not rely on the framing: what has no header ends it.
	for _, pdu := range [][]byte{nil, {5}, {4, 0, 0, 0, 0x10, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0}, {5, 0, 0, 0, 0x11, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0}} {
		m := newDCE(t, DCEConfig{})
		l := dceLine(t, m, tcpFar)
		l.call.Message = pdu
		if r := l.session.Answer(l.call, []byte{1}); r.Head != nil || !r.Close {
			t.Errorf("%x: %+v, want the end", pdu, r)
		}
	}
}

// TestManagement: what every server tells about itself (C706, appendix Q).
func TestManagement(t *testing.T) {
	for name, label := range labels {
		m := newDCE(t, DCEConfig{})
		c := newClient(t, dceLine(t, m, tcpFar).send, label, 0)
		ask := func(op epm.MgmtOp, stub []byte) []byte {
			t.Helper()
			results, fault := c.request(dcerpc.Request{ContextID: mgmtContext, Opnum: uint16(op), Stub: stub})
			if fault != 0 {
				t.Fatalf("%s, %s: %v", name, op, fault)
			}
			return results
		}
		if got, err := epm.ParseInqIfIDsReply(ask(epm.MgmtInqIfIDs, nil), label); err != nil || !slices.Equal(got.Interfaces, []dcerpc.Syntax{epm.Interface, epm.Management}) {
			t.Errorf("%s: interfaces %+v, %v", name, got, err)
		}
		// Before this there were a bind and a call: two answers, and a call and a PDU that are counted already.
		if got, err := epm.ParseInqStatsReply(ask(epm.MgmtInqStats, epm.InqStats{Count: 4}.Append(nil, label)), label); err != nil || !slices.Equal(got.Statistics, []uint32{2, 0, 3, 2}) {
			t.Errorf("%s: statistics %+v, %v", name, got, err)
		}
		for count, want := range map[uint32]int{0: 0, 1: 1, 1 << 31: 4} {
			if got, err := epm.ParseInqStatsReply(ask(epm.MgmtInqStats, epm.InqStats{Count: count}.Append(nil, label)), label); err != nil || len(got.Statistics) != want {
				t.Errorf("%s: %d statistics: %+v, %v", name, count, got, err)
			}
		}
		if got, err := epm.ParseIsServerListeningReply(ask(epm.MgmtIsServerListening, nil), label); err != nil || got != (epm.IsServerListeningReply{Listening: true}) {
			t.Errorf("%s: listening %+v, %v", name, got, err)
		}
		if got, err := epm.ParseStatus(ask(epm.MgmtStopServerListening, nil), label); err != nil || got != epm.StatusMgmtDisallowed {
			t.Errorf("%s: stop: %v, %v", name, got, err)
		}
		if got, err := epm.ParseInqPrincNameReply(ask(epm.MgmtInqPrincName, epm.InqPrincName{AuthnProtocol: 10, Size: 512}.Append(nil, label)), label); err != nil || got != (epm.InqPrincNameReply{Size: 512, Status: epm.StatusNoAuth}) {
			t.Errorf("%s: name %+v, %v", name, got, err)
		}
		for _, op := range []epm.MgmtOp{epm.MgmtInqStats, epm.MgmtInqPrincName} {
			if _, fault := c.request(dcerpc.Request{ContextID: mgmtContext, Opnum: uint16(op)}); fault != dcerpc.StatusBadStubData {
				t.Errorf("%s: %s without arguments: %v", name, op, fault)
			}
		}
		object := c.must(epm.OpInqObject, epm.LookupHandleFree{})
		got, err := epm.ParseInqObjectReply(object, label)
		if again := c.must(epm.OpInqObject, epm.LookupHandleFree{}); err != nil || got.Object.IsNil() || got.Status != 0 || !bytes.Equal(again, object) {
			t.Errorf("%s: object %+v, %v, and then %x", name, got, err, again)
		}
	}
}

// TestCounts: what happened is counted once, as what it was.
func TestCounts(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	root, far := client(t, m, asRoot), client(t, m, tcpFar)
	root.insert(at(2001), at(2002), at(2003))
	far.find(mapA(ndr.Handle{}, 1))
	h := far.lookup(epm.Lookup{MaxEntries: 2}).Handle
	far.lookup(epm.Lookup{MaxEntries: 2, Handle: h}) // found, though it says that there is no more
	far.find(epm.Map{MaxTowers: 1})
	far.lookup(epm.Lookup{Inquiry: 9, MaxEntries: 1})
	far.do(epm.OpInsert, epm.Insert{})
	far.do(99, epm.Insert{})
	far.do(epm.OpMap, epm.LookupHandleFree{})
	dceLine(t, m, tcpFar).send(withAuth(goodBind))
	dceLine(t, m, tcpFar).send(inqObject(le))
	got, want := m.Counts(), DCECounts{Calls: 9, Found: 3, NotFound: 1, Denied: 1, Faults: 3, Naks: 1, Broken: 1}
	if got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}
