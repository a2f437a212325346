//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// TestPortOfOtherDialect: one host has one set of ports. Where another user's server
// listens for a program no DCE interface is registered, nor the other way round.
func TestPortOfOtherDialect(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	startQuaymaster(t)
	hers, his := startPeer(t, asUser(alice)), startPeer(t, asUser(bob))
	add := func(uid uint32, port int) result {
		t.Helper()
		return quaymasterAs(t, uid, "endpoints", "add", "dce", "winreg", "1.0", "tcp", fmt.Sprintf("*:%d", port))
	}
	taken := func(r result, uid uint32, what string) {
		t.Helper()
		want := fmt.Sprintf("not allowed: uid %d listens at port ", uid)
		if r.Exit != 1 || !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, what) {
			t.Errorf("add = %+v, want %q for %s", r, want, what)
		}
	}
	given := func(r result, evidence string) {
		t.Helper()
		if r.Exit != 0 || !strings.HasSuffix(r.Stdout, "  "+evidence+"\n") {
			t.Errorf("add = %+v, want %s", r, evidence)
		}
	}

	port := hers.register(t, "unix", userProgram, "tcp")
	taken(add(bob, port), alice, fmt.Sprintf("for onc %d version 1", userProgram))
	given(add(alice, port), "listening")
	given(quaymasterAs(t, bob, "endpoints", "add", "dce", "winreg", "1.0", "udp", fmt.Sprintf("*:%d", port)), "waiting") // of another protocol

	// Her server ends; his listens there before anybody has noticed.
	kill(t, hers.Process)
	his.do(t, "listen tcp4 0.0.0.0:%d", port)
	given(quaymasterAs(t, bob, "endpoints", "add", "dce", "srvsvc", "3.0", "tcp", fmt.Sprintf("*:%d", port)), "listening")

	hers = startPeer(t, asUser(alice))
	at := universal("0.0.0.0", port)
	if answer := hers.do(t, "set unix %d 1 tcp %s", userProgram+1, at); answer != "false" {
		t.Errorf("SET at the port of bob's interface = %q, want false", answer)
	}
	mustNotBe(t, userProgram+1)
	mustAnswer(t, "true", his.do(t, "set unix %d 1 tcp %s", userProgram+1, at))
	mustOwn(t, userProgram+1, bob)
	root := startPeer(t, nil) // is not bounded by that
	mustAnswer(t, "true", root.do(t, "set unix %d 1 tcp %s", userProgram+2, at))
	mustOwn(t, userProgram+2, 0)
}
