package follow

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Real clients and servers, with a follower between them. The client asks at here; the server is another host.
const (
	here, there  = "10.98.0.1", "10.98.0.2"
	clientsTime  = 20 * time.Second
	rpcbindLocal = "/run/rpcbind.sock"
)

// A relay does the steps of a follower for each connection that it takes, as if every promise was kept.
type relay struct {
	mu       sync.Mutex
	promised []string
	refused  []string
}

// startRelay takes connections to a port here until the test ends, and connects to there.
func startRelay(t *testing.T, port string, follower func(Policy) Follower, p Policy) *relay {
	t.Helper()
	l, err := net.Listen("tcp", here+":"+port)
	if err != nil {
		t.Fatal(err)
	}
	r := new(relay)
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { r.serve(t, client, there+":"+port, follower, p) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		connections.Wait()
	})
	return r
}

// serve relays until one side closes its connection.
func (r *relay) serve(t *testing.T, client net.Conn, to string, follower func(Policy) Follower, p Policy) {
	server, err := net.Dial("tcp", to)
	if err != nil {
		t.Error(err)
		client.Close()
		return
	}
	p.Ends = ends(client.RemoteAddr().String(), to)
	f := follower(p)
	conns := [2]net.Conn{client, server}
	var pumps sync.WaitGroup
	for _, from := range []Side{Client, Server} {
		pumps.Go(func() {
			b := make([]byte, 1000)
			for err := error(nil); err == nil; {
				var n int
				if n, err = conns[from].Read(b); n > 0 {
					err = errors.Join(err, r.follow(f, from, b[:n], conns))
				}
			}
			client.Close()
			server.Close()
		})
	}
	pumps.Wait()
}

func (r *relay) follow(f Follower, from Side, data []byte, conns [2]net.Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	steps, err := f.Follow(from, data)
	r.promised = append(r.promised, promised(steps)...)
	r.refused = append(r.refused, rules(steps, err)...)
	for _, s := range steps {
		conns[s.To].Write(s.Data)
	}
	return err
}

// said returns what was promised and refused since it was last asked, each once, in order.
func (r *relay) said() (promised, refused []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.promised)
	slices.Sort(r.refused)
	promised, refused = slices.Compact(r.promised), slices.Compact(r.refused)
	r.promised, r.refused = nil, nil
	return promised, refused
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v\n", out, err)
	}
	return string(out)
}

// startSamba starts Samba's mapper and all its services on another host.
func startSamba(t *testing.T) {
	t.Helper()
	samba := append(nstest.Samba(t), "--option=rpc server dynamic port range=50120-50140", "--libexec-rpcds")
	host := nstest.NewHost(t, "harbour", here+"/24", there+"/24")
	nstest.StartCommand(t, host.Command(samba[0], samba[1:]...))
	nstest.WaitToConnect(t, "tcp", there+":135", clientsTime)
}

// rpcclient shows what it is told, by lines that name an interface.
func rpcclient(server, command string) []string {
	out := output("rpcclient", "-s", nstest.SambaConfig, "ncacn_ip_tcp:"+server, "-U%", "-c", command)
	return slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { return !strings.Contains(line, "abstract_syntax") })
}

// TestSambaClients: rpcclient, which asks for one entry at a time, is shown through a follower what it is shown by Samba's mapper
// itself, but for the interface that is not allowed. Seen with Samba 4.17.12.
func TestSambaClients(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient", "ip")
	startSamba(t)
	const refused = "4b324fc8-1670-01d3-1278-5a47bf6ee188" // srvsvc
	r := startRelay(t, "135", NewEPM, Policy{Name: uuidName, Allow: func(i endpoint.Interface) bool { return i.UUID != ndr.MustParseUUID(refused) }})

	direct := rpcclient(there, "epmlookup")
	want := slices.DeleteFunc(slices.Clone(direct), func(line string) bool { return strings.Contains(line, refused) })
	if len(direct) < 20 || len(want) > len(direct)-3 {
		t.Fatalf("without a follower epmlookup shows %q", direct)
	}
	if diff := cmp.Diff(want, rpcclient(here, "epmlookup")); diff != "" {
		t.Errorf("epmlookup (-without +with a follower):\n%s", diff)
	}
	promises, rules := r.said()
	if len(promises) < 3 || slices.ContainsFunc(promises, func(s string) bool { return strings.Contains(s, refused[:8]) }) || !slices.Equal(rules, []string{"interface"}) {
		t.Errorf("epmlookup: promises %q, refused by %q", promises, rules)
	}
	for _, name := range []string{"samr", "winreg", "spoolss"} {
		for _, protseq := range []string{"ncacn_ip_tcp", "ncacn_np"} {
			command := "epmmap " + name + " " + protseq
			if diff := cmp.Diff(rpcclient(there, command), rpcclient(here, command)); diff != "" {
				t.Errorf("%s (-without +with a follower):\n%s", command, diff)
			}
		}
	}
	r.said()
	if got := rpcclient(here, "epmmap srvsvc ncacn_ip_tcp"); len(got) > 0 {
		t.Errorf("epmmap of what is not allowed shows %q", got)
	}
	if promises, rules := r.said(); len(promises) > 0 || !slices.Equal(rules, []string{"interface"}) {
		t.Errorf("epmmap of what is not allowed: promises %q, refused by %q", promises, rules)
	}
}

