//go:build !noauth

package auth

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
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

const (
	sambaTime = 20 * time.Second
	sambaDir  = "/run/samba-test" // paths of sockets are short
	user      = "games"           // Samba's users are the system's
	secret    = "Anker😀läuft1"
)

var samr = dcerpc.Syntax{UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1}

var levels = []dcerpc.AuthLevel{dcerpc.LevelConnect, dcerpc.LevelIntegrity, dcerpc.LevelPrivacy}

// startSamba starts Samba's services with their mapper, in a folder of their own, where user has
// the password secret.
func startSamba(t *testing.T) {
	t.Helper()
	const program = "/usr/libexec/samba/samba-dcerpcd"
	if _, err := os.Stat(program); err != nil {
		nstest.Unavailable(t, "samba is not installed: apt-get install samba")
	}
	nstest.NeedRoot(t)
	config := "[global]\nserver role = standalone server\nrpc start on demand helpers = no\nlog file = " + sambaDir + "/log\nlog level = 0\n"
	for key, name := range map[string]string{
		"private dir": "private", "lock directory": "lock", "state directory": "state", "cache directory": "cache", "pid directory": "pid", "ncalrpc dir": "ncalrpc",
	} {
		if err := os.MkdirAll(filepath.Join(sambaDir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("%s = %s/%s\n", key, sambaDir, name)
	}
	conf := sambaDir + "/smb.conf"
	if err := os.WriteFile(conf, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	add := exec.Command(nstest.Path(t, "pdbedit"), "-s", conf, "-a", "-u", user, "-t")
	add.Stdin = strings.NewReader(secret + "\n" + secret + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("pdbedit: %v\n%s", err, out)
	}
	nstest.Start(t, program, "-F", "--no-process-group", "-s", conf, "--option=rpc server dynamic port range=50120-50140", "--libexec-rpcds")
	nstest.WaitFor(t, "Samba to listen", sambaTime, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:135")
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
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

var here = netip.MustParseAddr("127.0.0.1")

func TestSambaNTLM(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startSamba(t)
	for _, level := range levels {
		i := identity(t, Options{User: `WHATEVER\` + user, Password: is(secret), Level: level})
		o := probe.DCEOptions{Auth: i.At("harbour")}
		r := new(probe.Prober).DCE(t.Context(), here, o)
		t.Log(level, r.State, r.Why, len(r.Entries), r.Problems)
		var at endpoint.Endpoint
		for _, e := range r.Entries {
			if e.UUID == samr.UUID && e.ProtSeq == epm.TCP {
				at = e.Endpoint
			}
		}
		if !at.Addr.IsValid() {
			at = endpoint.At(epm.TCP, netip.MustParseAddrPort("127.0.0.1:50121"))
		}
		t.Log(at)
		s := new(probe.Prober).InterfacesDCE(t.Context(), at.Addr, o)
		t.Log(s.State, s.Why, len(s.Interfaces))
		bad := identity(t, Options{User: `WHATEVER\` + user, Password: is("x"), Level: level})
		r = new(probe.Prober).DCE(t.Context(), here, probe.DCEOptions{Auth: bad.At("harbour")})
		t.Log(r.State, r.Why, len(r.Entries), r.Problems)
		s = new(probe.Prober).InterfacesDCE(t.Context(), at.Addr, probe.DCEOptions{Auth: bad.At("harbour")})
		t.Log(s.State, s.Why, len(s.Interfaces))
		c, err := new(probe.Prober).DialDCE(t.Context(), at, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Bind(t.Context(), samr); err != nil {
			t.Error(err)
		}
		res, _, err := c.Call(t.Context(), ndr.UUID{}, 57, []byte{0, 0, 0, 0, 0x20, 0, 0, 0})
		t.Logf("%x %v", res, err)
		c.Close()
	}
}
