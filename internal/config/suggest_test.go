package config_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/config"
)

func TestSuggest(t *testing.T) {
	verbs := []string{"ask", "check", "endpoints", "gate", "plan", "pool", "port", "run", "serve", "service", "version"}
	roles := []string{"domain-controller", "member", "file-server"}
	tests := []struct {
		word  string
		known []string
		want  string
	}{
		{"domain-controler", roles, "domain-controller"},
		{"endpoint", verbs, "endpoints"},
		{"sreve", verbs, "serve"},
		{"servce", verbs, "serve"}, // as near as service, and before it
		{"servise", verbs, "service"},
		{"PLAN", verbs, "plan"},
		{"plna", verbs, "plan"},
		{"ak", verbs, "ask"},
		{"prot", verbs, "port"},
		{"listen", verbs, ""},
		{"x", verbs, ""},
		{"", verbs, ""},
		{"a", []string{"b"}, ""},
		{"mitgleid", roles, ""},
		{"größe", []string{"grösse", "größer"}, "größer"},
		{"plan", nil, ""},
		{"plan", []string{"", "plan"}, "plan"},
		{strings.Repeat("a", 1000), []string{strings.Repeat("a", 1000)}, ""},
	}
	for _, tt := range tests {
		got, ok := config.Suggest(tt.word, tt.known)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("Suggest(%q, %q) = %q, %v, want %q", tt.word, tt.known, got, ok, tt.want)
		}
	}
}

// One slip of the fingers in a word of some length always leads back to it.
func TestSuggestOneSlip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.StringMatching(`[a-z]{3,20}`).Draw(t, "word")
		i := rapid.IntRange(0, len(want)-2).Draw(t, "at")
		c := rapid.StringMatching(`[a-z]`).Draw(t, "letter")
		slips := map[string]string{
			"missing": want[:i] + want[i+1:],
			"extra":   want[:i] + c + want[i:],
			"wrong":   want[:i] + c + want[i+1:],
			"swapped": want[:i] + want[i+1:i+2] + want[i:i+1] + want[i+2:],
		}
		for slip, word := range slips {
			if got, ok := config.Suggest(word, []string{want}); !ok || got != want {
				t.Fatalf("%s: Suggest(%q) = %q, %v, want %q", slip, word, got, ok, want)
			}
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"sql-uddi", "snmp", "smtp", "snmp-trap", "sntp"}
	if got, want := config.Nearest("SNTPP", known), []string{"sntp", "snmp", "smtp", "snmp-trap", "sql-uddi"}; !slices.Equal(got, want) {
		t.Errorf("Nearest(SNTPP) = %q, want %q", got, want)
	}
	if got, want := config.Nearest("snmtps", known), []string{"snmp", "smtp", "sntp", "snmp-trap", "sql-uddi"}; !slices.Equal(got, want) {
		t.Errorf("Nearest(snmtps) = %q, want %q", got, want)
	}
	if got := config.Nearest("", known); got != nil {
		t.Errorf("Nearest of nothing = %q", got)
	}
}
