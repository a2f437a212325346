package main

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

func TestCallsDCE(t *testing.T) {
	const (
		mapper = "0883afe1 1f5d c911 91a4 08002b14a0fa"
		ndr20  = "045d888a eb1c c911 9fe8 08002b104860"
		row    = "1e3c5f9a 0000 0040 8000 000000000001"
		tower  = "4b000000 4b000000 0500 1300 0d" + row + "0100 0200 0000 1300 0d" + ndr20 + "0200 0200 0000" +
			"0100 0b 0200 0000 0100 07 0200 0087 0100 09 0400 00000000"
		nilHandle = "00000000 00000000 00000000 00000000 00000000"
	)
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"C706 12.6.4.3: bind", bind{}.appendCall(nil, 7, 1),
			"05000b03 10000000 4800 0000 07000000 d016 d016 00000000 01000000 0000 0100" +
				mapper + "0300 0000" + ndr20 + "0200 0000"},
		{"C706 appendix O: ept_map", new(mapRow).appendCall(nil, 7, 1),
			"05000003 10000000 8c00 0000 07000000 74000000 0000 0300" +
				"00000000 01000000" + tower + "00" + nilHandle + "04000000"},
		{"C706 appendix O: ept_lookup", new(lookupRows).appendCall(nil, 7, 0),
			"05000003 10000000 4000 0000 07000000 28000000 0000 0200" +
				"00000000 00000000 00000000 01000000" + nilHandle + "f4010000"},
	} {
		if want := strings.ReplaceAll(tt.want, " ", ""); hex.EncodeToString(tt.got) != want {
			t.Errorf("%s: %x, want %s", tt.name, tt.got, want)
		}
	}
}

func mapReply(id uint32, m epm.MapReply) []byte {
	return dcerpc.AppendResponse(nil, callHeader(id), dcerpc.Response{Stub: m.Append(nil, ndr.LittleEndian)}, maxFrag)
}

func bindAck(id uint32, results ...dcerpc.Result) []byte {
	return dcerpc.AppendBindAck(nil, callHeader(id), dcerpc.BindAck{AssocGroup: 1, SecondaryAddr: "135", Results: results})
}

func TestCheckDCE(t *testing.T) {
	port := func(i int, port uint16) epm.MapReply {
		return epm.MapReply{Max: maxTowers, Towers: []epm.Tower{rowTower(i, mapperAddr, port)}}
	}
	good := port(1, 1025)
	two, few, failed, anywhere := good, good, good, good
	two.Towers = append(slices.Clone(two.Towers), two.Towers[0])
	few.Max = 1
	failed.Status = epm.StatusNotRegistered
	anywhere.Towers = []epm.Tower{rowTower(1, netip.Addr{}, 1025)}
	fault := dcerpc.AppendFault(nil, callHeader(7), dcerpc.Fault{Status: dcerpc.StatusUnkIf})
	accepted, rejected := dcerpc.Result{Transfer: dcerpc.NDR}, dcerpc.Result{Result: dcerpc.ProviderRejection}
	for _, tt := range []struct {
		name  string
		q     streamQuestion
		reply []byte
		want  error
	}{
		{"bind", bind{}, bindAck(7, accepted), nil},
		{"bind rejected", bind{}, bindAck(7, rejected), errRefused},
		{"another bind", bind{}, bindAck(8, accepted), errXID},
		{"bind_nak", bind{}, dcerpc.AppendBindNak(nil, callHeader(7), dcerpc.BindNak{}), errRefused},
		{"ept_map", new(mapRow), mapReply(7, good), nil},
		{"another call", new(mapRow), mapReply(8, good), errXID},
		{"port of another row", new(mapRow), mapReply(7, port(1, 1026)), errMismatch},
		{"another row", new(mapRow), mapReply(7, port(2, 1025)), errMismatch},
		{"not the address that was asked", new(mapRow), mapReply(7, anywhere), errMismatch},
		{"two towers", new(mapRow), mapReply(7, two), errMismatch},
		{"room for another number of towers", new(mapRow), mapReply(7, few), errMismatch},
		{"a tower, and failed", new(mapRow), mapReply(7, failed), errMismatch},
		{"nothing", new(mapRow), mapReply(7, epm.MapReply{Max: maxTowers, Status: epm.StatusNotRegistered}), errMismatch},
		{"a fault", new(mapRow), fault, errRefused},
		{"a fault", new(mapRow), fault, dcerpc.Fault{Status: dcerpc.StatusUnkIf}},
		{"a bind_ack", new(mapRow), bindAck(7, accepted), errRefused},
		{"canned", new(canned), mapReply(7, port(0, 0)), nil},
	} {
		if err := tt.q.check(tt.reply, 7, 1); !errors.Is(err, tt.want) {
			t.Errorf("%s: check(%x) = %v, want %v", tt.name, tt.reply, err, tt.want)
		}
		for n := range tt.reply {
			if got, err := tt.q.replyLength(tt.reply[:n]); err != nil || got != 0 && got != len(tt.reply) {
				t.Errorf("%s: replyLength of %d bytes of %x = %d, %v, want %d", tt.name, n, tt.reply, got, err, len(tt.reply))
			}
			if err := tt.q.check(tt.reply[:n], 7, 1); err == nil {
				t.Errorf("%s: check of %d bytes of %x = nil, want an error", tt.name, n, tt.reply)
			}
		}
	}
}

