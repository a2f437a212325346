package mapper

import (
	"bufio"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// clientStream is what the client of a recorded conversation sent.
func clientStream(t testing.TB, path string) (stream []byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "client "); ok {
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			stream = append(stream, b...)
		}
	}
	if len(stream) == 0 || lines.Err() != nil {
		t.Fatalf("%s: nothing of a client: %v", path, lines.Err())
	}
	return stream
}

// FuzzSession: whatever bytes a client sends, in whatever slices they arrive, a
// session neither panics nor leaves anything behind, what it sends are PDUs, and
// another host cannot have more sent than all rows for one PDU.
func FuzzSession(f *testing.F) {
	m := newDCE(f, DCEConfig{})
	setup := client(f, m, asRoot)
	for _, e := range inquiryRows {
		setup.insert(e)
	}
	own := len(inquiryRows)
	all := request1(f, m, epm.Lookup{MaxEntries: 500})
	stubs := []struct {
		op epm.Op
		a  arguments
	}{
		{epm.OpInsert, epm.Insert{Entries: ports(2001, 2), Replace: true}}, {epm.OpDelete, epm.Delete{Entries: ports(2001, 1)}},
		{epm.OpLookup, epm.Lookup{Inquiry: epm.InquiryByBoth, Object: objectX, Interface: syntax(uuidA, 1, 0), VersOption: epm.VersUpTo, MaxEntries: 1}},
		{epm.OpMap, mapA(ndr.Handle{}, 1)}, {epm.OpLookupHandleFree, epm.LookupHandleFree{Handle: ndr.Handle{UUID: objectX}}},
		{epm.OpMgmtDelete, epm.MgmtDelete{Tower: at(2001).Tower}},
	}
	seed := func(stream []byte) {
		f.Add(false, uint8(0), stream)
		f.Add(true, uint8(3), stream)
	}
	seed(clientStream(f, "../../wire/dcerpc/testdata/rpcdump.txt"))
	for _, s := range stubs {
		seed(join(goodBind, callPDU(le, 0, uint16(s.op), s.a.Append(nil, ndr.LittleEndian))))
	}
	for opnum := range uint16(6) {
		seed(join(goodBind, callPDU(le, 1, opnum, make([]byte, 8))))
	}
	big := dcerpc.Header{Label: ndr.BigEndian, CallID: 9}
	seed(join(dcerpc.AppendBind(nil, big, dcerpc.Bind{Contexts: []dcerpc.Context{ctx(0, epm.Interface, dcerpc.NDR64, dcerpc.NDR)}}),
		callPDU(big, 0, uint16(epm.OpMap), mapA(ndr.Handle{}, 4).Append(nil, ndr.BigEndian))))
	seed(join(withAuth(goodBind), goodBind, fragment(1, dcerpc.FirstFrag, 1), fragment(2, dcerpc.FirstFrag, 1), bare(dcerpc.PTypeCoCancel, 2), fragment(1, 0, 2),
		bare(dcerpc.PTypeOrphaned, 2), fragment(1, dcerpc.LastFrag, 3), alterPDU(ctx(5, epm.Management, dcerpc.NDR)), goodBind))
	f.Fuzz(func(t *testing.T, local bool, slice uint8, stream []byte) {
		w, most := tcpFar, len(all)
		if local {
			w = asUser
		}
		l := &line{session: m.Session(), call: w.call(nil)}
		var r dcerpc.PDUReader
		r.Reset(dcerpc.MaxFrag)
		for len(stream) > 0 && !l.closed {
			part := stream[:min(1+int(slice)*8, len(stream))]
			used, pdu, err := r.Feed(part)
			if err != nil {
				break
			}
			stream = stream[used:]
			if pdu == nil {
				continue
			}
			answer := l.send(pdu)
			split(t, answer)
			// A bind_ack has 24 bytes for each context, which has at least as many, and
			// a few more.
			if !local && len(answer) > max(most, len(pdu)+64) {
				t.Errorf("%d bytes are answered with %d: %x", len(pdu), len(answer), pdu)
			}
		}
		l.end()
		m.groups.mu.Lock()
		groups := len(m.groups.byID)
		m.groups.mu.Unlock()
		if held := m.stats.assembling.Load(); groups != 1 || held != 0 { // the setup's
			t.Errorf("%d groups and %d bytes of calls are left", groups, held)
		}
		rows, _ := m.Registry.AllDCE()
		if !local && len(rows) != own {
			t.Errorf("another host changed what is registered: %d rows", len(rows))
		}
		for _, row := range rows[own:] { // the others are root's
			if err := m.Registry.RemoveID(endpoint.Superuser, row.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// request1 returns the answer to one lookup, as it is sent in the smallest fragments.
func request1(t testing.TB, m *DCE, q epm.Lookup) []byte {
	l := dceLine(t, m, tcpFar)
	defer l.end()
	l.send(dcerpc.AppendBind(nil, le, dcerpc.Bind{Contexts: []dcerpc.Context{ctx(0, epm.Interface, dcerpc.NDR)}}))
	return l.send(callPDU(le, 0, uint16(epm.OpLookup), q.Append(nil, ndr.LittleEndian)))
}
