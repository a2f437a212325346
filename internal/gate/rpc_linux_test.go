package gate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// A question is a real client on the host of clients, and what it writes if it got through.
type question struct {
	args []string
	want string
}

// ask runs the client, and returns an error if it did not get through.
func (q *question) ask(t testing.TB, patience time.Duration) error {
	t.Helper()
	out, err := runFor(on(t, "c0", q.args[0], q.args[1:]...), patience)
	if err == nil && strings.Contains(out, q.want) {
		return nil
	}
	return fmt.Errorf("%s: %v, want %q, said\n%s", strings.Join(q.args, " "), err, q.want, out)
}

// askAll asks questions with pinholes, which have to be answered, and then without, which must not.
func askAll(t *testing.T, g *Gate, all []question) {
	t.Helper()
	for _, q := range all {
		if err := q.ask(t, patience); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		return
	}
	withoutPinholes(g)
	forgetPinholes(t)
	var wait sync.WaitGroup
	for _, q := range all {
		wait.Go(func() {
			if q.ask(t, vain) == nil {
				t.Errorf("%s works without pinholes", strings.Join(q.args, " "))
			}
		})
	}
	wait.Wait()
}

// forgetPinholes closes what is open for any number of connections.
func forgetPinholes(t testing.TB) {
	t.Helper()
	nft(t, "", "flush", "set", "inet", Table, "multi4")
	nft(t, "", "flush", "set", "inet", Table, "multi6")
}

// rpcQuestions ask for a program of ONC by way of the port mapper.
func rpcQuestions(program string) []question {
	ready := "ready and waiting"
	return []question{
		{[]string{"rpcinfo", "-t", "10.3.0.2", program}, ready},
		{[]string{"rpcinfo", "-u", "10.3.0.2", program}, ready},
		{[]string{"rpcinfo", "-T", "tcp6", "fd00:3::2", program}, ready},
		{[]string{"rpcinfo", "-T", "udp6", "fd00:3::2", program}, ready},
	}
}

// rpcModes are those that RPC is tried in, one for each way that packets go.
func rpcModes(t *testing.T, do func(t *testing.T, m mode)) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if nstest.Inside(t) {
				nstest.NeedRoot(t)
				edge(t)
				do(t, m)
			}
		})
	}
}

// rpcbind with a server that it chose no port for is asked over TCP and UDP.
func TestPortmapperClients(t *testing.T) {
	rpcModes(t, func(t *testing.T, m mode) {
		nstest.Need(t, "rpcbind", "rpcinfo", "rpc.statd", "rpc.mountd", "showmount")
		nstest.NFSFolders(t, "/srv/quay\t10.1.0.2(ro,sync,no_subtree_check,secure,root_squash,sec=sys)\n")
		waitToListen(t, nstest.StartCommand(t, on(t, "s0", "rpcbind", "-f", "-w")), "s0", "10.3.0.2:111")
		nstest.StartCommand(t, on(t, "s0", "rpc.statd", "-F", "-L"))
		nstest.StartCommand(t, on(t, "s0", "rpc.mountd", "-F"))
		for _, program := range []string{"100024", "100005"} {
			nstest.WaitFor(t, program+" to register", patience, func() bool {
				out, err := on(t, "s0", "rpcinfo", "-u", "127.0.0.1", program).Output()
				return err == nil && strings.Contains(string(out), "ready")
			})
		}

		p := readPolicy(t, m.text+edgePolicy)
		m.prepare(t, p)
		g := runGate(t, p)
		all := append(rpcQuestions("status"), rpcQuestions("mountd")...)
		if !p.NAT.On() { // mountd looks at addresses
			all = append(all, question{[]string{"showmount", "-e", "10.3.0.2"}, "/srv/quay"})
		}
		askAll(t, g, all)
		for _, dump := range []question{
			{[]string{"rpcinfo", "-p", "10.3.0.2"}, "100005"},
			{[]string{"rpcinfo", "-s", "10.3.0.2"}, "mountd"},
			{[]string{"rpcinfo", "fd00:3::2"}, "mountd"},
		} {
			if err := dump.ask(t, patience); err != nil {
				t.Error(err)
			}
		}
	})
}

