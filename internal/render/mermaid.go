package render

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
)

var mermaid = &Target{
	Name:      "mermaid",
	Title:     "a picture of the flows between hosts and zones, for Mermaid",
	Extension: ".mmd",
	Of:        OfSite,
	Render:    renderMermaid,
}

const (
	// Beyond so many hosts those that are alike are one box, and beyond so many boxes and arrows
	// a zone is: a picture with more of them tells nobody anything.
	mermaidHosts, mermaidBoxes, mermaidArrows = 30, 60, 150
	// mermaidMost is how many arrows Mermaid draws by default.
	mermaidMost = 500
	// mermaidLabel is how long the services on an arrow may be.
	mermaidLabel = 60
)

// A picture has boxes, each of hosts of one zone, and arrows between them.
type picture struct {
	about  string // what the boxes are, if not hosts
	boxes  [][]*site.Host
	arrows map[[2]int]map[string]bool // services from box to box
}

func renderMermaid(w io.Writer, in *Input) error {
	hosts := everybody(in.Rules)
	p := draw(in.Rules, hosts, "", func(h *site.Host) string { return h.Name }, mermaidHosts)
	if p == nil {
		p = draw(in.Rules, hosts, "Hosts of a zone that reach the same and are reached for the same are one box.", alike(in.Rules), mermaidBoxes)
	}
	if p == nil {
		p = draw(in.Rules, hosts, "Each box is all hosts of a zone: there are too many for a picture of them.", func(*site.Host) string { return "" }, 0)
	}
	b := &bytes.Buffer{}
	p.write(b, in.Plan.Site.Zones)
	_, err := w.Write(b.Bytes())
	return err
}

// draw returns the picture in which hosts of one zone and key share a box. It is nil if that has more than
// most boxes, or more than mermaidArrows arrows; with 0 it may have any number.
func draw(rules []Rule, hosts []*site.Host, about string, key func(*site.Host) string, most int) *picture {
	p := &picture{about: about, arrows: map[[2]int]map[string]bool{}}
	known, box := map[string]int{}, map[*site.Host]int{}
	for _, h := range hosts {
		k := h.Zone.Name + "\x00" + key(h)
		if _, ok := known[k]; !ok {
			known[k] = len(p.boxes)
			p.boxes = append(p.boxes, nil)
		}
		box[h] = known[k]
		p.boxes[box[h]] = append(p.boxes[box[h]], h)
	}
	if most > 0 && len(p.boxes) > most {
		return nil
	}
	for _, r := range rules {
		services := r.services()
		for a := range boxesOf(r.From, box) {
			for c := range boxesOf(r.To, box) {
				if a == c && len(p.boxes[a]) == 1 && !p.boxes[a][0].IsGroup() {
					continue
				}
				if p.arrows[[2]int{a, c}] == nil {
					p.arrows[[2]int{a, c}] = map[string]bool{}
				}
				for _, s := range services {
					p.arrows[[2]int{a, c}][s] = true
				}
			}
		}
	}
	if most > 0 && len(p.arrows) > mermaidArrows {
		return nil
	}
	return p
}

func boxesOf(hosts []*site.Host, box map[*site.Host]int) map[int]bool {
	all := map[int]bool{}
	for _, h := range hosts {
		all[box[h]] = true
	}
	return all
}

// services returns what the rule is for, in a word for each service.
func (r *Rule) services() []string {
	words := make([]string, len(r.Flows))
	for i, f := range r.Flows {
		words[i] = service(f)
	}
	return distinct(words)
}

// service returns in a word what a flow is for.
func service(f *plan.Flow) string {
	if f.Protocol == 0 {
		return "everything"
	}
	return cmp.Or(f.Service, f.Relationship)
}

// alike returns a key that is the same for hosts that are in the same rules on the same sides.
func alike(rules []Rule) func(*site.Host) string {
	from, to := map[*site.Host][]int{}, map[*site.Host][]int{}
	for i, r := range rules {
		for _, h := range r.From {
			from[h] = append(from[h], i)
		}
		for _, h := range r.To {
			to[h] = append(to[h], i)
		}
	}
	return func(h *site.Host) string { return fmt.Sprint(len(from[h]), plan.Key(from[h])+plan.Key(to[h])) }
}

func (p *picture) write(b *bytes.Buffer, zones []*site.Zone) {
	b.WriteString("%% Who connects to whom by the plan, and for which services.\n")
	if p.about != "" {
		fmt.Fprintf(b, "%%%% %s\n", p.about)
	}
	arrows := slices.SortedFunc(maps.Keys(p.arrows), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	if len(arrows) > mermaidMost {
		fmt.Fprintf(b, "%%%% %d arrows: Mermaid draws %d unless maxEdges is more in its configuration.\n", len(arrows), mermaidMost)
	}
	b.WriteString("flowchart LR\n")
	for i, z := range zones {
		if !slices.ContainsFunc(p.boxes, func(hosts []*site.Host) bool { return hosts[0].Zone == z }) {
			continue
		}
		fmt.Fprintf(b, "  subgraph z%d[\"%s\"]\n", i+1, mermaidText(z.Name))
		for j, hosts := range p.boxes {
			if hosts[0].Zone == z {
				fmt.Fprintf(b, "    h%d[\"%s\"]\n", j+1, mermaidText(boxText(hosts)))
			}
		}
		b.WriteString("  end\n")
	}
	for _, a := range arrows {
		services := slices.Sorted(maps.Keys(p.arrows[a]))
		fmt.Fprintf(b, "  h%d -->|\"%s\"| h%d\n", a[0]+1, mermaidText(list(services, mermaidLabel)), a[1]+1)
	}
}

// boxText names the hosts of a box, as many as have room.
func boxText(hosts []*site.Host) string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.Name
	}
	return list(names, mermaidLabel)
}

// mermaidText writes text in quotes that Mermaid takes as it is: neither as HTML nor as Markdown.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" .-_+,/:()", r):
			b.WriteRune(r)
		default: // control characters too
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}
