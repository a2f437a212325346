package mapper

import (
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// ports are those of entries, and of towers.
func portsOf(entries []epm.Entry) (ports []uint16) {
	for _, e := range entries {
		ports = append(ports, e.Tower.Port)
	}
	return ports
}

func portsOfTowers(towers []epm.Tower) (ports []uint16) {
	for _, t := range towers {
		ports = append(ports, t.Port)
	}
	return ports
}

func at(port uint16) epm.Entry {
	return entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 0), "", port), "")
}

func (c *dceClient) remove(entries ...epm.Entry) {
	c.t.Helper()
	if status, fault := c.change(epm.OpDelete, epm.Delete{Entries: entries}); status != 0 || fault != 0 {
		c.t.Fatalf("delete %+v: %v, %v", entries, status, fault)
	}
}

// mapA asks for interface A.
func mapA(handle ndr.Handle, most uint32) epm.Map {
	return epm.Map{Tower: asking(epm.TCP, syntax(uuidA, 1, 0)), Handle: handle, MaxTowers: most}
}

// TestPages: what was told in parts is told once, in order, whatever comes and
// goes meanwhile: a lookup goes from the oldest to the youngest, and meets new ones;
// a map goes the other way, and does not.
func TestPages(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c, changes := client(t, m, tcpFar), client(t, m, asRoot)
	for port := uint16(1); port <= 6; port++ {
		changes.insert(at(2000 + port))
	}
	looked, mapped := c.lookup(epm.Lookup{MaxEntries: 2}), c.find(mapA(ndr.Handle{}, 2))
	checkPorts(t, "first of lookup", portsOf(looked.Entries), 2001, 2002)
	checkPorts(t, "first of map", portsOfTowers(mapped.Towers), 2006, 2005)

	changes.remove(at(2001), at(2002), at(2003), at(2005)) // told already and not yet, by either
	changes.insert(at(2007))
	changes.insert(at(2001)) // again, so it is the youngest

	looked = c.lookup(epm.Lookup{MaxEntries: 2, Handle: looked.Handle})
	mapped = c.find(mapA(mapped.Handle, 2))
	checkPorts(t, "second of lookup", portsOf(looked.Entries), 2004, 2006)
	checkPorts(t, "second of map", portsOfTowers(mapped.Towers), 2004)
	if !mapped.Handle.IsNil() || mapped.Status != 0 {
		t.Errorf("the last of map has handle %v, %v", mapped.Handle, mapped.Status)
	}
	looked = c.lookup(epm.Lookup{MaxEntries: 3, Handle: looked.Handle})
	checkPorts(t, "third of lookup", portsOf(looked.Entries), 2007, 2001)
	if !looked.Handle.IsNil() || looked.Status != epm.StatusNotRegistered {
		t.Errorf("the last of lookup has handle %v, %v", looked.Handle, looked.Status)
	}

	// All that is left goes: the next part says so.
	looked, mapped = c.lookup(epm.Lookup{MaxEntries: 1}), c.find(mapA(ndr.Handle{}, 1))
	changes.remove(at(2004), at(2006), at(2007), at(2001))
	looked = c.lookup(epm.Lookup{MaxEntries: 1, Handle: looked.Handle})
	mapped = c.find(mapA(mapped.Handle, 1))
	if looked.Status != epm.StatusNotRegistered || !looked.Handle.IsNil() || len(looked.Entries) != 0 {
		t.Errorf("lookup of what is gone: %+v", looked)
	}
	if mapped.Status != epm.StatusNotRegistered || !mapped.Handle.IsNil() || len(mapped.Towers) != 0 {
		t.Errorf("map of what is gone: %+v", mapped)
	}
}

func checkPorts(t testing.TB, what string, got []uint16, want ...uint16) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: ports %d, want %d", what, got, want)
	}
}

// TestPagesOfObject: an answer that began with the rows of the object does not
// go on with those without one, nor the other way round.
func TestPagesOfObject(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c, changes := client(t, m, tcpFar), client(t, m, asRoot)
	ofX := func(port uint16) epm.Entry {
		e := at(port)
		e.Object = objectX
		return e
	}
	q := mapA(ndr.Handle{}, 1)
	q.Object = objectX
	changes.insert(at(2001), at(2002), at(2003))
	first := c.find(q)
	checkPorts(t, "without the object", portsOfTowers(first.Towers), 2003)
	changes.insert(ofX(3001), ofX(3002))
	q.Handle = first.Handle
	second := c.find(q)
	checkPorts(t, "goes on", portsOfTowers(second.Towers), 2002)

	q.Handle = ndr.Handle{}
	first = c.find(q)
	checkPorts(t, "of the object", portsOfTowers(first.Towers), 3002)
	changes.remove(ofX(3001), ofX(3002))
	q.Handle = first.Handle
	if second = c.find(q); len(second.Towers) != 0 || second.Status != epm.StatusNotRegistered {
		t.Errorf("after the object's rows were gone: %+v", second)
	}
}

