package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/control"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry/filestore"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// addFlags are the flags of endpoints add.
type addFlags struct {
	annotation, from, warmStart string

	permanent bool
	ttl       time.Duration
	pid       int32
}

func newAdd(t *target) *cobra.Command {
	var f addFlags
	cmd := &cobra.Command{
		Use:   "add onc PROGRAM VERSION NETID ADDRESS | --from FILE | --from-warm-start DIR",
		Short: "Register endpoints",
		Long: `Add registers a program and version at an address, with you as the owner.
PROGRAM is a number (100005, 0x20000001) or a name of the catalog (mountd);
NETID is udp, tcp, udp6, tcp6 or local; ADDRESS is ADDRESS:PORT, *:PORT for
every address of this host, or the path of a local socket.

A registration stands while something listens there, which may take 10 seconds
to begin. With --pid it stands while that process runs, with --ttl for that
time, with --permanent until it is removed, which is for root.

FILE holds many, all or none of which are registered: a YAML or JSON list with
the keys that "endpoints -o json" prints; "-" is standard input. DIR holds the
files that rpcbind -w leaves at its end: rpcbind.xdr and portmap.xdr.`,
		Example: `  quaymaster endpoints add onc 100005 3 tcp 0.0.0.0:20048 --annotation 'mounts of fs1'
  quaymaster endpoints add onc nfs 3 tcp 10.0.0.9:2049 --permanent
  quaymaster endpoints -o json > rows.json && quaymaster endpoints add --from rows.json
  quaymaster endpoints add --from-warm-start /run/rpcbind`,
		Args: atMost(5),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := f.addition(cmd, args)
			if err != nil {
				return err
			}
			return t.add(cmd.Context(), a)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.annotation, "annotation", "", "free `text` beside the registration")
	flags.StringVar(&f.from, "from", "", "register what `FILE` lists")
	flags.StringVar(&f.warmStart, "from-warm-start", "", "register what rpcbind left in `DIR`")
	flags.BoolVar(&f.permanent, "permanent", false, "until it is removed, also after the host starts again; for root")
	flags.DurationVar(&f.ttl, "ttl", 0, "for this `time`: 90s, 1h; the same again begins it anew")
	flags.Int32Var(&f.pid, "pid", 0, "while the process with this `number` runs")
	return cmd
}

// addition returns what to register.
func (f *addFlags) addition(cmd *cobra.Command, args []string) (control.Addition, error) {
	a := control.Addition{Permanent: f.permanent, TTL: int64(f.ttl / time.Second), PID: f.pid}
	err := errors.Join(oneOf(cmd, "permanent", "ttl", "pid"), oneOf(cmd, "from", "from-warm-start"))
	switch {
	case err != nil:
		return a, err
	case cmd.Flags().Changed("ttl") && (f.ttl < time.Second || f.ttl > control.MaxTTL || f.ttl%time.Second != 0):
		return a, usagef("--ttl %s: want whole seconds, from 1s to %dh; --permanent stays longer", f.ttl, control.MaxTTL/time.Hour)
	case cmd.Flags().Changed("pid") && f.pid < 1:
		return a, usagef("--pid %d: want the number of a process", f.pid)
	}
	a.Endpoints, err = f.rows(args)
	return a, err
}

// oneOf refuses flags of which at most one can be meant.
func oneOf(cmd *cobra.Command, names ...string) error {
	var given []string
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 1 {
		return usagef("%s: choose one", strings.Join(given, " and "))
	}
	return nil
}

// rows returns the endpoints to register.
func (f *addFlags) rows(args []string) ([]endpoint.Document, error) {
	switch file := cmp.Or(f.from, f.warmStart); {
	case file != "" && len(args) > 0:
		return nil, usagef("%s says what to register: leave %q out", file, strings.Join(args, " "))
	case file != "" && f.annotation != "":
		return nil, usagef("--annotation goes with one registration, not with a file of them")
	case f.warmStart != "":
		return f.warmRows()
	case f.from != "":
		return readRows(f.from)
	case len(args) != 5:
		return nil, usagef("want onc PROGRAM VERSION NETID ADDRESS, --from FILE or --from-warm-start DIR")
	}
	i, netid, err := parseInterface(args[:4])
	if err != nil {
		return nil, err
	}
	d := endpoint.Document{Dialect: args[0], Program: i.Program, Version: i.Version, NetID: netid.String(), Annotation: f.annotation}
	if d.Address, d.Port, err = parseAddress(netid, args[4]); err != nil {
		return nil, err
	}
	if _, err := d.Registration(); err != nil {
		return nil, usagef("%w", err)
	}
	return []endpoint.Document{d}, nil
}

