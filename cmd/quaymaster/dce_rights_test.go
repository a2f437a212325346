//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// beTheRegistrar is a program: "registrar insert|delete NETWORK ADDRESS PORT [HOST]" calls
// ept_insert or ept_delete for the test's interface at HOST, without it everywhere, and writes
// the status or the fault. To "replace" is to insert in place of what is there; to "pose" is to
// insert the mapper's interface.
func beTheRegistrar() {
	answer, err := registrar(os.Args[1:])
	if err != nil {
		answer = "error: " + err.Error()
	}
	fmt.Println(answer)
}

func registrar(args []string) (string, error) {
	port, err := strconv.ParseUint(args[3], 10, 16)
	if err != nil {
		return "", err
	}
	e := dceEntry(uint16(port), "by "+args[1])
	e.Tower.Addr = netip.Addr{}
	if len(args) > 4 {
		e.Tower.Addr = netip.MustParseAddr(args[4])
	}
	if args[0] == "pose" {
		e.Tower.Interface = epm.Interface
	}
	op, stub := epm.OpInsert, epm.Insert{Entries: []epm.Entry{e}, Replace: args[0] == "replace"}.Append(nil, ndr.LittleEndian)
	if args[0] == "delete" {
		op, stub = epm.OpDelete, epm.Delete{Entries: []epm.Entry{e}}.Append(nil, ndr.LittleEndian)
	}
	conn, err := bindDCE(args[1], args[2])
	if err != nil {
		return "", err
	}
	defer conn.Close()
	pdu, err := askDCE(conn, requestPDU(3, op, stub, wholeCall))
	if err != nil {
		return "", err
	}
	h, err := dcerpc.ParseHeader(pdu)
	if err != nil {
		return "", err
	}
	if h.PType == dcerpc.PTypeFault {
		f, err := dcerpc.ParseFault(h, pdu)
		return f.Status.String(), err
	}
	m, err := dcerpc.ParseResponse(h, pdu)
	if err != nil {
		return "", err
	}
	status, err := epm.ParseStatus(m.Stub, h.Label)
	return status.String(), err
}

const denied = "rpc_s_access_denied"

// mustBeTold runs a registrar, and checks what it is told.
func mustBeTold(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	if r := runCommand(t, cmd); r.Stdout != want+"\n" {
		t.Errorf("%q = %+v, want %s", cmd.Args, r, want)
	}
}

// registrarAs is a registrar of a user of this host.
func registrarAs(uid uint32, args ...string) *exec.Cmd {
	return selfCommand("registrar", asUser(uid), args...)
}

// dceListed returns the rows of the test's interface.
func dceListed(t *testing.T) []endpoint.Document {
	t.Helper()
	uuid := dceEntry(1, "").Tower.Interface.UUID.String()
	return slices.DeleteFunc(listed(t), func(d endpoint.Document) bool { return d.UUID != uuid })
}

func theOnlyDCE(t *testing.T) endpoint.Document {
	t.Helper()
	rows := dceListed(t)
	if len(rows) != 1 {
		t.Fatalf("registered are %+v, want one row", rows)
	}
	return rows[0]
}

// TestDCELocalUsers: over the local socket a row is whose the process is, as the kernel tells.
func TestDCELocalUsers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	startQuaymaster(t)
	hers := startPeer(t, asUser(alice))
	port := hers.do(t, "listen tcp4 0.0.0.0:0")

	mustBeTold(t, registrarAs(alice, "insert", "unix", dceSocket, port), "ok")
	d := theOnlyDCE(t)
	if d.UID != alice || d.Evidence != "listening" || d.Annotation != "by unix" || d.Address != "0.0.0.0" || d.Version.String() != "1.2" {
		t.Errorf("registered is %+v", d)
	}
	mustBeTold(t, registrarAs(bob, "delete", "unix", dceSocket, port), denied)
	mustBeTold(t, registrarAs(bob, "insert", "unix", dceSocket, "700"), denied) // needs privileges
	mustBeTold(t, registrarAs(bob, "insert", "unix", dceSocket, "0"), "ept_s_invalid_entry")
	if now := theOnlyDCE(t); now.ID != d.ID {
		t.Errorf("now registered is %+v, want %+v", now, d)
	}
	mustBeTold(t, registrarAs(alice, "delete", "unix", dceSocket, port), "ok")
	mustBeTold(t, registrarAs(alice, "delete", "unix", dceSocket, port), "ept_s_not_registered")
	mustBeTold(t, registrarAs(alice, "insert", "unix", dceSocket, port), "ok")
	mustBeTold(t, registrarAs(0, "delete", "unix", dceSocket, port), "ok") // root may
	if rows := dceListed(t); len(rows) != 0 {
		t.Errorf("left are %+v", rows)
	}
}

