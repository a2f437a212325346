package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/portset"
)

func newPort(x *globals) *cobra.Command {
	f := catalogFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "port PORT…",
		Short: "Say what a port is: which services have it, who needs it, what else may be there",
		Long: `Port says what is publicly known of ports: which services of Windows have them and
what they speak there, which hosts of a domain need them and when, which programs of
ONC RPC and interfaces of DCE/RPC are there by convention, to what people like to pin
them, and whose dynamic ports they are. It asks nobody and looks at no host.

PORT is a number, a range or several with commas, with /tcp or /udp behind it for one
transport only. "list" shows every port that the catalog knows.`,
		Example: `  quaymaster port 3268
  quaymaster port 135,445,49664 --os windows-server-2019
  quaymaster port 389/udp 5000-5010 --sources
  quaymaster port list -o csv`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return runPort(&f, cmd, args) },
	}
	f.addFlags(cmd)
	cmd.SetFlagErrorFunc(flagMistake)
	cmd.AddCommand(newPortList(x))
	return cmd
}

func newPortList(x *globals) *cobra.Command {
	f := catalogFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List every port that the catalog knows",
		Long: `List shows a row for each port and transport that the catalog knows something of. What may
be anywhere in a long range is left out, as are dynamic ports.`,
		Example: `  quaymaster port list
  quaymaster port list -o csv > ports.csv`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return runPortList(&f) },
	}
	f.addFlags(cmd)
	return cmd
}

func runPort(f *catalogFlags, cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("name a port: 3268, 389/udp, 5000-5010")
	}
	questions, err := parsePortArgs(cmd, args)
	c, errCatalog := f.load()
	if errCatalog != nil {
		return errors.Join(err, errCatalog)
	}
	systems, errSystems := f.servers(c)
	if err := errors.Join(err, errSystems); err != nil {
		return err
	}
	answer := newPortLookup(c, systems).answer(questions)
	if f.output == show.FormatTable {
		return printPorts(f.stdout(), answer, f.sources)
	}
	return show.Write(f.stdout(), f.output, answer, portTable(answer))
}

func runPortList(f *catalogFlags) error {
	c, systems, err := f.loadFor()
	if err != nil {
		return err
	}
	lookup := newPortLookup(c, systems)
	var questions []portQuestion
	for port := range lookup.known().All() {
		questions = append(questions, portQuestion{port: port, tcp: true, udp: true})
	}
	answer := lookup.answer(questions)
	answer.dropMany()
	answer.cite(c)
	if f.output == show.FormatTable {
		return printPortList(f.stdout(), answer, f.sources)
	}
	return show.Write(f.stdout(), f.output, answer, portTable(answer))
}

// A portQuestion is a port that was asked for, and on which transports.
type portQuestion struct {
	port     uint16
	tcp, udp bool
}

// transports returns those of the question in their order.
func (q portQuestion) transports() []string {
	var all []string
	if q.tcp {
		all = append(all, "tcp")
	}
	if q.udp {
		all = append(all, "udp")
	}
	return all
}

// mostPorts is how many ports are answered at once: more is no question that a person has.
const mostPorts = 200

// parsePortArgs returns what arguments ask for, each port once, in their order. The error has
// a line for each mistake.
func parsePortArgs(cmd *cobra.Command, args []string) ([]portQuestion, error) {
	var questions []portQuestion
	var mistakes []error
	var all portset.Set // of the ranges, which are only looked through if they are not too many
	var ranges []portRange
	for _, arg := range args {
		for item := range strings.SplitSeq(arg, ",") {
			r, err := parsePortItem(cmd, item)
			if err != nil {
				mistakes = append(mistakes, &usageError{err})
				continue
			}
			ranges = append(ranges, r)
			all = all.Union(portset.Of(r.Range))
		}
	}
	if all.Len() > mostPorts {
		mistakes = append(mistakes, usagef("%s: at most %d are looked up at once: ask for fewer, or for those that are known: quaymaster port list",
			show.Count(all.Len(), "port", "ports"), mostPorts))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	for _, r := range ranges {
		for port := range portset.Of(r.Range).All() {
			i := slices.IndexFunc(questions, func(q portQuestion) bool { return q.port == port })
			if i < 0 {
				i, questions = len(questions), append(questions, portQuestion{port: port})
			}
			questions[i].tcp = questions[i].tcp || r.tcp
			questions[i].udp = questions[i].udp || r.udp
		}
	}
	return questions, nil
}

// A portRange is an item of an argument: 5000-5010/tcp.
type portRange struct {
	portset.Range
	tcp, udp bool
}

func parsePortItem(cmd *cobra.Command, item string) (portRange, error) {
	numbers, transport, restricted := strings.Cut(item, "/")
	transport = strings.ToLower(transport)
	r := portRange{tcp: !restricted || transport == "tcp", udp: !restricted || transport == "udp"}
	first, last, isRange := strings.Cut(numbers, "-")
	if !isRange {
		last = first
	}
	for _, digits := range []string{first, last} {
		if digits == "" || strings.Trim(digits, "0123456789") != "" {
			return r, notAPort(cmd, item)
		}
	}
	a, errFirst := strconv.ParseUint(first, 10, 16)
	b, errLast := strconv.ParseUint(last, 10, 16)
	switch {
	case errFirst != nil || errLast != nil: // nothing but too large
		return r, fmt.Errorf("port %s: want 0 to 65535", numbers)
	case a > b:
		return r, fmt.Errorf("port %s: the range ends before it begins: want %d-%d", numbers, b, a)
	case !r.tcp && !r.udp:
		return r, fmt.Errorf("port %s: transport %q: want /tcp or /udp, or none for both", item, transport)
	}
	r.First, r.Last = uint16(a), uint16(b)
	return r, nil
}

// notAPort is the error for a word that is no port; it may be a mistyped subcommand.
func notAPort(cmd *cobra.Command, item string) error {
	var verbs []string
	for _, c := range cmd.Commands() {
		verbs = append(verbs, c.Name())
	}
	if near, ok := config.Suggest(item, verbs); ok {
		return fmt.Errorf("port %s: want a number; did you mean %q?", item, near)
	}
	const want = "want a number from 0 to 65535, or a range such as 5000-5010"
	if item == "" {
		return fmt.Errorf("port %q: %s", item, want)
	}
	return fmt.Errorf("port %s: %s", item, want)
}
