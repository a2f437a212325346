package filestore

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
)

// ParseProgram reads a program as people write it: its number, decimal or 0x, or
// a name of the catalog. The error suggests what a name may have been meant to be.
func ParseProgram(s string) (uint32, error) {
	digits, base := s, 10
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		digits, base = hex, 16
	}
	if n, err := strconv.ParseUint(digits, base, 32); err == nil {
		return uint32(n), nil
	}
	if p, ok := catalog.Builtin().ProgramByName(s); ok {
		return p.Number, nil
	}
	var known []string
	for p := range catalog.Builtin().Programs() {
		known = append(known, p.Name)
		known = append(known, p.Aliases...)
	}
	if near, ok := config.Suggest(s, known); ok {
		return 0, fmt.Errorf("program %q is neither a number nor known; did you mean %q?", s, near)
	}
	return 0, fmt.Errorf("program %q is neither a number from 0 to 4294967295 nor a name of the catalog", s)
}