// warmRows returns what rpcbind left, and tells of what it left that cannot be registered.
func (f *addFlags) warmRows() ([]endpoint.Document, error) {
	rows, notes, err := readWarmStart(f.warmStart)
	if err != nil {
		return nil, fmt.Errorf("--from-warm-start: %w", err)
	}
	for _, n := range notes {
		fmt.Fprintf(os.Stderr, "quaymaster: %s\n", show.Clean(n))
	}
	return rows, nil
}

func (t *target) add(ctx context.Context, a control.Addition) error {
	client, path, err := t.client()
	if err != nil {
		return err
	}
	l, err := client.Add(ctx, a)
	if err != nil {
		return t.explain(path, err)
	}
	for i := range l.Endpoints {
		d := &l.Endpoints[i]
		if _, err := fmt.Printf("%s  %s  %s\n", d.ID, describe(d), evidence(d, time.Now())); err != nil {
			return err
		}
	}
	return nil
}

func newRemove(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID | onc PROGRAM VERSION [NETID]",
		Short: "End registrations",
		Long: `Remove ends the registration with an id, or those of a program and version: on
one transport, or without NETID on all. Its owner may, and root.`,
		Example: `  quaymaster endpoints remove 5f0c9a31b2d4
  quaymaster endpoints remove onc mountd 3 tcp`,
		Args: atMost(4),
		RunE: func(cmd *cobra.Command, args []string) error { return t.remove(cmd.Context(), args) },
	}
}

func (t *target) remove(ctx context.Context, args []string) error {
	var request func(*control.Client) error
	switch len(args) {
	case 1:
		id, err := endpoint.ParseID(args[0])
		if err != nil {
			return usagef("%w (quaymaster endpoints -o wide shows them)", err)
		}
		request = func(c *control.Client) error { return c.RemoveID(ctx, id) }
	case 3, 4:
		i, netid, err := parseInterface(args)
		if err != nil {
			return err
		}
		name := ""
		if netid != 0 {
			name = netid.String()
		}
		request = func(c *control.Client) error { return c.Remove(ctx, i, name) }
	default:
		return usagef("want ID, or onc PROGRAM VERSION [NETID]")
	}
	client, path, err := t.client()
	if err != nil {
		return err
	}
	return t.explain(path, request(client))
}

// parseInterface reads DIALECT PROGRAM VERSION [NETID]; without NETID that is 0.
func parseInterface(args []string) (endpoint.Interface, rpcbind.NetID, error) {
	var none endpoint.Interface
	if args[0] != endpoint.ONC.String() {
		return none, 0, usagef("dialect %q: want onc", args[0])
	}
	program, err := filestore.ParseProgram(args[1])
	if err != nil {
		return none, 0, usagef("%w", err)
	}
	version, err := strconv.ParseUint(args[2], 10, 32)
	if err != nil {
		return none, 0, usagef("version %q: want a number from 0 to 4294967295", args[2])
	}
	i := endpoint.Program(program, uint32(version))
	if len(args) == 3 {
		return i, 0, nil
	}
	netid, ok := rpcbind.ParseNetID(args[3])
	if !ok {
		return none, 0, usagef("netid %q: want udp, tcp, udp6, tcp6 or local", args[3])
	}
	return i, netid, nil
}

// parseAddress reads ADDRESS:PORT, *:PORT or a path, as the transport has it.
func parseAddress(n rpcbind.NetID, s string) (string, uint16, error) {
	if !n.IsIP() {
		return s, 0, nil
	}
	if port, ok := strings.CutPrefix(s, "*:"); ok {
		p, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return "", 0, usagef("address %q: %q is no port", s, port)
		}
		return endpoint.Everywhere(n).String(), uint16(p), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", 0, usagef("address %q: want ADDRESS:PORT, [IPV6]:PORT or *:PORT", s)
	}
	return a.Addr().String(), a.Port(), nil
}

// readRows reads a file of endpoints. The mapper's own rows are left out, so
// that what one daemon printed can be given to another.
func readRows(name string) ([]endpoint.Document, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, usagef("--from: %w", err)
	}
	regs, err := filestore.Parse(name, text)
	if err != nil {
		return nil, err
	}
	rows := make([]endpoint.Document, 0, len(regs))
	for i := range regs {
		rows = append(rows, regs[i].Document(""))
	}
	return rows, nil
}

func readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, config.MaxSize+1))
	}
	return os.ReadFile(name)
}
