package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/show"
)

// askFlags are the flags of ask.
type askFlags struct {
	*globals
	output  show.Format
	onc     bool
	dce     bool
	try     bool
	verbose bool
	dev     bool

	http, foreign, greet, stats bool

	hosts, compare, broadcast string
	role, secretFile          string
	systems                   []string
	overlay                   string
	auth                      authFlags

	watch, timeout   time.Duration
	conns, hostConns int
}

// Ports of the development daemon, and the name of its socket.
const (
	devONCPort   = 1111
	devDCEPort   = 1135
	devONCSocket = "rpcbind.sock"
)

func newAsk(x *globals) *cobra.Command {
	f := askFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "ask HOST [INTERFACE | PORTS]…",
		Short: "Ask hosts which ports their RPC services are on, and whether that is true",
		Long: `Ask asks a host's port mapper (ONC RPC) and endpoint mapper (DCE/RPC) for all that they
have, or for the interfaces named. With --try, and for those that are named, it calls
or binds each where it is said to be: an interface works, is refused, filtered, or
another one than was told.

HOST is a name or an address; of a name the first address that answers. INTERFACE is a
name of the catalog (mountd, drsuapi), UUID[:VERSION] or PROGRAM[:VERSION]. PORTS are
tcp/88,135 or udp/53,5000-5010, or 88/tcp: those are tried, and LISTENING, NOT LISTENING
or FILTERED. With --role these are the ports that the catalog has for a host of that role.

An interface with @TRANSPORT is asked for on that one: tcp, udp, tcp6, udp6 or local of
ONC RPC, tcp, np, lrpc, http or udp of DCE/RPC. The community of SNMP or the secret of
RADIUS is in a file (--secret-file) or in QUAYMASTER_SECRET.

The exit status is 3 if something is closed, filtered or wrong, or differs from what it
is compared with, and 1 if a host cannot be asked. Of the ports of a role only those
count that are required.`,
		Example: `  quaymaster ask fs1                            what both mappers have
  quaymaster ask fs1 --try                      and whether that is true
  quaymaster ask dc1 drsuapi tcp/88,389 udp/53  an interface and ports
  quaymaster ask dc1 --role domain-controller --os windows-server-2019
                                                all ports that such a host listens on
  quaymaster ask fs1 mountd:3@udp               one transport
  quaymaster ask --hosts hosts.txt -o json      many hosts
  quaymaster ask fs1 -o json > fs1.json
  quaymaster ask fs1 --compare fs1.json         what has changed since
  quaymaster ask fs1 --watch 10s                what appears and vanishes
  quaymaster ask --broadcast 100004:2           who has a program, on this network
  quaymaster ask --dev                          what "serve --dev" answers`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.VarP(&f.output, "output", "o", "`format`: table, json, yaml, csv or markdown")
	flags.BoolVar(&f.onc, "onc", false, "ask the port mapper only; it is an error if there is none")
	flags.BoolVar(&f.dce, "dce", false, "ask the endpoint mapper only; it is an error if there is none")
	flags.BoolVar(&f.http, "http", false, "ask the endpoint mapper only, over ncacn_http (port 593)")
	flags.BoolVar(&f.try, "try", false, "call or bind everything where it is said to be")
	flags.BoolVar(&f.foreign, "foreign", false, "try also what is said to be at other hosts' addresses")
	flags.StringVar(&f.role, "role", "", "try the ports that a host of this `role` listens on: see \"role list\"")
	flags.StringArrayVar(&f.systems, "os", nil, "`system` of a host that has the role: windows-server-2022; repeatable")
	flags.StringVar(&f.overlay, "catalog", "", overlayUsage)
	flags.BoolVar(&f.greet, "greet", false, "wait for what a TCP port says at which no protocol is usual; the others are talked to anyway")
	flags.StringVar(&f.secretFile, "secret-file", "", "`FILE` with the community of SNMP or the secret of RADIUS")
	f.auth.addFlags(flags)
	flags.BoolVar(&f.stats, "statistics", false, "ask the port mapper also what it has counted, and the time")
	flags.BoolVar(&f.verbose, "verbose", false, "say how it was asked, and what the mappers get wrong")
	flags.StringVar(&f.hosts, "hosts", "", "ask the hosts that `FILE` lists, one in each line, # begins a comment; - is standard input")
	flags.StringVar(&f.compare, "compare", "", "show the difference to `FILE`, which -o json wrote")
	flags.DurationVar(&f.watch, "watch", 0, "ask again after each `time`, and show what has changed, until interrupted")
	flags.StringVar(&f.broadcast, "broadcast", "", "ask all hosts of this host's networks for `PROGRAM:VERSION`; answers are awaited for --timeout")
	flags.BoolVar(&f.dev, "dev", false, "ask the daemon that \"serve --dev\" runs")
	flags.DurationVar(&f.timeout, "timeout", probe.DefaultTimeout, "`time` for connecting and for each answer")
	flags.IntVar(&f.conns, "conns", probe.DefaultConns, "at most `N` connections at a time")
	flags.IntVar(&f.hostConns, "conns-per-host", probe.DefaultHostConns, "at most `N` of these to one host")
	return cmd
}

