package rpcbind

import "testing"

func TestNetID(t *testing.T) {
	for _, tt := range []struct {
		n        NetID
		name     string
		v4, v6   bool
		protocol uint32
	}{
		{UDP, "udp", true, false, 17},
		{TCP, "tcp", true, false, 6},
		{UDP6, "udp6", false, true, 0},
		{TCP6, "tcp6", false, true, 0},
		{Local, "local", false, false, 0},
	} {
		if got := tt.n.String(); got != tt.name {
			t.Errorf("NetID(%d).String() = %s, want %s", uint8(tt.n), got, tt.name)
		}
		if got, ok := ParseNetID(tt.name); got != tt.n || !ok {
			t.Errorf("ParseNetID(%q) = %v, %t, want %v", tt.name, got, ok, tt.n)
		}
		if tt.n.IsIPv4() != tt.v4 || tt.n.IsIPv6() != tt.v6 || tt.n.IsIP() != (tt.v4 || tt.v6) {
			t.Errorf("%v: IPv4 %t, IPv6 %t, IP %t", tt.n, tt.n.IsIPv4(), tt.n.IsIPv6(), tt.n.IsIP())
		}
		if got := tt.n.Protocol(); got != tt.protocol {
			t.Errorf("%v.Protocol() = %d, want %d", tt.n, got, tt.protocol)
		}
		if got, ok := NetIDOf(tt.n.Protocol()); ok != (tt.protocol != 0) || ok && got != tt.n {
			t.Errorf("NetIDOf(%d) = %v, %t, want %v", tt.n.Protocol(), got, ok, tt.n)
		}
	}
	if got, ok := ParseNetID("unix"); got != Local || !ok {
		t.Errorf("ParseNetID(unix) = %v, %t, want local", got, ok)
	}
	for _, s := range []string{"", "UDP", "udp ", " udp", "udp\x00", "udp4", "tcp7", "ticotsord", "sctp", "-", "NetID(1)"} {
		if got, ok := ParseNetID(s); ok || got != 0 {
			t.Errorf("ParseNetID(%q) = %v, %t, want none", s, got, ok)
		}
	}
	for _, protocol := range []uint32{0, 1, 58, 132, 17 << 8, 1<<32 - 1} {
		if got, ok := NetIDOf(protocol); ok || got != 0 {
			t.Errorf("NetIDOf(%d) = %v, %t, want none", protocol, got, ok)
		}
	}
	for n, want := range map[NetID]string{0: "NetID(0)", 6: "NetID(6)", 255: "NetID(255)"} {
		if got := n.String(); got != want || n.IsIP() || n.Protocol() != 0 {
			t.Errorf("NetID(%d) = %s, IP %t, protocol %d, want %s", uint8(n), got, n.IsIP(), n.Protocol(), want)
		}
	}
}

func TestProcName(t *testing.T) {
	for _, tt := range []struct {
		p       Proc
		version uint32
		want    string
	}{
		{ProcNull, 2, "NULL"}, {ProcSet, 3, "SET"}, {ProcUnset, 4, "UNSET"},
		{ProcGetPort, 2, "GETPORT"}, {ProcGetAddr, 3, "GETADDR"}, {ProcGetAddr, 4, "GETADDR"},
		{ProcDump, 2, "DUMP"}, {ProcCallIt, 2, "CALLIT"}, {ProcCallIt, 3, "CALLIT"}, {ProcCallIt, 4, "BCAST"},
		{ProcGetTime, 3, "GETTIME"}, {ProcUAddr2TAddr, 4, "UADDR2TADDR"}, {ProcTAddr2UAddr, 3, "TADDR2UADDR"},
		{ProcGetVersAddr, 4, "GETVERSADDR"}, {ProcIndirect, 4, "INDIRECT"}, {ProcGetAddrList, 4, "GETADDRLIST"}, {ProcGetStat, 4, "GETSTAT"},
		{6, 2, "Proc(6)"}, {9, 3, "Proc(9)"}, {13, 4, "Proc(13)"}, {0, 1, "Proc(0)"}, {0, 5, "Proc(0)"}, {1<<32 - 1, 4, "Proc(4294967295)"},
	} {
		if got := tt.p.Name(tt.version); got != tt.want {
			t.Errorf("Proc(%d).Name(%d) = %s, want %s", uint32(tt.p), tt.version, got, tt.want)
		}
	}
	for version, want := range map[uint32]Proc{0: 0, 1: 0, 2: 6, 3: 9, 4: 13, 5: 0, 1<<32 - 1: 0} {
		if got := Procs(version); got != want {
			t.Errorf("Procs(%d) = %d, want %d", version, got, want)
		}
	}
}
