// Package control answers the daemon's local API, package api, from the registry.
package control

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Server answers the control socket from a registry. Everybody may ask; what
// may be changed depends on the uid of the process that connected.
type Server struct {
	Registry *registry.Registry
	Counters func() api.Counters
	Log      *slog.Logger // not nil

	readTimeout time.Duration // of a test; else that below

	watchers watchers
}

// maxBody is the most bytes of a request: some 40,000 registrations.
const maxBody = 8 << 20

// Serve answers until ctx is cancelled, then closes ln and every connection and
// returns nil when all have ended. It owns ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.EndpointsPath, s.list)
	mux.HandleFunc("POST "+api.EndpointsPath, s.add)
	mux.HandleFunc("DELETE "+api.EndpointsPath, s.remove)
	mux.HandleFunc("DELETE "+api.EndpointsPath+"/{id}", byID(func(by endpoint.Owner, id endpoint.ID) error { return s.Registry.RemoveID(by, id) }))
	mux.HandleFunc("GET "+api.PoolPath, s.pool)
	mux.HandleFunc("POST "+api.GrantsPath, s.grant)
	mux.HandleFunc("DELETE "+api.GrantsPath+"/{id}", byID(s.Registry.Release))
	mux.HandleFunc("GET "+api.CountersPath, s.counters)
	return serve(ctx, ln, mux, s.Log, cmp.Or(s.readTimeout, readTimeout))
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	watch, err := wantsWatch(r)
	switch {
	case err != nil:
		refuse(w, err)
	case watch:
		s.watch(w, r)
	default:
		rows, seq := s.Registry.All()
		w.Header().Set("Content-Type", "application/json")
		out := newWriter(w)
		out.documents(fmt.Sprintf(`{"seq":%d`, seq), rows)
		out.end("}\n")
	}
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	peer, err := caller(r)
	if err == nil {
		err = s.watchers.begin(peer.UID)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer s.watchers.end(peer.UID)
	watcher := s.Registry.Watch(nil)
	defer watcher.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := newWriter(w)
	for {
		events, err := watcher.Next(r.Context())
		if err != nil {
			return
		}
		for _, e := range events {
			out.event(e)
		}
		if out.flush() != nil {
			return
		}
	}
}

func (s *Server) counters(w http.ResponseWriter, _ *http.Request) {
	counters := api.Counters{}
	if s.Counters != nil {
		counters = s.Counters()
	}
	answer(w, counters)
}

func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	rows, err := s.register(http.MaxBytesReader(w, r.Body, maxBody), r)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := newWriter(w)
	out.documents(fmt.Sprintf(`{"seq":%d`, s.Registry.Seq()), rows)
	out.end("}\n")
}

func (s *Server) register(body io.Reader, r *http.Request) ([]*endpoint.Registration, error) {
	peer, err := caller(r)
	if err != nil {
		return nil, err
	}
	var a api.Addition
	if err := decode(body, &a); err != nil {
		return nil, err
	}
	claim, err := claimOf(peer.Peer, &a)
	if err != nil {
		return nil, err
	}
	regs, err := registrationsOf(&a)
	if err != nil {
		return nil, err
	}
	return s.Registry.Add(claim, regs...)
}

// decode reads a body, which is one JSON value with the members of v.
func decode(body io.Reader, v any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("body: something follows the JSON value")
	}
	return nil
}

// claimOf returns what a caller claims with an addition.
func claimOf(p *transport.Peer, a *api.Addition) (registry.Claim, error) {
	c := registry.Claim{Owner: endpoint.Owner{UID: p.UID}, Elsewhere: p.Elsewhere}
	ways := 0
	if a.Permanent {
		ways++
		c.Evidence = endpoint.Permanent
	}
	if a.TTL != 0 {
		ways++
		c.Evidence, c.TTL = endpoint.Lease, time.Duration(a.TTL)*time.Second
	}
	if a.PID != 0 {
		ways++
		c.Evidence, c.PID = endpoint.Process, a.PID
		c.Process = func() (*process.Process, error) { return processOf(p, a.PID) }
	}
	if a.Grant != "" {
		ways++
		var err error
		if c.Grant, err = endpoint.ParseID(a.Grant); err != nil {
			return c, fmt.Errorf("grant: %w", err)
		}
		c.PID = p.PID
	}
	switch {
	case ways > 1:
		return c, errors.New("permanent, ttl, pid and grant: choose one")
	case a.TTL < 0 || a.TTL > int64(api.MaxTTL/time.Second):
		return c, fmt.Errorf("ttl of %d seconds: want 1 to %d", a.TTL, int64(api.MaxTTL/time.Second))
	case a.PID < 0:
		return c, fmt.Errorf("pid %d: want the number of a process", a.PID)
	}
	return c, nil
}