func (f *askFlags) run(cmd *cobra.Command, args []string) error {
	err := f.check(cmd)
	facts, errFacts := (&catalogFlags{overlay: f.overlay}).load()
	if errFacts != nil {
		return errors.Join(err, errFacts)
	}
	a := &asker{
		Prober:  &probe.Prober{Timeout: f.timeout, Conns: f.conns, HostConn: f.hostConns, Rows: new(atomic.Int64)},
		lookups: make(chan struct{}, namesTogether),
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if f.broadcast != "" {
		what, errWhat := f.broadcastProgram(facts, args)
		if err := errors.Join(err, errWhat); err != nil {
			return err
		}
		return f.runBroadcast(ctx, a, facts, what)
	}
	names, words, errHosts := f.names(args)
	errWords := f.question(&a.question, facts, words)
	if err := errors.Join(err, errHosts, errWords); err != nil {
		return err
	}
	var before *askDocument
	if f.compare != "" {
		if before, err = readAnswer(f.compare); err != nil {
			return err
		}
	}
	if err := f.prepare(a); err != nil {
		return err
	}
	if a.identity, err = f.auth.identity(); err != nil {
		return err
	}
	if a.identity != nil {
		defer a.identity.Close()
	}
	if f.watch > 0 {
		return f.runWatch(ctx, a, names)
	}
	hosts := f.ask(ctx, a, names)
	if before != nil {
		err = f.printDifference(hosts, before)
	} else {
		err = f.print(hosts, &a.question)
	}
	if ctx.Err() != nil {
		return errCutShort
	}
	return err
}

// errCutShort ends what a signal has ended.
var errCutShort = &exitError{exitFailed, errors.New("interrupted: this is not all")}

// check refuses flags that make no sense, all at once.
func (f *askFlags) check(cmd *cobra.Command) error {
	mistakes := []error{
		oneOf(cmd, "onc", "dce"), oneOf(cmd, "dev", "hosts"), oneOf(cmd, "compare", "watch"),
		oneOf(cmd, "onc", "http"), oneOf(cmd, "dev", "http"), oneOf(cmd, "dce", "statistics"), oneOf(cmd, "http", "statistics"),
	}
	for _, who := range []string{"user", "kerberos"} {
		for _, other := range []string{"onc", "broadcast"} {
			mistakes = append(mistakes, oneOf(cmd, who, other))
		}
	}
	mistakes = append(mistakes, f.auth.check(cmd.Flags().Changed))
	add := func(format string, args ...any) { mistakes = append(mistakes, usagef(format, args...)) }
	for _, other := range []string{"hosts", "dev", "compare", "watch", "try", "dce", "http", "foreign", "role", "os", "greet", "secret-file", "statistics"} {
		mistakes = append(mistakes, oneOf(cmd, "broadcast", other))
	}
	const longest = 10 * time.Minute
	if f.timeout < time.Millisecond || f.timeout > longest {
		add("--timeout %s: want 1ms to %s", f.timeout, longest)
	}
	if cmd.Flags().Changed("watch") && f.watch < time.Second {
		add("--watch %s: want 1s or more between two questions", f.watch)
	}
	if f.watch > 0 && f.output != show.FormatTable && f.output != show.FormatJSON {
		add("--watch -o %s: want table or json", f.output)
	}
	const most = 10_000
	if f.conns < 1 || f.conns > most {
		add("--conns %d: want 1 to %d", f.conns, most)
	}
	if f.hostConns < 1 || f.hostConns > most {
		add("--conns-per-host %d: want 1 to %d", f.hostConns, most)
	}
	return errors.Join(mistakes...)
}

// names returns the hosts to ask, and the words that say what.
func (f *askFlags) names(args []string) (hosts, words []string, err error) {
	switch {
	case f.hosts != "":
		hosts, err = readHosts(f.hosts)
		return hosts, args, err
	case f.dev:
		return []string{"127.0.0.1"}, args, nil
	case len(args) == 0:
		return nil, nil, usagef("name a host, a file of them (--hosts FILE), or the development daemon (--dev)")
	}
	if err := checkHost(args[0]); err != nil {
		return nil, args[1:], usagef("%w", err)
	}
	return args[:1], args[1:], nil
}

// question reads what is asked. Without a word that is all that the mappers have.
func (f *askFlags) question(q *askQuestion, facts *catalog.Catalog, words []string) error {
	q.facts = facts
	dce := f.dce || f.http
	dialects := askDialects{onc: !dce, dce: !f.onc}
	role, flows, errRole := f.askedRole(facts)
	if err := errors.Join(q.parse(words, dialects), errRole); err != nil {
		return err
	}
	if len(words) == 0 && role == nil || (f.onc || dce) && len(q.wanted) == 0 {
		q.onc, q.dce = dialects.onc, dialects.dce
	}
	q.must = askDialects{onc: f.onc, dce: dce}
	if role != nil {
		q.addRole(role, flows, dialects)
	}
	q.try = f.try || len(q.wanted) > 0 || role != nil
	q.statistics = f.stats
	switch {
	case f.try && !q.onc && !q.dce && len(q.wanted) == 0:
		return usagef("--try goes with interfaces, not with ports: they are tried anyway")
	case f.foreign && !q.try:
		return usagef("--foreign goes with --try, --role, or interfaces")
	case f.greet && len(q.ports) == 0:
		return usagef("--greet goes with ports or --role")
	case f.greet:
		q.greetAll()
	}
	return f.addSecret(q)
}

// prepare has the asker know this host and the development daemon.
func (f *askFlags) prepare(a *asker) error {
	a.own, a.names = ownAddresses(), portNames(a.question.facts, a.question.ports)
	a.onc.Foreign = f.foreign
	a.dce.Foreign, a.dce.HTTP = f.foreign, f.http
	if f.dev {
		dir, err := stateDir()
		if err != nil {
			return err
		}
		a.onc.Port, a.onc.Socket = devONCPort, filepath.Join(dir, devONCSocket)
		a.dce.Port = devDCEPort
	}
	return nil
}

// ask asks the hosts and shows on a terminal how far that is.
func (f *askFlags) ask(ctx context.Context, a *asker, names []string) []*askHost {
	p := newProgress(show.NewScreen(os.Stderr, show.ColorNever, ""), len(names))
	defer p.end()
	return a.hosts(ctx, names, p.step)
}

// print shows the answers, and returns the exit status as an error.
func (f *askFlags) print(hosts []*askHost, q *askQuestion) error {
	var err error
	if f.output == show.FormatTable {
		err = f.printHosts(f.stdout(), hosts, q)
	} else {
		err = writeAnswers(f.stdout(), f.output, hosts)
	}
	if err != nil {
		return err
	}
	return statusError(statusOf(hosts, q), hosts)
}

// statusError returns the error that ends with a status. What is wrong with hosts that could not be asked
// is on standard error too.
func statusError(status int, hosts []*askHost) error {
	switch status {
	case exitDone:
		return nil
	case exitFound:
		return errFound
	}
	const most = 10
	var mistakes []error
	for _, h := range hosts {
		if !h.unreachable() {
			continue
		}
		if len(mistakes) == most {
			mistakes = append(mistakes, errors.New("… and more"))
			break
		}
		why := h.Error
		if why == "" {
			why = h.silence()
		}
		mistakes = append(mistakes, fmt.Errorf("%s: %s", h.Host, why))
	}
	return errors.Join(mistakes...)
}

// silence returns why a host's mappers cannot be asked.
func (h *askHost) silence() string {
	var why []string
	for _, m := range h.Mappers {
		why = append(why, fmt.Sprintf("%s: %s", mapperNames[m.Dialect], m.Why))
	}
	return strings.Join(why, "; ")
}
