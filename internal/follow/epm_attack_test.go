package follow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

var (
	samr     = dcerpc.Syntax{UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1}
	winreg   = dcerpc.Syntax{UUID: ndr.MustParseUUID("338cd001-2244-31f1-aaaa-900038001003"), Major: 1}
	dcom     = dcerpc.Syntax{UUID: ndr.MustParseUUID("000001a0-0000-0000-c000-000000000046")}
	epmEnds  = ends("192.0.2.20:40000", "10.0.0.5:135")
	ownAddr  = epmEnds[Server].Addr()
	foreign  = netip.MustParseAddr("10.0.0.6")
	samrOnly = Policy{Ends: epmEnds, Name: uuidName, Allow: only(endpoint.FromSyntax(samr))}
)

// A dialect is how PDUs of a test are written.
type dialect struct {
	label ndr.Label
	level dcerpc.AuthLevel // of requests and responses; 0: none
}

var plain = dialect{label: ndr.LittleEndian}

func (d dialect) header(callID uint32) dcerpc.Header {
	return dcerpc.Header{Label: d.label, CallID: callID}
}

// trailed appends an auth trailer to a PDU where the dialect has a level. The token is not one that anybody checks.
func (d dialect) trailed(pdu []byte) []byte {
	if d.level == 0 {
		return pdu
	}
	pad := -len(pdu) & 3
	pdu = append(pdu, make([]byte, pad)...)
	pdu = append(pdu, byte(dcerpc.AuthNTLM), byte(d.level), byte(pad), 0, 1, 0, 0, 0)
	pdu = append(pdu, "a token, 16 byte"...)
	var order binary.ByteOrder = binary.LittleEndian
	if d.label.IsBigEndian() {
		order = binary.BigEndian
	}
	order.PutUint16(pdu[8:], uint16(len(pdu)))
	order.PutUint16(pdu[10:], 16)
	return pdu
}

func (d dialect) bind(callID uint32, contexts ...dcerpc.Context) said {
	m := dcerpc.Bind{MaxXmitFrag: 5840, MaxRecvFrag: 5840, Contexts: contexts}
	return said{Client, dcerpc.AppendBind(nil, d.header(callID), m)}
}

func (d dialect) alter(callID uint32, contexts ...dcerpc.Context) said {
	m := dcerpc.Bind{MaxXmitFrag: 5840, MaxRecvFrag: 5840, Contexts: contexts}
	return said{Client, dcerpc.AppendAlterContext(nil, d.header(callID), m)}
}

func (d dialect) ack(callID uint32, chosen ...dcerpc.Syntax) said {
	return said{Server, dcerpc.AppendBindAck(nil, d.header(callID), d.results(chosen))}
}

func (d dialect) alterAck(callID uint32, chosen ...dcerpc.Syntax) said {
	return said{Server, dcerpc.AppendAlterContextResp(nil, d.header(callID), d.results(chosen))}
}

// results accepts each context with a transfer syntax; the nil syntax rejects it.
func (d dialect) results(chosen []dcerpc.Syntax) dcerpc.BindAck {
	m := dcerpc.BindAck{MaxXmitFrag: 5840, MaxRecvFrag: 5840, AssocGroup: 1, SecondaryAddr: "135"}
	for _, s := range chosen {
		r := dcerpc.Result{Transfer: s}
		if s == (dcerpc.Syntax{}) {
			r = dcerpc.Result{Result: dcerpc.ProviderRejection, Reason: dcerpc.TransferSyntaxesNotSupported}
		}
		m.Results = append(m.Results, r)
	}
	return m
}

func context(id uint16, abstract dcerpc.Syntax, transfers ...dcerpc.Syntax) dcerpc.Context {
	if len(transfers) == 0 {
		transfers = []dcerpc.Syntax{dcerpc.NDR}
	}
	return dcerpc.Context{ID: id, Abstract: abstract, Transfers: transfers}
}

func (d dialect) request(callID uint32, op epm.Op, stub []byte) said {
	return d.requestIn(0, callID, uint16(op), stub)
}

func (d dialect) requestIn(context uint16, callID uint32, op uint16, stub []byte) said {
	return said{Client, d.trailed(dcerpc.AppendRequest(nil, d.header(callID), dcerpc.Request{ContextID: context, Opnum: op, Stub: stub}, 0xfff0))}
}

func (d dialect) response(callID uint32, stub []byte) said {
	return said{Server, d.trailed(dcerpc.AppendResponse(nil, d.header(callID), dcerpc.Response{Stub: stub}, 0xfff0))}
}

func (d dialect) fault(callID uint32) said {
	return said{Server, dcerpc.AppendFault(nil, d.header(callID), dcerpc.Fault{Status: dcerpc.StatusCantPerformOp})}
}

// at returns a tower.
func at(i dcerpc.Syntax, p epm.ProtSeq, addr netip.Addr, port uint16) epm.Tower {
	return epm.Tower{Interface: i, Transfer: dcerpc.NDR, ProtSeq: p, Addr: addr, Port: port}
}

func (d dialect) ask(callID uint32, i dcerpc.Syntax) said {
	return d.request(callID, epm.OpMap, epm.Map{Tower: at(i, epm.TCP, netip.Addr{}, 0), MaxTowers: 4}.Append(nil, d.label))
}

func (d dialect) tell(callID uint32, towers ...epm.Tower) said {
	return d.response(callID, epm.MapReply{Max: 4, Towers: towers}.Append(nil, d.label))
}

func (d dialect) list(callID uint32) said {
	return d.request(callID, epm.OpLookup, epm.Lookup{MaxEntries: 500, VersOption: epm.VersAll}.Append(nil, d.label))
}

func (d dialect) listed(callID uint32, handle ndr.Handle, towers ...epm.Tower) said {
	k := epm.LookupReply{Handle: handle, Max: 500}
	for _, t := range towers {
		k.Entries = append(k.Entries, epm.Entry{Tower: t, Annotation: "a server"})
	}
	return d.response(callID, k.Append(nil, d.label))
}

// open begins a conversation in which the endpoint mapper is context 0 and DCOM is 1.
func (d dialect) open(more ...said) []said {
	return append([]said{d.bind(1, context(0, epm.Interface), context(1, dcom)), d.ack(1, dcerpc.NDR, dcerpc.NDR)}, more...)
}

// of returns a PDU with other flags.
func of(s said, flags dcerpc.Flags) said {
	s.data = bytes.Clone(s.data)
	s.data[3] = byte(flags)
	return s
}

// bare returns a PDU that is a header only.
func bare(by Side, t dcerpc.PType, callID uint32) said {
	h := dcerpc.Header{Version: dcerpc.Version, PType: t, Flags: dcerpc.FirstFrag | dcerpc.LastFrag, Label: ndr.LittleEndian, FragLength: dcerpc.HeaderSize, CallID: callID}
	return said{by, h.Append(nil)}
}

// cut returns a request or response in fragments whose stubs have n bytes.
func cut(s said, n int) []said {
	const header = dcerpc.HeaderSize + 8
	var all []said
	for stub := s.data[header:]; len(stub) > 0; {
		n := min(n, len(stub))
		pdu := append(bytes.Clone(s.data[:header]), stub[:n]...)
		stub = stub[n:]
		pdu[3] = 0
		if len(all) == 0 {
			pdu[3] |= byte(dcerpc.FirstFrag)
		}
		if len(stub) == 0 {
			pdu[3] |= byte(dcerpc.LastFrag)
		}
		binary.LittleEndian.PutUint16(pdu[8:], uint16(len(pdu)))
		all = append(all, said{s.by, pdu})
	}
	return all
}

func repeat(s said, n int) []said {
	return slices.Repeat([]said{s}, n)
}

const samrPromise = "client port 49664/tcp: 12345778 v1.0"

