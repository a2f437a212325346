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
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func TestDocumentRoundTrip(t *testing.T) {
	for _, e := range []endpoint.Endpoint{
		at(rpcbind.UDP, "0.0.0.0:111"), at(rpcbind.TCP, "192.0.2.1:65535"),
		at(rpcbind.UDP6, "[::]:111"), at(rpcbind.TCP6, "[2001:db8::1]:2049"),
		local("/run/x.sock"), local("@/run/x y"),
	} {
		r := endpoint.Registration{
			ID: 0x5f0c9a31b2d4, Interface: endpoint.Program(1<<32-1, 0), Endpoint: e,
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
		want := endpoint.Registration{Interface: r.Interface, Endpoint: e, Annotation: r.Annotation} // the rest is not read
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
	for _, tt := range []struct {
		r    endpoint.Registration
		want string
	}{
		{r, `{"id":"000000000abc",` + what + `"pid":0,"evidence":"unchecked","until":null,` + tail},
		{leased, `{"id":"000000000abc",` + what + `"pid":4711,"evidence":"lease","until":"2026-11-23T00:47:00Z",` + tail},
		{refused, `{"id":"",` + what + `"pid":0,"evidence":"unchecked","until":null,` + tail},
	} {
		got, err := json.Marshal(tt.r.Document("alice"))
		if err != nil || string(got) != tt.want {
			t.Errorf("Document = %s, %v, want %s", got, err, tt.want)
		}
	}
}

func TestDocumentMistakes(t *testing.T) {
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
