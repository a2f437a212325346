package endpoint_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func TestDocumentRoundTrip(t *testing.T) {
	program := endpoint.Program(1<<32-1, 0)
	largest := endpoint.Interface{Dialect: endpoint.DCE, UUID: object, Major: 1<<16 - 1, Minor: 1<<16 - 1}
	for _, tt := range []struct {
		i      endpoint.Interface
		object ndr.UUID
		e      endpoint.Endpoint
	}{
		{program, ndr.UUID{}, at(rpcbind.UDP, "0.0.0.0:111")},
		{program, ndr.UUID{}, at(rpcbind.TCP, "192.0.2.1:65535")},
		{program, ndr.UUID{}, at(rpcbind.UDP6, "[::]:111")},
		{program, ndr.UUID{}, at(rpcbind.TCP6, "[2001:db8::1]:2049")},
		{program, ndr.UUID{}, local("/run/x.sock")},
		{program, ndr.UUID{}, local("@/run/x y")},
		{drsuapi, ndr.UUID{}, dce(epm.TCP, "10.0.0.5:50001")},
		{largest, object, dce(epm.UDP, "0.0.0.0:65535")},
		{winreg, object, dce(epm.HTTP, "192.0.2.1:593")},
		{winreg, object, named(epm.NP, `\\FS1\pipe\winreg`)},
		{endpoint.Interface{Dialect: endpoint.DCE}, ndr.UUID{}, named(epm.LRPC, "für <alle>")},
	} {
		e := tt.e
		r := endpoint.Registration{
			ID: 0x5f0c9a31b2d4, Interface: tt.i, Object: tt.object, Endpoint: e,
			Annotation: "für <alle>", Owner: endpoint.Owner{UID: 1000}, Since: time.Unix(1, 2),
		}
		text, err := json.Marshal(r.Document("alice"))
		if err != nil {
			t.Fatal(err)
		}
		var d endpoint.Document
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		got, err := d.Registration()
		if err != nil {
			t.Errorf("Registration of %s: %v", text, err)
		}
		want := endpoint.Registration{Interface: r.Interface, Object: r.Object, Endpoint: e, Annotation: r.Annotation} // the rest is not read
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// The keys and their order are what docs/endpoints.md promises.
func TestDocumentJSON(t *testing.T) {
	r := endpoint.Registration{
		ID: 0xabc, Interface: endpoint.Program(100005, 3), Endpoint: at(rpcbind.TCP6, "[::]:20048"),
		Annotation: "mine", Owner: endpoint.Owner{UID: 1000}, Since: time.Date(2026, 11, 22, 23, 47, 0, 0, time.UTC),
	}
	const what = `"dialect":"onc","program":100005,"version":3,"netid":"tcp6","address":"::","port":20048,"owner":"alice","uid":1000,`
	const tail = `"since":"2026-11-22T23:47:00Z","annotation":"mine"}`
	leased := r
	leased.Evidence, leased.PID, leased.Until = endpoint.Lease, 4711, r.Since.Add(time.Hour)
	refused := r
	refused.ID = 0
	tcp := r
	tcp.Interface, tcp.Endpoint, tcp.Object = drsuapi, dce(epm.TCP, "10.0.0.5:50001"), object
	pipe := r
	pipe.Interface, pipe.Endpoint, pipe.Evidence, pipe.PID = winreg, named(epm.NP, `\pipe\winreg`), endpoint.Process, 1310
	pipe.Owner = endpoint.HostOwner(netip.MustParseAddr("192.0.2.1"))
	const tcpWhat = `"dialect":"dce","uuid":"e3514235-4b06-11d1-ab04-00c04fc2dcd2","version":"4.10","object":"6d9fe472-30f1-4708-8fa8-678362b96155",` +
		`"protseq":"ncacn_ip_tcp","address":"10.0.0.5","port":50001,"path":"","owner":"alice","uid":1000,`
	const pipeWhat = `"dialect":"dce","uuid":"338cd001-2244-31f1-aaaa-900038001003","version":"1.0","object":"",` +
		`"protseq":"ncacn_np","address":"","port":0,"path":"\\pipe\\winreg","owner":"alice","uid":4294967295,`
	for _, tt := range []struct {
		r    endpoint.Registration
		want string
	}{
		{r, `{"id":"000000000abc",` + what + `"pid":0,"evidence":"unchecked","until":null,` + tail},
		{leased, `{"id":"000000000abc",` + what + `"pid":4711,"evidence":"lease","until":"2026-11-23T00:47:00Z",` + tail},
		{refused, `{"id":"",` + what + `"pid":0,"evidence":"unchecked","until":null,` + tail},
		{tcp, `{"id":"000000000abc",` + tcpWhat + `"pid":0,"evidence":"unchecked","until":null,` + tail},
		{pipe, `{"id":"000000000abc",` + pipeWhat + `"pid":1310,"evidence":"process","until":null,` + tail},
	} {
		got, err := json.Marshal(tt.r.Document("alice"))
		if err != nil || string(got) != tt.want {
			t.Errorf("Document = %s, %v, want %s", got, err, tt.want)
		}
	}
}

func TestDocumentMistakes(t *testing.T) {
	const uuid = "338cd001-2244-31f1-aaaa-900038001003"
	const of = `"dialect":"dce","uuid":"` + uuid + `"`
	for _, tt := range []struct{ json, want string }{
		{`{}`, `unknown dialect "": want onc or dce`},
		{`{"dialect":"onc"}`, `unknown netid "": want udp, tcp, udp6, tcp6, local`},
		{`{"dialect":"onc","netid":"TCP"}`, `unknown netid "TCP": want udp, tcp, udp6, tcp6, local`},
		{`{"dialect":"onc","netid":"tcp","port":1}`, `"" is no IP address`},
		{`{"dialect":"onc","netid":"tcp","address":"fs1","port":1}`, `"fs1" is no IP address`},
		{`{"dialect":"onc","netid":"tcp","address":"010.0.0.1","port":1}`, `"010.0.0.1" is no IP address`},
		{`{"dialect":"onc","netid":"tcp6","address":"[::1]","port":1}`, `"[::1]" is no IP address`},
		{`{"dialect":"onc","netid":"tcp6","address":"fe80::1%lo","port":1}`, "scope ids cannot be registered"},
		{`{"dialect":"onc","netid":"tcp","address":"::1","port":1}`, "::1 is no address of tcp"},
		{`{"dialect":"onc","netid":"tcp","address":"1.2.3.4"}`, "port 0 cannot be registered"},
		{`{"dialect":"onc","netid":"local","address":"/x","port":9}`, "port 9: local has a path and no port"},
		{`{"dialect":"onc","netid":"local"}`, `path "" does not begin with / or @`},
		{`{"dialect":"onc","netid":"udp","address":"1.2.3.4","port":1,"annotation":"\t"}`, `annotation "\t" is not printable`},
		{`{"dialect":"onc","program":7,"version":"1.0","netid":"tcp","address":"1.2.3.4","port":1}`, "version 1.0: a program's version is a number"},
		{`{"dialect":"onc","program":7,"version":1,"netid":"local","path":"/x"}`, "uuid, object, protseq and path are of dce, not of onc"},
		{`{"dialect":"onc","uuid":"` + uuid + `","version":1,"netid":"local","address":"/x"}`, "uuid, object, protseq and path are of dce, not of onc"},

		{`{"dialect":"dce"}`, `"" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
		{`{"dialect":"dce","uuid":"winreg"}`, `"winreg" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
		{`{` + of + `,"object":"x","version":"1.0","protseq":"np","path":"\\pipe\\x"}`, `object: "x" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
		{`{` + of + `,"version":"1.0"}`, `unknown protocol sequence "": want tcp, udp, np, lrpc or http, or its long name such as ncacn_ip_tcp`},
		{`{` + of + `,"version":"1.0","protseq":"tcp6"}`, `unknown protocol sequence "tcp6": want tcp, udp, np, lrpc or http, or its long name such as ncacn_ip_tcp`},
		{`{` + of + `,"protseq":"tcp"}`, "version 0: an interface's version is MAJOR.MINOR, as in 1.0"},
		{`{` + of + `,"version":1,"protseq":"tcp"}`, "version 1: an interface's version is MAJOR.MINOR, as in 1.0"},
		{`{` + of + `,"program":7,"version":"1.0","protseq":"np","path":"\\pipe\\x"}`, "program and netid are of onc, not of dce"},
		{`{` + of + `,"netid":"tcp","version":"1.0","protseq":"tcp","address":"1.2.3.4","port":1}`, "program and netid are of onc, not of dce"},
		{`{` + of + `,"version":"1.0","protseq":"tcp","port":1}`, `"" is no IP address`},
		{`{` + of + `,"version":"1.0","protseq":"http","address":"1.2.3.4"}`, "port 0 cannot be registered"},
		{`{` + of + `,"version":"1.0","protseq":"udp","address":"::1","port":1}`, "::1: the endpoint mapper tells IPv4 addresses only; 0.0.0.0 is every address, of both families"},
		{`{` + of + `,"version":"1.0","protseq":"tcp","address":"1.2.3.4","port":1,"path":"x"}`, "tcp has no path"},
		{`{` + of + `,"version":"1.0","protseq":"np","address":"1.2.3.4","path":"\\pipe\\x"}`, `address "1.2.3.4": np has a path and no address`},
		{`{` + of + `,"version":"1.0","protseq":"lrpc","port":9,"path":"x"}`, "port 9: lrpc has a path and no port"},
		{`{` + of + `,"version":"1.0","protseq":"ncacn_np","path":"winreg"}`, `pipe "winreg" does not begin with \, as \pipe\winreg does`},
	} {
		var d endpoint.Document
		if err := json.NewDecoder(strings.NewReader(tt.json)).Decode(&d); err != nil {
			t.Fatal(err)
		}
		_, err := d.Registration()
		checkError(t, tt.json, err, tt.want)
	}
	d := endpoint.Document{Dialect: "onc", NetID: "unix", Address: "/x"}
	if r, err := d.Registration(); err != nil || r.NetID != rpcbind.Local {
		t.Errorf(`netid "unix" = %v, %v, want local`, r.NetID, err)
	}
}

// The short names of protocol sequences are read as well as the long ones, and any
// way to write a UUID.
func TestDocumentNames(t *testing.T) {
	for _, p := range epm.ProtSeqs {
		for _, name := range []string{p.String(), p.Short()} {
			d := endpoint.Document{
				Dialect: "dce", UUID: "338CD001-2244-31F1-AAAA-900038001003", Version: endpoint.Version{Major: 1, Dotted: true}, ProtSeq: name,
			}
			if p.HasPort() {
				d.Address, d.Port = "10.0.0.5", 50001
			} else {
				d.Path = `\pipe\winreg`
			}
			r, err := d.Registration()
			if err != nil || r.ProtSeq != p || r.Interface != winreg || r.Transport() != p.Short() || d.Transport() != p.Short() {
				t.Errorf("%s: Registration = %v on %v, %v, want %v on %s", name, r.Interface, r.Endpoint, err, winreg, p)
			}
		}
	}
	d := endpoint.Document{NetID: "tcp6"}
	if got := d.Transport(); got != "tcp6" {
		t.Errorf("Transport = %q, want tcp6", got)
	}
}