var samrTold = at(samr, epm.TCP, ownAddr, 49664)

// What is forged, late, foreign or malformed, and what is not asked at all.
func TestEPMAttacks(t *testing.T) {
	all := Policy{Ends: epmEnds, Name: uuidName}
	noHigh := samrOnly
	noHigh.Port = func(_ uint8, port uint16) bool { return port == 49664 }
	strict := samrOnly
	strict.RefuseUnreadable = true
	sign, seal, big := plain, plain, plain
	sign.level, seal.level, big.label = dcerpc.LevelIntegrity, dcerpc.LevelPrivacy, ndr.BigEndian
	connect := plain
	connect.level = dcerpc.LevelConnect
	handle := ndr.Handle{UUID: samr.UUID}
	const notRegistered = "response (0 entries, ept_s_not_registered)" // an empty answer of ept_map is written alike
	const denied, badStub = "fault (rpc_s_access_denied)", "fault (rpc_x_bad_stub_data)"
	for _, tt := range []struct {
		name     string
		policy   Policy
		talk     []said
		promises []string
		rules    []string
		client   []string // that it hears after the bind_ack
		server   []string // that it hears after the bind
	}{
		{"nothing wrong", samrOnly, plain.open(plain.ask(2, samr), plain.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"nothing wrong, in the other byte order", samrOnly, big.open(big.ask(2, samr), big.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"nothing wrong, signed", samrOnly, plain.open(sign.ask(2, samr), sign.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"nothing wrong, who connects is known", samrOnly, plain.open(connect.ask(2, samr), connect.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"nothing wrong, in fragments", samrOnly, plain.open(append(cut(plain.ask(2, samr), 16), cut(plain.tell(2, samrTold), 8)...)...),
			[]string{samrPromise}, nil, append(slices.Repeat([]string{"response"}, 15), "response (1 towers, ok)"), slices.Repeat([]string{"request"}, 8)},
		{"nothing wrong, a whole call without flags", samrOnly, plain.open(of(plain.ask(2, samr), 0), plain.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"nothing registered", samrOnly, plain.open(plain.ask(2, samr), plain.response(2, epm.MapReply{Max: 4, Status: epm.StatusNotRegistered}.Append(nil, plain.label))),
			nil, nil, []string{notRegistered}, []string{"request"}},

		{"forged address: the promise is for the server", samrOnly, plain.open(plain.ask(2, samr), plain.tell(2, at(samr, epm.TCP, foreign, 49664))),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"forged address, signed", samrOnly, plain.open(sign.ask(2, samr), sign.tell(2, at(samr, epm.TCP, foreign, 49664))),
			nil, []string{"address"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"no address, signed", samrOnly, plain.open(sign.ask(2, samr), sign.tell(2, at(samr, epm.TCP, netip.Addr{}, 49664))),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"tower of another interface that is allowed", all, plain.open(plain.ask(2, samr), plain.tell(2, at(winreg, epm.TCP, ownAddr, 22))),
			nil, []string{"interface"}, []string{notRegistered}, []string{"request"}},
		{"tower of another version that is allowed", all, plain.open(plain.ask(2, samr), plain.tell(2, at(dcerpc.Syntax{UUID: samr.UUID, Major: 2}, epm.TCP, ownAddr, 22))),
			nil, []string{"interface"}, []string{notRegistered}, []string{"request"}},
		{"tower of another protocol sequence", all, plain.open(plain.ask(2, samr), plain.tell(2, at(samr, epm.UDP, ownAddr, 161))),
			nil, []string{"interface"}, []string{notRegistered}, []string{"request"}},
		{"one tower among others", samrOnly, plain.open(plain.ask(2, samr), plain.tell(2, at(winreg, epm.TCP, ownAddr, 22), samrTold, at(samr, epm.UDP, ownAddr, 161))),
			[]string{samrPromise}, []string{"interface"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"one tower among others, signed", samrOnly, plain.open(sign.ask(2, samr), sign.tell(2, at(winreg, epm.TCP, ownAddr, 22), samrTold)),
			nil, []string{"interface"}, []string{denied}, []string{"request"}},
		{"port that is not allowed", noHigh, plain.open(plain.ask(2, samr), plain.tell(2, samrTold, at(samr, epm.TCP, ownAddr, 3389))),
			[]string{samrPromise}, []string{"port"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"port that is not allowed, signed, of a forged address", noHigh, plain.open(sign.ask(2, samr), sign.tell(2, at(samr, epm.TCP, foreign, 3389))),
			nil, []string{"port"}, []string{denied}, []string{"request"}},
		{"tower without a port", samrOnly, plain.open(plain.ask(2, samr), plain.tell(2, at(samr, epm.TCP, ownAddr, 0))),
			nil, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"the mapper itself, for which nothing need be open", samrOnly, plain.open(plain.ask(2, epm.Interface), plain.tell(2, at(epm.Interface, epm.TCP, ownAddr, 135))),
			nil, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"the mapper itself, at another port", samrOnly, plain.open(plain.ask(2, epm.Interface), plain.tell(2, at(epm.Interface, epm.TCP, ownAddr, 22))),
			nil, []string{"interface"}, []string{notRegistered}, []string{"request"}},

		{"answer that nobody asked for", samrOnly, plain.open(plain.tell(2, samrTold)),
			nil, []string{"state"}, nil, nil},
		{"another call ID", samrOnly, plain.open(plain.ask(2, samr), plain.tell(3, samrTold)),
			nil, []string{"state"}, nil, []string{"request"}},
		{"two answers", samrOnly, plain.open(plain.ask(2, samr), plain.tell(2, samrTold), plain.tell(2, at(samr, epm.TCP, ownAddr, 22))),
			[]string{samrPromise}, []string{"state"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"an answer before all was asked", samrOnly, plain.open(cut(plain.ask(2, samr), 64)[0], plain.tell(2, samrTold)),
			nil, []string{"state"}, nil, nil},
		{"an answer after a fault", samrOnly, plain.open(plain.ask(2, samr), plain.fault(2), plain.tell(2, samrTold)),
			nil, []string{"state"}, []string{"fault (ept_s_cant_perform_op)"}, []string{"request"}},
		{"a fault that nobody asked for", samrOnly, plain.open(plain.fault(2)),
			nil, []string{"state"}, nil, nil},
		{"an answer after the client gave up", samrOnly, plain.open(plain.ask(2, samr), bare(Client, dcerpc.PTypeOrphaned, 2), plain.tell(2, samrTold)),
			nil, []string{"state"}, nil, []string{"request", "orphaned"}},
		{"the client gave up while it asked", samrOnly, plain.open(cut(plain.ask(2, samr), 64)[0], bare(Client, dcerpc.PTypeOrphaned, 2), plain.ask(2, samr)),
			nil, nil, nil, []string{"request"}},
		{"a cancel follows the call, and the answer may still come", samrOnly, plain.open(plain.ask(2, samr), bare(Client, dcerpc.PTypeCoCancel, 2), plain.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request", "co_cancel"}},
		{"a cancel within a call", samrOnly, plain.open(cut(plain.ask(2, samr), 96)[0], bare(Client, dcerpc.PTypeCoCancel, 2), cut(plain.ask(2, samr), 96)[1]),
			nil, nil, nil, []string{"request", "co_cancel", "request"}},
		{"a cancel of nothing", samrOnly, plain.open(bare(Client, dcerpc.PTypeCoCancel, 2)),
			nil, []string{"state"}, nil, nil},
		{"a call that wants no answer", samrOnly, plain.open(of(plain.ask(2, samr), dcerpc.FirstFrag|dcerpc.LastFrag|dcerpc.Maybe), plain.tell(2, samrTold)),
			nil, []string{"state"}, nil, []string{"request"}},

		{"interface that is not allowed, which the server is not asked for", samrOnly, plain.open(plain.ask(2, winreg), plain.tell(2, at(winreg, epm.TCP, ownAddr, 49664))),
			nil, []string{"interface", "state"}, []string{notRegistered}, nil},
		{"interface that is not allowed, in the other byte order", samrOnly, big.open(big.ask(2, winreg)),
			nil, []string{"interface"}, []string{notRegistered}, nil},
		{"interface that is not allowed, signed", samrOnly, plain.open(sign.ask(2, winreg)),
			nil, []string{"interface"}, []string{denied}, nil},
		{"interface that is not allowed, in a list", samrOnly, plain.open(plain.list(2), plain.listed(2, ndr.Handle{}, at(winreg, epm.TCP, ownAddr, 22), samrTold, at(winreg, epm.NP, netip.Addr{}, 0))),
			[]string{samrPromise}, []string{"interface"}, []string{"response (1 entries, ok)"}, []string{"request"}},
		{"a list in which all is allowed and forged", samrOnly, plain.open(plain.list(2), plain.listed(2, handle, at(samr, epm.HTTP, foreign, 49664), at(samr, epm.UDP, foreign, 49664), at(samr, epm.NP, netip.Addr{}, 0))),
			[]string{samrPromise, "client port 49664/udp: 12345778 v1.0"}, nil, []string{"response (3 entries, ok)"}, []string{"request"}},
		{"interface that is not allowed, in a signed list", samrOnly, plain.open(sign.list(2), sign.listed(2, ndr.Handle{}, at(winreg, epm.TCP, ownAddr, 22), samrTold)),
			nil, []string{"interface"}, []string{denied}, []string{"request"}},
		{"a page of which nothing may be told: the next one is asked for", samrOnly, plain.open(plain.list(2), plain.listed(2, handle, at(winreg, epm.TCP, ownAddr, 22)), plain.listed(2, handle, samrTold)),
			[]string{samrPromise}, []string{"interface"}, []string{"response (1 entries, ok)"}, []string{"request", "request"}},
		{"a page of ept_map of which nothing may be told", samrOnly, plain.open(plain.ask(2, samr), plain.response(2, epm.MapReply{Handle: handle, Max: 4, Towers: []epm.Tower{at(winreg, epm.TCP, ownAddr, 22)}}.Append(nil, plain.label)), plain.tell(2, samrTold)),
			[]string{samrPromise}, []string{"interface"}, []string{"response (1 towers, ok)"}, []string{"request", "request"}},
		{"a page in fragments of which nothing may be told, and a fault", samrOnly, plain.open(append(append([]said{plain.list(2)}, cut(plain.listed(2, handle, at(winreg, epm.TCP, ownAddr, 22)), 64)...), plain.fault(2))...),
			nil, []string{"interface"}, []string{"fault (ept_s_cant_perform_op)"}, []string{"request", "request"}},
		{"pages that have no end", samrOnly, plain.open(append([]said{plain.list(2)}, repeat(plain.listed(2, handle, at(winreg, epm.TCP, ownAddr, 22)), maxTurns+2)...)...),
			nil, append(slices.Repeat([]string{"interface"}, maxTurns+1), "state"), []string{"response (0 entries, ok)"}, slices.Repeat([]string{"request"}, maxTurns+1)},
		{"an empty page, which the server means", samrOnly, plain.open(plain.list(2), plain.listed(2, handle)),
			nil, nil, []string{"response (0 entries, ok)"}, []string{"request"}},
		{"the last page, of which nothing may be told", samrOnly, plain.open(plain.list(2), plain.listed(2, ndr.Handle{}, at(winreg, epm.TCP, ownAddr, 22))),
			nil, []string{"interface"}, []string{notRegistered}, []string{"request"}},

		{"arguments that are none", samrOnly, plain.open(plain.request(2, epm.OpMap, []byte{1, 2, 3})),
			nil, []string{"syntax"}, []string{badStub}, nil},
		{"results that are none", samrOnly, plain.open(plain.ask(2, samr), plain.response(2, []byte{1, 2, 3})),
			nil, []string{"syntax"}, []string{badStub}, []string{"request"}},
		{"results of a list that are none", samrOnly, plain.open(plain.list(2), plain.response(2, []byte{1, 2, 3})),
			nil, []string{"syntax"}, []string{badStub}, []string{"request"}},
		{"a list with another protocol sequence, written anew", samrOnly, plain.open(plain.list(2), plain.listed(2, ndr.Handle{}, at(samr, epm.TCP, foreign, 49664), at(samr, 0, netip.Addr{}, 0))),
			[]string{samrPromise}, nil, []string{"response (1 entries, ok)"}, []string{"request"}},
		{"a list with another protocol sequence, passed on", samrOnly, plain.open(plain.list(2), plain.listed(2, ndr.Handle{}, samrTold, at(samr, 0, netip.Addr{}, 0))),
			[]string{samrPromise}, nil, []string{"response (2 entries, ok)"}, []string{"request"}},
		{"another protocol sequence, written anew", samrOnly, plain.open(plain.request(2, epm.OpMap, epm.Map{Tower: at(samr, 0, netip.Addr{}, 0), MaxTowers: 4}.Append(nil, plain.label)), plain.tell(2, at(samr, 0, netip.Addr{}, 0), samrTold)),
			nil, []string{"interface"}, []string{notRegistered}, []string{"request"}},
		{"registration", all, plain.open(plain.request(2, epm.OpInsert, epm.Insert{}.Append(nil, plain.label))),
			nil, []string{"procedure"}, []string{denied}, nil},
		{"its end", all, plain.open(plain.request(2, epm.OpDelete, epm.Delete{}.Append(nil, plain.label))),
			nil, []string{"procedure"}, []string{denied}, nil},
		{"its end by another word", all, plain.open(plain.request(2, epm.OpMgmtDelete, epm.MgmtDelete{}.Append(nil, plain.label))),
			nil, []string{"procedure"}, []string{denied}, nil},
		{"registration in a context of another version of the mapper", all, plain.open(plain.alter(2, context(5, dcerpc.Syntax{UUID: epm.Interface.UUID, Major: 4})), plain.alterAck(2, dcerpc.NDR), plain.requestIn(5, 3, uint16(epm.OpInsert), nil)),
			nil, []string{"procedure"}, []string{"alter_context_resp", denied}, []string{"alter_context"}},
		{"registration, and then a lookup with its call ID", samrOnly, plain.open(plain.request(2, epm.OpInsert, nil), plain.ask(2, samr), plain.tell(2, samrTold)),
			[]string{samrPromise}, []string{"procedure"}, []string{denied, "response (1 towers, ok)"}, []string{"request"}},
		{"interface that is not allowed, and then one that is, with its call ID", samrOnly, plain.open(plain.ask(2, winreg), plain.ask(2, samr), plain.tell(2, samrTold)),
			[]string{samrPromise}, []string{"interface"}, []string{notRegistered, "response (1 towers, ok)"}, []string{"request"}},
		{"an operation that there is none of", all, plain.open(plain.request(2, 7, nil)),
			nil, []string{"procedure"}, []string{"fault (nca_s_op_rng_error)"}, nil},
		{"DCOM's activation, unread, with an answer that looks like the mapper's", samrOnly, plain.open(plain.requestIn(1, 2, 3, plain.ask(2, samr).data[24:]), plain.tell(2, samrTold)),
			nil, nil, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"two answers to a call that is not read", samrOnly, plain.open(plain.requestIn(1, 2, 4, []byte("activate")), plain.response(2, []byte("done")), plain.response(2, []byte("again"))),
			nil, []string{"state"}, []string{"response"}, []string{"request"}},

		{"encrypted", samrOnly, plain.open(seal.ask(2, samr), seal.tell(2, samrTold)),
			nil, []string{"unreadable"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"encrypted, by the policy", strict, plain.open(seal.ask(2, samr), seal.tell(2, samrTold)),
			nil, []string{"unreadable, end"}, nil, nil},
		{"encrypted question and open answer", samrOnly, plain.open(seal.ask(2, samr), plain.tell(2, samrTold)),
			nil, []string{"unreadable"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"open question and encrypted answer", samrOnly, plain.open(plain.ask(2, samr), seal.tell(2, samrTold)),
			nil, []string{"unreadable"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"open question and signed answer of a forged address", samrOnly, plain.open(plain.ask(2, samr), sign.tell(2, at(samr, epm.TCP, foreign, 49664))),
			nil, []string{"address"}, []string{"response (1 towers, ok)"}, []string{"request"}},
		{"a page of which nothing may be told, and an encrypted one", samrOnly, plain.open(plain.list(2), plain.listed(2, handle, at(winreg, epm.TCP, ownAddr, 22)), seal.listed(2, ndr.Handle{}, samrTold)),
			nil, []string{"interface", "unreadable"}, []string{"response (1 entries, ok)"}, []string{"request", "request"}},
		{"open question and encrypted answer, by the policy", strict, plain.open(plain.ask(2, samr), seal.tell(2, samrTold)),
			nil, []string{"unreadable, end"}, nil, []string{"request"}},

		{"call ID of a call that has no answer", samrOnly, plain.open(plain.ask(2, samr), plain.ask(2, winreg)),
			nil, []string{"state, end"}, nil, []string{"request"}},
		{"call ID of a call that has no answer, without flags", samrOnly, plain.open(plain.ask(2, samr), of(plain.ask(2, samr), 0)),
			nil, []string{"state, end"}, nil, []string{"request"}},
		{"context that was not accepted", samrOnly, plain.open(plain.requestIn(2, 2, 3, nil)),
			nil, []string{"state, end"}, nil, nil},
		{"the last fragment of nothing", samrOnly, plain.open(of(plain.ask(2, samr), dcerpc.LastFrag)),
			nil, []string{"state, end"}, nil, nil},
		{"the first fragment twice", samrOnly, plain.open(repeat(of(plain.ask(2, samr), dcerpc.FirstFrag), 2)...),
			nil, []string{"state, end"}, nil, nil},
		{"fragments in two contexts", samrOnly, plain.open(of(plain.ask(2, samr), dcerpc.FirstFrag), of(plain.requestIn(1, 2, 3, []byte("x")), dcerpc.LastFrag)),
			nil, []string{"state, end"}, nil, nil},
		{"fragments of two operations", samrOnly, plain.open(of(plain.ask(2, samr), dcerpc.FirstFrag), of(plain.list(2), dcerpc.LastFrag)),
			nil, []string{"state, end"}, nil, nil},
		{"fragments of two levels", samrOnly, plain.open(of(plain.ask(2, samr), dcerpc.FirstFrag), of(seal.ask(2, samr), dcerpc.LastFrag)),
			nil, []string{"state, end"}, nil, nil},
		{"an answer's fragments of two levels", samrOnly, plain.open(plain.ask(2, samr), of(plain.tell(2, samrTold), dcerpc.FirstFrag), of(seal.tell(2, samrTold), dcerpc.LastFrag)),
			nil, []string{"state, end"}, nil, []string{"request"}},
		{"a request that has no end", samrOnly, plain.open(append([]said{of(plain.ask(2, samr), dcerpc.FirstFrag)}, repeat(of(plain.ask(2, samr), 0), 200)...)...),
			nil, []string{"limit, end"}, nil, nil},
		{"a request whose cancels have no end", samrOnly, plain.open(append([]said{of(plain.ask(2, samr), dcerpc.FirstFrag)}, repeat(bare(Client, dcerpc.PTypeCoCancel, 2), 2000)...)...),
			nil, []string{"limit, end"}, nil, nil},
		{"empty fragments that have no end", samrOnly, plain.open(append([]said{of(plain.ask(2, samr), dcerpc.FirstFrag)}, repeat(of(plain.request(2, epm.OpMap, nil), 0), 2)...)...),
			nil, []string{"state, end"}, nil, nil},
		{"an answer that has no end", samrOnly, plain.open(append([]said{plain.ask(2, samr), of(plain.tell(2, samrTold), dcerpc.FirstFrag)}, repeat(of(plain.response(2, make([]byte, 60000)), 0), maxDCEAnswers/60000+1)...)...),
			nil, []string{"limit, end"}, nil, []string{"request"}},
		{"the first fragment of an answer twice", samrOnly, plain.open(plain.ask(2, samr), of(plain.tell(2, samrTold), dcerpc.FirstFrag), of(plain.tell(2, samrTold), dcerpc.FirstFrag)),
			nil, []string{"state, end"}, nil, []string{"request"}},
		{"requests that have begun, too many of them", samrOnly, plain.open(func() (all []said) {
			for i := range uint32(dcerpc.MaxCalls + 1) {
				all = append(all, of(plain.ask(i+2, samr), dcerpc.FirstFrag))
			}
			return all
		}()...), nil, []string{"limit, end"}, nil, nil},
		{"calls that are never answered", samrOnly, plain.open(func() (all []said) {
			for i := range uint32(maxDCECalls + 1) {
				all = append(all, plain.requestIn(1, i+2, 4, nil))
			}
			return all
		}()...), nil, []string{"limit, end"}, nil, slices.Repeat([]string{"request"}, maxDCECalls)},

		{"a PDU of servers from the client", samrOnly, plain.open(said{Client, plain.tell(2, samrTold).data}),
			nil, []string{"state, end"}, nil, nil},
		{"a PDU of clients from the server", samrOnly, plain.open(said{Server, plain.ask(2, samr).data}),
			nil, []string{"state, end"}, nil, nil},
		{"a PDU of the connectionless protocol", samrOnly, plain.open(bare(Client, 4, 2)),
			nil, []string{"state, end"}, nil, nil},
		{"a trailer that does not fit", samrOnly, plain.open(func() said { s := sign.ask(2, samr); s.data[10] = 0xff; return s }()),
			nil, []string{"syntax, end"}, nil, nil},
		{"a trailer that does not fit, in a PDU that has nothing else", samrOnly, plain.open(func() said { s := bare(Client, dcerpc.PTypeAuth3, 2); s.data[10] = 9; return s }()),
			nil, []string{"syntax, end"}, nil, nil},
		{"the server shuts down", samrOnly, plain.open(bare(Server, dcerpc.PTypeShutdown, 0)),
			nil, nil, []string{"shutdown"}, nil},

		{"a request that cannot be read", samrOnly, plain.open(bare(Client, dcerpc.PTypeRequest, 2)),
			nil, []string{"syntax, end"}, nil, nil},
		{"a response that cannot be read", samrOnly, plain.open(plain.requestIn(1, 2, 4, nil), bare(Server, dcerpc.PTypeResponse, 2)),
			nil, []string{"syntax, end"}, nil, []string{"request"}},
		{"a fault that cannot be read", samrOnly, plain.open(plain.ask(2, samr), bare(Server, dcerpc.PTypeFault, 2)),
			nil, []string{"syntax, end"}, nil, []string{"request"}},
		{"an alter_context that cannot be read", samrOnly, plain.open(bare(Client, dcerpc.PTypeAlterContext, 2)),
			nil, []string{"syntax, end"}, nil, nil},
		{"an alter_context_resp that cannot be read", samrOnly, plain.open(plain.alter(2), bare(Server, dcerpc.PTypeAlterContextResp, 2)),
			nil, []string{"syntax, end"}, nil, []string{"alter_context"}},
		{"an alter_context_resp in fragments", samrOnly, plain.open(plain.alter(2, context(5, dcom)), of(plain.alterAck(2, dcerpc.NDR), dcerpc.FirstFrag)),
			nil, []string{"syntax, end"}, nil, []string{"alter_context"}},

		{"unread: the last fragment of nothing", samrOnly, plain.open(of(plain.requestIn(1, 2, 4, nil), dcerpc.LastFrag)),
			nil, []string{"state, end"}, nil, nil},
		{"unread: the first fragment twice", samrOnly, plain.open(repeat(of(plain.requestIn(1, 2, 4, nil), dcerpc.FirstFrag), 2)...),
			nil, []string{"state, end"}, nil, []string{"request"}},
		{"unread: a fragment in the mapper's context", samrOnly, plain.open(of(plain.requestIn(1, 2, 4, nil), dcerpc.FirstFrag), of(plain.ask(2, winreg), dcerpc.LastFrag)),
			nil, []string{"state, end"}, nil, []string{"request"}},
		{"unread: fragments in the middle and at the end", samrOnly, plain.open(of(plain.requestIn(1, 2, 4, nil), dcerpc.FirstFrag), of(plain.requestIn(1, 2, 4, nil), 0), of(plain.requestIn(1, 2, 4, nil), dcerpc.LastFrag),
			of(plain.response(2, []byte("a")), dcerpc.FirstFrag), of(plain.response(2, []byte("b")), 0), of(plain.response(2, nil), dcerpc.LastFrag), plain.response(2, nil)),
			nil, []string{"state"}, []string{"response", "response", "response"}, []string{"request", "request", "request"}},
		{"unread: an answer before all was asked", samrOnly, plain.open(of(plain.requestIn(1, 2, 4, nil), dcerpc.FirstFrag), plain.response(2, nil)),
			nil, []string{"state"}, nil, []string{"request"}},
		{"unread: a fault before all was asked, and then an answer", samrOnly, plain.open(of(plain.requestIn(1, 2, 4, nil), dcerpc.FirstFrag), plain.fault(2), of(plain.requestIn(1, 2, 4, nil), dcerpc.LastFrag), plain.response(2, nil)),
			nil, []string{"state"}, []string{"fault (ept_s_cant_perform_op)"}, []string{"request", "request"}},
		{"unread: a call that wants no answer", samrOnly, plain.open(of(plain.requestIn(1, 2, 4, nil), dcerpc.FirstFrag|dcerpc.LastFrag|dcerpc.Maybe), plain.response(2, nil)),
			nil, []string{"state"}, nil, []string{"request"}},
		{"unread: whole calls and answers without flags", samrOnly, plain.open(of(plain.requestIn(1, 2, 4, nil), 0), of(plain.response(2, nil), 0), plain.response(2, nil)),
			nil, []string{"state"}, []string{"response"}, []string{"request"}},
		{"refused, and wants no answer", samrOnly, plain.open(of(plain.ask(2, winreg), dcerpc.FirstFrag|dcerpc.LastFrag|dcerpc.Maybe)),
			nil, []string{"interface"}, nil, nil},
		{"registration that wants no answer", samrOnly, plain.open(of(plain.request(2, epm.OpInsert, nil), dcerpc.FirstFrag|dcerpc.LastFrag|dcerpc.Maybe)),
			nil, []string{"procedure"}, nil, nil},
		{"an orphaned PDU of nothing", samrOnly, plain.open(bare(Client, dcerpc.PTypeOrphaned, 2)),
			nil, []string{"state"}, nil, nil},
		{"an answer in fragments, then a fault, then another call", samrOnly, plain.open(plain.ask(2, samr), of(plain.tell(2, samrTold), dcerpc.FirstFrag), plain.fault(2), plain.ask(2, samr), plain.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"fault (ept_s_cant_perform_op)", "response (1 towers, ok)"}, []string{"request", "request"}},
		{"an answer in fragments, then the client gives up, then another call", samrOnly, plain.open(plain.ask(2, samr), of(plain.tell(2, samrTold), dcerpc.FirstFrag), bare(Client, dcerpc.PTypeOrphaned, 2), plain.ask(2, samr), plain.tell(2, samrTold)),
			[]string{samrPromise}, nil, []string{"response (1 towers, ok)"}, []string{"request", "orphaned", "request"}},
		{"the end of a handle, and what the mapper is", samrOnly, plain.open(plain.request(2, epm.OpLookupHandleFree, nil), plain.response(2, nil), plain.request(2, epm.OpInqObject, nil), plain.response(2, nil)),
			nil, nil, []string{"response", "response"}, []string{"request", "request"}},

		{"two alter_contexts with one call ID", samrOnly, plain.open(plain.alter(2, context(5, dcom)), plain.alter(2, context(6, epm.Interface))),
			nil, []string{"state, end"}, nil, []string{"alter_context"}},
		{"another transfer syntax than before", samrOnly, plain.open(plain.alter(2, context(1, dcom, dcerpc.NDR64)), plain.alterAck(2, dcerpc.NDR64)),
			nil, []string{"state, end"}, nil, []string{"alter_context"}},
		{"unread: a transfer syntax that was not proposed", samrOnly, plain.open(plain.alter(2, context(5, dcom)), plain.alterAck(2, dcerpc.NDR64)),
			nil, []string{"state, end"}, nil, []string{"alter_context"}},
		{"contexts that have no end", samrOnly, plain.open(func() []said {
			var contexts []dcerpc.Context
			for i := range uint16(maxDCEContexts - 1) { // two are there
				contexts = append(contexts, context(i+2, dcom))
			}
			chosen := slices.Repeat([]dcerpc.Syntax{dcerpc.NDR}, len(contexts))
			return []said{plain.alter(2, contexts...), plain.alterAck(2, chosen...)}
		}()...), nil, []string{"limit, end"}, nil, []string{"alter_context"}},
		{"a second bind", samrOnly, plain.open(plain.bind(2, context(0, epm.Interface))),
			nil, []string{"state, end"}, nil, nil},
		{"a context that becomes another interface", samrOnly, plain.open(plain.alter(2, context(1, epm.Interface))),
			nil, []string{"state, end"}, nil, nil},
		{"a context that was proposed as another interface", samrOnly, plain.open(plain.alter(2, context(5, dcom)), plain.alter(3, context(5, epm.Interface))),
			nil, []string{"state, end"}, nil, []string{"alter_context"}},
		{"a context of two interfaces", samrOnly, plain.open(plain.alter(2, context(5, dcom), context(5, epm.Interface))),
			nil, []string{"state, end"}, nil, nil},
		{"a context that was added", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface)), plain.alterAck(2, dcerpc.NDR),
			plain.requestIn(5, 3, uint16(epm.OpMap), plain.ask(3, samr).data[24:]), plain.tell(3, samrTold)),
			[]string{samrPromise}, nil, []string{"alter_context_resp", "response (1 towers, ok)"}, []string{"alter_context", "request"}},
		{"a context that could not be added", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface)), plain.fault(2), plain.requestIn(5, 3, 3, nil)),
			nil, []string{"state, end"}, []string{"fault (ept_s_cant_perform_op)"}, []string{"alter_context"}},
		{"an alter_context that was rejected", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface)), plain.alterAck(2, dcerpc.Syntax{}), plain.requestIn(5, 3, 3, nil)),
			nil, []string{"state, end"}, []string{"alter_context_resp"}, []string{"alter_context"}},
		{"an alter_context_resp that nobody asked for", samrOnly, plain.open(plain.alterAck(2, dcerpc.NDR), plain.ack(2, dcerpc.NDR)),
			nil, []string{"state", "state"}, nil, nil},
		{"a bind_ack to an alter_context", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface)), plain.ack(2, dcerpc.NDR)),
			nil, []string{"state"}, nil, []string{"alter_context"}},
		{"fewer results than contexts", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface), context(6, dcom)), plain.alterAck(2, dcerpc.NDR)),
			nil, []string{"syntax, end"}, nil, []string{"alter_context"}},
		{"more results than contexts", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface)), plain.alterAck(2, dcerpc.NDR, dcerpc.NDR)),
			nil, []string{"syntax, end"}, nil, []string{"alter_context"}},
		{"a transfer syntax that was not proposed", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface)), plain.alterAck(2, dcerpc.NDR64)),
			nil, []string{"state, end"}, nil, []string{"alter_context"}},
		{"features in the place of a transfer syntax", samrOnly, plain.open(plain.alter(2, context(5, epm.Interface, dcerpc.Features(3).Syntax())), plain.alterAck(2, dcerpc.Features(3).Syntax())),
			nil, []string{"state, end"}, nil, []string{"alter_context"}},
		{"alter_contexts that are never answered", samrOnly, plain.open(func() (all []said) {
			for i := range uint32(maxDCEBinds + 1) {
				all = append(all, plain.alter(i+2, context(0, epm.Interface)))
			}
			return all
		}()...), nil, []string{"limit, end"}, nil, slices.Repeat([]string{"alter_context"}, maxDCEBinds)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			steps, err := followAll(NewEPM(tt.policy), tt.talk)
			if diff := cmp.Diff(tt.promises, promised(steps)); diff != "" {
				t.Errorf("promises (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.rules, rules(steps, err)); diff != "" {
				t.Errorf("refused by (-want +got):\n%s\n%s", diff, text(steps, err))
			}
			if diff := cmp.Diff(append([]string{"bind_ack"}, tt.client...), pduTypes(t, sent(steps, Client))); diff != "" {
				t.Errorf("the client hears of (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(append([]string{"bind"}, tt.server...), pduTypes(t, sent(steps, Server))); diff != "" {
				t.Errorf("the server hears of (-want +got):\n%s", diff)
			}
			for _, s := range steps {
				if i := bytes.Index(s.Data, foreign.AsSlice()); i >= 0 && len(s.Promises) > 0 {
					t.Errorf("with a promise the client is told of %s", foreign)
				}
			}
		})
	}
}

