package socktable

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// at reads an endpoint as it is shown: "tcp6 [::1]:111", "local /run/x.sock".
func at(text string) endpoint.Endpoint {
	name, where, _ := strings.Cut(text, " ")
	netid, ok := rpcbind.ParseNetID(name)
	if !ok {
		panic(text)
	}
	e := endpoint.Endpoint{NetID: netid, Path: where}
	if netid.IsIP() {
		e = endpoint.Endpoint{NetID: netid, Addr: netip.MustParseAddrPort(where)}
	}
	if err := e.Validate(); err != nil {
		panic(err)
	}
	return e
}

// ip is a socket of root's at an address; "*" after it stands for dual-stack.
func ip(text string) Socket {
	addr, dual := strings.CutSuffix(text, "*")
	return Socket{Addr: netip.MustParseAddrPort(addr), DualStack: dual}
}

// text writes sockets as ip and a path do, in an order of their own.
func text(sockets []Socket) string {
	var all []string
	for _, s := range sockets {
		one := s.Path
		if s.Addr.IsValid() {
			one = s.Addr.String()
		}
		if s.DualStack {
			one += "*"
		}
		all = append(all, one)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestSnapshotAt(t *testing.T) {
	tcp := []Socket{
		ip("0.0.0.0:1"), ip("192.0.2.1:2"), ip("[::]:3"), ip("[::]:4*"), ip("[2001:db8::1]:5"),
		ip("192.0.2.1:6"), ip("192.0.2.2:6"), ip("0.0.0.0:6"), ip("[::]:6"), ip("[::1]:6"),
		ip("127.0.0.1:7"), ip("[::]:7*"), ip("0.0.0.0:8"), ip("0.0.0.0:8"), ip("[::1]:65535*"),
	}
	udp := []Socket{ip("0.0.0.0:9"), ip("[::1]:1")}
	local := []Socket{{Path: "/run/a"}, {Path: "/run/b"}, {Path: "/run/b"}, {Path: "@c"}}
	s := NewSnapshot(tcp, udp, local)
	for _, tt := range []struct{ at, want string }{
		{"tcp 0.0.0.0:1", "0.0.0.0:1"},
		{"tcp 192.0.2.1:1", "0.0.0.0:1"},
		{"tcp6 [::]:1", ""},
		{"tcp6 [::1]:1", ""},
		{"udp 0.0.0.0:1", ""},
		{"tcp 192.0.2.1:2", "192.0.2.1:2"},
		{"tcp 192.0.2.2:2", ""},
		{"tcp 0.0.0.0:2", "192.0.2.1:2"},
		{"tcp6 [::]:2", ""},
		{"tcp 0.0.0.0:3", ""},
		{"tcp 192.0.2.1:3", ""},
		{"tcp6 [::]:3", "[::]:3"},
		{"tcp6 [::1]:3", "[::]:3"},
		{"tcp 0.0.0.0:4", "[::]:4*"},
		{"tcp 192.0.2.1:4", "[::]:4*"},
		{"tcp6 [::]:4", "[::]:4*"},
		{"tcp6 [::1]:4", "[::]:4*"},
		{"tcp6 [2001:db8::1]:5", "[2001:db8::1]:5"},
		{"tcp6 [2001:db8::2]:5", ""},
		{"tcp6 [::]:5", "[2001:db8::1]:5"},
		{"tcp 0.0.0.0:6", "0.0.0.0:6 192.0.2.1:6 192.0.2.2:6"},
		{"tcp 192.0.2.1:6", "0.0.0.0:6 192.0.2.1:6"},
		{"tcp6 [::]:6", "[::1]:6 [::]:6"},
		{"tcp6 [::1]:6", "[::1]:6 [::]:6"},
		{"tcp6 [2001:db8::1]:6", "[::]:6"},
		{"tcp 127.0.0.1:7", "127.0.0.1:7 [::]:7*"},
		{"tcp 192.0.2.1:7", "[::]:7*"},
		{"tcp 0.0.0.0:8", "0.0.0.0:8 0.0.0.0:8"},
		{"tcp 0.0.0.0:65535", ""}, // not restricted to IPv6, but its address is
		{"tcp6 [::]:65535", "[::1]:65535*"},
		{"udp 192.0.2.1:9", "0.0.0.0:9"},
		{"udp6 [::]:1", "[::1]:1"},
		{"udp6 [::]:2", ""},
		{"local /run/a", "/run/a"},
		{"local /run/b", "/run/b /run/b"},
		{"local /run/c", ""},
		{"local @c", "@c"},
		{"local @a", ""},
	} {
		if got := text(s.At(at(tt.at))); got != tt.want {
			t.Errorf("At(%s) = %q, want %q", tt.at, got, tt.want)
		}
	}
	if got := s.At(endpoint.Endpoint{}); got != nil {
		t.Errorf("At of no endpoint = %v", got)
	}
	if got := NewSnapshot(nil, nil, nil).At(at("tcp 0.0.0.0:1")); got != nil {
		t.Errorf("At of no sockets = %v", got)
	}
}

// What a path leads to decides between sockets of one name.
func TestSnapshotLooks(t *testing.T) {
	sockets := []localSocket{
		{Socket: Socket{Path: "/x", UID: 1}, inode: 11, hasUID: true},
		{Socket: Socket{Path: "/x", UID: 2}, inode: 12, hasUID: true},
		{Socket: Socket{Path: "/x", UID: NoUID}}, // as of an old kernel
		{Socket: Socket{Path: "@x", UID: NoUID}},
	}
	for _, tt := range []struct {
		name, path string
		file       file
		want       []uint32 // users
	}{
		{"the first's", "/x", file{socket: true, inode: 11, uid: 3}, []uint32{1, 3}},
		{"the second's", "/x", file{socket: true, inode: 12, uid: 3}, []uint32{2, 3}},
		{"another", "/x", file{socket: true, inode: 13, uid: 3}, []uint32{3}},
		{"no socket", "/x", file{inode: 11, uid: 3}, nil},
		{"nothing there", "/x", file{}, nil},
		{"may not look", "/x", file{hidden: true}, []uint32{1, 2, NoUID}},
		{"abstract", "@x", file{}, []uint32{NoUID}},
	} {
		s := newSnapshot(nil, nil, sockets, func(path string) file {
			if path != tt.path {
				t.Errorf("%s: looked at %s", tt.name, path)
			}
			return tt.file
		})
		var got []uint32
		for _, l := range s.At(endpoint.Endpoint{NetID: rpcbind.Local, Path: tt.path}) {
			got = append(got, l.UID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: sockets of users %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSame(t *testing.T) {
	base := Socket{Addr: netip.MustParseAddrPort("192.0.2.1:1"), UID: 7, Inode: 1}
	with := func(change func(*Socket)) *Snapshot {
		s := base
		change(&s)
		return NewSnapshot([]Socket{s}, []Socket{base}, nil)
	}
	was := with(func(*Socket) {})
	for name, tt := range map[string]struct {
		now  *Snapshot
		want bool
	}{
		"nothing changed":       {with(func(*Socket) {}), true},
		"another in its place":  {with(func(s *Socket) { s.Inode = 2 }), true},
		"another user's":        {with(func(s *Socket) { s.UID = 8 }), false},
		"at another address":    {with(func(s *Socket) { s.Addr = netip.MustParseAddrPort("192.0.2.2:1") }), false},
		"one less":              {NewSnapshot(nil, []Socket{base}, nil), false},
		"one less of the other": {NewSnapshot([]Socket{base}, nil, nil), false},
	} {
		if got := was.Same(tt.now); got != tt.want {
			t.Errorf("%s: Same = %t, want %t", name, got, tt.want)
		}
	}
}

func BenchmarkSnapshotAt(b *testing.B) {
	var tcp []Socket
	for i := range 10_000 {
		tcp = append(tcp, ip(fmt.Sprintf("0.0.0.0:%d", 1+i)))
	}
	s := NewSnapshot(tcp, nil, nil)
	e := at("tcp 192.0.2.1:4711")
	b.ReportAllocs()
	for b.Loop() {
		if len(s.At(e)) != 1 {
			b.Fatal("not there")
		}
	}
}
