package render

import (
	"strings"

	"github.com/quaymaster/quaymaster/internal/site"
)

// TargetNamed returns the target with that name, or nil if there is none.
func TargetNamed(name string) *Target {
	for _, t := range targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Parts returns the families that a file is written for each of, of those asked for: one for both, but where
// the target's texts are about one family.
func (t *Target) Parts(f Family) []Family {
	if t.OneFamily && f == Both {
		return []Family{IPv4, IPv6}
	}
	return []Family{f}
}

// FileName returns the name of the file of a part: of the name of what it is for, with nothing in it that
// would lead elsewhere.
func (t *Target) FileName(name string, part Family) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) || r < ' ' {
			return '_'
		}
		return r
	}, strings.TrimLeft(name, "."))
	if t.OneFamily {
		name += map[Family]string{IPv4: "-4", IPv6: "-6"}[part]
	}
	return name + t.Extension
}

// Fits reports whether a host may have a firewall of the target: by its system, where that is said.
func (t *Target) Fits(h *site.Host) bool {
	if h.OS == nil || t.System == "" {
		return true
	}
	windows := strings.HasPrefix(h.OS.ID, "windows-")
	return windows == (t.System == "windows")
}
