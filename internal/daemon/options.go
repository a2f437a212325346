// Package daemon builds the mappers out of their parts and runs them: it opens
// every socket, hands each to the part that answers there, and ends them together.
package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Options are what an administrator chooses, by flags or in the configuration
// file. The zero value of a field means its default.
type Options struct {
	ListenONC []string `yaml:"listen_onc"` // addresses with or without port, or the one word "none"; default every address, port 111
	ONCSocket string   `yaml:"onc_socket"` // path of the local socket; its abstract twin has the same name
	ListenDCE []string `yaml:"listen_dce"` // as ListenONC, for the endpoint mapper; default every address, port 135
	DCESocket string   `yaml:"dce_socket"` // path of its local socket
	Control   string   `yaml:"control"`    // path of the control socket
	User      string   `yaml:"user"`       // account to run as once every socket is open; default: the one that started it
	KeepGoing bool     `yaml:"keep_going"` // serve what can be opened when something cannot
	LogLevel  string   `yaml:"log_level"`  // debug, info (default), warn, error
	LogFormat string   `yaml:"log_format"` // text (default), json

	State         string              `yaml:"state"`           // path of the journal, or "memory"
	PermanentFile string              `yaml:"permanent_file"`  // path of the permanent registrations
	Liveness      string              `yaml:"liveness"`        // on (default), off: believe owners without looking
	Grace         time.Duration       `yaml:"grace"`           // how long nothing may listen yet at what is registered; default 10s
	TrustLowPorts bool                `yaml:"trust_low_ports"` // take callers over loopback from privileged ports for root where the kernel does not tell
	Reserved      map[string][]string `yaml:"reserved"`        // users, beside root, who may register a program; default DefaultReserved
	DCEInsert     []string            `yaml:"dce_insert"`      // who may register over the network: "loopback", networks, "any"; default nobody
	DCEAddress    string              `yaml:"dce_address"`     // IPv4 address told of servers that listen everywhere; default the one that the client called
	DCELookupEnd  string              `yaml:"dce_lookup_end"`  // of a dump in parts: status (default), handle
	Networks      Networks            `yaml:"networks"`        // who may ask; read again on SIGHUP
	Limits        Limits              `yaml:"limits"`          // read again on SIGHUP; zeros are DefaultLimits
	Pool          *portpool.Settings  `yaml:"pool"`            // policy of the ports that are given out; read again on SIGHUP

	Policy   *portpool.Document `yaml:"-"` // what Pool says, and where; made by [Load]
	PoolFile string             `yaml:"-"` // file of the policy, in place of Policy; read again on SIGHUP
	Dev      bool               `yaml:"-"` // development: loopback, unprivileged ports, everything in StateDir
	StateDir string             `yaml:"-"` // of the user, with Dev
}

// Paths of the system's daemon.
const (
	SystemONCSocket     = "/run/rpcbind.sock"
	SystemDCESocket     = "/run/quaymaster/epmapper.sock"
	SystemControl       = api.SystemSocket
	SystemState         = "/run/quaymaster/registry.db"
	SystemPermanentFile = "/var/lib/quaymaster/permanent.yaml"
)

// inMemory as the path of the journal: a restart forgets.
const inMemory = "memory"

// DevControl returns the path of the control socket of the development daemon
// that keeps its sockets in dir.
func DevControl(dir string) string { return filepath.Join(dir, "control.sock") }

// A door is where one of the mappers listens on the network.
type door struct {
	listen  func(*Options) []string // what the administrator chose
	flag    string
	key     string // in the configuration
	port    uint16
	devPort uint16 // the development daemon's
}

var (
	oncDoor = door{func(o *Options) []string { return o.ListenONC }, "--listen-onc", "listen_onc", rpcbind.Port, 1111}
	dceDoor = door{func(o *Options) []string { return o.ListenDCE }, "--listen-dce", "listen_dce", epm.Port, 1135}
)

