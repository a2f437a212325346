package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/show"
)

// endpointsFlags are the flags of endpoints.
type endpointsFlags struct {
	target
	*globals
	output string
	watch  bool
}

func newEndpoints(x *globals) *cobra.Command {
	f := endpointsFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "endpoints",
		Short: "Show what is registered, and change it",
		Example: `  quaymaster endpoints                          a table of what is registered
  quaymaster endpoints -o wide                  every row by itself, with its id
  quaymaster endpoints --watch -o json          a snapshot, then a line for every change
  quaymaster endpoints add onc mountd 3 tcp 0.0.0.0:20048
  quaymaster endpoints remove onc mountd 3 tcp`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return f.run()
		},
	}
	f.target.addFlags(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table, wide or json")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "go on: show every change, until interrupted")
	cmd.AddCommand(newAdd(&f.target), newRemove(&f.target))
	return cmd
}

func (f *endpointsFlags) run() error {
	switch f.output {
	case "table", "wide", "json":
	default:
		return usagef("output %q: want table, wide or json", f.output)
	}
	client, path, err := f.client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if f.watch {
		return f.explain(path, client.Watch(ctx, f.event))
	}
	l, err := client.List(ctx)
	if err != nil {
		return f.explain(path, err)
	}
	return f.print(l.Endpoints)
}

// print shows a snapshot.
func (f *endpointsFlags) print(rows []endpoint.Document) error {
	switch f.output {
	case "json":
		return show.JSON(os.Stdout, rows)
	case "wide":
		return printWide(f.stdout(), rows, time.Now())
	}
	return printFolded(f.stdout(), rows, time.Now())
}

// event shows what a watch tells: in JSON a line each, else the table and then
// a line for every change.
func (f *endpointsFlags) event(e api.Event) error {
	switch {
	case f.output == "json":
		return json.NewEncoder(os.Stdout).Encode(e)
	case e.Grant != nil:
		line := fmt.Sprintf("%s  %s  %s", time.Now().Format(time.TimeOnly), signs[e.Event], describeGrant(e.Grant))
		return printChange(line, e.By, e.Why)
	case e.Endpoint == nil:
		if err := f.print(e.Endpoints); err != nil {
			return err
		}
		_, err := fmt.Fprintln(os.Stdout)
		return err
	}
	line := fmt.Sprintf("%s  %s  %s", time.Now().Format(time.TimeOnly), signs[e.Event], describe(e.Endpoint))
	stands := ""
	if e.Event == registry.Made.String() || e.Event == registry.Renewed.String() {
		stands = evidence(e.Endpoint, time.Now())
	}
	return printChange(line, stands, e.By, e.Why)
}

// printChange prints a line, and what more there is to say.
func printChange(line string, more ...string) error {
	for _, m := range more {
		if m != "" {
			line += "  " + m
		}
	}
	_, err := fmt.Fprintln(os.Stdout, show.Clean(line))
	return err
}

// signs begin the lines of changes.
var signs = map[string]string{
	registry.Made.String(): "+", registry.Renewed.String(): "~", registry.Ended.String(): "-", registry.Refused.String(): "!",
	registry.Granted.String(): "+", registry.Returned.String(): "-", registry.Exhausted.String(): "!",
}

// describeGrant returns the ports of a grant and what they are for.
func describeGrant(g *endpoint.GrantDocument) string {
	var ports []string
	if g.TCP != 0 {
		ports = append(ports, fmt.Sprintf("tcp %d", g.TCP))
	}
	if g.UDP != 0 {
		ports = append(ports, fmt.Sprintf("udp %d", g.UDP))
	}
	text := cmp.Or(strings.Join(ports, " "), "no port") + " of the " + g.Pool + " pool"
	if g.Command != "" {
		text += " for " + g.Command
	}
	return text
}
