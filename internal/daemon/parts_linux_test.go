package daemon

import (
	"maps"
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/internal/registry"
)

// TestCounterNames: every reason has a name of its own.
func TestCounterNames(t *testing.T) {
	names := slices.Sorted(maps.Values(counterNames))
	if len(slices.Compact(names)) != len(counterNames) {
		t.Errorf("names of counters: %q, want them all different", names)
	}
	g := registry.New()
	defer g.Close()
	for reason := range g.Counts().Ended {
		if counterNames[reason] == "" {
			t.Errorf("no name for %s", reason)
		}
	}
}
