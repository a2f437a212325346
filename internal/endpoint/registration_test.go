package endpoint_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
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
	row := endpoint.Registration{Owner: alice}
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
	} {
		if got := tt.who.MayChange(&tt.row); got != tt.want {
			t.Errorf("%s: MayChange = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestOwnerOnTheWire(t *testing.T) { // contract: "superuser" for uid 0, else the number
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
