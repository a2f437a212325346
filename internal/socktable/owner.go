package socktable

import "errors"

// ErrOwner is in the error where the kernel was asked and does not tell who owns
// a socket; the rest of the text is the reason.
var ErrOwner = errors.New("the kernel does not tell whose socket this is")
