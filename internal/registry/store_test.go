package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A failing store does what it is told to fail at.
type failing struct {
	registry.Store
	mu     sync.Mutex // guards what follows
	write  error
	load   error
	writes int
	closed bool
}

// fail has Write fail from now on; nil ends that.
func (f *failing) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write = err
}

func (f *failing) failLoad(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load = err
}

func (f *failing) Load() (registry.Contents, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.load != nil {
		return registry.Contents{}, f.load
	}
	return f.Store.Load()
}

func (f *failing) Write(b registry.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.write != nil {
		return f.write
	}
	return f.Store.Write(b)
}

func (f *failing) Close() error {
	f.closed = true
	return errors.Join(f.Store.Close(), f.write)
}

func newFailing() *failing { return &failing{Store: registry.NewMemory()} }

// stored returns what a store has, in its order: program and evidence.
func stored(t testing.TB, s registry.Store) string {
	t.Helper()
	c, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range c.Rows {
		all = append(all, fmt.Sprintf("%d %s", r.Program, r.Evidence))
	}
	return strings.Join(all, ", ")
}

func checkStored(t testing.TB, s registry.Store, want string) {
	t.Helper()
	if got := stored(t, s); got != want {
		t.Errorf("stored: %q, want %q", got, want)
	}
}

// standing returns what a registry has, in its order: program and evidence.
func standing(g *registry.Registry) string {
	var all []string
	rows, _ := g.All()
	for _, r := range rows {
		all = append(all, fmt.Sprintf("%d %s", r.Program, r.Evidence))
	}
	return strings.Join(all, ", ")
}

func checkStanding(t testing.TB, g *registry.Registry, want string) {
	t.Helper()
	if got := standing(g); got != want {
		t.Errorf("what stands: %q, want %q", got, want)
	}
}

func program(n uint32) endpoint.Registration { return row(alice, n, 1, rpcbind.TCP, 2000+uint16(n)) }

var (
	anHour  = registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: time.Hour}
	forever = registry.Claim{Owner: root, Evidence: endpoint.Permanent}
	plainly = registry.Claim{Owner: alice, PID: 5}
)

// What Add and Remove say is done is in the stores by then.
func TestStored(t *testing.T) {
	var sockets table
	journal, permanent := registry.NewMemory(), registry.NewMemory()
	g := openWith(t, registry.Config{Sockets: &sockets, Store: journal, Permanent: permanent, Own: []endpoint.Registration{row(root, rpcbind.Program, 4, rpcbind.TCP, rpcbind.Port)}})
	sockets.open(bob, program(1).Endpoint)
	claim(t, g, plainly, program(1), program(2))
	claim(t, g, anHour, program(3))
	claim(t, g, forever, program(4))
	checkStored(t, journal, "1 listening, 2 waiting, 3 lease")
	checkStored(t, permanent, "4 permanent")
	kept, _ := journal.Load()
	if r := kept.Rows[0]; !r.Seen || r.SocketUID != bob.UID || r.PID != 5 || r.Owner != alice {
		t.Errorf("stored of a row with bob's socket: %+v", r)
	}
	claim(t, g, forever, program(3)) // goes from one to the other
	checkStored(t, journal, "1 listening, 2 waiting")
	checkStored(t, permanent, "3 permanent, 4 permanent")
	sockets.open(alice, program(2).Endpoint)
	sockets.close(program(1).Endpoint)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	checkStored(t, journal, "2 listening")
	g.Remove(root, program(3).Interface, rpcbind.TCP)
	g.Remove(alice, program(2).Interface, rpcbind.TCP)
	checkStored(t, journal, "")
	checkStored(t, permanent, "4 permanent")
	checkStanding(t, g, "100000 listening, 4 permanent")
}