// What a call held is given back with it: a connection may have any number of calls, one after the other, however they end.
func TestEPMManyCalls(t *testing.T) {
	const bulk = 60000
	for _, tt := range []struct {
		name string
		call []said
	}{
		{"answered", []said{plain.ask(2, samr), plain.tell(2, samrTold)}},
		{"given up while asked", []said{of(plain.ask(2, samr), dcerpc.FirstFrag), bare(Client, dcerpc.PTypeOrphaned, 2)}},
		{"given up while answered", []said{plain.ask(2, samr), of(plain.response(2, make([]byte, bulk)), dcerpc.FirstFrag), bare(Client, dcerpc.PTypeOrphaned, 2)}},
		{"failed while answered", []said{plain.ask(2, samr), of(plain.response(2, make([]byte, bulk)), dcerpc.FirstFrag), plain.fault(2)}},
	} {
		f := NewEPM(samrOnly)
		if _, err := followAll(f, plain.open()); err != nil {
			t.Fatal(err)
		}
		n := 2 * maxDCERequests / len(tt.call[0].data)
		for i := range n {
			if steps, err := followAll(f, tt.call); err != nil || rules(steps, nil) != nil {
				t.Fatalf("%s: call %d of %d: %s", tt.name, i, n, text(steps, err))
			}
		}
	}
}

