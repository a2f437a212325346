package plan_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// Each folder of testdata is a small site with what it needs. flows.txt is written by hand from the facts, never
// by a program, so nothing here writes it. These are its lines, in any order:
//
//	# what the site shows
//	client-to-dc-01  app1 > dc1,dc2  tcp/135          required
//	client-to-dc-02  app1 > dc1      tcp/38901,38902  required  pin ntds,netlogon
//	warning dc2: netlogon
//	mistake 14:9: 5809
//
// The columns are the row of the catalog, who connects, who listens, protocol and ports, need, and what
// narrowed dynamic ports. A host connects to itself only where it is a group. A warning is about something of the site, or has a
// place in site.yaml, and has the words after the colon; so does a mistake, with which the site is refused.

const (
	siteFile   = "site.yaml"
	flowsFile  = "flows.txt"
	lookupOnly = "lookup-only.txt" // facts that no site plans, each with the reason
)

// A line is a flow between two hosts. Two of them are equal if they say the same.
type line struct {
	row, from, to, ports, need, narrowing string
}

// An expectation is what flows.txt says.
type expectation struct {
	flows    []line
	warnings []remark
	mistakes []remark
}

// A remark is text about something.
type remark struct{ about, words string }

func (r remark) String() string { return r.about + ": " + r.words }

// in reports whether one of remarks is about the same and has the words of r.
func (r remark) in(remarks []remark) bool {
	return slices.ContainsFunc(remarks, func(s remark) bool { return r.about == s.about && strings.Contains(s.words, r.words) })
}

func TestSites(t *testing.T) {
	for _, name := range siteNames(t) {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", name)
			s, err := readSite(t, dir)
			want := readExpectation(t, dir, s)
			if err == nil {
				var p *plan.Plan
				if p, err = plan.Make(s); err == nil {
					compareFlows(t, want.flows, planned(p))
					compareRemarks(t, "warning", want.warnings, warnings(s, p))
				}
			}
			compareRemarks(t, "mistake", want.mistakes, mistakes(t, err))
		})
	}
}

// TestEveryFact holds the sites and the catalog together: what the catalog says is planned
// somewhere, or there is a reason why it is not.
func TestEveryFact(t *testing.T) {
	rows := map[string]bool{}
	for _, name := range siteNames(t) {
		dir := filepath.Join("testdata", name)
		s, _ := readSite(t, dir)
		for _, l := range readExpectation(t, dir, s).flows {
			rows[l.row] = true
		}
	}
	c := catalog.Builtin()
	facts := map[string]bool{} // whether a site has it
	for row := range rows {
		if service, _, ok := strings.Cut(row, "/"); ok {
			facts[service] = true
		}
	}
	for _, f := range c.Flows("", "") {
		facts[f.ID] = rows[f.ID]
		facts[f.Service] = facts[f.Service] || rows[f.ID]
	}
	delete(facts, "")
	for _, s := range c.Services() { // also those that no row is of
		if !facts[s.ID] {
			facts[s.ID] = false
		}
	}
	excused := readLookupOnly(t)
	for _, id := range slices.Sorted(maps.Keys(facts)) {
		switch _, excuse := excused[id]; {
		case !facts[id] && !excuse:
			t.Errorf("%s: no site has a flow of it, and %s does not say why", id, lookupOnly)
		case facts[id] && excuse:
			t.Errorf("%s: a site has a flow of it, so it does not belong into %s", id, lookupOnly)
		}
	}
	for id := range excused {
		if _, known := facts[id]; !known {
			t.Errorf("%s: %s is neither a flow nor a service of the catalog", lookupOnly, id)
		}
	}
}

// siteNames returns the names of all sites, ascending.
func siteNames(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "*", siteFile))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	if len(names) < 22 {
		t.Fatalf("found %d sites in testdata, want 22 at least", len(names))
	}
	return names
}

// readSite reads the site of a folder. The error is that of site.Read.
func readSite(t *testing.T, dir string) (*site.Site, error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, siteFile))
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	return site.Read(siteFile, data, catalog.Builtin(), open)
}