// TestHandleKeepsInquiry: what is asked with a handle is what was asked first.
func TestHandleKeepsInquiry(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asRoot)
	for _, e := range inquiryRows {
		c.insert(e)
	}
	q := epm.Lookup{Inquiry: epm.InquiryByObject, Object: objectX, MaxEntries: 1}
	first := c.lookup(q)
	other := epm.Lookup{Inquiry: epm.InquiryByInterface, Interface: syntax(uuidB, 1, 5), VersOption: 99, Handle: first.Handle, MaxEntries: 1}
	if got := c.lookup(other); len(got.Entries) != 1 || got.Entries[0].Annotation != "A1.5X" {
		t.Errorf("lookup goes on with %+v", got)
	}
	one := c.find(epm.Map{Tower: asking(epm.TCP, syntax(uuidA, 1, 0)), MaxTowers: 1})
	if got := c.find(epm.Map{Object: objectY, Handle: one.Handle, MaxTowers: 5}); len(got.Towers) != 1 || got.Towers[0].Port != 2001 {
		t.Errorf("map goes on with %+v", got)
	}
}

// TestHandles: which handles are none (C706, section 9.3.2; contract, "faults").
func TestHandles(t *testing.T) {
	const mismatch = dcerpc.StatusContextMismatch
	m := newDCE(t, DCEConfig{})
	insertMany(client(t, m, asRoot), 5)
	c := client(t, m, tcpFar)
	sameHost, sameGroup := client(t, m, tcpFar), newClient(t, dceLine(t, m, tcpFar).send, ndr.BigEndian, c.ack.AssocGroup)
	otherHost := newClient(t, dceLine(t, m, tcpSelf).send, ndr.LittleEndian, c.ack.AssocGroup)
	if sameGroup.ack.AssocGroup != c.ack.AssocGroup || otherHost.ack.AssocGroup == c.ack.AssocGroup || otherHost.ack.AssocGroup == 0 ||
		sameHost.ack.AssocGroup == c.ack.AssocGroup {
		t.Fatalf("groups %x, %x of the same client, %x of another one, %x new", c.ack.AssocGroup, sameGroup.ack.AssocGroup, otherHost.ack.AssocGroup, sameHost.ack.AssocGroup)
	}
	looked, mapped := c.lookup(epm.Lookup{MaxEntries: 1}).Handle, c.find(mapA(ndr.Handle{}, 1)).Handle
	if looked.IsNil() || mapped.IsNil() || looked == mapped || looked.Attributes != 0 {
		t.Fatalf("handles %v, %v", looked, mapped)
	}
	attributes := looked
	attributes.Attributes = 1
	onlyAttributes := ndr.Handle{Attributes: 1}
	unknown := ndr.Handle{UUID: objectX}
	for _, tt := range []struct {
		name string
		c    *dceClient
		op   epm.Op
		a    arguments
		want dcerpc.Status
	}{
		{"unknown", c, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: unknown}, mismatch},
		{"unknown, map", c, epm.OpMap, mapA(unknown, 1), mismatch},
		{"unknown, freed", c, epm.OpLookupHandleFree, epm.LookupHandleFree{Handle: unknown}, mismatch},
		{"attributes set", c, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: attributes}, mismatch},
		{"attributes set, freed", c, epm.OpLookupHandleFree, epm.LookupHandleFree{Handle: attributes}, mismatch},
		{"attributes only", c, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: onlyAttributes}, mismatch},
		{"attributes only, map", c, epm.OpMap, mapA(onlyAttributes, 1), mismatch},
		{"map's, in a lookup", c, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: mapped}, mismatch},
		{"lookup's, in a map", c, epm.OpMap, mapA(looked, 1), mismatch},
		{"another connection, same host", sameHost, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: looked}, mismatch},
		{"another connection, same host, freed", sameHost, epm.OpLookupHandleFree, epm.LookupHandleFree{Handle: looked}, mismatch},
		{"another host that asked for the group", otherHost, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: looked}, mismatch},
		{"another host, map", otherHost, epm.OpMap, mapA(mapped, 1), mismatch},
		{"nothing to free", c, epm.OpLookupHandleFree, epm.LookupHandleFree{}, 0},
		{"another connection of the group", sameGroup, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: looked}, 0},
		{"another connection of the group, map", sameGroup, epm.OpMap, mapA(mapped, 1), 0},
		{"still", c, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: looked}, 0},
		{"freed by another connection of the group", sameGroup, epm.OpLookupHandleFree, epm.LookupHandleFree{Handle: looked}, 0},
		{"freed", c, epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: looked}, mismatch},
		{"freed twice", c, epm.OpLookupHandleFree, epm.LookupHandleFree{Handle: looked}, mismatch},
		{"map's, freed", c, epm.OpLookupHandleFree, epm.LookupHandleFree{Handle: mapped}, 0},
		{"map's after that", c, epm.OpMap, mapA(mapped, 1), mismatch},
	} {
		stub, got := tt.c.do(tt.op, tt.a)
		if got != tt.want {
			t.Errorf("%s: fault %v, want %v", tt.name, got, tt.want)
		}
		if tt.op == epm.OpLookupHandleFree && got == 0 {
			r, err := epm.ParseLookupHandleFreeReply(stub, tt.c.label)
			if err != nil || r != (epm.LookupHandleFreeReply{}) {
				t.Errorf("%s: %+v, %v, want a nil handle", tt.name, r, err)
			}
		}
	}
}

