package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/filestore"
)

// Networks say from where the mappers may be asked. This host always may.
type Networks struct {
	Ask  []Network `yaml:"ask"`  // who may ask at all; nil: everybody, empty: nobody
	Dump []Network `yaml:"dump"` // who may have everything told at once, over UDP as well; nil: everybody, over TCP; empty: nobody
}

// A Network is an IP network in the configuration, or one address.
type Network struct{ netip.Prefix }

// UnmarshalText reads 192.0.2.0/24, 2001:db8::/32 or an address.
func (n *Network) UnmarshalText(b []byte) error {
	if a, err := netip.ParseAddr(string(b)); err == nil && a.Zone() == "" {
		n.Prefix = netip.PrefixFrom(a, a.BitLen())
		return n.check()
	}
	p, err := netip.ParsePrefix(string(b))
	if err != nil {
		return fmt.Errorf("%q is no network: %w", b, errNoNetwork)
	}
	n.Prefix = p
	return n.check()
}

var errNoNetwork = errors.New("want 192.0.2.0/24, 2001:db8::/32 or an address")

func (n *Network) check() error {
	switch {
	case n.Addr().Is4In6():
		return fmt.Errorf("%s: write an IPv4 network as 192.0.2.0/24", n.Prefix)
	case n.Masked() != n.Prefix:
		return fmt.Errorf("%s has bits beyond its mask: did you mean %s?", n.Prefix, n.Masked())
	}
	return nil
}

// setOf returns the addresses of networks, or nil for nil: to name no network
// is not the same as to say nothing of networks.
func setOf(networks []Network) *netipx.IPSet {
	if networks == nil {
		return nil
	}
	var b netipx.IPSetBuilder
	for _, n := range networks {
		b.AddPrefix(n.Prefix)
	}
	set, err := b.IPSet()
	if err != nil { // networks are checked when they are read
		panic(err)
	}
	return set
}

// Limits bound what strangers and users can make the daemon hold. Zero means the default.
type Limits struct {
	Registrations        uint32 `yaml:"registrations"`          // in total; uid 0 keeps a tenth
	RegistrationsPerUser uint32 `yaml:"registrations_per_user"` // of one uid other than 0
	Connections          uint32 `yaml:"connections"`            // in total; uid 0 keeps a tenth
	ConnectionsPerSource uint32 `yaml:"connections_per_source"` // of one IPv4 address or IPv6 /64
	ConnectionsPerUser   uint32 `yaml:"connections_per_user"`   // of one uid other than 0, to the local and the control socket
	QueriesPerSecond     uint32 `yaml:"queries_per_second"`     // of one source
	GrantsPerUser        uint32 `yaml:"grants_per_user"`        // of one uid other than 0
}

// DefaultLimits are the limits that apply unless others are configured.
var DefaultLimits = Limits{
	Registrations: registry.DefaultMaxRows, RegistrationsPerUser: registry.DefaultMaxUserRows,
	Connections: 4096, ConnectionsPerSource: 256, ConnectionsPerUser: 64,
	QueriesPerSecond: 1000, GrantsPerUser: registry.DefaultMaxUserGrants,
}

// orDefault returns the limits with defaults for those that are zero.
func (l Limits) orDefault() Limits {
	d := DefaultLimits
	return Limits{
		Registrations:        cmp.Or(l.Registrations, d.Registrations),
		RegistrationsPerUser: cmp.Or(l.RegistrationsPerUser, d.RegistrationsPerUser),
		Connections:          cmp.Or(l.Connections, d.Connections),
		ConnectionsPerSource: cmp.Or(l.ConnectionsPerSource, d.ConnectionsPerSource),
		ConnectionsPerUser:   cmp.Or(l.ConnectionsPerUser, d.ConnectionsPerUser),
		QueriesPerSecond:     cmp.Or(l.QueriesPerSecond, d.QueriesPerSecond),
		GrantsPerUser:        cmp.Or(l.GrantsPerUser, d.GrantsPerUser),
	}
}

// maxLimit is the largest limit: a number that every platform's int can hold.
const maxLimit = math.MaxInt32

// check notes what cannot be a limit.
func (l *Limits) check(note func(path string, err error)) {
	for name, n := range map[string]uint32{
		"registrations": l.Registrations, "registrations_per_user": l.RegistrationsPerUser,
		"connections": l.Connections, "connections_per_source": l.ConnectionsPerSource, "connections_per_user": l.ConnectionsPerUser,
		"queries_per_second": l.QueriesPerSecond, "grants_per_user": l.GrantsPerUser,
	} {
		if n < 1 || n > maxLimit {
			note("$.limits."+name, fmt.Errorf("%s %d: want 1 to %d", name, n, maxLimit))
		}
	}
}

// DefaultReserved are the programs that only root may register, and of statd's
// its user.
var DefaultReserved = map[string][]string{
	"nfs": nil, "mountd": nil, "rquotad": nil, "nlockmgr": nil, "nfs_acl": nil,
	"ypserv": nil, "ypbind": nil, "yppasswdd": nil,
	"status": {"statd"},
}

func (o *Options) reservedNames() map[string][]string {
	if o.Reserved == nil {
		return DefaultReserved
	}
	return o.Reserved
}

// checkReserved notes what cannot be meant in the map of reserved programs.
func (o *Options) checkReserved(note func(path string, err error)) {
	for name := range o.Reserved {
		if _, err := filestore.ParseProgram(name); err != nil {
			if strings.ContainsAny(name, "$*.[]") { // as paths have it
				name = "'" + name + "'"
			}
			note("$.reserved."+name, err)
		}
	}
}

// reserved returns the uids that may register each reserved program, beside root's.
// Users that this host does not have, as statd where there is no NFS, have none;
// the log tells of those that an administrator named.
func (o *Options) reserved(log *slog.Logger) map[uint32][]uint32 {
	all := map[uint32][]uint32{}
	for name, users := range o.reservedNames() {
		program, err := filestore.ParseProgram(name)
		if err != nil {
			continue // told when the options were read
		}
		uids := all[program]
		for _, u := range users {
			uid, ok := uidOf(u)
			switch {
			case ok && !slices.Contains(uids, uid):
				uids = append(uids, uid)
			case !ok && o.Reserved != nil:
				log.Warn("a program is reserved for a user that this host does not have", "program", name, "user", u)
			}
		}
		all[program] = uids
	}
	return all
}

func uidOf(name string) (uint32, bool) {
	if u, err := user.Lookup(name); err == nil {
		name = u.Uid
	}
	uid, err := strconv.ParseUint(name, 10, 32)
	return uint32(uid), err == nil
}