// Without the file, nothing permanent changes.
func TestPermanentCannotBeKept(t *testing.T) {
	journal, permanent := newFailing(), newFailing()
	g := openWith(t, registry.Config{Store: journal, Permanent: permanent})
	claim(t, g, forever, program(1))
	claim(t, g, anHour, program(2))
	noSpace := errors.New("no space")
	permanent.fail(noSpace)
	seq, refused, writes := g.Seq(), g.Counts().Refused, journal.writes
	for name, do := range map[string]func() error{
		"Add":         func() error { _, err := g.Add(forever, program(3)); return err },
		"Add to keep": func() error { _, err := g.Add(forever, program(2)); return err },
		"Remove":      func() error { _, err := g.Remove(root, program(1).Interface, rpcbind.TCP); return err },
		"RemoveID": func() error {
			rows, _ := g.All()
			return g.RemoveID(root, rows[1].ID, rows[0].ID)
		},
	} {
		if err := do(); !errors.Is(err, registry.ErrStore) || !errors.Is(err, noSpace) {
			t.Errorf("%s = %v, want %v and %v", name, err, registry.ErrStore, noSpace)
		}
	}
	if n := g.Counts().Refused - refused; n != 4 {
		t.Errorf("%d refusals, want 4", n)
	}
	checkStanding(t, g, "1 permanent, 2 lease")
	if g.Seq() != seq || journal.writes != writes {
		t.Errorf("%d changes and %d writes to the journal, want none", g.Seq()-seq, journal.writes-writes)
	}
	permanent.fail(nil)
	if _, err := g.Add(forever, program(3)); err != nil {
		t.Errorf("Add when it can be kept = %v", err)
	}

	none := openWith(t, registry.Config{})
	if _, err := none.Add(forever, program(1)); !errors.Is(err, registry.ErrStore) {
		t.Errorf("Add without a file = %v, want %v", err, registry.ErrStore)
	}
	if _, err := g.Add(registry.Claim{Owner: alice, Evidence: endpoint.Permanent}, program(5)); !errors.Is(err, registry.ErrRight) {
		t.Errorf("Add of a permanent row by a user = %v, want %v", err, registry.ErrRight)
	}
}

// A journal that cannot be written stops nobody, is told once, and is written
// again when it can be.
func TestJournalBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		journal := newFailing()
		var log logged
		g := running(t, registry.Config{
			Store: journal, Permanent: registry.NewMemory(), Log: log.logger(),
			Own: []endpoint.Registration{row(root, rpcbind.Program, 4, rpcbind.TCP, rpcbind.Port)},
		})
		claim(t, g, anHour, program(1), program(2))
		claim(t, g, forever, program(9))
		journal.fail(errors.New("no space"))
		claim(t, g, anHour, program(3))
		g.Remove(alice, program(1).Interface, rpcbind.TCP)
		claim(t, g, forever, program(2))
		time.Sleep(10 * time.Second)
		checkStanding(t, g, "100000 listening, 2 permanent, 9 permanent, 3 lease")
		if n := log.count("level=ERROR"); n != 1 {
			t.Errorf("%d errors were logged, want 1: %s", n, log.text.String())
		}
		journal.failLoad(errors.New("no"))
		journal.fail(nil)
		time.Sleep(2 * time.Second)
		journal.failLoad(nil)
		checkStored(t, journal, "1 lease, 2 lease")
		time.Sleep(2 * time.Second)
		checkStored(t, journal, "3 lease")
		writes := journal.writes
		time.Sleep(10 * time.Second)
		if journal.writes != writes {
			t.Errorf("%d more writes after it was written again, want none", journal.writes-writes)
		}
		claim(t, g, anHour, program(4))
		checkStored(t, journal, "3 lease, 4 lease")
		journal.fail(errors.New("no space"))
		claim(t, g, anHour, program(5))
		if n := log.count("level=ERROR"); n != 2 {
			t.Errorf("%d errors were logged after it failed again, want 2", n)
		}
	})
}

