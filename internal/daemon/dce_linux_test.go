package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// ownDCERow is what [registered] tells of the endpoint mapper's own row, by default.
const ownDCERow = "3.0 ncacn_ip_tcp 0.0.0.0:135"

// A dceClient is a connection on which the endpoint mapper's interface is bound.
type dceClient struct{ net.Conn }

func dialDCE(t *testing.T, network, address string) *dceClient {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c, err := bindDCE(conn)
	if err != nil {
		t.Fatalf("%s %s: %v", network, address, err)
	}
	return c
}

// bindDCE binds the endpoint mapper's interface.
func bindDCE(conn net.Conn) (*dceClient, error) {
	c := &dceClient{conn}
	bind := dcerpc.Bind{MaxXmitFrag: 5840, MaxRecvFrag: 5840, Contexts: []dcerpc.Context{{Abstract: epm.Interface, Transfers: []dcerpc.Syntax{dcerpc.NDR}}}}
	if _, err := conn.Write(dcerpc.AppendBind(nil, dcerpc.Header{Label: ndr.LittleEndian, CallID: 1}, bind)); err != nil {
		return nil, err
	}
	h, pdu, err := c.receive()
	if err != nil {
		return nil, err
	}
	if h.PType != dcerpc.PTypeBindAck {
		return nil, fmt.Errorf("a bind is answered with %v", h.PType)
	}
	ack, err := dcerpc.ParseBindAck(h, pdu)
	if err == nil && (len(ack.Results) != 1 || ack.Results[0].Result != dcerpc.Acceptance) {
		err = fmt.Errorf("bind_ack %+v", ack)
	}
	return c, err
}

// receive returns one PDU.
func (c *dceClient) receive() (dcerpc.Header, []byte, error) {
	b := make([]byte, dcerpc.HeaderSize)
	if _, err := io.ReadFull(c, b); err != nil {
		return dcerpc.Header{}, nil, err
	}
	h, err := dcerpc.ParseHeader(b)
	if err != nil {
		return h, nil, err
	}
	b = append(b, make([]byte, int(h.FragLength)-len(b))...)
	_, err = io.ReadFull(c, b[dcerpc.HeaderSize:])
	return h, b, err
}

// call returns the results of an operation, or its [dcerpc.Fault].
func (c *dceClient) call(op epm.Op, stub []byte) ([]byte, error) {
	request := dcerpc.Request{Opnum: uint16(op), Stub: stub}
	if _, err := c.Write(dcerpc.AppendRequest(nil, dcerpc.Header{Label: ndr.LittleEndian, CallID: 2}, request, 5840)); err != nil {
		return nil, err
	}
	h, pdu, err := c.receive()
	switch {
	case err != nil:
		return nil, err
	case h.PType == dcerpc.PTypeFault:
		fault, err := dcerpc.ParseFault(h, pdu)
		return nil, errors.Join(err, fault)
	}
	r, err := dcerpc.ParseResponse(h, pdu)
	return r.Stub, err
}

// lookup returns the entries of one call of ept_lookup for all of them.
func (c *dceClient) lookup(most uint32, h ndr.Handle) (epm.LookupReply, error) {
	stub, err := c.call(epm.OpLookup, epm.Lookup{MaxEntries: most, Handle: h}.Append(nil, ndr.LittleEndian))
	if err != nil {
		return epm.LookupReply{}, err
	}
	return epm.ParseLookupReply(stub, ndr.LittleEndian)
}

// change calls ept_insert or ept_delete with one entry.
func (c *dceClient) change(op epm.Op, e epm.Entry) error {
	stub := epm.Insert{Entries: []epm.Entry{e}}.Append(nil, ndr.LittleEndian)
	if op == epm.OpDelete {
		stub = epm.Delete{Entries: []epm.Entry{e}}.Append(nil, ndr.LittleEndian)
	}
	b, err := c.call(op, stub)
	if err != nil {
		return err
	}
	status, err := epm.ParseStatus(b, ndr.LittleEndian)
	if err == nil && status != 0 {
		err = errors.New(status.String())
	}
	return err
}

// answersDCE fails the test unless the endpoint mapper tells of its own row at an address.
func answersDCE(t *testing.T, network, address string) {
	t.Helper()
	r, err := dialDCE(t, network, address).lookup(100, ndr.Handle{})
	if err != nil || r.Status != 0 || len(r.Entries) == 0 || r.Entries[0].Tower.Interface != epm.Interface {
		t.Errorf("%s %s: ept_lookup = %+v, %v, want the mapper's own row", network, address, r, err)
	}
}

