package site

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/portpool"
)

// The largest site that is read.
const (
	maxZones     = 1_000
	maxHosts     = 20_000
	maxAddresses = 200_000 // of all hosts and zones
	maxDomains   = 1_000
	maxTrusts    = 10_000
	maxFirewalls = 1_000
	maxTunnels   = 1_000
	maxRoles     = 100   // of a host
	maxUses      = 1_000 // of a host
)

const (
	maxValues      = 500_000 // lines and commas of a file: more than the largest site takes
	maxMistakes    = 1_000   // that are told
	maxBecause     = 100     // that are told of another file
	maxSuggestions = 100     // that are looked for: each takes a look at all words of its kind
)

// Read reads a site file, whose words are those of c. The name is the file's, for messages; open
// reads a file that it names, by the name as it stands there. A firewall's kind has to be one of kinds;
// without any every kind is taken.
//
// The error is a [config.Mistakes]: all that is wrong with the file, and with those that it names.
func Read(name string, data []byte, c *catalog.Catalog, open func(name string) ([]byte, error), kinds ...string) (*Site, error) {
	if len(data) <= config.MaxSize { // the rest is for Decode to say
		if n := bytes.Count(data, []byte(",")) + bytes.Count(data, []byte("\n")); n > maxValues {
			return nil, config.Mistakes{{File: name, Message: fmt.Sprintf("%d lines and commas are more than a site of %d hosts and %d addresses, the largest, needs: "+
				"write prefixes in place of addresses, or make several sites of it", n, maxHosts, maxAddresses)}}
		}
	}
	r := reader{
		name: name, catalog: c, open: open, kinds: kinds,
		site:     &Site{Catalog: c},
		zones:    map[string]*Zone{},
		domains:  map[string]*Domain{},
		hosts:    map[string]*Host{},
		unsure:   map[*Host]bool{},
		ofForm:   map[[2]int]bool{},
		words:    newVocabulary(c),
		policies: map[string]policy{},
	}
	var err error
	r.file, err = config.Decode(name, data, &r.raw)
	if r.file == nil {
		return nil, err
	}
	if mistakes, ok := err.(config.Mistakes); ok {
		r.loose = true
		for _, m := range mistakes {
			r.note(m)
			r.ofForm[[2]int{m.Line, m.Column}] = true
		}
	}
	r.site.file = r.file
	if r.checkSize(); !r.full {
		r.readZones()
		r.readDomains()
		r.readTrusts()
		r.readHosts()
		r.readFirewalls()
		r.readTunnels()
		r.readOptions()
	}
	if len(r.mistakes) > 0 {
		return nil, r.told()
	}
	r.warn()
	r.site.Warnings.Sort()
	return r.site, nil
}

// A reader makes a site of a file.
type reader struct {
	name    string
	catalog *catalog.Catalog
	open    func(name string) ([]byte, error)
	kinds   []string
	raw     file
	file    *config.File
	loose   bool // some of the file could not be decoded: what seems to be missing may be there

	site     *Site
	zones    map[string]*Zone // by name
	domains  map[string]*Domain
	hosts    map[string]*Host
	networks []block        // of all zones, ascending and disjoint
	holes    bool           // networks are missing there that could not be read
	unsure   map[*Host]bool // hosts of which not all roles could be read
	words    *vocabulary
	policies map[string]policy // by the names of their files
	allPins  map[string]catalog.Pin

	mistakes    []noted
	ofForm      map[[2]int]bool // lines and columns where the decoder found one
	full        bool            // no more are looked for
	more        bool            // there are more than are told
	suggestions int
}

// noted is a mistake with those of another file that explain it.
type noted struct {
	config.Mistake
	because config.Mistakes
}

// note keeps a mistake. Where one of form is nothing else is found.
func (r *reader) note(m config.Mistake, because ...config.Mistake) {
	if r.ofForm[[2]int{m.Line, m.Column}] {
		return
	}
	if len(r.mistakes) == maxMistakes {
		r.full, r.more = true, true
		return
	}
	m.Message = printable(m.Message)
	r.mistakes = append(r.mistakes, noted{m, because})
}