// What comes before a bind was accepted.
func TestEPMFirst(t *testing.T) {
	for _, tt := range []struct {
		name  string
		talk  []said
		rules []string
	}{
		{"HTTP", []said{{Client, []byte("POST /rpc HTTP/1.1\r\n")}}, []string{"syntax, end"}},
		{"the server speaks another protocol", []said{plain.bind(1, context(0, epm.Interface)), {Server, []byte("220 ready\r\n")}}, []string{"syntax, end"}},
		{"a PDU shorter than its header", []said{{Client, []byte{5, 0, 11, 3, 0x10, 0, 0, 0, 15, 0, 0, 0, 1, 0, 0, 0}}}, []string{"syntax, end"}},
		{"a request", []said{plain.ask(1, samr)}, []string{"state, end"}},
		{"a request while the bind has no answer", []said{plain.bind(1, context(0, epm.Interface)), plain.ask(2, samr)}, []string{"state, end"}},
		{"an alter_context", []said{plain.alter(1, context(0, epm.Interface))}, []string{"state, end"}},
		{"a bind in fragments", []said{of(plain.bind(1, context(0, epm.Interface)), dcerpc.FirstFrag)}, []string{"syntax, end"}},
		{"a bind cut short", []said{{Client, plain.bind(1, context(0, epm.Interface)).data[:16]}, {Client, make([]byte, 56)}}, nil},
		{"two binds", []said{plain.bind(1, context(0, epm.Interface)), plain.bind(2, context(0, epm.Interface))}, []string{"state, end"}},
		{"a bind_ack that nobody asked for", []said{plain.ack(1, dcerpc.NDR)}, []string{"state"}},
		{"a bind_ack of another call", []said{plain.bind(1, context(0, epm.Interface)), plain.ack(2, dcerpc.NDR), plain.ask(3, samr)}, []string{"state", "state, end"}},
		{"a bind_nak that nobody asked for", []said{{Server, dcerpc.AppendBindNak(nil, plain.header(1), dcerpc.BindNak{})}}, []string{"state"}},
		{"a request after a bind_nak", []said{plain.bind(1, context(0, epm.Interface)), {Server, dcerpc.AppendBindNak(nil, plain.header(1), dcerpc.BindNak{})}, plain.ask(2, samr)}, []string{"state, end"}},
		{"another bind after a bind_nak", append([]said{plain.bind(1, context(0, samr)), {Server, dcerpc.AppendBindNak(nil, plain.header(1), dcerpc.BindNak{})}}, plain.open()...), nil},
		{"an answer", []said{plain.tell(1, samrTold)}, []string{"state"}},
	} {
		f := NewEPM(samrOnly)
		steps, err := followAll(f, tt.talk)
		if got := rules(steps, err); !slices.Equal(got, tt.rules) || len(promised(steps)) > 0 {
			t.Errorf("%s: refused by %q, want %q; promises %q", tt.name, got, tt.rules, promised(steps))
		}
		if err != nil {
			if more, again := f.Follow(Client, plain.ask(9, samr).data); again != err || len(more) > 0 {
				t.Errorf("%s: after the end: %s, want the same end", tt.name, text(more, again))
			}
		}
		checkSegments(t, func() Follower { return NewEPM(samrOnly) }, tt.talk)
	}
}

