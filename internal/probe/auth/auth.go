// Package auth says to servers of DCE/RPC who asks (MS-RPCE, section 3.3): by NTLM (MS-NLMP) with a
// user's password, or by Kerberos (RFC 4120, RFC 4121) with the tickets of a credential cache.
//
// The protocols are those of go-msrpc, which only this package knows. A program that is built
// with the tag noauth has none of them: [New] then returns [ErrLeftOut].
package auth

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

// ErrLeftOut is returned by [New] of a program that was built with the tag noauth.
var ErrLeftOut = errors.New("this program cannot say who asks: it was built without authentication (tag noauth)")

// Options say who asks.
type Options struct {
	// User is who asks: DOMAIN\user, user@REALM or user. NTLM needs one; with Kerberos it is
	// whose tickets the cache must have, if it is not empty.
	User string
	// Password is called once, by New, for NTLM. The bytes are UTF-8, and New overwrites them.
	Password func() ([]byte, error)

	Kerberos bool   // else NTLM
	CCache   string // the file of tickets, as KRB5CCNAME names it: a path, with or without "FILE:"
	Config   string // path of krb5.conf; empty: /etc/krb5.conf

	Level  dcerpc.AuthLevel // [dcerpc.LevelConnect], LevelIntegrity or LevelPrivacy; 0: the last
	Target string           // the server's principal; empty: host/ and the name that [Identity.At] is told
}

// An Identity is who asks. It is for use from several goroutines.
type Identity struct {
	target string
	party  party
}

// A party has a user's secrets.
type party interface {
	// begin is [probe.DCEAuth] for a server's principal.
	begin(target string) (probe.DCESecurity, error)
	// forget overwrites the secrets.
	forget()
}

// New reads the password or the tickets. The caller closes the identity. Errors do not tell
// the password.
func New(o Options) (*Identity, error) {
	switch o.Level {
	case 0:
		o.Level = dcerpc.LevelPrivacy
	case dcerpc.LevelConnect, dcerpc.LevelIntegrity, dcerpc.LevelPrivacy:
	default:
		return nil, fmt.Errorf("authentication at the level %s is not offered: connect, integrity or privacy", o.Level)
	}
	c, err := newParty(o)
	if err != nil {
		return nil, err
	}
	return &Identity{o.Target, c}, nil
}

// Close overwrites the secrets as far as Go lets it: what was derived from them for a connection
// goes when that is collected. No connection begins after it.
func (i *Identity) Close() { i.party.forget() }

// At returns what tells the servers of a host who asks. The name is the host's as clients know
// it; if it is empty, its address stands for it.
func (i *Identity) At(name string) probe.DCEAuth { return server{i, name} }

// A server is one host's servers.
type server struct {
	*Identity
	name string
}

// Begin implements [probe.DCEAuth].
func (s server) Begin(to endpoint.Endpoint) (probe.DCESecurity, error) {
	target := s.target
	switch {
	case target != "":
	case s.name != "":
		target = "host/" + s.name
	case to.Addr.IsValid():
		target = "host/" + to.Addr.Addr().String()
	default:
		target = "host/localhost" // a local socket
	}
	return s.party.begin(target)
}
