package mapper

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// inquiryRows are what inquiries are made about, in the order in which they are
// registered. Their annotations are what the tables below call them: the
// interface, its version, the object, and what is not TCP.
var inquiryRows = []epm.Entry{
	entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 0), "", 2001), "A1.0"),
	entry(objectX, tcpTower(syntax(uuidA, 1, 0), "", 2002), "A1.0X"),
	entry(ndr.UUID{}, tcpTower(syntax(uuidA, 2, 3), "", 2003), "A2.3"),
	entry(ndr.UUID{}, ipTower(epm.UDP, syntax(uuidA, 2, 3), "", 2003), "A2.3/udp"),
	entry(ndr.UUID{}, tcpTower(syntax(uuidB, 1, 5), "", 2004), "B1.5"),
	entry(objectX, tcpTower(syntax(uuidA, 1, 5), "", 2005), "A1.5X"),
	entry(ndr.UUID{}, tcpTower(syntax(uuidA, 3, 0), "", 2006), "A3.0"),
	entry(objectX, tcpTower(syntax(uuidA, 2, 3), "", 2007), "A2.3X"),
	entry(objectY, tcpTower(syntax(uuidB, 1, 5), "", 2008), "B1.5Y"),
	entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 5), "", 2009), "A1.5"),
	entry(ndr.UUID{}, tcpTower(dcerpc.Syntax{}, "", 2010), "nil"),
	entry(objectX, ipTower(epm.HTTP, syntax(uuidA, 2, 3), "", 2011), "A2.3X/http"),
}

// versionTable says which versions each option is for (MS-RPCE, section 2.2.1.2.4), of
// 1.0, 1.5, 2.3 and 3.0, by the version that is asked for.
var versionTable = map[epm.VersOption]map[string]string{
	epm.VersAll: {
		"0.0": "1.0 1.5 2.3 3.0", "1.0": "1.0 1.5 2.3 3.0", "1.3": "1.0 1.5 2.3 3.0", "2.2": "1.0 1.5 2.3 3.0",
		"2.3": "1.0 1.5 2.3 3.0", "2.4": "1.0 1.5 2.3 3.0", "4.0": "1.0 1.5 2.3 3.0",
	},
	epm.VersCompatible: {"0.0": "", "1.0": "1.0 1.5", "1.3": "1.5", "2.2": "2.3", "2.3": "2.3", "2.4": "", "4.0": ""},
	epm.VersExact:      {"0.0": "", "1.0": "1.0", "1.3": "", "2.2": "", "2.3": "2.3", "2.4": "", "4.0": ""},
	epm.VersMajorOnly:  {"0.0": "", "1.0": "1.0 1.5", "1.3": "1.0 1.5", "2.2": "2.3", "2.3": "2.3", "2.4": "2.3", "4.0": ""},
	epm.VersUpTo: {
		"0.0": "", "1.0": "1.0", "1.3": "1.0", "2.2": "1.0 1.5", "2.3": "1.0 1.5 2.3", "2.4": "1.0 1.5 2.3", "4.0": "1.0 1.5 2.3 3.0",
	},
}

// objectTable says which rows are of an object: exactly those that were registered with it.
var objectTable = map[ndr.UUID]string{
	{}:      "A1.0 A2.3 A2.3/udp B1.5 A3.0 A1.5 nil",
	objectX: "A1.0X A1.5X A2.3X A2.3X/http",
	objectY: "B1.5Y",
	objectZ: "",
}

// ofA and byVersion tell what a row is by its name.
func ofA(row string) bool { return row[0] == 'A' }

func hasVersion(row, versions string) bool {
	return slices.Contains(strings.Fields(versions), strings.Trim(row[1:], "XY/udphtc"))
}

func parseVersion(t testing.TB, text string) dcerpc.Syntax {
	t.Helper()
	s := syntax(uuidA, 0, 0)
	if _, err := fmt.Sscanf(text, "%d.%d", &s.Major, &s.Minor); err != nil {
		t.Fatal(err)
	}
	return s
}

// told is what clients on 127.0.0.1 or the local socket are told of rows.
func toldHere(names string) (entries []epm.Entry) {
	for _, e := range inquiryRows {
		if slices.Contains(strings.Fields(names), e.Annotation) {
			e.Tower.Addr = loopback
			entries = append(entries, e)
		}
	}
	return entries
}

