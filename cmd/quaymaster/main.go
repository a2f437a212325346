// Quaymaster maps RPC ports: it answers which port an RPC service is on.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/show"
)

// Exit statuses of every verb but run, which has those of the program that it runs.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitFound  = 3 // something is wrong with what the verb was to look at, and it has said so
)

// errFound is the error of a verb that has found something and printed it.
var errFound = &exitError{status: exitFound}

// An exitError ends a verb with an exit status that it chooses.
type exitError struct {
	status int
	err    error // nil: all is said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usagef returns an error of how the program was called.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// A usageError is how the program was called wrongly.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func main() {
	root := newRoot()
	cmd, err := root.ExecuteC()
	os.Exit(report(cmd, err))
}

// report prints an error, every line of it with what was attempted, and returns the exit status.
func report(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	var chosen *exitError
	if !errors.As(err, &chosen) {
		return tell(cmd, err)
	}
	if chosen.err != nil {
		tell(cmd, chosen.err)
	}
	return chosen.status
}

// tell prints an error and returns the exit status of verbs that choose none.
func tell(cmd *cobra.Command, err error) int {
	var mistakes config.Mistakes
	if errors.As(err, &mistakes) { // they say where themselves
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	printLines(cmd, err.Error())
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(os.Stderr, "%s --help tells more\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// printLines prints text on standard error, every line of it with what was attempted.
func printLines(cmd *cobra.Command, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(os.Stderr, "%s: %s\n", strings.Replace(cmd.CommandPath(), " ", ": ", 1), show.Clean(line))
	}
}

func newRoot() *cobra.Command {
	var x globals
	root := &cobra.Command{
		Use:   "quaymaster",
		Short: "Which port is that RPC service on?",
		Long: `Quaymaster maps RPC ports. "serve" takes rpcbind's place and is an endpoint mapper
of DCE/RPC: servers register where they listen, clients ask. "run" starts a server on
a port of the daemon's and keeps it registered. "endpoints" shows and changes what is
registered. "ask" asks other hosts: what is on them, is that true, and is the way there
open. "pool" shows which ports servers are given and who has them, and explains
and converts the policy of Windows that bounds them. "port" says what a port is for,
"service" which ports a service needs and how it is pinned to one, "role" what a host of
an Active Directory domain listens on and needs of others, from facts that the program
brings along. "plan" derives from a description of a site which hosts must reach which,
and writes the rules of its firewalls. "gate" opens the firewall of a Linux gateway for
the ports that RPC, FTP and TFTP agree on.`,
		Args:              cobra.ArbitraryArgs,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().Var(&x.color, "color", "colour output: auto, always or never")
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(newServe(), newRun(), newEndpoints(&x), newAsk(&x), newPool(&x), newPort(&x), newService(&x), newRole(&x), newPlan(&x), newGate(&x), newVersion())
	strictDefaults(root)
	return root
}

// strictDefaults makes the verbs that come with the library refuse words they do not know.
func strictDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.RunE = help
		case "completion":
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(cmd *cobra.Command, args []string) error {
				return help(cmd, append([]string{"completion"}, args...))
			}
		}
	}
}

// help shows how the command that words lead to is used.
func help(cmd *cobra.Command, words []string) error {
	about, rest, err := cmd.Root().Find(words)
	switch {
	case err != nil:
		return usagef("%w", err)
	case len(rest) > 0:
		return unknownVerb(about, rest[0])
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// globals are the flags of every verb.
type globals struct{ color show.Color }

func (x *globals) stdout() show.Screen {
	return show.NewScreen(os.Stdout, x.color, os.Getenv("NO_COLOR"))
}

// unknownVerb is the error for a word that is none of a command's subcommands.
func unknownVerb(cmd *cobra.Command, word string) error {
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	if near, ok := config.Suggest(word, known); ok {
		return usagef("unknown command %q; did you mean %q?", word, near)
	}
	return usagef("unknown command %q", word)
}

func flagError(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
		return unknownVerb(cmd, words[0]) // whose flags they may be
	}
	return flagMistake(cmd, err)
}

// flagMistake is flagError for a verb with subcommands that takes other words too.
func flagMistake(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usagef("%w", err)
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near, ok := config.Suggest(unknown.GetSpecifiedName(), known); ok {
		return usagef("%w; did you mean --%s?", err, near)
	}
	return usagef("%w", err)
}

// noArgs refuses arguments where a verb takes none.
var noArgs = atMost(0)

// atMost refuses arguments after the first n.
func atMost(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef("unexpected argument %q", args[n])
		}
		return nil
	}
}
