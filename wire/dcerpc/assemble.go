package dcerpc

import "slices"

// What an [Assembler] holds at most.
const (
	MaxHeld  = 1 << 20 // bytes of stubs, all calls together
	MaxCalls = 16      // calls whose last fragment has not come
)

// An AssembleError is a fragment that does not go with those before it, and the
// status of the fault to answer with. Its call is forgotten, so that further
// fragments of it are errors too: best the connection ends.
type AssembleError struct {
	Status Status
	Reason string
}

func (e *AssembleError) Error() string { return "dcerpc: fragment: " + e.Reason }

var (
	errNoFirst  = &AssembleError{StatusProtoError, "of a call that has not begun"}
	errFirst    = &AssembleError{StatusProtoError, "the first of a call that has begun"}
	errDiffers  = &AssembleError{StatusProtoError, "another operation, context or byte order than the first"}
	errEmpty    = &AssembleError{StatusProtoError, "empty and not the last"}
	errMaxCalls = &AssembleError{StatusServerTooBusy, "over the limit of calls under way"}
	errMaxHeld  = &AssembleError{StatusServerTooBusy, "over the limit of bytes held"}
)

// An Assembler puts the requests of one connection, or its responses, together
// from their fragments, which may come interleaved (C706, section 12.6.2). The
// zero value is ready.
type Assembler struct {
	calls []partialCall
	held  int // bytes of their stubs
}

// A partialCall is a call whose last fragment has not come.
type partialCall struct {
	header  Header // of the first fragment
	request Request
}

// Add takes a fragment and, if that was the last, returns the whole request: what
// the first fragment had, with a stub that is all of it. Where the first is the
// last the stub stays the caller's, and nothing is allocated; else the caller owns it.
// An error is an [*AssembleError].
//
// With neither flag a fragment is in the middle of a call that has begun, and
// otherwise a whole one, as very old clients send it.
func (a *Assembler) Add(h Header, m Request) (whole Request, ok bool, err error) {
	i := a.find(h.CallID)
	isFirst, isLast := h.Flags&FirstFrag != 0, h.Flags&LastFrag != 0
	if i < 0 && !isFirst && !isLast {
		isFirst, isLast = true, true
	}
	switch {
	case i < 0 && !isFirst:
		return Request{}, false, errNoFirst
	case i < 0 && isLast:
		return m, true, nil
	case i < 0:
		return Request{}, false, a.begin(h, m)
	}
	if err := a.extend(&a.calls[i], h, m); err != nil {
		a.remove(i)
		return Request{}, false, err
	}
	if !isLast {
		return Request{}, false, nil
	}
	whole = a.calls[i].request
	a.remove(i)
	return whole, true, nil
}

// AddResponse is [Assembler.Add] for responses.
func (a *Assembler) AddResponse(h Header, m Response) (whole Response, ok bool, err error) {
	q, ok, err := a.Add(h, Request{AllocHint: m.AllocHint, ContextID: m.ContextID, Stub: m.Stub})
	if !ok {
		return Response{}, false, err
	}
	return Response{q.AllocHint, q.ContextID, m.CancelCount, q.Stub}, true, nil
}

// Held returns how many bytes of stubs are held, at most [MaxHeld].
func (a *Assembler) Held() int { return a.held }

// Drop forgets a call, if it is under way: after a co_cancel or orphaned.
func (a *Assembler) Drop(callID uint32) {
	if i := a.find(callID); i >= 0 {
		a.remove(i)
	}
}

func (a *Assembler) find(callID uint32) int {
	return slices.IndexFunc(a.calls, func(c partialCall) bool { return c.header.CallID == callID })
}

// begin takes the first fragment of several.
func (a *Assembler) begin(h Header, m Request) error {
	if len(a.calls) == MaxCalls {
		return errMaxCalls
	}
	stub, err := a.hold(nil, h, m)
	if err != nil {
		return err
	}
	m.Stub = stub
	a.calls = append(a.calls, partialCall{h, m})
	return nil
}

// extend takes a later fragment of c.
func (a *Assembler) extend(c *partialCall, h Header, m Request) (err error) {
	switch {
	case h.Flags&FirstFrag != 0:
		return errFirst
	case m.ContextID != c.request.ContextID || m.Opnum != c.request.Opnum || h.Label != c.header.Label:
		return errDiffers
	}
	c.request.Stub, err = a.hold(c.request.Stub, h, m)
	return err
}

// hold appends the stub of a fragment.
func (a *Assembler) hold(stub []byte, h Header, m Request) ([]byte, error) {
	switch {
	case len(m.Stub) == 0 && h.Flags&LastFrag == 0: // a stream of them would never end
		return stub, errEmpty
	case len(m.Stub) > MaxHeld-a.held:
		return stub, errMaxHeld
	}
	a.held += len(m.Stub)
	return append(stub, m.Stub...), nil
}

func (a *Assembler) remove(i int) {
	a.held -= len(a.calls[i].request.Stub)
	a.calls = slices.Delete(a.calls, i, i+1)
}
