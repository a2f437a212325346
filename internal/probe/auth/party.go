//go:build !noauth

package auth

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/internal/probe"
)

func newParty(o Options) (party, error) {
	if o.Kerberos {
		return newKerberos(o)
	}
	return newNTLM(o)
}

// guard makes a panic an error: the libraries were written for peers one trusts, and what they get
// here is a stranger's. What was panicked of is left out, since it could hold secrets.
func guard(err *error, whose string) {
	if recover() != nil {
		*err = fmt.Errorf("%s is malformed", whose)
	}
}

// A guarded security provider is one that a server's tokens may make panic.
type guarded struct{ probe.DCESecurity }

const serverToken = "the server's token"

func (g guarded) Next(server []byte) (token []byte, more bool, err error) {
	defer guard(&err, serverToken)
	return g.DCESecurity.Next(server)
}

func (g guarded) Unprotect(pdu, stub, token []byte, headers bool) (err error) {
	defer guard(&err, serverToken)
	return g.DCESecurity.Unprotect(pdu, stub, token, headers)
}

// errForged says that an answer was changed on its way, or is not of who knows the session's key.
var errForged = errors.New("its signature is not right")
