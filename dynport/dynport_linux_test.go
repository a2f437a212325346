package dynport_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/dynport"
	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/control"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/portset"
)

// startDaemon runs the control socket of a daemon with a pool, and returns its path.
func startDaemon(dir string, first, last uint16, looks bool) (path string, stop func() error, err error) {
	c := registry.Config{Pools: registry.Pools{
		Policy: &portpool.Policy{Ports: []portset.Range{{First: first, Last: last}}, PortsInternetAvailable: true, UseInternetPorts: true},
		Host:   &portpool.Host{},
	}}
	kernel, err := socktable.Open()
	if err != nil {
		return "", nil, err
	}
	if looks {
		c.Sockets, c.Free = kernel, socktable.Free
	}
	g, err := registry.Open(c)
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "control.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	server := control.Server{Registry: g, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- server.Serve(ctx, ln) }()
	go func() { ended <- g.Run(ctx) }()
	return path, func() error {
		cancel()
		return errors.Join(<-ended, <-ended, g.Close(), kernel.Close())
	}, nil
}

// daemon runs a daemon for a test.
func daemon(t *testing.T, first, last uint16, looks bool) (path string) {
	t.Helper()
	path, stop, err := startDaemon(t.TempDir(), first, last, looks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return path
}

// registered returns what is, as "tcp 0.0.0.0 listening".
func registered(t *testing.T, path string) []string {
	t.Helper()
	l, err := api.NewClient(path).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range l.Endpoints {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s%s %s %s %s", d.NetID, d.ProtSeq, d.Address, d.Evidence, d.Annotation)))
	}
	return all
}

func TestListen(t *testing.T) {
	if !nstest.Inside(t) { // where nobody has the ports
		return
	}
	samr := dynport.DCE("12345778-1234-abcd-ef00-0123456789ac", 1, 0)
	for _, tt := range []struct {
		name       string
		c          dynport.Config
		interfaces []dynport.Interface
		want       []string
	}{
		{"a program", dynport.Config{}, []dynport.Interface{dynport.ONC(0x20000001, 1)}, []string{"tcp 0.0.0.0 listening", "tcp6 :: listening"}},
		{"two versions at an address", dynport.Config{Address: netip.MustParseAddr("127.0.0.1")}, []dynport.Interface{dynport.ONC(0x20000001, 1), dynport.ONC(0x20000001, 2)},
			[]string{"tcp 127.0.0.1 listening", "tcp 127.0.0.1 listening"}},
		{"at an IPv6 address", dynport.Config{Address: netip.IPv6Loopback(), Annotation: "mine"}, []dynport.Interface{dynport.ONC(0x20000001, 1)}, []string{"tcp6 ::1 listening mine"}},
		{"a DCE interface", dynport.Config{Annotation: "accounts"}, []dynport.Interface{samr}, []string{"ncacn_ip_tcp 0.0.0.0 listening accounts"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.Control = daemon(t, 5200, 5209, true)
			l, err := tt.c.Listen(t.Context(), tt.interfaces...)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if got := registered(t, tt.c.Control); !slices.Equal(got, tt.want) {
				t.Errorf("registered: %q, want %q", got, tt.want)
			}
			if at := netip.MustParseAddrPort(l.Addr().String()); int(at.Port()) != l.Port() || l.Port() < 5200 || l.Port() > 5209 {
				t.Errorf("it listens at %s, Port is %d, want one of 5200-5209", at, l.Port())
			}
			p, err := api.NewClient(tt.c.Control).Pool(t.Context())
			if err != nil || len(p.Grants) != 1 || int(p.Grants[0].TCP) != l.Port() || p.Grants[0].Command != filepath.Base(os.Args[0]) {
				t.Errorf("given: %+v, %v, want port %d", p.Grants, err, l.Port())
			}
			host := "127.0.0.1"
			if tt.c.Address.IsValid() {
				host = tt.c.Address.String()
			}
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, fmt.Sprint(l.Port())), 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			for range 2 {
				if err := l.Close(); err != nil {
					t.Errorf("Close = %v", err)
				}
			}
			if got := registered(t, tt.c.Control); len(got) != 0 {
				t.Errorf("registered after Close: %q", got)
			}
			if p, err := api.NewClient(tt.c.Control).Pool(t.Context()); err != nil || len(p.Grants) != 0 {
				t.Errorf("given after Close: %+v, %v", p.Grants, err)
			}
		})
	}
}

