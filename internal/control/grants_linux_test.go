package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/portset"
)

// withPool returns a registry that gives ports of 5100-5109 to ordinary servers, and of
// 61000-61009 to the others.
func withPool(t *testing.T) *registry.Registry {
	t.Helper()
	kernel, err := socktable.Open()
	if err != nil {
		t.Fatal(err)
	}
	g, err := registry.Open(registry.Config{
		Sockets: kernel, Free: socktable.Free,
		Pools: registry.Pools{
			Source: "policy.reg",
			Policy: &portpool.Policy{Ports: ranges(t, "5100-5109")},
			Host:   &portpool.Host{Local: portset.Of(ranges(t, "32768-60999,61010-65535")...)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Close(), kernel.Close()); err != nil {
			t.Error(err)
		}
	})
	return g
}

func ranges(t *testing.T, text string) (all []portset.Range) {
	t.Helper()
	s, err := portset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for r := range s.Ranges() {
		all = append(all, r)
	}
	return all
}

func TestGrants(t *testing.T) {
	if !nstest.Inside(t) { // where nobody has the ports
		return
	}
	r := start(t, &Server{Registry: withPool(t)})
	c, ctx := api.NewClient(r.path), t.Context()
	g, err := c.Grant(ctx, api.GrantRequest{Dialect: "onc", TCP: true, UDP: true, Command: "rpc.mountd"})
	if err != nil {
		t.Fatal(err)
	}
	want := endpoint.GrantDocument{
		ID: g.ID, Dialect: "onc", Pool: "intranet", TCP: g.TCP, UDP: g.TCP, Command: "rpc.mountd",
		Owner: me(), UID: uint32(os.Getuid()), PID: int32(os.Getpid()), Since: g.Since,
	}
	if diff := cmp.Diff(want, g); diff != "" || g.TCP < 5100 || g.TCP > 5109 || g.Since.IsZero() {
		t.Errorf("Grant = %+v, want %+v", g, want)
	}

	// Nobody listens yet.
	d := document(0x20000001, 1, "tcp", g.TCP)
	_, err = c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{d}, Grant: g.ID})
	if text := fmt.Sprintf("onc 536870913 version 1 on tcp 0.0.0.0:%d: not allowed: no socket of uid %d listens there", g.TCP, os.Getuid()); err == nil || err.Error() != text {
		t.Errorf("Add = %v, want %s", err, text)
	}
	ln, err := net.Listen("tcp4", fmt.Sprintf(":%d", g.TCP))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{d}, Grant: g.ID})
	if err != nil || len(l.Endpoints) != 1 || l.Endpoints[0].Evidence != "listening" || l.Endpoints[0].PID != int32(os.Getpid()) {
		t.Errorf("Add = %+v, %v, want one that listens", l, err)
	}

	p, err := c.Pool(ctx)
	if err != nil || len(p.Grants) != 1 || p.Grants[0].ID != g.ID {
		t.Fatalf("Pool = %+v, %v, want the grant", p, err)
	}
	if len(p.Pools) != 2 || p.Source != "policy.reg" || p.Pools[0].Pool != "intranet" || !p.Pools[0].Default || p.Pools[1].Default ||
		p.Pools[0].Ports.String() != "5100-5109" || p.Pools[1].Ports.String() != "61000-61009" || !p.Shared.IsEmpty() {
		t.Errorf("Pool = %+v", p)
	}
	if tcp := p.Pools[0].TCP; tcp.Given != 1 || tcp.Given+tcp.Busy+tcp.Free != 10 {
		t.Errorf("of TCP %+v, want one given, ten in all", tcp)
	}

	if err := c.Release(ctx, g.ID); err != nil {
		t.Fatal(err)
	}
	p, err = c.Pool(ctx)
	if err != nil || len(p.Grants) != 0 || p.Pools[0].TCP.Busy < 1 {
		t.Errorf("Pool = %+v, %v, want no grant and a busy port", p, err)
	}
	if err := c.Release(ctx, g.ID); err == nil || err.Error() != fmt.Sprintf("grant %s: not given", g.ID) {
		t.Errorf("Release again = %v", err)
	}
}

