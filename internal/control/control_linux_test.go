package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

const patience = 20 * time.Second

// A running is a server on a socket of its own.
type running struct {
	*Server
	path  string
	stop  context.CancelFunc
	ended chan error
}

func start(t *testing.T, s *Server) *running {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // for other users
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	return startAt(t, s, ln)
}

func startAt(t *testing.T, s *Server, ln net.Listener) *running {
	t.Helper()
	r := &running{Server: s, path: ln.Addr().String(), ended: make(chan error, 1)}
	if err := os.Chmod(r.path, 0o666); err != nil {
		t.Fatal(err)
	}
	if s.Registry == nil {
		s.Registry = registry.New()
	}
	s.Log = slog.New(slog.DiscardHandler)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		r.stop()
		if err := <-r.ended; err != nil {
			t.Errorf("Serve of a cancelled context = %v, want nil", err)
		}
	})
	return r
}

// document returns an endpoint on every address.
func document(program, version uint32, netid string, port uint16) endpoint.Document {
	address := "0.0.0.0"
	if strings.HasSuffix(netid, "6") {
		address = "::"
	}
	return endpoint.Document{Dialect: "onc", Program: program, Version: endpoint.Version{Major: version}, NetID: netid, Address: address, Port: port}
}

// withMapperRow returns a registry with a row of the mapper's own.
func withMapperRow(t *testing.T) *registry.Registry {
	t.Helper()
	g, err := registry.Open(registry.Config{Own: []endpoint.Registration{{
		Interface: endpoint.Program(rpcbind.Program, 4),
		Endpoint:  endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.MustParseAddrPort("0.0.0.0:111")},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// me returns the name of the user that runs the test, as a listing has it.
func me() string {
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		return strconv.Itoa(os.Getuid())
	}
	return u.Username
}

func TestAddListRemove(t *testing.T) {
	r := start(t, &Server{})
	c, ctx := api.NewClient(r.path), t.Context()
	if l, err := c.List(ctx); err != nil || l.Seq != 0 || len(l.Endpoints) != 0 {
		t.Fatalf("List of nothing = %+v, %v", l, err)
	}
	asked := []endpoint.Document{
		document(100005, 3, "tcp", 20048), document(100005, 3, "tcp6", 20048), document(100005, 3, "udp", 20048),
		{Dialect: "onc", Program: 7, Version: endpoint.Version{Major: 1}, NetID: "local", Address: "/run/x.sock", Annotation: "mine <&>"},
	}
	added, err := c.Add(ctx, api.Addition{Endpoints: asked})
	if err != nil || added.Seq != 4 || len(added.Endpoints) != 4 {
		t.Fatalf("Add = %+v, %v, want 4 endpoints at change 4", added, err)
	}
	for i, d := range added.Endpoints {
		if d.Owner != me() || d.UID != uint32(os.Getuid()) || d.Since.IsZero() {
			t.Errorf("Add: owner %q, uid %d, since %v, want %q, %d and a time", d.Owner, d.UID, d.Since, me(), os.Getuid())
		}
		d.ID, d.Owner, d.UID, d.Since, d.Evidence = "", "", 0, time.Time{}, ""
		if diff := cmp.Diff(asked[i], d); diff != "" {
			t.Errorf("Add (-asked +added):\n%s", diff)
		}
	}
	listed, err := c.List(ctx)
	if diff := cmp.Diff(added, listed); err != nil || diff != "" {
		t.Errorf("List: %v (-added +listed):\n%s", err, diff)
	}
	if again, err := c.Add(ctx, api.Addition{Endpoints: asked[:2]}); err != nil || again.Seq != 4 || cmp.Diff(added.Endpoints[:2], again.Endpoints) != "" {
		t.Errorf("Add of what stands = %+v, %v, want it as it stands", again, err)
	}

	id, err := endpoint.ParseID(added.Endpoints[3].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveID(ctx, id); err != nil {
		t.Errorf("RemoveID(%s): %v", id, err)
	}
	if err := c.Remove(ctx, document(100005, 3, "udp", 0)); err != nil {
		t.Errorf("Remove of udp: %v", err)
	}
	if l, err := c.List(ctx); err != nil || len(l.Endpoints) != 2 {
		t.Errorf("%d are left, %v, want 2", len(l.Endpoints), err)
	}
	if err := c.Remove(ctx, document(100005, 3, "", 0)); err != nil {
		t.Errorf("Remove of all transports: %v", err)
	}
	if l, err := c.List(ctx); err != nil || len(l.Endpoints) != 0 || l.Seq != 8 {
		t.Errorf("%d are left at change %d, %v, want 0 at 8", len(l.Endpoints), l.Seq, err)
	}
}

func TestRefusals(t *testing.T) {
	r := start(t, &Server{Registry: withMapperRow(t)})
	c, ctx := api.NewClient(r.path), t.Context()
	if _, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(100005, 3, "tcp", 20048), document(7, 1, "tcp", 2000)}}); err != nil {
		t.Fatal(err)
	}
	add := func(docs ...endpoint.Document) func() error {
		return func() error { _, err := c.Add(ctx, api.Addition{Endpoints: docs}); return err }
	}
	for _, tt := range []struct {
		name string
		ask  func() error
		want string
	}{
		{
			"conflict", add(document(100005, 3, "tcp", 20049)),
			"mountd 100005 version 3 on tcp 0.0.0.0:20049: registered already at tcp 0.0.0.0:20048 (owner: " + me() + ")",
		},
		{"the mapper's program", add(document(rpcbind.Program, 7, "tcp", 2000)), "rpcbind 100000 version 7 on tcp 0.0.0.0:2000: not allowed: the program is the mapper's own"},
		{
			"one mistake per row, none added", add(document(8, 1, "tcp", 2000), document(8, 2, "tcp", 0), document(8, 3, "sctp", 1), document(8, 4, "tcp6", 2000), endpoint.Document{}),
			"endpoints[1]: 0.0.0.0:0: port 0 cannot be registered\n" +
				"endpoints[2]: unknown netid \"sctp\": want udp, tcp, udp6, tcp6, local\n" +
				"endpoints[4]: unknown dialect \"\": want onc or dce",
		},
		{
			"one conflict per row, none added", add(document(8, 1, "tcp", 2000), document(7, 1, "tcp", 2001), document(100005, 3, "tcp", 20049)),
			"onc 7 version 1 on tcp 0.0.0.0:2001: registered already at tcp 0.0.0.0:2000 (owner: " + me() + ")\n" +
				"mountd 100005 version 3 on tcp 0.0.0.0:20049: registered already at tcp 0.0.0.0:20048 (owner: " + me() + ")",
		},
		{"remove what is not there", func() error { return c.Remove(ctx, document(100005, 7, "", 0)) }, "mountd 100005 version 7: not registered"},
		{"remove where it is not", func() error { return c.Remove(ctx, document(7, 1, "udp", 0)) }, "onc 7 version 1: not registered"},
		{"remove an id that is not there", func() error { return c.RemoveID(ctx, 0xabc) }, "000000000abc: not registered"},
		{"remove the mapper's", func() error { return c.Remove(ctx, document(rpcbind.Program, 4, "", 0)) }, "rpcbind 100000 version 4 on tcp 0.0.0.0:111: not allowed: it is the mapper's own"},
		{"unknown netid", func() error { return c.Remove(ctx, document(7, 1, "sctp", 0)) }, `unknown netid "sctp"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.ask()
			var refused *api.RefusedError
			if !errors.As(err, &refused) || err.Error() != tt.want {
				t.Errorf("refused with %v, want\n%s", err, tt.want)
			}
			if l, err := c.List(ctx); err != nil || l.Seq != 3 {
				t.Errorf("%d changes were made, %v, want 3 as before", l.Seq, err)
			}
		})
	}
}

// TestRequests sends what our client does not.
func TestRequests(t *testing.T) {
	r := start(t, &Server{})
	long := `{"endpoints":[{"annotation":"` + strings.Repeat("x", maxBody) + `"}]}`
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string // part of the answer
	}{
		{"list", "GET", "/v1/endpoints", "", 200, `{"seq":0,"endpoints":[]}`},
		{"list with a body", "GET", "/v1/endpoints?watch=false", "null", 200, `{"seq":0,"endpoints":[]}`},
		{"add nothing", "POST", "/v1/endpoints", `{"endpoints":[]}`, 200, `{"seq":0,"endpoints":[]}`},
		{"blanks after the body", "POST", "/v1/endpoints", "{}\r\n\t ", 200, `{"seq":0,"endpoints":[]}`},
		{"a form is not read", "GET", "/v1/endpoints", "--x\r\nContent-Disposition: form-data; name=\"watch\"\r\n\r\nperhaps\r\n--x--\r\n", 200, `{"seq":0,"endpoints":[]}`},
		{"watch, but how", "GET", "/v1/endpoints?watch=perhaps", "", 400, "watch: want true or false"},
		{"no body", "POST", "/v1/endpoints", "", 400, "body: EOF"},
		{"garbage", "POST", "/v1/endpoints", "\x00\xff{{{", 400, "body: invalid character"},
		{"cut off", "POST", "/v1/endpoints", `{"endpoints":[{`, 400, "body: unexpected EOF"},
		{"two values", "POST", "/v1/endpoints", `{"endpoints":[]}{}`, 400, "something follows the JSON value"},
		{"value and garbage", "POST", "/v1/endpoints", `{} x`, 400, "something follows the JSON value"},
		{"a list", "POST", "/v1/endpoints", `[]`, 400, "body: json: cannot unmarshal array"},
		{"unknown key", "POST", "/v1/endpoints", `{"endpionts":[]}`, 400, `body: json: unknown field \"endpionts\"`},
		{"unknown key of a row", "POST", "/v1/endpoints", `{"endpoints":[{"prot":6}]}`, 400, `body: json: unknown field \"prot\"`},
		{"port too large", "POST", "/v1/endpoints", `{"endpoints":[{"port":65536}]}`, 400, "cannot unmarshal number 65536"},
		{"negative program", "POST", "/v1/endpoints", `{"endpoints":[{"program":-1}]}`, 400, "cannot unmarshal number -1"},
		{"too long", "POST", "/v1/endpoints", long, 413, "body of more than 8 MiB: register in parts"},
		{"bad id", "DELETE", "/v1/endpoints/zzz", "", 400, `id \"zzz\" is not 12 hexadecimal digits`},
		{"not there", "DELETE", "/v1/endpoints/000000000abc", "", 404, "000000000abc: not registered"},
		{"remove nothing in particular", "DELETE", "/v1/endpoints", "", 400, "want dialect=onc, program and version, or dialect=dce, uuid and version"},
		{"remove without a version", "DELETE", "/v1/endpoints?dialect=onc&program=7", "", 400, "want dialect=onc, program and version"},
		{"another dialect", "DELETE", "/v1/endpoints?dialect=dec&program=7&version=1", "", 400, "want dialect=onc, program and version"},
		{"number too large", "DELETE", "/v1/endpoints?dialect=onc&program=4294967296&version=1", "", 400, "want dialect=onc, program and version"},
		{"a version of dce", "DELETE", "/v1/endpoints?dialect=onc&program=7&version=1.0", "", 400, "want dialect=onc, program and version"},
		{"of dce without a version", "DELETE", "/v1/endpoints?dialect=dce&uuid=" + winreg, "", 400, "or dialect=dce, uuid and version"},
		{"of dce without a uuid", "DELETE", "/v1/endpoints?dialect=dce&version=1.0", "", 400, "or dialect=dce, uuid and version"},
		{"of dce by its name", "DELETE", "/v1/endpoints?dialect=dce&uuid=winreg&version=1.0", "", 400, `\"winreg\" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
		{"of dce with a version of onc", "DELETE", "/v1/endpoints?dialect=dce&version=1&uuid=" + winreg, "", 400, "version 1: an interface's version is MAJOR.MINOR, as in 1.0"},
		{"of dce with a version too large", "DELETE", "/v1/endpoints?dialect=dce&version=1.65536&uuid=" + winreg, "", 400, "want dialect=onc, program and version"},
		{"of dce with an unknown protocol sequence", "DELETE", "/v1/endpoints?dialect=dce&version=1.0&protseq=tcp6&uuid=" + winreg, "", 400, `unknown protocol sequence \"tcp6\"`},
		{"of dce with no protocol sequence after all", "DELETE", "/v1/endpoints?dialect=dce&version=1.0&protseq=&uuid=" + winreg, "", 400, `unknown protocol sequence \"\"`},
		{"of dce, not there", "DELETE", "/v1/endpoints?dialect=dce&version=1.0&protseq=ncacn_np&uuid=" + winreg, "", 404, "winreg " + winreg + " version 1.0: not registered"},
		{"of dce that nobody knows, not there", "DELETE", "/v1/endpoints?dialect=dce&version=1.10&uuid=6d9fe472-30f1-4708-8fa8-678362b96156", "", 404, "dce 6d9fe472-30f1-4708-8fa8-678362b96156 version 1.10: not registered"},
		{"a version of dce that is a number", "POST", "/v1/endpoints", `{"endpoints":[{"version":1.0}]}`, 400, `body: version 1.0: want 3 for onc, \"3.0\" for dce`},
		{"a version of dce without a minor one", "POST", "/v1/endpoints", `{"endpoints":[{"version":"1"}]}`, 400, `body: version \"1\": want 3 for onc, \"3.0\" for dce`},
		{"method", "PUT", "/v1/endpoints", "", 405, ""},
		{"path", "GET", "/v2/endpoints", "", 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://quaymaster"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "multipart/form-data; boundary=x") // what is sent is JSON all the same
			answer, err := api.NewClient(r.path).HTTP.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
				t.Errorf("%s %s = %d %s, %v, want %d %s", tt.method, tt.path, answer.StatusCode, body, err, tt.status, tt.want)
			}
			if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") != json.Valid(body) {
				t.Errorf("%s is told to be %s", body, answer.Header.Get("Content-Type"))
			}
		})
	}
}

// clientAs returns a client with one connection, which a process of that user
// made: SO_PEERCRED has the effective uid of the thread that connects.
func clientAs(t *testing.T, uid int, path string) *api.Client {
	t.Helper()
	nstest.NeedRoot(t)
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			dialled <- result{err: errno}
			return
		}
		conn, err := net.Dial("unix", path)
		dialled <- result{conn, err}
	}()
	r := <-dialled
	if r.err != nil {
		t.Fatalf("connecting as user %d: %v", uid, r.err)
	}
	t.Cleanup(func() { r.conn.Close() })
	used := false
	return &api.Client{Path: path, HTTP: http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if used {
				return nil, errors.New("the connection is used up")
			}
			used = true
			return r.conn, nil
		},
	}}}
}

