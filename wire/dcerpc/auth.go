package dcerpc

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// An AuthType is a security provider (C706, section 13.2.1; MS-RPCE, section 2.2.1.1.7).
type AuthType uint8

// The security providers that clients use.
const (
	AuthNone     AuthType = 0
	AuthSPNEGO   AuthType = 9
	AuthNTLM     AuthType = 10
	AuthKerberos AuthType = 16
	AuthNetlogon AuthType = 68
)

func (t AuthType) String() string {
	switch t {
	case AuthNone:
		return "none"
	case AuthSPNEGO:
		return "SPNEGO"
	case AuthNTLM:
		return "NTLM"
	case AuthKerberos:
		return "Kerberos"
	case AuthNetlogon:
		return "Netlogon"
	}
	return fmt.Sprintf("AuthType(%d)", uint8(t))
}

// An AuthLevel is what a security provider protects (C706, section 13.1.2.1;
// MS-RPCE, section 2.2.1.1.8).
type AuthLevel uint8

// The levels, each of which protects more than the ones before it.
const (
	LevelNone      AuthLevel = 1
	LevelConnect   AuthLevel = 2 // who connects; requests have no trailer
	LevelCall      AuthLevel = 3
	LevelPacket    AuthLevel = 4
	LevelIntegrity AuthLevel = 5 // stubs are signed, and can be read
	LevelPrivacy   AuthLevel = 6 // stubs are encrypted
)

func (l AuthLevel) String() string {
	switch l {
	case LevelNone:
		return "none"
	case LevelConnect:
		return "connect"
	case LevelCall:
		return "call"
	case LevelPacket:
		return "packet"
	case LevelIntegrity:
		return "integrity"
	case LevelPrivacy:
		return "privacy"
	}
	return fmt.Sprintf("AuthLevel(%d)", uint8(l))
}

// An Auth is the sec_trailer at the end of a PDU with the token that follows it
// (MS-RPCE, section 2.2.2.11; auth_verifier_co_t in C706, section 13.2.6.1).
type Auth struct {
	Type      AuthType
	Level     AuthLevel
	PadLength uint8 // bytes of padding between the stub and the trailer
	ContextID uint32
	Token     []byte // part of the PDU; never empty
}

// authSize is the size in bytes of a sec_trailer, without the token.
const authSize = 8

var errAuth = errors.New("dcerpc: auth trailer does not fit")

// ParseAuth decodes the trailer of a PDU, of any type; the zero value means that
// there is none. It fails where the trailer or its padding do not fit, as do the
// functions that decode bodies.
func ParseAuth(h Header, pdu []byte) (Auth, error) {
	a, _, err := trailer(h, pdu)
	return a, err
}

// trailer returns the trailer of a PDU and where that ends without trailer and padding.
func trailer(h Header, pdu []byte) (a Auth, end int, err error) {
	end = int(h.FragLength)
	if len(pdu) < end || end < HeaderSize {
		return a, 0, fmt.Errorf("dcerpc: %v: %w", h.PType, ndr.ErrShort)
	}
	if h.AuthLength == 0 {
		return a, end, nil
	}
	start := end - int(h.AuthLength) - authSize
	if start < HeaderSize {
		return a, 0, fmt.Errorf("%w: token of %d bytes in a PDU of %d", errAuth, h.AuthLength, h.FragLength)
	}
	// The padding puts the trailer on a multiple of 4 at least; nobody checks that.
	r := ndr.NewReader(pdu[start:end], h.Label)
	a.Type, a.Level, a.PadLength = AuthType(r.Uint8()), AuthLevel(r.Uint8()), r.Uint8()
	r.Uint8() // reserved
	a.ContextID = r.Uint32()
	a.Token = r.Bytes(int(h.AuthLength))
	end = start - int(a.PadLength)
	if end < HeaderSize {
		return Auth{}, 0, fmt.Errorf("%w: %d bytes of padding", errAuth, a.PadLength)
	}
	return a, end, nil
}
