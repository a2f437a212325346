package endpoint_test

import (
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

func TestEvidence(t *testing.T) {
	words := map[endpoint.Evidence]string{
		endpoint.Unchecked: "unchecked", endpoint.Listening: "listening", endpoint.Waiting: "waiting",
		endpoint.Process: "process", endpoint.Lease: "lease", endpoint.Permanent: "permanent",
		endpoint.RunGone: "listening, run gone",
	}
	for e, word := range words {
		if e.String() != word {
			t.Errorf("Evidence %d is %q, want %q", e, e, word)
		}
		if got, err := endpoint.ParseEvidence(word); err != nil || got != e {
			t.Errorf("ParseEvidence(%q) = %v, %v, want %v", word, got, err, e)
		}
	}
	for _, word := range []string{"", "Lease", "lease ", "Evidence(1)", "6"} {
		if got, err := endpoint.ParseEvidence(word); err == nil {
			t.Errorf("ParseEvidence(%q) = %v, want an error", word, got)
		}
	}
	if got, want := endpoint.Evidence(7).String(), "Evidence(7)"; got != want {
		t.Errorf("an Evidence that there is not is %q, want %q", got, want)
	}
}
