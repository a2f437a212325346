//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	msrpc "github.com/oiweiwei/go-msrpc/dcerpc"
	"github.com/oiweiwei/go-msrpc/midl/uuid"
	"github.com/oiweiwei/go-msrpc/msrpc/dcetypes"
	msepm "github.com/oiweiwei/go-msrpc/msrpc/epm/epm/v3"
	"github.com/oiweiwei/go-msrpc/msrpc/well_known"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A toldRow is a registration of each kind, and how clients tell of it. They were
// watched with Samba 4.17.12, impacket 0.10.0 and go-msrpc 1.5.2.
type toldRow struct {
	add     []string // arguments of "endpoints add dce"
	samba   string   // of rpcclient's epmlookup, a line
	binding string   // of impacket's rpcdump, after the interface
}

var toldRows = []toldRow{
	{
		[]string{"samr", "1.0", "tcp", "*:50112", "--annotation", "accounts"},
		"00000000-0000-0000-0000-000000000000 ncacn_ip_tcp:127.0.0.1[50112,abstract_syntax=12345778-1234-abcd-ef00-0123456789ac/0x00000001]: accounts",
		"12345778-1234-ABCD-EF00-0123456789AC v1.0 accounts ncacn_ip_tcp:127.0.0.1[50112]",
	},
	{
		[]string{"drsuapi", "4.0", "tcp", "127.0.0.7:50113"},
		"00000000-0000-0000-0000-000000000000 ncacn_ip_tcp:127.0.0.7[50113,abstract_syntax=e3514235-4b06-11d1-ab04-00c04fc2dcd2/0x00000004]:",
		"E3514235-4B06-11D1-AB04-00C04FC2DCD2 v4.0 ncacn_ip_tcp:127.0.0.7[50113]",
	},
	{
		[]string{"12345678-1234-abcd-ef00-0123456789ab", "1.2", "udp", "127.0.0.1:50111", "--annotation", "a note", "--object", "11111111-2222-3333-4444-555555555555"},
		"11111111-2222-3333-4444-555555555555 ncadg_ip_udp:127.0.0.1[50111,abstract_syntax=12345678-1234-abcd-ef00-0123456789ab/0x00000001]: a note",
		"12345678-1234-ABCD-EF00-0123456789AB v1.2 a note ncadg_ip_udp:127.0.0.1[50111]",
	},
	{
		[]string{"winreg", "1.0", "np", `\\FS1\pipe\winreg`},
		`00000000-0000-0000-0000-000000000000 ncacn_np:FS1[\pipe\winreg,abstract_syntax=338cd001-2244-31f1-aaaa-900038001003/0x00000001]:`,
		`338CD001-2244-31F1-AAAA-900038001003 v1.0 ncacn_np:FS1[\pipe\winreg]`,
	},
	{
		[]string{"winreg", "1.0", "lrpc", "rpcd_winreg"},
		"00000000-0000-0000-0000-000000000000 ncalrpc:[rpcd_winreg,abstract_syntax=338cd001-2244-31f1-aaaa-900038001003/0x00000001]:",
		"338CD001-2244-31F1-AAAA-900038001003 v1.0 ncalrpc:[rpcd_winreg]",
	},
	{
		[]string{"winreg", "1.0", "http", "127.0.0.1:593"},
		"00000000-0000-0000-0000-000000000000 ncacn_http:127.0.0.1[593,abstract_syntax=338cd001-2244-31f1-aaaa-900038001003/0x00000001]:",
		"338CD001-2244-31F1-AAAA-900038001003 v1.0 ncacn_http:127.0.0.1[593]",
	},
}

// The mapper's own row, as the same clients tell of it.
var ownDCE = toldRow{
	samba:   "00000000-0000-0000-0000-000000000000 ncacn_ip_tcp:127.0.0.1[135,abstract_syntax=e1af8308-5d1f-11c9-91a4-08002b14a0fa/0x00000003]:",
	binding: "E1AF8308-5D1F-11C9-91A4-08002B14A0FA v3.0 ncacn_ip_tcp:127.0.0.1[135]",
}