// readExpectation reads flows.txt. The site says which hosts are groups; it is nil where it is refused.
func readExpectation(t *testing.T, dir string, s *site.Site) expectation {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, flowsFile))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(data), "# ") {
		t.Errorf("%s/%s:1: want a comment that says what the site shows", dir, flowsFile)
	}
	var want expectation
	seen := map[line]bool{}
	n := 0
	for text := range strings.Lines(string(data)) {
		n++
		text = strings.TrimSpace(text)
		word, rest, _ := strings.Cut(text, " ")
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case word == "warning":
			want.warnings = append(want.warnings, parseRemark(rest))
		case word == "mistake":
			want.mistakes = append(want.mistakes, parseRemark(rest))
		default:
			lines, err := parseFlow(text, s)
			if err != nil {
				t.Errorf("%s/%s:%d: %v", dir, flowsFile, n, err)
			}
			for _, l := range lines {
				if seen[l] {
					t.Errorf("%s/%s:%d: %s is there twice for %s > %s", dir, flowsFile, n, l.row, l.from, l.to)
				}
				seen[l] = true
			}
			want.flows = append(want.flows, lines...)
		}
	}
	return want
}

// parseRemark splits "14:9: 5809" and "dc2: netlogon" at the first colon that a blank follows. What is about the
// site as a whole begins with that colon.
func parseRemark(text string) remark {
	about, words, _ := strings.Cut(text, ": ")
	return remark{about, words}
}

// parseFlow returns the flows of a line, one for each two hosts. The site is nil where it is refused.
func parseFlow(text string, s *site.Site) ([]line, error) {
	f := strings.Fields(text)
	if len(f) < 6 || f[2] != ">" {
		return nil, fmt.Errorf("%q: want ROW FROM > TO PROTOCOL/PORTS NEED [NARROWING]", text)
	}
	ports, err := parsePorts(f[4])
	if err != nil {
		return nil, err
	}
	narrowing, err := parseNarrowing(f[6:])
	if err != nil {
		return nil, err
	}
	groups := map[string]bool{}
	if s != nil {
		for _, h := range s.Hosts {
			groups[h.Name] = h.IsGroup()
		}
	}
	var lines []line
	for _, from := range strings.Split(f[1], ",") {
		for _, to := range strings.Split(f[3], ",") {
			_, knownFrom := groups[from]
			_, knownTo := groups[to]
			if s != nil && (!knownFrom || !knownTo) {
				return nil, fmt.Errorf("%s > %s: the site has no such host", from, to)
			}
			if from != to || groups[from] {
				lines = append(lines, line{f[0], from, to, ports, f[5], narrowing})
			}
		}
	}
	return lines, nil
}

// parsePorts returns "tcp/38902,38901" in the one form that is compared; "all" and words such as "icmp/echo"
// stay as they are.
func parsePorts(text string) (string, error) {
	protocol, ports, ok := strings.Cut(text, "/")
	if !ok || ports == "echo" || ports == "none" {
		return text, nil
	}
	set, err := portset.Parse(ports)
	return protocol + "/" + set.String(), err
}

// parseNarrowing returns "pin b,a", "pinhole", "range" and "range pinhole b,a" with the names in order.
func parseNarrowing(f []string) (string, error) {
	form := regexp.MustCompile(`^(|pin \S+|pinhole|range|range pinhole \S+)$`)
	if text := strings.Join(f, " "); !form.MatchString(text) {
		return "", fmt.Errorf("%q: want pin A,B, pinhole, range or range pinhole FIREWALL", text)
	}
	if len(f) > 1 {
		f[len(f)-1] = sorted(strings.Split(f[len(f)-1], ","))
	}
	return strings.Join(f, " "), nil
}

func sorted(names []string) string { return strings.Join(slices.Sorted(slices.Values(names)), ",") }

// planned returns the flows of a plan, one for each two hosts.
func planned(p *plan.Plan) []line {
	var lines []line
	for _, f := range p.Flows {
		for _, from := range f.From {
			for _, to := range f.To {
				if from != to || from.IsGroup() {
					lines = append(lines, line{cmp.Or(f.Row, f.Relationship), from.Name, to.Name, portsOf(f), string(f.Need), narrowingOf(f)})
				}
			}
		}
	}
	return lines
}

func portsOf(f *plan.Flow) string {
	switch {
	case f.Protocol == 0:
		return "all"
	case f.Symbol == catalog.Echo:
		return f.Protocol.String() + "/echo"
	case f.Ports.IsEmpty():
		return f.Protocol.String() + "/none"
	}
	return f.Protocol.String() + "/" + f.Ports.String()
}

