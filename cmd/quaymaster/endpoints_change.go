package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/control"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func newAdd(t *target) *cobra.Command {
	var annotation, from string
	cmd := &cobra.Command{
		Use:   "add onc PROGRAM VERSION NETID ADDRESS | --from FILE",
		Short: "Register endpoints",
		Long: `Add registers a program and version at an address, with you as the owner.
PROGRAM is a number (100005, 0x20000001) or a name of the catalog (mountd);
NETID is udp, tcp, udp6, tcp6 or local; ADDRESS is ADDRESS:PORT, *:PORT for
every address of this host, or the path of a local socket.

FILE holds many, all or none of which are registered: a YAML or JSON list with
the keys that "endpoints -o json" prints; "-" is standard input.`,
		Example: `  quaymaster endpoints add onc 100005 3 tcp 0.0.0.0:20048 --annotation 'mounts of fs1'
  quaymaster endpoints -o json > rows.json && quaymaster endpoints add --from rows.json`,
		Args: atMost(5),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := rowsToAdd(args, annotation, from)
			if err != nil {
				return err
			}
			return t.add(cmd.Context(), rows)
		},
	}
	cmd.Flags().StringVar(&annotation, "annotation", "", "free `text` beside the registration")
	cmd.Flags().StringVar(&from, "from", "", "register what `FILE` lists")
	return cmd
}

func rowsToAdd(args []string, annotation, from string) ([]endpoint.Document, error) {
	switch {
	case from != "" && len(args) > 0:
		return nil, usagef("--from: the file says what to register: leave %q out", strings.Join(args, " "))
	case from != "" && annotation != "":
		return nil, usagef("--from: the file has annotations of its own: leave --annotation out")
	case from != "":
		return readRows(from)
	case len(args) != 5:
		return nil, usagef("want onc PROGRAM VERSION NETID ADDRESS, or --from FILE")
	}
	i, netid, err := parseInterface(args[:4])
	if err != nil {
		return nil, err
	}
	d := endpoint.Document{Dialect: args[0], Program: i.Program, Version: i.Version, NetID: netid.String(), Annotation: annotation}
	if d.Address, d.Port, err = parseAddress(netid, args[4]); err != nil {
		return nil, err
	}
	if _, err := d.Registration(); err != nil {
		return nil, usagef("%w", err)
	}
	return []endpoint.Document{d}, nil
}

func (t *target) add(ctx context.Context, rows []endpoint.Document) error {
	client, path, err := t.client()
	if err != nil {
		return err
	}
	l, err := client.Add(ctx, rows)
	if err != nil {
		return t.explain(path, err)
	}
	for i := range l.Endpoints {
		if _, err := fmt.Printf("%s  %s\n", l.Endpoints[i].ID, describe(&l.Endpoints[i])); err != nil {
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
	program, err := parseProgram(args[1])
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

// parseProgram reads a program number, decimal or 0x, or a name of the catalog.
func parseProgram(s string) (uint32, error) {
	digits, base := s, 10
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		digits, base = hex, 16
	}
	if n, err := strconv.ParseUint(digits, base, 32); err == nil {
		return uint32(n), nil
	}
	if p, ok := catalog.Builtin().ProgramByName(s); ok {
		return p.Number, nil
	}
	var known []string
	for p := range catalog.Builtin().Programs() {
		known = append(known, p.Name)
		known = append(known, p.Aliases...)
	}
	if near, ok := config.Suggest(s, known); ok {
		return 0, fmt.Errorf("program %q is neither a number nor known; did you mean %q?", s, near)
	}
	return 0, fmt.Errorf("program %q is neither a number from 0 to 4294967295 nor a name of the catalog", s)
}

// parseAddress reads ADDRESS:PORT, *:PORT or a path, as the transport has it.
func parseAddress(n rpcbind.NetID, s string) (string, uint16, error) {
	if !n.IsIP() {
		return s, 0, nil
	}
	if port, ok := strings.CutPrefix(s, "*:"); ok {
		any := netip.IPv4Unspecified()
		if n.IsIPv6() {
			any = netip.IPv6Unspecified()
		}
		p, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return "", 0, usagef("address %q: %q is no port", s, port)
		}
		return any.String(), uint16(p), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", 0, usagef("address %q: want ADDRESS:PORT, [IPV6]:PORT or *:PORT", s)
	}
	return a.Addr().String(), a.Port(), nil
}

// A fileRow is an endpoint in a file: what endpoint.Document prints, with names
// for programs, and without belief in what only the daemon can know.
type fileRow struct {
	Dialect    string      `yaml:"dialect"`
	Program    fileProgram `yaml:"program"`
	Version    uint32      `yaml:"version"`
	NetID      string      `yaml:"netid"`
	Address    string      `yaml:"address"`
	Port       uint16      `yaml:"port"`
	Annotation string      `yaml:"annotation"`

	ID    string `yaml:"id"`    // not believed
	Owner string `yaml:"owner"` // not believed
	UID   uint32 `yaml:"uid"`   // not believed
	Since string `yaml:"since"` // not believed
}

type fileProgram uint32

func (p *fileProgram) UnmarshalText(b []byte) error {
	n, err := parseProgram(string(b))
	*p = fileProgram(n)
	return err
}

// readRows reads a file of endpoints. The mapper's own rows are left out, so
// that what one daemon printed can be given to another.
func readRows(name string) ([]endpoint.Document, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, usagef("--from: %w", err)
	}
	var rows []fileRow
	file, err := config.Decode(name, text, &rows)
	if err != nil {
		return nil, err
	}
	var mistakes config.Mistakes
	var all []endpoint.Document
	for i, r := range rows {
		if r.Dialect == "" {
			r.Dialect = endpoint.ONC.String()
		}
		if r.Program == rpcbind.Program {
			continue
		}
		d := endpoint.Document{
			Dialect: r.Dialect, Program: uint32(r.Program), Version: r.Version, NetID: r.NetID,
			Address: r.Address, Port: r.Port, Annotation: r.Annotation,
		}
		if _, err := d.Registration(); err != nil {
			mistakes = append(mistakes, file.Mistake(fmt.Sprintf("$[%d]", i), "%v", err))
		}
		all = append(all, d)
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return all, nil
}

func readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, config.MaxSize+1))
	}
	return os.ReadFile(name)
}
