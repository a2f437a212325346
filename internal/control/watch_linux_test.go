package control

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
)

// beginWatch begins a watch and returns the status, what is told of a refusal,
// and how to end it.
func beginWatch(t *testing.T, c *api.Client) (status int, text string, end func()) {
	t.Helper()
	answer, err := c.HTTP.Get("http://quaymaster" + api.EndpointsPath + "?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	end = func() { answer.Body.Close() }
	t.Cleanup(end)
	if answer.StatusCode != http.StatusOK {
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	return answer.StatusCode, text, end
}

// TestWatches: one user has so many, and who ends one has room for another. It
// costs no other user anything.
func TestWatches(t *testing.T) {
	nstest.NeedRoot(t)
	r := start(t, &Server{})
	var ends []func()
	for i := range api.MaxWatchers {
		status, text, end := beginWatch(t, clientAs(t, 65534, r.path))
		if status != http.StatusOK {
			t.Fatalf("watch %d: %d %s", i+1, status, text)
		}
		ends = append(ends, end)
	}
	status, text, _ := beginWatch(t, clientAs(t, 65534, r.path))
	if want := `{"mistakes":["uid 65534 has 16 watches, as many as one user may have"]}` + "\n"; status != http.StatusTooManyRequests || text != want {
		t.Errorf("one watch too many: %d %s, want 429 %s", status, text, want)
	}
	for _, uid := range []int{4711, 0} {
		if status, text, _ := beginWatch(t, clientAs(t, uid, r.path)); status != http.StatusOK {
			t.Errorf("a watch of uid %d: %d %s", uid, status, text)
		}
	}
	if _, err := clientAs(t, 65534, r.path).List(t.Context()); err != nil {
		t.Errorf("List of who has as many watches as may be: %v", err)
	}
	ends[7]()
	nstest.WaitFor(t, "a watch that ended to be given back", patience, func() bool {
		status, _, _ := beginWatch(t, clientAs(t, 65534, r.path))
		return status == http.StatusOK
	})
	for _, end := range ends {
		end()
	}
	nstest.WaitFor(t, "the watches of a user without any to be forgotten", patience, func() bool {
		r.watchers.mu.Lock()
		defer r.watchers.mu.Unlock()
		return r.watchers.byUID[65534] <= 1
	})
}

func TestCounters(t *testing.T) {
	r := start(t, &Server{Counters: func() api.Counters { return api.Counters{"made": 3, "throttled": 1<<64 - 1} }})
	for path, want := range map[string]string{r.path: `{"made":3,"throttled":18446744073709551615}`, start(t, &Server{}).path: `{}`} {
		answer, err := api.NewClient(path).HTTP.Get("http://quaymaster/v1/counters")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != 200 || string(text) != want+"\n" || answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("GET /v1/counters = %d %s, %v, want %s", answer.StatusCode, text, err, want)
		}
	}
}

// TestEvents: who did it, and why.
func TestEvents(t *testing.T) {
	r := start(t, &Server{Registry: withPermanent(t)})
	c, ctx := api.NewClient(r.path), t.Context()
	events, ended := watch(t, c)
	next(t, events, ended)
	one := func(program uint32, port uint16, a api.Addition) api.Addition {
		a.Endpoints = []endpoint.Document{document(program, 1, "tcp", port)}
		return a
	}
	expect := func(kind string, program uint32, by, why string) {
		t.Helper()
		e := next(t, events, ended)
		if e.Event != kind || e.Endpoint == nil || e.Endpoint.Program != program || e.By != by || e.Why != why {
			t.Errorf("event %+v (%+v), want %s of %d by %q, %q", e, e.Endpoint, kind, program, by, why)
		}
	}
	add := func(a api.Addition) {
		t.Helper()
		if _, err := c.Add(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	add(one(7, 2000, api.Addition{TTL: 60}))
	expect("made", 7, me(), "")
	add(one(7, 2000, api.Addition{TTL: 60}))
	expect("renewed", 7, me(), "")
	add(one(7, 2000, api.Addition{TTL: 1}))
	expect("renewed", 7, me(), "")
	expect("ended", 7, "", "its lease ended")

	p := startAs(t, uint32(os.Getuid()))
	add(one(8, 2000, api.Addition{PID: p.pid}))
	expect("made", 8, me(), "")
	p.end()
	expect("ended", 8, "", "its process ended")

	add(one(9, 2000, api.Addition{}))
	expect("made", 9, me(), "")
	if _, err := c.Add(ctx, one(9, 2001, api.Addition{})); err == nil {
		t.Error("no conflict")
	}
	expect("refused", 9, me(), "registered already at tcp 0.0.0.0:2000 (owner: "+me()+")")
	if _, err := c.Add(ctx, one(10, 2000, api.Addition{PID: 1<<31 - 1})); err == nil {
		t.Error("there is a process 2147483647")
	}
	expect("refused", 10, me(), "process 2147483647 cannot be watched: no such process")

	var many []endpoint.Document
	for i := range uint32(10) {
		many = append(many, document(20, i, "tcp", 2000))
	}
	add(api.Addition{Endpoints: many})
	for i := range many {
		next(t, events, ended)
		many[i].Port++
	}
	if _, err := c.Add(ctx, api.Addition{Endpoints: many}); err == nil {
		t.Error("no conflict")
	}
	other := func(version int) string {
		return fmt.Sprintf("onc 20 version %d on tcp 0.0.0.0:2001: registered already at tcp 0.0.0.0:2000 (owner: %s)", version, me())
	}
	expect("refused", 20, me(), "registered already at tcp 0.0.0.0:2000 (owner: "+me()+"); "+other(1)+"; "+other(2)+"; and 7 more")

	g := r.Registry
	refused := &endpoint.Registration{Interface: endpoint.Program(100003, 3)}
	g.Refuse(nil, refused, fmt.Errorf("nobody knows who"))
	e := next(t, events, ended)
	want := document(100003, 3, "", 0)
	want.Address, want.Owner = "", e.Endpoint.Owner
	if diff := cmp.Diff(api.Event{Event: "refused", Seq: g.Seq(), Endpoint: &want, Why: "nobody knows who"}, e); diff != "" {
		t.Errorf("a refusal of nobody's (-want +got):\n%s", diff)
	}
}

// TestGuarded: a user has so many connections, and gives a place back with each.
func TestGuarded(t *testing.T) {
	nstest.NeedRoot(t)
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // for other users
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	guard := transport.NewGuard(transport.Rules{PerUser: 2})
	r := startAt(t, &Server{}, guard.Listener(ln))
	ctx := t.Context()
	var clients []*api.Client
	for range 2 {
		c := clientAs(t, 65534, r.path)
		if l, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(7, 1, "tcp", 2000)}}); err != nil || l.Endpoints[0].UID != 65534 {
			t.Fatalf("Add = %+v, %v, want a row of nobody's", l, err)
		}
		clients = append(clients, c)
	}
	_, err = clientAs(t, 65534, r.path).List(ctx)
	if want := r.path + ": the daemon ended the connection without an answer: it may have ended, or have as many connections as it takes"; err == nil || err.Error() != want {
		t.Errorf("List over a connection too many: %v, want %s", err, want)
	}
	if n := guard.Counts().BusyUser; n != 1 {
		t.Errorf("%d connections refused, want 1", n)
	}
	for range 3 {
		if _, err := clientAs(t, 0, r.path).List(ctx); err != nil {
			t.Errorf("List by root: %v", err)
		}
	}
	clients[0].HTTP.CloseIdleConnections()
	nstest.WaitFor(t, "the place of a connection to be given back", patience, func() bool {
		_, err := clientAs(t, 65534, r.path).List(ctx)
		return err == nil
	})
}

