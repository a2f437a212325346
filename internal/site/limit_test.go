package site_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// many returns n texts with commas between; format has a verb for the number.
func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestReadLimits(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"zones", "zones: {" + many(1001, "z%d: {}") + "}", "s.yaml:1:8: 1001 zones: at most 1000 are read"},
		{"domains", base[:strings.Index(base, "\n")+1] + "domains: {" + many(1001, "d%d: {}") + "}", "s.yaml:2:10: 1001 domains: at most 1000 are read"},
		{"hosts", "hosts: {" + many(20001, "h%d: {}") + "}", "s.yaml:1:8: 20001 hosts: at most 20000 are read"},
		{"firewalls", "firewalls: {" + many(1001, "f%d: {}") + "}", "s.yaml:1:12: 1001 firewalls: at most 1000 are read"},
		{"trusts", "trusts: [" + strings.Repeat("{phase: use},", 10001) + "]", "s.yaml:1:9: 10001 trusts: at most 10000 are read"},
		{"tunnels", "tunnels: [" + strings.Repeat("{kind: pptp},", 1001) + "]", "s.yaml:1:10: 1001 tunnels: at most 1000 are read"},
		{"addresses", "hosts: {a: {addresses: [" + many(200_001, "10.0.0.%d") + "]}}", "s.yaml:1:8: 200001 addresses and networks: at most 200000 are read"},
		{"networks", "hosts: {}\nzones: {a: {networks: [" + many(200_001, "10.0.0.%d") + "]}}", "s.yaml:1:8: 200001 addresses and networks: at most 200000 are read"},
		{"roles", base + "hosts:\n  a: {addresses: [10.0.0.1], roles: [" + many(101, "'wsus:%d'") + "]}", "s.yaml:4:37: 101 roles: at most 100 are read"},
		{"uses", base + "hosts:\n  a: {addresses: [10.0.0.1], uses: [" + many(1001, "wsus%d") + "]}", "s.yaml:4:36: 1001 uses: at most 1000 are read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := site.Read("s.yaml", []byte(tt.text), catalog.Builtin(), open); err == nil || err.Error() != tt.want {
				t.Errorf("Read: %.200v, want %s", err, tt.want)
			}
		})
	}
}

// A file that has more in it than any site is refused before it is parsed, which would take seconds and most of
// a gigabyte.
func TestReadMillion(t *testing.T) {
	start := time.Now()
	text := "hosts: {a: {addresses: [" + strings.Repeat("10.0.0.1,", 900_000) + "]}}"
	_, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), open)
	want := "s.yaml: 900000 lines and commas are more than a site of 20000 hosts and 200000 addresses, the largest, needs: write prefixes in place of addresses, or make several sites of it"
	if err == nil || err.Error() != want {
		t.Errorf("Read: %.200v, want %s", err, want)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("that took %v", took)
	}
	if _, err := site.Read("s.yaml", []byte(text+strings.Repeat(" ", 1<<20)), catalog.Builtin(), open); err == nil || err.Error() != "s.yaml: larger than 8388608 bytes" {
		t.Errorf("Read of a file that is too large: %.200v", err)
	}
}

// Mistakes are told up to a number, whatever is wrong, and what is meant is not looked for without end.
func TestReadManyMistakes(t *testing.T) {
	text := base + "hosts: {" + many(20_000, "h%d: {addresses: [1.2.3], os: w2k, roles: [dcc], domain: corp, uses: [xyz]}") + "}"
	_, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), open)
	if err == nil {
		t.Fatal("Read found nothing wrong")
	}
	lines := strings.Split(err.Error(), "\n")
	if got, want := lines[len(lines)-1], "s.yaml: there are more than 1000 mistakes, and no more are told"; len(lines) != 1001 || got != want {
		t.Errorf("%d mistakes, the last %s, want 1001 and %s", len(lines), got, want)
	}
}

// A site of as many zones and hosts as can be is read in seconds.
func TestReadLargest(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a few seconds")
	}
	var b strings.Builder
	b.WriteString("zones: {")
	for i := range 1000 {
		fmt.Fprintf(&b, "z%d: {networks: [10.%d.%d.0/24]},\n", i, i/250, i%250)
	}
	b.WriteString("}\nhosts: {")
	for i := range 20_000 {
		fmt.Fprintf(&b, "h%d: {roles: [wsus, 'cluster:a'], uses: [h%d, wsus], addresses: [", i, (i+1)%20_000)
		for j := range 3 {
			n := i/20*256 + i%20*12 + j // of the addresses of a zone
			fmt.Fprintf(&b, "10.%d.%d.%d,", n>>8/250, n>>8%250, n&255)
		}
		b.WriteString("]},\n")
	}
	b.WriteString("}\n")
	start := time.Now()
	s := read(t, b.String())
	if len(s.Zones) != 1000 || len(s.Hosts) != 20_000 {
		t.Errorf("read %d zones and %d hosts", len(s.Zones), len(s.Hosts))
	}
	t.Logf("%d bytes in %v", b.Len(), time.Since(start))
}