// TestDCEInsertRefused: what ept_insert is for nobody, or not for everybody.
func TestDCEInsertRefused(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "ip")
	near := nstest.NewHost(t, "near", "10.99.1.1/24", "10.99.1.2/24")
	startServe(t, "--dce-insert", "10.99.1.0/24")
	w := startWatch(t)
	hers, his := startPeer(t, asUser(alice)), startPeer(t, asUser(bob))
	byNear := func(args ...string) *exec.Cmd { return near.Command("registrar", args...) }

	// The mapper is where it is.
	port := his.do(t, "listen tcp4 0.0.0.0:0")
	for _, uid := range []uint32{0, alice} {
		mustBeTold(t, registrarAs(uid, "pose", "unix", dceSocket, port), denied)
	}
	mustBeTold(t, registrarAs(alice, "insert", "unix", dceSocket, "135"), denied)
	mustBeTold(t, byNear("pose", "tcp", "10.99.1.1:135", port), denied)
	mustBeTold(t, byNear("insert", "tcp", "10.99.1.1:135", "445"), denied)
	if rows := dceListed(t); len(rows) != 0 {
		t.Errorf("registered are %+v", rows)
	}

	// One port has one owner, in both dialects.
	onc := hers.register(t, "unix", userProgram, "tcp")
	mustBeTold(t, registrarAs(bob, "insert", "unix", dceSocket, strconv.Itoa(onc)), denied)
	mustBeTold(t, registrarAs(alice, "insert", "unix", dceSocket, strconv.Itoa(onc)), "ok")
	both := theOnlyDCE(t)
	mustAnswer(t, "true", hers.do(t, "unset unix %d 1 tcp", userProgram))
	if answer := his.do(t, "set unix %d 1 tcp %s", userProgram, universal("0.0.0.0", onc)); answer != "false" {
		t.Errorf("SET at the port of alice's interface = %q, want false", answer)
	}

	// Nobody but root replaces another's row.
	mustBeTold(t, registrarAs(bob, "replace", "unix", dceSocket, port), denied)
	mustBeTold(t, byNear("replace", "tcp", "10.99.1.1:135", "5001"), denied)
	if now := theOnlyDCE(t); now.ID != both.ID {
		t.Errorf("registered is %+v, want %+v", now, both)
	}
	mustBeTold(t, registrarAs(0, "replace", "unix", dceSocket, port), "ok")
	if now := theOnlyDCE(t); now.UID != 0 || strconv.Itoa(int(now.Port)) != port {
		t.Errorf("registered is %+v, want root's at port %s", now, port)
	}
	if a := w.waitEnd(t, both); a.By != "root" {
		t.Errorf("alice's row was ended by %q, want root", a.By)
	}
}

// TestDCEInsertOverNetwork: strangers register nothing, and whom the flag names does for an hour.
func TestDCEInsertOverNetwork(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "ip")
	near, far := nstest.NewHost(t, "near", "10.99.1.1/24", "10.99.1.2/24"), nstest.NewHost(t, "far", "10.99.2.1/24", "10.99.2.2/24")
	there := func(h *nstest.Host, args ...string) *exec.Cmd { return h.Command("registrar", args...) }

	p := startServe(t)
	mustBeTold(t, registrarAs(0, "insert", "tcp", dceAddress, "5001"), denied)
	mustBeTold(t, there(near, "insert", "tcp", "10.99.1.1:135", "5001"), denied)
	if n := counters(t)["dce_denied"]; n != 2 || len(dceListed(t)) != 0 {
		t.Errorf("%d calls denied, want 2; registered are %+v", n, dceListed(t))
	}
	p.Signal(syscall.SIGTERM)
	p.Wait(t, startTime)

	startServe(t, "--dce-insert", "loopback", "--dce-insert", "10.99.1.0/24")
	mustBeTold(t, registrarAs(alice, "insert", "tcp", dceAddress, "5001", "192.0.2.7"), "ok")
	mustHaveLease(t, theOnlyDCE(t), endpoint.Owner{UID: alice}, "192.0.2.7")
	mustBeTold(t, registrarAs(bob, "delete", "tcp", dceAddress, "5001", "192.0.2.7"), denied)
	mustBeTold(t, there(near, "delete", "tcp", "10.99.1.1:135", "5001", "192.0.2.7"), denied)
	mustBeTold(t, registrarAs(alice, "delete", "tcp", dceAddress, "5001", "192.0.2.7"), "ok")

	// A host that says "everywhere" means itself. It is the owner, whoever there called.
	mustBeTold(t, there(near, "insert", "tcp", "10.99.1.1:135", "5002"), "ok")
	mustHaveLease(t, theOnlyDCE(t), endpoint.HostOwner(netip.MustParseAddr("10.99.1.2")), "10.99.1.2")
	mustBeTold(t, there(far, "delete", "tcp", "10.99.2.1:135", "5002", "10.99.1.2"), denied)
	mustBeTold(t, registrarAs(bob, "delete", "tcp", dceAddress, "5002", "10.99.1.2"), denied)
	mustBeTold(t, there(near, "delete", "tcp", "10.99.1.1:135", "5002"), "ok")
	mustBeTold(t, there(far, "insert", "tcp", "10.99.2.1:135", "5002"), denied)
	if rows := dceListed(t); len(rows) != 0 {
		t.Errorf("left are %+v", rows)
	}
}

