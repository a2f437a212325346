//go:build linux

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is also the programs the tests start: quaymaster itself, and peers, some of which
// misbehave. Being processes of their own, they share neither scheduler nor memory with the
// test that measures them.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"quaymaster": main,
		"hostile":    hostile,
		peerName:     beThePeer,
		"registrar":  beTheRegistrar,
		listenerName: beAListener,
	})
}
