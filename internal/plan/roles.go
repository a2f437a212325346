package plan

import (
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A member is a host with what it is, all that follows from its roles included.
type member struct {
	*site.Host
	groups map[string][]string // of each role or service it has, the words behind it; "" is none
	key    string              // what planning depends on: hosts with the same are planned alike
}

// findMembers returns the hosts of s in their order.
func findMembers(s *site.Site) []*member {
	is := map[string][]string{} // of each role what it is, itself included
	for _, r := range s.Catalog.Roles() {
		is[r.ID] = closure(s.Catalog, r.ID)
	}
	var all []*member
	for _, h := range s.Hosts {
		m := &member{Host: h, groups: map[string][]string{}}
		for _, r := range h.Roles {
			ids := is[r.ID]
			if ids == nil {
				ids = []string{r.ID}
			}
			for _, id := range ids {
				if !slices.Contains(m.groups[id], r.Group) {
					m.groups[id] = append(m.groups[id], r.Group)
				}
			}
		}
		m.key = m.describe()
		all = append(all, m)
	}
	return all
}

// closure returns a role and all that it is.
func closure(c *catalog.Catalog, id string) []string {
	all := []string{id}
	for i := 0; i < len(all); i++ {
		if r, ok := c.Role(all[i]); ok {
			for _, more := range r.Is {
				if !slices.Contains(all, more) {
					all = append(all, more)
				}
			}
		}
	}
	return all
}

// describe returns what planning depends on but for the names of hosts.
func (m *member) describe() string {
	var b strings.Builder
	b.WriteString(m.Zone.Name)
	for _, r := range m.Roles {
		b.WriteString("\x00r" + r.ID + ":" + r.Group)
	}
	for _, p := range m.Pins {
		b.WriteString("\x00p" + p.ID + ":" + p.Ports.String())
	}
	if m.Domain != nil {
		b.WriteString("\x00d" + m.Domain.Name)
	}
	if m.OS != nil {
		b.WriteString("\x00o" + m.OS.ID)
	}
	if !m.Dynamic.Ports.IsEmpty() {
		b.WriteString("\x00f" + m.Dynamic.Ports.String() + m.Dynamic.From)
	}
	if m.LDAPS {
		b.WriteString("\x00l")
	}
	if m.NetBIOS {
		b.WriteString("\x00n")
	}
	return b.String()
}

// has reports whether m has one of the roles or services. None means everybody.
func (m *member) has(roles []string) bool {
	return len(roles) == 0 || slices.ContainsFunc(roles, func(r string) bool { return m.groups[r] != nil })
}

// generation returns the ID of the generation of m's system; empty is no Windows.
func (m *member) generation() string {
	if m.OS == nil {
		return "modern"
	}
	return m.OS.Generation
}

// isWindows reports whether m has Windows, as far as is known.
func (m *member) isWindows() bool { return m.OS == nil || strings.HasPrefix(m.OS.ID, "windows-") }

func (m *member) legacy() bool { return m.generation() == "legacy" }
