package render_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
)

func TestRemark(t *testing.T) {
	of := func(service, relationship string, sources ...string) *plan.Flow {
		return &plan.Flow{Service: service, Relationship: relationship, Sources: sources}
	}
	tests := []struct {
		flows []*plan.Flow
		limit int
		want  string
	}{
		{[]*plan.Flow{of("dfsr", "a-to-b", "kb1")}, 64, "dfsr (kb1)"},
		{[]*plan.Flow{of("", "a-to-b", "kb2", "kb1"), of("dfsr", "", "kb1")}, 64, "a-to-b dfsr (kb1 kb2)"},
		{[]*plan.Flow{of("a", "", strings.Repeat("k", 40))}, 20, "a (kkkkkkkkkkkkkkkkk"},
		{[]*plan.Flow{of("aaaaaaaa", "", "kb1"), of("bbbbbbbb", "", "kb2"), of("cccccccc", "", "kb3", "kb4")}, 36, "aaaaaaaa +2 (kb1 kb2 kb3 kb4)"},
		{[]*plan.Flow{of("one\" two\n", "", "kb\\1")}, 64, "one- two- (kb-1)"},
		{[]*plan.Flow{of("dienst-für", "", "kb1")}, 64, "dienst-f-r (kb1)"},
	}
	for _, tt := range tests {
		if got := (&render.Rule{Flows: tt.flows}).Remark(tt.limit); got != tt.want {
			t.Errorf("Remark(%d) = %q, want %q", tt.limit, got, tt.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	s := &testSite{}
	z := s.zone("z")
	h := hosts(s.host("a", z, "10.0.0.128/25", "fd00::1"), s.host("b", z, "10.0.1.0/24", "10.0.0.200"), s.host("c", z, "10.0.0.127", "fd00::/64"))
	tests := []struct {
		family render.Family
		want   string
	}{
		{render.Both, "[10.0.0.127/32 10.0.0.128/25 10.0.1.0/24 fd00::/64]"},
		{render.IPv4, "[10.0.0.127/32 10.0.0.128/25 10.0.1.0/24]"},
		{render.IPv6, "[fd00::/64]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(tt.family.Addresses(h)); got != tt.want {
			t.Errorf("Addresses of family %d = %v, want %v", tt.family, got, tt.want)
		}
	}
}

func TestRemarkHasRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &render.Rule{}
		for range rapid.IntRange(1, 30).Draw(t, "flows") {
			r.Flows = append(r.Flows, &plan.Flow{
				Service: rapid.String().Draw(t, "service"), Relationship: "a-to-b",
				Sources: rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "sources"),
			})
		}
		limit := rapid.IntRange(16, 255).Draw(t, "limit")
		if got := r.Remark(limit); len(got) > limit || strings.ContainsAny(got, "\"\\\n'`$#;") {
			t.Errorf("Remark(%d) = %q, of %d bytes", limit, got, len(got))
		}
	})
}
