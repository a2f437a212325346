//go:build linux

package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A dceClient calls operations of the endpoint mapper, in either byte order.
type dceClient struct {
	t     *testing.T
	conn  net.Conn
	label ndr.Label
	call  uint32
	in    dcerpc.PDUReader
	read  []byte // not yet fed to in
}

// dialDCE binds to an interface.
func dialDCE(t *testing.T, network, address string, label ndr.Label, iface dcerpc.Syntax) *dceClient {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(startTime)); err != nil {
		t.Fatal(err)
	}
	c := &dceClient{t: t, conn: conn, label: label}
	c.in.Reset(dcerpc.MaxFrag)
	bind := dcerpc.Bind{MaxXmitFrag: 4280, MaxRecvFrag: 4280, Contexts: []dcerpc.Context{{Abstract: iface, Transfers: []dcerpc.Syntax{dcerpc.NDR}}}}
	h, pdu := c.exchange(dcerpc.AppendBind(nil, c.header(), bind))
	ack, err := dcerpc.ParseBindAck(h, pdu)
	if err != nil || h.PType != dcerpc.PTypeBindAck || len(ack.Results) != 1 || ack.Results[0].Result != dcerpc.Acceptance {
		t.Fatalf("bind = %v %+v, %v", h.PType, ack, err)
	}
	return c
}

func (c *dceClient) header() dcerpc.Header {
	c.call++
	return dcerpc.Header{Label: c.label, CallID: c.call}
}

// exchange sends a PDU and returns the next that comes.
func (c *dceClient) exchange(pdu []byte) (dcerpc.Header, []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(pdu); err != nil {
		c.t.Fatal(err)
	}
	return c.next()
}

func (c *dceClient) next() (dcerpc.Header, []byte) {
	c.t.Helper()
	for {
		used, pdu, err := c.in.Feed(c.read)
		if err != nil {
			c.t.Fatal(err)
		}
		c.read = c.read[used:]
		if pdu != nil {
			h, err := dcerpc.ParseHeader(pdu)
			if err != nil {
				c.t.Fatal(err)
			}
			return h, pdu
		}
		b := make([]byte, 64<<10)
		n, err := c.conn.Read(b)
		if err != nil {
			c.t.Fatalf("reading an answer: %v", err)
		}
		c.read = b[:n]
	}
}

// do calls an operation and returns the results, or the status of a fault.
func (c *dceClient) do(op uint16, stub []byte) ([]byte, dcerpc.Status) {
	c.t.Helper()
	h, pdu := c.exchange(dcerpc.AppendRequest(nil, c.header(), dcerpc.Request{Opnum: op, Stub: stub}, 4280))
	var calls dcerpc.Assembler
	for {
		if h.PType == dcerpc.PTypeFault {
			f, err := dcerpc.ParseFault(h, pdu)
			if err != nil {
				c.t.Fatal(err)
			}
			return nil, f.Status
		}
		m, err := dcerpc.ParseResponse(h, pdu)
		if err != nil {
			c.t.Fatal(err)
		}
		whole, ok, err := calls.AddResponse(h, m)
		if err != nil {
			c.t.Fatal(err)
		}
		if ok {
			return append([]byte(nil), whole.Stub...), 0
		}
		h, pdu = c.next()
	}
}

// status calls an operation that answers nothing but a status.
func (c *dceClient) status(op epm.Op, stub []byte) epm.Status {
	c.t.Helper()
	reply, fault := c.do(uint16(op), stub)
	if fault != 0 {
		c.t.Fatalf("%s: fault %s", op, fault)
	}
	s, err := epm.ParseStatus(reply, c.label)
	if err != nil {
		c.t.Fatalf("%s: %v", op, err)
	}
	return s
}

// dceEntry returns an entry of the test's own interface on TCP.
func dceEntry(port uint16, annotation string) epm.Entry {
	return epm.Entry{
		Tower: epm.Tower{
			Interface: dcerpc.Syntax{UUID: ndr.MustParseUUID("deadbeef-0000-4000-8000-000000000001"), Major: 1, Minor: 2}, Transfer: dcerpc.NDR,
			ProtSeq: epm.TCP, Port: port, Addr: netip.MustParseAddr("127.0.0.1"),
		},
		Annotation: annotation,
	}
}

