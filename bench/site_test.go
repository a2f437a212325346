package main

import (
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	planned "github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
)

// Sites have the pairs of hosts that their measurements are named for.
func TestSites(t *testing.T) {
	for pairs, size := range domainSizes {
		if size.members*size.controllers != pairs {
			t.Errorf("%d members and %d domain controllers are no %d pairs", size.members, size.controllers, pairs)
		}
	}
	for _, tt := range []struct {
		name, text   string
		hosts, pairs int
	}{
		{"domain", domainSite(domainSize{300, 4}), 304, 1_200},
		{"apart", apartSite(300), 600, 300},
	} {
		s, err := site.Read("site.yaml", []byte(tt.text), catalog.Builtin(), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		p, err := planned.Make(s)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		pairs := map[[2]*site.Host]bool{}
		for _, f := range p.Flows {
			for _, from := range f.From {
				for _, to := range f.To {
					if from.Zone != to.Zone {
						pairs[[2]*site.Host{from, to}] = true
					}
				}
			}
		}
		if len(s.Hosts) != tt.hosts || len(pairs) != tt.pairs {
			t.Errorf("%s: %d hosts, %d pairs across the firewall, want %d, %d", tt.name, len(s.Hosts), len(pairs), tt.hosts, tt.pairs)
		}
	}
}