// testInquiries registers the rows, looks for them in every way, and removes them,
// all with clients of one mapper that dial returns.
func testInquiries(t *testing.T, dial func(*testing.T, ndr.Label) *dceClient) {
	for name, label := range labels {
		t.Run(name, func(t *testing.T) {
			c := dial(t, label)
			for _, e := range inquiryRows {
				c.insert(e)
			}
			testLookups(t, c)
			testMaps(t, c)
			for i, e := range inquiryRows {
				e.Annotation = strings.Repeat("x", i) // which means nothing here
				if status, fault := c.change(epm.OpDelete, epm.Delete{Entries: []epm.Entry{e}}); status != 0 || fault != 0 {
					t.Errorf("delete %s: %v, %v", inquiryRows[i].Annotation, status, fault)
				}
				left := c.lookup(epm.Lookup{MaxEntries: 500})
				if len(left.Entries) != len(inquiryRows)-1-i {
					t.Errorf("%d entries are left after %d", len(left.Entries), i+1)
				}
			}
		})
	}
}

func testLookups(t *testing.T, c *dceClient) {
	t.Helper()
	for option, byVersion := range versionTable {
		for asked, versions := range byVersion {
			for object, ofObject := range objectTable {
				for inquiry := epm.InquiryAll; inquiry <= epm.InquiryByBoth; inquiry++ {
					var want []epm.Entry
					for _, e := range inquiryRows {
						byInterface := ofA(e.Annotation) && hasVersion(e.Annotation, versions)
						byObject := slices.Contains(strings.Fields(ofObject), e.Annotation)
						if [...]bool{true, byInterface, byObject, byInterface && byObject}[inquiry] {
							want = append(want, toldHere(e.Annotation)...)
						}
					}
					q := epm.Lookup{Inquiry: inquiry, Object: object, Interface: parseVersion(t, asked), VersOption: option, MaxEntries: 500}
					got := c.lookup(q)
					what := fmt.Sprintf("lookup %s, versions %s %s, object %s", inquiry, option, asked, object)
					checkEntries(t, what, got.Entries, want)
					if wantStatus := statusFor(len(want)); got.Status != wantStatus || !got.Handle.IsNil() {
						t.Errorf("%s: status %v, handle %v, want %v, none", what, got.Status, got.Handle, wantStatus)
					}
				}
			}
		}
	}
	for _, tt := range []struct {
		name string
		q    epm.Lookup
		want epm.Status
		n    int
	}{
		{"nil interface", epm.Lookup{Inquiry: epm.InquiryByInterface, VersOption: epm.VersExact}, 0, 1},
		{"unknown interface", epm.Lookup{Inquiry: epm.InquiryByInterface, Interface: syntax(uuidC, 1, 0), VersOption: epm.VersAll}, epm.StatusNotRegistered, 0},
		{"inquiry 4", epm.Lookup{Inquiry: 4, VersOption: epm.VersAll}, epm.StatusInvalidInquiryType, 0},
		{"inquiry 2^32-1", epm.Lookup{Inquiry: math.MaxUint32, VersOption: epm.VersAll}, epm.StatusInvalidInquiryType, 0},
		{"all, option 0", epm.Lookup{}, 0, len(inquiryRows)},
		{"by object, option 9", epm.Lookup{Inquiry: epm.InquiryByObject, Object: objectY, VersOption: 9}, 0, 1},
		{"by interface, option 0", epm.Lookup{Inquiry: epm.InquiryByInterface, Interface: syntax(uuidA, 1, 0)}, epm.StatusInvalidVersOption, 0},
		{"by both, option 6", epm.Lookup{Inquiry: epm.InquiryByBoth, Interface: syntax(uuidA, 1, 0), VersOption: 6}, epm.StatusInvalidVersOption, 0},
	} {
		tt.q.MaxEntries = 500
		if got := c.lookup(tt.q); got.Status != tt.want || len(got.Entries) != tt.n || !got.Handle.IsNil() {
			t.Errorf("%s: %d entries, %v, handle %v, want %d, %v, none", tt.name, len(got.Entries), got.Status, got.Handle, tt.n, tt.want)
		}
	}
}

func statusFor(found int) epm.Status {
	if found == 0 {
		return epm.StatusNotRegistered
	}
	return 0
}

