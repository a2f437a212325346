package main

import (
	"context"
	"fmt"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/show"
)

// broadcastProgram returns what --broadcast asks for.
func (f *askFlags) broadcastProgram(facts *catalog.Catalog, args []string) (endpoint.Interface, error) {
	if len(args) > 0 {
		return endpoint.Interface{}, usagef("--broadcast asks all hosts: leave %q out", args[0])
	}
	w, err := parseWanted(facts, f.broadcast, askDialects{onc: true, dce: true})
	switch {
	case err != nil:
		return endpoint.Interface{}, fmt.Errorf("--broadcast: %w", err)
	case len(w.programs) == 0:
		return endpoint.Interface{}, usagef("--broadcast %s: it is an interface of DCE/RPC, for which there is no broadcast", f.broadcast)
	case w.netid != 0:
		return endpoint.Interface{}, usagef("--broadcast %s: it is sent over UDP: leave @%s out", f.broadcast, w.netid)
	case w.programs[0].Version == 0:
		return endpoint.Interface{}, usagef("--broadcast %s: want PROGRAM:VERSION, such as 100004:2", f.broadcast)
	}
	return w.programs[0], nil
}

// runBroadcast collects answers and shows them.
func (f *askFlags) runBroadcast(ctx context.Context, a *asker, facts *catalog.Catalog, what endpoint.Interface) error {
	answers, err := a.BroadcastONC(ctx, what.Program, what.Version, probe.BroadcastOptions{For: f.timeout})
	if err != nil {
		return err
	}
	var hosts []*askHost
	byName := map[string]*askHost{}
	for i := range answers.Answers {
		answer := &answers.Answers[i]
		name := answer.From.Addr().String()
		h := byName[name]
		if h == nil {
			h = newAskHost(name)
			h.Address = name
			h.Mappers = append(h.Mappers, askMapper{
				Dialect: endpoint.ONC.String(), Via: fmt.Sprintf("broadcast, udp %d", answer.From.Port()), State: probe.Listening,
				Time: answer.Time.Microseconds(), Cut: answers.Cut, Problems: []string{},
			})
			byName[name] = h
			hosts = append(hosts, h)
		}
		h.Entries = append(h.Entries, entryOf(facts, &answer.Entry))
	}
	if f.output == show.FormatTable {
		err = f.printAnswers(f.stdout(), hosts, answers)
	} else {
		err = writeAnswers(f.stdout(), f.output, hosts)
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return errCutShort
	case len(hosts) == 0:
		return fmt.Errorf("nobody answered within %s: port mappers answer broadcasts only where that is allowed (rpcbind -r)", f.timeout)
	}
	return nil
}

// printAnswers shows a row for each answer.
func (f *askFlags) printAnswers(s show.Screen, hosts []*askHost, answers *probe.Answers) error {
	if len(hosts) > 0 {
		t := show.NewTable(show.Column{Head: "host"}, show.Column{Head: "interface"}, show.Column{Right: true}, show.Column{Head: "version"},
			show.Column{Head: "transport"}, show.Column{Head: "endpoint"}, show.Column{Head: "state"}, show.Column{Head: "time", Right: true})
		for _, h := range hosts {
			for i := range h.Entries {
				e := &h.Entries[i]
				d := e.document()
				t.Add(h.Host, e.Name, interfaceID(&d), e.Version.String(), d.Transport(), place(&d), tryWords[e.State], askTime(e.Time))
			}
		}
		if err := t.Print(s); err != nil {
			return err
		}
		fmt.Fprintln(s)
	}
	line := fmt.Sprintf("%s from %s within %s; sent to %s", show.Count(len(answers.Answers), "answer", "answers"),
		show.Count(len(hosts), "host", "hosts"), f.timeout, show.Count(len(answers.Sent), "address", "addresses"))
	if answers.Cut {
		line += "; this is not all"
	}
	_, err := fmt.Fprintln(s, line)
	if f.verbose {
		for _, p := range answers.Problems {
			fmt.Fprintln(s, show.Clean("  "+p))
		}
	}
	return err
}