// What a client of 64 bits proposes: NDR64 does not get through for the mapper, and everything else does. The offer has its size, and
// the server's answer a result for each context.
func TestEPMNDR64(t *testing.T) {
	for _, d := range []dialect{plain, {label: ndr.BigEndian}} {
		offer := d.bind(1, context(0, epm.Interface), context(1, epm.Interface, dcerpc.NDR64), context(2, epm.Interface, dcerpc.Features(3).Syntax()),
			context(3, dcom, dcerpc.NDR, dcerpc.NDR64), context(4, epm.Interface, dcerpc.NDR64, dcerpc.NDR))
		f := NewEPM(samrOnly)
		steps, err := followAll(f, []said{offer})
		got := sent(steps, Server)
		h, errHeader := dcerpc.ParseHeader(got)
		m, errBind := dcerpc.ParseBind(h, got)
		if err != nil || errHeader != nil || errBind != nil || len(got) != len(offer.data) {
			t.Fatalf("steps %s: %v, %v, want a bind of %d bytes", text(steps, err), errHeader, errBind, len(offer.data))
		}
		var transfers [][]dcerpc.Syntax
		for _, c := range m.Contexts {
			transfers = append(transfers, c.Transfers)
		}
		want := [][]dcerpc.Syntax{{dcerpc.NDR}, {noSyntax}, {dcerpc.Features(3).Syntax()}, {dcerpc.NDR, dcerpc.NDR64}, {noSyntax, dcerpc.NDR}}
		if diff := cmp.Diff(want, transfers); diff != "" {
			t.Errorf("transfer syntaxes (-want +got):\n%s", diff)
		}
		reply := d.results([]dcerpc.Syntax{dcerpc.NDR, {}, {}, dcerpc.NDR64, dcerpc.NDR})
		reply.Results[2] = dcerpc.Result{Result: dcerpc.NegotiateAck, Reason: 3}
		steps, err = f.Follow(Server, dcerpc.AppendBindAck(nil, d.header(1), reply))
		if err != nil || len(sent(steps, Client)) == 0 {
			t.Fatalf("the answer: %s, want it passed on", text(steps, err))
		}
		steps, err = followAll(f, []said{d.ask(2, samr), d.tell(2, samrTold)})
		if got := promised(steps); err != nil || !slices.Equal(got, []string{samrPromise}) {
			t.Errorf("after it: %s, want %s", text(steps, err), samrPromise)
		}
	}
	for _, chosen := range []dcerpc.Syntax{dcerpc.NDR64, noSyntax} {
		steps, err := followAll(NewEPM(samrOnly), []said{plain.bind(1, context(0, epm.Interface, dcerpc.NDR, dcerpc.NDR64)), plain.ack(1, chosen)})
		if got := rules(steps, err); !slices.Equal(got, []string{"state, end"}) {
			t.Errorf("a server that chooses %v: refused by %q, want the end", chosen, got)
		}
	}
}

