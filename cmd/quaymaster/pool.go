package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/show"
)

// poolFlags are the flags of pool.
type poolFlags struct {
	target
	*globals
	output string
}

func newPool(x *globals) *cobra.Command {
	f := poolFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Show the ports that servers are given, and who has them; check and convert their policy",
		Long: `Pool asks the daemon which ports servers are given that ask for none, who was
given which, what listens or is registered there, and what is in the way.

Which ports these are a policy says: that of Windows for RPC servers, the registry
key HKEY_LOCAL_MACHINE\Software\Microsoft\Rpc\Internet, which is a list of ports and
two letters. "lint" says what a policy means and what is wrong with it, "convert"
says the same to other programs; both need no daemon. "quaymaster serve --pool"
has ports given by it.`,
		Example: `  quaymaster pool                               the pools, and who has ports
  quaymaster pool -o json                       for programs
  reg export HKLM\Software\Microsoft\Rpc\Internet policy.reg     on Windows
  quaymaster pool lint policy.reg
  quaymaster pool convert policy.reg --to yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return f.run()
		},
	}
	f.target.addTo(cmd.Flags()) // which the verbs below do not have: they ask nobody
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	cmd.AddCommand(newPoolLint(x), newPoolConvert(x))
	return cmd
}

func (f *poolFlags) run() error {
	if f.output != "table" && f.output != "json" {
		return usagef("output %q: want table or json", f.output)
	}
	client, path, err := f.client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	p, err := client.Pool(ctx)
	if err != nil {
		return f.explain(path, err)
	}
	if f.output == "json" {
		return show.JSON(os.Stdout, p)
	}
	registered, err := client.List(ctx)
	if err != nil {
		return f.explain(path, err)
	}
	return printPool(f.stdout(), &p, portUses(&p, registered.Endpoints, findHolders(&p)), time.Now())
}

// aboutPolicyFiles is what the help of every verb that reads a policy says of files.
const aboutPolicyFiles = `FILE is what regedit or "reg export" wrote, also an export of much more, in any
encoding; or YAML with the key pool. "-" is standard input.`

// oneFile refuses anything but one argument.
func oneFile(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usagef("name the file: policy.reg")
	case 1:
		return nil
	}
	return usagef("unexpected argument %q", args[1])
}

// readPolicy reads what a file, or standard input, says of a policy.
func readPolicy(name string) (*portpool.Document, error) {
	if name == "-" {
		return portpool.Read("standard input", os.Stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("%w", err)
	}
	defer f.Close()
	return portpool.Read(name, f)
}

// poolConvertFlags are the flags of pool convert.
type poolConvertFlags struct {
	*globals
	to string
}

func newPoolConvert(x *globals) *cobra.Command {
	f := poolConvertFlags{globals: x}
	formats := strings.Join(portpool.Formats, ", ")
	cmd := &cobra.Command{
		Use:   "convert FILE --to FORMAT",
		Short: "Write a policy for another program",
		Long: `Convert writes a valid policy to standard output as one of

  yaml     the key pool of the configuration
  reg      what "reg import" takes: UTF-16, as regedit writes it
  sysctl   the line that keeps Linux from giving the list to outgoing connections
  netsh    the commands that keep Windows from it, and the one that can stand in
           place of the policy
  samba    the line of smb.conf for what ordinary servers get

Nothing is lost from reg to yaml and back. The others can say a part only, and
say what they leave out.

` + aboutPolicyFiles,
		Example: `  quaymaster pool convert policy.reg --to yaml > pool.yaml
  quaymaster pool convert pool.yaml --to reg > policy.reg
  quaymaster pool convert policy.reg --to sysctl > /etc/sysctl.d/60-rpc-ports.conf`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error { return f.run(args[0]) },
	}
	cmd.Flags().StringVar(&f.to, "to", "", "`format`: "+formats)
	return cmd
}

func (f *poolConvertFlags) run(name string) error {
	if !slices.Contains(portpool.Formats, f.to) {
		formats := strings.Join(portpool.Formats, ", ")
		if f.to == "" {
			return usagef("--to is missing: want one of %s", formats)
		}
		if near, ok := config.Suggest(f.to, portpool.Formats); ok {
			return usagef("format %q; did you mean %q?", f.to, near)
		}
		return usagef("format %q: want one of %s", f.to, formats)
	}
	d, err := readPolicy(name)
	if err != nil {
		return err
	}
	p, err := d.Valid()
	if err != nil {
		return err
	}
	screen := f.stdout()
	out := bufio.NewWriter(screen)
	if f.to == "reg" && screen.Terminal { // which shows no UTF-16
		out.WriteString(p.RegText())
		return out.Flush()
	}
	text, err := p.Convert(f.to)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	out.Write(text)
	return out.Flush()
}
