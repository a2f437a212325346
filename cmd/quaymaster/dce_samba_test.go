//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// sambaPort is where Samba's service of accounts listens.
const sambaPort = "50111"

// startSamba runs a real service, samr and lsarpc, on a port of its own and without a mapper.
func startSamba(t *testing.T) *nstest.Process {
	t.Helper()
	samba := nstest.Samba(t)
	p := nstest.Start(t, samba[0], append(samba[1:], "--option=rpc server dynamic port range="+sambaPort+"-"+sambaPort, "/usr/libexec/samba/rpcd_lsad")...)
	nstest.WaitToConnect(t, "tcp", "127.0.0.1:"+sambaPort, startTime)
	return p
}

// TestBesideSambaMapper: Samba's client is told the same by Samba's own mapper, on another host, and
// by ours that has the same rows. Seen with 4.17.12, which has 38.
func TestBesideSambaMapper(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient", "ip")
	const here, there = "10.98.0.1", "10.98.0.2"
	host := nstest.NewHost(t, "harbour", here+"/24", there+"/24")
	samba := nstest.Samba(t)
	nstest.StartCommand(t, host.Command(samba[0], append(samba[1:], "--option=rpc server dynamic port range=50120-50140", "--libexec-rpcds")...))
	nstest.WaitToConnect(t, "tcp", there+":135", startTime)
	startQuaymaster(t)

	rows := everyEntry(t, dialDCE(t, "tcp", there+":135", ndr.LittleEndian, epm.Interface))
	rows = slices.DeleteFunc(rows, func(e epm.Entry) bool { return e.Tower.Interface == epm.Interface })
	if len(rows) < 20 {
		t.Fatalf("Samba's mapper has %+v", rows)
	}
	ours := dialDCE(t, "unix", dceSocket, ndr.LittleEndian, epm.Interface)
	if s := ours.status(epm.OpInsert, epm.Insert{Entries: rows}.Append(nil, ours.label)); s != epm.StatusOK {
		t.Fatalf("ept_insert of %d entries = %s", len(rows), s)
	}
	got, want := withoutMapper(sambaDumpOf(t, here)), withoutMapper(sambaDumpOf(t, there))
	// Of Samba's rpcclient does not show the last: it comes with "not registered".
	if len(got) != len(rows) || len(want) != len(rows)-1 {
		t.Errorf("epmlookup shows %d of Samba's and %d of ours, want %d and %d", len(want), len(got), len(rows)-1, len(rows))
	} else if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Errorf("epmlookup (-Samba's +ours):\n%s", diff)
	}
	for _, name := range []string{"samr", "lsarpc", "winreg", "srvsvc", "spoolss"} {
		for _, protseq := range []string{"ncacn_ip_tcp", "ncacn_np", "ncalrpc"} {
			command := "epmmap " + name + " " + protseq
			got, want := towersOf(rpcclientTo(t, here, command)), towersOf(rpcclientTo(t, there, command))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-Samba's +ours):\n%s", command, diff)
			}
		}
	}
}

// everyEntry asks for one entry after the other.
func everyEntry(t *testing.T, c *dceClient) []epm.Entry {
	t.Helper()
	var all []epm.Entry
	for q := (epm.Lookup{MaxEntries: 1}); ; {
		stub, fault := c.do(uint16(epm.OpLookup), q.Append(nil, c.label))
		reply, err := epm.ParseLookupReply(stub, c.label)
		if fault != 0 || err != nil {
			t.Fatalf("ept_lookup = %+v, %v, fault %v", reply, err, fault)
		}
		all = append(all, reply.Entries...)
		if q.Handle = reply.Handle; reply.Status != epm.StatusOK || q.Handle.IsNil() {
			return all
		}
	}
}

func withoutMapper(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, epm.Interface.UUID.String()) })
}

// towersOf returns what epmmap writes but for the numbers of towers: Samba's mapper tells
// the oldest first, ours the youngest.
func towersOf(r result) []string {
	var lines []string
	for line := range strings.Lines(r.Stdout + r.Stderr) {
		if _, tower, ok := strings.Cut(line, "] "); ok {
			line = tower
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// TestDCEBindings: the ways in which Samba's client can be told to connect. Seen with 4.17.12.
func TestDCEBindings(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient")
	startQuaymaster(t)
	addDCE(t, "samr", "1.0", "tcp", "*:50112")
	samr := func(address string) string {
		return "ncacn_ip_tcp:" + address + "[50112,abstract_syntax=12345778-1234-abcd-ef00-0123456789ac/0x00000001]"
	}
	for _, tt := range []struct{ host, user, want string }{
		{"127.0.0.1", "%", samr("127.0.0.1")},
		{"127.0.0.2", "%", samr("127.0.0.2")}, // where it reached this host
		{"::1", "%", samr("0.0.0.0")},         // a tower has no room for more
		{"127.0.0.1[bigendian]", "%", samr("127.0.0.1")},
		{"127.0.0.1[ndr64]", "%", samr("127.0.0.1")},
		{"127.0.0.1", "somebody%secret", samr("127.0.0.1")},                                         // it does not insist
		{"127.0.0.1[sign]", "somebody%secret", "failed with error NT_STATUS_NETWORK_ACCESS_DENIED"}, // told at once
		{"127.0.0.1[seal]", "somebody%secret", "failed with error NT_STATUS_NETWORK_ACCESS_DENIED"},
	} {
		r := run(t, "rpcclient", "ncacn_ip_tcp:"+tt.host, "-U", tt.user, "-c", "epmlookup")
		if !strings.Contains(r.Stdout+r.Stderr, tt.want) {
			t.Errorf("epmlookup of %s as %s = %+v, want %q", tt.host, tt.user, r, tt.want)
		}
	}
}
