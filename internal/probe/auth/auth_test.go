//go:build !noauth

package auth

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
)

// TestNewErrors: what is wrong is said, and not with the password.
func TestNewErrors(t *testing.T) {
	const secret = "not-to-be-told"
	is := func(password string) func() ([]byte, error) {
		return func() ([]byte, error) { return []byte(password), nil }
	}
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Password: is(secret)}, "names no user"},
		{Options{User: `HARBOUR\`, Password: is(secret)}, "names no user"},
		{Options{User: "@HARBOUR.EXAMPLE", Password: is(secret)}, "names no user"},
		{Options{User: "skipper"}, "needs a password"},
		{Options{User: "skipper", Password: func() ([]byte, error) { return []byte(secret), errors.New("no terminal") }}, "no terminal"},
		{Options{User: "skipper", Password: is(secret + "\xff")}, "the password is not in UTF-8"},
		{Options{User: "skipper", Password: is(secret), Level: dcerpc.LevelCall}, "connect, integrity or privacy"},
		{Options{Kerberos: true}, "KRB5CCNAME"},
		{Options{Kerberos: true, CCache: "KEYRING:persistent:0"}, "tickets in KEYRING are not read"},
		{Options{Kerberos: true, CCache: "FILE:" + filepath.Join(dir, "none")}, "none: "},
		{Options{Kerberos: true, CCache: file("empty", "")}, "the credential cache is malformed"},
		{Options{Kerberos: true, CCache: file("cut", "\x05\x04\x00\x0c")}, "tickets of "},
		{Options{Kerberos: true, CCache: file("text", "skipper:"+secret)}, "credential cache"},
	} {
		i, err := New(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("New(%+v) = %v, %v, want %q", tt.o, i, err, tt.want)
		}
	}
}

// TestForgotten: the password is overwritten by New, and what was made of it by Close.
func TestForgotten(t *testing.T) {
	for _, tt := range []struct {
		password string
		err      error
	}{{"anchor", nil}, {"anchor\xff", nil}, {"anchor", errors.New("interrupted")}} {
		password := []byte(tt.password)
		i, _ := New(Options{User: "skipper", Password: func() ([]byte, error) { return password, tt.err }})
		if strings.Trim(string(password), "\x00") != "" {
			t.Errorf("%q is there after New", password)
		}
		if i == nil {
			continue
		}
		hash := i.party.(*ntlmClient).hash
		if strings.Trim(string(hash), "\x00") == "" {
			t.Error("no hash")
		}
		i.Close()
		if strings.Trim(string(hash), "\x00") != "" {
			t.Error("the hash is there after Close")
		}
		if s, err := i.At("").Begin(endpoint.Endpoint{}); err == nil {
			t.Errorf("Begin after Close = %v", s)
		}
	}
}

// A recorder is a party that tells the target that it was begun with.
type recorder struct{ target string }

func (r *recorder) forget() {}
func (r *recorder) begin(target string) (probe.DCESecurity, error) {
	r.target = target
	return nil, nil
}

func TestTarget(t *testing.T) {
	at := endpoint.At(epm.TCP, netip.MustParseAddrPort("10.97.0.2:135"))
	for _, tt := range []struct {
		target, name string
		to           endpoint.Endpoint
		want         string
	}{
		{"", "dc1.harbour.example", at, "host/dc1.harbour.example"},
		{"", "", at, "host/10.97.0.2"},
		{"ldap/dc2", "dc1", at, "ldap/dc2"},
		{"", "", endpoint.Endpoint{ProtSeq: epm.LRPC, Path: "/run/epmapper.sock"}, "host/localhost"},
	} {
		r := &recorder{}
		i := &Identity{target: tt.target, party: r}
		if _, err := i.At(tt.name).Begin(tt.to); err != nil || r.target != tt.want {
			t.Errorf("At(%q) of %q: %q, %v, want %q", tt.name, tt.target, r.target, err, tt.want)
		}
	}
}

// A panicking provider panics of what it is told.
type panicking struct{ probe.DCESecurity }

func (panicking) Next(server []byte) ([]byte, bool, error) { panic(server) }
func (panicking) Unprotect(_, _, token []byte, _ bool) error {
	panic(string(token))
}

func TestGuarded(t *testing.T) {
	const want = "the server's token is malformed"
	g := guarded{panicking{}}
	if token, more, err := g.Next([]byte("secret")); err == nil || err.Error() != want || more || token != nil {
		t.Errorf("Next = %x, %t, %v", token, more, err)
	}
	if err := g.Unprotect(nil, nil, []byte("secret"), true); err == nil || err.Error() != want {
		t.Errorf("Unprotect = %v", err)
	}
}

func TestParseLevel(t *testing.T) {
	for word, want := range map[string]dcerpc.AuthLevel{"connect": dcerpc.LevelConnect, "integrity": dcerpc.LevelIntegrity, "privacy": dcerpc.LevelPrivacy} {
		if got, err := ParseLevel(word); got != want || err != nil {
			t.Errorf("ParseLevel(%q) = %s, %v", word, got, err)
		}
	}
	for _, word := range []string{"", "none", "call", "packet", "Privacy", "6"} {
		if got, err := ParseLevel(word); err == nil || got != 0 {
			t.Errorf("ParseLevel(%q) = %s", word, got)
		}
	}
}

func TestCachePath(t *testing.T) {
	for _, tt := range []struct{ name, path, err string }{
		{"/tmp/krb5cc_0", "/tmp/krb5cc_0", ""},
		{"FILE:/tmp/krb5cc_0", "/tmp/krb5cc_0", ""},
		{"relative", "relative", ""},
		{`C:\Users\skipper\cache`, `C:\Users\skipper\cache`, ""},
		{"a:b", "a:b", ""},
		{"", "", "no credential cache is named"},
		{"KCM:", "", "KCM"},
		{"DIR:/tmp/caches", "", "DIR"},
		{"KEYRING:persistent:0", "", "KEYRING"},
	} {
		path, err := cachePath(tt.name)
		if path != tt.path || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("cachePath(%q) = %q, %v, want %q", tt.name, path, err, tt.path)
		}
	}
}
