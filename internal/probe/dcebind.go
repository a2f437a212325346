package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

// A rejection is what a bind_ack says of an interface that was not accepted.
type rejection dcerpc.Result

func (r rejection) Error() string {
	if r.Result == dcerpc.ProviderRejection {
		return fmt.Sprintf("%s: %s", r.Result, r.Reason)
	}
	return r.Result.String()
}

// Bind binds an interface, which the next calls are to: by bind the first time, then by
// alter_context. NDR is offered as the transfer syntax. A refusal is a [dcerpc.BindNak], a
// [dcerpc.Fault], or what a bind_ack says: after that an anonymous client can bind another.
func (c *DCEConn) Bind(ctx context.Context, s dcerpc.Syntax) error {
	m := dcerpc.Bind{
		MaxXmitFrag: dceFrag, MaxRecvFrag: dceFrag, AssocGroup: c.group,
		Contexts: []dcerpc.Context{{ID: c.contexts, Abstract: s, Transfers: []dcerpc.Syntax{dcerpc.NDR}}},
	}
	c.contexts++
	if c.bound {
		ack, _, err := c.propose(ctx, m, nil)
		if err == nil {
			err = c.accepted(m, ack)
		}
		return err
	}
	token, more, err := c.token(nil)
	if err != nil {
		return err
	}
	ack, answer, err := c.propose(ctx, m, token)
	if err != nil {
		return err
	}
	c.bound, c.group = true, ack.AssocGroup
	if ack.MaxRecvFrag != 0 {
		c.maxFrag = min(dceFrag, ack.MaxRecvFrag)
	}
	refused := c.accepted(m, ack)
	if refused != nil {
		return refused
	}
	return c.authenticate(ctx, m, answer, more)
}

// propose sends a bind or alter_context with a token, if there is one, and returns the answer
// and its token.
func (c *DCEConn) propose(ctx context.Context, m dcerpc.Bind, token []byte) (ack dcerpc.BindAck, answer []byte, err error) {
	h, want := c.header(), dcerpc.PTypeBindAck
	if c.protects() { // as Samba's clients do: without a signature there is none of headers
		h.Flags |= dcerpc.SupportHeaderSign
	}
	var pdu []byte
	if c.bound {
		want = dcerpc.PTypeAlterContextResp
		pdu = dcerpc.AppendAlterContext(nil, h, m)
	} else {
		pdu = dcerpc.AppendBind(nil, h, m)
	}
	pdu = c.appendToken(pdu, token)
	err = c.exchange(ctx, pdu, func() error {
		h, pdu, err := c.next()
		if err != nil {
			return err
		}
		switch h.PType {
		case want:
			if ack, err = dcerpc.ParseBindAck(h, pdu); err != nil {
				return fmt.Errorf("%w: %w", errAnswer, err)
			}
			a, err := dcerpc.ParseAuth(h, pdu)
			answer = append([]byte(nil), a.Token...)
			if !c.bound {
				c.signed = h.Flags&dcerpc.SupportHeaderSign != 0
			}
			return err
		case dcerpc.PTypeBindNak:
			nak, err := dcerpc.ParseBindNak(h, pdu)
			return refusal(nak, err)
		case dcerpc.PTypeFault:
			f, err := dcerpc.ParseFault(h, pdu)
			return refusal(f, err)
		}
		return fmt.Errorf("%w: a bind is answered with %s", errAnswer, h.PType)
	})
	return ack, answer, err
}

// refusal returns a refusal that was decoded, or the error of that.
func refusal(refused, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return refused
}

// accepted returns nil if the one context was accepted, which the next calls are then in.
func (c *DCEConn) accepted(m dcerpc.Bind, ack dcerpc.BindAck) error {
	switch {
	case len(ack.Results) == 0:
		return fmt.Errorf("%w: a bind is acknowledged without a result", errAnswer)
	case ack.Results[0].Result != dcerpc.Acceptance:
		return rejection(ack.Results[0])
	case ack.Results[0].Transfer != dcerpc.NDR:
		return fmt.Errorf("%w: it chose the transfer syntax %s, which was not offered", errAnswer, ack.Results[0].Transfer)
	}
	c.context = m.Contexts[0].ID
	return nil
}

// isRejection tells whether the connection can go on after an error of [DCEConn.Bind].
func isRejection(err error) bool {
	var r rejection
	return errors.As(err, &r)
}
