package render_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/portset"
)

// What firewalld's files say.
type (
	fwdPolicy struct {
		Target string    `xml:"target,attr"`
		Rules  []fwdRule `xml:"rule"`
	}
	fwdRule struct {
		Family      string  `xml:"family,attr"`
		Source      fwdSide `xml:"source"`
		Destination fwdSide `xml:"destination"`
		Service     fwdName `xml:"service"`
		Port        fwdPort `xml:"port"`
		Protocol    struct {
			Value string `xml:"value,attr"`
		} `xml:"protocol"`
		ICMP fwdName `xml:"icmp-type"`
	}
	fwdSide struct {
		Address string `xml:"address,attr"`
		IPSet   string `xml:"ipset,attr"`
	}
	fwdName struct {
		Name string `xml:"name,attr"`
	}
	fwdPort struct {
		Port     string `xml:"port,attr"`
		Protocol string `xml:"protocol,attr"`
	}
	fwdService struct {
		Ports []fwdPort `xml:"port"`
	}
	fwdIPSet struct {
		Options []struct {
			Value string `xml:"value,attr"`
		} `xml:"option"`
		Entries []string `xml:"entry"`
	}
)

var heredoc = regexp.MustCompile(`(?s)cat >(\S+)\.xml <<'END'\n(.*?\n)END\n`)

// readFirewalld reads back the rules of the policy that a script writes.
func readFirewalld(text string) ([]accept, error) {
	files := map[string]string{}
	var policy fwdPolicy
	for _, m := range heredoc.FindAllStringSubmatch(text, -1) {
		if files[m[1]] != "" {
			return nil, fmt.Errorf("%s is written twice", m[1])
		}
		files[m[1]] = m[2]
		if strings.HasPrefix(m[1], "policies/") {
			if err := xml.Unmarshal([]byte(m[2]), &policy); err != nil {
				return nil, err
			}
		}
	}
	if policy.Target != "DROP" {
		return nil, fmt.Errorf("the target of the policy is %q", policy.Target)
	}
	var all []accept
	for _, r := range policy.Rules {
		if r.Source == (fwdSide{}) && r.ICMP.Name != "echo-request" {
			continue // what is always let through
		}
		a, err := r.accept(files)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func (r fwdRule) accept(files map[string]string) (accept, error) {
	a := accept{}
	for i, side := range []fwdSide{r.Source, r.Destination} {
		list := []string{side.Address}
		if side.IPSet != "" {
			var set fwdIPSet
			if err := xml.Unmarshal([]byte(files["ipsets/"+side.IPSet]), &set); err != nil {
				return a, fmt.Errorf("IP set %s: %w", side.IPSet, err)
			}
			if want := map[string]string{"ipv4": "inet", "ipv6": "inet6"}[r.Family]; set.Options[0].Value != want {
				return a, fmt.Errorf("IP set %s is of %s, in a rule of %s", side.IPSet, set.Options[0].Value, r.Family)
			}
			list = set.Entries
		}
		prefixes, err := readPrefixes(strings.Join(list, ","))
		if err != nil {
			return a, err
		}
		if i == 0 {
			a.from = prefixes
		} else {
			a.to = prefixes
		}
	}
	ports := []fwdPort{r.Port}
	if r.Service.Name != "" {
		var service fwdService
		if err := xml.Unmarshal([]byte(files["services/"+r.Service.Name]), &service); err != nil {
			return a, fmt.Errorf("service %s: %w", r.Service.Name, err)
		}
		ports = service.Ports
	}
	var err error
	switch {
	case r.ICMP.Name != "":
		a.protocol = catalog.ICMP
	case r.Protocol.Value != "":
		a.protocol, err = catalog.ParseProtocol(r.Protocol.Value)
	case ports[0] != fwdPort{}:
		var words []string
		for _, p := range ports {
			if p.Protocol != ports[0].Protocol {
				return a, fmt.Errorf("%+v is of two protocols", r)
			}
			words = append(words, p.Port)
		}
		if a.protocol, err = catalog.ParseProtocol(ports[0].Protocol); err == nil {
			a.ports, err = portset.Parse(strings.Join(words, ","))
		}
	}
	return a, err
}

// AH of IPv6 would be a rule that never matches.
func TestFirewalldHasNoAHOfIPv6(t *testing.T) {
	s := &testSite{}
	core, dmz := s.zone("core"), s.zone("dmz")
	w := s.firewall("edge", core, dmz)
	s.flow("ah", hosts(s.host("a", dmz, "10.0.0.1", "fd00::1")), hosts(s.host("b", core, "10.1.0.1", "fd00:1::1")))
	in := render.ForFirewall(s.plan(), w)
	_, err := rendered(targetNamed("firewalld"), in)
	var unsayable *render.UnsayableError
	if !errors.As(err, &unsayable) {
		t.Errorf("of both families: %v, want an UnsayableError", err)
	}
	in.Family = render.IPv4
	if _, err := rendered(targetNamed("firewalld"), in); err != nil {
		t.Errorf("of IPv4: %v", err)
	}
}
