package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// command runs a program that must succeed, and returns what it wrote.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(nstest.Path(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sysctl sets a setting of the test's namespace.
func sysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := writeSetting(Setting{name, value}); err != nil {
		t.Fatal(err)
	}
}

// gateway makes the namespace of the test forward.
func gateway(t testing.TB) {
	t.Helper()
	sysctl(t, "net.ipv4.ip_forward", "1")
	sysctl(t, "net.ipv6.conf.all.forwarding", "1")
}

// surroundings are all that the gate may change.
func surroundings(t testing.TB) string {
	t.Helper()
	early, err := readSetting("net.ipv4.ip_early_demux")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, args := range [][]string{{"rule"}, {"-6", "rule"}, {"route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"}} {
		all = append(all, command(t, "ip", args...))
	}
	return strings.Join(append(all, nft(t, "", "list", "ruleset"), early), "\n---\n")
}

func TestSystem(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft", "ip")
	gateway(t)
	nft(t, "table inet host { chain x { counter; }\n}\n", "-f", "-")
	before := surroundings(t)
	for name, text := range policies {
		t.Run(name, func(t *testing.T) {
			s := &System{Policy: readPolicy(t, text), State: filepath.Join(t.TempDir(), "state", "gate.json")}
			if err := s.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			once := surroundings(t)
			if missing := s.missingRoutes(); len(missing) > 0 {
				t.Errorf("routes are missing: %q", missing)
			}
			if s.look(t.Context()) {
				t.Error("right after Up something is to be mended")
			}
			if err := s.Up(t.Context()); err != nil { // as a gate that was killed does
				t.Fatal(err)
			}
			if diff := cmp.Diff(once, surroundings(t)); diff != "" {
				t.Errorf("Up again changed (-once +twice)\n%s", diff)
			}
			if err := s.Down(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, surroundings(t)); diff != "" {
				t.Errorf("Down left behind (-before +after)\n%s", diff)
			}
			if _, err := os.Stat(s.State); err == nil {
				t.Error("the file of what was before is still there")
			}
			if err := s.Down(); err != nil {
				t.Errorf("Down again: %v", err)
			}
		})
	}
}

// The commands that are printed do what Up does.
func TestPrintedCommands(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft", "ip", "sh")
	gateway(t)
	p := readPolicy(t, policies["masquerade"])
	s := &System{Policy: p}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := surroundings(t)
	if err := s.Down(); err != nil {
		t.Fatal(err)
	}
	text := p.Print()
	for line := range strings.Lines(text) {
		c, ok := strings.CutPrefix(strings.TrimSpace(line), "#   ")
		if !ok {
			continue
		}
		if strings.HasPrefix(c, "ip ") {
			command(t, "sh", "-c", c)
		} else if s, ok := strings.CutPrefix(c, "sysctl -w "); ok {
			name, value, _ := strings.Cut(s, "=")
			sysctl(t, name, value)
		}
	}
	nft(t, text, "-f", "-")
	// ip(8) writes another protocol at routes than the gate, which says that they are nobody's who routes.
	clean := strings.NewReplacer(" proto static", "", " proto boot", "")
	if diff := cmp.Diff(clean.Replace(want), clean.Replace(surroundings(t))); diff != "" {
		t.Errorf("(-Up +commands)\n%s", diff)
	}
}

// A gate with another policy than the last one, which was killed, removes what that one needed.
func TestSystemOtherPolicy(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft", "ip")
	gateway(t)
	before := surroundings(t)
	if err := (&System{Policy: readPolicy(t, policies["example"])}).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	nft(t, "", "add", "element", "inet", Table, "multi4", "{ 10.1.0.1 . 10.3.0.1 . tcp . 50000 timeout 1h }")
	s := &System{Policy: readPolicy(t, policies["snat"]+"marks: {packet: 0x4, table: 77}\nlimits: {pinholes: 7}\n")}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := surroundings(t)
	if strings.Contains(now, "lookup 30111") || strings.Contains(now, "0x1000000") || !strings.Contains(now, "lookup 77") {
		t.Errorf("the former routes are there:\n%s", now)
	}
	if !strings.Contains(now, "10.1.0.1 . 10.3.0.1 . tcp . 50000") {
		t.Errorf("the pinhole is lost:\n%s", now)
	}
	if err := s.Down(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, surroundings(t)); diff != "" {
		t.Errorf("Down left behind (-before +after)\n%s", diff)
	}
}

