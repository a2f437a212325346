package boltstore

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

func TestGrantText(t *testing.T) {
	g := registry.GrantRecord{
		Grant: endpoint.Grant{
			ID: 0xabc, Dialect: endpoint.DCE, Pool: endpoint.InternetPool, TCP: 49152, UDP: 49153, Command: "für <9>",
			Owner: endpoint.Owner{UID: 1000}, PID: 4711, RunGone: true, Since: time.Date(2026, 11, 22, 23, 47, 0, 5, time.FixedZone("", 3600)),
		},
		Started: 99,
	}
	least := registry.GrantRecord{Grant: endpoint.Grant{ID: 0xabc, Dialect: endpoint.ONC, UDP: 1, Since: g.Since}}
	for _, tt := range []struct {
		grant registry.GrantRecord
		want  string
	}{
		{g, `{"grant":{"dialect":2,"pool":"internet","tcp":49152,"udp":49153,"command":"für \u003c9\u003e","uid":1000,"pid":4711,"run_gone":true,` +
			`"since":"2026-11-22T22:47:00.000000005Z","started":99}}`},
		{least, `{"grant":{"dialect":1,"pool":"dynamic","udp":1,"uid":0,"since":"2026-11-22T22:47:00.000000005Z"}}`},
	} {
		w, err := encodeGrant(&tt.grant)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(w.value[crcSize:]); string(w.key) != "\x00\x00\x00\x00\x0a\xbc" || got != tt.want {
			t.Errorf("encodeGrant = %x, %s, want\n%s", w.key, got, tt.want)
		}
		var c registry.Contents
		if err := decode(&c, w, moment{}); err != nil || len(c.Rows) > 0 || len(c.Grants) != 1 || !storetest.SameGrant(c.Grants[0], tt.grant) {
			t.Errorf("decode = %+v, %v, want %+v", c, err, tt.grant)
		}
	}
}

func TestRefusedGrant(t *testing.T) {
	for _, tt := range []struct {
		change func(*registry.GrantRecord)
		want   string
	}{
		{func(g *registry.GrantRecord) { g.ID = 0 }, "id 0: it has 6 bytes and is not 0"},
		{func(g *registry.GrantRecord) { g.ID = endpoint.MaxID + 1 }, "id 281474976710656: it has 6 bytes and is not 0"},
		{func(g *registry.GrantRecord) { g.Pool = 99 }, "grant 000000000abc: unknown pool Pool(99)"},
		{func(g *registry.GrantRecord) { g.TCP, g.UDP = 0, 0 }, "grant 000000000abc: no port"},
		{func(g *registry.GrantRecord) { g.Owner = endpoint.HostOwner(netip.MustParseAddr("192.0.2.1")) }, "grant 000000000abc: ports are given on this host only"},
		{func(g *registry.GrantRecord) { g.Command = "\xff" }, `grant 000000000abc: command "\xff" is not printable`},
		{func(g *registry.GrantRecord) { g.Since = time.Date(10000, 1, 2, 0, 0, 0, 0, time.UTC) }, "grant 000000000abc: since: "},
	} {
		g := storetest.Grant(0)
		g.ID = 0xabc
		tt.change(&g)
		if _, err := encodeGrant(&g); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("encodeGrant = %v, want %q", err, tt.want)
		}
	}
}

// FuzzGrantText is FuzzText for grants.
func FuzzGrantText(f *testing.F) {
	for _, seed := range []grantText{
		{},
		{Dialect: 255, Pool: "\xff", TCP: math.MaxUint16, UDP: 1, Command: "für --port <9> & “mehr”\u2028", UID: math.MaxUint32},
		{Pool: "dynamic", PID: -7, RunGone: true, Since: time.Date(2026, 11, 22, 23, 47, 0, 5, time.FixedZone("", -90*60)), Started: math.MaxUint64},
		{Since: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		b, _ := json.Marshal(&seed)
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, s string) {
		var value grantText
		if json.Unmarshal([]byte(s), &value) != nil {
			return
		}
		want, wantErr := json.Marshal(&value)
		got, err := value.append(nil)
		if string(got) != string(want) || (err == nil) != (wantErr == nil) {
			t.Errorf("append(%+v) = %s, %v, want %s, %v", value, got, err, want, wantErr)
		}
	})
}