// TestReopen begins anew with the journal of an earlier run, and with other sockets.
func TestReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		c := registry.Config{Sockets: &sockets, Store: registry.NewMemory(), Permanent: registry.NewMemory(), Lease: 2 * time.Hour}
		g := openWith(t, c)
		for n := range uint32(4) {
			sockets.open(alice, program(n).Endpoint)
		}
		claim(t, g, plainly, program(3), program(0), program(2), program(1))
		claim(t, g, plainly, program(4), program(5), program(6))
		claim(t, g, anHour, program(7))
		claim(t, g, registry.Claim{Owner: alice, Elsewhere: true}, program(8))
		claim(t, g, forever, program(9))
		before := map[uint32]endpoint.Registration{}
		all, _ := g.All()
		for _, r := range all {
			before[r.Program] = *r
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}

		sockets.close(program(1).Endpoint)
		sockets.close(program(2).Endpoint)
		sockets.open(bob, program(2).Endpoint)
		sockets.open(bob, program(4).Endpoint)
		time.Sleep(5 * time.Second)
		g = openWith(t, c)
		checkStanding(t, g, "9 permanent, 3 listening, 0 listening, 4 listening, 5 waiting, 6 waiting, 7 lease, 8 lease")
		checkStored(t, c.Store, "3 listening, 0 listening, 4 listening, 5 waiting, 6 waiting, 7 lease, 8 lease")
		for _, n := range []uint32{0, 3, 5, 6, 7, 8, 9} {
			if r := g.Lookup(program(n).Interface, rpcbind.TCP); *r != before[n] {
				t.Errorf("program %d after opening again: %+v, want %+v", n, *r, before[n])
			}
		}
		if n := g.Counts(); n.Ended[registry.Gone] != 1 || n.Ended[registry.TakenOver] != 1 || n.Made != 0 {
			t.Errorf("counts %+v, want one gone, one taken over", n)
		}
		claim(t, g, anHour, program(1)) // the youngest
		time.Sleep(6 * time.Second)
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		checkStanding(t, g, "9 permanent, 3 listening, 0 listening, 4 listening, 7 lease, 8 lease, 1 lease")

		sockets.close(program(4).Endpoint) // bob's, which it was first seen with
		sockets.open(alice, program(4).Endpoint)
		time.Sleep(time.Hour - 10*time.Second)
		g = openWith(t, c)
		checkStanding(t, g, "9 permanent, 3 listening, 0 listening, 8 lease, 1 lease")
		if n := g.Counts(); n.Ended[registry.LeaseOver] != 1 || n.Ended[registry.TakenOver] != 1 {
			t.Errorf("counts %+v, want one lease over, one taken over", n)
		}
	})
}

// TestReopenUnseen: a table that cannot be read ends nothing, not at the beginning either.
func TestReopenUnseen(t *testing.T) {
	var sockets table
	c := registry.Config{Sockets: &sockets, Store: registry.NewMemory()}
	sockets.open(alice, hers.Endpoint)
	claim(t, openWith(t, c), plainly, hers)
	sockets.close(hers.Endpoint)
	sockets.fail(errors.New("no memory"))
	g := openWith(t, c)
	evidence(t, g, hers, "listening")
	sockets.fail(nil)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	evidence(t, g, hers, "nothing")
}

// TestReopenUnchecked: rows go from a run that looks to one that does not, and back.
func TestReopenUnchecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		looks := registry.Config{Sockets: &sockets, Store: registry.NewMemory()}
		believes := looks
		believes.Unchecked = true
		g := openWith(t, looks)
		sockets.open(alice, program(1).Endpoint)
		sockets.open(alice, program(2).Endpoint)
		claim(t, g, plainly, program(1), program(2), program(3))

		time.Sleep(time.Hour)
		sockets.close(program(1).Endpoint)
		g = openWith(t, believes)
		checkStanding(t, g, "1 unchecked, 2 unchecked, 3 unchecked")
		claim(t, g, plainly, program(1), program(2), program(4), program(5))
		claim(t, g, registry.Claim{Owner: alice, Elsewhere: true}, program(6))

		sockets.open(bob, program(1).Endpoint)
		sockets.open(bob, program(5).Endpoint)
		g = openWith(t, looks)
		checkStanding(t, g, "2 listening, 3 waiting, 4 waiting, 5 listening, 6 lease")
		checkStored(t, looks.Store, standing(g))
		if n := g.Counts().Ended[registry.TakenOver]; n != 1 {
			t.Errorf("%d taken over, want 1: whose socket was first seen is remembered", n)
		}
		time.Sleep(registry.DefaultGrace + 1)
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		checkStanding(t, g, "2 listening, 5 listening, 6 lease")
	})
}