// lookupReply is a reply to call 7, in fragments, with a row of the mapper's own before the given.
func lookupReply(rows ...int) []byte {
	own := rowTower(0, mapperAddr, epm.Port)
	own.Interface = epm.Interface
	l := epm.LookupReply{Max: epm.MaxEntries, Entries: []epm.Entry{{Tower: own}}}
	for _, i := range rows {
		l.Entries = append(l.Entries, epm.Entry{Tower: rowTower(i, mapperAddr, rowPort(i))})
	}
	return dcerpc.AppendResponse(nil, callHeader(7), dcerpc.Response{Stub: l.Append(nil, ndr.LittleEndian)}, dcerpc.MustRecvFragSize)
}

func TestCheckLookup(t *testing.T) {
	rows := make([]int, 18)
	for i := range rows {
		rows[len(rows)-1-i] = i // in any order
	}
	good := lookupReply(rows...)
	l := &lookupRows{rows: len(rows)}
	if n, err := l.replyLength(good); n != len(good) || err != nil || n <= dcerpc.MustRecvFragSize {
		t.Fatalf("replyLength = %d, %v, want %d in two fragments", n, err, len(good))
	}
	for n := range good {
		if got, err := l.replyLength(good[:n]); err != nil || got != 0 && got != len(good) {
			t.Errorf("replyLength of %d bytes = %d, %v, want 0 or %d", n, got, err, len(good))
		}
		if err := l.check(slices.Clone(good[:n]), 7, 0); err == nil {
			t.Errorf("check of %d bytes of %x = nil, want an error", n, good)
		}
	}
	for range 2 {
		if err := l.check(slices.Clone(good), 7, 0); err != nil {
			t.Errorf("check = %v, want nil", err)
		}
	}
	other := slices.Clone(good)
	other[len(other)/2] ^= 1
	if err := l.check(other, 7, 0); err == nil {
		t.Error("check of another reply than the first = nil, want an error")
	}
	for name, rows := range map[string][]int{"a row too few": {0, 2}, "a row twice": {0, 1, 2, 1}} {
		if err := checkLookup(lookupReply(rows...), 7, rowsOfTest); err == nil {
			t.Errorf("%s: checkLookup = nil, want an error", name)
		}
	}
}

func TestRowDocument(t *testing.T) {
	d := rowDocument(1)
	r, err := d.Registration()
	if err != nil || r.UUID != rowSyntax(1).UUID || r.Addr.Port() != rowPort(1) {
		t.Errorf("Registration of %+v = %+v, %v", d, r, err)
	}
}

// samba-dcerpcd reads what its programs print: an interface with its version in
// hexadecimal, and its endpoints indented by a blank.
func TestRowScript(t *testing.T) {
	want := `#!/bin/sh
cat <<end
1
10
9a5f3c1e-0000-4000-8000-000000000000/0x00000001 row0
 ncacn_ip_tcp:[1024]
9a5f3c1e-0000-4000-8000-000000000001/0x00000001 row1
 ncacn_ip_tcp:[1025]
end
`
	if diff := cmp.Diff(want, rowScript(2)); diff != "" {
		t.Errorf("rowScript (-want +got):\n%s", diff)
	}
}
