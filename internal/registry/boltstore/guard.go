package boltstore

import (
	"fmt"
	"runtime/debug"
)

// A fault is a panic of bbolt's as an error. What bbolt was doing is not finished:
// its locks may be held, and it cannot be used again, not even be closed.
type fault struct{ reason any }

func (f *fault) Error() string { return fmt.Sprintf("bbolt: %v", f.reason) }

// guard returns the error of f, or a *fault if it panics: at a page that is not
// what bbolt believes, or at memory that the file no longer stands behind, which
// is a signal otherwise.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if reason := recover(); reason != nil {
			err = &fault{reason}
		}
	}()
	return f()
}