func TestOwnership(t *testing.T) {
	r := start(t, &Server{})
	ctx := t.Context()
	asked := document(8, 1, "tcp", 2000)
	asked.Owner, asked.UID, asked.ID = "root", 0, "000000000001" // not believed
	l, err := clientAs(t, 65534, r.path).Add(ctx, api.Addition{Endpoints: []endpoint.Document{asked}})
	if err != nil || len(l.Endpoints) != 1 || l.Endpoints[0].UID != 65534 || l.Endpoints[0].Owner != "nobody" || l.Endpoints[0].ID == asked.ID {
		t.Fatalf("Add as nobody = %+v, %v, want a row of nobody's", l, err)
	}
	root := api.NewClient(r.path)
	if _, err := root.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(100005, 3, "tcp", 20048), document(7, 1, "tcp", 2000)}}); err != nil {
		t.Fatal(err)
	}
	id, _ := endpoint.ParseID(l.Endpoints[0].ID)
	for _, tt := range []struct {
		name string
		uid  int
		ask  func(*api.Client) error
		want string
	}{
		{
			"a low port", 65534, func(c *api.Client) error {
				_, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(9, 1, "udp", 1023)}})
				return err
			},
			"onc 9 version 1 on udp 0.0.0.0:1023: not allowed: ports below 1024 are for root and for who listens there",
		},
		{
			"root's row", 65534, func(c *api.Client) error { return c.Remove(ctx, document(100005, 3, "tcp", 0)) },
			"mountd 100005 version 3 on tcp 0.0.0.0:20048: only its owner or root may change it (owner: root)",
		},
		{
			"another user's, by id", 4711, func(c *api.Client) error { return c.RemoveID(ctx, id) },
			"onc 8 version 1 on tcp 0.0.0.0:2000: only its owner or root may change it (owner: nobody)",
		},
		{
			"another user's place", 4711, func(c *api.Client) error {
				_, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(8, 1, "tcp", 2001)}})
				return err
			},
			"onc 8 version 1 on tcp 0.0.0.0:2001: registered already at tcp 0.0.0.0:2000 (owner: nobody)",
		},
		{"her own, by id", 65534, func(c *api.Client) error { return c.RemoveID(ctx, id) }, ""},
		{"a user without a name", 4711, func(c *api.Client) error {
			_, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(8, 1, "tcp", 2001)}})
			return err
		}, ""},
		{
			"and what is told of it", 65534, func(c *api.Client) error { return c.Remove(ctx, document(8, 1, "", 0)) },
			"onc 8 version 1 on tcp 0.0.0.0:2001: only its owner or root may change it (owner: 4711)",
		},
	} {
		err := tt.ask(clientAs(t, tt.uid, r.path))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := root.Remove(ctx, document(8, 1, "", 0)); err != nil {
		t.Errorf("root removes another user's row: %v", err)
	}
}

