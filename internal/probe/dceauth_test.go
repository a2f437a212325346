package probe

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A toySecurity encrypts and signs well enough to see that it was asked to, and where.
type toySecurity struct {
	level dcerpc.AuthLevel
	legs  int // tokens that the client sends after the first
	auth3 bool
	sent  int
}

func (s *toySecurity) Kind() (dcerpc.AuthType, dcerpc.AuthLevel) { return dcerpc.AuthNTLM, s.level }
func (s *toySecurity) Size() int                                 { return 12 }

func (s *toySecurity) Next(server []byte) ([]byte, bool, error) {
	switch {
	case s.sent > 0 && !bytes.Equal(server, []byte{0x80, byte(s.sent)}):
		return nil, false, errors.New("not the server's token")
	case s.sent > s.legs:
		return nil, false, nil
	}
	s.sent++
	return []byte{byte(s.sent)}, s.sent <= s.legs || !s.auth3, nil
}

func toyToken(pdu, stub []byte, headers bool) []byte {
	sum := make([]byte, 12)
	if !headers {
		pdu = nil
	}
	for i, b := range append(slices.Clone(pdu), stub...) {
		sum[i%len(sum)] = sum[i%len(sum)]*3 + b
	}
	return sum
}

func toyCrypt(stub []byte) {
	for i := range stub {
		stub[i] ^= 0x5a
	}
}

func (s *toySecurity) Protect(pdu, stub []byte, headers bool) ([]byte, error) {
	if len(stub)%stubAlign != 0 {
		return nil, errors.New("no padding")
	}
	if s.level == dcerpc.LevelPrivacy {
		toyCrypt(stub)
	}
	return toyToken(pdu, stub, headers), nil
}

func (s *toySecurity) Unprotect(pdu, stub, token []byte, headers bool) error {
	if !bytes.Equal(token, toyToken(pdu, stub, headers)) {
		return errors.New("it is forged")
	}
	if s.level == dcerpc.LevelPrivacy {
		toyCrypt(stub)
	}
	return nil
}

type toyAuth func() *toySecurity

func (a toyAuth) Begin(endpoint.Endpoint) (DCESecurity, error) { return a(), nil }

// TestDCEAuth: a security provider of the options has its tokens carried, and what is called
// protected, at each level and with each way to end the exchange of tokens.
func TestDCEAuth(t *testing.T) {
	for _, tt := range []struct {
		name  string
		s     toySecurity
		sign  bool // headers
		forge bool
		state State
	}{
		{"connect, auth3", toySecurity{level: dcerpc.LevelConnect, legs: 1, auth3: true}, true, false, Listening},
		{"integrity, auth3", toySecurity{level: dcerpc.LevelIntegrity, legs: 1, auth3: true}, true, false, Listening},
		{"privacy, auth3", toySecurity{level: dcerpc.LevelPrivacy, legs: 1, auth3: true}, true, false, Listening},
		{"privacy, one leg", toySecurity{level: dcerpc.LevelPrivacy}, true, false, Listening},
		{"privacy, alter_context", toySecurity{level: dcerpc.LevelPrivacy, legs: 2}, true, false, Listening},
		{"privacy, headers are not signed", toySecurity{level: dcerpc.LevelPrivacy, legs: 1}, false, false, Listening},
		{"integrity, forged", toySecurity{level: dcerpc.LevelIntegrity, legs: 1}, true, true, Wrong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := serveScript(t, toyServer(t, tt.s, tt.sign, tt.forge))
			auth := toyAuth(func() *toySecurity { s := tt.s; return &s })
			r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port(), Auth: auth})
			if r.State != tt.state || tt.state == Listening && len(r.Entries) != 100 {
				t.Errorf("%d entries, %+v", len(r.Entries), r)
			}
		})
	}
}

// toyServer is a mapper that wants to know who asks, with the security of s.
func toyServer(t *testing.T, s toySecurity, sign, forge bool) func(dcerpc.Header, []byte) []byte {
	tokens := 0
	return func(h dcerpc.Header, pdu []byte) []byte {
		a, err := dcerpc.ParseAuth(h, pdu)
		if err != nil {
			t.Error(err)
			return nil
		}
		c := &DCEConn{label: h.Label, security: &s, signed: sign}
		if h.PType != dcerpc.PTypeRequest {
			tokens++
			signs := s.level > dcerpc.LevelCall && h.PType != dcerpc.PTypeAuth3
			if a.Type != dcerpc.AuthNTLM || a.Level != s.level || !bytes.Equal(a.Token, []byte{byte(tokens)}) || h.Flags&dcerpc.SupportHeaderSign != 0 != signs {
				t.Errorf("%s with flags %#x, %+v", h.PType, h.Flags, a)
			}
		}
		switch h.PType {
		case dcerpc.PTypeAuth3:
			return []byte{}
		case dcerpc.PTypeRequest:
		default:
			b := ack(h, pdu)
			if sign {
				b[3] |= byte(dcerpc.SupportHeaderSign)
			}
			return c.appendToken(b, []byte{0x80, byte(tokens)})
		}
		if tokens != s.legs+1 {
			t.Errorf("called after %d tokens", tokens)
		}
		if s.level > dcerpc.LevelCall {
			if err := c.unprotect(h, pdu); err != nil {
				t.Error(err)
				return nil
			}
		}
		m, err := dcerpc.ParseRequest(h, pdu)
		if err != nil {
			t.Error(err)
			return nil
		}
		if q, err := epm.ParseLookup(m.Stub, h.Label); err != nil || q.MaxEntries != epm.MaxEntries {
			t.Errorf("ept_lookup %+v, %v", q, err)
		}
		answer := respond(h, lookupReply(ndr.Handle{}, 0, ownRowsOf(100)...)) // in several fragments
		if answer, err = c.protect(answer); err != nil {
			t.Error(err)
		}
		if forge {
			answer[stubStart] ^= 1
		}
		return answer
	}
}

type brokenAuth struct{ *toySecurity }

func (brokenAuth) Begin(endpoint.Endpoint) (DCESecurity, error) {
	return nil, errors.New("no such user")
}

type longToken struct{ *toySecurity }

func (a longToken) Begin(endpoint.Endpoint) (DCESecurity, error) { return a, nil }
func (longToken) Next([]byte) ([]byte, bool, error)              { return make([]byte, 1<<16), true, nil }

// TestDCEAuthErrors: what the security provider cannot do is told, and an exchange of tokens ends.
func TestDCEAuthErrors(t *testing.T) {
	s := toySecurity{level: dcerpc.LevelConnect, legs: 100}
	endless := toyAuth(func() *toySecurity { s := s; return &s })
	for _, tt := range []struct {
		auth  DCEAuth
		state State
		why   string
	}{
		{brokenAuth{}, Failed, "no such user"},
		{longToken{&s}, Failed, "a token of 65536 bytes does not fit into a PDU"},
		{endless, Wrong, "the answer is not understood: authentication does not come to an end"},
	} {
		at := serveScript(t, toyServer(t, s, true, false))
		if r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port(), Auth: tt.auth}); r.State != tt.state || r.Why != tt.why {
			t.Errorf("%+v, want %s: %s", r, tt.state, tt.why)
		}
	}
}