// refuses fails the test if anything listens at an address.
func refuses(t *testing.T, address string) {
	t.Helper()
	if conn, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("something listens at %s: %v", address, err)
		if err == nil {
			conn.Close()
		}
	}
}

// entry is a registration of an interface of the test's own at a port.
func entry(port uint16) epm.Entry {
	i := dcerpc.Syntax{UUID: ndr.MustParseUUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"), Major: 3}
	return epm.Entry{Annotation: "of the test", Tower: epm.Tower{Interface: i, Transfer: dcerpc.NDR, ProtSeq: epm.TCP, Port: port, Addr: netip.MustParseAddr("127.0.0.1")}}
}

// TestActivationBothMappers has sockets for both mappers passed: known by port, by path and by name.
func TestActivationBothMappers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	dir := t.TempDir()
	o := Options{ONCSocket: dir + "/o.sock", DCESocket: dir + "/e.sock", Control: dir + "/c.sock"}
	s := startReady(t, passing(t, command(t, o), "unit:unit:unit:unit:unit:epmapper:epmapper",
		fileOf(t, listen(t, "tcp4", "0.0.0.0:111")), fileOf(t, listen(t, "udp4", "0.0.0.0:111")),
		fileOf(t, listen(t, "tcp4", "0.0.0.0:135")), fileOf(t, listen(t, "tcp6", "[::]:135")), fileOf(t, listen(t, "unix", o.DCESocket)),
		fileOf(t, listen(t, "tcp4", "127.0.0.1:700")), fileOf(t, listen(t, "unix", "@/named"))))
	answers(t, "tcp", "127.0.0.1:111")
	answers(t, "udp", "127.0.0.1:111")
	answers(t, "unix", o.ONCSocket) // not passed, so opened
	for _, address := range []string{"127.0.0.1:135", "[::1]:135", "127.0.0.1:700"} {
		answersDCE(t, "tcp", address)
	}
	answersDCE(t, "unix", o.DCESocket)
	answersDCE(t, "unix", "@/named")
	refuses(t, "[::1]:111")
	got := registered(t, o.Control)
	if want := []string{ownDCERow, "3.0 ncacn_ip_tcp 127.0.0.1:700"}; len(got) != 10 || !slices.Equal(got[8:], want) {
		t.Errorf("own rows = %q, want eight of the port mapper's and %q", got, want)
	}
	s.stop(t)
	if !exists(o.DCESocket) {
		t.Error("the daemon removed a path that is the service manager's")
	}
	if exists(o.ONCSocket) {
		t.Error("the daemon left a path that is its own")
	}
}

