//go:build !noauth

package auth

import (
	"errors"

	"github.com/quaymaster/quaymaster/internal/probe"
)

func newParty(o Options) (party, error) {
	if o.Kerberos {
		return newKerberos(o)
	}
	return newNTLM(o)
}

// guarded is a security provider that was written for servers one trusts: what it panics of
// in a stranger's answer is an error.
type guarded struct{ probe.DCESecurity }

// guard makes a panic an error. What was panicked of is left out: it could hold secrets.
func guard(err *error) {
	if recover() != nil {
		*err = errors.New("the server's token is malformed")
	}
}

func (g guarded) Next(server []byte) (token []byte, more bool, err error) {
	defer guard(&err)
	return g.DCESecurity.Next(server)
}

func (g guarded) Unprotect(pdu, stub, token []byte, headers bool) (err error) {
	defer guard(&err)
	return g.DCESecurity.Unprotect(pdu, stub, token, headers)
}

// errForged says that an answer was changed on its way, or is not of who knows the session's key.
var errForged = errors.New("its signature is not right")