// TestReopenMisfits: the journal's rows have to fit what is there now.
func TestReopenMisfits(t *testing.T) {
	good := func(n uint32, id endpoint.ID) registry.Record {
		r := registry.Record{Registration: program(n), Order: uint64(n)}
		r.ID, r.Evidence = id, endpoint.Unchecked
		return r
	}
	kept := func(n uint32, id endpoint.ID) registry.Record {
		r := good(n, id)
		r.Evidence, r.Owner = endpoint.Permanent, root
		return r
	}
	journal, permanent := registry.NewMemory(), registry.NewMemory()
	bad, own, mappers, forced := good(3, 3), good(4, 4), good(rpcbind.Program, 5), good(6, 6)
	bad.NetID = 99
	own.Own = true
	forced.Evidence = endpoint.Permanent
	journal.Write(registry.Batch{Rows: []registry.Record{good(1, 1), good(2, 2), bad, own, mappers, forced, good(7, 7)}})
	permanent.Write(registry.Batch{Rows: []registry.Record{kept(1, 11), kept(9, 7), kept(rpcbind.Program, 12)}})
	g := openWith(t, registry.Config{Store: journal, Permanent: permanent, Own: []endpoint.Registration{row(root, rpcbind.Program, 4, rpcbind.TCP, rpcbind.Port)}})
	checkStanding(t, g, "100000 listening, 1 permanent, 9 permanent, 2 unchecked, 7 unchecked")
	checkStored(t, journal, "2 unchecked, 7 unchecked")
	now, _ := journal.Load()
	if r := g.Lookup(program(7).Interface, rpcbind.TCP); r.ID == 7 || now.Rows[1].ID != r.ID {
		t.Errorf("ids %s and, journalled, %s of a row whose id a permanent row has: want another", r.ID, now.Rows[1].ID)
	}
	if r := g.Lookup(program(9).Interface, rpcbind.TCP); r.ID != 7 || r.Since.IsZero() {
		t.Errorf("a permanent row without a time: %+v, want one", r)
	}
}

// TestOpenErrors: the file of permanent registrations is needed, the journal is not.
func TestOpenErrors(t *testing.T) {
	broken := newFailing()
	broken.failLoad(errors.New("line 3"))
	if _, err := registry.Open(registry.Config{Permanent: broken}); err == nil || broken.closed {
		t.Errorf("Open with a broken file = %v, closed: %v, want an error and the store open", err, broken.closed)
	}
	old := registry.Record{Registration: program(2), Order: 1}
	old.ID = 1
	broken.Store.Write(registry.Batch{Rows: []registry.Record{old}})
	var log logged
	g := openWith(t, registry.Config{Store: broken, Log: log.logger()})
	claim(t, g, anHour, program(1))
	if log.count("line 3") != 1 {
		t.Errorf("the journal's error was logged %d times, want once", log.count("line 3"))
	}
	broken.failLoad(nil)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	checkStored(t, broken, "1 lease")

	// Rows that are over and cannot be taken from the journal are not taken over all the same.
	over := newFailing()
	rec := registry.Record{Registration: program(1), Order: 1}
	rec.ID, rec.Evidence, rec.Until = 1, endpoint.Lease, time.Now().Add(-time.Second)
	over.Store.Write(registry.Batch{Rows: []registry.Record{rec}})
	over.fail(errors.New("read only"))
	g = openWith(t, registry.Config{Store: over, Log: log.logger()})
	checkStanding(t, g, "")
	if log.count("read only") != 1 {
		t.Errorf("the journal's error was logged %d times, want once", log.count("read only"))
	}
	over.fail(nil)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	checkStored(t, over, "")
}

func TestCloseClosesStores(t *testing.T) {
	journal, permanent := newFailing(), newFailing()
	g, err := registry.Open(registry.Config{Store: journal, Permanent: permanent})
	if err != nil {
		t.Fatal(err)
	}
	bad := errors.New("not flushed")
	permanent.fail(bad)
	if err := g.Close(); !errors.Is(err, bad) || !journal.closed || !permanent.closed {
		t.Errorf("Close = %v, closed: %v, %v, want %v and both", err, journal.closed, permanent.closed, bad)
	}
}

