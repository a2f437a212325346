package launch

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A fake is a daemon that gives ports in turn and believes everything.
type fake struct {
	path   string // of its control socket
	server *http.Server

	mu       sync.Mutex
	port     uint16                            // the next to be given
	grants   map[string]endpoint.GrantDocument // those that were not given back
	requests []api.GrantRequest
	rows     []endpoint.Document
	added    []endpoint.Document // every row of every addition that was taken, in order
	ids      int
	noGrant  string                          // why none is given
	refuse   func(*endpoint.Document) string // why a row is refused
}

func startFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{path: filepath.Join(t.TempDir(), "control.sock"), port: 5001, grants: map[string]endpoint.GrantDocument{}}
	ln, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.GrantsPath, f.give)
	mux.HandleFunc("DELETE "+api.GrantsPath+"/{id}", f.takeBack)
	mux.HandleFunc("GET "+api.EndpointsPath, f.list)
	mux.HandleFunc("POST "+api.EndpointsPath, f.add)
	mux.HandleFunc("DELETE "+api.EndpointsPath+"/{id}", f.remove)
	f.server = &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.server.Serve(ln)
	}()
	t.Cleanup(func() {
		f.server.Close()
		<-done
	})
	return f
}

func (f *fake) give(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var q api.GrantRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	f.requests = append(f.requests, q)
	if f.noGrant != "" {
		refuse(w, http.StatusInsufficientStorage, f.noGrant)
		return
	}
	f.ids++
	g := endpoint.GrantDocument{ID: fmt.Sprintf("%012x", f.ids), Dialect: q.Dialect}
	if q.TCP {
		g.TCP = f.port
	}
	if q.Apart {
		f.port++
	}
	if q.UDP {
		g.UDP = f.port
	}
	f.port++
	f.grants[g.ID] = g
	json.NewEncoder(w).Encode(g)
}

func (f *fake) takeBack(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.grants, r.PathValue("id"))
	w.WriteHeader(http.StatusNoContent)
}

func (f *fake) list(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	json.NewEncoder(w).Encode(api.Listing{Endpoints: f.rows})
}

// samePlace as the registry sees it.
func samePlace(a, b *endpoint.Document) bool {
	return standsFor(&endpoint.Document{Dialect: a.Dialect, Program: a.Program, UUID: a.UUID, Version: a.Version, NetID: a.NetID, ProtSeq: a.ProtSeq}, &endpoint.Document{
		Dialect: b.Dialect, Program: b.Program, UUID: b.UUID, Version: b.Version, NetID: b.NetID, ProtSeq: b.ProtSeq,
	}) && (a.Dialect == "onc" || a.Address == b.Address && a.Port == b.Port)
}

func (f *fake) add(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var a api.Addition
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if a.Grant != "" && f.grants[a.Grant].ID == "" {
		refuse(w, http.StatusNotFound, "there is no such grant")
		return
	}
	var mistakes []string
	for i := range a.Endpoints {
		d := &a.Endpoints[i]
		if f.refuse != nil {
			if why := f.refuse(d); why != "" {
				mistakes = append(mistakes, why)
			}
		}
		at := slices.IndexFunc(f.rows, func(o endpoint.Document) bool { return samePlace(&o, d) })
		if at >= 0 && (f.rows[at].Address != d.Address || f.rows[at].Port != d.Port) {
			mistakes = append(mistakes, fmt.Sprintf("%d on %s: registered already at %s:%d", d.Program, d.NetID, f.rows[at].Address, f.rows[at].Port))
		}
	}
	if len(mistakes) > 0 {
		refuse(w, http.StatusConflict, mistakes...)
		return
	}
	for i := range a.Endpoints {
		d := &a.Endpoints[i]
		if at := slices.IndexFunc(f.rows, func(o endpoint.Document) bool { return samePlace(&o, d) }); at >= 0 {
			d.ID = f.rows[at].ID
		} else {
			f.ids++
			d.ID = fmt.Sprintf("%012x", f.ids)
			f.rows = append(f.rows, *d)
		}
		f.added = append(f.added, *d)
	}
	json.NewEncoder(w).Encode(api.Listing{Endpoints: a.Endpoints})
}

func (f *fake) remove(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = slices.DeleteFunc(f.rows, func(d endpoint.Document) bool { return d.ID == r.PathValue("id") })
	w.WriteHeader(http.StatusNoContent)
}

func refuse(w http.ResponseWriter, status int, mistakes ...string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Refusal{Mistakes: mistakes})
}

// additions returns what was added since the beginning, and again.
func (f *fake) additions() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return writtenDocuments(f.added)
}

func (f *fake) listed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return writtenDocuments(f.rows)
}

func (f *fake) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.grants)
}

func writtenDocuments(all []endpoint.Document) string {
	var rows []row
	for _, d := range all {
		rows = append(rows, row{Document: d})
	}
	return written(rows)
}

