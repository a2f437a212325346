// Package auth says to servers of DCE/RPC who asks (MS-RPCE, section 3.3): by NTLM (MS-NLMP) with a
// user's password, or by Kerberos (RFC 4120, RFC 4121) with the tickets of a credential cache.
//
// The protocols are those of go-msrpc, which only this package knows. A program that is built
// with the tag noauth has none of them: [New] then returns [ErrLeftOut].
package auth

import (
	"errors"
	"fmt"
	"sync/atomic"

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
	closed atomic.Bool // a logon with overwritten secrets would count as one that failed
}

// A party has a user's secrets.
type party interface {
	// begin is [probe.DCEAuth] for a server's principal.
	begin(target string) (probe.DCESecurity, error)
	// forget overwrites the secrets.
	forget()
}

// ParseLevel returns the level that a user calls connect, integrity or privacy.
func ParseLevel(word string) (dcerpc.AuthLevel, error) {
	for _, level := range []dcerpc.AuthLevel{dcerpc.LevelConnect, dcerpc.LevelIntegrity, dcerpc.LevelPrivacy} {
		if level.String() == word {
			return level, nil
		}
	}
	return 0, noLevel(word)
}

func noLevel(word string) error {
	return fmt.Errorf("there is no authentication at the level %q: connect, integrity or privacy", word)
}

// New reads the password or the tickets. The caller closes the identity. Errors do not tell
// the password.
func New(o Options) (*Identity, error) {
	if o.Level == 0 {
		o.Level = dcerpc.LevelPrivacy
	}
	if _, err := ParseLevel(o.Level.String()); err != nil {
		return nil, err
	}
	p, err := newParty(o)
	if err != nil {
		return nil, err
	}
	return &Identity{target: o.Target, party: p}, nil
}

// Close overwrites the secrets as far as Go lets it: what was derived from them for a connection
// goes when that is collected. It is called when no connection begins any more.
func (i *Identity) Close() {
	i.closed.Store(true)
	i.party.forget()
}

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
	if s.closed.Load() {
		return nil, errors.New("who asks is forgotten already")
	}
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