func testMaps(t *testing.T, c *dceClient) {
	t.Helper()
	for _, tt := range []struct {
		over    epm.ProtSeq
		asked   dcerpc.Syntax
		object  ndr.UUID
		want    string // youngest first
		comment string
	}{
		{epm.TCP, syntax(uuidA, 1, 0), ndr.UUID{}, "A1.5 A1.0", "the major version, and no older minor one"},
		{epm.TCP, syntax(uuidA, 1, 1), ndr.UUID{}, "A1.5", ""},
		{epm.TCP, syntax(uuidA, 1, 5), ndr.UUID{}, "A1.5", ""},
		{epm.TCP, syntax(uuidA, 1, 6), ndr.UUID{}, "", ""},
		{epm.TCP, syntax(uuidA, 2, 0), ndr.UUID{}, "A2.3", ""},
		{epm.TCP, syntax(uuidA, 2, 4), ndr.UUID{}, "", ""},
		{epm.TCP, syntax(uuidA, 0, 0), ndr.UUID{}, "", ""},
		{epm.TCP, syntax(uuidA, 4, 0), ndr.UUID{}, "", ""},
		{epm.TCP, syntax(uuidA, 1, 0), objectX, "A1.5X A1.0X", "of the object only"},
		{epm.TCP, syntax(uuidA, 3, 0), objectX, "A3.0", "the object has none, so those without"},
		{epm.TCP, syntax(uuidA, 2, 3), objectZ, "A2.3", "unknown object"},
		{epm.TCP, syntax(uuidB, 1, 0), objectY, "B1.5Y", ""},
		{epm.TCP, syntax(uuidB, 1, 0), ndr.UUID{}, "B1.5", "not those of an object"},
		{epm.TCP, syntax(uuidC, 1, 0), ndr.UUID{}, "", ""},
		{epm.TCP, dcerpc.Syntax{}, ndr.UUID{}, "nil", "the nil interface is one like others"},
		{epm.UDP, syntax(uuidA, 2, 3), ndr.UUID{}, "A2.3/udp", ""},
		{epm.UDP, syntax(uuidA, 2, 3), objectX, "A2.3/udp", ""},
		{epm.UDP, syntax(uuidA, 1, 0), ndr.UUID{}, "", ""},
		{epm.HTTP, syntax(uuidA, 2, 3), objectX, "A2.3X/http", ""},
		{epm.HTTP, syntax(uuidA, 2, 3), ndr.UUID{}, "", ""},
		{epm.NP, syntax(uuidA, 2, 3), ndr.UUID{}, "", ""},
		{epm.LRPC, syntax(uuidA, 2, 3), ndr.UUID{}, "", ""},
		{0, syntax(uuidA, 2, 3), ndr.UUID{}, "", "a tower of an unknown protocol sequence"},
	} {
		what := fmt.Sprintf("map %s over %s, object %s %s", tt.asked, tt.over, tt.object, tt.comment)
		var want []epm.Tower
		for _, name := range strings.Fields(tt.want) {
			want = append(want, toldHere(name)[0].Tower)
		}
		// Of the endpoint that is asked for nothing counts.
		for _, tower := range []epm.Tower{asking(tt.over, tt.asked), endpointOf(asking(tt.over, tt.asked))} {
			got := c.find(epm.Map{Object: tt.object, Tower: tower, MaxTowers: 4})
			checkTowers(t, what, got.Towers, want)
			if wantStatus := statusFor(len(want)); got.Status != wantStatus || !got.Handle.IsNil() {
				t.Errorf("%s: status %v, handle %v, want %v, none", what, got.Status, got.Handle, wantStatus)
			}
		}
	}
	// No tower at all is one of the nil interface and no protocol sequence.
	if got := c.find(epm.Map{MaxTowers: 4}); got.Status != epm.StatusNotRegistered || len(got.Towers) != 0 {
		t.Errorf("map of nothing = %+v", got)
	}
}

// endpointOf has a tower name some endpoint.
func endpointOf(t epm.Tower) epm.Tower {
	switch {
	case t.ProtSeq.HasPort():
		t.Port, t.Addr = 135, loopback
	case t.ProtSeq == epm.NP:
		t.Name, t.Host = `\pipe\x`, "HOST"
	case t.ProtSeq == epm.LRPC:
		t.Name = "x"
	}
	return t
}

func TestInquiries(t *testing.T) {
	for _, w := range []way{asRoot, asUser, tcpLo, tcpSelf} {
		t.Run(fmt.Sprint(w.netid, w.uid, w.server), func(t *testing.T) {
			m := openDCE(t, registry.Config{}, &owners{uid: 1000}, DCEConfig{InsertLoopback: true, Address: loopback})
			testInquiries(t, func(t *testing.T, l ndr.Label) *dceClient {
				return newClient(t, dceLine(t, m, w).send, l, 0)
			})
		})
	}
}

