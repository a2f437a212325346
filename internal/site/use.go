package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
)

// readUses sets what a host connects to, when the roles of all hosts are known.
func (r *reader) readUses(h *Host) {
	path := config.Path("$.hosts", h.Name)
	for i, w := range r.raw.Hosts[h.Name].Uses {
		at := fmt.Sprintf("%s.uses[%d]", path, i)
		u, ok := r.use(at, h, w)
		if !ok {
			continue
		}
		if slices.Contains(h.Uses, u) {
			r.mistake(at, "%s is there twice: remove one", quote(w))
			continue
		}
		h.Uses = append(h.Uses, u)
	}
	slices.SortFunc(h.Uses, func(a, b Use) int {
		return cmp.Or(strings.Compare(a.hostName(), b.hostName()), strings.Compare(a.Role, b.Role))
	})
}

func (u Use) hostName() string {
	if u.Host == nil {
		return ""
	}
	return u.Host.Name
}

// use returns what a word of uses means; false if it is wrong, which is noted.
func (r *reader) use(path string, h *Host, w word) (Use, bool) {
	name, role, ofHost := strings.Cut(string(w), "/")
	of := r.hosts[name]
	if of == nil && ofHost {
		r.unknown(path, fmt.Sprintf("host %s in uses of %s", quote(word(name)), h.Name), name, namesOf(r.hosts), "HOST/ROLE names a host of the site")
		return Use{}, false
	}
	if of == h && !h.IsGroup() {
		r.mistake(path, "host %s uses itself, which no firewall sees: remove it", h.Name)
		return Use{}, false
	}
	if of != nil && !ofHost {
		return Use{Host: of}, true
	}
	if of == nil {
		role = name
	}
	if before, group, ok := strings.Cut(role, ":"); ok {
		r.mistake(path, "%s: uses go to every group: leave out %q, or name the host as HOST/%s", quote(w), ":"+group, before)
		return Use{}, false
	}
	m := r.words.meaning(role)
	if of == nil {
		if m.id == "" && len(m.ambiguous) == 0 {
			known := func() []string { return append(names(r.hosts), r.words.known...) }
			r.unknown(path, fmt.Sprintf("host or role %s in uses of %s", quote(word(name)), h.Name), name, known, "it is a host of the site, HOST/ROLE, or a role that hosts have")
			return Use{}, false
		}
	}
	id, ok := r.roleWord(path, fmt.Sprintf("role %s in uses of %s", quote(word(role)), h.Name), word(role))
	if !ok {
		return Use{}, false
	}
	if of != nil && !r.words.has(of, id) && !r.unsure[of] {
		has := "none"
		if len(of.Roles) > 0 {
			var ids []string
			for _, role := range of.Roles {
				ids = append(ids, role.ID)
			}
			has = join(slices.Compact(ids))
		}
		r.mistake(path, "host %s is no %s: its roles are %s", of.Name, quote(word(role)), has)
		return Use{}, false
	}
	return Use{Host: of, Role: id}, true
}
