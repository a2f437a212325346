package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/launch"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// runFlags are the flags of run; those of the job stand in it.
type runFlags struct {
	target
	job             launch.Job
	interfaces, onc []string
	pool            string
	annotation      string
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run --interface UUID:VERSION | --onc PROGRAM:VERSION [flags] -- COMMAND [WORD...]",
		Short: "Start an RPC server on a port of the pool, and keep it registered while it listens",
		Long: `Run asks the daemon for a port, starts COMMAND with it, waits until the command
or a descendant of it listens there, and registers it where it does. What it listens
on later is registered too; what it registers itself is left alone.

In the words after the command's name {port} stands for the port, one number that is
free on TCP and UDP; {tcp} and {udp} stand for ports that may differ. Without any
the command reads the environment's QUAYMASTER_PORT, which is set in any case.

Run ends when the command has ended and nothing that it left behind listens there,
with the command's exit status, 128+N if signal N ended it. 125: run itself failed,
as where there is no daemon, the pool is empty or the command does not listen; 126:
the command cannot be executed; 127: there is none. Signals are passed on.`,
		Example: `  quaymaster run --interface 12345778-1234-abcd-ef00-0123456789ac:1.0 -- ./my-rpc-server --port {port}
  quaymaster run --onc 100005:3,100005:2 --tcp --udp -- rpc.mountd -F -p {port}
  quaymaster run --dev --onc 0x20000001:1 --tcp -- python3 -m http.server {port}`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.complete(cmd, args); err != nil {
				return &exitError{launch.ExitFailed, err}
			}
			status, err := f.run(cmd)
			if status == exitDone && err == nil {
				return nil
			}
			return &exitError{status, err}
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{launch.ExitFailed, flagError(cmd, err)}
	})
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false) // a command without -- before it is told so, instead of taking its flags for ours
	flags.StringArrayVar(&f.interfaces, "interface", nil, "DCE `interface` that it serves, UUID:MAJOR.MINOR or NAME:MAJOR.MINOR; repeatable")
	flags.StringArrayVar(&f.onc, "onc", nil, "ONC `program` that it serves, NUMBER:VERSION or NAME:VERSION, several with commas between; repeatable")
	flags.BoolVar(&f.job.TCP, "tcp", false, "register it on TCP (default, unless the command has {udp} only)")
	flags.BoolVar(&f.job.UDP, "udp", false, "register it on UDP")
	flags.StringVar(&f.pool, "pool", "default", "`pool` that the port is from: default, internet or intranet, as servers of Windows ask with RPC_C_USE_INTERNET_PORT and RPC_C_USE_INTRANET_PORT")
	flags.DurationVar(&f.job.Wait, "wait", 30*time.Second, "`time` within which it has to listen")
	flags.StringVar(&f.annotation, "annotation", "", "free `text` beside the registrations")
	flags.BoolVar(&f.job.KillWithMe, "kill-with-me", false, "end it with SIGTERM when run is killed; its descendants escape that, and so do programs that change their user")
	f.target.addFlags(cmd)
	return cmd
}

// complete makes the job of the flags and arguments.
func (f *runFlags) complete(cmd *cobra.Command, args []string) error {
	switch dash := cmd.ArgsLenAtDash(); {
	case dash != 0 && len(args) > 0:
		return usagef("unexpected argument %q: the command comes after --", args[0])
	case len(args) == 0 || args[0] == "":
		return usagef("want a command after --, as in: -- ./my-rpc-server --port {port}")
	case f.job.Wait <= 0:
		return usagef("--wait %s: want a time such as 30s", f.job.Wait)
	}
	f.job.Command = args
	switch f.pool {
	case "default":
	case endpoint.InternetPool.String(), endpoint.IntranetPool.String():
		f.job.Pool = f.pool
	default:
		return usagef("--pool %q: want default, internet or intranet", f.pool)
	}
	var err error
	if f.job.Interfaces, err = f.served(); err != nil {
		return err
	}
	if err := f.job.Complete(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// served returns the interfaces that are to be registered.
func (f *runFlags) served() ([]endpoint.Document, error) {
	dialect, flag, named := endpoint.ONC, "--onc", f.onc
	switch {
	case len(f.interfaces) > 0 && len(f.onc) > 0:
		return nil, usagef("--interface is of DCE and --onc of ONC, and a program speaks one of them: choose one")
	case len(f.interfaces) > 0:
		dialect, flag, named = endpoint.DCE, "--interface", f.interfaces
	}
	var all []endpoint.Document
	for _, text := range named {
		for one := range strings.SplitSeq(text, ",") {
			d, err := f.parseServed(dialect, one)
			if err != nil {
				return nil, usagef("%s %q: %w", flag, one, err)
			}
			if !slices.Contains(all, d) {
				all = append(all, d)
			}
		}
	}
	if len(all) == 0 {
		return nil, usagef("what does it serve? --onc PROGRAM:VERSION or --interface UUID:VERSION says so")
	}
	return all, nil
}

// parseServed reads ID:VERSION.
func (f *runFlags) parseServed(dialect endpoint.Dialect, text string) (endpoint.Document, error) {
	colon := strings.LastIndex(text, ":")
	if colon < 0 {
		if dialect == endpoint.DCE {
			return endpoint.Document{}, fmt.Errorf("want UUID:MAJOR.MINOR or NAME:MAJOR.MINOR, as in winreg:1.0")
		}
		return endpoint.Document{}, fmt.Errorf("want PROGRAM:VERSION, as in 100005:3 or mountd:3")
	}
	d, _, err := parseInterface([]string{dialect.String(), text[:colon], text[colon+1:]})
	if err != nil {
		return d, err
	}
	d.Annotation = f.annotation
	somewhere := d // for what else may be wrong
	somewhere.Address, somewhere.Port = "0.0.0.0", 1
	if dialect == endpoint.DCE {
		somewhere.ProtSeq = epm.TCP.String()
	} else {
		somewhere.NetID = rpcbind.TCP.String()
	}
	r, err := somewhere.Registration()
	if err == nil && r.IsMapper() {
		err = fmt.Errorf("that is the mapper itself")
	}
	return d, err
}

// listens says in one line where a program is registered.
func listens(program string, pid int, standing []endpoint.Document) string {
	var parts []string
	for _, fold := range foldRows(standing, time.Now()) {
		name := interfaceName(fold.of)
		if name == "" {
			name = interfaceID(fold.of)
		}
		parts = append(parts, fmt.Sprintf("%s %s on %s at %s", name, spans(fold.versions), strings.Join(fold.transports, " "), place(fold.of)))
	}
	return fmt.Sprintf("%s (pid %d) listens: %s", program, pid, strings.Join(parts, ", "))
}
