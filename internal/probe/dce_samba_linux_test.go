package probe

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/mapper"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

const (
	sambaTime = 20 * time.Second
	sambaPort = 50111
	lsad      = "/usr/libexec/samba/rpcd_lsad"
)

// portsOption has Samba's services listen at these ports.
func portsOption(from, to int) string {
	return fmt.Sprintf("--option=rpc server dynamic port range=%d-%d", from, to)
}

// TestDCESambaMapper: of Samba's mapper on another host we are told what other clients are, over
// TCP and over its local socket, in parts of every size. Seen with Samba 4.17.12.
func TestDCESambaMapper(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient", "ip")
	const there = "10.98.0.2"
	address := netip.MustParseAddr(there)
	host := nstest.NewHost(t, "harbour", "10.98.0.1/24", there+"/24")
	args := append(nstest.Samba(t), portsOption(50120, 50140), "--libexec-rpcds")
	nstest.StartCommand(t, host.Command(args[0], args[1:]...))
	nstest.WaitToConnect(t, "tcp", there+":135", sambaTime)

	r := new(Prober).DCE(t.Context(), address, DCEOptions{})
	if r.State != Listening || len(r.Entries) < 20 || r.Cut {
		t.Fatalf("Samba's mapper = %+v", r)
	}
	problems := []string{ // the first is about its port 593
		"it tells 0.0.0.0: clients have to know that it is the host that they asked",
		"it ends a list with a status that says nothing was found (ept_s_not_registered), beside rows",
	}
	if diff := gocmp.Diff(problems, r.Problems); diff != "" {
		t.Errorf("problems %s", diff)
	}
	out, err := exec.Command("rpcclient", "ncacn_ip_tcp:"+there, "-U%", "-c", "epmlookup").CombinedOutput()
	if err != nil {
		t.Fatalf("rpcclient: %v, %s", err, out)
	}
	// The last row it does not show: that comes with "not registered".
	var want []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "abstract_syntax") {
			want = append(want, line)
		}
	}
	got := rpcclientLines(r.Entries)
	if len(want) != len(got)-1 {
		t.Errorf("rpcclient shows %d of %d", len(want), len(got))
	} else if diff := gocmp.Diff(want, got[:len(want)]); diff != "" {
		t.Errorf("-rpcclient +ours:\n%s", diff)
	}
	for _, o := range []DCEOptions{{Rows: 1}, {Rows: 7}, {Rows: uint32(len(got))}, {BigEndian: true}, {Socket: nstest.SambaDir + "/ncalrpc/EPMAPPER"}} {
		again := new(Prober).DCE(t.Context(), address, o)
		if diff := gocmp.Diff(withoutPlaces(got), withoutPlaces(rpcclientLines(again.Entries))); diff != "" || again.State != Listening || again.Cut {
			t.Errorf("%+v: %s %s, %q\n%s", o, again.State, again.Why, again.Problems, diff)
		}
	}

	samr := DCEQuery{UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1}
	some := slices.DeleteFunc(slices.Clone(r.Entries), func(e Entry) bool { return e.UUID != samr.UUID })
	where := new(Prober).LocateDCE(t.Context(), address, samr, DCEOptions{})
	if diff := gocmp.Diff(places(some), places(where.Entries)); diff != "" || len(some) == 0 || where.State != Listening {
		t.Errorf("samr = %+v\n%s", where, diff)
	}
	samr.AnyVersion = true
	where = new(Prober).LocateDCE(t.Context(), address, samr, DCEOptions{})
	if diff := gocmp.Diff(places(some), places(where.Entries)); diff != "" {
		t.Errorf("samr of any version = %+v\n%s", where, diff)
	}

	// It tells of port 593, at which it does not listen.
	new(Prober).TryDCE(t.Context(), address, r.Entries, DCEOptions{})
	for _, e := range r.Entries {
		if want := map[epm.ProtSeq]State{epm.TCP: Listening, epm.HTTP: NotListening}[e.ProtSeq]; e.State != want {
			t.Errorf("%s at %s is %s: %s", e.Interface, e.Endpoint, e.State, e.Why)
		}
	}
}

