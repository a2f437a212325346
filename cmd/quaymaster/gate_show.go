package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/show"
)

// gateShowFlags are the flags of the verbs that show what a gate has open.
type gateShowFlags struct {
	*globals
	control string
	output  show.Format
	watch   bool
}

func (f *gateShowFlags) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.control, "control", api.SystemGate, "control `socket` of the gate")
	flags.VarP(&f.output, "output", "o", "how the output is written: table, json, yaml, csv or markdown")
}

func newGatePinholes(x *globals) *cobra.Command {
	f := gateShowFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "pinholes",
		Short: "Show which pinholes are open, and what was refused",
		Long: `Pinholes shows the ways through the firewall that a gate on this host has open: from
which client to which port of which server, what for, and how often each was used. The
last line says how many control channels there are, and what was refused in the last
hour. With --watch it goes on with a line for all that happens.`,
		Example: `  quaymaster gate pinholes
  quaymaster gate pinholes --watch
  quaymaster gate pinholes -o json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return f.showPinholes() },
	}
	f.addTo(cmd)
	cmd.Flags().BoolVar(&f.watch, "watch", false, "go on: show all that happens, until interrupted")
	return cmd
}

func newGateSessions(x *globals) *cobra.Command {
	f := gateShowFlags{globals: x}
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "Show which control channels are followed",
		Example: "  quaymaster gate sessions\n  quaymaster gate sessions -o json",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return f.showSessions() },
	}
	f.addTo(cmd)
	return cmd
}

// The schemas name the forms of the documents. Keys may be added to them; what changes or goes makes them others.
const (
	pinholesSchema = "quaymaster/gate-pinholes/1"
	sessionsSchema = "quaymaster/gate-sessions/1"
)

type pinholesDocument struct {
	Schema   string         `json:"schema"`
	Pinholes []api.Pinhole  `json:"pinholes"`
	Totals   api.GateTotals `json:"totals"`
}

type sessionsDocument struct {
	Schema   string            `json:"schema"`
	Sessions []api.GateSession `json:"sessions"`
	Totals   api.GateTotals    `json:"totals"`
}

func (f *gateShowFlags) showPinholes() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	client := api.NewClient(f.control)
	if !f.watch {
		l, err := client.Pinholes(ctx)
		if err != nil {
			return f.explain(err)
		}
		return f.printPinholes(&l)
	}
	if f.output != show.FormatTable && f.output != show.FormatJSON {
		return usagef("output %s: with --watch want table or json", f.output)
	}
	return f.explain(client.WatchGate(ctx, f.event))
}

func (f *gateShowFlags) printPinholes(l *api.GateListing) error {
	t := show.NewTable(show.Column{Head: "client"}, show.Column{Head: "server"}, show.Column{Head: "port"}, show.Column{Head: "for", Shrink: true},
		show.Column{Head: "opened"}, show.Column{Head: "ends"}, show.Column{Head: "used"})
	now := time.Now()
	for i := range l.Pinholes {
		p := &l.Pinholes[i]
		used := ""
		if p.Used > 0 {
			used = show.Count(int(p.Used), "connection", "connections")
		}
		t.Add(p.Client, p.Server, pinholePort(p), cmp.Or(p.For, p.Interface), show.Age(now.Sub(p.Since)), "in "+show.Age(p.Until.Sub(now)), used)
	}
	s := f.stdout()
	pinholes := l.Pinholes
	if pinholes == nil {
		pinholes = []api.Pinhole{}
	}
	if err := show.Write(s, f.output, pinholesDocument{pinholesSchema, pinholes, l.Totals}, t); err != nil || f.output != show.FormatTable {
		return err
	}
	return printTotals(s, show.Count(len(pinholes), "pinhole", "pinholes")+", "+show.Count(l.Totals.Sessions, "control session", "control sessions"), l.Totals.Refused)
}

// pinholePort returns the port that is open, for people. It is the server's, where nothing is said.
func pinholePort(p *api.Pinhole) string {
	port := fmt.Sprintf("%s %d", p.Protocol, p.Port)
	if p.By == "server" {
		port += " of the client"
	}
	return port
}

// refusalPhrases say what broke a rule, for people.
var refusalPhrases = map[string]string{
	"interface": "interface not allowed", "port": "port not allowed", "address": "another's address", "state": "out of turn", "syntax": "not understood",
	"verb": "command not allowed", "procedure": "procedure not allowed", "limit": "too long", "unreadable": "encrypted", "pinholes": "too many pinholes",
	"sessions": "too many sessions", "policy": "not in the policy", "time": "too slow", "kernel": "the kernel refused",
}

// printTotals prints the line that can be read aloud.
func printTotals(w io.Writer, begin string, refused map[string]uint64) error {
	type count struct {
		rule string
		n    uint64
	}
	var all []count
	var sum uint64
	for rule, n := range refused {
		all = append(all, count{cmp.Or(refusalPhrases[rule], rule), n})
		sum += n
	}
	slices.SortFunc(all, func(a, b count) int { return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.rule, b.rule)) })
	var parts []string
	for _, c := range all {
		parts = append(parts, show.Count(int(c.n), c.rule, c.rule))
	}
	line := begin + "; nothing refused in the last hour"
	if sum > 0 {
		line = fmt.Sprintf("%s; refused in the last hour: %d (%s)", begin, sum, strings.Join(parts, ", "))
	}
	_, err := fmt.Fprintf(w, "\n%s\n", show.Clean(line))
	return err
}

func (f *gateShowFlags) showSessions() error {
	l, err := api.NewClient(f.control).Sessions(context.Background())
	if err != nil {
		return f.explain(err)
	}
	t := show.NewTable(show.Column{Head: "session", Right: true}, show.Column{Head: "client"}, show.Column{Head: "server"}, show.Column{Head: "follows"},
		show.Column{Head: "since"}, show.Column{Head: "idle"}, show.Column{Head: "promised", Right: true}, show.Column{Head: "state"})
	now := time.Now()
	for i := range l.Sessions {
		s := &l.Sessions[i]
		state := ""
		if s.Unread {
			state = "encrypted"
		}
		t.Add(fmt.Sprint(s.Session), s.Client, s.Server, s.Follows+" "+s.Transport, show.Age(now.Sub(s.Since)), show.Age(now.Sub(s.Last)), fmt.Sprint(s.Promised), state)
	}
	out := f.stdout()
	sessions := l.Sessions
	if sessions == nil {
		sessions = []api.GateSession{}
	}
	if err := show.Write(out, f.output, sessionsDocument{sessionsSchema, sessions, l.Totals}, t); err != nil || f.output != show.FormatTable {
		return err
	}
	return printTotals(out, show.Count(len(sessions), "control session", "control sessions")+", "+show.Count(l.Totals.Pinholes, "pinhole", "pinholes"), l.Totals.Refused)
}

// event shows what a watch tells: in JSON a line each, else the table and then a line for all that happens.
func (f *gateShowFlags) event(e api.GateEvent) error {
	if f.output == show.FormatJSON {
		return json.NewEncoder(os.Stdout).Encode(e)
	}
	if e.Listing != nil {
		if err := f.printPinholes(e.Listing); err != nil {
			return err
		}
		_, err := fmt.Fprintln(os.Stdout)
		return err
	}
	at := e.Time.Local().Format(time.TimeOnly)
	if e.LeftOut > 0 {
		if _, err := fmt.Fprintf(os.Stdout, "%s  … %s left out\n", at, show.Count(int(e.LeftOut), "event", "events")); err != nil {
			return err
		}
	}
	channel := fmt.Sprintf("%s → %s", e.Client, e.Server)
	switch e.Event {
	case "promised":
		for i := range e.Pinholes {
			p := &e.Pinholes[i]
			line := fmt.Sprintf("%s  +  %s → %s  %s", at, p.Client, p.Server, pinholePort(p))
			if err := printChange(line, cmp.Or(p.For, p.Interface), "for "+show.Age(p.Until.Sub(p.Since))); err != nil {
				return err
			}
		}
		return nil
	case "refused":
		return printChange(fmt.Sprintf("%s  !  %s", at, channel), e.Follows, cmp.Or(refusalPhrases[e.Rule], e.Rule), e.For, e.Why)
	case "began":
		return printChange(fmt.Sprintf("%s  (  %s", at, channel), e.Follows)
	case "ended":
		return printChange(fmt.Sprintf("%s  )  %s", at, channel), e.Follows, e.Why)
	}
	return nil // of a gate that is newer
}

// explain adds to an error of a client what to do about it.
func (f *gateShowFlags) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no gate answers on %s: start one (quaymaster gate --config gate.yaml) or choose --control", home(f.control))
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: permission denied: the folder must let you through", f.control)
	}
	return err
}