// The next page is asked for as the client asks, but for the handle.
func TestEPMTurnsPage(t *testing.T) {
	handle := ndr.Handle{Attributes: 1, UUID: winreg.UUID}
	for _, d := range []dialect{plain, {label: ndr.BigEndian}} {
		k := epm.Lookup{Inquiry: epm.InquiryByObject, Object: samr.UUID, VersOption: epm.VersAll, MaxEntries: 1}
		q := epm.Map{Object: samr.UUID, Tower: at(samr, epm.TCP, netip.Addr{}, 0), MaxTowers: 1}
		refused := at(winreg, epm.TCP, ownAddr, 22)
		listed := epm.LookupReply{Handle: handle, Max: 1, Entries: []epm.Entry{{Tower: refused}}}.Append(nil, d.label)
		mapped := epm.MapReply{Handle: handle, Max: 1, Towers: []epm.Tower{refused}}.Append(nil, d.label)
		f := NewEPM(samrOnly)
		steps, err := followAll(f, d.open(d.request(2, epm.OpLookup, k.Append(nil, d.label)), d.response(2, listed), d.request(3, epm.OpMap, q.Append(nil, d.label)), d.response(3, mapped)))
		if err != nil || len(steps) != 6 {
			t.Fatalf("steps %s, want six", text(steps, err))
		}
		k.Handle, q.Handle = handle, handle
		for i, want := range map[int]said{3: d.request(2, epm.OpLookup, k.Append(nil, d.label)), 5: d.request(3, epm.OpMap, q.Append(nil, d.label))} {
			if steps[i].To != Server || !bytes.Equal(steps[i].Data, want.data) {
				t.Errorf("the server is sent %x, want %x", steps[i].Data, want.data)
			}
		}
	}
}

