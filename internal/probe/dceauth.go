package probe

import (
	"context"
	"fmt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A DCEAuth says who asks, to servers that want to know. What is asked goes without it if the
// options have none.
type DCEAuth interface {
	// Begin is called for each connection, before the first bind.
	// An error, here as in what follows, is told as it is, with the state Failed.
	Begin(to endpoint.Endpoint) (DCESecurity, error)
}

// A DCESecurity is the client's side of a security provider on one connection (MS-RPCE, section
// 3.3.1.5.2), in the terms of GSS-API. One goroutine at a time uses it.
type DCESecurity interface {
	// Kind returns what the sec_trailer says; it does not change.
	Kind() (dcerpc.AuthType, dcerpc.AuthLevel)

	// Next takes the server's last token, nil at first, and returns the next one: the first
	// travels in bind, and later ones in alter_context while more says that the server will
	// answer with a token, else in rpc_auth_3, which is not answered. No token and no more: the client is known.
	Next(server []byte) (token []byte, more bool, err error)

	// The rest is called once the client is known, and with levels from LevelPacket on.

	// Size returns how many bytes the token of a fragment has.
	Size() int
	// Protect encrypts the stub in place where the level says so, and returns the token. The PDU is
	// all that stands before the token, the stub a part of it, with padding to 16 bytes. Whether
	// the server signs headers too was settled by bind; to providers that sign them always,
	// as NTLM does, it is the same.
	Protect(pdu, stub []byte, headers bool) (token []byte, err error)
	// Unprotect does the reverse with a fragment that came; its error says that it was not the server's.
	Unprotect(pdu, stub, token []byte, headers bool) error
}

const (
	trailerSize = 8  // bytes of a sec_trailer without the token
	stubAlign   = 16 // of stubs that are protected, in bytes
	stubStart   = dcerpc.HeaderSize + 8
	maxLegs     = 8 // tokens that each side sends
	maxToken    = dcerpc.MaxFrag - 256

	fragLengthAt, authLengthAt = 8, 10 // in a header
)

// token returns the first or the next token for the server.
func (c *DCEConn) token(server []byte) (token []byte, more bool, err error) {
	if c.security == nil {
		return nil, false, nil
	}
	token, more, err = c.security.Next(server)
	if len(token) > maxToken {
		return nil, false, fmt.Errorf("a token of %d bytes does not fit into a PDU", len(token))
	}
	return token, more, err
}

// authenticate goes on after the first bind until the client is known.
func (c *DCEConn) authenticate(ctx context.Context, m dcerpc.Bind, server []byte, more bool) error {
	for range maxLegs {
		if !more {
			return nil
		}
		token, again, err := c.token(server)
		if err != nil {
			return err
		}
		switch more = again; {
		case len(token) == 0:
			return nil
		case !more:
			pdu := c.appendToken(c.auth3(), token)
			return c.exchange(ctx, pdu, func() error { return nil })
		}
		var ack dcerpc.BindAck
		if ack, server, err = c.propose(ctx, m, token); err != nil {
			return err
		}
		if err := c.accepted(m, ack); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: authentication does not come to an end", errAnswer)
}

// auth3 returns an rpc_auth_3 without its trailer (MS-RPCE, section 2.2.2.10).
func (c *DCEConn) auth3() []byte {
	h := c.header()
	h.Version, h.PType, h.Flags = dcerpc.Version, dcerpc.PTypeAuth3, dcerpc.FirstFrag|dcerpc.LastFrag
	h.FragLength = dcerpc.HeaderSize + 4
	return append(h.Append(nil), 0, 0, 0, 0)
}

// appendToken puts a token at the end of a PDU, unless it is empty.
func (c *DCEConn) appendToken(pdu, token []byte) []byte {
	if len(token) == 0 {
		return pdu
	}
	pad := -len(pdu) & 3
	pdu = append(pdu, make([]byte, pad)...)
	return c.finish(append(c.appendTrailer(pdu, pad), token...), len(token))
}

// appendTrailer appends the sec_trailer that goes before a token.
func (c *DCEConn) appendTrailer(pdu []byte, pad int) []byte {
	t, level := c.security.Kind()
	return append(pdu, byte(t), byte(level), byte(pad), 0, 0, 0, 0, 0) // reserved; auth_context_id
}

// finish sets the lengths of a PDU with a token of n bytes.
func (c *DCEConn) finish(pdu []byte, n int) []byte {
	lengths := ndr.NewWriter(pdu[:fragLengthAt], c.label)
	lengths.Uint16(uint16(len(pdu)))
	lengths.Uint16(uint16(n))
	return pdu
}

// protects tells whether calls have trailers.
func (c *DCEConn) protects() bool {
	if c.security == nil {
		return false
	}
	_, level := c.security.Kind()
	return level > dcerpc.LevelCall
}

// fragLimit is the size of a fragment that leaves room for its trailer.
func (c *DCEConn) fragLimit() uint16 {
	if !c.protects() {
		return c.maxFrag
	}
	return uint16(max(0, int(c.maxFrag)-c.security.Size()-trailerSize-stubAlign))
}

// protect gives each fragment of a request its trailer.
func (c *DCEConn) protect(pdus []byte) ([]byte, error) {
	if !c.protects() {
		return pdus, nil
	}
	var all []byte
	for len(pdus) > 0 {
		h, err := dcerpc.ParseHeader(pdus)
		if err != nil {
			return nil, err
		}
		start := stubStart
		if h.Flags&dcerpc.ObjectUUID != 0 {
			start += ndr.UUIDSize
		}
		pdu := append([]byte(nil), pdus[:h.FragLength]...)
		pdus = pdus[h.FragLength:]
		pad := -(len(pdu) - start) & (stubAlign - 1)
		pdu = append(pdu, make([]byte, pad)...)
		end := len(pdu)
		pdu = c.appendTrailer(pdu, pad)
		pdu = append(pdu, make([]byte, c.security.Size())...)
		pdu = c.finish(pdu, c.security.Size()) // the lengths are signed too
		token, err := c.security.Protect(pdu[:end+trailerSize], pdu[start:end], c.signed)
		if err != nil {
			return nil, err
		}
		copy(pdu[end+trailerSize:], token)
		all = append(all, pdu...)
	}
	return all, nil
}

// unprotect checks a fragment of a response, and decrypts it in place.
func (c *DCEConn) unprotect(h dcerpc.Header, pdu []byte) error {
	if !c.protects() {
		return nil
	}
	a, err := dcerpc.ParseAuth(h, pdu)
	end := len(pdu) - len(a.Token) - trailerSize
	if err != nil || len(a.Token) == 0 || end < stubStart {
		return fmt.Errorf("%w: it is not signed", errAnswer)
	}
	if err := c.security.Unprotect(pdu[:end+trailerSize], pdu[stubStart:end], a.Token, c.signed); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}
