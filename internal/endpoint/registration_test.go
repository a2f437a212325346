package endpoint_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func TestParseID(t *testing.T) {
	for _, id := range []endpoint.ID{1, 0xabc, 0x5f0c9a31b2d4, endpoint.MaxID} {
		text := id.String()
		if got, err := endpoint.ParseID(text); len(text) != 12 || err != nil || got != id {
			t.Errorf("ParseID(%q) = %v, %v, want %v", text, got, err, id)
		}
	}
	for _, text := range []string{"", "0", "000000000000", "00000000001", "0000000000001", "0x0000000001", "+00000000001", "00000000000g", "0000 0000001", "00000000_001", "５f0c9a31b2d4"} {
		if got, err := endpoint.ParseID(text); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", text, got)
		}
	}
}

func TestMayChange(t *testing.T) {
	alice, bob := endpoint.Owner{UID: 1000}, endpoint.Owner{UID: 1001}
	fs1, fs2 := endpoint.HostOwner(netip.MustParseAddr("192.0.2.1")), endpoint.HostOwner(netip.MustParseAddr("192.0.2.2"))
	row := endpoint.Registration{Owner: alice}
	hosts := endpoint.Registration{Owner: fs1}
	nobodys := endpoint.Registration{Owner: endpoint.Owner{UID: endpoint.NoUID}}
	own := endpoint.Registration{Owner: endpoint.Superuser, Own: true}
	roots := endpoint.Registration{Owner: endpoint.Superuser}
	for _, tt := range []struct {
		name string
		who  endpoint.Owner
		row  endpoint.Registration
		want bool
	}{
		{"its owner", alice, row, true},
		{"somebody else", bob, row, false},
		{"root", endpoint.Superuser, row, true},
		{"a user at root's row", alice, roots, false},
		{"root at the mapper's row", endpoint.Superuser, own, false},
		{"a user at the mapper's row", alice, own, false},
		{"the host", fs1, hosts, true},
		{"the host, as a socket of both families tells it", endpoint.HostOwner(netip.MustParseAddr("::ffff:192.0.2.1")), hosts, true},
		{"another host", fs2, hosts, false},
		{"a user at a host's row", alice, hosts, false},
		{"root at a host's row", endpoint.Superuser, hosts, true},
		{"a host at a user's row", fs1, row, false},
		{"a host at root's row", fs1, roots, false},
		{"a host at the row of the user with its uid", fs1, nobodys, false},
		{"that user at a host's row", nobodys.Owner, hosts, false},
	} {
		if got := tt.who.MayChange(&tt.row); got != tt.want {
			t.Errorf("%s: MayChange = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestOwnerOnTheWire(t *testing.T) { // contract: "superuser" for uid 0, else the number
	for a, want := range map[string]string{"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1", "fe80::1%eth0": "fe80::1%eth0"} {
		if got := endpoint.HostOwner(netip.MustParseAddr(a)).String(); got != want {
			t.Errorf("HostOwner(%s) = %q, want %q", a, got, want)
		}
	}
	for uid, want := range map[uint32]string{0: "superuser", 65534: "65534", 1<<32 - 1: "4294967295"} {
		if got := (endpoint.Owner{UID: uid}).String(); got != want {
			t.Errorf("Owner{%d} = %q, want %q", uid, got, want)
		}
	}
}

func TestValidateRegistration(t *testing.T) {
	good := endpoint.Registration{Interface: endpoint.Program(100005, 3), Endpoint: at(rpcbind.TCP, "0.0.0.0:20048")}
	for _, tt := range []struct {
		name   string
		change func(*endpoint.Registration)
		want   string
	}{
		{"nothing wrong", func(*endpoint.Registration) {}, ""},
		{"program and version 0", func(r *endpoint.Registration) { r.Program, r.Version = 0, 0 }, ""},
		{"largest numbers", func(r *endpoint.Registration) { r.Program, r.Version = 1<<32-1, 1<<32-1 }, ""},
		{"annotation", func(r *endpoint.Registration) { r.Annotation = "mounts of fs1, für alle" }, ""},
		{"longest annotation", func(r *endpoint.Registration) { r.Annotation = strings.Repeat("x", endpoint.MaxAnnotation) }, ""},
		{"dialect", func(r *endpoint.Registration) { r.Dialect = 0 }, "unknown dialect Dialect(0)"},
		{"long annotation", func(r *endpoint.Registration) { r.Annotation = strings.Repeat("x", endpoint.MaxAnnotation+1) }, "annotation of 64 bytes; at most 63 are possible"},
		{"control", func(r *endpoint.Registration) { r.Annotation = "a\x07" }, `annotation "a\a" is not printable`},
		{"turned text", func(r *endpoint.Registration) { r.Annotation = "a\u202eb" }, `annotation "a\u202eb" is not printable`},
		{"not UTF-8", func(r *endpoint.Registration) { r.Annotation = "\xc3" }, `annotation "\xc3" is not printable`},
		{"endpoint", func(r *endpoint.Registration) { r.Addr = at(rpcbind.TCP, "0.0.0.0:0").Addr }, "port 0 cannot be registered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good
			tt.change(&r)
			checkError(t, "Validate", r.Validate(), tt.want)
		})
	}
}

func TestValidateRegistrationOfDCE(t *testing.T) {
	good := endpoint.Registration{Interface: winreg, Endpoint: named(epm.NP, `\pipe\winreg`)}
	for _, tt := range []struct {
		name   string
		change func(*endpoint.Registration)
		want   string
	}{
		{"nothing wrong", func(*endpoint.Registration) {}, ""},
		{"object", func(r *endpoint.Registration) { r.Object = object }, ""},
		{"nil UUID and version 0.0", func(r *endpoint.Registration) { r.Interface = endpoint.Interface{Dialect: endpoint.DCE} }, ""},
		{"largest version", func(r *endpoint.Registration) { r.Major, r.Minor = 1<<16-1, 1<<16-1 }, ""},
		{"longest annotation", func(r *endpoint.Registration) { r.Annotation = strings.Repeat("x", endpoint.MaxAnnotation) }, ""},
		{"long annotation", func(r *endpoint.Registration) { r.Annotation = strings.Repeat("x", endpoint.MaxAnnotation+1) }, "annotation of 64 bytes; at most 63 are possible"},
		{"NUL in an annotation", func(r *endpoint.Registration) { r.Annotation = "a\x00" }, `annotation "a\x00" is not printable`},
		{"an endpoint of ONC", func(r *endpoint.Registration) { r.Endpoint = at(rpcbind.TCP, "0.0.0.0:1") }, "a DCE interface needs a protocol sequence"},
		{"a program at a pipe", func(r *endpoint.Registration) { r.Interface = endpoint.Program(7, 1) }, "an ONC program has no protocol sequence"},
		{"a program with an object", func(r *endpoint.Registration) {
			r.Interface, r.Endpoint, r.Object = endpoint.Program(7, 1), at(rpcbind.TCP, "0.0.0.0:1"), object
		}, "an ONC program has no objects"},
		{"endpoint", func(r *endpoint.Registration) { r.Path = "winreg" }, `np: pipe "winreg" does not begin with \, as \pipe\winreg does`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good
			tt.change(&r)
			checkError(t, "Validate", r.Validate(), tt.want)
		})
	}
}

// TestPlace: of two registrations at one place there is room for one.
func TestPlace(t *testing.T) {
	onc := endpoint.Registration{Interface: endpoint.Program(100005, 3), Endpoint: at(rpcbind.TCP, "0.0.0.0:20048")}
	tcp := endpoint.Registration{Interface: winreg, Endpoint: dce(epm.TCP, "10.0.0.5:50001")}
	pipe := endpoint.Registration{Interface: winreg, Endpoint: named(epm.NP, `\pipe\winreg`)}
	for _, tt := range []struct {
		name   string
		r      endpoint.Registration
		change func(*endpoint.Registration)
		same   bool
	}{
		{"onc, another address", onc, func(r *endpoint.Registration) { r.Addr = netip.MustParseAddrPort("192.0.2.1:2000") }, true},
		{"onc, another annotation and owner", onc, func(r *endpoint.Registration) { r.Annotation, r.Owner.UID = "x", 1000 }, true},
		{"onc, another transport", onc, func(r *endpoint.Registration) { r.NetID = rpcbind.UDP }, false},
		{"onc, another version", onc, func(r *endpoint.Registration) { r.Version = 1 }, false},

		{"dce, another annotation and owner", tcp, func(r *endpoint.Registration) { r.Annotation, r.Owner.UID, r.ID = "x", 1000, 7 }, true},
		{"dce, another port", tcp, func(r *endpoint.Registration) { r.Addr = netip.MustParseAddrPort("10.0.0.5:50002") }, false},
		{"dce, another address", tcp, func(r *endpoint.Registration) { r.Addr = netip.MustParseAddrPort("0.0.0.0:50001") }, false},
		{"dce, another protocol sequence at the port", tcp, func(r *endpoint.Registration) { r.ProtSeq = epm.HTTP }, false},
		{"dce, an object", tcp, func(r *endpoint.Registration) { r.Object = object }, false},
		{"dce, another minor version", tcp, func(r *endpoint.Registration) { r.Minor = 1 }, false},
		{"dce, another interface", tcp, func(r *endpoint.Registration) { r.UUID = ndr.UUID{} }, false},
		{"dce, another pipe", pipe, func(r *endpoint.Registration) { r.Path = `\pipe\lsass` }, false},
		{"dce, the pipe's name as that of a process", pipe, func(r *endpoint.Registration) { r.ProtSeq = epm.LRPC }, false},
	} {
		other := tt.r
		tt.change(&other)
		if same := tt.r.Place() == other.Place(); same != tt.same {
			t.Errorf("%s: %v and %v are one place: %t, want %t", tt.name, tt.r.Place(), other.Place(), same, tt.same)
		}
	}
	if got, want := endpoint.ProgramPlace(onc.Interface, onc.NetID), onc.Place(); got != want {
		t.Errorf("ProgramPlace = %v, want %v", got, want)
	}
}
