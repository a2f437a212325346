package boltstore_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/boltstore"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

// Another process opens the store at pathVar. It writes rows and grants from the number
// in fromVar on and says each that is stored; without a number it waits for the
// end of its input. Its log is merged from mergeVar bytes on.
const (
	pathVar  = "BOLTSTORE_PATH"
	fromVar  = "BOLTSTORE_FROM"
	mergeVar = "BOLTSTORE_MERGE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(pathVar); path != "" {
		if err := anotherProcess(path, os.Getenv(fromVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func anotherProcess(path, from string) error {
	s, err := boltstore.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer s.Close()
	if merge, err := strconv.ParseInt(os.Getenv(mergeVar), 10, 64); err == nil {
		s.SetBounds(merge, 16<<20)
	}
	fmt.Println("open")
	i, err := strconv.Atoi(from)
	if err != nil {
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	for ; ; i++ {
		if err := s.Write(step(i)); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// window is how many rows and grants are there after many steps.
const window = 60

// step returns what the i-th Write writes: a row or a grant, in place of one.
func step(i int) registry.Batch {
	b := storetest.Mixed(i, i+1)
	if i >= window {
		b.Gone = []endpoint.ID{storetest.MixedID(i - window)}
	}
	return b
}

// stepsIn returns how many steps were taken at the place, or fails the test if
// what is there is not what so many leave.
func stepsIn(t *testing.T, s registry.Store, atLeast int) int {
	t.Helper()
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	for n := atLeast; n <= atLeast+1; n++ {
		left := storetest.Mixed(max(0, n-window), n)
		want := registry.Contents{Rows: left.Rows, Grants: left.Grants}
		want.Sort()
		if slices.EqualFunc(got.Rows, want.Rows, sameButUntil) && slices.EqualFunc(got.Grants, want.Grants, storetest.SameGrant) {
			return n
		}
	}
	t.Fatalf("%d rows and %d grants, which are neither those after %d steps nor after one more", len(got.Rows), len(got.Grants), atLeast)
	return 0
}

// sameButUntil leaves out what another process makes of a record.
func sameButUntil(a, b registry.Record) bool {
	a.Until, b.Until = time.Time{}, time.Time{}
	return storetest.Same(a, b)
}

// A child is another process at a store.
type child struct {
	cmd   *exec.Cmd
	input io.Closer
	lines *bufio.Scanner
}

func begin(t *testing.T, path string, from string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), pathVar+"="+path, fromVar+"="+from)
	c.cmd.Stderr = os.Stderr
	input, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	c.input, c.lines = input, bufio.NewScanner(output)
	return c
}

// TestKilled kills a process that writes, at any time, again and again: what it
// has said to be stored is there, and nothing else but what it was about to store.
func TestKilled(t *testing.T) {
	for _, merge := range []string{"", "1", "1000"} {
		t.Run("merge="+merge, func(t *testing.T) {
			t.Setenv(mergeVar, merge)
			testKilled(t)
		})
	}
}

func testKilled(t *testing.T) {
	p := newPlace(t)
	random := rand.New(rand.NewPCG(7, 8))
	steps := 0
	for range 30 {
		c := begin(t, p.path, strconv.Itoa(steps))
		lines := 0
		if random.IntN(4) == 0 {
			time.Sleep(time.Duration(random.Int64N(int64(30 * time.Millisecond)))) // while it starts, perhaps
		} else {
			for n := random.IntN(150); lines < n && c.lines.Scan(); {
				lines++
			}
			time.Sleep(time.Duration(random.Int64N(int64(200 * time.Microsecond))))
		}
		if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for c.lines.Scan() {
			lines++
		}
		var exit *exec.ExitError
		if err := c.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("the other process ended by itself: %v", err)
		}
		s := p.open(t)
		steps = stepsIn(t, s, steps+max(0, lines-1)) // the first says that it is open
		s.Close()
	}
	if p.log.Len() > 0 {
		t.Errorf("it logged %s", &p.log)
	}
	if steps < 100 {
		t.Errorf("only %d steps were taken", steps)
	}
	t.Logf("%d steps", steps)
}

func TestLocked(t *testing.T) {
	p := newPlace(t)
	c := begin(t, p.path, "")
	if !c.lines.Scan() {
		t.Fatal("the other process says nothing")
	}
	began := time.Now()
	_, err := boltstore.Open(p.path, slog.New(slog.DiscardHandler))
	want := fmt.Sprintf("%s: in use by another daemon (pid %d): stop it or choose --state", p.path, c.cmd.Process.Pid)
	if err == nil || err.Error() != want || time.Since(began) > time.Second {
		t.Errorf("Open = %v after %v, want %s", err, time.Since(began), want)
	}
	c.input.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	holds(t, p.open(t), 0)
}

// refusesOthers returns nil if the store at the place is open and keeps others out.
func refusesOthers(p *place) error {
	s, err := boltstore.Open(p.path, slog.New(slog.DiscardHandler))
	if err == nil {
		s.Close()
		return errors.New("another store can be opened there")
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("in use by another daemon (pid %d)", os.Getpid())) {
		return err
	}
	return nil
}