// startSamba starts Samba's endpoint mapper and its services on the host of servers.
func startSamba(t testing.TB) {
	t.Helper()
	samba := append(nstest.Samba(t), "--option=rpc server dynamic port range=50120-50140", "--libexec-rpcds")
	p := nstest.StartCommand(t, on(t, "s0", samba[0], samba[1:]...))
	waitToListen(t, p, "s0", "10.3.0.2:135")
}

// Samba's client calls a service whose port it was told.
func TestEndpointMapperClients(t *testing.T) {
	rpcModes(t, func(t *testing.T, m mode) {
		nstest.Need(t, "rpcclient")
		startSamba(t)
		p := readPolicy(t, m.text+edgePolicy)
		m.prepare(t, p)
		g := runGate(t, p)
		var all []question
		for _, server := range []string{"10.3.0.2", "fd00:3::2"} {
			all = append(all,
				question{[]string{"rpcclient", "ncacn_ip_tcp:" + server, "-U%", "-c", "enumdomains"}, "Builtin"},
				question{[]string{"rpcclient", "ncacn_ip_tcp:" + server, "-U%", "-c", "srvinfo"}, "platform_id"})
		}
		askAll(t, g, all)
	})
}

// builtVar hands the built program on to the same test in its namespaces.
const builtVar = "GATE_TEST_QUAYMASTER"

// buildQuaymaster builds the program, and returns where it is.
func buildQuaymaster(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(builtVar); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "quaymaster")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/quaymaster/quaymaster/cmd/quaymaster").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Setenv(builtVar, path)
	return path
}

// A server that quaymaster run gave a port is found by way of quaymaster serve.
func TestServeAndRun(t *testing.T) {
	program := buildQuaymaster(t)
	rpcModes(t, func(t *testing.T, m mode) {
		nstest.Need(t, "rpcinfo", "rpc.statd")
		nstest.NFSFolders(t, "")
		config := filepath.Join(t.TempDir(), "serve.yaml")
		if err := os.WriteFile(config, []byte("pool: {ports: [51000-51009], ports_internet_available: true, use_internet_ports: true}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		waitToListen(t, nstest.StartCommand(t, on(t, "s0", program, "serve", "--user", "root", "--config", config)), "s0", "10.3.0.2:111")
		nstest.StartCommand(t, on(t, "s0", program, "run", "--onc", "status:1", "--tcp", "--udp", "--", "rpc.statd", "-F", "-L", "-p", "{port}"))
		nstest.WaitFor(t, "statd to register", patience, func() bool {
			out, err := on(t, "s0", "rpcinfo", "-u", "127.0.0.1", "100024").Output()
			return err == nil && strings.Contains(string(out), "ready")
		})
		p := readPolicy(t, m.text+edgePolicy)
		m.prepare(t, p)
		g := runGate(t, p)
		askAll(t, g, rpcQuestions("status"))
		if g.Counts().Promised == 0 {
			t.Error("nothing was promised")
		}
	})
}

// What is not allowed is, for clients, not registered.
func TestEndpointMapperInterfaces(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "rpcclient")
	edge(t)
	startSamba(t)
	p := readPolicy(t, strings.Replace("forward: own\n"+edgePolicy, `"fd00:3::/64"]}`, `"fd00:3::/64"], interfaces: [samr]}`, 1))
	g := runGate(t, p)
	w := g.Watch()
	defer w.Close()
	good := question{[]string{"rpcclient", "ncacn_ip_tcp:10.3.0.2", "-U%", "-c", "enumdomains"}, "Builtin"}
	if err := good.ask(t, patience); err != nil {
		t.Error(err)
	}
	for command, want := range map[string]string{
		"srvinfo":                    "NT_STATUS_NOT_FOUND",
		"epmmap srvsvc ncacn_ip_tcp": "0x16C9A0D6", // ept_s_not_registered
	} {
		out, err := runFor(on(t, "c0", "rpcclient", "ncacn_ip_tcp:10.3.0.2", "-U%", "-c", command), patience)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%s, which is not allowed: %v, want %s\n%s", command, err, want, out)
		}
	}
	waitForEvent(t, w, "a refused interface", func(e Event) bool {
		return e.Kind == Refused && e.Rule == "interface" && e.Client.Addr().String() == "10.1.0.2" && e.Server.String() == "10.3.0.2:135" && strings.Contains(e.Interface.String(), "4b324fc8")
	})
}