// TestReload changes the file of permanent registrations by hand.
func TestReload(t *testing.T) {
	kept := func(n uint32, id endpoint.ID, text string) registry.Record {
		r := registry.Record{Registration: annotated(program(n), text), Order: uint64(n)}
		r.ID, r.Evidence, r.Owner = id, endpoint.Permanent, root
		return r
	}
	moved := func(r registry.Record) registry.Record {
		r.Addr = row(root, 1, 1, rpcbind.TCP, 9999).Addr
		return r
	}
	first := []registry.Record{kept(1, 1, ""), kept(2, 2, ""), kept(3, 3, "")}
	for _, tt := range []struct {
		name    string
		file    []registry.Record
		want    string // what stands, beside 5 and 6
		changes uint64
		ended   string
	}{
		{"nothing", first, "1 permanent, 2 permanent, 3 permanent, 5 lease, 6 lease", 0, ""},
		{"a new row", append(slices.Clone(first), kept(4, 4, "")), "1 permanent, 2 permanent, 3 permanent, 5 lease, 6 lease, 4 permanent", 1, ""},
		{"a row is gone", first[1:], "2 permanent, 3 permanent, 5 lease, 6 lease", 1, "file"},
		{"all are gone", nil, "5 lease, 6 lease", 3, "file; file; file"},
		{"an endpoint", []registry.Record{moved(first[0]), first[1], first[2]}, "2 permanent, 3 permanent, 5 lease, 6 lease, 1 permanent", 2, "file"},
		{"an annotation", []registry.Record{first[0], kept(2, 2, "new"), first[2]}, "1 permanent, 3 permanent, 5 lease, 6 lease, 2 permanent", 2, "file"},
		{"an id", []registry.Record{kept(1, 77, ""), first[1], first[2]}, "2 permanent, 3 permanent, 5 lease, 6 lease, 1 permanent", 2, "file"},
		{"a row in place of alice's", append(slices.Clone(first), kept(5, 55, "")), "1 permanent, 2 permanent, 3 permanent, 6 lease, 5 permanent", 2, "file"},
		{"a program, with the id as it was", []registry.Record{kept(8, 1, ""), first[1], first[2]}, "2 permanent, 3 permanent, 5 lease, 6 lease, 8 permanent", 2, "file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			journal, file := registry.NewMemory(), newFailing()
			file.Store.Write(registry.Batch{Rows: first})
			g := openWith(t, registry.Config{Store: journal, Permanent: file})
			claim(t, g, anHour, program(5), program(6))
			ended := endings(g)
			seq := g.Seq()

			var gone []endpoint.ID
			for id := range endpoint.ID(100) {
				gone = append(gone, id)
			}
			file.Store.Write(registry.Batch{Rows: tt.file, Gone: gone})
			if err := g.Reload(); err != nil {
				t.Fatalf("Reload = %v", err)
			}
			checkStanding(t, g, tt.want)
			if n := g.Seq() - seq; n != tt.changes {
				t.Errorf("%d changes, want %d", n, tt.changes)
			}
			file1 := strings.ReplaceAll(tt.ended, "file", registry.FileChanged.String()+", by uid 0")
			checkEndings(t, ended, file1)
			if file.writes != 0 {
				t.Errorf("the file was written %d times, want never: it says so already", file.writes)
			}
			for _, f := range tt.file {
				if r := g.Lookup(f.Interface, f.NetID); r.ID != f.ID || r.Endpoint != f.Endpoint || r.Annotation != f.Annotation || r.Since.IsZero() || r.Owner != root {
					t.Errorf("the file says %+v, what stands is %+v", f.Registration, *r)
				}
			}
			rows, _ := g.All()
			for _, r := range rows {
				if err := g.RemoveID(root, r.ID); err != nil {
					t.Error(err)
				}
			}
			checkStored(t, journal, "")
			checkStored(t, file, "")
		})
	}
}

// A file that cannot be done as it says leaves everything.
func TestReloadFails(t *testing.T) {
	file := newFailing()
	g := openWith(t, registry.Config{Permanent: file})
	claim(t, g, forever, program(1))
	lent := claim(t, g, anHour, program(2))[0]
	seq := g.Seq()
	file.failLoad(errors.New("line 3"))
	if err := g.Reload(); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("Reload of a broken file = %v", err)
	}
	file.failLoad(nil)
	copied := registry.Record{Registration: program(3)}
	copied.ID, copied.Evidence, copied.Owner = lent.ID, endpoint.Permanent, root
	file.Store.Write(registry.Batch{Rows: []registry.Record{copied}})
	const want = "leave it out"
	if err := g.Reload(); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("Reload with the id of alice's row = %v, want an error that ends in %q", err, want)
	}
	checkStanding(t, g, "1 permanent, 2 lease")
	if g.Seq() != seq {
		t.Errorf("%d changes, want none", g.Seq()-seq)
	}
	if err := openWith(t, registry.Config{}).Reload(); err != nil {
		t.Errorf("Reload without a file = %v", err)
	}
}
