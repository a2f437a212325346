package render_test

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

func TestMermaid(t *testing.T) {
	s := text(t, target("mermaid"), render.ForSite(company(t, true)))
	golden(t, "mermaid", s)
	if _, err := readMermaid(s); err != nil {
		t.Error(err)
	}
}

// A diagram is what the tests read of a picture.
type diagram struct {
	notes  []string
	zones  map[string]string    // of boxes, by their texts
	arrows map[[2]string]string // texts on arrows, by those of boxes
}

// readMermaid reads what the renderer may write of Mermaid's flowcharts, and nothing else.
func readMermaid(s string) (*diagram, error) {
	const label = `"((?:[A-Za-z0-9 .\-_+,/:()]|#[0-9]+;)*)"`
	zone, box := regexp.MustCompile(`^  subgraph (z\d+)\[`+label+`\]$`), regexp.MustCompile(`^    (h\d+)\[`+label+`\]$`)
	arrow, code := regexp.MustCompile(`^  (h\d+) -->\|`+label+`\| (h\d+)$`), regexp.MustCompile(`#([0-9]+);`)
	plainText := func(s string) string {
		return code.ReplaceAllStringFunc(s, func(c string) string {
			n, err := strconv.Atoi(c[1 : len(c)-1])
			if err != nil {
				return err.Error()
			}
			return string(rune(n))
		})
	}
	d := &diagram{zones: map[string]string{}, arrows: map[[2]string]string{}}
	texts, inside, head := map[string]string{}, "", false
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		switch m := zone.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "%% ") && !head:
			d.notes = append(d.notes, line[3:])
			continue
		case line == "flowchart LR" && !head:
			head = true
			continue
		case !head:
			return nil, fmt.Errorf("%q before the head", line)
		case m != nil && inside == "":
			inside = plainText(m[2])
			continue
		case line == "  end" && inside != "":
			inside = ""
			continue
		}
		if m := box.FindStringSubmatch(line); m != nil && inside != "" && texts[m[1]] == "" {
			texts[m[1]] = plainText(m[2])
			d.zones[texts[m[1]]] = inside
			continue
		}
		m := arrow.FindStringSubmatch(line)
		if m == nil || inside != "" || texts[m[1]] == "" || texts[m[3]] == "" {
			return nil, fmt.Errorf("Mermaid would not take %q here", line)
		}
		k := [2]string{texts[m[1]], texts[m[3]]}
		if d.arrows[k] != "" {
			return nil, fmt.Errorf("two arrows %v", k)
		}
		d.arrows[k] = plainText(m[2])
	}
	if inside != "" || !head {
		return nil, fmt.Errorf("it does not end")
	}
	return d, nil
}

// Of a small site each arrow is what connects two hosts, and none is missing.
func TestMermaidIsThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t, everyProtocol...)
		s, err := rendered(target("mermaid"), render.ForSite(p))
		if err != nil {
			t.Fatal(err)
		}
		d, err := readMermaid(s)
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		want := map[[2]string]map[string]bool{}
		for _, f := range p.Flows {
			for _, from := range f.From {
				for _, to := range f.To {
					if from == to && !from.IsGroup() {
						continue
					}
					k := [2]string{from.Name, to.Name}
					if want[k] == nil {
						want[k] = map[string]bool{}
					}
					service := cmp.Or(f.Service, f.Relationship)
					if f.Protocol == 0 {
						service = "everything"
					}
					want[k][service] = true
				}
			}
		}
		if got, want := slices.Sorted(keysOf(d.arrows)), slices.Sorted(keysOf(want)); !slices.Equal(got, want) {
			t.Fatalf("arrows %v, want %v\n%s", got, want, s)
		}
		for k, services := range want {
			text := d.arrows[k]
			if services["everything"] { // and nothing beside
				services = map[string]bool{"everything": true}
			}
			if list := strings.Join(slices.Sorted(maps.Keys(services)), " "); len(list) < 50 && text != list {
				t.Fatalf("%v is for %q, want %q\n%s", k, text, list, s)
			}
		}
		for _, h := range p.Site.Hosts {
			if z, ok := d.zones[h.Name]; ok && z != h.Zone.Name {
				t.Fatalf("%s is in %s\n%s", h.Name, z, s)
			}
		}
	})
}

func keysOf[V any](m map[[2]string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k[0] + " -> " + k[1]) {
				return
			}
		}
	}
}

// Many hosts become few boxes: those that are alike, or else zones.
func TestMermaidFolds(t *testing.T) {
	s := text(t, target("mermaid"), render.ForSite(manyPairs(500, portset.Ports(80))))
	d, err := readMermaid(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.arrows) != 1 || len(d.notes) != 2 || !strings.Contains(s, "c000000 c000001") || !strings.Contains(s, "+49") {
		t.Errorf("500 hosts that are alike:\n%s", s)
	}

	// No two of these are alike.
	p := manyPairs(100, portset.Ports(80))
	var flows []*plan.Flow
	for i, h := range p.Flows[0].From {
		f := *p.Flows[0]
		f.From, f.Relationship = []*site.Host{h}, fmt.Sprint("r", i)
		flows = append(flows, &f)
	}
	s = text(t, target("mermaid"), render.ForSite(plan.Of(p.Site, flows)))
	if d, err = readMermaid(s); err != nil || len(d.arrows) != 1 || !strings.Contains(s, "all hosts of a zone") {
		t.Errorf("100 hosts of which no two are alike: %v\n%s", err, s)
	}

	// Few hosts of which each reaches each otherwise are too many arrows.
	p = manyPairs(19, portset.Ports(80))
	flows = nil
	for i, h := range p.Site.Hosts {
		f := *p.Flows[0]
		f.From, f.To, f.Relationship = p.Site.Hosts[:i], []*site.Host{h}, fmt.Sprint("r", i)
		if i > 0 {
			flows = append(flows, &f)
		}
	}
	s = text(t, target("mermaid"), render.ForSite(plan.Of(p.Site, flows)))
	if d, err = readMermaid(s); err != nil || len(d.arrows) != 1 {
		t.Errorf("190 arrows: %v\n%s", err, s)
	}
}
