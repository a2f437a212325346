//go:build noauth

package auth

import (
	"errors"
	"testing"
)

func TestLeftOut(t *testing.T) {
	read := func() ([]byte, error) { t.Error("the password was read"); return nil, nil }
	if _, err := New(Options{User: "skipper", Password: read}); !errors.Is(err, ErrLeftOut) {
		t.Error(err)
	}
	if _, err := New(Options{Kerberos: true}); !errors.Is(err, ErrLeftOut) {
		t.Error(err)
	}
}
