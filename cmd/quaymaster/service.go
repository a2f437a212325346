package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// serviceFlags are the flags of service.
type serviceFlags struct {
	catalogFlags
	pin bool
}

func newService(x *globals) *cobra.Command {
	f := serviceFlags{catalogFlags: catalogFlags{globals: x}}
	cmd := &cobra.Command{
		Use:   "service NAME [NAME…]",
		Short: "Show the ports of a service, its RPC interfaces, and how it is pinned to a port",
		Long: `Service says what the catalog knows of services: which ports they need and when,
their RPC interfaces and named pipes, how they get a fixed port instead of a dynamic
one, and where that was found.

NAME is an id of "service list", a name or what one begins with, also a German one;
the name of a system service; an ONC RPC program, by name or number; or a DCE/RPC
interface, by name or UUID. Where several services have the name, all are shown.

"dynamic-rpc" stands for the dynamic ports of the server, which depend on its system:
--os names it. It can be given for several systems.`,
		Example: `  quaymaster service dfsr
  quaymaster service dfsr --os windows-server-2003 --os windows-server-2022
  quaymaster service netlogon --pin             the edit that gives it a fixed port
  quaymaster service e3514235-4b06-11d1-ab04-00c04fc2dcd2
  quaymaster service mountd                     or 100005
  quaymaster service dfsr print-spooler -o csv
  quaymaster service list --group active-directory`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error { return f.run(args) },
	}
	f.addFlags(cmd)
	cmd.Flags().BoolVar(&f.pin, "pin", false, "say exactly how a fixed port is given, and what stays open all the same")
	cmd.SetFlagErrorFunc(flagMistake)
	cmd.AddCommand(newServiceList(x))
	return cmd
}

func (f *serviceFlags) run(names []string) error {
	if len(names) == 0 {
		return usagef(`name a service: dfsr, "Net Logon", 100005; "quaymaster service list" has them all`)
	}
	c, err := f.load()
	if err != nil {
		return err
	}
	systems, errSystems := f.servers(c)
	found, errNames := findServices(c, names)
	if err := errors.Join(errSystems, errNames); err != nil {
		return err
	}
	facts := newServiceFacts(c, systems)
	switch {
	case f.output == show.FormatJSON || f.output == show.FormatYAML:
		return show.Write(f.stdout(), f.output, facts.documents(found), nil)
	case f.output != show.FormatTable && f.pin:
		return show.Write(f.stdout(), f.output, nil, facts.pinRows(found))
	case f.output != show.FormatTable:
		return show.Write(f.stdout(), f.output, nil, facts.portRows(found))
	case f.pin:
		return facts.printPins(f.stdout(), found)
	}
	return facts.print(f.stdout(), found, f.sources)
}

// findServices returns the services with the given names, each once. The error tells of
// every name that there is none for.
func findServices(c *catalog.Catalog, names []string) ([]*catalog.Service, error) {
	var found []*catalog.Service
	var mistakes []error
	for _, name := range names {
		services := c.ServicesByName(name)
		if len(services) == 0 {
			mistakes = append(mistakes, unknownService(c, name))
		}
		for _, s := range services {
			if !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
	}
	return found, errors.Join(mistakes...)
}

// unknownService is the error for a name that no service has.
func unknownService(c *catalog.Catalog, name string) error {
	if is, ok := findInterface(c, name); ok {
		server := "of nobody that is known"
		if is.Service != "" {
			server = "of " + is.Service
		}
		return usagef("%q is the RPC interface %s %s, and no service of the catalog has it: no ports of it are known beside its transports: %s",
			name, nameOrUUID(&is), server, describeTransports(is.Transports))
	}
	if p, ok := findProgram(c, name); ok {
		return usagef("%q is the ONC RPC program %s (%d), and no service of the catalog has it; its usual ports: %s",
			name, p.Name, p.Number, usualPorts(p))
	}
	if _, ok := config.Suggest(name, []string{"list"}); ok {
		return usagef(`unknown service %q; did you mean "quaymaster service list"?`, name)
	}
	if near := c.Nearest(name, 3); len(near) > 0 {
		return usagef(`unknown service %q; did you mean %s? "quaymaster service list" has them all`, name, alternatives(near))
	}
	return usagef(`unknown service %q: "quaymaster service list" has them all`, name)
}

// alternatives returns words as "a, b or c".
func alternatives(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// findInterface returns the newest interface with a UUID or the only one with a name.
func findInterface(c *catalog.Catalog, name string) (catalog.Interface, bool) {
	all := c.InterfacesByName(name)
	if uuid, err := ndr.ParseUUID(strings.ToLower(name)); err == nil {
		all = c.InterfacesByUUID(uuid)
	} else if len(all) > 1 {
		return catalog.Interface{}, false
	}
	if len(all) == 0 {
		return catalog.Interface{}, false
	}
	return all[len(all)-1], true
}

// findProgram returns the program with a name or number.
func findProgram(c *catalog.Catalog, name string) (catalog.Program, bool) {
	if p, ok := c.ProgramByName(name); ok {
		return p, true
	}
	number, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return catalog.Program{}, false
	}
	return c.Program(uint32(number))
}

func usualPorts(p catalog.Program) string {
	if p.UsualPorts.IsEmpty() {
		return "none, the port mapper tells"
	}
	return p.UsualPorts.String()
}
