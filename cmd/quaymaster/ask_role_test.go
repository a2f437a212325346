package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/portset"
)

// TestAddRole: of several needs of a port the strongest counts, and a mapper is asked for the ports that it tells.
func TestAddRole(t *testing.T) {
	flow := func(p catalog.Protocol, ports string, need catalog.Need, service, condition string) roleFlow {
		f := &catalog.Flow{Protocol: p, Need: need, Service: service, App: "spoken", Condition: condition}
		numbers, err := portset.Parse(ports)
		if err != nil {
			f.Ports.Symbol = catalog.Symbol(ports)
		}
		f.Ports.Numbers = numbers
		return roleFlow{Flow: f}
	}
	flows := []roleFlow{
		flow(catalog.TCP, "88", catalog.LegacyNeed, "", ""), flow(catalog.TCP, "88", catalog.Required, "kdc", "sometimes"),
		flow(catalog.TCP, "88", catalog.Optional, "kdc", ""), flow(catalog.UDP, "88", catalog.Required, "", "sometimes"),
		flow(catalog.UDP, "88", catalog.Required, "", ""), flow(catalog.TCP, "1-2", catalog.OneOf, "", ""),
		flow(catalog.TCP, "dynamic-onc", catalog.Required, "", ""), flow(catalog.TCP, "dynamic-rpc", catalog.Optional, "", ""),
		flow(catalog.TCP, "dynamic-ephemeral", catalog.Required, "", ""), flow(catalog.ICMP, "echo", catalog.Required, "", ""), flow(catalog.ESP, "x", catalog.Required, "", ""),
	}
	q := askQuestion{ports: []probe.PortQuestion{{Network: "udp", Port: 53}, {Network: "tcp", Port: 2}}}
	q.addRole(&askRole{ports: map[portSeat]*rolePort{}}, flows, askDialects{onc: true, dce: true})
	var got []string
	for _, p := range q.ports {
		text := fmt.Sprintf("%s %d", p.Network, p.Port)
		if of := q.role.ports[portSeat{p.Network, p.Port}]; of != nil {
			text += fmt.Sprintf(": %s, %s %q", of.service(catalog.Builtin()), of.need, of.condition)
		}
		got = append(got, fmt.Sprintf("%s %t", text, q.mustListen(p.Network, p.Port)))
	}
	want := []string{`tcp 1: spoken, one-of "" false`, `tcp 2: spoken, one-of "" true`, `tcp 88: kdc, required "sometimes" true`, `udp 53 true`, `udp 88: spoken, required "" true`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ports, and whether they must listen (-want +got):\n%s", diff)
	}
	if !q.onc || !q.dce || !q.must.onc || q.must.dce {
		t.Errorf("mappers: %+v", q)
	}
	if want := []string{"tcp dynamic-ephemeral", "icmp echo", "esp x"}; !slices.Equal(q.role.untried, want) {
		t.Errorf("not tried %q, want %q", q.role.untried, want)
	}
	q = askQuestion{}
	if q.addRole(&askRole{ports: map[portSeat]*rolePort{}}, flows, askDialects{dce: true}); q.onc || !q.dce {
		t.Errorf("with --dce: %+v", q)
	}
}

// TestSecret: it goes to the ports that are asked with one, and to no other.
func TestSecret(t *testing.T) {
	var f askFlags
	t.Setenv(secretVariable, "ours")
	q := askQuestion{ports: []probe.PortQuestion{{Network: "udp", Port: 1812}, {Network: "tcp", Port: 1812}, {Network: "udp", Port: 53}, {Network: "udp", Port: 1813}}}
	if err := f.addSecret(&q); err != nil {
		t.Fatal(err)
	}
	for _, p := range q.ports {
		if got, want := p.Secret != "", p.Network == "udp" && p.Port != 53; got != want {
			t.Errorf("%d/%s has the secret: %t, want %t", p.Port, p.Network, got, want)
		}
	}
	f.secretFile = filepath.Join(t.TempDir(), "secret")
	for _, tt := range []struct{ text, want string }{{"theirs\r\n", "theirs"}, {"", ""}, {"a\nb\n", ""}, {"a\n\n", ""}, {string(make([]byte, 1025)), ""}} {
		if err := os.WriteFile(f.secretFile, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readSecret(f.secretFile); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("readSecret of %.10q = %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

// TestAskRoleMapper: of a role that needs dynamic ports, the mapper is required too.
func TestAskRoleMapper(t *testing.T) {
	h := newAskHost("dc1")
	h.Mappers = append(h.Mappers, askMapper{Dialect: "dce", State: probe.NotListening})
	for _, tt := range []struct {
		must askDialects
		want int
	}{{askDialects{dce: true}, exitFound}, {askDialects{onc: true}, exitDone}} {
		if got := h.status(&askQuestion{must: tt.must, role: &askRole{}}); got != tt.want {
			t.Errorf("%+v must be there: status %d, want %d", tt.must, got, tt.want)
		}
	}
}

// TestBothFamilies: of many addresses of a name those which are asked have one of each family.
func TestBothFamilies(t *testing.T) {
	var addrs []netip.Addr
	for i := range 10 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	addrs = append(addrs, netip.MustParseAddr("fd98::1"))
	got := bothFamilies(slices.Clone(addrs))
	if got[mostAddresses-1] != addrs[10] || got[10] != addrs[mostAddresses-1] {
		t.Errorf("bothFamilies = %v", got)
	}
	if got := bothFamilies(nil); got != nil {
		t.Errorf("bothFamilies of none = %v", got)
	}
}