// changed calls f while the fake is not asked.
func (f *fake) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func try(t *testing.T, f *fake, rows []row, ours map[string]bool) outcome {
	t.Helper()
	return register(context.Background(), api.NewClient(f.path), "", rows, ours)
}

func TestRegister(t *testing.T) {
	both := func() []row {
		return append(rowsOf([]endpoint.Document{mountd3}, "tcp", sockets("[::]:5001*")), rowsOf([]endpoint.Document{mountd3}, "udp", sockets("0.0.0.0:5001"))...)
	}
	check := func(t *testing.T, o outcome, made, left, refused, why string) {
		t.Helper()
		if written(o.made) != made || written(o.left) != left || written(o.refused) != refused || fmt.Sprint(o.why) != "["+why+"]" || o.err != nil {
			t.Errorf("made %q, left %q, refused %q: %q, %v\nwant %q, %q, %q: %q",
				written(o.made), written(o.left), written(o.refused), o.why, o.err, made, left, refused, why)
		}
	}
	t.Run("all", func(t *testing.T) {
		f := startFake(t)
		o := try(t, f, both(), nil)
		check(t, o, "3 tcp 0.0.0.0:5001, 3 tcp6 [::]:5001, 3 udp 0.0.0.0:5001", "", "", "")
		for _, r := range o.made {
			if r.ID == "" || r.Annotation != "mounts" {
				t.Errorf("%+v, want an id, and its annotation", r)
			}
		}
	})
	t.Run("the server was first", func(t *testing.T) {
		f := startFake(t)
		f.change(func() {
			f.rows = []endpoint.Document{{ID: "x", Dialect: "onc", Program: 100005, Version: endpoint.Version{Major: 3}, NetID: "tcp", Address: "0.0.0.0", Port: 5001}}
		})
		check(t, try(t, f, both(), nil), "3 tcp6 [::]:5001, 3 udp 0.0.0.0:5001", "3 tcp 0.0.0.0:5001", "", "")
		check(t, try(t, f, both()[:1], map[string]bool{"x": true}), "3 tcp 0.0.0.0:5001", "", "", "") // what is ours is renewed
	})
	t.Run("another server", func(t *testing.T) {
		f := startFake(t)
		f.change(func() {
			f.rows = []endpoint.Document{{ID: "x", Dialect: "onc", Program: 100005, Version: endpoint.Version{Major: 3}, NetID: "tcp", Address: "0.0.0.0", Port: 20048}}
		})
		check(t, try(t, f, both(), nil), "3 tcp6 [::]:5001, 3 udp 0.0.0.0:5001", "", "3 tcp 0.0.0.0:5001", "100005 on tcp: registered already at 0.0.0.0:20048")
	})
	t.Run("the server is first meanwhile", func(t *testing.T) {
		f := startFake(t)
		unwanted := func(d *endpoint.Document) string {
			if d.NetID != "udp" {
				return ""
			}
			if !slices.ContainsFunc(f.rows, func(o endpoint.Document) bool { return samePlace(&o, d) }) {
				o := *d
				o.ID, o.Address = "y", "127.0.0.1"
				f.rows = append(f.rows, o)
			}
			return "registered already"
		}
		f.change(func() { f.refuse = unwanted })
		check(t, try(t, f, both(), nil), "3 tcp 0.0.0.0:5001, 3 tcp6 [::]:5001", "3 udp 0.0.0.0:5001", "", "")
	})
	t.Run("in place of another", func(t *testing.T) {
		f := startFake(t)
		o := try(t, f, rowsOf([]endpoint.Document{mountd3}, "tcp", sockets("127.0.0.1:5001")), nil)
		rows := rowsOf([]endpoint.Document{mountd3}, "tcp", sockets("0.0.0.0:5001"))
		rows[0].replaces = o.made[0].ID
		check(t, try(t, f, rows, map[string]bool{o.made[0].ID: true}), "3 tcp 0.0.0.0:5001", "", "", "")
		if got := f.listed(); got != "3 tcp 0.0.0.0:5001" {
			t.Errorf("now there is %s", got)
		}
	})
	t.Run("another address of an interface", func(t *testing.T) {
		f := startFake(t)
		one := try(t, f, rowsOf([]endpoint.Document{samr}, "tcp", sockets("127.0.0.1:5001")), nil)
		other := rowsOf([]endpoint.Document{samr}, "tcp", sockets("127.0.0.2:5001"))
		check(t, try(t, f, other, nil), "", "1.0 tcp 127.0.0.2:5001", "", "") // the server's own
		check(t, try(t, f, other, map[string]bool{one.made[0].ID: true}), "1.0 tcp 127.0.0.2:5001", "", "", "")
	})
	t.Run("no daemon", func(t *testing.T) {
		f := startFake(t)
		f.server.Close()
		if o := try(t, f, both(), nil); o.err == nil || len(o.made)+len(o.left)+len(o.refused) > 0 {
			t.Errorf("%+v, want an error", o)
		}
	})
}