func TestLongListing(t *testing.T) {
	const n = 10_000
	r := start(t, &Server{})
	c := api.NewClient(r.path)
	docs := make([]endpoint.Document, n)
	for i := range docs {
		docs[i] = document(300_000+uint32(i), 1, "tcp", 2000)
		docs[i].Annotation = `<&> "quoted" é` // what encoders write in several ways
	}
	if l, err := c.Add(t.Context(), api.Addition{Endpoints: docs}); err != nil || len(l.Endpoints) != n {
		t.Fatalf("Add = %d, %v, want %d", len(l.Endpoints), err, n)
	}
	answer, err := c.HTTP.Get("http://quaymaster/v1/endpoints")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || !json.Valid(body) {
		t.Errorf("a listing of %d bytes, %v, valid JSON: %v", len(body), err, json.Valid(body))
	}
	l, err := c.List(t.Context())
	if err != nil || l.Seq != n || len(l.Endpoints) != n || l.Endpoints[n-1].Program != docs[n-1].Program || l.Endpoints[5].Annotation != docs[5].Annotation {
		t.Errorf("List = %d at change %d, %v, want %d", len(l.Endpoints), l.Seq, err, n)
	}
}

// watch collects a client's events until the test or the daemon ends.
func watch(t *testing.T, c *api.Client) (events <-chan api.Event, ended <-chan error) {
	t.Helper()
	out, end := make(chan api.Event, 10), make(chan error, 1)
	go func() { end <- c.Watch(t.Context(), func(e api.Event) error { out <- e; return nil }) }()
	return out, end
}