func TestSystemRefuses(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft", "ip")
	gateway(t)
	nstest.Veth(t, "c", "10.1.0.1/24")
	s := &System{Policy: readPolicy(t, minimal)}
	for _, tt := range []struct{ name, bad, good, want string }{
		{"net.ipv4.ip_forward", "0", "1", "gate: net.ipv4.ip_forward is 0, and has to be 1: sysctl -w net.ipv4.ip_forward=1"},
		{"net.ipv4.tcp_fwmark_accept", "1", "0", "gate: net.ipv4.tcp_fwmark_accept is 1, and has to be 0: sysctl -w net.ipv4.tcp_fwmark_accept=0"},
		{"net/ipv4/conf/c/src_valid_mark", "1", "0", "gate: src_valid_mark of c is 1, and has to be 0: sysctl -w net/ipv4/conf/c/src_valid_mark=0"},
	} {
		before := surroundings(t)
		sysctl(t, tt.name, tt.bad)
		if err := s.Up(t.Context()); err == nil || err.Error() != tt.want {
			t.Errorf("with %s=%s Up says\n%v, want\n%s", tt.name, tt.bad, err, tt.want)
		}
		sysctl(t, tt.name, tt.good)
		if diff := cmp.Diff(before, surroundings(t)); diff != "" {
			t.Errorf("a refused Up changed (-before +after)\n%s", diff)
		}
	}
}

// A rule of the host's that takes the mark elsewhere is found before anything depends on it.
func TestSystemOtherRule(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft", "ip")
	gateway(t)
	command(t, "ip", "rule", "add", "priority", "5", "fwmark", "0x1000000/0xff000000", "unreachable")
	before := surroundings(t)
	s := &System{Policy: readPolicy(t, minimal)}
	err := s.Up(t.Context())
	if want := "gate: mark 0x01000000 of IPv4 does not lead to this host, since another rule comes first: ip rule shows it; choose marks.packet or marks.table"; err == nil || err.Error() != want {
		t.Errorf("Up says %v, want %s", err, want)
	}
	if err := s.Down(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, surroundings(t)); diff != "" {
		t.Errorf("Down left behind (-before +after)\n%s", diff)
	}
	s.Policy = readPolicy(t, minimal+"marks: {packet: 0x40}\n")
	if err := s.Up(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWatch(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft", "ip")
	gateway(t)
	p := readPolicy(t, policies["example"])
	var log nstest.Text
	mended := make(chan struct{}, 100)
	s := &System{Policy: p, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, err := NewPinholes(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Mended = func(ctx context.Context) {
		mended <- struct{}{}
		if err := h.Restore(ctx); err != nil {
			t.Error(err)
		}
	}
	want := surroundings(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- s.Watch(ctx) }()
	go func() { done <- h.Run(ctx) }()

	count := func() int { return strings.Count(log.String(), "put back") }
	for _, harm := range [][]string{
		{"nft", "flush", "ruleset"},
		{"nft", "delete", "table", "inet", Table},
		{"nft", "flush", "chain", "inet", Table, "forward"},
		{"nft", "add", "rule", "inet", Table, "forward", "drop"},
		{"nft", "chain", "inet", Table, "forward", "{ policy drop; }"},
		{"ip", "rule", "delete", "priority", "30111"},
		{"ip", "-6", "rule", "delete", "priority", "30111"},
		{"ip", "route", "flush", "table", "30111"},
		{"ip", "-6", "route", "flush", "table", "30111"},
	} {
		reports := count()
		command(t, harm[0], harm[1:]...)
		nstest.WaitFor(t, "the end of "+strings.Join(harm, " "), patience, func() bool { return count() > reports && surroundings(t) == want })
	}
	reports := count()
	sysctl(t, "net.ipv4.ip_early_demux", "1")
	nstest.WaitFor(t, "the setting", patience, func() bool { return count() > reports && surroundings(t) == want })
	if n := len(mended); n != 5 {
		t.Errorf("it was told %d times that pinholes are lost, want 5", n)
	}

	// What pinholes do is nobody's harm.
	reports = count()
	var wait sync.WaitGroup
	for c := range 4 {
		wait.Go(func() {
			for i := range 500 {
				one := rpcPinhole(fmt.Sprintf("10.1.%d.%d", c, i/50), fmt.Sprintf("10.2.0.1:%d", 50000+i))
				one.Lifetime = time.Second
				if err := h.Open(ctx, []Pinhole{one}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	nstest.WaitFor(t, "their end", patience, func() bool { return elementsOf(t, "multi4") == 0 })
	if n := count(); n != reports {
		t.Errorf("it mended what was whole:\n%s", log.String())
	}

	// Pinholes come back with the table.
	if err := h.Open(ctx, []Pinhole{rpcPinhole("10.1.0.1", "10.2.0.1:50000")}); err != nil {
		t.Fatal(err)
	}
	nft(t, "", "flush", "ruleset")
	nstest.WaitFor(t, "the pinhole", patience, func() bool {
		return strings.Contains(nft(t, "", "list", "ruleset"), "10.1.0.1 . 10.2.0.1 . tcp . 50000")
	})
	cancel()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Error(err)
	}
	if err := s.Down(); err != nil {
		t.Error(err)
	}
}