// TestObjectInHeader: some clients name the object in the PDU's header only (contract, "ept_map
// reply"). What the arguments say comes first.
func TestObjectInHeader(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asRoot)
	for _, e := range inquiryRows {
		c.insert(e)
	}
	for _, tt := range []struct {
		header, stub ndr.UUID
		want         uint16 // port
	}{
		{ndr.UUID{}, ndr.UUID{}, 2004}, {objectY, ndr.UUID{}, 2008}, {objectY, objectZ, 2004}, {objectZ, objectY, 2008},
	} {
		q := epm.Map{Object: tt.stub, Tower: asking(epm.TCP, syntax(uuidB, 1, 0)), MaxTowers: 1}
		stub, fault := c.request(dcerpc.Request{
			ContextID: mapperContext, Opnum: uint16(epm.OpMap), Object: tt.header, Stub: q.Append(nil, c.label),
		})
		r, err := epm.ParseMapReply(stub, c.label)
		if fault != 0 || err != nil || len(r.Towers) != 1 || r.Towers[0].Port != tt.want {
			t.Errorf("header %s, stub %s: %+v, %v, %v, want port %d", tt.header, tt.stub, r, fault, err, tt.want)
		}
	}
}

// TestMost: whatever a client asks for at most it is told back, and not more than
// that comes, nor more than there can be.
func TestMost(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asRoot)
	const rows = 3
	for i := range uint16(rows) {
		c.insert(entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 0), "", 2000+i), ""))
	}
	for _, tt := range []struct {
		most          uint32
		n             int
		mapHandle     bool // more is left
		lookupHandle  bool // a full reply always has one
		lookupAfter   int  // entries of the call with that handle
		afterIsStatus epm.Status
	}{
		{0, 0, false, false, 0, 0},
		{1, 1, true, true, 1, 0},
		{2, 2, true, true, 1, epm.StatusNotRegistered},
		{rows, rows, false, true, 0, epm.StatusNotRegistered},
		{rows + 1, rows, false, false, 0, 0},
		{500, rows, false, false, 0, 0},
		{501, rows, false, false, 0, 0},
		{1 << 31, rows, false, false, 0, 0},
		{math.MaxUint32, rows, false, false, 0, 0},
	} {
		found := c.find(epm.Map{Tower: asking(epm.TCP, syntax(uuidA, 1, 0)), MaxTowers: tt.most})
		if len(found.Towers) != tt.n || found.Status != 0 || found.Handle.IsNil() == tt.mapHandle {
			t.Errorf("map of at most %d: %d towers, %v, handle %v", tt.most, len(found.Towers), found.Status, found.Handle)
		}
		q := epm.Lookup{MaxEntries: tt.most}
		all := c.lookup(q)
		if len(all.Entries) != tt.n || all.Status != 0 || all.Handle.IsNil() == tt.lookupHandle {
			t.Errorf("lookup of at most %d: %d entries, %v, handle %v", tt.most, len(all.Entries), all.Status, all.Handle)
		}
		if !tt.lookupHandle {
			continue
		}
		q.Handle = all.Handle
		if next := c.lookup(q); len(next.Entries) != tt.lookupAfter || next.Status != tt.afterIsStatus {
			t.Errorf("lookup of at most %d, continued: %d entries, %v, want %d, %v", tt.most, len(next.Entries), next.Status, tt.lookupAfter, tt.afterIsStatus)
		}
	}
}

// A part is one answer of a dump.
type part struct {
	entries int
	status  epm.Status
	handle  bool
}

// parts reads a dump until there is no handle.
func (c *dceClient) parts(most uint32) (all []part) {
	c.t.Helper()
	q := epm.Lookup{MaxEntries: most}
	for {
		r := c.lookup(q)
		all = append(all, part{len(r.Entries), r.Status, !r.Handle.IsNil()})
		if q.Handle = r.Handle; r.Handle.IsNil() {
			return all
		}
		if len(all) > 10_000 {
			c.t.Fatal("a dump does not end")
		}
	}
}