// TestListenRefused: with an error nothing is registered, given or open.
func TestListenRefused(t *testing.T) {
	if !nstest.Inside(t) { // where nobody has the ports
		return
	}
	onc, dce := dynport.ONC(0x20000001, 1), dynport.DCE("12345778-1234-abcd-ef00-0123456789ac", 1, 0)
	for _, tt := range []struct {
		name       string
		c          dynport.Config
		interfaces []dynport.Interface
		want       string
	}{
		{"nothing", dynport.Config{}, nil, "dynport: no interface: a client could not ask for it"},
		{"two dialects", dynport.Config{}, []dynport.Interface{onc, dce}, "dynport: interfaces of two dialects: a port is for one"},
		{"no such pool", dynport.Config{Pool: "extranet"}, []dynport.Interface{onc}, `dynport: pool "extranet": want default, internet or intranet`},
		{"DCE at IPv6", dynport.Config{Address: netip.IPv6Loopback()}, []dynport.Interface{dce}, "dynport: ::1: clients of DCE/RPC can be told of IPv4 addresses only"},
		{"no UUID", dynport.Config{}, []dynport.Interface{dynport.DCE("samr", 1, 0)}, `dynport: endpoints[0]: `},
		{"no address of this host", dynport.Config{Address: netip.MustParseAddr("192.0.2.1")}, []dynport.Interface{onc}, "dynport: listen tcp4 192.0.2.1:5200: bind: cannot assign requested address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.Control = daemon(t, 5200, 5209, true)
			l, err := tt.c.Listen(t.Context(), tt.interfaces...)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Listen = %v, %v, want the error %s", l, err, tt.want)
			}
			if p, err := api.NewClient(tt.c.Control).Pool(t.Context()); err != nil || len(p.Grants) != 0 {
				t.Errorf("given: %+v, %v, want nothing", p.Grants, err)
			}
			if got := registered(t, tt.c.Control); len(got) != 0 {
				t.Errorf("registered: %q, want nothing", got)
			}
		})
	}
	_, err := dynport.Config{Control: filepath.Join(t.TempDir(), "none")}.Listen(t.Context(), onc)
	if !errors.Is(err, syscall.ENOENT) {
		t.Errorf("without a daemon: %v, want ENOENT", err)
	}
}

// TestTakenPort: where somebody is quicker to listen, the next port is tried, and there is an end to it.
func TestTakenPort(t *testing.T) {
	if !nstest.Inside(t) { // where nobody has the ports
		return
	}
	path := daemon(t, 5210, 5219, false) // which does not look, so that it gives what is taken
	for i := range 9 {
		ln, err := net.Listen("tcp", fmt.Sprintf(":%d", 5210+i))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
	}
	c := dynport.Config{Control: path}
	if l, err := c.Listen(t.Context(), dynport.ONC(0x20000001, 1)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen = %v, %v, want %v after five ports", l, err, syscall.EADDRINUSE)
	}
	l, err := c.Listen(t.Context(), dynport.ONC(0x20000001, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Port() != 5219 {
		t.Errorf("Port = %d, want 5219", l.Port())
	}
	if p, err := api.NewClient(path).Pool(t.Context()); err != nil || len(p.Grants) != 1 {
		t.Errorf("given: %+v, %v, want one", p.Grants, err)
	}
}

// TestClosedWithoutDaemon: that the daemon has ended keeps nobody from closing.
func TestClosedWithoutDaemon(t *testing.T) {
	if !nstest.Inside(t) { // where nobody has the ports
		return
	}
	path, stop, err := startDaemon(t.TempDir(), 5200, 5209, true)
	if err != nil {
		t.Fatal(err)
	}
	l, err := dynport.Config{Control: path}.Listen(t.Context(), dynport.ONC(0x20000001, 1))
	if err := errors.Join(err, stop()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}
