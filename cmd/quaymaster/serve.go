package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// serveFlags are the flags of serve; those of the options stand in o.
type serveFlags struct {
	o       daemon.Options
	config  string
	starter int // uid of who started the program, whoever it becomes
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the port mapper of ONC RPC and the endpoint mapper of DCE/RPC",
		Long: `Serve answers the port mapper's program, 100000, versions 2, 3 and 4, on port
111 over TCP and UDP, and the endpoint mapper's interface, e1af8308-…, version
3.0, on port 135 over TCP; both over IPv4 and IPv6, and each on a local socket,
where servers of this host register. It stays in the foreground and logs to
standard error.

It takes sockets from systemd (rpcbind.socket works as it is) and says READY=1
when every socket answers. SIGHUP has the configuration file, the policy for
ports and the permanent registrations read again. SIGTERM and SIGINT end it.`,
		Example: `  quaymaster serve --dev                        try it: loopback, no root
  quaymaster serve                              as root, when rpcbind is stopped
  quaymaster serve --listen-dce none            the port mapper, on the network
  quaymaster serve --listen-onc 192.0.2.1       one address instead of all
  quaymaster serve --listen-onc none            the endpoint mapper, on the network`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.o.Dev, "dev", false, "development: loopback, ports 1111 and 1135, everything in the user's own state folder")
	flags.StringArrayVar(&f.o.ListenONC, "listen-onc", nil, "`address` of the port mapper, TCP and UDP: 192.0.2.1, [2001:db8::1]:111, :111; repeatable; \"none\" for no network (default :111)")
	flags.StringVar(&f.o.ONCSocket, "onc-socket", "", "`path` of the local socket (default "+daemon.SystemONCSocket+"); an abstract one of that name stands beside it")
	flags.StringArrayVar(&f.o.ListenDCE, "listen-dce", nil, "`address` of the endpoint mapper, TCP: as --listen-onc (default :135)")
	flags.StringVar(&f.o.DCESocket, "dce-socket", "", "`path` of its local socket (default "+daemon.SystemDCESocket+")")
	flags.StringArrayVar(&f.o.DCEInsert, "dce-insert", nil, "`who` may register with the endpoint mapper over the network: loopback, a network such as 192.0.2.0/24, or any; repeatable (default nobody)")
	flags.StringVar(&f.o.Control, "control", "", "`path` of the control socket (default "+daemon.SystemControl+")")
	flags.StringVar(&f.config, "config", "", "configuration `file` (YAML); flags override it")
	flags.StringVar(&f.o.PoolFile, "pool", "", "`file` of the policy that says which ports servers get: what \"quaymaster pool lint\" takes, but not standard input (default: the key pool of the configuration)")
	flags.StringVar(&f.o.User, "user", "", "`account` to become when every socket is open (default quaymaster, if root starts it and there is one)")
	flags.StringVar(&f.o.State, "state", "", "`path` of the journal, from which registrations survive a restart (default "+daemon.SystemState+"), or \"memory\" for none")
	flags.StringVar(&f.o.PermanentFile, "permanent-file", "", "`path` of the permanent registrations (default "+daemon.SystemPermanentFile+")")
	flags.StringVar(&f.o.Liveness, "liveness", "", "whether to look if anything listens, `on|off`; off believes registrations unseen (default on)")
	flags.DurationVar(&f.o.Grace, "grace", registry.DefaultGrace, "`time` for which nothing may listen yet at what was registered, 1s to 1h")
	flags.BoolVar(&f.o.KeepGoing, "keep-going", false, "serve what can be opened when something cannot")
	flags.StringVar(&f.o.LogLevel, "log-level", "", "`level`: debug, info, warn or error (default info)")
	flags.StringVar(&f.o.LogFormat, "log-format", "", "`format`: text or json (default text)")
	return cmd
}

// options returns the configuration file's options with the flags' before them.
func (f *serveFlags) options(cmd *cobra.Command) (daemon.Options, error) {
	if f.o.Grace == 0 { // the default is not
		return f.o, usagef("grace 0s: want 1s to 1h")
	}
	if cmd.Flags().Changed("pool") && f.o.PoolFile == "" {
		return f.o, usagef("--pool: name the file: policy.reg")
	}
	if f.config == "" {
		return f.o, nil
	}
	o, err := daemon.LoadFile(f.config, f.starter)
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return f.o, usagef("--config: %w", err)
	case err != nil:
		return f.o, err
	}
	o.Dev = f.o.Dev
	for name, set := range map[string]func(){
		"listen-onc":     func() { o.ListenONC = f.o.ListenONC },
		"onc-socket":     func() { o.ONCSocket = f.o.ONCSocket },
		"listen-dce":     func() { o.ListenDCE = f.o.ListenDCE },
		"dce-socket":     func() { o.DCESocket = f.o.DCESocket },
		"dce-insert":     func() { o.DCEInsert = f.o.DCEInsert },
		"control":        func() { o.Control = f.o.Control },
		"pool":           func() { o.PoolFile = f.o.PoolFile },
		"user":           func() { o.User = f.o.User },
		"state":          func() { o.State = f.o.State },
		"permanent-file": func() { o.PermanentFile = f.o.PermanentFile },
		"liveness":       func() { o.Liveness = f.o.Liveness },
		"grace":          func() { o.Grace = f.o.Grace },
		"keep-going":     func() { o.KeepGoing = f.o.KeepGoing },
		"log-level":      func() { o.LogLevel = f.o.LogLevel },
		"log-format":     func() { o.LogFormat = f.o.LogFormat },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return o, nil
}

// newLog returns the log that the options ask for.
func newLog(w io.Writer, o *daemon.Options) (*slog.Logger, error) {
	level, err1 := o.Level()
	inJSON, err2 := o.JSON()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if inJSON {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}

// self returns how the user calls this program again.
func self() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/quaymaster"
	}
	return "quaymaster"
}

// printDev tells a newcomer where the development daemon is and what to try.
func printDev(w io.Writer, dir string, onc, dce []string, control, ports string) {
	fmt.Fprintf(w, "quaymaster %s  development mode: loopback only, nothing outside %s\n", version, home(dir))
	for _, line := range []struct {
		what  string
		where []string
	}{{"rpcbind", onc}, {"endpoint mapper", dce}, {"control", []string{home(control)}}, {"ports", []string{ports}}} {
		fmt.Fprintf(w, "  %-15s  %s\n", line.what, strings.Join(line.where, " · "))
	}
	fmt.Fprintf(w, "try, in another terminal:\n")
	fmt.Fprintf(w, "  %s endpoints --dev\n", self())
	fmt.Fprintf(w, "  %s run --dev --onc 0x20000001:1 --tcp -- python3 -m http.server {port}\n", self())
	fmt.Fprintf(w, "  %s ask --dev\n", self())
	fmt.Fprintf(w, "  %s endpoints add onc 0x20000001 1 tcp 127.0.0.1:8000 --ttl 1h --dev\n", self())
	fmt.Fprintf(w, "  %s endpoints add dce winreg 1.0 tcp 127.0.0.1:8001 --ttl 1h --dev\n", self())
	fmt.Fprintf(w, "  %s endpoints --dev --watch\n", self())
}