// Where the firewall cannot keep a promise, it is as if nothing was registered, or the call failed.
func TestEPMElse(t *testing.T) {
	sign := dialect{plain.label, dcerpc.LevelIntegrity}
	for _, tt := range []struct {
		name string
		talk []said
		want string
	}{
		{"map", []said{plain.ask(2, samr), plain.tell(2, samrTold)}, "response (0 entries, ept_s_not_registered)"},
		{"lookup", []said{plain.list(2), plain.listed(2, ndr.Handle{}, samrTold)}, "response (0 entries, ept_s_not_registered)"},
		{"signed", []said{sign.ask(2, samr), sign.tell(2, samrTold)}, "fault (rpc_s_access_denied)"},
	} {
		steps, err := followAll(NewEPM(samrOnly), plain.open(tt.talk...))
		last := steps[len(steps)-1]
		if err != nil || len(last.Promises) != 1 || last.ElseTo != Client || last.Rewrite != nil {
			t.Fatalf("%s: steps %s, want one promise", tt.name, text(steps, err))
		}
		if got := pduTypes(t, last.Else); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: Else is %q, want %q", tt.name, got, tt.want)
		}
	}
}

// An answer that is written anew says what it said: handle, limit, annotation, object, and the addresses of the server.
func TestEPMRewritten(t *testing.T) {
	k := epm.LookupReply{Handle: ndr.Handle{Attributes: 1, UUID: samr.UUID}, Max: 500}
	for i := range uint16(60) {
		k.Entries = append(k.Entries, epm.Entry{Object: winreg.UUID, Tower: at(samr, epm.TCP, foreign, 50000+i), Annotation: "a server of that name"})
	}
	other := epm.Entry{Tower: at(winreg, epm.TCP, foreign, 22)}
	told := k
	told.Entries = append([]epm.Entry{other}, k.Entries...)
	steps, err := followAll(NewEPM(samrOnly), plain.open(plain.list(2), plain.response(2, told.Append(nil, plain.label))))
	if err != nil || len(promised(steps)) != 60 {
		t.Fatalf("%d promises, %v, want 60", len(promised(steps)), err)
	}
	var f dcerpc.PDUReader
	var a dcerpc.Assembler
	f.Reset(5840) // what was agreed on
	var got epm.LookupReply
	for b := steps[len(steps)-1].Data; len(b) > 0; {
		used, pdu, err := f.Feed(b)
		if err != nil || pdu == nil {
			t.Fatalf("Feed: %v", err)
		}
		b = b[used:]
		h, _ := dcerpc.ParseHeader(pdu)
		m, err := dcerpc.ParseResponse(h, pdu)
		whole, ok, errWhole := a.AddResponse(h, m)
		if err != nil || errWhole != nil || h.CallID != 2 {
			t.Fatalf("%+v: %v, %v", h, err, errWhole)
		}
		if ok {
			if got, err = epm.ParseLookupReply(whole.Stub, h.Label); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range k.Entries {
		k.Entries[i].Tower.Addr = ownAddr
	}
	if diff := cmp.Diff(k, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("the client is told (-want +got):\n%s", diff)
	}
}

// Towers have addresses of IPv4. Over IPv6 they say nothing, and no promise hangs on them.
func TestEPMOverIPv6(t *testing.T) {
	p := samrOnly
	p.Ends = ends("[2001:db8::20]:40000", "[2001:db8:1::5]:135")
	for _, d := range []dialect{plain, {plain.label, dcerpc.LevelIntegrity}} {
		steps, err := followAll(NewEPM(p), plain.open(d.ask(2, samr), d.tell(2, samrTold)))
		if got := promised(steps); err != nil || !slices.Equal(got, []string{samrPromise}) {
			t.Errorf("%s, want %s", text(steps, err), samrPromise)
		}
		if told := bytes.Contains(steps[len(steps)-1].Data, ownAddr.AsSlice()); told != (d.level != 0) {
			t.Errorf("the client is told of %s: %v, want it where nothing can be changed", ownAddr, told)
		}
	}
}

// A list opens no more ports than the limit; what is over it is not told either.
func TestEPMListLimit(t *testing.T) {
	var towers []epm.Tower
	for i := range uint16(maxPromises + 10) {
		towers = append(towers, at(samr, epm.TCP, ownAddr, 50000+i))
	}
	steps, err := followAll(NewEPM(samrOnly), plain.open(plain.list(2), plain.listed(2, ndr.Handle{}, towers...)))
	want := fmt.Sprintf("response (%d entries, ok)", maxPromises)
	if got := pduTypes(t, sent(steps, Client)); err != nil || len(promised(steps)) != maxPromises || got[len(got)-1] != want || !slices.Equal(rules(steps, nil), []string{"limit"}) {
		t.Errorf("%d promises, %q, %v, want %d and %q", len(promised(steps)), got, rules(steps, err), maxPromises, want)
	}
}

// Calls may be under way at the same time, their fragments in between each other, their answers in any order.
func TestEPMInterleaved(t *testing.T) {
	talk := plain.open()
	questions := [][]said{cut(plain.ask(2, samr), 50), cut(plain.list(3), 24), cut(plain.ask(4, samr), 50)}
	answers := [][]said{cut(plain.listed(3, ndr.Handle{}, samrTold), 40), cut(plain.tell(4, at(samr, epm.TCP, ownAddr, 49666)), 40), cut(plain.tell(2, samrTold), 40)}
	for _, all := range [][][]said{questions, answers} {
		for i := range 20 {
			for _, fragments := range all {
				if i < len(fragments) {
					talk = append(talk, fragments[i])
				}
			}
		}
	}
	f := func() Follower { return NewEPM(samrOnly) }
	steps, err := followAll(f(), talk)
	want := []string{samrPromise, "client port 49666/tcp: 12345778 v1.0", samrPromise}
	got := promised(steps)
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) || rules(steps, nil) != nil {
		t.Errorf("%s, want %q", text(steps, err), want)
	}
	checkSegments(t, f, talk)
	checkSegments(t, f, merged(talk))
}

// holdsEPM fails unless a conversation keeps to what the follower is for: every promise is of a port of an allowed interface, whose
// tower the client is told in the same step, and all streams are PDUs.
func holdsEPM(t interface{ Fatalf(string, ...any) }, talk []said) {
	steps, _ := followAll(NewEPM(samrOnly), talk)
	requests := map[uint32]bool{}
	for _, s := range steps {
		for b := s.Data; len(b) > 0; {
			h, err := dcerpc.ParseHeader(b)
			if err != nil || int(h.FragLength) > len(b) {
				t.Fatalf("the %v is sent %x: %v", s.To, b, err)
			}
			b = b[h.FragLength:]
			if h.PType == dcerpc.PTypeRequest {
				requests[h.CallID] = true
			}
		}
		if len(s.Promises) == 0 {
			continue
		}
		h, _ := dcerpc.ParseHeader(s.Data)
		if s.To != Client || h.PType != dcerpc.PTypeResponse || !requests[h.CallID] || len(s.Else) == 0 || s.ElseTo != Client {
			t.Fatalf("promises %q with a %v to the %v", promised(steps), h.PType, s.To)
		}
		for _, p := range s.Promises {
			port := binary.BigEndian.AppendUint16([]byte{2, 0}, p.Port)
			if p.By != Client || p.Once || p.Port == 0 || p.Port == 135 || p.Interface.UUID != samr.UUID || h.Flags&dcerpc.LastFrag != 0 && !bytes.Contains(s.Data, port) {
				t.Fatalf("promise %+v with %x", p, s.Data)
			}
		}
	}
}

// Whatever a server answers, only ports of the interface that was asked for are promised.
func TestEPMPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := dialect{label: rapid.SampledFrom([]ndr.Label{ndr.LittleEndian, ndr.BigEndian}).Draw(t, "label")}
		asked, told := map[uint32][]dcerpc.Syntax{}, map[uint32]map[uint16]bool{}
		talk := plain.open()
		for range rapid.IntRange(1, 12).Draw(t, "PDUs") {
			d.level = rapid.SampledFrom([]dcerpc.AuthLevel{0, 0, dcerpc.LevelIntegrity, dcerpc.LevelPrivacy}).Draw(t, "level")
			id := rapid.Uint32Range(2, 4).Draw(t, "call")
			i := rapid.SampledFrom([]dcerpc.Syntax{samr, samr, winreg, epm.Interface, {UUID: samr.UUID, Major: 2}}).Draw(t, "interface")
			tower := at(i, rapid.SampledFrom(epm.ProtSeqs[:]).Draw(t, "protseq"), rapid.SampledFrom([]netip.Addr{{}, ownAddr, foreign}).Draw(t, "address"), rapid.SampledFrom([]uint16{0, 22, 135, 49664}).Draw(t, "port"))
			if !tower.ProtSeq.HasPort() {
				tower.Port, tower.Addr = 0, netip.Addr{}
			}
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				talk = append(talk, d.ask(id, i))
				asked[id] = append(asked[id], i)
			case 1:
				talk = append(talk, d.list(id))
				asked[id] = append(asked[id], samr)
			case 2:
				talk = append(talk, d.tell(id, tower))
			case 3:
				talk = append(talk, d.listed(id, ndr.Handle{}, tower, samrTold))
			case 4:
				talk = append(talk, d.tell(id, tower, samrTold))
			}
			if told[id] == nil {
				told[id] = map[uint16]bool{}
			}
			told[id][tower.Port], told[id][samrTold.Port] = true, true
		}
		holdsEPM(t, talk)
		steps, _ := followAll(NewEPM(samrOnly), talk)
		for _, s := range steps {
			for _, p := range s.Promises {
				h, _ := dcerpc.ParseHeader(s.Data)
				if !told[h.CallID][p.Port] || !slices.ContainsFunc(asked[h.CallID], func(i dcerpc.Syntax) bool { return i.UUID == p.Interface.UUID }) {
					t.Fatalf("promise %+v in answer to call %d", p, h.CallID)
				}
			}
		}
	})
}

