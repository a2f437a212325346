//go:build !noauth

package auth

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/oiweiwei/go-msrpc/ssp/crypto"
	"github.com/oiweiwei/go-msrpc/ssp/ntlm"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

func TestNTHash(t *testing.T) {
	for _, tt := range []struct{ password, want string }{
		{"", "31d6cfe0d16ae931b73c59d7e0c089c0"},
		{"Password", "a4f49c406510bdcab6824ee7c30fd852"}, // MS-NLMP, section 4.2.2.1.2
		{"a\U0001f600", hashOf(t, "6100"+"3dd8"+"00de")},
		{"\ufffd", hashOf(t, "fdff")},
	} {
		if got, err := ntHash([]byte(tt.password)); err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("ntHash(%q) = %x, %v, want %s", tt.password, got, err, tt.want)
		}
	}
}

func hashOf(t *testing.T, utf16 string) string {
	t.Helper()
	wide, err := hex.DecodeString(utf16)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := crypto.MD4(wide)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum)
}

func TestSplitUser(t *testing.T) {
	for _, tt := range []struct{ name, domain, user string }{
		{"skipper", "", "skipper"},
		{`HARBOUR\skipper`, "HARBOUR", "skipper"},
		{"skipper@HARBOUR.EXAMPLE", "HARBOUR.EXAMPLE", "skipper"},
		{`HARBOUR\skipper@sea`, "HARBOUR", "skipper@sea"},
	} {
		if domain, user := splitUser(tt.name); domain != tt.domain || user != tt.user {
			t.Errorf("splitUser(%q) = %q, %q", tt.name, domain, user)
		}
	}
}

// challenge is a server's CHALLENGE_MESSAGE with flags.
func challenge(t testing.TB, flags ntlm.Flag) []byte {
	t.Helper()
	server := ntlm.Authentifier{Config: &ntlm.Config{IsServer: true, NetBIOSComputerName: "HARBOUR"}}
	server.Reset()
	client := &ntlm.NegotiateMessage{Negotiate: flags}
	hello, err := client.Marshal(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	b, err := server.Challenge(context.Background(), hello)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const modern = ntlm.NegotiateUnicode | ntlm.NegotiateSign | ntlm.NegotiateSeal | ntlm.NegotiateExtendedSessionSecurity |
	ntlm.NegotiateKeyExchange | ntlm.Negotiate128 | ntlm.Negotiate56

// began returns a provider that has sent its first token.
func began(t testing.TB, level dcerpc.AuthLevel) guarded {
	t.Helper()
	c := ntlmClient{level: level, user: "skipper", hash: make([]byte, 16)}
	s, err := c.begin("host/harbour")
	if err != nil {
		t.Fatal(err)
	}
	if token, more, err := s.Next(nil); err != nil || !more || !strings.HasPrefix(string(token), "NTLMSSP\x00") {
		t.Fatalf("%x, %t, %v", token, more, err)
	}
	return s.(guarded)
}

// TestNTLMChallenge: a server does not talk us into what is not safe.
func TestNTLMChallenge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		level  dcerpc.AuthLevel
		server []byte
		want   string // the error
	}{
		{"good", dcerpc.LevelPrivacy, challenge(t, modern), ""},
		{"no signing at connect", dcerpc.LevelConnect, challenge(t, modern&^signing), ""},
		{"no signing", dcerpc.LevelIntegrity, challenge(t, modern&^ntlm.NegotiateSign), "not available"},
		{"no sealing", dcerpc.LevelPrivacy, challenge(t, modern&^ntlm.NegotiateSeal), "not available"},
		{"no extended session security", dcerpc.LevelIntegrity, challenge(t, modern&^ntlm.NegotiateExtendedSessionSecurity), "not safe"},
		{"no extended session security at connect", dcerpc.LevelConnect, challenge(t, modern&^ntlm.NegotiateExtendedSessionSecurity), "not safe"},
		{"no key exchange", dcerpc.LevelIntegrity, challenge(t, modern&^ntlm.NegotiateKeyExchange), "not safe"},
		{"short keys", dcerpc.LevelIntegrity, challenge(t, modern&^ntlm.Negotiate128), "128"},
		{"nothing", dcerpc.LevelIntegrity, nil, "does not answer NTLM"},
		{"cut off", dcerpc.LevelIntegrity, challenge(t, modern)[:20], "malformed"},
	} {
		token, more, err := began(t, tt.level).Next(tt.server)
		switch {
		case tt.want == "" && (err != nil || more || len(token) < micEnd):
			t.Errorf("%s: %x, %t, %v", tt.name, token, more, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || len(token) > 0):
			t.Errorf("%s: %x, %v, want %q", tt.name, token, err, tt.want)
		}
	}
}

// TestNTLMForged: an answer with a wrong signature is refused, also where the stub is sealed.
func TestNTLMForged(t *testing.T) {
	for _, level := range []dcerpc.AuthLevel{dcerpc.LevelIntegrity, dcerpc.LevelPrivacy} {
		for _, token := range [][]byte{nil, make([]byte, 4), make([]byte, 16), make([]byte, 32)} {
			s := began(t, level)
			if _, _, err := s.Next(challenge(t, modern)); err != nil {
				t.Fatal(err)
			}
			pdu := make([]byte, 48)
			if err := s.Unprotect(pdu, pdu[24:40], token, true); err != errForged {
				t.Errorf("%s, token %x: %v", level, token, err)
			}
		}
	}
}

// FuzzNTLM: whatever a server sends is an error or leads to a token.
func FuzzNTLM(f *testing.F) {
	f.Add(challenge(f, modern))
	f.Add(challenge(f, modern&^signing))
	f.Add([]byte("NTLMSSP\x00\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, server []byte) {
		for _, level := range []dcerpc.AuthLevel{dcerpc.LevelConnect, dcerpc.LevelIntegrity, dcerpc.LevelPrivacy} {
			token, more, err := began(t, level).Next(server)
			if more || err == nil && len(token) < micEnd || err != nil && len(token) > 0 {
				t.Errorf("%x, %t, %v", token, more, err)
			}
		}
	})
}
