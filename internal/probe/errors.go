package probe

import "errors"

// Errors of what came back.
var (
	errFlood  = errors.New("many datagrams came, and none was the answer")
	errAnswer = errors.New("the answer is not understood")
	errEnd    = errors.New("too much came without an end")
)
