package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/portset"
)

// grant returns ports that root's process 1188 was given an hour before noon.
func grant(tcp, udp uint16) endpoint.GrantDocument {
	return endpoint.GrantDocument{
		ID: "0a1b2c3d4e5f", Dialect: "onc", Pool: "intranet", TCP: tcp, UDP: udp, Command: "rpc.statd",
		Owner: "root", PID: 1188, Since: noon.Add(-time.Hour),
	}
}

func ports(t *testing.T, text string) portset.Set {
	t.Helper()
	set, err := portset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// unknownUID is a user that no host has.
const unknownUID = 4294967000

// twoPools are the pools of a policy.
func twoPools(t *testing.T) []api.PoolPorts {
	return []api.PoolPorts{
		{Pool: "intranet", Default: true, Ports: ports(t, "5000-5020"), TCP: api.PortCounts{Given: 3, Busy: 1, Free: 17}, UDP: api.PortCounts{Given: 2, Free: 19}},
		{Pool: "internet", Ports: ports(t, "61000-65535"), TCP: api.PortCounts{Free: 4536}, UDP: api.PortCounts{Busy: 12, Free: 4524}},
	}
}

func TestPoolTable(t *testing.T) {
	dynamic := []api.PoolPorts{{Pool: "dynamic", Default: true, Ports: ports(t, "61000-65535"), TCP: api.PortCounts{Free: 4536}, UDP: api.PortCounts{Free: 4536}}}
	gone, waiting := grant(5004, 0), grant(5005, 0)
	gone.RunGone, gone.Command, gone.PID = true, "", 0
	waiting.Owner, waiting.PID, waiting.Since = "statd", 1204, noon.Add(-3*time.Second)
	late := tableRow(100024, 1, "tcp", "0.0.0.0", 5005)
	late.Evidence = "waiting"
	own := []endpoint.Document{
		tableRow(0x20000001, 1, "tcp", "0.0.0.0", 5006), tableRow(0x20000001, 1, "tcp6", "::", 5006), tableRow(0x20000001, 1, "udp", "0.0.0.0", 5006),
	}
	for i := range own {
		own[i].Owner, own[i].Since = "alice", noon.Add(-time.Duration(i+1)*time.Minute)
	}
	var lsass []endpoint.Document
	for _, uuid := range []string{samr, lsarpc, drsuapi, winreg, mine, yours} {
		lsass = append(lsass, dceRow(uuid, "1.0", "ncacn_ip_tcp", "0.0.0.0:5007"), dceRow(uuid, "1.1", "ncacn_http", "0.0.0.0:5007"))
	}
	lsass[2].Version, lsass[4].Version = endpoint.Version{Dotted: true}, endpoint.Version{Major: 4, Dotted: true} // what these are
	hostile := grant(5008, 0)
	hostile.Owner, hostile.Command = "\x1b[31m", "a\nb\u202e"
	full := twoPools(t)
	full[0].TCP.Free = 0
	spread := make([]uint16, 10)
	for i := range spread {
		spread[i] = 5000 + 2*uint16(i)
	}
	for _, tt := range []struct {
		name    string
		pool    api.Pool
		rows    []endpoint.Document
		holders map[transportPort]socktable.Process
		want    string
	}{
		{"nothing given", api.Pool{Pools: dynamic}, []endpoint.Document{tableRow(100005, 3, "tcp", "0.0.0.0", 20048)}, nil, `
POOL     PORTS        TRANSPORT  GIVEN  BUSY  FREE
dynamic  61000-65535  tcp            0     0  4536
                      udp            0     0  4536

1 pool, 4,536 ports; 0 grants, 0 ports in use by others        (no policy)
`},
		{"given: registered, in part, nothing yet", api.Pool{
			Source: "/etc/policy.reg", Pools: twoPools(t),
			Grants: []endpoint.GrantDocument{grant(5003, 5003), grant(5001, 5001), grant(5002, 5020)},
		}, []endpoint.Document{
			tableRow(100005, 3, "tcp", "0.0.0.0", 5001), tableRow(100005, 3, "udp6", "::", 5001), tableRow(100024, 1, "tcp6", "::", 5003),
			tableRow(100024, 1, "local", "/run/x", 0),
		}, nil, `
POOL                PORTS        TRANSPORT  GIVEN  BUSY  FREE
intranet (default)  5000-5020    tcp            3     1    17
                                 udp            2     0    19
internet            61000-65535  tcp            0     0  4536
                                 udp            0    12  4524

PORT  TRANSPORT  HELD BY      FOR        STATE       SINCE
5001  tcp udp    root (1188)  mountd     registered     1h
5002  tcp        root (1188)  rpc.statd  given          1h
5003  tcp udp    root (1188)  status     registered     1h
5020  udp        root (1188)  rpc.statd  given          1h

2 pools, 4,557 ports; 3 grants, 0 ports in use by others        (policy: /etc/policy.reg)
`},
		{"every state", api.Pool{
			Pools: dynamic, Grants: []endpoint.GrantDocument{gone, waiting},
			Busy: []api.BusyPort{
				{Transport: "tcp", Port: 5000, UID: unknownUID, Listening: true}, {Transport: "udp", Port: 5000, UID: unknownUID, Listening: true},
				{Transport: "tcp", Port: 5002, UID: unknownUID, Listening: true}, {Transport: "udp", Port: 5003, UID: endpoint.NoUID, Listening: true},
				{Transport: "tcp", Port: 5006, UID: 0, Listening: true}, {Transport: "udp", Port: 5006, UID: endpoint.NoUID},
				{Transport: "tcp", Port: 5009, UID: endpoint.NoUID},
			},
		}, append(own, late), map[transportPort]socktable.Process{{"tcp", 5002}: {PID: 77, Name: "python3"}, {"tcp", 5006}: {PID: 78, Name: "x"}}, `
POOL     PORTS        TRANSPORT  GIVEN  BUSY  FREE
dynamic  61000-65535  tcp            0     0  4536
                      udp            0     0  4536

PORT  TRANSPORT  HELD BY          FOR        STATE                  SINCE
5000  tcp udp    4294967000       —          not from the pool          —
5002  tcp        4294967000 (77)  python3    not from the pool          —
5003  udp        —                —          not from the pool          —
5004  tcp        root             —          run gone                  1h
5005  tcp        statd (1204)     status     waiting                   3s
5006  tcp udp    alice            536870913  registered, not given     3m
5009  tcp        —                —          registered, not given      —

1 pool, 4,536 ports; 2 grants, 5 ports in use by others        (no policy)
! others use 5000,5002-5003,5006,5009: list other ports, or have their programs ask for ports
`},
		{"many interfaces, foreign text", api.Pool{Source: "/etc/\x1b", Pools: dynamic, Grants: []endpoint.GrantDocument{grant(5007, 0), hostile}}, lsass, nil, `
POOL     PORTS        TRANSPORT  GIVEN  BUSY  FREE
dynamic  61000-65535  tcp            0     0  4536
                      udp            0     0  4536

PORT  TRANSPORT  HELD BY          FOR                                 STATE       SINCE
5007  tcp        root (1188)      samr lsarpc drsuapi winreg, 2 more  registered     1h
5008  tcp        \x1b[31m (1188)  a\x0ab\u202e                        given          1h

1 pool, 4,536 ports; 2 grants, 0 ports in use by others        (policy: /etc/\x1b)
`},
		{"two lines of advice, the worst first", api.Pool{
			Pools: full, Shared: ports(t, "5010-5020"), Busy: []api.BusyPort{{Transport: "tcp", Port: 5002, UID: endpoint.NoUID, Listening: true}},
		}, nil, nil, `
POOL                PORTS        TRANSPORT  GIVEN  BUSY  FREE
intranet (default)  5000-5020    tcp            3     1     0
                                 udp            2     0    19
internet            61000-65535  tcp            0     0  4536
                                 udp            0    12  4524

PORT  TRANSPORT  HELD BY  FOR  STATE              SINCE
5002  tcp        —        —    not from the pool      —

2 pools, 4,557 ports; 0 grants, 1 port in use by others        (no policy)
! ordinary servers find no free port of tcp: let the policy have more ports for them
! the kernel gives 5010-5020 to outgoing connections too: quaymaster pool convert FILE --to sysctl reserves the list
`},
		{"scattered", api.Pool{Pools: []api.PoolPorts{{Pool: "dynamic", Default: true, Ports: portset.Ports(spread...), TCP: api.PortCounts{Free: 10}, UDP: api.PortCounts{Free: 10}}}, Shared: portset.Ports(spread...)}, nil, nil, `
POOL     PORTS                                              TRANSPORT  GIVEN  BUSY  FREE
dynamic  5000,5002,5004,5006,5008,5010,5012,5014,5016,5018  tcp            0     0    10
                                                            udp            0     0    10

1 pool, 10 ports; 0 grants, 0 ports in use by others        (no policy)
! the kernel gives 5000,5002,5004,5006,5008,5010,… to outgoing connections too: quaymaster pool convert FILE --to sysctl reserves the list
`},
		{"no ports", api.Pool{Pools: []api.PoolPorts{{Pool: "intranet", Default: true}, {Pool: "internet", Ports: ports(t, "5100"), TCP: api.PortCounts{Free: 1}, UDP: api.PortCounts{Free: 1}}}}, nil, nil, `
POOL                PORTS  TRANSPORT  GIVEN  BUSY  FREE
intranet (default)  —      tcp            0     0     0
                           udp            0     0     0
internet            5100   tcp            0     0     1
                           udp            0     0     1

2 pools, 1 port; 0 grants, 0 ports in use by others        (no policy)
! ordinary servers find no free port of tcp and udp: let the policy have more ports for them
`},
		{"no pool", api.Pool{}, nil, nil, `
there is no pool: nobody is given a port        (the daemon's log says why)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("HOME", "/home/a")
			var out strings.Builder
			if err := printPool(show.Screen{Writer: &out}, &tt.pool, portUses(&tt.pool, tt.rows, tt.holders), noon); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A narrow terminal cuts what is registered, and the list of ports.
func TestNarrowPoolTable(t *testing.T) {
	p := api.Pool{Pools: twoPools(t), Grants: []endpoint.GrantDocument{grant(5001, 0)}}
	p.Pools[0].Ports = ports(t, "5000-5020,5100-5200,5300,5400-5500")
	p.Grants[0].Command = "a program with a long name that does not fit"
	const want = `POOL                PORTS                      TRANSPORT  GIVEN  BUSY  FREE
intranet (default)  5000-5020,5100-5200,5300…  tcp            3     1    17
                                               udp            2     0    19
internet            61000-65535                tcp            0     0  4536
                                               udp            0    12  4524

PORT  TRANSPORT  HELD BY      FOR                              STATE  SINCE
5001  tcp        root (1188)  a program with a long name tha…  given     1h
`
	var out strings.Builder
	if err := printPool(show.Screen{Writer: &out, Width: 75}, &p, portUses(&p, nil, nil), noon); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := strings.Cut(out.String(), "\n2 pools"); cmp.Diff(want, got) != "" {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestCompact(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "5000": "5000", "5000-5020,5100": "5000-5020,5100",
		"1-2,4,6,8,10,12":    "1-2,4,6,8,10,12",
		"1-2,4,6,8,10,12,14": "1-2,4,6,8,10,12,…",
	} {
		if got := compact(ports(t, text)); got != want {
			t.Errorf("compact(%s) = %s, want %s", text, got, want)
		}
	}
}
