package epm

import (
	"fmt"
	"testing"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		v    fmt.Stringer
		want string
	}{
		{Interface, "e1af8308-5d1f-11c9-91a4-08002b14a0fa 3.0"},
		{Management, "afa8bd80-7d8a-11c9-bef4-08002b102989 1.0"},
		{OpInsert, "ept_insert"},
		{OpDelete, "ept_delete"},
		{OpLookup, "ept_lookup"},
		{OpMap, "ept_map"},
		{OpLookupHandleFree, "ept_lookup_handle_free"},
		{OpInqObject, "ept_inq_object"},
		{OpMgmtDelete, "ept_mgmt_delete"},
		{Op(7), "Op(7)"},
		{MgmtInqIfIDs, "mgmt_inq_if_ids"},
		{MgmtInqStats, "mgmt_inq_stats"},
		{MgmtIsServerListening, "mgmt_is_server_listening"},
		{MgmtStopServerListening, "mgmt_stop_server_listening"},
		{MgmtInqPrincName, "mgmt_inq_princ_name"},
		{MgmtOp(5), "MgmtOp(5)"},
		{StatusOK, "ok"},
		{StatusNotRegistered, "ept_s_not_registered"},
		{StatusCantPerformOp, "ept_s_cant_perform_op"},
		{Status(0x16c9a0d5), "ept_s_invalid_context"},
		{Status(5), "Status(0x5)"},
		{InquiryByBoth, "by both"},
		{Inquiry(4), "Inquiry(4)"},
		{Inquiry(1 << 31), "Inquiry(2147483648)"},
		{VersUpTo, "up to"},
		{VersOption(0), "VersOption(0)"},
		{VersOption(6), "VersOption(6)"},
		{VersOption(1 << 31), "VersOption(2147483648)"},
		{ProtocolTCP, "tcp"},
		{Protocol(0x20), "Protocol(0x20)"},
		{ProtSeq(0), "ProtSeq(0)"},
		{ProtSeq(6), "ProtSeq(6)"},
	} {
		if got := tt.v.String(); got != tt.want {
			t.Errorf("%#v.String() = %q, want %q", tt.v, got, tt.want)
		}
	}
}

var status = codec[Status]{"ParseStatus", ParseStatus, Status.Append}

var statusRows = []row[Status]{
	{name: "C706, appendix O: success", data: "00000000", want: StatusOK},
	{name: "C706, appendix O: not registered", data: "d6a0c916", want: StatusNotRegistered},
}

func TestStatus(t *testing.T) {
	status.check(t, statusRows)
	status.appendAllocatesNothing(t, statusRows)
}

func FuzzParseStatus(f *testing.F) { status.fuzz(f, statusRows, nil) }

func TestProtSeq(t *testing.T) {
	for _, tt := range []struct {
		p           ProtSeq
		long, short string
		port        bool
	}{
		{TCP, "ncacn_ip_tcp", "tcp", true},
		{UDP, "ncadg_ip_udp", "udp", true},
		{NP, "ncacn_np", "np", false},
		{LRPC, "ncalrpc", "lrpc", false},
		{HTTP, "ncacn_http", "http", true},
	} {
		if tt.p.String() != tt.long || tt.p.Short() != tt.short || tt.p.HasPort() != tt.port {
			t.Errorf("%d: %q, %q, %v, want %q, %q, %v", tt.p, tt.p.String(), tt.p.Short(), tt.p.HasPort(), tt.long, tt.short, tt.port)
		}
		for _, name := range []string{tt.long, tt.short} {
			if got, ok := ParseProtSeq(name); got != tt.p || !ok {
				t.Errorf("ParseProtSeq(%q) = %v, %v, want %v", name, got, ok, tt.p)
			}
		}
	}
	for _, name := range []string{"", "TCP", "ncacn_spx", "ProtSeq(0)"} {
		if got, ok := ParseProtSeq(name); got != 0 || ok {
			t.Errorf("ParseProtSeq(%q) = %v, %v, want none", name, got, ok)
		}
	}
	if got := ProtSeq(0).Short(); got != "ProtSeq(0)" {
		t.Errorf("ProtSeq(0).Short() = %q", got)
	}
}

// Clients with full pointers count on from the referents of their request.
func TestReferents(t *testing.T) {
	in := Map{Object: object, Tower: Tower{Interface: samr, ProtSeq: TCP}}.Append(nil, ndr.LittleEndian)
	if in[0] != 1 || in[20] != 2 {
		t.Errorf("referents in %x are not 1 and 2", in)
	}
	out := MapReply{Max: 1, Towers: []Tower{{ProtSeq: TCP}}}.Append(nil, ndr.LittleEndian)
	if out[36] != 3 {
		t.Errorf("referent in %x is not 3", out)
	}
}
