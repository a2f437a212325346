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

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry/filestore"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// addFlags are the flags of endpoints add.
type addFlags struct {
	annotation, object, from, warmStart string

	permanent bool
	ttl       time.Duration
	pid       int32
}

func newAdd(t *target) *cobra.Command {
	var f addFlags
	cmd := &cobra.Command{
		Use: "add onc PROGRAM VERSION NETID ADDRESS | dce INTERFACE VERSION PROTSEQ ENDPOINT |\n" +
			"                         --from FILE | --from-warm-start DIR",
		Short: "Register endpoints",
		Long: `Add registers an interface where it listens, with you as the owner.

Of ONC, PROGRAM is a number (100005, 0x20000001) or a name of the catalog
(mountd); NETID is udp, tcp, udp6, tcp6 or local; ADDRESS is ADDRESS:PORT,
*:PORT for every address of this host, or the path of a local socket.

Of DCE, INTERFACE is a UUID or a name of the catalog (winreg), VERSION has two
parts (1.0); PROTSEQ is tcp, udp, http, np, lrpc or the long name of one
(ncacn_ip_tcp); ENDPOINT is ADDRESS:PORT or *:PORT, for np a pipe
(\pipe\winreg), for lrpc a name. Objects have their own with --object.

A registration stands while something listens there, which may take 10 seconds
to begin. With --pid it stands while that process runs, with --ttl for that
time, with --permanent until it is removed, which is for root. A pipe or name,
at which nobody can be seen to listen, gets a lease of an hour without these.

FILE holds many, all or none of which are registered: a YAML or JSON list with
the keys that "endpoints -o json" prints; "-" is standard input. DIR holds the
files that rpcbind -w leaves at its end: rpcbind.xdr and portmap.xdr.`,
		Example: `  quaymaster endpoints add onc 100005 3 tcp 0.0.0.0:20048 --annotation 'mounts of fs1'
  quaymaster endpoints add onc nfs 3 tcp 10.0.0.9:2049 --permanent
  quaymaster endpoints add dce srvsvc 3.0 tcp 10.0.0.5:50001 --permanent
  quaymaster endpoints add dce winreg 1.0 np '\pipe\winreg' --pid 1310
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
	flags.StringVar(&f.object, "object", "", "`UUID` of the object, of dce")
	flags.StringVar(&f.from, "from", "", "register what `FILE` lists")
	flags.StringVar(&f.warmStart, "from-warm-start", "", "register what rpcbind left in `DIR`")
	flags.BoolVar(&f.permanent, "permanent", false, "until it is removed, also after the host starts again; for root")
	flags.DurationVar(&f.ttl, "ttl", 0, "for this `time`: 90s, 1h; the same again begins it anew")
	flags.Int32Var(&f.pid, "pid", 0, "while the process with this `number` runs")
	return cmd
}

// addition returns what to register.
func (f *addFlags) addition(cmd *cobra.Command, args []string) (api.Addition, error) {
	a := api.Addition{Permanent: f.permanent, TTL: int64(f.ttl / time.Second), PID: f.pid}
	err := errors.Join(oneOf(cmd, "permanent", "ttl", "pid"), oneOf(cmd, "from", "from-warm-start"))
	switch {
	case err != nil:
		return a, err
	case cmd.Flags().Changed("ttl") && (f.ttl < time.Second || f.ttl > api.MaxTTL || f.ttl%time.Second != 0):
		return a, usagef("--ttl %s: want whole seconds, from 1s to %dh; --permanent stays longer", f.ttl, api.MaxTTL/time.Hour)
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
	case file != "" && (f.annotation != "" || f.object != ""):
		return nil, usagef("--annotation and --object go with one registration, not with a file of them")
	case f.warmStart != "":
		return f.warmRows()
	case f.from != "":
		return readRows(f.from)
	case len(args) != 5:
		return nil, usagef("want onc PROGRAM VERSION NETID ADDRESS, dce INTERFACE VERSION PROTSEQ ENDPOINT, --from FILE or --from-warm-start DIR")
	}
	d, netid, err := parseInterface(args[:4])
	if err != nil {
		return nil, err
	}
	d.Annotation, d.Object = f.annotation, f.object
	if err := parseAddress(&d, netid, args[4]); err != nil {
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

func (t *target) add(ctx context.Context, a api.Addition) error {
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
		Use:   "remove ID | onc PROGRAM VERSION [NETID] | dce INTERFACE VERSION [PROTSEQ]",
		Short: "End registrations",
		Long: `Remove ends the registration with an id, or those of an interface: on one
transport, or without NETID or PROTSEQ on all. Its owner may, and root.`,
		Example: `  quaymaster endpoints remove 5f0c9a31b2d4
  quaymaster endpoints remove onc mountd 3 tcp
  quaymaster endpoints remove dce winreg 1.0`,
		Args: atMost(4),
		RunE: func(cmd *cobra.Command, args []string) error { return t.remove(cmd.Context(), args) },
	}
}

func (t *target) remove(ctx context.Context, args []string) error {
	var request func(*api.Client) error
	switch len(args) {
	case 1:
		id, err := endpoint.ParseID(args[0])
		if err != nil {
			return usagef("%w (quaymaster endpoints -o wide shows them)", err)
		}
		request = func(c *api.Client) error { return c.RemoveID(ctx, id) }
	case 3, 4:
		d, _, err := parseInterface(args)
		if err != nil {
			return err
		}
		request = func(c *api.Client) error { return c.Remove(ctx, d) }
	default:
		return usagef("want ID, onc PROGRAM VERSION [NETID] or dce INTERFACE VERSION [PROTSEQ]")
	}
	client, path, err := t.client()
	if err != nil {
		return err
	}
	return t.explain(path, request(client))
}

// parseInterface reads DIALECT PROGRAM VERSION [NETID] or DIALECT INTERFACE VERSION
// [PROTSEQ], and returns the netid, or that under the protocol sequence, as well.
func parseInterface(args []string) (d endpoint.Document, n rpcbind.NetID, err error) {
	d.Dialect = args[0]
	dce := d.Dialect == endpoint.DCE.String()
	switch {
	case dce:
		var uuid ndr.UUID
		uuid, err = filestore.ParseUUID(args[1])
		d.UUID = uuid.String()
	case d.Dialect == endpoint.ONC.String():
		d.Program, err = filestore.ParseProgram(args[1])
	default:
		return d, 0, usagef("dialect %q: want onc or dce", d.Dialect)
	}
	if err != nil {
		return d, 0, usagef("%w", err)
	}
	if d.Version, err = endpoint.ParseVersion(args[2]); err != nil || d.Version.Dotted != dce {
		want := "a number from 0 to 4294967295"
		if dce {
			want = "MAJOR.MINOR, as in 1.0"
		}
		return d, 0, usagef("version %q: want %s", args[2], want)
	}
	if len(args) == 3 {
		return d, 0, nil
	}
	if dce {
		p, ok := epm.ParseProtSeq(args[3])
		if !ok {
			return d, 0, usagef("protocol sequence %q: want tcp, udp, http, np or lrpc, or a long name such as ncacn_ip_tcp", args[3])
		}
		d.ProtSeq = p.String()
		return d, endpoint.At(p, netip.AddrPort{}).NetID, nil
	}
	if n, ok := rpcbind.ParseNetID(args[3]); ok {
		d.NetID = n.String()
		return d, n, nil
	}
	return d, 0, usagef("netid %q: want udp, tcp, udp6, tcp6 or local", args[3])
}

// parseAddress reads ADDRESS:PORT, *:PORT or a path, as the transport has it, into d.
func parseAddress(d *endpoint.Document, n rpcbind.NetID, s string) error {
	switch {
	case n.IsIP():
	case d.ProtSeq != "":
		d.Path = s
		return nil
	default:
		d.Address = s
		return nil
	}
	if port, ok := strings.CutPrefix(s, "*:"); ok {
		p, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return usagef("address %q: %q is no port", s, port)
		}
		d.Address, d.Port = endpoint.Everywhere(n).String(), uint16(p)
		return nil
	}
	a, err := netip.ParseAddrPort(s)
	switch {
	case err != nil && d.ProtSeq != "":
		return usagef("address %q: want ADDRESS:PORT or *:PORT", s)
	case err != nil:
		return usagef("address %q: want ADDRESS:PORT, [IPV6]:PORT or *:PORT", s)
	}
	d.Address, d.Port = a.Addr().String(), a.Port()
	return nil
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
