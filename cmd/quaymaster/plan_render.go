package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/site"
)

// renderFlags are those of plan that have rules written.
type renderFlags struct {
	to     string
	name   string
	out    string
	family string
}

func (f *renderFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "to", "", "write rules for this `target`")
	flags.StringVar(&f.name, "for", "", "of which `firewall` or host")
	flags.StringVar(&f.out, "out", "", "write a file for each firewall and host into this `folder`")
	flags.StringVar(&f.family, "family", "", "addresses of this `version` only: 4 or 6; iptables needs one")
}

func (f *renderFlags) renders() bool {
	return f.to != "" || f.name != "" || f.out != "" || f.family != ""
}

// targetNames returns the words for --to.
func targetNames() []string {
	var names []string
	for _, t := range render.Targets() {
		names = append(names, t.Name)
	}
	return names
}

func (f *renderFlags) target() (*render.Target, error) {
	if f.to == "" {
		return nil, nil
	}
	if t := render.TargetNamed(f.to); t != nil {
		return t, nil
	}
	if near, ok := config.Suggest(f.to, targetNames()); ok {
		return nil, usagef("--to: unknown target %q; did you mean %q?", f.to, near)
	}
	return nil, usagef("--to: unknown target %q: want %s", f.to, strings.Join(targetNames(), ", "))
}

// runRender answers --to and --out.
func (f *planFlags) runRender(p *plan.Plan) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	families := map[string]render.Family{"": render.Both, "4": render.IPv4, "6": render.IPv6}
	family, ok := families[f.family]
	if !ok {
		return usagef("--family: %q: want 4 or 6", f.family)
	}
	if f.out != "" {
		return f.renderAll(p, target, family)
	}
	text, err := f.renderOne(p, target, family)
	if err != nil {
		return err
	}
	for _, w := range planWarnings(p) {
		fmt.Fprintln(os.Stderr, "! "+show.Clean(w))
	}
	_, err = f.stdout().Write(text)
	return err
}

// renderOne returns the rules of what --for names.
func (f *planFlags) renderOne(p *plan.Plan, t *render.Target, family render.Family) ([]byte, error) {
	if t != nil && t.Of == render.OfSite {
		if f.name != "" {
			return nil, usagef("--for: %s is of the whole site", t.Name)
		}
		return rendered(t, render.ForSite(p), family)
	}
	firewalls, hosts := boxesFor(p.Site, t)
	var names []string
	var in *render.Input
	for _, firewall := range firewalls {
		names = append(names, firewall.Name)
		if firewall.Name == f.name {
			in = render.ForFirewall(p, firewall)
			if t == nil {
				t = render.TargetNamed(firewall.Kind)
			}
		}
	}
	for _, h := range hosts {
		names = append(names, h.Name)
		if h.Name == f.name && in == nil {
			in = render.ForHost(p, h)
		}
	}
	switch {
	case f.name == "" && len(names) == 0:
		return nil, usagef("the site has nothing that %s rules are for", t.Name)
	case f.name == "":
		return nil, usagef("name what the rules are for: --for %s; or --out FOLDER for a file of each", names[0])
	case in == nil:
		return nil, unknownName("firewall or host for it", f.name, names)
	case t == nil:
		return nil, usagef("name the target: --to %s", strings.Join(targetNames(), ", "))
	}
	return rendered(t, in, family)
}

// boxesFor returns what a target can write rules for; of none, what has a firewall.
func boxesFor(s *site.Site, t *render.Target) ([]*site.Firewall, []*site.Host) {
	switch {
	case t == nil:
		return s.Firewalls, s.Hosts
	case t.Of == render.OfHost:
		return nil, s.Hosts
	case t.Of == render.OfFirewall:
		return s.Firewalls, nil
	}
	return s.Firewalls, s.Hosts
}

func rendered(t *render.Target, in *render.Input, family render.Family) ([]byte, error) {
	in.Family = family
	var b bytes.Buffer
	if err := t.Render(&b, in); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// renderAll writes a file for each firewall and host: of the target, or of what the site says firewalls are.
func (f *planFlags) renderAll(p *plan.Plan, t *render.Target, family render.Family) error {
	if f.name != "" {
		return usagef("--for names one, --out is for all: leave one out")
	}
	files := map[string][]byte{}
	var order []string
	var mistakes []error
	add := func(name string, t *render.Target, in *render.Input) {
		for _, part := range t.Parts(family) {
			text, err := rendered(t, in, part)
			if err != nil {
				mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
				continue
			}
			file := t.FileName(name, part)
			files[file] = text
			order = append(order, file)
		}
	}
	switch {
	case t != nil && t.Of == render.OfSite:
		add("site", t, render.ForSite(p))
	default:
		firewalls, hosts := boxesFor(p.Site, t)
		for _, firewall := range firewalls {
			of := t
			if of == nil {
				of = render.TargetNamed(firewall.Kind)
			}
			if of == nil {
				mistakes = append(mistakes, usagef("firewall %s: the site does not say its kind: add it there, or name a target with --to", firewall.Name))
				continue
			}
			add(firewall.Name, of, render.ForFirewall(p, firewall))
		}
		if t != nil {
			for _, h := range hosts {
				if t.Fits(h) {
					add(h.Name, t, render.ForHost(p, h))
				}
			}
		}
	}
	if len(mistakes) > 0 {
		return errors.Join(mistakes...)
	}
	if len(order) == 0 {
		return usagef("the site has nothing to write rules for")
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return err
	}
	for _, w := range planWarnings(p) {
		fmt.Fprintln(os.Stderr, "! "+show.Clean(w))
	}
	for _, name := range order {
		path := filepath.Join(f.out, name)
		if err := replaceFile(path, files[name]); err != nil {
			return err
		}
		fmt.Fprintln(f.stdout(), show.Clean(path))
	}
	return nil
}

// replaceFile writes a file so that it is either the old one or the whole new one.
func replaceFile(path string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".quaymaster-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
