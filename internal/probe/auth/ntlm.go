//go:build !noauth

package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
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
	config.Confidentiality = c.level == dcerpc.LevelPrivacy
	return guarded{&ntlmSecurity{level: c.level, ntlm: ntlm.Authentifier{Config: config}}}, nil
}

// An ntlmSecurity is [probe.DCESecurity] by NTLM, whose second and last token travels in rpc_auth_3.
type ntlmSecurity struct {
	level     dcerpc.AuthLevel
	ntlm      ntlm.Authentifier
	negotiate []byte // the first token; nil: it is not made yet
}

func (s *ntlmSecurity) Kind() (dcerpc.AuthType, dcerpc.AuthLevel) { return dcerpc.AuthNTLM, s.level }
func (s *ntlmSecurity) Size() int                                 { return ntlm.SignatureSize }

const (
	negotiateFlagsAt = 12 // in a NEGOTIATE_MESSAGE (MS-NLMP, section 2.2.1.1)
	micSize          = 16 // of an AUTHENTICATE_MESSAGE
	micEnd           = ntlm.MICOffset + micSize

	// signing is what only signatures and seals need. Asked for it at another level Samba does not
	// answer calls, and peers do not agree on the key that the MIC is made with.
	signing = ntlm.NegotiateSign | ntlm.NegotiateKeyExchange
)

func (s *ntlmSecurity) Next(server []byte) (token []byte, more bool, err error) {
	ctx := context.Background()
	if s.negotiate == nil {
		if token, err = s.ntlm.Negotiate(ctx); err != nil {
			return nil, false, err
		}
		if s.level == dcerpc.LevelConnect {
			flags := token[negotiateFlagsAt:]
			binary.LittleEndian.PutUint32(flags, binary.LittleEndian.Uint32(flags)&^uint32(signing))
			s.ntlm.Config.Integrity = false // which Negotiate has set
		}
		s.negotiate = bytes.Clone(token)
		return token, true, nil
	}
	if err := s.check(ctx, server); err != nil {
		return nil, false, err
	}
	if token, err = s.ntlm.Authenticate(ctx, server); err != nil {
		return nil, false, err
	}
	if len(token) < micEnd {
		return nil, false, errors.New("NTLM's last token has no MIC")
	}
	// The library's is over the first token as it made that (MS-NLMP, section 3.1.5.1.2).
	mic := token[ntlm.MICOffset:micEnd]
	clear(mic)
	sum := hmac.New(md5.New, s.ntlm.SessionKey())
	for _, message := range [][]byte{s.negotiate, server, token} {
		sum.Write(message)
	}
	sum.Sum(mic[:0])
	return token, false, nil
}

// check tells what is wrong with the server's challenge.
func (s *ntlmSecurity) check(ctx context.Context, server []byte) error {
	if len(server) == 0 {
		return errors.New("the server does not answer NTLM with a challenge")
	}
	var challenge ntlm.ChallengeMessage
	if err := challenge.Unmarshal(ctx, server); err != nil {
		return fmt.Errorf("the server's challenge is malformed: %w", err)
	}
	// Without it signatures are checksums that can be forged.
	need := ntlm.NegotiateExtendedSessionSecurity
	if s.level != dcerpc.LevelConnect {
		need |= ntlm.NegotiateKeyExchange
	}
	if challenge.Negotiate&need != need {
		return errors.New("the server offers NTLM without extended session security only, which is not safe")
	}
	return nil
}

func (s *ntlmSecurity) Protect(pdu, stub []byte, _ bool) ([]byte, error) {
	ctx := context.Background()
	sum, err := s.ntlm.MakeOutboundChecksum(ctx, [][]byte{pdu})
	if err == nil && s.level == dcerpc.LevelPrivacy {
		err = s.ntlm.ApplyOutboundCipher(ctx, stub)
	}
	if err != nil {
		return nil, err
	}
	return s.ntlm.MakeOutboundSignature(ctx, sum)
}

func (s *ntlmSecurity) Unprotect(pdu, stub, token []byte, _ bool) error {
	ctx := context.Background()
	if s.level == dcerpc.LevelPrivacy {
		if err := s.ntlm.ApplyInboundCipher(ctx, stub); err != nil {
			return err
		}
	}
	sum, err := s.ntlm.MakeInboundChecksum(ctx, [][]byte{pdu})
	if err != nil {
		return err
	}
	want, err := s.ntlm.MakeInboundSignature(ctx, sum)
	if err == nil && !hmac.Equal(want, token) {
		err = errForged
	}
	return err
}