// rpcclientLines are rows as epmlookup writes them.
func rpcclientLines(entries []Entry) []string {
	var all []string
	for _, e := range entries {
		at := "[" + e.Path
		if e.ProtSeq == epm.NP {
			host, pipe, _ := strings.Cut(strings.TrimPrefix(e.Path, `\\`), `\`)
			at = host + `[\` + pipe
		}
		if e.ProtSeq.HasPort() {
			at = fmt.Sprintf("%s[%d", cmp.Or(e.Told, e.Addr.Addr().String()), e.Addr.Port())
		}
		line := fmt.Sprintf("%s %s:%s,abstract_syntax=%s/0x%08x]: %s", e.Object, e.ProtSeq, at, e.UUID, uint32(e.Minor)<<16|uint32(e.Major), e.Annotation)
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

// withoutPlaces leaves out what depends on the way that was asked: the addresses.
func withoutPlaces(lines []string) []string {
	var all []string
	for _, line := range lines {
		all = append(all, strings.NewReplacer("10.98.0.2[", "[", "127.0.0.1[", "[", "0.0.0.0[", "[").Replace(line))
	}
	return all
}

func places(entries []Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Endpoint.String())
	}
	slices.Sort(all)
	return all
}

// TestTryDCESamba: a real service is found to be there at the ports where it is told, another
// interface is not, and once it was killed exactly its rows lie.
func TestTryDCESamba(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	args := append(nstest.Samba(t), portsOption(sambaPort, sambaPort), lsad)
	service := nstest.Start(t, args[0], args[1:]...)
	at := netip.AddrPortFrom(dceHost, sambaPort)
	nstest.WaitToConnect(t, "tcp", at.String(), sambaTime)

	var (
		samr   = ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac")
		lsarpc = ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ab")
	)
	own := serveMapper(t, mapper.DCEConfig{},
		epm.Entry{Tower: tower(uuidA, 1, 0, epm.TCP, "127.0.0.1:50111")},
		epm.Entry{Tower: tower(samr, 1, 0, epm.TCP, "127.0.0.1:50111")},
		epm.Entry{Tower: tower(lsarpc, 0, 0, epm.TCP, "127.0.0.1:50111")},
		epm.Entry{Tower: tower(samr, 7, 0, epm.TCP, "127.0.0.1:50111")},
		epm.Entry{Tower: tower(samr, 1, 0, epm.NP, `\pipe\samr`)},
	)
	mine := epm.Entry{Tower: tower(epm.Management.UUID, 1, 0, epm.TCP, own.tcp.String())}
	own.insert(t, []epm.Entry{mine})
	ask := func() []Entry {
		var dialed int
		p := &Prober{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == at.String() {
				dialed++
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}}
		r := p.DCE(t.Context(), dceHost, DCEOptions{Port: own.tcp.Port()})
		p.TryDCE(t.Context(), dceHost, r.Entries, DCEOptions{})
		if dialed > 1 {
			t.Errorf("%d connections to Samba", dialed)
		}
		return r.Entries
	}
	const other = "wrong: the server there does not have the interface"
	checkTried(t, ask(), []string{other, "listening", "listening", other, "not tried: needs SMB 445", "listening"})

	s := new(Prober).InterfacesDCE(t.Context(), at, DCEOptions{})
	if s.State != Listening || s.Stopped || len(s.Problems) > 0 || !slices.Contains(s.Interfaces, endpoint.FromSyntax(dcerpc.Syntax{UUID: samr, Major: 1})) {
		t.Errorf("inq_if_ids = %+v", s)
	}

	service.Signal(syscall.SIGKILL)
	nstest.WaitFor(t, "the port to be free", sambaTime, func() bool {
		conn, err := net.Dial("tcp", at.String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	const gone = "not listening: nothing listens there"
	checkTried(t, ask(), []string{gone, gone, gone, gone, "not tried: needs SMB 445", "listening"})
}