// TestHandleIsKept: a handle stays the same while a dump goes on, and is none when
// that has ended.
func TestHandleIsKept(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asRoot)
	insertMany(c, 5)
	var q epm.Lookup
	for q.MaxEntries = 2; ; {
		r := c.lookup(q)
		if !q.Handle.IsNil() && !r.Handle.IsNil() && r.Handle != q.Handle {
			t.Errorf("handle %v follows %v", r.Handle, q.Handle)
		}
		if r.Handle.IsNil() {
			break
		}
		q.Handle = r.Handle
	}
	if _, fault := c.do(epm.OpLookup, q); fault != dcerpc.StatusContextMismatch {
		t.Errorf("after the end: %v", fault)
	}
	// An inquiry that asks for nothing ends it too.
	h := c.lookup(epm.Lookup{MaxEntries: 2}).Handle
	if r := c.lookup(epm.Lookup{Handle: h}); !r.Handle.IsNil() || r.Status != 0 {
		t.Errorf("at most 0: %+v", r)
	}
	if n := handlesOf(t, m); n != 0 {
		t.Errorf("%d handles are left", n)
	}
}

// TestEviction: of the handles that nobody gives back the oldest go, those that
// were used last stay.
func TestEviction(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asRoot)
	insertMany(c, 100)
	var handles []ndr.Handle
	for range maxHandles {
		handles = append(handles, c.lookup(epm.Lookup{MaxEntries: 1}).Handle)
	}
	c.lookup(epm.Lookup{MaxEntries: 1, Handle: handles[0]}) // it becomes the youngest
	c.find(mapA(ndr.Handle{}, 1))
	if n := handlesOf(t, m); n != maxHandles {
		t.Errorf("%d handles, want %d", n, maxHandles)
	}
	for i, h := range handles {
		want := dcerpc.Status(0)
		if i == 1 {
			want = dcerpc.StatusContextMismatch
		}
		if _, got := c.do(epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: h}); got != want {
			t.Errorf("handle %d: fault %v, want %v", i, got, want)
		}
	}
}

// TestRunDown: the last connection of a group takes its handles along.
func TestRunDown(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	insertMany(client(t, m, asRoot), 5)
	count := func(want int) {
		t.Helper()
		m.groups.mu.Lock()
		defer m.groups.mu.Unlock()
		if n := len(m.groups.byID); n != want {
			t.Errorf("%d groups, want %d", n, want)
		}
	}
	first := dceLine(t, m, tcpFar)
	c := newClient(t, first.send, ndr.LittleEndian, 0)
	h := c.lookup(epm.Lookup{MaxEntries: 1}).Handle
	second := dceLine(t, m, tcpFar)
	d := newClient(t, second.send, ndr.LittleEndian, c.ack.AssocGroup)
	count(2)
	first.end()
	if _, fault := d.do(epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: h}); fault != 0 {
		t.Errorf("after the first connection: %v", fault)
	}
	second.end()
	count(1)
	e := newClient(t, dceLine(t, m, tcpFar).send, ndr.LittleEndian, c.ack.AssocGroup)
	if _, fault := e.do(epm.OpLookup, epm.Lookup{MaxEntries: 1, Handle: h}); fault != dcerpc.StatusContextMismatch || e.ack.AssocGroup == c.ack.AssocGroup {
		t.Errorf("after the last connection: %v, group %x", fault, e.ack.AssocGroup)
	}
	// Connections that never bound, or were refused, have none.
	for _, stream := range [][]byte{
		nil, dcerpc.AppendBind(nil, e.header(), dcerpc.Bind{}), dcerpc.AppendRequest(nil, e.header(), dcerpc.Request{}, 0),
	} {
		l := dceLine(t, m, tcpFar)
		l.send(stream)
		count(2)
		l.end()
		count(2)
	}
}