// told returns the mistakes in order of the file. Those of another file are told with the first that is due
// to it.
func (r *reader) told() config.Mistakes {
	slices.SortStableFunc(r.mistakes, func(a, b noted) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	var all config.Mistakes
	told := map[string]bool{} // names of other files
	for i, m := range r.mistakes {
		if i > 0 && m.Mistake == r.mistakes[i-1].Mistake {
			continue
		}
		all = append(all, m.Mistake)
		for j, why := range m.because {
			if j == 0 && told[why.File] || j == maxBecause {
				break
			}
			told[why.File] = true
			why.File = printable(why.File)
			all = append(all, why)
		}
	}
	if r.more {
		all = append(all, config.Mistake{File: r.name, Message: fmt.Sprintf("there are more than %d mistakes, and no more are told", maxMistakes)})
	}
	return all
}

// mistake notes what is wrong with the value at a path.
func (r *reader) mistake(path, format string, args ...any) {
	r.note(r.file.Mistake(path, format, args...))
}

// missing notes that a value, which belongs at path and key, is not there or has too little in it. Where it
// is not there and the file could not be decoded in part it may be that which is missing.
func (r *reader) missing(path, key, format string, args ...any) {
	switch {
	case r.file.Has(path + "." + key):
		r.mistake(path+"."+key, format, args...)
	case !r.loose:
		r.note(r.file.KeyMistake(path, format, args...))
	}
}

// unknown notes that a word is not among those known, and which is meant; advice says what to do
// where that is not plain.
func (r *reader) unknown(path, what, word string, known func() []string, advice string) {
	r.mistake(path, "unknown %s%s", what, r.meant(word, known, advice))
}

// meant returns what to say after an unknown word, which is not empty.
func (r *reader) meant(word string, known func() []string, advice string) string {
	if r.suggestions++; r.suggestions <= maxSuggestions {
		if near, ok := config.Suggest(word, known()); ok {
			return fmt.Sprintf("; did you mean %q?", near)
		}
	}
	return "; " + advice
}

// choice returns the one of known that a word is, the first if it is empty: a key that was left out.
func choice[T ~string](r *reader, path, what string, w word, known ...T) T {
	if w == "" && !r.file.Has(path) || r.full {
		return known[0]
	}
	if slices.Contains(known, T(w)) {
		return T(w)
	}
	all := make([]string, len(known))
	for i, k := range known {
		all[i] = string(k)
	}
	r.unknown(path, fmt.Sprintf("%s %s", what, quote(w)), string(w), func() []string { return all }, "known are "+strings.Join(all, ", "))
	return known[0]
}

// choices returns those of known that words are, ascending, each once.
func choices[T ~string](r *reader, path, what string, words []word, known ...T) []T {
	all := map[T]bool{}
	for i, w := range words {
		at := fmt.Sprintf("%s[%d]", path, i)
		if all[T(w)] {
			r.mistake(at, "%s is there twice: remove one", quote(w))
			continue
		}
		if !slices.Contains(known, T(w)) {
			choice(r, at, what, w, known...)
			continue
		}
		all[T(w)] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// checkSize notes what of the file is more than is read.
func (r *reader) checkSize() {
	too := func(path string, n, most int, what string) {
		if n > most {
			r.mistake(path, "%d %s: at most %d are read", n, what, most)
			r.full = true
		}
	}
	f := &r.raw
	too("$.zones", len(f.Zones), maxZones, "zones")
	too("$.hosts", len(f.Hosts), maxHosts, "hosts")
	too("$.domains", len(f.Domains), maxDomains, "domains")
	too("$.trusts", len(f.Trusts), maxTrusts, "trusts")
	too("$.firewalls", len(f.Firewalls), maxFirewalls, "firewalls")
	too("$.tunnels", len(f.Tunnels), maxTunnels, "tunnels")
	addresses := 0
	for _, z := range f.Zones {
		addresses += len(z.Networks)
	}
	for _, h := range f.Hosts {
		addresses += len(h.Addresses)
	}
	too("$.hosts", addresses, maxAddresses, "addresses and networks")
	if r.full {
		return
	}
	for _, name := range names(f.Hosts) {
		h, path := f.Hosts[name], config.Path("$.hosts", name)
		too(path+".roles", len(h.Roles), maxRoles, "roles")
		too(path+".uses", len(h.Uses), maxUses, "uses")
		if len(r.mistakes) == maxMistakes {
			return
		}
	}
}

// names returns the keys of a map in ascending order.
func names[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// namesOf returns a function that returns names of m.
func namesOf[T any](m map[string]T) func() []string {
	return func() []string { return names(m) }
}

// checkNames notes names that cannot be used. Those of zones, hosts and firewalls become names of files and
// words in rules, so their letters are those of ASCII.
func (r *reader) checkNames(path, what string, all []string, letter func(rune) bool) {
	first := map[string]string{} // by the name in lower case
	for _, name := range all {
		at := config.Path(path, name)
		if !isName(name, letter) {
			r.note(r.file.KeyMistake(at, "%s %s: want letters and digits, between them also '-', '_' and '.', such as app-1", what, quote(word(name))))
			continue
		}
		lower := strings.ToLower(name)
		if other, ok := first[lower]; ok {
			r.note(r.file.KeyMistake(at, "%s %q differs from %q in upper and lower case only: rename one", what, name, other))
		}
		first[lower] = name
	}
}

func isName(name string, letter func(rune) bool) bool {
	last, _ := utf8.DecodeLastRuneInString(name)
	first, _ := utf8.DecodeRuneInString(name)
	within := func(c rune) bool { return letter(c) || strings.ContainsRune("-_.", c) }
	return len(name) <= 253 && letter(first) && letter(last) && !strings.ContainsFunc(name, func(c rune) bool { return !within(c) })
}

// isLetter reports whether c is a letter or digit that every firewall takes.
func isLetter(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// quote returns a word in quotes, the beginning of it if it is long.
func quote(w word) string {
	const most = 60 // characters
	if n := len([]rune(w)); n > most {
		return fmt.Sprintf("%.*q…", most, string(w))
	}
	return fmt.Sprintf("%q", string(w))
}

// printable returns a message with escapes for what cannot be seen of the names in it. What stands in
// quotes is not changed: it has its escapes.
func printable(message string) string {
	if !strings.ContainsFunc(message, func(c rune) bool { return !strconv.IsPrint(c) }) {
		return message
	}
	var b strings.Builder
	for _, c := range message {
		if strconv.IsPrint(c) {
			b.WriteRune(c)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(c), "'"))
		}
	}
	return b.String()
}

// A policy is an Rpc\Internet policy that a file has, or what is wrong with the file.
type policy struct {
	*portpool.Policy
	why      string // why there is none
	mistakes config.Mistakes
}