// TestGrantsAskedWrongly: what is not understood gives nothing.
func TestGrantsAskedWrongly(t *testing.T) {
	r := start(t, &Server{Registry: withPool(t)})
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/grants", `{"dialect":"onc","tcp":true,"pool":"Internet"}`, 400, `pool \"Internet\": want default, internet or intranet`},
		{"POST", "/v1/grants", `{"dialect":"rpc","tcp":true}`, 400, `dialect \"rpc\": want onc or dce`},
		{"POST", "/v1/grants", `{"tcp":true}`, 400, `dialect \"\": want onc or dce`},
		{"POST", "/v1/grants", `{"dialect":"dce"}`, 400, "want tcp, udp or both"},
		{"POST", "/v1/grants", `{"dialect":"dce","tcp":true,"port":5100}`, 400, `unknown field \"port\"`},
		{"POST", "/v1/grants", `{"dialect":"dce","tcp":true} x`, 400, "something follows the JSON value"},
		{"POST", "/v1/grants", `{"dialect":"dce","tcp":true,"command":"\u001b[2J"}`, 400, `command \"\\x1b[2J\" is not printable`},
		{"POST", "/v1/grants", `{"dialect":"dce","tcp":true,"command":"` + strings.Repeat("x", 9<<20) + `"}`, 413, "more than 8 MiB"},
		{"DELETE", "/v1/grants/5100", "", 400, `id \"5100\" is not 12 hexadecimal digits`},
		{"DELETE", "/v1/grants/000000000001", "", 404, "grant 000000000001: not given"},
		{"POST", "/v1/endpoints", `{"endpoints":[],"grant":"1"}`, 400, `grant: id \"1\" is not 12 hexadecimal digits`},
		{"POST", "/v1/endpoints", `{"endpoints":[],"grant":"000000000001","ttl":1}`, 400, "permanent, ttl, pid and grant: choose one"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://quaymaster"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := api.NewClient(r.path).HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != tt.status || !strings.Contains(string(text), tt.want) {
			t.Errorf("%s %s %.60s: %d %s, %v, want %d %s", tt.method, tt.path, tt.body, answer.StatusCode, text, err, tt.status, tt.want)
		}
	}
	if p, err := api.NewClient(r.path).Pool(t.Context()); err != nil || len(p.Grants) > 0 {
		t.Errorf("Pool = %+v, %v, want no grants", p.Grants, err)
	}
}

// TestGrantsOfOthers: a tenth of a pool is root's, and what one user has is not another's to
// give back or to register at.
func TestGrantsOfOthers(t *testing.T) {
	if !nstest.Inside(t) { // where nobody has the ports
		return
	}
	r := start(t, &Server{Registry: withPool(t)})
	ctx := t.Context()
	first, asked := endpoint.GrantDocument{}, api.GrantRequest{Dialect: "dce", Pool: "internet", TCP: true}
	for i := range 9 {
		g, err := clientAs(t, 65534, r.path).Grant(ctx, asked)
		if err != nil || g.Owner != "nobody" {
			t.Fatalf("grant %d = %+v, %v", i, g, err)
		}
		if i == 0 {
			first = g
		}
	}
	_, err := clientAs(t, 65534, r.path).Grant(ctx, asked)
	if want := "no port to give: of the 10 ports of the pool, 61000-61009 on tcp, none is left (nobody has 9, 1 kept for root)"; err == nil || err.Error() != want {
		t.Errorf("Grant = %v, want %s", err, want)
	}
	if err := clientAs(t, 4711, r.path).Release(ctx, first.ID); err == nil || !strings.Contains(err.Error(), "only its owner or root may change it") {
		t.Errorf("Release = %v", err)
	}
	root := api.NewClient(r.path)
	for range 2 {
		if _, err = root.Grant(ctx, asked); err != nil {
			break
		}
	}
	if err == nil || !strings.HasSuffix(err.Error(), "none is left (nobody has 9, root has 1)") {
		t.Errorf("Grant = %v, want none left", err)
	}
	if err := root.Release(ctx, first.ID); err != nil {
		t.Error(err)
	}
}

// TestGrantsOfOneConnection: what is kept of who connected is right for the next request, too.
func TestGrantsOfOneConnection(t *testing.T) {
	r := start(t, &Server{Registry: withPool(t)})
	c := clientAs(t, 65534, r.path)
	for i := range 3 {
		got, err := c.Grant(t.Context(), api.GrantRequest{Dialect: "onc", UDP: true})
		if err != nil || got.Owner != "nobody" || got.PID != int32(os.Getpid()) {
			t.Errorf("grant %d = %+v, %v, want one of nobody's", i, got, err)
		}
	}
}

// TestWatchGrants: a watch tells of grants, and of ports that were missing.
func TestWatchGrants(t *testing.T) {
	if !nstest.Inside(t) { // where nobody has the ports
		return
	}
	r := start(t, &Server{Registry: withPool(t)})
	c := api.NewClient(r.path)
	events, ended := watch(t, c)
	if e := next(t, events, ended); e.Event != "snapshot" {
		t.Fatalf("first %+v", e)
	}
	g, err := c.Grant(t.Context(), api.GrantRequest{Dialect: "onc", TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(api.Event{Event: "granted", Grant: &g, By: me()}, next(t, events, ended)); diff != "" {
		t.Error(diff)
	}
	if err := c.Release(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(api.Event{Event: "returned", Grant: &g, By: me()}, next(t, events, ended)); diff != "" {
		t.Error(diff)
	}
	r.Registry.SetPools(registry.Pools{})
	if _, err := c.Grant(context.Background(), api.GrantRequest{Dialect: "onc", TCP: true}); err == nil {
		t.Fatal("a port out of no pool")
	}
	if e := next(t, events, ended); e.Event != "exhausted" || e.Grant == nil || e.Grant.ID != "" || e.Why != "no port to give: the daemon does not know which ports this host gives to outgoing connections" {
		t.Errorf("event %+v, grant %+v", e, e.Grant)
	}
}
