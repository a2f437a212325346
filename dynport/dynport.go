// Package dynport gives a server of RPC its port: out of the pool that the
// administrator of the host chose, from the daemon that quaymaster serve runs.
// The server is registered there, for clients to find, while it listens.
//
// Linux only.
package dynport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// An Interface is what a server serves; [ONC] and [DCE] make one.
type Interface struct{ d endpoint.Document }

// ONC returns a version of an ONC RPC program (RFC 5531, section 8.1).
func ONC(program, version uint32) Interface {
	return Interface{endpoint.Document{
		Dialect: endpoint.ONC.String(), Program: program, Version: endpoint.Version{Major: version}, NetID: "tcp",
	}}
}

// DCE returns a version of a DCE/RPC interface (C706, section 2.1.1), with its UUID in the usual
// form, 12345778-1234-abcd-ef00-0123456789ac.
func DCE(uuid string, major, minor uint16) Interface {
	return Interface{endpoint.Document{
		Dialect: endpoint.DCE.String(), UUID: uuid, Version: endpoint.Version{Major: uint32(major), Minor: minor, Dotted: true}, ProtSeq: "ncacn_ip_tcp",
	}}
}

// A Config says how to listen. The zero value is what most servers want.
type Config struct {
	Control    string     // path of the daemon's control socket; empty: that of the system's
	Address    netip.Addr // to listen at; zero: every address of the host, of both families
	Pool       string     // "internet" or "intranet", as RPC_C_USE_INTERNET_PORT and …INTRANET_PORT ask; empty: what ordinary servers get
	Annotation string     // text beside the registrations: at most 63 bytes
}

// Listen listens as the zero [Config] says.
func Listen(ctx context.Context, interfaces ...Interface) (*Listener, error) {
	return Config{}.Listen(ctx, interfaces...)
}

// A Listener accepts TCP connections on a port of the pool. Close ends the registrations
// and gives the port back. If the process ends without, the daemon does both.
type Listener struct {
	*net.TCPListener
	client *api.Client
	grant  endpoint.GrantDocument
	ids    []endpoint.ID // of the registrations
	once   sync.Once
	err    error // of closing
}

// Port returns the number of the port.
func (l *Listener) Port() int { return int(l.grant.TCP) }

// tries is how many ports are tried where others are quicker to listen.
const tries = 5

// Listen returns a listener at whose port the interfaces, all of one dialect, are
// registered. The context is for getting there only. The error says what the
// daemon refused; the one of a daemon that does not run wraps [syscall.ENOENT] or
// [syscall.ECONNREFUSED].
func (c Config) Listen(ctx context.Context, interfaces ...Interface) (*Listener, error) {
	l, err := c.listen(ctx, interfaces)
	if err != nil {
		return nil, fmt.Errorf("dynport: %w", err)
	}
	return l, nil
}

func (c Config) listen(ctx context.Context, interfaces []Interface) (*Listener, error) {
	if len(interfaces) == 0 {
		return nil, errors.New("no interface: a client could not ask for it")
	}
	for _, i := range interfaces {
		if i.d.Dialect != interfaces[0].d.Dialect {
			return nil, errors.New("interfaces of two dialects: a port is for one")
		}
	}
	client := api.NewClient(cmp.Or(c.Control, api.SystemSocket))
	asked := api.GrantRequest{Dialect: interfaces[0].d.Dialect, Pool: c.Pool, TCP: true, Command: command()}
	for again := 1; ; again++ {
		grant, err := client.Grant(ctx, asked)
		if err != nil {
			return nil, err
		}
		l := &Listener{client: client, grant: grant}
		err = l.open(ctx, &c)
		if err == nil {
			err = l.register(ctx, &c, interfaces)
		}
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, syscall.EADDRINUSE) && again < tries:
			l.Close()
		default:
			l.Close()
			return nil, err
		}
	}
}

// command returns the name by which people know this program.
func command() string {
	name := filepath.Base(os.Args[0])
	if endpoint.ValidText("command", name) != nil {
		return ""
	}
	return name
}

func (l *Listener) open(ctx context.Context, c *Config) error {
	network, host := "tcp", ""
	if c.Address.IsValid() {
		network, host = "tcp6", c.Address.String()
		if c.Address.Is4() {
			network = "tcp4"
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, net.JoinHostPort(host, fmt.Sprint(l.grant.TCP)))
	if err != nil {
		return err
	}
	l.TCPListener = ln.(*net.TCPListener)
	return nil
}

// register registers the interfaces where the socket is: those of ONC for each family,
// those of DCE for IPv4, since towers have no other addresses.
func (l *Listener) register(ctx context.Context, c *Config, interfaces []Interface) error {
	addresses := []netip.Addr{c.Address}
	if !c.Address.IsValid() {
		addresses = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		if at, err := netip.ParseAddrPort(l.Addr().String()); err == nil && at.Addr().Is4() { // a host without IPv6
			addresses = addresses[:1]
		}
	}
	a := api.Addition{Grant: l.grant.ID}
	for _, i := range interfaces {
		for _, at := range addresses {
			d := i.d
			d.Address, d.Port, d.Annotation = at.WithZone("").String(), l.grant.TCP, c.Annotation
			switch {
			case at.Is4():
			case d.NetID != "":
				d.NetID = "tcp6"
			case len(addresses) == 1:
				return fmt.Errorf("%s: clients of DCE/RPC can be told of IPv4 addresses only", at)
			default:
				continue
			}
			a.Endpoints = append(a.Endpoints, d)
		}
	}
	listing, err := l.client.Add(ctx, a)
	if err != nil {
		return err
	}
	for _, d := range listing.Endpoints {
		if id, err := endpoint.ParseID(d.ID); err == nil {
			l.ids = append(l.ids, id)
		}
	}
	return nil
}

// farewell is how long Close waits for the daemon.
const farewell = 5 * time.Second

// Close ends the registrations, stops listening and gives the port back. Connections stay.
// That the daemon cannot be told is no error: it sees that the socket is closed.
func (l *Listener) Close() error {
	l.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		for _, id := range l.ids {
			l.client.RemoveID(ctx, id)
		}
		if l.TCPListener != nil {
			l.err = l.TCPListener.Close()
		}
		l.client.Release(ctx, l.grant.ID)
		l.client.HTTP.CloseIdleConnections()
	})
	return l.err
}