// processOf returns a process that the caller may have registrations live with: of
// its own, or for root any.
func processOf(by *transport.Peer, pid int32) (*process.Process, error) {
	p, err := process.Open(pid)
	if err != nil {
		return nil, unnamed(err)
	}
	uid, err := p.UID()
	if err == nil && by.UID != 0 && uid != by.UID {
		err = fmt.Errorf("%w: it is another user's", registry.ErrRight)
	}
	if err != nil {
		p.Close()
		return nil, unnamed(err)
	}
	return p, nil
}

// unnamed returns what the kernel said of a process, if it did: the registry adds which one.
func unnamed(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func registrationsOf(a *api.Addition) ([]endpoint.Registration, error) {
	var mistakes []error
	regs := make([]endpoint.Registration, 0, len(a.Endpoints))
	for i := range a.Endpoints {
		reg, err := a.Endpoints[i].Registration()
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("endpoints[%d]: %w", i, err))
		}
		regs = append(regs, reg)
	}
	return regs, errors.Join(mistakes...)
}

// byID returns what has the caller end what it names by its id.
func byID(end func(by endpoint.Owner, id endpoint.ID) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, err := caller(r)
		if err == nil {
			var id endpoint.ID
			if id, err = endpoint.ParseID(r.PathValue("id")); err == nil {
				err = end(endpoint.Owner{UID: peer.UID}, id)
			}
		}
		removed(w, err)
	}
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	peer, err := caller(r)
	if err == nil {
		err = s.removeInterface(endpoint.Owner{UID: peer.UID}, r.URL.Query())
	}
	removed(w, err)
}

// errWhich: it is not said what is to end.
var errWhich = errors.New("want dialect=onc, program and version, or dialect=dce, uuid and version")

// removeInterface ends what q names: the transport may be left out, for all.
func (s *Server) removeInterface(by endpoint.Owner, q url.Values) error {
	version, err := endpoint.ParseVersion(q.Get("version"))
	remove := s.removeProgram
	switch dialect := q.Get("dialect"); {
	case err == nil && dialect == endpoint.ONC.String():
	case err == nil && dialect == endpoint.DCE.String():
		remove = s.removeUUID
	default:
		return errWhich
	}
	i, n, err := remove(by, version, q)
	if n == 0 && err == nil {
		return fmt.Errorf("%s: %w", title(i), registry.ErrNotFound)
	}
	return err
}

func (s *Server) removeProgram(by endpoint.Owner, v endpoint.Version, q url.Values) (i endpoint.Interface, n int, err error) {
	program, err := strconv.ParseUint(q.Get("program"), 10, 32)
	if err != nil || v.Dotted {
		return i, 0, errWhich
	}
	on := rpcbind.NetIDs[:]
	if name := q.Get("netid"); name != "" {
		n, ok := rpcbind.ParseNetID(name)
		if !ok {
			return i, 0, fmt.Errorf("unknown netid %q", name)
		}
		on = []rpcbind.NetID{n}
	}
	i = endpoint.Program(uint32(program), v.Major)
	n, err = s.Registry.Remove(by, i, on...)
	return i, n, err
}

