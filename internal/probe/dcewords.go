package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

// dceOutcome returns what an error of connecting, binding or calling says of the server: its
// state, and why in words for an administrator.
func dceOutcome(ctx context.Context, err error) (State, string) {
	var r rejection
	var nak dcerpc.BindNak
	var f dcerpc.Fault
	var user refusedUser
	switch {
	case err == nil:
		return Listening, ""
	case errors.As(err, &r):
		return rejectionWords(r)
	case errors.As(err, &nak):
		return Rejected, nakWords(nak)
	case errors.As(err, &user):
		return userWords(user)
	case errors.As(err, &f):
		return faultWords(f)
	case errors.Is(err, errNotDCE), errors.Is(err, errGreeting), errors.Is(err, errAnswer):
		return Wrong, err.Error()
	case errors.Is(err, errSilent):
		return Wrong, silentWords
	case timeUp(ctx):
		return NotTried, "the time was up"
	case errors.Is(err, os.ErrNotExist):
		return NotListening, "there is no such socket"
	}
	switch s := StateOf(err); {
	case s == NotListening:
		return s, "nothing listens there"
	case s == Filtered:
		return s, "no answer"
	case s == Wrong && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return s, "it ends the connection instead of answering"
	case s == Wrong:
		return s, "it breaks the connection off"
	default:
		return s, err.Error()
	}
}

func rejectionWords(r rejection) (State, string) {
	switch {
	case r.Result == dcerpc.UserRejection:
		return Rejected, "the server refuses the interface (user_rejection)"
	case r.Result != dcerpc.ProviderRejection:
		return Wrong, "a bind is answered with " + r.Result.String()
	}
	switch r.Reason {
	case dcerpc.AbstractSyntaxNotSupported:
		return Wrong, "the server there does not have the interface in this version (abstract_syntax_not_supported)"
	case dcerpc.TransferSyntaxesNotSupported:
		return Rejected, "the server has the interface, but not for NDR (proposed_transfer_syntaxes_not_supported)"
	case dcerpc.LocalLimitExceeded:
		return Rejected, "the server has no room for another client (local_limit_exceeded)"
	case dcerpc.ReasonNotSpecified:
		return Rejected, "the server refuses the interface and does not say why"
	}
	return Rejected, "the server refuses the interface: " + r.Reason.String()
}

func nakWords(n dcerpc.BindNak) string {
	why := ""
	switch n.Reason {
	case dcerpc.RejectReasonNotSpecified:
		why = "it does not say why"
	case dcerpc.RejectTemporaryCongestion:
		why = "it is busy"
	case dcerpc.RejectLocalLimitExceeded:
		why = "it has no room for another client"
	case dcerpc.RejectProtocolVersionNotSupported:
		why = "it speaks another version of the protocol"
	case dcerpc.RejectAuthenticationTypeNotRecognized:
		why = "it does not know this way to say who asks"
	case dcerpc.RejectInvalidChecksum:
		why = "it does not believe who asks"
	default:
		return "the server refuses the connection: " + n.Reason.String()
	}
	return fmt.Sprintf("the server refuses the connection: %s (%s)", why, n.Reason)
}

func userWords(r refusedUser) (State, string) {
	switch r.Status {
	case dcerpc.StatusAccessDenied:
		return Rejected, "access denied: it does not believe who asks, does not let them, or wants it signed (rpc_s_access_denied)"
	case dcerpc.StatusProtoError:
		return Rejected, "it does not believe who asks: the user, the password or the ticket is wrong (nca_s_proto_error)"
	}
	return faultWords(r.Fault)
}

func faultWords(f dcerpc.Fault) (State, string) {
	switch f.Status {
	case dcerpc.StatusAccessDenied:
		return Rejected, "access denied: it wants to know who asks, or does not let them (rpc_s_access_denied)"
	case dcerpc.StatusUnsupportedAuthnLevel:
		return Rejected, "it wants to know who asks, or wants it signed (nca_s_unsupported_authn_level)"
	case dcerpc.StatusUnkIf:
		return Wrong, "the server there does not have the interface (nca_s_unk_if)"
	case dcerpc.StatusOpRngError:
		return Wrong, "it does not have the operation (nca_s_op_rng_error)"
	case dcerpc.StatusServerTooBusy:
		return Rejected, "it is too busy (nca_s_server_too_busy)"
	}
	return Rejected, "it answers with fault " + f.Status.String()
}
