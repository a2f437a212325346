package site

import "github.com/quaymaster/quaymaster/catalog"

func (r *reader) readOptions() {
	raw := r.raw.Options
	needs := choices(r, "$.options.need", "need", raw.Need, catalog.Required, catalog.Recommended, catalog.Conditional, catalog.OneOf, catalog.Optional, catalog.LegacyNeed)
	if r.file.Has("$.options.need") && len(raw.Need) == 0 {
		r.mistake("$.options.need", "need is empty, and nothing would be planned: name needs, [required], or remove the key")
	}
	r.site.Options = Options{
		Environment: choice(r, "$.options.mode", "mode", raw.Mode, "precise", "environment") == "environment",
		Hardened:    choice(r, "$.options.profile", "profile", raw.Profile, "vendor", "hardened") == "hardened",
		ICMP:        raw.ICMP,
		Needs:       needs,
	}
}