// TestSambaNDR64: what a client of 64 bits proposes, Samba answers as it has to be: NDR is accepted, and what stands in the
// place of NDR64 is not.
func TestSambaNDR64(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "ip")
	startSamba(t)
	startRelay(t, "135", NewEPM, Policy{})
	conn, err := net.Dial("tcp", here+":135")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(clientsTime))
	offer := plain.bind(1, context(0, epm.Interface), context(1, epm.Interface, dcerpc.NDR64), context(2, epm.Interface, dcerpc.Features(3).Syntax()))
	if _, err := conn.Write(offer.data); err != nil {
		t.Fatal(err)
	}
	pdu := make([]byte, dcerpc.MustRecvFragSize)
	n, err := io.ReadAtLeast(conn, pdu, dcerpc.HeaderSize)
	if err != nil {
		t.Fatal(err)
	}
	h, err := dcerpc.ParseHeader(pdu[:n])
	if err != nil {
		t.Fatal(err)
	}
	m, err := dcerpc.ParseBindAck(h, pdu[:n])
	if err != nil || len(m.Results) != 3 {
		t.Fatalf("the answer %x = %+v, %v, want three results", pdu[:n], m, err)
	}
	want := []dcerpc.Result{
		{Transfer: dcerpc.NDR},
		{Result: dcerpc.ProviderRejection, Reason: dcerpc.TransferSyntaxesNotSupported},
		{Result: dcerpc.NegotiateAck, Reason: m.Results[2].Reason},
	}
	if diff := cmp.Diff(want, m.Results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

// TestRpcbindClients: rpcinfo is shown through a follower what rpcbind has, but for the program that is not allowed. (With -p it asks for
// the mapper's own address first, and then goes there, past the relay.)
func TestRpcbindClients(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcbind", "rpcinfo", "ip")
	nstest.NeedRoot(t)
	host := nstest.NewHost(t, "harbour", here+"/24", there+"/24")
	nstest.StartCommand(t, host.Command("rpcbind", "-f"))
	nstest.WaitToConnect(t, "tcp", there+":111", clientsTime)
	nstest.WaitToConnect(t, "unix", rpcbindLocal, clientsTime)
	for _, m := range []rpcbind.RPCB{
		{Program: 100003, Version: 3, NetID: "tcp", Address: "0.0.0.0.8.1"},
		{Program: 100003, Version: 3, NetID: "udp", Address: "0.0.0.0.8.1"},
		{Program: 100005, Version: 3, NetID: "tcp", Address: "0.0.0.0.78.80"},
	} {
		set(t, m)
	}
	r := startRelay(t, "111", func(p Policy) Follower { return NewPortmapper(p, true) }, Policy{Allow: only(nfs)})

	const nfsTCP = "client port 2049/tcp: onc 100003 version 3"
	for _, tt := range []struct {
		args   []string
		both   string // told with a follower too
		alone  string // told without one only
		expect []string
	}{
		{[]string{"-s"}, "100003", "100005", []string{nfsTCP, nfsPromise}},
		{nil, "100003", "100005", []string{nfsTCP, nfsPromise}},
		{[]string{"-l", "", "100003", "3"}, there + ".8.1", "", []string{nfsTCP, nfsPromise}},
		{[]string{"-l", "", "100005", "3"}, "", there + ".78.80", nil},
	} {
		ask := func(server string) string {
			args := slices.Clone(tt.args)
			if i := slices.Index(args, ""); i >= 0 {
				args[i] = server
			} else {
				args = append(args, server)
			}
			return output("rpcinfo", args...)
		}
		direct, followed := ask(there), ask(here)
		if !strings.Contains(direct, tt.both) || !strings.Contains(direct, tt.alone) {
			t.Fatalf("rpcinfo %q without a follower: %s", tt.args, direct)
		}
		if !strings.Contains(followed, tt.both) || tt.alone != "" && strings.Contains(followed, tt.alone) {
			t.Errorf("rpcinfo %q with a follower: %s\nwithout: %s", tt.args, followed, direct)
		}
		promises, rules := r.said()
		if diff := cmp.Diff(tt.expect, promises); diff != "" {
			t.Errorf("rpcinfo %q: promises (-want +got):\n%s", tt.args, diff)
		}
		if refused := tt.alone != ""; refused != slices.Equal(rules, []string{"interface"}) {
			t.Errorf("rpcinfo %q: refused by %q", tt.args, rules)
		}
	}
}

// set registers with rpcbind over its local socket.
func set(t *testing.T, m rpcbind.RPCB) {
	t.Helper()
	conn, err := net.Dial("unix", rpcbindLocal)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(clientsTime))
	b := make([]byte, 100)
	if _, err = conn.Write(record(oncCallOf(1, 4, rpcbind.ProcSet, m.Append(nil)))); err == nil {
		var n int
		n, err = conn.Read(b)
		b = b[:n]
	}
	if err != nil || len(b) == 0 || b[len(b)-1] != 1 {
		t.Fatalf("SET of %+v: %x, %v", m, b, err)
	}
}
