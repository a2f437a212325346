package oncrpc

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// An AuthFlavor says how a credential or verifier is to be read (RFC 5531, section 8.2).
type AuthFlavor uint32

// Flavors of the IANA registry that clients of a port mapper send.
const (
	AuthNone  AuthFlavor = 0
	AuthSys   AuthFlavor = 1
	AuthShort AuthFlavor = 2
	AuthDH    AuthFlavor = 3 // also called AUTH_DES
	RPCSecGSS AuthFlavor = 6
)

func (f AuthFlavor) String() string {
	switch f {
	case AuthNone:
		return "AUTH_NONE"
	case AuthSys:
		return "AUTH_SYS"
	case AuthShort:
		return "AUTH_SHORT"
	case AuthDH:
		return "AUTH_DH"
	case RPCSecGSS:
		return "RPCSEC_GSS"
	}
	return fmt.Sprintf("AuthFlavor(%d)", uint32(f))
}

// MaxAuthBody is the most bytes a credential or verifier may have (RFC 5531, section 8.2).
const MaxAuthBody = 400

// An OpaqueAuth is a credential or verifier as it travels (RFC 5531, section 8.2).
// The zero value is AUTH_NONE.
type OpaqueAuth struct {
	Flavor AuthFlavor
	Body   []byte // at most MaxAuthBody bytes; after decoding part of the message
}

func readAuth(r *xdr.Reader) OpaqueAuth {
	return OpaqueAuth{Flavor: AuthFlavor(r.Uint32()), Body: r.Opaque(MaxAuthBody)}
}

func appendAuth(b []byte, a OpaqueAuth) []byte {
	return xdr.AppendOpaque(xdr.AppendUint32(b, uint32(a.Flavor)), a.Body)
}

// Limits of AUTH_SYS (RFC 5531, appendix A).
const (
	MaxMachineName = 255 // bytes
	MaxGIDs        = 16
)

// A SysCredential is the body of an AUTH_SYS credential (RFC 5531, appendix A):
// what a client says of itself, not proven by anything.
type SysCredential struct {
	Stamp       uint32
	MachineName string // at most MaxMachineName bytes
	UID, GID    uint32
	GIDs        []uint32 // at most MaxGIDs
}

// ParseSysCredential decodes the body of an AUTH_SYS credential. Errors wrap those of package xdr.
func ParseSysCredential(body []byte) (SysCredential, error) {
	var c SysCredential
	name, gids, err := c.read(body)
	if err != nil {
		return SysCredential{}, err
	}
	c.MachineName = string(name)
	for g := xdr.NewReader(gids); len(g.Rest()) > 0; {
		c.GIDs = append(c.GIDs, g.Uint32())
	}
	return c, nil
}

// CheckSysCredential tells whether the body of an AUTH_SYS credential is well
// formed, as [ParseSysCredential] does, but allocates nothing if it is.
func CheckSysCredential(body []byte) error {
	var c SysCredential
	_, _, err := c.read(body)
	return err
}

// read decodes the fixed fields into c and returns the others as they lie in body.
func (c *SysCredential) read(body []byte) (name, gids []byte, err error) {
	r := xdr.NewReader(body)
	c.Stamp = r.Uint32()
	name = r.Opaque(MaxMachineName)
	c.UID = r.Uint32()
	c.GID = r.Uint32()
	n := r.Uint32()
	if n > MaxGIDs {
		r.Fail(xdr.ErrTooLong)
	} else {
		gids = r.Fixed(4 * int(n))
	}
	if err := r.Err(); err != nil { // longer bodies are accepted, as by libtirpc
		return nil, nil, fmt.Errorf("oncrpc: AUTH_SYS: %w", err)
	}
	return name, gids, nil
}

// Append appends the body of the credential.
func (c SysCredential) Append(b []byte) []byte {
	b = xdr.AppendUint32(b, c.Stamp)
	b = xdr.AppendString(b, c.MachineName)
	b = xdr.AppendUint32(b, c.UID)
	b = xdr.AppendUint32(b, c.GID)
	b = xdr.AppendUint32(b, uint32(len(c.GIDs)))
	for _, g := range c.GIDs {
		b = xdr.AppendUint32(b, g)
	}
	return b
}
