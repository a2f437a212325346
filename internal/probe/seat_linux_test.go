package probe

import (
	"net/netip"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// farRows are rows at ports of the far host, two at each: of ONC over a transport, of DCE for none.
func farRows(netid rpcbind.NetID, from, n uint16) (rows []Entry) {
	for i := range n {
		at := netip.AddrPortFrom(far, from+i)
		for version := range uint32(2) {
			if netid == 0 {
				rows = append(rows, dceEntryAt(dcerpc.Syntax{UUID: uuidA, Major: uint16(version)}, epm.TCP, at))
			} else {
				rows = append(rows, Entry{Interface: endpoint.Program(100005, version), Endpoint: endpoint.Endpoint{NetID: netid, Addr: at}})
			}
		}
	}
	return rows
}

// TestFilteredRows: what mappers told of a host that drops everything takes about as long as one row of it.
func TestFilteredRows(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	filter(t, nstest.NewHost(t, "far", hereV4, thereV4), "drop")
	for _, tt := range []struct {
		name string
		rows []Entry
	}{
		{"DCE", farRows(0, 1000, 300)}, {"ONC over TCP", farRows(rpcbind.TCP, 1000, 300)}, {"ONC over UDP", farRows(rpcbind.UDP, 1000, 300)},
	} {
		p := &Prober{Timeout: 3 * time.Second}
		start := time.Now()
		if tt.rows[0].Dialect == endpoint.DCE {
			p.TryDCE(t.Context(), far, tt.rows, DCEOptions{})
		} else {
			p.TryONC(t.Context(), far, tt.rows, ONCOptions{})
		}
		if d := time.Since(start); d < p.Timeout || d > 3*p.Timeout {
			t.Errorf("%s: 300 filtered endpoints took %v, want a little more than %v", tt.name, d, p.Timeout)
		} else {
			t.Logf("%s: %v of %v", tt.name, d, p.Timeout)
		}
		for _, e := range tt.rows {
			if e.State != Filtered || e.Time != 0 {
				t.Fatalf("%s: %v is %v after %v (%s), want filtered", tt.name, e.Endpoint, e.State, e.Time, e.Why)
			}
		}
		if n := len(p.all) + len(p.silent) + len(p.hosts); n != 0 {
			t.Errorf("%s: %d places are still taken", tt.name, n)
		}
	}
}

// TestFilteredMapper: a port mapper that is filtered over TCP and UDP takes about as long as over one of them,
// and one that only TCP is kept from is found.
func TestFilteredMapper(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	filter(t, nstest.NewHost(t, "far", hereV4, thereV4), "drop")
	p := &Prober{Timeout: 2 * time.Second}
	start := time.Now()
	r := p.ONC(t.Context(), far, ONCOptions{})
	if d := time.Since(start); r.State != Filtered || d < p.Timeout || d > 17*p.Timeout/10 {
		t.Errorf("a host that drops everything is %v (%s) after %v, want filtered and a little more than %v", r.State, r.Why, d, p.Timeout)
	}
	if n := len(p.all) + len(p.silent) + len(p.hosts); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}
