//go:build !noauth

package auth

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// What is here was seen with Samba 4.17.12.

const (
	sambaTime = 20 * time.Second
	sambaLog  = nstest.SambaDir + "/log"

	secret = "Anker😀-1läuft" // also of two units in UTF-16
	wrong  = "Anker-1"
)

var (
	levels = []dcerpc.AuthLevel{dcerpc.LevelConnect, dcerpc.LevelIntegrity, dcerpc.LevelPrivacy}
	samr   = dcerpc.Syntax{UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1}
)

// samrConnect2 is SamrConnect2 (MS-SAMR, section 3.1.5.1.2), which is answered with a handle and a
// status; its arguments are no server name, and the right to look domains up.
const samrConnect2 = 57

var samrConnect2Stub = []byte{0, 0, 0, 0, 0x20, 0, 0, 0}

// samrBytes is samr's UUID as it stands in a tower.
var samrBytes = []byte{0x78, 0x57, 0x34, 0x12, 0x34, 0x12, 0xcd, 0xab, 0xef, 0x00, 0x01, 0x23, 0x45, 0x67, 0x89, 0xac}

const handleSize = 20 // bytes of a context handle

// startStandalone starts Samba's services with their mapper on this host, where the account games
// has the password secret: Samba's users are the system's.
func startStandalone(t *testing.T, options ...string) (address netip.Addr) {
	t.Helper()
	samba := nstest.Samba(t, append(options, "log level = 4", "log file = "+sambaLog+"/log")...)
	command(t, secret+"\n"+secret+"\n", "pdbedit", "-s", nstest.SambaConfig, "-a", "-u", "games", "-t")
	nstest.Start(t, samba[0], append(samba[1:], "--log-basename="+sambaLog, "--option=rpc server dynamic port range=50120-50140", "--libexec-rpcds")...)
	address = netip.MustParseAddr("127.0.0.1")
	nstest.WaitToConnect(t, "tcp", netip.AddrPortFrom(address, epm.Port).String(), sambaTime)
	return address
}

