//go:build noauth

package auth

func newClient(Options) (client, error) { return nil, ErrLeftOut }