func (s *Server) removeUUID(by endpoint.Owner, v endpoint.Version, q url.Values) (i endpoint.Interface, n int, err error) {
	if !q.Has("uuid") {
		return i, 0, errWhich
	}
	uuid, err := ndr.ParseUUID(q.Get("uuid"))
	if err != nil {
		return i, 0, err
	}
	if !v.Dotted {
		return i, 0, fmt.Errorf("version %s: an interface's version is MAJOR.MINOR, as in 1.0", v)
	}
	on, ok := epm.ParseProtSeq(q.Get("protseq"))
	if !ok && q.Has("protseq") {
		return i, 0, fmt.Errorf("unknown protocol sequence %q", q.Get("protseq"))
	}
	i = endpoint.Interface{Dialect: endpoint.DCE, UUID: uuid, Major: uint16(v.Major), Minor: v.Minor}
	n, err = s.Registry.RemoveUUID(by, uuid, func(r *endpoint.Registration) bool {
		return r.Interface == i && (on == 0 || r.ProtSeq == on)
	})
	return i, n, err
}

func removed(w http.ResponseWriter, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// refuse answers with every mistake in err and a status that fits.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
		err = fmt.Errorf("body of more than %d MiB: register in parts", maxBody>>20)
	case errors.Is(err, registry.ErrRight), errors.Is(err, registry.ErrNotOwner):
		status = http.StatusForbidden
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrNoGrant):
		status = http.StatusNotFound
	case errors.Is(err, registry.ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, errBusy):
		status = http.StatusTooManyRequests
	case errors.Is(err, registry.ErrFull), errors.Is(err, registry.ErrNoPorts), errors.Is(err, registry.ErrStore):
		status = http.StatusInsufficientStorage
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Refusal{Mistakes: mistakes(err, names{})})
}

// A writer writes registrations one by one, so that a long listing takes no
// memory of its own. Its first failure sticks.
type writer struct {
	w     http.ResponseWriter
	buf   *bufio.Writer
	names names
	err   error
}

func newWriter(w http.ResponseWriter) *writer {
	return &writer{w: w, buf: bufio.NewWriterSize(timed{w}, 32<<10), names: names{}}
}

func (w *writer) text(s string) {
	if w.err == nil {
		_, w.err = w.buf.WriteString(s)
	}
}

func (w *writer) value(v any) {
	b, err := json.Marshal(v)
	if w.err == nil {
		w.err = err
	}
	w.text(string(b))
}

// documents writes head and a member with the rows.
func (w *writer) documents(head string, rows []*endpoint.Registration) {
	w.text(head)
	w.text(`,"endpoints":[`)
	for i, r := range rows {
		if i > 0 {
			w.text(",")
		}
		w.value(r.Document(w.names.of(r.Owner)))
	}
	w.text("]")
}

// event writes a line.
func (w *writer) event(e registry.Event) {
	if e.Kind == registry.Snapshot {
		w.documents(fmt.Sprintf(`{"event":%q,"seq":%d`, e.Kind, e.Seq), e.All)
		w.text("}\n")
		return
	}
	out := api.Event{Event: e.Kind.String(), Seq: e.Seq}
	if e.By != nil {
		out.By = w.names.of(*e.By)
	}
	if e.Grant != nil {
		d := e.Grant.Document(w.names.of(e.Grant.Owner))
		out.Grant = &d
		if e.Kind == registry.Exhausted {
			out.Why = strings.Join(mistakes(e.Err, w.names), "; ")
			d.ID = "" // there is none
		}
		w.value(out)
		w.text("\n")
		return
	}
	d := e.Registration.Document(w.names.of(e.Registration.Owner))
	out.Endpoint = &d
	switch e.Kind {
	case registry.Ended:
		out.Why = e.Reason.String()
	case registry.Refused:
		out.Why = why(e, w.names)
		d.Evidence = "" // there was none
		if e.Registration.NetID == 0 && e.Registration.ProtSeq == 0 {
			d.NetID = "" // nor a word for that
			d.ProtSeq = ""
		}
	}
	w.value(out)
	w.text("\n")
}

func (w *writer) flush() error {
	if w.err == nil {
		w.err = w.buf.Flush()
	}
	if w.err == nil {
		w.err = http.NewResponseController(w.w).Flush()
	}
	return w.err
}

func (w *writer) end(s string) {
	w.text(s)
	w.flush()
}