// TestSlowWatcher: a watcher that takes nothing keeps nobody waiting, and what it
// missed comes as a snapshot.
func TestSlowWatcher(t *testing.T) {
	r := start(t, &Server{})
	c, ctx := api.NewClient(r.path), t.Context()
	release := make(chan struct{})
	var got []api.Event
	ended := make(chan error, 1)
	begun := make(chan struct{})
	isLast := func(d endpoint.Document) bool { return d.Program == 1 }
	go func() {
		ended <- c.Watch(ctx, func(e api.Event) error {
			if len(got) == 0 {
				close(begun)
				<-release
			}
			got = append(got, e)
			if slices.ContainsFunc(e.Endpoints, isLast) || e.Endpoint != nil && isLast(*e.Endpoint) {
				return io.EOF
			}
			return nil
		})
	}()
	<-begun
	annotation := strings.Repeat("x", endpoint.MaxAnnotation)
	for i := range uint32(20) { // more than the socket's buffers and the queue hold
		var docs []endpoint.Document
		for version := range uint32(500) {
			d := document(0x20000000+i, version, "tcp", 2000)
			d.Annotation = annotation
			docs = append(docs, d)
		}
		if _, err := c.Add(ctx, api.Addition{Endpoints: docs}); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if _, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(1, 1, "tcp", 2000)}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the watch does not come to the last change")
	}
	seq, rows, snapshots := uint64(0), 0, 0
	for _, e := range got {
		switch {
		case e.Event == registry.Snapshot.String():
			seq, rows = e.Seq, len(e.Endpoints)
			snapshots++
			continue
		case e.Seq != seq+1:
			t.Fatalf("change %d follows %d", e.Seq, seq)
		}
		seq++
		rows++
	}
	if snapshots < 2 || rows != 20*500+1 {
		t.Errorf("%d snapshots and %d rows in the end, want 2 and %d", snapshots, rows, 20*500+1)
	}
}
