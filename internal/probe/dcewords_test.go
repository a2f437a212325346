package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

func TestDCEWords(t *testing.T) {
	_, refused := net.Dial("tcp", netip.AddrPortFrom(dceHost, closedPort(t)).String())
	reject := func(r dcerpc.ProviderReason) error { return rejection{Result: dcerpc.ProviderRejection, Reason: r} }
	for _, tt := range []struct {
		err   error
		state State
		why   string // part of it
	}{
		{nil, Listening, ""},
		{reject(dcerpc.AbstractSyntaxNotSupported), Wrong, "does not have the interface in this version (abstract_syntax_not_supported)"},
		{reject(dcerpc.TransferSyntaxesNotSupported), Rejected, "not for NDR"},
		{reject(dcerpc.LocalLimitExceeded), Rejected, "no room"},
		{rejection{Result: dcerpc.UserRejection}, Rejected, "user_rejection"},
		{rejection{Result: dcerpc.NegotiateAck}, Wrong, "negotiate_ack"},
		{dcerpc.BindNak{}, Rejected, "does not say why"},
		{dcerpc.BindNak{Reason: dcerpc.RejectTemporaryCongestion}, Rejected, "busy"},
		{dcerpc.BindNak{Reason: dcerpc.RejectLocalLimitExceeded}, Rejected, "no room"},
		{dcerpc.BindNak{Reason: dcerpc.RejectProtocolVersionNotSupported}, Rejected, "another version"},
		{dcerpc.BindNak{Reason: dcerpc.RejectAuthenticationTypeNotRecognized}, Rejected, "who asks"},
		{dcerpc.BindNak{Reason: dcerpc.RejectInvalidChecksum}, Rejected, "believe"},
		{dcerpc.Fault{Status: dcerpc.StatusAccessDenied}, Rejected, "access denied"},
		{dcerpc.Fault{Status: dcerpc.StatusUnsupportedAuthnLevel}, Rejected, "signed"},
		{dcerpc.Fault{Status: dcerpc.StatusUnkIf}, Wrong, "does not have the interface (nca_s_unk_if)"},
		{dcerpc.Fault{Status: dcerpc.StatusOpRngError}, Wrong, "operation"},
		{dcerpc.Fault{Status: dcerpc.StatusServerTooBusy}, Rejected, "busy"},
		{dcerpc.Fault{Status: 0x77}, Rejected, "fault 0x00000077"},
		{refusedUser{dcerpc.Fault{Status: dcerpc.StatusAccessDenied}}, Rejected, "does not believe who asks, does not let them, or wants it signed"},
		{refusedUser{dcerpc.Fault{Status: dcerpc.StatusProtoError}}, Rejected, "the user, the password or the ticket is wrong (nca_s_proto_error)"},
		{refusedUser{dcerpc.Fault{Status: dcerpc.StatusOpRngError}}, Wrong, "operation"},
		{errNotAllowed, Failed, "may not use the socket"},
		{refused, NotListening, "nothing listens"},
		{context.DeadlineExceeded, Filtered, "no answer"},
		{syscall.ECONNRESET, Wrong, "breaks the connection off"},
		{errors.New("no route"), Failed, "no route"},
	} {
		err := tt.err
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if s, why := dceOutcome(t.Context(), err); s != tt.state || !strings.Contains(why, tt.why) || err != nil && why == "" {
			t.Errorf("%v is %s: %q, want %s: %q", tt.err, s, why, tt.state, tt.why)
		}
	}
}