func FuzzEPM(f *testing.F) {
	for _, r := range dceRecordings(f) {
		if len(r.said(Server)) < 2000 {
			f.Add(asScript(r.talk))
		}
	}
	sign := dialect{plain.label, dcerpc.LevelIntegrity}
	f.Add(asScript([]said{plain.ask(2, samr), plain.tell(2, samrTold, at(samr, epm.TCP, foreign, 22)), sign.list(3), sign.listed(3, ndr.Handle{}, samrTold)}))
	f.Add(asScript(append(cut(plain.list(2), 16), cut(plain.listed(2, ndr.Handle{}, samrTold, at(winreg, epm.TCP, foreign, 22)), 64)...)))
	f.Add(asScript([]said{plain.alter(2, context(5, epm.Interface)), plain.alterAck(2, dcerpc.NDR), plain.requestIn(5, 3, 3, plain.ask(3, samr).data[24:]), plain.tell(3, samrTold)}))
	f.Add(asScript(plain.open(append(cut(plain.list(2), 16), cut(plain.listed(2, ndr.Handle{}, samrTold, at(winreg, epm.TCP, foreign, 22)), 64)...)...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		holdsEPM(t, script(b))
		// Most of that ends early: once more after a bind, with headers that are mended.
		talk := plain.open()
		for _, s := range script(b) {
			if len(s.data) >= dcerpc.HeaderSize {
				s.data = bytes.Clone(s.data)
				s.data[0], s.data[1], s.data[4], s.data[5] = dcerpc.Version, 0, ndr.LittleEndian[0], 0
				binary.LittleEndian.PutUint16(s.data[8:], uint16(min(len(s.data), dcerpc.MaxFrag)))
				talk = append(talk, s)
			}
		}
		holdsEPM(t, talk)
	})
}