// TestActivationOneMapper: a service manager that passes addresses for one mapper has said
// where to listen; what else is wanted must be chosen.
func TestActivationOneMapper(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	dir := t.TempDir()
	for _, tt := range []struct {
		name            string
		o               Options
		passed          []string // network address
		onc, dce        []string // that answer
		refused, notUDP []string
	}{
		{"port mapper's", Options{}, []string{"tcp4 0.0.0.0:111", "udp4 0.0.0.0:111"}, []string{"127.0.0.1:111"}, nil, []string{"127.0.0.1:135", "[::1]:135", "[::1]:111"}, nil},
		{
			"port mapper's, and the other's chosen", Options{ListenDCE: []string{"127.0.0.1"}}, []string{"tcp4 0.0.0.0:111", "udp4 0.0.0.0:111"},
			[]string{"127.0.0.1:111"}, []string{"127.0.0.1:135"}, []string{"[::1]:135", "[::1]:111"}, nil,
		},
		{"endpoint mapper's", Options{}, []string{"tcp4 0.0.0.0:135"}, nil, []string{"127.0.0.1:135"}, []string{"127.0.0.1:111", "[::1]:111", "[::1]:135"}, []string{"127.0.0.1:111"}},
		{"at a port that was chosen", Options{ListenDCE: []string{"127.0.0.1:700"}}, []string{"tcp4 127.0.0.1:700"}, nil, []string{"127.0.0.1:700"}, []string{"127.0.0.1:111", "127.0.0.1:135"}, nil},
		{"at the usual port, another chosen", Options{ListenDCE: []string{"127.0.0.1:700"}}, []string{"tcp4 127.0.0.1:135"}, nil, []string{"127.0.0.1:700", "127.0.0.1:135"}, []string{"127.0.0.1:111"}, nil},
		{"one for both families", Options{}, []string{"tcp [::]:135"}, nil, []string{"127.0.0.1:135", "[::1]:135"}, []string{"127.0.0.1:111"}, nil},
		{"one for both families, and chosen", Options{ListenDCE: []string{":135"}}, []string{"tcp [::]:135"}, nil, []string{"127.0.0.1:135", "[::1]:135"}, []string{"127.0.0.1:111"}, nil},
	} {
		o := tt.o
		o.ONCSocket, o.DCESocket, o.Control, o.State = dir+"/o.sock", dir+"/e.sock", dir+"/c.sock", inMemory
		var files []*os.File
		for _, text := range tt.passed {
			network, address, _ := strings.Cut(text, " ")
			files = append(files, fileOf(t, listen(t, network, address)))
		}
		s := startReady(t, passing(t, command(t, o), "", files...))
		for _, f := range files {
			f.Close() // or something listens after the daemon's end
		}
		for _, address := range tt.onc {
			answers(t, "tcp", address)
			answers(t, "udp", address)
		}
		for _, address := range tt.dce {
			answersDCE(t, "tcp", address)
		}
		for _, address := range tt.refused {
			refuses(t, address)
		}
		for _, address := range tt.notUDP {
			listen(t, "udp", address).Close()
		}
		answers(t, "unix", o.ONCSocket)
		dialDCE(t, "unix", o.DCESocket)
		s.stop(t)
		if t.Failed() {
			t.Fatal(tt.name)
		}
	}
}

func TestActivationDatagramsOfDCE(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	p := nstest.StartCommand(t, passing(t, command(t, Options{}), "epmapper", fileOf(t, listen(t, "udp4", "127.0.0.1:135"))))
	const want = `socket 3 passed by the service manager: "epmapper" is no stream socket: the endpoint mapper has no other` + "\n"
	if status := p.Wait(t, patience); status != 1 || p.Output() != want {
		t.Errorf("exit status %d, %q, want 1, %q", status, p.Output(), want)
	}
	nothingListens(t)
}