// LoadFile reads a configuration file. One with a policy counts only if nobody but
// root and starter, the uid of who starts the daemon, can change it; others may be
// anybody's. Errors are those of [Load] and, if it cannot be read, of package os.
func LoadFile(name string, starter int) (Options, error) {
	text, doubt := readTrusted(name, starter)
	if doubt != nil {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return Options{}, err
		}
	}
	o, err := Load(name, text)
	if err == nil && o.Policy != nil && doubt != nil {
		return Options{}, doubt
	}
	return o, err
}

func readTrusted(name string, starter int) ([]byte, error) {
	f, err := openTrusted(name, starter)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, config.MaxSize+1)) // Load refuses what is longer
}

// Load reads a configuration file's text. Errors are those of package config.
func Load(name string, text []byte) (Options, error) {
	o := Options{Grace: registry.DefaultGrace, Limits: DefaultLimits} // so that a zero is one that somebody wrote
	f, err := config.Decode(name, text, &o)
	if err != nil {
		return Options{}, err
	}
	var mistakes config.Mistakes
	note := func(path string, err error) {
		if err != nil {
			mistakes = append(mistakes, f.Mistake(path, "%v", err))
		}
	}
	for _, d := range []door{oncDoor, dceDoor} {
		for i, a := range d.listen(&o) {
			_, err := d.parse(&o, a)
			note(fmt.Sprintf("$.%s[%d]", d.key, i), err)
		}
	}
	for i, text := range o.DCEInsert {
		note(fmt.Sprintf("$.dce_insert[%d]", i), (&inserters{}).add(text))
	}
	_, err = o.dceAddress()
	note("$.dce_address", err)
	_, err = o.endWithHandle()
	note("$.dce_lookup_end", err)
	_, err = o.Level()
	note("$.log_level", err)
	_, err = o.JSON()
	note("$.log_format", err)
	_, err = o.unchecked()
	note("$.liveness", err)
	note("$.grace", o.checkGrace())
	if o.Grace == 0 {
		note("$.grace", errGrace(0))
	}
	o.Limits.check(note)
	o.checkReserved(note)
	mistakes = append(mistakes, o.loadPolicy(name, f)...)
	if len(mistakes) > 0 {
		slices.SortFunc(mistakes, func(a, b config.Mistake) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return Options{}, mistakes
	}
	return o, nil
}

// Check returns an error for each option that cannot be meant.
func (o *Options) Check() error {
	_, addresses := oncDoor.addresses(o)
	_, dceAddresses := dceDoor.addresses(o)
	_, inserters := o.inserters()
	_, dceAddress := o.dceAddress()
	_, endWithHandle := o.endWithHandle()
	_, level := o.Level()
	_, format := o.JSON()
	_, liveness := o.unchecked()
	return errors.Join(addresses, dceAddresses, inserters, dceAddress, endWithHandle, level, format, liveness, o.checkGrace(), o.checkPoolFile())
}

// unchecked tells whether owners are believed without looking.
func (o *Options) unchecked() (bool, error) {
	switch o.Liveness {
	case "", "on":
		return false, nil
	case "off":
		return true, nil
	}
	return false, fmt.Errorf("liveness %q: want on or off", o.Liveness)
}

const maxGrace = time.Hour

func (o *Options) checkGrace() error {
	if o.Grace < 0 || o.Grace > maxGrace || o.Grace > 0 && o.Grace < time.Second {
		return errGrace(o.Grace)
	}
	return nil
}

func errGrace(d time.Duration) error { return fmt.Errorf("grace %s: want 1s to 1h", d) }

// Level returns the least level of lines in the log.
func (o *Options) Level() (slog.Level, error) {
	switch o.LogLevel {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: want debug, info, warn or error", o.LogLevel)
}

// JSON tells whether lines of the log are JSON.
func (o *Options) JSON() (bool, error) {
	switch o.LogFormat {
	case "", "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, fmt.Errorf("log format %q: want text or json", o.LogFormat)
}

// none as the only address: do not listen on the network.
const none = "none"

// A listenAddr is one address to open.
type listenAddr struct {
	netip.AddrPort
	chosen bool // by the administrator, so that it must not be left out
}

// addresses returns what to open.
func (d *door) addresses(o *Options) ([]listenAddr, error) {
	chosen := d.listen(o)
	if len(chosen) == 0 {
		return d.defaultAddresses(o), nil
	}
	var all []listenAddr
	for _, text := range chosen {
		addrs, err := d.parse(o, text)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", d.flag, text, err)
		}
		for _, a := range addrs {
			all = append(all, listenAddr{a, true})
		}
	}
	return all, nil
}

func (d *door) defaultAddresses(o *Options) []listenAddr {
	if o.Dev {
		return []listenAddr{
			{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), d.devPort), false},
			{netip.AddrPortFrom(netip.IPv6Loopback(), d.devPort), false},
		}
	}
	return []listenAddr{
		{netip.AddrPortFrom(netip.IPv4Unspecified(), d.port), false},
		{netip.AddrPortFrom(netip.IPv6Unspecified(), d.port), false},
	}
}