func narrowingOf(f *plan.Flow) string {
	var firewalls []string
	for _, w := range f.Narrowing.Pinhole {
		firewalls = append(firewalls, w.Name)
	}
	switch by := f.Narrowing.By; {
	case by == plan.ByPin:
		return "pin " + sorted(f.Narrowing.Pins)
	case by == plan.ByRange && len(firewalls) > 0:
		return "range pinhole " + sorted(firewalls)
	default:
		return string(by)
	}
}

// warnings returns what a site and its plan warn of.
func warnings(s *site.Site, p *plan.Plan) []remark {
	all := remarksOf(s.Warnings)
	for _, w := range p.Warnings {
		all = append(all, remark{w.Host, w.Text})
	}
	return all
}

// mistakes returns what is wrong with a site by an error of site.Read or plan.Make.
func mistakes(t *testing.T, err error) []remark {
	t.Helper()
	var one config.Mistake
	var several config.Mistakes
	switch {
	case errors.As(err, &several):
		return remarksOf(several)
	case errors.As(err, &one):
		return remarksOf(config.Mistakes{one})
	case err != nil:
		t.Errorf("mistake without a place: %v", err)
	}
	return nil
}

func remarksOf(mistakes config.Mistakes) []remark {
	var all []remark
	for _, m := range mistakes {
		all = append(all, remark{fmt.Sprintf("%d:%d", m.Line, m.Column), m.Message})
	}
	return all
}

func compareFlows(t *testing.T, want, got []line) {
	t.Helper()
	count := map[line]int{}
	for _, l := range got {
		count[l]++
	}
	var missing, unexpected, doubled []line
	for _, l := range want {
		if count[l] == 0 {
			missing = append(missing, l)
		}
	}
	wanted := map[line]bool{}
	for _, l := range want {
		wanted[l] = true
	}
	for l, n := range count {
		if !wanted[l] {
			unexpected = append(unexpected, l)
		}
		if n > 1 {
			doubled = append(doubled, l)
		}
	}
	for _, group := range []struct {
		what  string
		lines []line
	}{{"missing", missing}, {"unexpected", unexpected}, {"doubled", doubled}} {
		if len(group.lines) > 0 {
			t.Errorf("%s:\n%s", group.what, write(group.lines))
		}
	}
}

// write returns lines in the form of flows.txt, in order; hosts that connect to the same share one.
func write(lines []line) string {
	type rest struct{ row, to, ports, need, narrowing string }
	from := map[rest][]string{}
	for _, l := range lines {
		r := rest{l.row, l.to, l.ports, l.need, l.narrowing}
		from[r] = append(from[r], l.from)
	}
	var b strings.Builder
	for _, r := range slices.SortedFunc(maps.Keys(from), func(a, b rest) int {
		return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.to, b.to), cmp.Compare(a.ports, b.ports), cmp.Compare(a.narrowing, b.narrowing))
	}) {
		text := fmt.Sprintf("    %s  %s > %s  %s  %s  %s", r.row, sorted(from[r]), r.to, r.ports, r.need, r.narrowing)
		fmt.Fprintln(&b, strings.TrimRight(text, " "))
	}
	return b.String()
}

// compareRemarks finds each wanted remark among those that are there, and each of those among
// the wanted ones.
func compareRemarks(t *testing.T, what string, want, got []remark) {
	t.Helper()
	for _, r := range want {
		if !r.in(got) {
			t.Errorf("missing:\n    %s %v", what, r)
		}
	}
	for _, r := range got {
		if !slices.ContainsFunc(want, func(w remark) bool { return w.in([]remark{r}) }) {
			t.Errorf("unexpected:\n    %s %v", what, r)
		}
	}
}

// readLookupOnly returns the reasons of lookup-only.txt by the facts that they are about.
func readLookupOnly(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", lookupOnly))
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for text := range strings.Lines(string(data)) {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		id, reason, _ := strings.Cut(text, " ")
		if reasons[id] != "" {
			t.Errorf("%s: %s is there twice", lookupOnly, id)
		}
		if reasons[id] = strings.TrimSpace(reason); reasons[id] == "" {
			t.Errorf("%s: %s has no reason", lookupOnly, id)
		}
	}
	return reasons
}
