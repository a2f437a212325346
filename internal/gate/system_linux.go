package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// DefaultState is where a [System] keeps what it changed.
const DefaultState = "/run/quaymaster/gate.json"

// nftTime is how long nft(8) may take.
const nftTime = 30 * time.Second

// A System is what the gate has in the kernel beside pinholes: its table, its routes, its settings. Its methods are called one at a time: Up, Watch
// until it returns, Down.
type System struct {
	Policy *Policy
	Log    *slog.Logger // nil discards
	State  string       // file that remembers what was there before; empty: [DefaultState]

	// Mended is called by Watch after it loaded the table anew, whose pinholes are lost: [Pinholes.Restore]. Nil is not called.
	Mended func(context.Context)

	loaded string // what the table is made of, as the kernel tells
	failed string // why something could not be put back, when that was last tried
}

// A former is what a file remembers of how the host was before the gate, and of what to remove again.
type former struct {
	Settings []Setting `json:"settings"`
	Routes   []route   `json:"routes"`
}

func (s *System) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *System) state() string {
	if s.State == "" {
		return DefaultState
	}
	return s.State
}

// Up puts all in place, also where some of it is: what another policy left behind goes, and pinholes stay open. It refuses a host
// on which the gate would not work. When it fails, some may be in place: Down removes it.
//
// From then on control channels come to [Policy.Listeners], and are dropped while nobody listens there.
func (s *System) Up(ctx context.Context) error {
	for _, c := range s.Policy.checkSettings(s.Policy.interfaces()) {
		if c.State == Missing {
			return fmt.Errorf("gate: %s is %s, and has to be %s: %s", c.What, c.Is, c.Want, c.Mend)
		}
	}
	if err := s.remember(); err != nil {
		return err
	}
	for _, setting := range s.Policy.Settings() {
		if err := writeSetting(setting); err != nil {
			return err
		}
	}
	if err := s.addRoutes(); err != nil {
		return err
	}
	if missing := s.missingRoutes(); len(missing) > 0 {
		return fmt.Errorf("gate: %s does not lead to this host, since another rule comes first: ip rule shows it; choose marks.packet or marks.table", strings.Join(missing, ", "))
	}
	return s.load(ctx)
}

// remember writes down what Up is about to change, unless it is written down already: then an earlier gate changed it.
func (s *System) remember() error {
	was, err := s.remembered()
	if err != nil {
		return err
	}
	for _, setting := range s.Policy.Settings() {
		if slices.ContainsFunc(was.Settings, func(o Setting) bool { return o.Name == setting.Name }) {
			continue
		}
		value, err := readSetting(setting.Name)
		if err != nil {
			return err
		}
		was.Settings = append(was.Settings, Setting{setting.Name, value})
	}
	wanted := s.Policy.routes()
	stale := slices.DeleteFunc(slices.Clone(was.Routes), func(r route) bool { return slices.Contains(wanted, r) })
	was.Routes = append(wanted, stale...) // until those are gone
	if err := s.write(was); err != nil || len(stale) == 0 {
		return err
	}
	if err := removeRoutes(stale); err != nil {
		return err
	}
	was.Routes = wanted
	return s.write(was)
}

func (s *System) remembered() (former, error) {
	var was former
	text, err := os.ReadFile(s.state())
	if errors.Is(err, fs.ErrNotExist) {
		return was, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &was)
	}
	if err != nil {
		return was, fmt.Errorf("gate: what was before the gate: %s: %w", s.state(), err)
	}
	return was, nil
}

func (s *System) write(was former) error {
	text, err := json.Marshal(was)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.state()), 0o755); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	next := s.state() + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	if err := os.Rename(next, s.state()); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	return nil
}

// Down removes all that Up put there, pinholes with it, and sets back what it changed. It does all it can, also after an error.
//
// A gate that is to start again leaves it out: pinholes stay open then, and control channels are dropped meanwhile.
func (s *System) Down() error {
	ctx := context.Background() // nothing may stop it half way
	was, err := s.remembered()
	errs := []error{err, runNft(ctx, fmt.Sprintf("add table inet %s\ndelete table inet %[1]s\n", Table))}
	routes := s.Policy.routes()
	for _, r := range was.Routes {
		if !slices.Contains(routes, r) {
			routes = append(routes, r)
		}
	}
	errs = append(errs, removeRoutes(routes))
	for _, setting := range was.Settings {
		errs = append(errs, writeSetting(setting))
	}
	if err := errors.Join(errs...); err != nil {
		return err // the file stays, for another try
	}
	s.loaded = ""
	if err := os.Remove(s.state()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("gate: %w", err)
	}
	return nil
}

func (s *System) addRoutes() error {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("gate: netlink: %w", err)
	}
	defer conn.Close()
	for _, r := range s.Policy.routes() {
		if err := r.add(conn); err != nil {
			return err
		}
	}
	return nil
}

func removeRoutes(all []route) error {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("gate: netlink: %w", err)
	}
	defer conn.Close()
	var errs []error
	for _, r := range all {
		errs = append(errs, r.remove(conn))
	}
	return errors.Join(errs...)
}

// load loads the table and remembers what the kernel made of it.
func (s *System) load(ctx context.Context) error {
	if err := runNft(ctx, s.Policy.Print()); err != nil {
		return err
	}
	loaded, err := tableParts()
	if err != nil {
		return err
	}
	s.loaded = loaded
	return nil
}

// runNft has nft(8) read text.
func runNft(ctx context.Context, text string, options ...string) error {
	ctx, cancel := context.WithTimeout(ctx, nftTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, nftPath(), append(options, "-f", "-")...)
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("gate: nft is not installed: apt-get install nftables, or dnf install nftables")
	case err != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
		return fmt.Errorf("gate: nft: %s (%w)", first, err)
	}
	return nil
}

// nftPath returns where nft(8) is, also if only root's PATH has it.
func nftPath() string {
	if path, err := exec.LookPath("nft"); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, "nft")); err == nil {
			return path
		}
	}
	return "nft"
}