// parse reads one of the addresses to listen on; none is no address.
func (d *door) parse(o *Options, s string) ([]netip.AddrPort, error) {
	switch {
	case s != none:
		return parseListen(s, d.port)
	case len(d.listen(o)) > 1:
		return nil, fmt.Errorf("%q goes with no other address", none)
	}
	return nil, nil
}

// parseListen reads ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT or :PORT, the last
// meaning every address of both families. The port is the usual one unless given;
// 0 lets the kernel choose.
func parseListen(s string, usual uint16) ([]netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok && !strings.Contains(port, ":") {
		p, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no port", port)
		}
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(p)),
			netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(p)),
		}, nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
		if err != nil {
			return nil, fmt.Errorf("%q is no address: want 192.0.2.1, 192.0.2.1:%d, [2001:db8::1]:%d or :%d", s, usual, usual, usual)
		}
		a = netip.AddrPortFrom(addr, usual)
	}
	if a.Addr().Is4In6() {
		return nil, fmt.Errorf("%q: write the IPv4 address as %s", s, a.Addr().Unmap())
	}
	return []netip.AddrPort{a}, nil
}

// absolute returns a path that means the same in every folder, as one that is registered must.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (o *Options) oncSocket() string {
	switch {
	case o.ONCSocket != "":
		return absolute(o.ONCSocket)
	case o.Dev:
		return filepath.Join(o.StateDir, "rpcbind.sock")
	}
	return SystemONCSocket
}

func (o *Options) dceSocket() string {
	switch {
	case o.DCESocket != "":
		return absolute(o.DCESocket)
	case o.Dev:
		return filepath.Join(o.StateDir, "epmapper.sock")
	}
	return SystemDCESocket
}

func (o *Options) state() string {
	switch {
	case o.State == inMemory:
		return ""
	case o.State != "":
		return absolute(o.State)
	case o.Dev:
		return filepath.Join(o.StateDir, "registry.db")
	}
	return SystemState
}

// files returns the paths that the daemon makes and removes while it runs.
func (o *Options) files() []string {
	files := []string{o.oncSocket(), o.dceSocket(), o.control(), o.permanentFile()}
	if state := o.state(); state != "" {
		files = append(files, state, state+".log")
	}
	return files
}

func (o *Options) permanentFile() string {
	switch {
	case o.PermanentFile != "":
		return absolute(o.PermanentFile)
	case o.Dev:
		return filepath.Join(o.StateDir, "permanent.yaml")
	}
	return SystemPermanentFile
}

func (o *Options) control() string {
	switch {
	case o.Control != "":
		return absolute(o.Control)
	case o.Dev:
		return DevControl(o.StateDir)
	}
	return SystemControl
}