// callEveryOperation calls every operation over TCP, in either byte order.
func callEveryOperation(t *testing.T) {
	t.Helper()
	for _, label := range []ndr.Label{ndr.LittleEndian, ndr.BigEndian} {
		c := dialDCE(t, "tcp", "127.0.0.1:135", label, epm.Interface)
		a, b := dceEntry(50200, "first"), dceEntry(50201, "second")
		if s := c.status(epm.OpInsert, epm.Insert{Entries: []epm.Entry{a, b}}.Append(nil, label)); s != epm.StatusOK {
			t.Errorf("ept_insert = %s", s)
		}
		reply, fault := c.do(uint16(epm.OpMap), epm.Map{Tower: a.Tower, MaxTowers: 1}.Append(nil, label))
		m, err := epm.ParseMapReply(reply, label)
		if fault != 0 || err != nil || len(m.Towers) != 1 || m.Towers[0].Port != 50201 || m.Handle.IsNil() {
			t.Errorf("ept_map = %+v, %v, %v, want the youngest tower and a handle", m, fault, err)
		}
		if reply, fault = c.do(uint16(epm.OpLookupHandleFree), epm.LookupHandleFree{Handle: m.Handle}.Append(nil, label)); fault != 0 {
			t.Errorf("ept_lookup_handle_free = fault %s", fault)
		} else if f, err := epm.ParseLookupHandleFreeReply(reply, label); err != nil || !f.Handle.IsNil() {
			t.Errorf("ept_lookup_handle_free = %+v, %v", f, err)
		}
		reply, fault = c.do(uint16(epm.OpLookup), epm.Lookup{Inquiry: epm.InquiryByInterface, Interface: a.Tower.Interface, VersOption: epm.VersExact, MaxEntries: 10}.Append(nil, label))
		if l, err := epm.ParseLookupReply(reply, label); fault != 0 || err != nil || len(l.Entries) != 2 || l.Entries[0].Annotation != "first" {
			t.Errorf("ept_lookup = %+v, %v, %v", l, fault, err)
		}
		if reply, fault = c.do(uint16(epm.OpInqObject), nil); fault != 0 {
			t.Errorf("ept_inq_object = fault %s", fault)
		} else if o, err := epm.ParseInqObjectReply(reply, label); err != nil || o.Object.IsNil() {
			t.Errorf("ept_inq_object = %+v, %v", o, err)
		}
		if s := c.status(epm.OpDelete, epm.Delete{Entries: []epm.Entry{a}}.Append(nil, label)); s != epm.StatusOK {
			t.Errorf("ept_delete = %s", s)
		}
		if s := c.status(epm.OpMgmtDelete, epm.MgmtDelete{Tower: b.Tower}.Append(nil, label)); s != epm.StatusOK {
			t.Errorf("ept_mgmt_delete = %s", s)
		}
		if s := c.status(epm.OpDelete, epm.Delete{Entries: []epm.Entry{a}}.Append(nil, label)); s != epm.StatusNotRegistered {
			t.Errorf("ept_delete of what is gone = %s", s)
		}
		manage := dialDCE(t, "tcp", "127.0.0.1:135", label, epm.Management)
		for op, stub := range map[epm.MgmtOp][]byte{
			epm.MgmtInqIfIDs: nil, epm.MgmtInqStats: epm.InqStats{Count: 4}.Append(nil, label), epm.MgmtIsServerListening: nil,
			epm.MgmtStopServerListening: nil, epm.MgmtInqPrincName: epm.InqPrincName{AuthnProtocol: 10, Size: 64}.Append(nil, label),
		} {
			if _, fault := manage.do(uint16(op), stub); fault != 0 {
				t.Errorf("%s = fault %s", op, fault)
			}
		}
	}
}
