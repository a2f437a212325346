package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/gate"
	"github.com/quaymaster/quaymaster/internal/show"
)

// gateFlags are the flags of gate.
type gateFlags struct {
	*globals
	config    string
	print     bool
	o         daemon.GateOptions
	logLevel  string
	logFormat string
	output    show.Format // of preflight
}

func newGate(x *globals) *cobra.Command {
	f := gateFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Open a gateway's firewall for the ports that RPC, FTP and TFTP agree on",
		Long: `Gate stands, on a Linux gateway, in the control channels that cross it: of endpoint
mappers, port mappers, FTP and TFTP. For each port that one side is promised it
opens a pinhole in the kernel's firewall, from this client to this server and
port, for a while. Data is forwarded by the kernel.

The file says who may ask for what. "gate init" prints one to begin with, "gate
preflight" looks whether this host is fit for it, and --print shows the rules of
nftables, the routes and the settings that belong to it. "gate pinholes" and "gate
sessions" show what a gate that runs has open.

It says READY=1 to systemd when rules and listeners stand. SIGHUP has the file read
again; with a mistake in it the policy stays. SIGTERM and SIGINT end control channels
and remove all that the gate put into the kernel, or with --keep leave it there for the
next start: control channels are dropped until then, and data goes on. So does kill -9;
"gate down" removes what is left.`,
		Example: `  quaymaster gate init > gate.yaml
  quaymaster gate preflight --config gate.yaml  is this host fit for it
  quaymaster gate --config gate.yaml --print    what it would put into the kernel
  quaymaster gate --config gate.yaml            as root, or with CAP_NET_ADMIN and CAP_NET_RAW
  quaymaster gate pinholes --watch              in another terminal`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			if !f.print {
				return f.run(cmd)
			}
			p, err := f.policy()
			if err != nil {
				return err
			}
			_, err = io.WriteString(os.Stdout, p.Print())
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.addConfig(cmd)
	flags.BoolVar(&f.print, "print", false, "print the rules as \"nft -f -\" takes them, with routes and settings as comments, and change nothing")
	flags.BoolVar(&f.o.Keep, "keep", false, "leave rules and pinholes in place at the end, for the next start: data goes on, control channels are dropped")
	flags.StringVar(&f.o.Control, "control", "", "`path` of the control socket (default "+api.SystemGate+")")
	flags.StringVar(&f.o.User, "user", "", "`account` to become, with the rights that the gate needs (default quaymaster, if root starts it and there is one)")
	flags.StringVar(&f.logLevel, "log-level", "", "`level`: debug, info, warn or error (default info)")
	flags.StringVar(&f.logFormat, "log-format", "", "`format`: text or json (default text)")
	cmd.AddCommand(newGatePinholes(x), newGateSessions(x), newGatePreflight(x), newGateInit(), newGateSchema(), newGateDown())
	return cmd
}

func (f *gateFlags) addConfig(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "configuration `file` (YAML)")
}

var errNoGateFile = usagef("name the file: --config gate.yaml; \"quaymaster gate init\" prints one to begin with")

// policy reads the file.
func (f *gateFlags) policy() (*gate.Policy, error) {
	if f.config == "" {
		return nil, errNoGateFile
	}
	text, err := readFile(f.config)
	if err != nil {
		return nil, usagef("--config: %w", err)
	}
	return gate.ReadPolicy(f.config, text, catalog.Builtin())
}

func newGatePreflight(x *globals) *cobra.Command {
	f := gateFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Look whether this host is fit for the gate",
		Long: `Preflight looks at what the gate needs of this host: the kernel, its rules and
settings, rights, open files, interfaces and ports, and whether other rules drop what the gate
lets through. It changes nothing that stays. With --config it looks at what that
file needs.

What is MISSING has to be mended, and the exit status is 3; of what says beware a person
has to judge. A setting that is mended by sysctl is lost with the next start of the
host unless it is in /etc/sysctl.d too.`,
		Example: `  quaymaster gate preflight
  quaymaster gate preflight --config gate.yaml -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.config == "" {
				return f.preflight(cmd, nil)
			}
			p, err := f.policy()
			if err != nil {
				return err
			}
			return f.preflight(cmd, p)
		},
	}
	f.addConfig(cmd)
	cmd.Flags().VarP(&f.output, "output", "o", "how the output is written: table, json, yaml, csv or markdown")
	return cmd
}

// preflightSchema names the form of preflightDocument. Keys may be added to it; what changes or goes makes it another.
const preflightSchema = "quaymaster/gate-preflight/1"

type preflightDocument struct {
	Schema string       `json:"schema"`
	Fit    bool         `json:"fit"` // nothing is missing
	Checks []gate.Check `json:"checks"`
}

// report prints what preflight found.
func (f *gateFlags) report(checks []gate.Check) error {
	t := show.NewTable(show.Column{Head: "check"}, show.Column{Head: "state"}, show.Column{Head: "is"}, show.Column{Head: "want"}, show.Column{Head: "to do", Key: "mend"})
	count := map[gate.State]int{}
	for _, c := range checks {
		count[c.State]++
		state := string(c.State)
		if c.State == gate.Missing {
			state = "MISSING"
		}
		t.Add(c.What, state, c.Is, c.Want, c.Mend)
	}
	s := f.stdout()
	err := show.Write(s, f.output, preflightDocument{preflightSchema, count[gate.Missing] == 0, checks}, t)
	if err == nil && f.output == show.FormatTable {
		_, err = fmt.Fprintf(s, "\n%s: %d ok, %d to beware of, %d missing\n", show.Count(len(checks), "check", "checks"), count[gate.Fit], count[gate.Beware], count[gate.Missing])
	}
	if err == nil && count[gate.Missing] > 0 {
		return errFound
	}
	return err
}

func newGateInit() *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Print a configuration file to begin with",
		Long:    "Init prints a configuration file that has every key, explained.",
		Example: "  quaymaster gate init > gate.yaml",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(gate.Example())
			return err
		},
	}
}

func newGateDown() *cobra.Command {
	var f gateFlags
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove what a gate left in the kernel",
		Long: `Down removes the rules, pinholes and routes of a gate that has ended with --keep or was
killed, and sets back the settings that it changed. --config is needed only if the
file names other marks than usual, and the file in which the gate remembers what it
did is gone.

Control channels then go through the host's own rules, or where the gate alone decided
(forward: own) everything does.`,
		Example: "  quaymaster gate down",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.down(cmd) },
	}
	f.addConfig(cmd)
	return cmd
}

func newGateSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of configuration files",
		Long: `Schema prints the JSON Schema (draft 2020-12) of configuration files, for editors that
complete and check YAML. Gate itself finds more: names that are none, sides that share
an interface.`,
		Example: `  quaymaster gate schema > gate.schema.json
  # in the first line of gate.yaml, for editors with the YAML language server:
  # yaml-language-server: $schema=gate.schema.json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(gate.Schema())
			return err
		},
	}
}
