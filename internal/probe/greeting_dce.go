package probe

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

const (
	// dynamicDCE is where the ports begin that Windows and Samba give to servers of DCE/RPC.
	dynamicDCE = 49152
	// maxPortInterfaces is how many interfaces of a port are kept.
	maxPortInterfaces = 100
)

// greetDCE asks by the management interface, which every server has, which interfaces there are.
// A server that refuses speaks DCE/RPC too. What another says instead is the text: at a dynamic port
// there may be anybody.
func greetDCE(ctx context.Context, t *talk) error {
	var s DCEServer
	err := s.read(ctx, newDCEConn(t.p, t.conn, DCEOptions{}))
	var nak dcerpc.BindNak
	refused := isRejection(err) || isFault(err) || errors.As(err, &nak)
	if s.Time > 0 || refused {
		t.What = t.protocol.title
	}
	switch {
	case refused:
		t.Text = "does not say which interfaces it has: " + s.Why
		return nil
	case errors.Is(err, errNotDCE):
		t.Text = strings.TrimRight(string(t.ears.heard), "\r\n")
		return errors.New("it says something else")
	case err != nil:
		return err
	}
	t.Interfaces = slices.Clone(s.Interfaces[:min(len(s.Interfaces), maxPortInterfaces)])
	if n := len(s.Interfaces); n > maxPortInterfaces {
		t.problem("it has %d interfaces, of which %d are kept", n, maxPortInterfaces)
	}
	if s.Principal != "" {
		t.Text = "as " + part(s.Principal)
	}
	if s.Stopped {
		t.problem("it says that it does not listen")
	}
	for _, p := range s.Problems {
		t.problem("it does not answer %s", p)
	}
	return nil
}