// TestDumpEnds: how a dump ends, in both settings.
func TestDumpEnds(t *testing.T) {
	const none = epm.StatusNotRegistered
	for _, tt := range []struct {
		rows            int
		most            uint32
		usual, asHandle []part // the latter nil: the same
	}{
		{0, 500, []part{{0, none, false}}, nil},
		{0, 1, []part{{0, none, false}}, nil},
		{3, 500, []part{{3, 0, false}}, nil},
		{3, 4, []part{{3, 0, false}}, nil},
		{3, 3, []part{{3, 0, true}, {0, none, false}}, nil},
		{3, 2, []part{{2, 0, true}, {1, none, false}}, []part{{2, 0, true}, {1, 0, false}}},
		{3, 1, []part{{1, 0, true}, {1, 0, true}, {1, 0, true}, {0, none, false}}, nil},
		{500, 500, []part{{500, 0, false}}, nil},
		{501, 500, []part{{500, 0, true}, {1, 0, false}}, nil},
		{501, 499, []part{{499, 0, true}, {2, none, false}}, []part{{499, 0, true}, {2, 0, false}}},
		{1000, 500, []part{{500, 0, true}, {500, 0, false}}, nil},
		{1001, 100_000, []part{{500, 0, true}, {500, 0, true}, {1, 0, false}}, nil},
	} {
		for _, way := range []bool{false, true} {
			m := newDCE(t, DCEConfig{EndWithHandle: way})
			c := client(t, m, asRoot)
			insertMany(c, tt.rows)
			want := tt.usual
			if way && tt.asHandle != nil {
				want = tt.asHandle
			}
			if got := c.parts(tt.most); !slices.Equal(got, want) {
				t.Errorf("%d rows, %d at a time, as Windows %v: %v, want %v", tt.rows, tt.most, way, got, want)
			}
			if n := handlesOf(t, m); n != 0 {
				t.Errorf("%d rows, %d at a time: %d handles are left", tt.rows, tt.most, n)
			}
		}
	}
}

// handlesOf returns how many handles the one group that there is has.
func handlesOf(t testing.TB, m *DCE) int {
	t.Helper()
	m.groups.mu.Lock()
	defer m.groups.mu.Unlock()
	if len(m.groups.byID) != 1 {
		t.Fatalf("%d groups, want 1", len(m.groups.byID))
	}
	n := 0
	for _, g := range m.groups.byID {
		g.mu.Lock()
		n += len(g.handles)
		g.mu.Unlock()
	}
	return n
}

// insertMany registers n rows of interface A, at ports from 2000 on.
func insertMany(c *dceClient, n int) {
	c.t.Helper()
	var entries []epm.Entry
	for i := range n {
		entries = append(entries, entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 0), "", uint16(2000+i)), fmt.Sprintf("row %d", i)))
		if len(entries) == 500 || i == n-1 {
			c.insert(entries...)
			entries = entries[:0]
		}
	}
}

// TestFragments: an answer comes in fragments of what client and server agreed
// upon, and is the same whatever that is.
func TestFragments(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	insertMany(client(t, m, asRoot), 500)
	var first epm.LookupReply
	for _, tt := range []struct{ client, want uint16 }{
		{1432, 1432}, {4280, 4280}, {5840, 5840}, {65535, 5840}, {0, 1432}, {1431, 1432}, {2001, 2001},
	} {
		for _, label := range labels {
			l := dceLine(t, m, tcpFar)
			c := &dceClient{t: t, label: label, maxFrag: tt.client}
			var pdus [][]byte
			c.exchange = func(b []byte) []byte {
				answer := l.send(b)
				pdus = split(t, answer)
				return answer
			}
			c.bind(0)
			if c.ack.MaxXmitFrag != tt.want || c.ack.MaxRecvFrag != maxFrag {
				t.Errorf("client's %d: agreed upon %d and %d, want %d and %d", tt.client, c.ack.MaxXmitFrag, c.ack.MaxRecvFrag, tt.want, maxFrag)
			}
			got := c.lookup(epm.Lookup{MaxEntries: 500})
			if len(got.Entries) != 500 || got.Status != 0 {
				t.Fatalf("client's %d: %d entries, %v", tt.client, len(got.Entries), got.Status)
			}
			if first.Entries == nil {
				first = got
			}
			checkEntries(t, fmt.Sprintf("client's %d", tt.client), got.Entries, first.Entries)
			for i, pdu := range pdus {
				stub := len(pdu) - 24
				if last := i == len(pdus)-1; len(pdu) > int(tt.want) || !last && (stub%8 != 0 || len(pdu) < int(tt.want)-7) {
					t.Errorf("client's %d: fragment %d of %d has %d bytes", tt.client, i, len(pdus), len(pdu))
				}
			}
			if len(pdus) < 500*75/int(tt.want) {
				t.Errorf("client's %d: %d fragments", tt.client, len(pdus))
			}
		}
	}
}

// TestSpanningRequest: arguments in several fragments are the same as in one.
func TestSpanningRequest(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asRoot)
	insertMany(c, 100) // 10 kB, fragments of 4280 bytes
	if got := c.lookup(epm.Lookup{MaxEntries: 500}); len(got.Entries) != 100 {
		t.Errorf("%d entries, want 100", len(got.Entries))
	}
}
