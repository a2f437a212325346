package main

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/show"
)

// serviceListFlags are the flags of service list.
type serviceListFlags struct {
	catalogFlags
	group string
}

func newServiceList(x *globals) *cobra.Command {
	f := serviceListFlags{catalogFlags: catalogFlags{globals: x}}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the services that the catalog knows",
		Long: `List names the services of the catalog, all of them or those of a group. In JSON and
YAML it says all that is known of them.`,
		Example: `  quaymaster service list
  quaymaster service list --group active-directory
  quaymaster service list -o json               all that is known of all of them`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return f.run() },
	}
	f.addFlags(cmd)
	cmd.Flags().StringVar(&f.group, "group", "", "only services of this `group`: active-directory, file, mail")
	return cmd
}

func (f *serviceListFlags) run() error {
	c, err := f.load()
	if err != nil {
		return err
	}
	systems, errSystems := f.servers(c)
	if err := errors.Join(errSystems, checkGroup(c, f.group)); err != nil {
		return err
	}
	services := c.Services()
	if f.group != "" {
		services = slices.DeleteFunc(services, func(s *catalog.Service) bool { return !strings.EqualFold(s.Group, f.group) })
	}
	facts := newServiceFacts(c, systems)
	switch f.output {
	case show.FormatTable:
		return facts.printList(f.stdout(), services, f.sources)
	case show.FormatJSON, show.FormatYAML:
		return show.Write(f.stdout(), f.output, facts.documents(services), nil)
	}
	return show.Write(f.stdout(), f.output, nil, facts.listRows(services, f.sources))
}

// checkGroup refuses a group that no service has.
func checkGroup(c *catalog.Catalog, group string) error {
	groups := c.Groups()
	same := func(g string) bool { return strings.EqualFold(g, group) }
	if group == "" || slices.ContainsFunc(groups, same) {
		return nil
	}
	if near, ok := config.Suggest(group, groups); ok {
		return usagef("unknown group %q; did you mean %q?", group, near)
	}
	return usagef("unknown group %q: want one of %s", group, strings.Join(groups, ", "))
}

// printList shows services, a line each.
func (f *serviceFacts) printList(s show.Screen, services []*catalog.Service, sources bool) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	f.listRows(services, sources).Print(s)
	groups := map[string]bool{}
	for _, one := range services {
		groups[one.Group] = true
	}
	fmt.Fprintf(w, "\n%s of %s\n", show.Count(len(services), "service", "services"), show.Count(len(groups), "group", "groups"))
	return w.Flush()
}

// listRows returns services, a row each.
func (f *serviceFacts) listRows(services []*catalog.Service, sources bool) *show.Table {
	columns := []show.Column{
		{Head: "service"}, {Head: "name", Shrink: true}, {Head: "system service", Shrink: true}, {Head: "group"}, {Head: "status"}, {Head: "ports", Shrink: true},
	}
	if sources {
		columns = append(columns, show.Column{Head: "sources", Shrink: true})
	}
	t := show.NewTable(columns...)
	for _, s := range services {
		cells := []string{s.ID, s.Name, strings.Join(s.SystemServices, " "), s.Group, string(s.Status), f.allPorts(s)}
		if sources {
			cells = append(cells, strings.Join(s.Sources, ";"))
		}
		t.Add(cells...)
	}
	return t
}

// allPorts returns the ports of s by protocol: "tcp 135,dynamic-rpc udp 137". Where the
// systems of servers were named, their numbers are in place of what is dynamic.
func (f *serviceFacts) allPorts(s *catalog.Service) string {
	var protocols []catalog.Protocol
	ports := map[catalog.Protocol]catalog.Ports{}
	for _, p := range s.Ports {
		if !slices.Contains(protocols, p.Protocol) {
			protocols = append(protocols, p.Protocol)
		}
		all := ports[p.Protocol]
		all.Numbers = all.Numbers.Union(p.Ports.Numbers)
		switch {
		case p.Ports.Symbol.IsDynamic() && len(f.systems) > 0:
			for _, r := range f.ranges {
				all.Numbers = all.Numbers.Union(r.Ports)
			}
		case p.Ports.Symbol != "":
			all.Symbol = p.Ports.Symbol
		}
		ports[p.Protocol] = all
	}
	slices.Sort(protocols)
	var parts []string
	for _, p := range protocols {
		parts = append(parts, p.String())
		if all := ports[p]; !all.IsNone() {
			parts = append(parts, all.String())
		}
	}
	return strings.Join(parts, " ")
}
