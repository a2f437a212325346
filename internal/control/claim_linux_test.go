package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// withPermanent returns a registry that can keep permanent registrations, and is kept true.
func withPermanent(t *testing.T) *registry.Registry {
	t.Helper()
	g, err := registry.Open(registry.Config{Permanent: registry.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, g.Close()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// A child is a process that does nothing until it is told to end.
type child struct {
	pid int32
	end func()
}

// startAs starts a child of a user's.
func startAs(t *testing.T, uid uint32) child {
	t.Helper()
	cmd := exec.Command(nstest.Path(t, "cat"))
	if uid != uint32(os.Getuid()) {
		nstest.NeedRoot(t)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := child{pid: int32(cmd.Process.Pid), end: func() { in.Close(); cmd.Wait() }}
	t.Cleanup(c.end)
	return c
}

// post sends a body and returns the status and the answer.
func post(t *testing.T, c *api.Client, body string) (int, string) {
	t.Helper()
	answer, err := c.HTTP.Post("http://quaymaster"+api.EndpointsPath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestAsked(t *testing.T) {
	r := start(t, &Server{Registry: withPermanent(t)})
	c, ctx := api.NewClient(r.path), t.Context()
	before := time.Now()
	mine := startAs(t, uint32(os.Getuid()))
	for i, tt := range []struct {
		a     api.Addition
		want  endpoint.Evidence
		pid   int32
		least time.Duration // of the lease
	}{
		{api.Addition{}, endpoint.Unchecked, int32(os.Getpid()), 0},
		{api.Addition{TTL: 1}, endpoint.Lease, int32(os.Getpid()), time.Second},
		{api.Addition{TTL: int64(api.MaxTTL / time.Second)}, endpoint.Lease, int32(os.Getpid()), api.MaxTTL},
		{api.Addition{PID: mine.pid}, endpoint.Process, mine.pid, 0},
		{api.Addition{Permanent: true}, endpoint.Permanent, 0, 0},
	} {
		if tt.a.Permanent {
			nstest.NeedRoot(t)
		}
		tt.a.Endpoints = []endpoint.Document{document(0x20000000+uint32(i), 1, "tcp", 2000)}
		l, err := c.Add(ctx, tt.a)
		if err != nil || len(l.Endpoints) != 1 || l.Endpoints[0].Evidence != tt.want.String() {
			t.Errorf("Add(%+v) = %+v, %v, want evidence %s", tt.a, l, err, tt.want)
			continue
		}
		d := l.Endpoints[0]
		if tt.want == endpoint.Process && d.PID != tt.pid || tt.want == endpoint.Permanent && d.PID != 0 {
			t.Errorf("Add(%+v): pid %d, want %d", tt.a, d.PID, tt.pid)
		}
		if leased := d.Until != nil; leased != (tt.least > 0) || leased && (d.Until.Before(before.Add(tt.least)) || d.Until.After(time.Now().Add(tt.least))) {
			t.Errorf("Add(%+v): until %v, want %s from now", tt.a, d.Until, tt.least)
		}
	}
}

func TestAskedWrongly(t *testing.T) {
	r := start(t, &Server{Registry: withPermanent(t)})
	c := api.NewClient(r.path)
	ended := startAs(t, uint32(os.Getuid()))
	ended.end()
	row := `"endpoints":[{"dialect":"onc","program":7,"version":1,"netid":"tcp","address":"0.0.0.0","port":2000}]`
	for _, tt := range []struct {
		claim  string
		status int
		want   string
	}{
		{`"permanent":true,"ttl":60`, 400, `{"mistakes":["permanent, ttl, pid and grant: choose one"]}`},
		{`"permanent":true,"pid":1`, 400, `{"mistakes":["permanent, ttl, pid and grant: choose one"]}`},
		{`"ttl":60,"pid":1`, 400, `{"mistakes":["permanent, ttl, pid and grant: choose one"]}`},
		{`"permanent":true,"ttl":60,"pid":1`, 400, `{"mistakes":["permanent, ttl, pid and grant: choose one"]}`},
		{`"ttl":-1`, 400, `{"mistakes":["ttl of -1 seconds: want 1 to 2592000"]}`},
		{`"ttl":2592001`, 400, `{"mistakes":["ttl of 2592001 seconds: want 1 to 2592000"]}`},
		{fmt.Sprintf(`"ttl":%d`, int64(math.MaxInt64)), 400, `{"mistakes":["ttl of 9223372036854775807 seconds: want 1 to 2592000"]}`},
		{`"ttl":1.5`, 400, "cannot unmarshal number 1.5"},
		{`"ttl":"1h"`, 400, "cannot unmarshal string"},
		{`"pid":-1`, 400, `{"mistakes":["pid -1: want the number of a process"]}`},
		{`"pid":2147483648`, 400, "cannot unmarshal number 2147483648"},
		{`"pid":2147483647`, 400, `{"mistakes":["process 2147483647 cannot be watched: no such process"]}`},
		{fmt.Sprintf(`"pid":%d`, ended.pid), 400, fmt.Sprintf(`{"mistakes":["process %d cannot be watched: no such process"]}`, ended.pid)},
		{`"permanent":"yes"`, 400, "cannot unmarshal string"},
		{`"lease":60`, 400, `body: json: unknown field \"lease\"`},
	} {
		status, answer := post(t, c, "{"+row+","+tt.claim+"}")
		if status != tt.status || !strings.Contains(answer, tt.want) {
			t.Errorf("%s: %d %s, want %d %s", tt.claim, status, answer, tt.status, tt.want)
		}
	}
	if l, err := c.List(t.Context()); err != nil || len(l.Endpoints) > 0 || l.Seq != 0 {
		t.Errorf("List = %+v, %v, want nothing", l, err)
	}
}

// TestAskedByOthers: what is for root, and what for the user whose process it is.
func TestAskedByOthers(t *testing.T) {
	const nobody, other = 65534, 4711
	nstest.NeedRoot(t)
	r := start(t, &Server{Registry: withPermanent(t)})
	theirs := startAs(t, nobody)
	roots := startAs(t, 0)
	for i, tt := range []struct {
		uid   int
		claim string
		want  string // mistake
	}{
		{nobody, `"permanent":true`, "not allowed: permanent registrations are for root"},
		{nobody, fmt.Sprintf(`"pid":%d`, roots.pid), fmt.Sprintf("process %d cannot be watched: not allowed: it is another user's", roots.pid)},
		{other, fmt.Sprintf(`"pid":%d`, theirs.pid), fmt.Sprintf("process %d cannot be watched: not allowed: it is another user's", theirs.pid)},
		{nobody, fmt.Sprintf(`"pid":%d`, theirs.pid), ""},
		{0, fmt.Sprintf(`"pid":%d`, theirs.pid), ""},
		{nobody, `"ttl":60`, ""},
	} {
		body := fmt.Sprintf(`{"endpoints":[{"dialect":"onc","program":%d,"version":1,"netid":"tcp","address":"0.0.0.0","port":2000}],%s}`, 0x20000000+i, tt.claim)
		status, answer := post(t, clientAs(t, tt.uid, r.path), body)
		want := http.StatusOK
		if tt.want != "" {
			want = http.StatusForbidden
		}
		if status != want || !strings.Contains(answer, tt.want) {
			t.Errorf("%s by %d: %d %s, want %d %s", tt.claim, tt.uid, status, answer, want, tt.want)
		}
	}
}

// TestNotKept: what cannot be stored is one mistake, not one for each error in it.
func TestNotKept(t *testing.T) {
	nstest.NeedRoot(t)
	r := start(t, &Server{})
	_, err := api.NewClient(r.path).Add(t.Context(), api.Addition{Endpoints: []endpoint.Document{document(7, 1, "tcp", 2000)}, Permanent: true})
	var refused *api.RefusedError
	if want := "cannot be kept: there is no file of permanent registrations"; !errors.As(err, &refused) || len(refused.Mistakes) != 1 || err.Error() != want {
		t.Errorf("Add = %q, want %q", err, want)
	}
	full, err := registry.Open(registry.Config{Permanent: fullDisk{registry.NewMemory()}})
	if err != nil {
		t.Fatal(err)
	}
	r = start(t, &Server{Registry: full})
	status, answer := post(t, api.NewClient(r.path), `{"endpoints":[{"dialect":"onc","program":7,"version":1,"netid":"tcp","address":"0.0.0.0","port":2000}],"permanent":true}`)
	if want := `{"mistakes":["cannot be kept: permanent.yaml: no space left on device"]}` + "\n"; status != http.StatusInsufficientStorage || answer != want {
		t.Errorf("on a full disk: %d %s, want 507 %s", status, answer, want)
	}
}

type fullDisk struct{ *registry.Memory }

func (fullDisk) Write(registry.Batch) error {
	return fmt.Errorf("permanent.yaml: %w", syscall.ENOSPC)
}
