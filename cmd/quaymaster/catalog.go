package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
)

// catalogFlags are the flags of the verbs that answer from the catalog.
type catalogFlags struct {
	*globals
	output  show.Format
	overlay string
	systems []string
	sources bool
}

func (f *catalogFlags) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.VarP(&f.output, "output", "o", "`format`: table, json, yaml, csv or markdown")
	flags.StringArrayVar(&f.systems, "os", nil, "`system` of the server, which decides its dynamic ports: windows-server-2022, windows-11, samba, linux; repeatable")
	flags.BoolVar(&f.sources, "sources", false, "say where each fact was found, and where the sources disagree")
	flags.StringVar(&f.overlay, "catalog", "", overlayUsage)
}

// overlayUsage says what the flag --catalog is for.
const overlayUsage = "`folder` with facts of your own, which add to the catalog's or stand in place of them"

// load returns the catalog, with a site's own facts over it. What those stand in place of is
// said on standard error.
func (f *catalogFlags) load() (*catalog.Catalog, error) {
	c := catalog.Builtin()
	if f.overlay == "" {
		return c, nil
	}
	if info, err := os.Stat(f.overlay); err != nil {
		return nil, usagef("--catalog: %w", err)
	} else if !info.IsDir() {
		return nil, usagef("--catalog %s: it is no folder: name the one that has services.yaml or another file of the catalog", f.overlay)
	}
	c, err := c.Overlay(f.overlay, os.DirFS(f.overlay))
	if err != nil {
		return nil, &usageError{err}
	}
	for _, o := range c.Overridden() {
		fmt.Fprintln(os.Stderr, "quaymaster: "+show.Clean(o.String()))
	}
	return c, nil
}

// loadFor is load, with the systems of --os.
func (f *catalogFlags) loadFor() (*catalog.Catalog, []*catalog.OS, error) {
	c, err := f.load()
	if err != nil {
		return nil, nil, err
	}
	systems, err := f.servers(c)
	return c, systems, err
}

// servers returns the systems of --os, none if it was not given.
func (f *catalogFlags) servers(c *catalog.Catalog) ([]*catalog.OS, error) {
	var all []*catalog.OS
	var mistakes []error
	for _, name := range f.systems {
		system, err := c.ParseOS(name)
		if err != nil {
			mistakes = append(mistakes, usagef("--os: %w", err))
			continue
		}
		all = append(all, system)
	}
	return all, errors.Join(mistakes...)
}

// sourceNames returns the names of sources by their IDs for a line of text, the revisions of
// one article together: "KB 832017 (2020, 2023), samba-manual".
func sourceNames(ids []string) string {
	var names []string
	revisions := map[string][]string{}
	for _, id := range ids {
		name, revision := id, ""
		if number, ok := strings.CutPrefix(id, "kb"); ok {
			number, revision, _ = strings.Cut(number, "-")
			name = "KB " + number
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if revision != "" && !slices.Contains(revisions[name], revision) {
			revisions[name] = append(revisions[name], revision)
		}
	}
	for i, name := range names {
		if r := revisions[name]; len(r) > 0 {
			slices.Sort(r)
			names[i] = name + " (" + strings.Join(r, ", ") + ")"
		}
	}
	return strings.Join(names, ", ")
}

// doubt returns a confidence that a reader should see, and nothing where there is no doubt.
func doubt(confidence string) string {
	if confidence == "documented" {
		return ""
	}
	return confidence
}

// serviceName returns the name of a service with those of its system services, "Fax Service (Fax)".
func serviceName(name string, systemServices []string) string {
	if len(systemServices) == 0 {
		return name
	}
	return name + " (" + strings.Join(systemServices, ", ") + ")"
}

// pinHow returns where a pin is set, in a line of text.
func pinHow(p *catalog.Pin) string {
	switch {
	case p.Command != "":
		return p.Command
	case p.Key != "":
		var values []string
		for _, v := range p.Values {
			values = append(values, v.Name)
		}
		return strings.TrimSpace(p.Key + " " + strings.Join(values, ", "))
	case p.File != "":
		return strings.Join(strings.Fields(p.File+" "+p.Section+" "+p.Setting), " ")
	}
	return strings.TrimSpace(p.Setting + " " + p.Tool)
}