// TestRegisterDCE: over the local socket everybody may register, and over the network whom
// dce_insert names. What is registered is told by the rules of dce_address and dce_lookup_end.
func TestRegisterDCE(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const denied = "access denied"
	far := func(t *testing.T) *dceClient {
		t.Helper()
		c, err := bindDCE(dialFrom(t, "far", "tcp4", "10.98.0.1:1135"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	listen(t, "tcp4", "127.0.0.1:7000")
	for _, tt := range []struct {
		insert        []string
		loopback, far bool // may register
		warning       bool
	}{
		{nil, false, false, false},
		{[]string{"loopback"}, true, false, false},
		{[]string{"10.98.0.0/24"}, false, true, false},
		{[]string{"10.97.0.0/24"}, false, false, false},
		{[]string{"any"}, true, true, true},
	} {
		r := startReloading(t, Options{ListenDCE: []string{"0.0.0.0:1135"}, DCEInsert: tt.insert})
		const warning = `level=WARN msg="every host that reaches this one may register with the endpoint mapper" option="dce_insert: any"`
		if strings.Contains(r.Output(), warning) != tt.warning {
			t.Errorf("dce_insert %q: the log has\n%swant the warning: %v", tt.insert, r.Output(), tt.warning)
		}
		for _, c := range []struct {
			from string
			may  bool
			*dceClient
		}{
			{"the local socket", true, dialDCE(t, "unix", r.options.dceSocket())},
			{"loopback", tt.loopback, dialDCE(t, "tcp4", "127.0.0.1:1135")},
			{"far", tt.far, far(t)},
		} {
			before := r.counter(t, "dce_denied")
			for _, op := range []epm.Op{epm.OpInsert, epm.OpDelete} {
				err := c.change(op, entry(7000))
				if fault := (dcerpc.Fault{}); c.may && err != nil || !c.may && (!errors.As(err, &fault) || fault.Status != dcerpc.StatusAccessDenied) {
					t.Errorf("dce_insert %q: %v over %s = %v, want success %v, else %s", tt.insert, op, c.from, err, c.may, denied)
				}
			}
			if n := r.counter(t, "dce_denied") - before; (n == 2) == c.may || n == 1 {
				t.Errorf("dce_insert %q: %d calls over %s were counted as denied", tt.insert, n, c.from)
			}
		}
		r.stop(t)
	}
}

// TestDCEAddressAndEnd: what is told of servers that listen everywhere, and how a dump in parts ends.
func TestDCEAddressAndEnd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	listen(t, "tcp4", "127.0.0.1:7000")
	listen(t, "tcp4", "127.0.0.1:7001")
	for _, tt := range []struct {
		address, end string
		tcp, unix    string // address told of the mapper's own row
		status       epm.Status
	}{
		{"", "", "127.0.0.1", "127.0.0.1", epm.StatusNotRegistered},
		{"192.0.2.9", "status", "192.0.2.9", "192.0.2.9", epm.StatusNotRegistered},
		{"", "handle", "127.0.0.1", "127.0.0.1", 0},
	} {
		r := startReloading(t, Options{ListenDCE: []string{"0.0.0.0:1135"}, DCEAddress: tt.address, DCELookupEnd: tt.end})
		local, tcp := dialDCE(t, "unix", r.options.dceSocket()), dialDCE(t, "tcp4", "127.0.0.1:1135")
		for c, want := range map[*dceClient]string{local: tt.unix, tcp: tt.tcp} {
			l, err := c.lookup(10, ndr.Handle{})
			if err != nil || len(l.Entries) != 1 || l.Entries[0].Tower.Addr.String() != want || l.Status != 0 {
				t.Errorf("dce_address %q: ept_lookup = %+v, %v, want one row at %s", tt.address, l, err, want)
			}
		}
		for _, port := range []uint16{7000, 7001} {
			if err := local.change(epm.OpInsert, entry(port)); err != nil {
				t.Fatal(err)
			}
		}
		first, err := tcp.lookup(2, ndr.Handle{})
		if err != nil || len(first.Entries) != 2 || first.Status != 0 || first.Handle.IsNil() {
			t.Fatalf("the first part = %+v, %v, want two entries and a handle", first, err)
		}
		last, err := tcp.lookup(2, first.Handle)
		if err != nil || len(last.Entries) != 1 || last.Status != tt.status || !last.Handle.IsNil() {
			t.Errorf("dce_lookup_end %q: the last part = %+v, %v, want one entry, status %v, no handle", tt.end, last, err, tt.status)
		}
		r.stop(t)
	}
}

// TestDCECounters: each event has its counter.
func TestDCECounters(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	r := startReloading(t, Options{})
	count := func(want string) {
		t.Helper()
		var got []string
		for _, name := range []string{"calls", "found", "not_found", "denied", "faults", "bind_refused", "broken"} {
			if n := r.counter(t, "dce_"+name); n > 0 {
				got = append(got, fmt.Sprintf("%s %d", name, n))
			}
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("counters are %q, want %q", text, want)
		}
	}
	count("")
	c := dialDCE(t, "tcp4", "127.0.0.1:1135")
	count("")
	if _, err := c.lookup(10, ndr.Handle{}); err != nil {
		t.Error(err)
	}
	count("calls 1, found 1")
	ask := epm.Map{Tower: entry(0).Tower, MaxTowers: 1}
	if _, err := c.call(epm.OpMap, ask.Append(nil, ndr.LittleEndian)); err != nil {
		t.Error(err)
	}
	count("calls 2, found 1, not_found 1")
	if err := c.change(epm.OpInsert, entry(7000)); err == nil {
		t.Error("registered over the network")
	}
	count("calls 3, found 1, not_found 1, denied 1")
	if _, err := c.call(99, nil); err == nil {
		t.Error("operation 99 succeeds")
	}
	count("calls 4, found 1, not_found 1, denied 1, faults 1")
	// A header of a bind that wants to be authenticated, and no more contexts than in C706.
	authenticated := dcerpc.AppendBind(nil, dcerpc.Header{Label: ndr.LittleEndian, CallID: 1}, dcerpc.Bind{
		MaxXmitFrag: 5840, MaxRecvFrag: 5840, Contexts: []dcerpc.Context{{Abstract: epm.Interface, Transfers: []dcerpc.Syntax{dcerpc.NDR}}},
	})
	authenticated = append(authenticated, 10, 2, 0, 0, 0, 0, 0, 0, 'N', 'T', 'L', 'M') // NTLM at connect level
	binary.LittleEndian.PutUint16(authenticated[8:], uint16(len(authenticated)))
	binary.LittleEndian.PutUint16(authenticated[10:], 4)
	conn, err := net.Dial("tcp4", "127.0.0.1:1135")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(authenticated)
	h, pdu, err := (&dceClient{conn}).receive()
	if err != nil {
		t.Fatal(err)
	}
	if nak, err := dcerpc.ParseBindNak(h, pdu); h.PType != dcerpc.PTypeBindNak || err != nil || nak.Reason != dcerpc.RejectAuthenticationTypeNotRecognized {
		t.Errorf("an authenticated bind = %v, %+v, %v, want bind_nak 8", h.PType, nak, err)
	}
	count("calls 4, found 1, not_found 1, denied 1, faults 1, bind_refused 1")
	if again, err := bindDCE(conn); err != nil { // without authentication, on the same connection
		t.Error(err)
	} else if _, err := again.lookup(10, ndr.Handle{}); err != nil {
		t.Error(err)
	}
	count("calls 5, found 2, not_found 1, denied 1, faults 1, bind_refused 1")
	if _, err := bindDCE(conn); err == nil { // a second bind
		t.Error("bound twice")
	}
	count("calls 5, found 2, not_found 1, denied 1, faults 1, bind_refused 2, broken 1")
	r.stop(t)
}

// TestReloadDCE: networks and limits apply at once to the endpoint mapper too, and the rest,
// such as who may register, with the next start.
func TestReloadDCE(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	r := startReloading(t, Options{ListenDCE: []string{"0.0.0.0:1135"}})
	far := func() *dceClient {
		t.Helper()
		c, err := bindDCE(dialFrom(t, "far", "tcp4", "10.98.0.1:1135"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	isDenied := func(err error) bool {
		fault := dcerpc.Fault{}
		return errors.As(err, &fault) && fault.Status == dcerpc.StatusAccessDenied
	}
	c := far()
	if _, err := c.lookup(10, ndr.Handle{}); err != nil {
		t.Errorf("ept_lookup from another host: %v", err)
	}
	r.options.Networks.Dump, r.options.DCEInsert = []Network{}, []string{"any"}
	r.hangUp(t, readAgain)
	if _, err := c.lookup(10, ndr.Handle{}); !isDenied(err) {
		t.Errorf("ept_lookup by who may not: %v, want access denied", err)
	}
	if _, err := c.call(epm.OpMap, epm.Map{Tower: entry(0).Tower, MaxTowers: 1}.Append(nil, ndr.LittleEndian)); err != nil {
		t.Errorf("ept_map by who may not dump: %v", err)
	}
	if err := c.change(epm.OpInsert, entry(7000)); !isDenied(err) {
		t.Errorf("ept_insert before the next start: %v, want access denied", err)
	}
	answersDCE(t, "tcp4", "127.0.0.1:1135") // this host may in any case
	answersDCE(t, "tcp4", "10.98.0.1:1135")
	answersDCE(t, "unix", r.options.dceSocket())

	r.options.Networks = Networks{Ask: []Network{network(t, "10.97.0.0/16")}}
	r.hangUp(t, readAgain)
	if _, err := c.lookup(10, ndr.Handle{}); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection of a stranger: %v, want its end", err)
	}
	answersDCE(t, "tcp4", "127.0.0.1:1135")
	r.stop(t)
}

// TestDCESurvives: what was registered over the local socket outlives the daemon.
func TestDCESurvives(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	listen(t, "tcp4", "127.0.0.1:7000")
	dir := t.TempDir()
	o := Options{Dev: true, StateDir: dir}
	s := startReady(t, command(t, o))
	if err := dialDCE(t, "unix", o.dceSocket()).change(epm.OpInsert, entry(7000)); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGKILL)
	s.Wait(t, patience)
	if !exists(filepath.Join(dir, "epmapper.sock")) {
		t.Error("nothing is left over to be replaced")
	}
	s = startReadyAt(t, command(t, o), filepath.Join(t.TempDir(), "again"))
	got := registered(t, o.control())
	if want := "3.0 ncacn_ip_tcp 127.0.0.1:7000"; !slices.Contains(got, want) {
		t.Errorf("after a restart there are %q, want %q among them", got, want)
	}
	s.stop(t)
}
