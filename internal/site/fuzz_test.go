package site_test

import (
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/site"
)

// Whatever a file says, Read returns a site with nothing nil in it, or mistakes.
func FuzzRead(f *testing.F) {
	for _, tt := range mistaken {
		f.Add(tt.text)
	}
	f.Add(full)
	f.Add(string(site.Example()))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), open, "nftables")
		if err != nil {
			if mistakes, ok := err.(config.Mistakes); !ok || len(mistakes) == 0 || s != nil {
				t.Fatalf("Read = %v, %T %v, want mistakes only", s, err, err)
			}
			return
		}
		if len(s.Zones) == 0 {
			t.Error("a site without zones")
		}
		describe(t, s)
	})
}
