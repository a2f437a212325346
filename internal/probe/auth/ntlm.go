//go:build !noauth

package auth

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/oiweiwei/go-msrpc/ssp/credential"
	"github.com/oiweiwei/go-msrpc/ssp/crypto"
	"github.com/oiweiwei/go-msrpc/ssp/ntlm"

	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

// An ntlmClient is a user by NTLMv2. The password is kept as its hash, which is as good as it to
// whoever gets hold of it.
type ntlmClient struct {
	level        dcerpc.AuthLevel
	domain, user string
	hash         []byte
}

func newNTLM(o Options) (*ntlmClient, error) {
	c := &ntlmClient{level: o.Level}
	if c.domain, c.user = splitUser(o.User); c.user == "" {
		return nil, fmt.Errorf(`%q names no user: DOMAIN\user, user@REALM or user`, o.User)
	}
	if o.Password == nil {
		return nil, errors.New("NTLM needs a password")
	}
	password, err := o.Password()
	defer clear(password)
	if err != nil {
		return nil, err
	}
	c.hash, err = ntHash(password)
	return c, err
}

// splitUser splits DOMAIN\user and user@REALM.
func splitUser(name string) (domain, user string) {
	if domain, user, ok := strings.Cut(name, `\`); ok {
		return domain, user
	}
	user, domain, _ = strings.Cut(name, "@")
	return domain, user
}

// ntHash is NTOWF of NTLM without the user: MD4 of the password in UTF-16 (MS-NLMP, section 3.3.1).
func ntHash(password []byte) ([]byte, error) {
	wide := make([]byte, 0, 4*len(password)) // appending does not leave copies behind
	defer func() { clear(wide) }()
	for rest := password; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			return nil, errors.New("the password is not in UTF-8")
		}
		rest = rest[n:]
		if high, low := utf16.EncodeRune(r); low != utf8.RuneError {
			wide = binary.LittleEndian.AppendUint16(wide, uint16(high))
			r = low
		}
		wide = binary.LittleEndian.AppendUint16(wide, uint16(r))
	}
	return crypto.MD4(wide)
}

func (c *ntlmClient) forget() { clear(c.hash) }

func (c *ntlmClient) begin(target string) (probe.DCESecurity, error) {
	config := ntlm.NewConfig() // NTLMv2 with 128 bits
	config.Credential = credential.NewFromNTHashBytes(c.user, c.hash, credential.Domain(c.domain))
	config.TargetName = target
	config.Integrity = true
	config.Confidentiality = c.level == dcerpc.LevelPrivacy
	return guarded{&ntlmSecurity{level: c.level, ntlm: ntlm.Authentifier{Config: config}}}, nil
}

// An ntlmSecurity is [probe.DCESecurity] by NTLM, whose second and last token travels in rpc_auth_3.
type ntlmSecurity struct {
	level dcerpc.AuthLevel
	ntlm  ntlm.Authentifier
	begun bool
}

func (s *ntlmSecurity) Kind() (dcerpc.AuthType, dcerpc.AuthLevel) { return dcerpc.AuthNTLM, s.level }
func (s *ntlmSecurity) Size() int                                 { return ntlm.SignatureSize }

func (s *ntlmSecurity) Next(server []byte) (token []byte, more bool, err error) {
	ctx := context.Background()
	if !s.begun {
		s.begun = true
		token, err = s.ntlm.Negotiate(ctx)
		return token, true, err
	}
	if len(server) == 0 {
		return nil, false, errors.New("the server does not answer NTLM with a challenge")
	}
	var challenge ntlm.ChallengeMessage
	if err := challenge.Unmarshal(ctx, server); err != nil {
		return nil, false, fmt.Errorf("the server's challenge is malformed: %w", err)
	}
	// Without it signatures are checksums that can be forged.
	for _, flag := range []ntlm.Flag{ntlm.NegotiateExtendedSessionSecurity, ntlm.NegotiateKeyExchange} {
		if !challenge.Negotiate.IsSet(flag) {
			return nil, false, errors.New("the server offers NTLM without extended session security only, which is not safe")
		}
	}
	token, err = s.ntlm.Authenticate(ctx, server)
	return token, false, err
}

func (s *ntlmSecurity) Protect(pdu, stub []byte) ([]byte, error) {
	ctx := context.Background()
	sum, err := s.ntlm.MakeOutboundChecksum(ctx, [][]byte{signed(pdu, stub)})
	if err == nil && s.level == dcerpc.LevelPrivacy {
		err = s.ntlm.ApplyOutboundCipher(ctx, stub)
	}
	if err != nil {
		return nil, err
	}
	return s.ntlm.MakeOutboundSignature(ctx, sum)
}

func (s *ntlmSecurity) Unprotect(pdu, stub, token []byte) error {
	ctx := context.Background()
	if s.level == dcerpc.LevelPrivacy {
		if err := s.ntlm.ApplyInboundCipher(ctx, stub); err != nil {
			return err
		}
	}
	sum, err := s.ntlm.MakeInboundChecksum(ctx, [][]byte{signed(pdu, stub)})
	if err != nil {
		return err
	}
	want, err := s.ntlm.MakeInboundSignature(ctx, sum)
	if err == nil && !hmac.Equal(want, token) {
		err = errForged
	}
	return err
}

// errForged says that an answer was changed on its way, or is not of who knows the session's key.
var errForged = errors.New("its signature is not right")

// signed is what is signed: the PDU, or without its headers the stub.
func signed(pdu, stub []byte) []byte {
	if pdu == nil {
		return stub
	}
	return pdu
}