// startDomain starts Samba as the controller dc1 of the domain HARBOUR, which has the account
// skipper with the password secret, and returns its krb5.conf.
func startDomain(t *testing.T, options ...string) (address netip.Addr, config string) {
	t.Helper()
	nstest.NeedRoot(t)
	nstest.Need(t, "samba", "samba-tool", "net")
	nstest.Veth(t, "eth0", "10.97.0.2/24") // it does not start with loopback only
	command(t, "", "samba-tool", "domain", "provision", "--realm=HARBOUR.EXAMPLE", "--domain=HARBOUR", "--server-role=dc",
		"--dns-backend=NONE", "--targetdir="+nstest.SambaDir, "--host-name=dc1", "--host-ip=10.97.0.2")
	conf := nstest.SambaDir + "/etc/smb.conf"
	command(t, secret+"\n"+secret+"\n", "samba-tool", "user", "create", "skipper", "-s", conf)
	config = filepath.Join(t.TempDir(), "krb5.conf")
	write(t, config, "[libdefaults]\ndefault_realm = HARBOUR.EXAMPLE\n[realms]\nHARBOUR.EXAMPLE = {\nkdc = 10.97.0.2\n}\n[domain_realm]\ndc1 = HARBOUR.EXAMPLE\n")
	args := []string{"-F", "--no-process-group", "-s", conf, "--option=log file=" + sambaLog + "/log", "--option=log level=0 auth_audit:4", "--option=server services=rpc, ldap, cldap, kdc"}
	nstest.Start(t, "samba", append(args, options...)...)
	address = netip.MustParseAddr("10.97.0.2")
	nstest.WaitToConnect(t, "tcp", netip.AddrPortFrom(address, epm.Port).String(), sambaTime)
	nstest.WaitToConnect(t, "tcp", netip.AddrPortFrom(address, 88).String(), sambaTime)
	return address, config
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs a program with standard input.
func command(t *testing.T, input, name string, args ...string) {
	t.Helper()
	if err := os.MkdirAll(sambaLog, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(nstest.Path(t, name), args...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func identity(t *testing.T, o Options) *Identity {
	t.Helper()
	i, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

// is returns a password as its owner hands it over.
func is(password string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(password), nil }
}

// An answer is what came of asking one host.
type answer struct{ mapper, management, samr string }

// ask asks a host's mapper for all, and the server of samr which interfaces it has, and calls it.
func ask(t *testing.T, host netip.Addr, samrPort netip.AddrPort, auth probe.DCEAuth) (a answer) {
	t.Helper()
	o := probe.DCEOptions{Auth: auth}
	r := new(probe.Prober).DCE(t.Context(), host, o)
	a.mapper = words(r.State, r.Why)
	if r.State == probe.Listening && (len(r.Entries) < 20 || r.Cut) {
		t.Errorf("%d rows, %+v", len(r.Entries), r.Problems)
	}
	s := new(probe.Prober).InterfacesDCE(t.Context(), samrPort, o)
	a.management = words(s.State, s.Why)
	if s.State == probe.Listening && !slices.Contains(s.Interfaces, endpoint.FromSyntax(samr)) {
		t.Errorf("%+v", s)
	}
	c, err := new(probe.Prober).DialDCE(t.Context(), endpoint.At(epm.TCP, samrPort), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Bind(t.Context(), samr)
	var results []byte
	if err == nil {
		results, _, err = c.Call(t.Context(), ndr.UUID{}, samrConnect2, samrConnect2Stub)
	}
	switch {
	case err != nil:
		a.samr = err.Error()
	case len(results) != handleSize+4:
		t.Errorf("SamrConnect2 = %x", results)
	default:
		a.samr = fmt.Sprintf("%x", results[handleSize:])
	}
	return a
}

func words(s probe.State, why string) string {
	return strings.TrimSuffix(s.String()+": "+why, ": ")
}

func samrAt(t *testing.T, host netip.Addr) netip.AddrPort {
	t.Helper()
	r := new(probe.Prober).LocateDCE(t.Context(), host, probe.DCEQuery{UUID: samr.UUID, Major: 1, ProtSeqs: []epm.ProtSeq{epm.TCP}}, probe.DCEOptions{})
	if len(r.Entries) == 0 {
		t.Fatalf("samr: %+v", r)
	}
	return r.Entries[0].Addr
}

const (
	refused   = "rejected: access denied: it does not believe who asks, does not let them, or wants it signed (rpc_s_access_denied)"
	disbelief = "rejected: it does not believe who asks: the user, the password or the ticket is wrong (nca_s_proto_error)"
	denied    = "dcerpc: fault: rpc_s_access_denied"
	untrue    = "dcerpc: fault: nca_s_proto_error"
)

var (
	works      = answer{"listening", "listening", "00000000"}
	disbelieve = answer{disbelief, disbelief, untrue}
)

// checkAnswers asks as somebody at each level.
func checkAnswers(t *testing.T, name string, host netip.Addr, o Options, want map[dcerpc.AuthLevel]answer) {
	t.Helper()
	at := samrAt(t, host)
	for level, want := range want {
		o.Level = level
		if got := ask(t, host, at, identity(t, o).At("dc1")); got != want {
			t.Errorf("%s, %s:\ngot  %+v\nwant %+v", name, level, got, want)
		}
	}
}

func alike(a answer) map[dcerpc.AuthLevel]answer {
	all := map[dcerpc.AuthLevel]answer{}
	for _, level := range levels {
		all[level] = a
	}
	return all
}

// checkLog holds that Samba has let a user in, and by what.
func checkLog(t *testing.T, want string) {
	t.Helper()
	files, err := filepath.Glob(sambaLog + "/log*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), want) {
			return
		}
	}
	t.Errorf("Samba's log does not have %q", want)
}

// TestSambaNTLM: with its own settings Samba takes signed and sealed calls.
func TestSambaNTLM(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	host := startStandalone(t)
	for _, user := range []string{"games", `HARBOUR\games`} { // of its own accounts it ignores the domain
		checkAnswers(t, user, host, Options{User: user, Password: is(secret)}, map[dcerpc.AuthLevel]answer{
			dcerpc.LevelConnect:   {refused, "listening", denied}, // by "allow dcerpc auth level connect"
			dcerpc.LevelIntegrity: works,
			dcerpc.LevelPrivacy:   works,
		})
	}
	checkLog(t, `\[games] [S-1-5-`)
	checkWire(t, host, Options{User: "games", Password: is(secret)})
	for _, o := range []Options{{User: "games", Password: is(wrong)}, {User: "nobody-of-that-name", Password: is(secret)}} {
		checkAnswers(t, o.User, host, o, map[dcerpc.AuthLevel]answer{
			dcerpc.LevelConnect:   works, // it goes on as with somebody anonymous
			dcerpc.LevelIntegrity: disbelieve,
			dcerpc.LevelPrivacy:   disbelieve,
		})
	}
}

// TestSambaNTLMConnect: Samba that is told to takes calls that are not signed.
func TestSambaNTLMConnect(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	host := startStandalone(t, "allow dcerpc auth level connect = yes")
	checkAnswers(t, "games", host, Options{User: "games", Password: is(secret)}, alike(works))
	checkLog(t, "Successful AuthZ: [DCE/RPC,NTLMSSP] user [")
}

// TestSambaNTLMHeaders: a server that does not offer to sign headers expects it of NTLM.
func TestSambaNTLMHeaders(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	host := startStandalone(t, "dcesrv:header signing = no")
	checkAnswers(t, "games", host, Options{User: "games", Password: is(secret)}, map[dcerpc.AuthLevel]answer{
		dcerpc.LevelIntegrity: works, dcerpc.LevelPrivacy: works,
	})
}

// TestSambaDomain: a domain controller is asked by NTLM and by Kerberos.
func TestSambaDomain(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	host, config := startDomain(t)
	unsigned := answer{"listening", "listening", denied} // samr wants more
	good := map[dcerpc.AuthLevel]answer{dcerpc.LevelConnect: unsigned, dcerpc.LevelIntegrity: works, dcerpc.LevelPrivacy: works}
	for _, user := range []string{`HARBOUR\skipper`, "skipper@HARBOUR.EXAMPLE", "skipper"} {
		checkAnswers(t, user, host, Options{User: user, Password: is(secret)}, good)
		checkAnswers(t, user, host, Options{User: user, Password: is(wrong)}, map[dcerpc.AuthLevel]answer{
			dcerpc.LevelConnect: works, dcerpc.LevelIntegrity: disbelieve, dcerpc.LevelPrivacy: disbelieve,
		})
	}
	checkLog(t, `Successful AuthZ: [DCE/RPC,NTLMSSP] user [HARBOUR]\[skipper]`)

	tickets := kinit(t, config)
	checkAnswers(t, "Kerberos", host, tickets, good)
	checkLog(t, `Successful AuthZ: [DCE/RPC,krb5] user [HARBOUR]\[skipper]`)
	tickets.User = "skipper@harbour.example"
	checkAnswers(t, "Kerberos as "+tickets.User, host, tickets, good)

	checkWire(t, host, tickets)
	checkTogether(t, host, identity(t, tickets))
	checkTickets(t, host, tickets)
}

// kinit gets skipper a ticket.
func kinit(t *testing.T, config string) Options {
	t.Helper()
	cache := "FILE:" + filepath.Join(t.TempDir(), "cache")
	t.Setenv("KRB5_CONFIG", config)
	t.Setenv("KRB5CCNAME", cache)
	command(t, secret+"\n", "net", "-s", nstest.SambaDir+"/etc/smb.conf", "ads", "kerberos", "kinit", "-U", "skipper")
	return Options{Kerberos: true, CCache: cache, Config: config}
}

// TestSambaDomainStubs: where headers are not signed Kerberos signs the stubs.
func TestSambaDomainStubs(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	host, config := startDomain(t, "--option=dcesrv:header signing=no")
	checkAnswers(t, "Kerberos", host, kinit(t, config), map[dcerpc.AuthLevel]answer{
		dcerpc.LevelIntegrity: works, dcerpc.LevelPrivacy: works,
	})
}

// A wire is a connection that remembers what came, and forges answers if it is told to.
type wire struct {
	net.Conn
	forge bool
	came  []byte
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.forge && n > dcerpc.HeaderSize+16 && dcerpc.PType(b[2]) == dcerpc.PTypeResponse {
		b[dcerpc.HeaderSize+12] ^= 1 // of the stub
	}
	w.came = append(w.came, b[:n]...)
	return n, err
}

// checkWire holds that integrity and privacy are what they say.
func checkWire(t *testing.T, host netip.Addr, o Options) {
	t.Helper()
	for _, o.Level = range []dcerpc.AuthLevel{dcerpc.LevelIntegrity, dcerpc.LevelPrivacy} {
		for _, forge := range []bool{false, true} {
			w := &wire{forge: forge}
			p := &probe.Prober{Dial: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
				w.Conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return w, err
			}}
			r := p.DCE(t.Context(), host, probe.DCEOptions{Auth: identity(t, o).At("dc1")})
			want := "listening"
			if forge {
				want = "wrong: the answer is not understood: its signature is not right"
			}
			if got := words(r.State, r.Why); got != want {
				t.Errorf("%s, forged %t: %s", o.Level, forge, got)
			}
			readable := bytes.Contains(w.came, samrBytes)
			if !forge && readable != (o.Level == dcerpc.LevelIntegrity) {
				t.Errorf("%s: rows can be read on the wire: %t", o.Level, readable)
			}
		}
	}
}

// checkTogether has connections begin at the same time.
func checkTogether(t *testing.T, host netip.Addr, i *Identity) {
	t.Helper()
	r := new(probe.Prober).DCE(t.Context(), host, probe.DCEOptions{Auth: i.At("dc1")})
	new(probe.Prober).TryDCE(t.Context(), host, r.Entries, probe.DCEOptions{Auth: i.At("dc1"), Foreign: true})
	ports := map[netip.AddrPort]bool{}
	for _, e := range r.Entries {
		if e.State == probe.Listening {
			ports[e.Addr] = true
		}
	}
	if len(ports) < 3 {
		t.Errorf("%d ports listen: %+v", len(ports), r)
	}
}

// checkTickets holds what is said of tickets that do not do.
func checkTickets(t *testing.T, host netip.Addr, o Options) {
	t.Helper()
	begin := func(o Options, name string) string {
		i := identity(t, o)
		r := new(probe.Prober).DCE(t.Context(), host, probe.DCEOptions{Auth: i.At(name)})
		return words(r.State, r.Why)
	}
	if got, want := begin(o, "no-such-host"), "failed: no Kerberos ticket for host/no-such-host: "; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	o.Target = "host/dc1"
	if got := begin(o, "no-such-host"); got != "listening" {
		t.Error(got)
	}
	o.User = "somebody"
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "they are of skipper@HARBOUR.EXAMPLE, not of somebody") {
		t.Error(err)
	}
	o.User = ""
	path := strings.TrimPrefix(o.CCache, "FILE:")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := readCache(path)
	if err != nil {
		t.Fatal(err)
	}
	k := kerberosClient{cache: c}
	if err := k.check("", time.Now().Add(1000*time.Hour)); err == nil || !strings.Contains(err.Error(), "they have run out at ") {
		t.Error(err)
	}
	o.CCache = filepath.Join(t.TempDir(), "cut")
	for n := range len(whole) { // some are a cache of fewer tickets
		write(t, o.CCache, string(whole[:n]))
		if i, err := New(o); err == nil {
			i.Close()
		}
	}
}