// addDCE registers, for good unless the arguments say for how long.
func addDCE(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"endpoints", "add", "dce"}, args...)
	if !slices.ContainsFunc(args, func(a string) bool { return a == "--ttl" || a == "--pid" || a == "--listening" }) {
		args = append(args, "--permanent")
	}
	args = slices.DeleteFunc(args, func(a string) bool { return a == "--listening" })
	if r := run(t, "quaymaster", args...); r.Exit != 0 {
		t.Fatalf("quaymaster %q = %+v", args, r)
	}
}

// rpcclient runs one command of Samba's client, anonymously.
func rpcclient(t *testing.T, command string) result {
	t.Helper()
	return rpcclientTo(t, "127.0.0.1", command)
}

// rpcclientTo is rpcclient for another host.
func rpcclientTo(t *testing.T, host, command string) result {
	t.Helper()
	return run(t, "rpcclient", "ncacn_ip_tcp:"+host, "-U%", "-c", command)
}

// impacket runs one of impacket's programs, with the Python that Debian's packages are for.
func impacket(t *testing.T, args ...string) result {
	t.Helper()
	const examples = "/usr/share/doc/python3-impacket/examples/"
	if _, err := os.Stat(examples + "rpcdump.py"); err != nil {
		nstest.Unavailable(t, "impacket is not installed: apt-get install python3-impacket")
	}
	if strings.HasSuffix(args[0], ".py") {
		args[0] = examples + args[0]
	}
	return runCommand(t, exec.Command("/usr/bin/python3", args...))
}

// TestDCEDumps: every dump client sees exactly what is registered.
func TestDCEDumps(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient")
	startQuaymaster(t)
	checkDumps(t, nil)
	for i, row := range toldRows {
		addDCE(t, row.add...)
		if i == 0 || i == len(toldRows)-1 {
			checkDumps(t, toldRows[:i+1])
		}
	}
}

func checkDumps(t *testing.T, rows []toldRow) {
	t.Helper()
	rows = append([]toldRow{ownDCE}, rows...)
	var samba, bindings []string
	for _, row := range rows {
		samba = append(samba, row.samba)
		bindings = append(bindings, row.binding)
	}
	if diff := cmp.Diff(samba, sambaDump(t)); diff != "" {
		t.Errorf("rpcclient's epmlookup (-want +got):\n%s", diff)
	}
	slices.Sort(bindings)
	if diff := cmp.Diff(bindings, impacketDump(t)); diff != "" {
		t.Errorf("rpcdump (-want +got):\n%s", diff)
	}
	for i := range samba { // but for its words for protocol sequences
		samba[i] = endpointOf.ReplaceAllString(samba[i], "$1 $2 $3")
	}
	if diff := cmp.Diff(samba, goDump(t)); diff != "" {
		t.Errorf("go-msrpc's client (-want +got):\n%s", diff)
	}
}

// endpointOf takes a line of epmlookup apart: object, endpoint, annotation.
var endpointOf = regexp.MustCompile(`^(\S+) .*\[(.*),abstract_syntax=.*\]: ?(.*)$`)

// sambaDump returns the lines of epmlookup, which asks for one entry after the other.
func sambaDump(t *testing.T) []string {
	t.Helper()
	return sambaDumpOf(t, "127.0.0.1")
}