func mustHaveLease(t *testing.T, d endpoint.Document, owner endpoint.Owner, address string) {
	t.Helper()
	itself := !owner.Host.IsValid() || d.Owner == owner.Host.String() // users have names
	if d.Evidence != "lease" || d.Until == nil || d.UID != owner.UID || !itself || d.Address != address {
		t.Errorf("registered is %+v, want a lease of %v for %s", d, owner, address)
	} else if left := time.Until(*d.Until); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the lease lasts %v, want an hour", left)
	}
}

// TestDCEDaemonKilled: rows of DCE survive the daemon as those of ONC do, and only the true ones.
func TestDCEDaemonKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	p := startServe(t, "--dce-insert", "loopback")
	living, dying := startPeer(t, asUser(alice)), startPeer(t, asUser(alice))
	alive, dead := living.do(t, "listen tcp4 0.0.0.0:0"), dying.do(t, "listen tcp4 0.0.0.0:0")
	for _, port := range []string{alive, dead} {
		mustBeTold(t, registrarAs(alice, "insert", "unix", dceSocket, port), "ok")
	}
	mustBeTold(t, registrarAs(alice, "insert", "tcp", dceAddress, "5001", "192.0.2.7"), "ok")
	addDCE(t, "winreg", "1.0", "np", `\pipe\lives`, "--pid", fmt.Sprint(living.PID()))
	addDCE(t, "winreg", "1.0", "np", `\pipe\dies`, "--pid", fmt.Sprint(dying.PID()))
	addDCE(t, "drsuapi", "4.0", "tcp", "10.0.0.9:5000")
	want := slices.DeleteFunc(listed(t), func(d endpoint.Document) bool {
		return strconv.Itoa(int(d.Port)) == dead || d.Path == `\pipe\dies`
	})
	kill(t, p)
	kill(t, dying.Process)
	startServe(t, "--dce-insert", "loopback")
	got := listed(t)
	slices.SortFunc(got, byDocumentID)
	slices.SortFunc(want, byDocumentID)
	if len(want) != 4 || !slices.EqualFunc(got, want, sameRow) {
		t.Errorf("after the restart there are\n%+v, want\n%+v", got, want)
	}
}

func byDocumentID(a, b endpoint.Document) int { return strings.Compare(a.ID, b.ID) }

// TestDCEProcessEnds: a pipe lives by a process, and a port by its socket, over TCP and UDP.
func TestDCEProcessEnds(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	w := startWatch(t)
	for _, what := range []string{"tcp", "udp", "np"} {
		server := startPeer(t, nil)
		switch what {
		case "np":
			addDCE(t, "winreg", "1.0", "np", `\pipe\winreg`, "--pid", fmt.Sprint(server.PID()))
		default:
			addDCE(t, "winreg", "1.0", what, "127.0.0.1:"+server.do(t, "listen %s4 127.0.0.1:0", what), "--listening")
		}
		rows := listed(t)
		if len(rows) != 1 {
			t.Fatalf("registered are %+v", rows)
		}
		killed := time.Now()
		kill(t, server.Process)
		if took := w.waitEnd(t, rows[0]).at.Sub(killed); took > goneAfter {
			t.Errorf("the row of %s ended after %v, want %v at most", what, took, goneAfter)
		}
	}
}

// TestDCEManyConnect: of many clients that connect at once none is lost.
func TestDCEManyConnect(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	const clients, calls = 64, 50
	var running sync.WaitGroup
	failures := make(chan error, clients*calls)
	begin := make(chan struct{})
	for range clients {
		running.Go(func() {
			<-begin
			for range calls {
				conn, err := connectDCE()
				if err == nil {
					err = mapDCE(conn)
					conn.Close()
				}
				if err != nil {
					failures <- err
				}
			}
		})
	}
	close(begin)
	running.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("a client: %v", err)
	}
	if n := counters(t)["dce_found"]; n != clients*calls {
		text, _ := json.Marshal(counters(t))
		t.Errorf("%d answers, want %d: %s", n, clients*calls, text)
	}
}
