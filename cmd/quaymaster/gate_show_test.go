package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
)

// outputOf returns what f writes to standard output.
func outputOf(t *testing.T, f func() error) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	defer func(was *os.File) { os.Stdout = was }(os.Stdout)
	os.Stdout = file
	if err := f(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGatePinholes(t *testing.T) {
	now := time.Now()
	f := gateShowFlags{globals: &globals{}}
	l := api.GateListing{
		Pinholes: []api.Pinhole{
			{Client: "192.0.2.31", Server: "10.0.0.30", By: "client", Protocol: "tcp", Port: 51122, For: "ftp data (passive)\x1b[2J", Once: true, Since: now, Until: now.Add(29500 * time.Millisecond)},
			{Client: "192.0.2.31", Server: "10.0.0.30", By: "server", Protocol: "udp", Port: 40000, Interface: "100003:3", Since: now.Add(-2 * time.Minute), Until: now.Add(48500 * time.Millisecond), Used: 1},
			{Client: "2001:db8::20", Server: "2001:db8::10", By: "client", Protocol: "tcp", Port: 49671, For: "netlogon", Since: now.Add(-12500 * time.Millisecond), Until: now.Add(time.Hour + time.Second), Used: 2000},
		},
		Totals: api.GateTotals{Pinholes: 3, Sessions: 1200, Refused: map[string]uint64{"port": 1, "interface": 3, "new\nrule": 1}},
	}
	const want = `CLIENT        SERVER        PORT                     FOR                        OPENED  ENDS    USED
192.0.2.31    10.0.0.30     tcp 51122                ftp data (passive)\x1b[2J  0s      in 29s  —
192.0.2.31    10.0.0.30     udp 40000 of the client  100003:3                   2m      in 48s  1 connection
2001:db8::20  2001:db8::10  tcp 49671                netlogon                   12s     in 1h   2,000 connections

3 pinholes, 1,200 control sessions; refused in the last hour: 5 (3 interface not allowed, 1 new\x0arule, 1 port not allowed)
`
	if got := outputOf(t, func() error { return f.printPinholes(&l) }); got != want {
		t.Errorf("pinholes are printed as\n%swant\n%s", got, want)
	}
}

func TestGateEvents(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	f := gateShowFlags{globals: &globals{}}
	for _, tt := range []struct {
		e    api.GateEvent
		want string
	}{
		{api.GateEvent{Event: "began", Client: "192.0.2.1:7", Server: "10.0.0.1:21", Follows: "ftp"}, "03:04:05  (  192.0.2.1:7 → 10.0.0.1:21  ftp\n"},
		{api.GateEvent{Event: "ended", Client: "192.0.2.1:7", Server: "10.0.0.1:21", Follows: "ftp", Why: "idle", LeftOut: 7}, "03:04:05  … 7 events left out\n03:04:05  )  192.0.2.1:7 → 10.0.0.1:21  ftp  idle\n"},
		{api.GateEvent{Event: "refused", Client: "192.0.2.1:7", Server: "10.0.0.1:135", Follows: "epm", Rule: "interface", For: "lsarpc", Why: "no\x1b[1m"},
			"03:04:05  !  192.0.2.1:7 → 10.0.0.1:135  epm  interface not allowed  lsarpc  no\\x1b[1m\n"},
		{api.GateEvent{Event: "promised", Pinholes: []api.Pinhole{{Client: "192.0.2.1", Server: "10.0.0.1", By: "server", Protocol: "tcp", Port: 5, For: "ftp data (active)", Since: at, Until: at.Add(time.Minute)}}},
			"03:04:05  +  192.0.2.1 → 10.0.0.1  tcp 5 of the client  ftp data (active)  for 1m\n"},
		{api.GateEvent{Event: "of a newer gate"}, ""},
	} {
		tt.e.Time = at
		if got := outputOf(t, func() error { return f.event(tt.e) }); got != tt.want {
			t.Errorf("%s is printed as %q, want %q", tt.e.Event, got, tt.want)
		}
	}
}