func sambaDumpOf(t *testing.T, host string) []string {
	t.Helper()
	r := rpcclientTo(t, host, "epmlookup")
	lines := strings.Split(strings.TrimRight(r.Stdout, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	if r.Exit != 0 || !strings.Contains(r.Stdout+r.Stderr, "no more entries") {
		t.Errorf("epmlookup = %+v", r)
	}
	return slices.DeleteFunc(lines, func(s string) bool { return s == "" || strings.Contains(s, "no more entries") })
}

// impacketDump returns what rpcdump.py lists, sorted: an interface with its annotation, then
// each binding.
func impacketDump(t *testing.T) []string {
	t.Helper()
	r := impacket(t, "rpcdump.py", "127.0.0.1")
	if r.Exit != 0 || r.Stderr != "" {
		t.Errorf("rpcdump.py = %+v", r)
	}
	var all []string
	interf := ""
	for line := range strings.Lines(r.Stdout) {
		line = strings.TrimSpace(line)
		if uuid, ok := strings.CutPrefix(line, "UUID    : "); ok {
			interf = strings.TrimSpace(uuid)
		} else if strings.HasPrefix(line, "nca") {
			all = append(all, interf+" "+line)
		}
	}
	slices.Sort(all)
	return all
}

// goDump returns what a client written in Go gets, three entries at a time: object, endpoint and
// annotation.
func goDump(t *testing.T) []string {
	t.Helper()
	client := goClient(t)
	var all []string
	for q := (msepm.LookupRequest{MaxEntries: 3}); ; {
		reply, err := client.Lookup(t.Context(), &q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range reply.Entries {
			_, at, _ := strings.Cut(e.Tower.Binding().StringBinding.String(), "[")
			all = append(all, fmt.Sprintf("%s %s %s", e.Object, strings.TrimSuffix(at, "]"), e.Annotation))
		}
		if q.EntryHandle = reply.EntryHandle; reply.Status != 0 || q.EntryHandle.UUID.String() == (ndr.UUID{}).String() {
			return all
		}
	}
}

// goClient returns a client that is not authenticated.
func goClient(t *testing.T) msepm.EpmClient {
	t.Helper()
	conn, err := msrpc.Dial(t.Context(), "127.0.0.1", well_known.EndpointMapper(), msrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	client, err := msepm.NewEpmClient(t.Context(), conn, msrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// goMap returns the endpoints that a client written in Go is told of an interface, over TCP.
func goMap(t *testing.T, id string, major, minor uint16) []string {
	t.Helper()
	reply, err := goClient(t).Map(t.Context(), &msepm.MapRequest{MaxTowers: 10, MapTower: dcetypes.FloorsToTower([]*dcetypes.Floor{
		{Protocol: uint8(dcetypes.ProtocolUUID), UUID: uuid.MustParse(id), VersionMajor: major, Data: binary.LittleEndian.AppendUint16(nil, minor)},
		{Protocol: uint8(dcetypes.ProtocolUUID), UUID: msrpc.TransferNDR, VersionMajor: 2, Data: []byte{0, 0}},
		{Protocol: uint8(dcetypes.ProtocolRPC_CO), Data: []byte{0, 0}},
		{Protocol: uint8(dcetypes.ProtocolTCP), Data: []byte{0, 0}},
		{Protocol: uint8(dcetypes.ProtocolIP), Data: []byte{0, 0, 0, 0}},
	})})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, tower := range reply.Towers {
		all = append(all, tower.Binding().StringBinding.String())
	}
	return all
}

// TestDCELongDump: a client that asks for as much as there can be gets all of it, in several
// replies of several fragments each.
func TestDCELongDump(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	const rows = 1234
	var b strings.Builder
	for i := range rows {
		fmt.Fprintf(&b, "- {uuid: 0000%04x-1234-abcd-ef00-0123456789ab, version: '1.0', protseq: tcp, address: 127.0.0.1, port: %d, annotation: 'row %d'}\n", i, 20000+i, i)
	}
	if err := os.WriteFile("/run/rows.yaml", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "quaymaster", "endpoints", "add", "--from", "/run/rows.yaml", "--ttl", "1h"); r.Exit != 0 {
		t.Fatalf("add = %+v", r)
	}
	got := impacketDump(t)
	if len(got) != rows+1 || !slices.Contains(got, "000004D1-1234-ABCD-EF00-0123456789AB v1.0 row 1233 ncacn_ip_tcp:127.0.0.1[21233]") {
		t.Errorf("rpcdump lists %d bindings, want %d; the last is %q", len(got), rows+1, got[len(got)-1])
	}
	if got := sambaDump(t); len(got) != rows+1 {
		t.Errorf("epmlookup lists %d, want %d", len(got), rows+1)
	}
}

// TestDCEMaps: clients that look for one interface get the server that can be called, or none.
func TestDCEMaps(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient")
	startQuaymaster(t)
	for _, row := range toldRows {
		addDCE(t, row.add...)
	}
	addDCE(t, "lsarpc", "0.3", "tcp", "127.0.0.1:50114")

	for command, want := range map[string]string{
		"epmmap samr ncacn_ip_tcp":    "tower[0] ncacn_ip_tcp:127.0.0.1[50112,abstract_syntax=12345778-1234-abcd-ef00-0123456789ac/0x00000001]",
		"epmmap winreg ncacn_np":      `tower[0] ncacn_np:FS1[\\pipe\\winreg,abstract_syntax=338cd001-2244-31f1-aaaa-900038001003/0x00000001]`,
		"epmmap lsarpc ncacn_ip_tcp":  "tower[0] ncacn_ip_tcp:127.0.0.1[50114,abstract_syntax=12345778-1234-abcd-ef00-0123456789ab/0x00000000]",
		"epmmap samr ncacn_np":        "epm_Map returned 382312662 (0x16C9A0D6)",
		"epmmap spoolss ncacn_ip_tcp": "epm_Map returned 382312662 (0x16C9A0D6)",
	} {
		r := rpcclient(t, command)
		if out := r.Stdout + r.Stderr; !strings.Contains(out, want) && !strings.Contains(out, strings.ReplaceAll(want, `\\`, `\`)) {
			t.Errorf("%s = %+v, want %s", command, r, want)
		}
	}
	for _, tt := range []struct {
		uuid         string
		major, minor uint16
		want         []string
	}{
		{"12345778-1234-abcd-ef00-0123456789ac", 1, 0, []string{"ncacn_ip_tcp:127.0.0.1[50112]"}},
		{"12345778-1234-abcd-ef00-0123456789ab", 0, 3, []string{"ncacn_ip_tcp:127.0.0.1[50114]"}},
		{"12345778-1234-abcd-ef00-0123456789ab", 0, 4, nil},
	} {
		if got := goMap(t, tt.uuid, tt.major, tt.minor); !slices.Equal(got, tt.want) {
			t.Errorf("go-msrpc's Map of %s %d.%d = %q, want %q", tt.uuid, tt.major, tt.minor, got, tt.want)
		}
	}
	for _, tt := range []struct{ uuid, version, protocol, want string }{
		{"12345778-1234-abcd-ef00-0123456789ac", "1.0", "ncacn_ip_tcp", "ncacn_ip_tcp:127.0.0.1[50112]"},
		{"12345778-1234-abcd-ef00-0123456789ab", "0.0", "ncacn_ip_tcp", "ncacn_ip_tcp:127.0.0.1[50114]"},
		{"12345778-1234-abcd-ef00-0123456789ab", "0.3", "ncacn_ip_tcp", "ncacn_ip_tcp:127.0.0.1[50114]"},
		{"12345778-1234-abcd-ef00-0123456789ab", "0.4", "ncacn_ip_tcp", "ept_s_not_registered"},
		{"12345778-1234-abcd-ef00-0123456789ab", "1.0", "ncacn_ip_tcp", "ept_s_not_registered"},
		{"12345778-1234-abcd-ef00-0123456789ac", "2.0", "ncacn_ip_tcp", "ept_s_not_registered"},
		{"338cd001-2244-31f1-aaaa-900038001003", "1.0", "ncacn_np", `ncacn_np:127.0.0.1[\pipe\winreg]`},
		{"338cd001-2244-31f1-aaaa-900038001003", "1.0", "ncacn_http", "ncacn_http:127.0.0.1[593]"},
		{"338cd001-2244-31f1-aaaa-900038001003", "1.0", "ncacn_ip_tcp", "ept_s_not_registered"},
	} {
		const program = `
import sys
from impacket.uuid import uuidtup_to_bin
from impacket.dcerpc.v5 import epm
try:
    print(epm.hept_map('127.0.0.1', uuidtup_to_bin((sys.argv[1], sys.argv[2])), protocol=sys.argv[3]))
except Exception as e:
    print(e)
`
		if r := impacket(t, "-c", program, tt.uuid, tt.version, tt.protocol); r.Exit != 0 || !strings.Contains(r.Stdout, tt.want) {
			t.Errorf("hept_map of %s %s over %s = %+v, want %s", tt.uuid, tt.version, tt.protocol, r, tt.want)
		}
	}
}

// TestDCEManagement: rpcmap.py asks for the mapper's interfaces, and how it is done there.
func TestDCEManagement(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	r := impacket(t, "rpcmap.py", "-auth-level", "1", "ncacn_ip_tcp:127.0.0.1[135]")
	uuids := regexp.MustCompile(`UUID: .*`).FindAllString(r.Stdout, -1)
	want := []string{"UUID: AFA8BD80-7D8A-11C9-BEF4-08002B102989 v1.0", "UUID: E1AF8308-5D1F-11C9-91A4-08002B14A0FA v3.0"}
	if slices.Sort(uuids); r.Exit != 0 || !slices.Equal(uuids, want) {
		t.Errorf("rpcmap.py = %+v, want %q", r, want)
	}
	// Who wants to be authenticated is told at once that nobody can be.
	if r := impacket(t, "rpcmap.py", "ncacn_ip_tcp:127.0.0.1[135]"); !strings.Contains(r.Stdout, "Authentication type not recognized") {
		t.Errorf("rpcmap.py with authentication = %+v", r)
	}
}

// TestSambaService: Samba's client finds Samba's service through our mapper alone, and
// does not once the service was killed.
func TestSambaService(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient")
	startQuaymaster(t)
	w := startWatch(t)
	samba := startSamba(t)
	for _, at := range []string{"*:" + sambaPort, "127.0.0.1:" + sambaPort} {
		addDCE(t, "samr", "1.0", "tcp", at, "--listening")
		r := rpcclient(t, "enumdomains")
		if domains := regexp.MustCompile(`(?m)^name:\[.*\] idx:\[0x[01]\]$`).FindAllString(r.Stdout, -1); r.Exit != 0 || len(domains) != 2 {
			t.Errorf("enumdomains of samr at %s = %+v, want two domains", at, r)
		}
		if at[0] == '*' {
			if r := run(t, "quaymaster", "endpoints", "remove", "dce", "samr", "1.0"); r.Exit != 0 {
				t.Fatalf("remove = %+v", r)
			}
		}
	}
	samr := listed(t)
	if len(samr) != 1 || samr[0].Evidence != "listening" {
		t.Fatalf("registered are %+v, want samr, listening", samr)
	}
	killed := time.Now()
	samba.Signal(syscall.SIGKILL)
	w.mustEnd(t, samr[0], killed, registry.Gone)
	if r := rpcclient(t, "enumdomains"); r.Exit == 0 || !strings.Contains(r.Stdout+r.Stderr, "NT_STATUS_NOT_FOUND") {
		t.Errorf("enumdomains without the service = %+v", r)
	}
}

// TestDCETShark: Wireshark's dissectors find nothing wrong with what is said, and understand it.
func TestDCETShark(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "tshark", "rpcclient")
	startServe(t, "--dce-insert", "loopback")
	startSamba(t)
	c := startCapture(t)
	for _, row := range toldRows {
		addDCE(t, row.add...)
	}
	checkDumps(t, toldRows)
	rpcclient(t, "epmmap samr ncacn_ip_tcp")
	impacket(t, "rpcmap.py", "-auth-level", "1", "ncacn_ip_tcp:127.0.0.1[135]")
	impacket(t, "rpcmap.py", "ncacn_ip_tcp:127.0.0.1[135]")
	addDCE(t, "samr", "1.0", "tcp", "*:"+sambaPort, "--listening") // younger than the others
	if r := rpcclient(t, "enumdomains"); r.Exit != 0 {
		t.Errorf("enumdomains = %+v", r)
	}
	callEveryOperation(t)

	pcap := c.stop()
	findings := slices.DeleteFunc(judgeDCE(t, pcap), func(f string) bool {
		// It knows the numbers of ncalrpc's floors and not what is in them; and one client is refused.
		return strings.Contains(f, "not decoded yet for proto_id 0xc") || strings.HasSuffix(f, "Bind not acknowledged")
	})
	if len(findings) > 0 {
		t.Errorf("tshark finds:\n%s", strings.Join(findings, "\n"))
	}
	if r := run(t, "tshark", "-n", "-r", pcap, "-Y", "samr && tcp.port == "+sambaPort); r.Exit != 0 || r.Stdout == "" {
		t.Errorf("nothing of samr was captured: %+v", r)
	}
	r := run(t, "tshark", "-n", "-r", pcap, "-Y", dceFrames+" && dcerpc.pkt_type == 0", "-T", "fields", "-e", "dcerpc.opnum", "-e", "dcerpc.drep.byteorder")
	for _, said := range []string{"0\t1", "1\t1", "2\t1", "3\t1", "4\t1", "5\t1", "6\t1", "0\t0", "1\t0", "2\t0", "3\t0", "4\t0", "5\t0", "6\t0"} {
		if !slices.Contains(strings.Split(r.Stdout, "\n"), said) {
			t.Errorf("no call of operation and byte order %q was captured", said)
		}
	}
}

// dceFrames selects what is judged: all that the mapper or Samba received or sent.
const dceFrames = "(tcp.port == 135 || tcp.port == " + sambaPort + ")"

// judgeDCE returns what tshark finds wrong, and what it does not understand.
func judgeDCE(t *testing.T, pcap string) []string {
	t.Helper()
	r := run(t, "tshark", "-n", "-r", pcap, "-q", "-z", "expert,warn,"+dceFrames)
	if r.Exit != 0 {
		t.Fatalf("tshark = %+v", r)
	}
	findings := expertFindings(r.Stdout)
	r = run(t, "tshark", "-n", "-r", pcap, "-Y", dceFrames+" && tcp.len > 0 && (_ws.malformed || !dcerpc)")
	if r.Exit != 0 {
		t.Fatalf("tshark = %+v", r)
	}
	for line := range strings.Lines(r.Stdout) {
		findings = append(findings, "frame "+strings.TrimSpace(line))
	}
	return findings
}

// TestDCETSharkFindsFaults shows that the judge can condemn: a server of the test answers the
// same ept_map well and badly.
func TestDCETSharkFindsFaults(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "tshark")
	answer := func(l ndr.Label, cut int) []byte {
		stub := epm.MapReply{Max: 1, Towers: []epm.Tower{dceEntry(50000, "").Tower}}.Append(nil, l)
		return dcerpc.AppendResponse(nil, dcerpc.Header{Label: l, CallID: 2}, dcerpc.Response{Stub: stub[:len(stub)-cut]}, dcerpc.MaxFrag)
	}
	strange := answer(ndr.LittleEndian, 0)
	strange[0] = 9 // rpc_vers
	for _, tt := range []struct {
		name   string
		label  ndr.Label
		answer []byte
		faulty bool
	}{
		{"well formed", ndr.LittleEndian, answer(ndr.LittleEndian, 0), false},
		{"well formed, big-endian", ndr.BigEndian, answer(ndr.BigEndian, 0), false},
		{"without the status", ndr.LittleEndian, answer(ndr.LittleEndian, 4), true},
		{"a tower cut off, big-endian", ndr.BigEndian, answer(ndr.BigEndian, 40), true},
		{"another protocol", ndr.LittleEndian, strange, true},
	} {
		c := startCapture(t)
		answerPDU(t, tt.label, tt.answer)
		findings := judgeDCE(t, c.stop())
		if faulty := len(findings) > 0; faulty != tt.faulty {
			t.Errorf("%s: tshark finds %q, faulty = %v, want %v", tt.name, findings, faulty, tt.faulty)
		}
	}
}

// answerPDU makes a call of ept_map and answers it, over real sockets.
func answerPDU(t *testing.T, label ndr.Label, answer []byte) {
	t.Helper()
	ln, err := net.Listen("tcp4", dceAddress)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		b := make([]byte, 4280)
		ack := dcerpc.AppendBindAck(nil, dcerpc.Header{Label: label, CallID: 1}, dcerpc.BindAck{
			MaxXmitFrag: 4280, MaxRecvFrag: 4280, AssocGroup: 1, SecondaryAddr: "135", Results: []dcerpc.Result{{Transfer: dcerpc.NDR}},
		})
		for _, pdu := range [][]byte{ack, answer} {
			if _, err = conn.Read(b); err == nil {
				_, err = conn.Write(pdu)
			}
			if err != nil {
				break
			}
		}
		served <- err
	}()
	c := dialDCE(t, "tcp", dceAddress, label, epm.Interface)
	stub := epm.Map{Tower: dceEntry(0, "").Tower, MaxTowers: 1}.Append(nil, label)
	if _, err := c.conn.Write(dcerpc.AppendRequest(nil, c.header(), dcerpc.Request{Opnum: uint16(epm.OpMap), Stub: stub}, 4280)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c.conn); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	c.conn.Close()
}