func next(t *testing.T, events <-chan api.Event, ended <-chan error) api.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case err := <-ended:
		t.Fatalf("the watch ended: %v", err)
	case <-time.After(patience):
		t.Fatal("no event came")
	}
	return api.Event{}
}

func TestWatch(t *testing.T) {
	r := start(t, &Server{Registry: withMapperRow(t)})
	c, ctx := api.NewClient(r.path), t.Context()
	events, ended := watch(t, c)
	if e := next(t, events, ended); e.Event != "snapshot" || e.Seq != 1 || len(e.Endpoints) != 1 || e.Endpoint != nil {
		t.Errorf("first event = %+v, want a snapshot of 1 at change 1", e)
	}
	added, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{document(7, 1, "tcp", 2000), document(7, 1, "udp", 2000)}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range added.Endpoints {
		e := next(t, events, ended)
		if diff := cmp.Diff(api.Event{Event: "made", Seq: uint64(2 + i), Endpoint: &added.Endpoints[i], By: me()}, e); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
	if err := c.Remove(ctx, document(7, 1, "udp", 0)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(api.Event{Event: "ended", Seq: 4, Endpoint: &added.Endpoints[1], By: me(), Why: "removed"}, next(t, events, ended)); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}

	r.stop() // the daemon ends
	select {
	case err := <-ended:
		if want := r.path + ": the daemon ended the connection"; err == nil || err.Error() != want {
			t.Errorf("Watch = %v when the daemon ends, want %s", err, want)
		}
	case <-time.After(patience):
		t.Error("Watch goes on after the daemon ended")
	}
}

func TestWatchEnds(t *testing.T) {
	r := start(t, &Server{})
	ctx, cancel := context.WithCancel(t.Context())
	if err := api.NewClient(r.path).Watch(ctx, func(api.Event) error { cancel(); return nil }); err != nil {
		t.Errorf("Watch of a cancelled context = %v, want nil", err)
	}
	full := errors.New("disk full")
	if err := api.NewClient(r.path).Watch(t.Context(), func(api.Event) error { return full }); err != full {
		t.Errorf("Watch = %v, want what its function returned, %v", err, full)
	}
}

// A watch is one long answer, and must outlive the time a request may take to be
// read. A request that never ends tells when that time has passed.
func TestWatchOutlivesReadTimeout(t *testing.T) {
	r := start(t, &Server{readTimeout: 30 * time.Millisecond})
	events, ended := watch(t, api.NewClient(r.path))
	next(t, events, ended)
	for i := range uint32(3) {
		conn, err := net.Dial("unix", r.path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "POST /v1/endpoints HTTP/1.1\r\nHost: quaymaster\r\nContent-Length: 10\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(patience))
		if answer, err := io.ReadAll(conn); err != nil || !strings.Contains(string(answer), "i/o timeout") {
			t.Fatalf("a request that does not end got %q, %v, want a timeout", answer, err)
		}
		conn.Close()
		if _, err := api.NewClient(r.path).Add(t.Context(), api.Addition{Endpoints: []endpoint.Document{document(7, i, "tcp", 2000)}}); err != nil {
			t.Fatal(err)
		}
		if e := next(t, events, ended); e.Event != "made" || e.Endpoint.Version.Major != i {
			t.Errorf("event = %+v, want version %d added", e, i)
		}
	}
}

// TestWatcherGone has clients that leave while nothing changes; one sent a body.
func TestWatcherGone(t *testing.T) {
	for name, request := range map[string]string{
		"without a body": "GET /v1/endpoints?watch=true HTTP/1.1\r\nHost: quaymaster\r\n\r\n",
		"with a body":    "GET /v1/endpoints?watch=true HTTP/1.1\r\nHost: quaymaster\r\nContent-Length: 4\r\n\r\nnull",
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "control.sock"))
			if err != nil {
				t.Fatal(err)
			}
			guard := transport.NewGuard(transport.Rules{})
			r := startAt(t, &Server{}, guard.Listener(ln))
			conn, err := net.Dial("unix", r.path)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(conn, request)
			conn.SetReadDeadline(time.Now().Add(patience))
			for text := ""; !strings.Contains(text, `"snapshot"`); {
				b := make([]byte, 4096)
				n, err := conn.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				text += string(b[:n])
			}
			conn.Close()
			nstest.WaitFor(t, "the server to end the watch of a client that is gone", patience, func() bool { return guard.Counts().Open == 0 })
		})
	}
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	_, err := api.NewClient(path).List(t.Context())
	if want := "dial unix " + path + ": connect: no such file or directory"; !errors.Is(err, syscall.ENOENT) || err.Error() != want {
		t.Errorf("List = %v, want %s", err, want)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if err := api.NewClient(path).RemoveID(t.Context(), 1); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("RemoveID = %v, want %v", err, syscall.ECONNREFUSED)
	}
}

// TestOtherServers has a client at sockets that do not answer as the daemon does.
func TestOtherServers(t *testing.T) {
	for name, answer := range map[string]string{
		"no HTTP":       "220 ready\r\n",
		"nothing":       "",
		"cut off":       "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"seq\":1,\"endpoints\":[",
		"no JSON":       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"no refusal":    "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello",
		"empty refusal": "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "x.sock"))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					io.ReadAtLeast(conn, make([]byte, 4096), 1)
					io.WriteString(conn, answer)
					conn.Close()
				}
			}()
			c := api.NewClient(ln.Addr().String())
			if l, err := c.List(t.Context()); err == nil {
				t.Errorf("List = %+v, want an error", l)
			}
			if err := c.Watch(t.Context(), func(api.Event) error { return nil }); err == nil {
				t.Error("Watch = nil, want an error")
			}
		})
	}
}

func TestServeFails(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "x.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	s := &Server{Registry: registry.New(), Log: slog.New(slog.DiscardHandler)}
	if err := s.Serve(t.Context(), ln); err == nil || !strings.HasPrefix(err.Error(), "control socket: ") {
		t.Errorf("Serve of a closed listener = %v, want an error of the control socket", err)
	}
}
