package control

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// winreg is the UUID of an interface of the catalog.
const winreg = "338cd001-2244-31f1-aaaa-900038001003"

// dceDocument returns winreg at an endpoint such as "ncacn_ip_tcp 10.0.0.5:50001" or
// `ncacn_np \pipe\winreg`.
func dceDocument(at string) endpoint.Document {
	protseq, where, _ := strings.Cut(at, " ")
	d := endpoint.Document{Dialect: "dce", UUID: winreg, Version: endpoint.Version{Major: 1, Dotted: true}, ProtSeq: protseq}
	if a, err := netip.ParseAddrPort(where); err == nil {
		d.Address, d.Port = a.Addr().String(), a.Port()
	} else {
		d.Path = where
	}
	return d
}

func TestAddListRemoveDCE(t *testing.T) {
	r := start(t, &Server{})
	c, ctx := api.NewClient(r.path), t.Context()
	object := dceDocument("ncacn_ip_tcp 10.0.0.5:50001")
	object.Object, object.Annotation = "6d9fe472-30f1-4708-8fa8-678362b96155", "mine <&>"
	minor := dceDocument("ncacn_http 0.0.0.0:50002")
	minor.Version.Minor = 10
	asked := []endpoint.Document{
		dceDocument("ncacn_ip_tcp 10.0.0.5:50001"), object, dceDocument("ncacn_ip_tcp 10.0.0.5:50002"), dceDocument("ncadg_ip_udp 0.0.0.0:50001"),
		dceDocument(`ncacn_np \pipe\winreg`), dceDocument("ncalrpc winreg"), minor, document(100005, 3, "tcp", 20048),
	}
	added, err := c.Add(ctx, api.Addition{Endpoints: asked})
	if err != nil || added.Seq != 8 || len(added.Endpoints) != 8 {
		t.Fatalf("Add = %+v, %v, want 8 endpoints at change 8", added, err)
	}
	for i, d := range added.Endpoints {
		if d.Owner != me() || d.UID != uint32(os.Getuid()) || d.Since.IsZero() {
			t.Errorf("Add: owner %q, uid %d, since %v, want %q, %d and a time", d.Owner, d.UID, d.Since, me(), os.Getuid())
		}
		d.ID, d.Owner, d.UID, d.Since, d.Evidence = "", "", 0, time.Time{}, ""
		if diff := cmp.Diff(asked[i], d); diff != "" {
			t.Errorf("Add (-asked +added):\n%s", diff)
		}
	}
	listed, err := c.List(ctx)
	if diff := cmp.Diff(added, listed); err != nil || diff != "" {
		t.Errorf("List: %v (-added +listed):\n%s", err, diff)
	}
	if again, err := c.Add(ctx, api.Addition{Endpoints: listed.Endpoints}); err != nil || cmp.Diff(added, again) != "" {
		t.Errorf("Add of what was listed = %+v, %v, want it as it stands", again, err)
	}
	short := dceDocument("tcp 10.0.0.5:50001") // the short name is the same
	short.UUID = strings.ToUpper(short.UUID)
	if again, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{short}}); err != nil || again.Endpoints[0].ID != added.Endpoints[0].ID {
		t.Errorf("Add by the short name = %+v, %v, want %s", again, err, added.Endpoints[0].ID)
	}
	id, err := endpoint.ParseID(added.Endpoints[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveID(ctx, id); err != nil {
		t.Errorf("RemoveID(%s): %v", id, err)
	}
	for _, tt := range []struct {
		what endpoint.Document
		left int
	}{
		{dceDocument("ncacn_np"), 6},
		{dceDocument("tcp"), 4}, // whatever object, port and address
		{endpoint.Document{Dialect: "dce", UUID: winreg, Version: minor.Version}, 3},
		{dceDocument(""), 1},
		{document(100005, 3, "", 0), 0},
	} {
		if err := c.Remove(ctx, tt.what); err != nil {
			t.Errorf("Remove of %s %s %q: %v", tt.what.UUID, tt.what.Version, tt.what.ProtSeq, err)
		}
		if l, err := c.List(ctx); err != nil || len(l.Endpoints) != tt.left {
			t.Errorf("%d are left, %v, want %d", len(l.Endpoints), err, tt.left)
		}
	}
}

func TestRefusalsOfDCE(t *testing.T) {
	g, err := registry.Open(registry.Config{Own: []endpoint.Registration{{
		Interface: endpoint.FromSyntax(epm.Interface), Endpoint: endpoint.At(epm.TCP, netip.MustParseAddrPort("0.0.0.0:135")),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, &Server{Registry: g})
	c, ctx := api.NewClient(r.path), t.Context()
	if _, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{dceDocument(`ncacn_np \pipe\winreg`)}}); err != nil {
		t.Fatal(err)
	}
	mapper := dceDocument("ncacn_ip_tcp 0.0.0.0:2000")
	mapper.UUID, mapper.Version = epm.Interface.UUID.String(), endpoint.Version{Major: 3, Dotted: true}
	named := dceDocument("lrpc x")
	named.UUID = "winreg"
	number := dceDocument("lrpc x")
	number.Version = endpoint.Version{Major: 1}
	add := func(docs ...endpoint.Document) func() error {
		return func() error { _, err := c.Add(ctx, api.Addition{Endpoints: docs}); return err }
	}
	remove := func(d endpoint.Document) func() error { return func() error { return c.Remove(ctx, d) } }
	for _, tt := range []struct {
		name string
		ask  func() error
		want string
	}{
		{"the mapper's interface", add(mapper), "epmapper e1af8308-5d1f-11c9-91a4-08002b14a0fa version 3.0 on tcp 0.0.0.0:2000: not allowed: the interface is the mapper's own"},
		{
			"one mistake per row, none added", add(dceDocument("lrpc x"), dceDocument("np x"), named, dceDocument("tcp6 [::1]:2000"), dceDocument("tcp [::1]:2000"), number),
			`endpoints[1]: np: pipe "x" does not begin with \, as \pipe\winreg does` + "\n" +
				`endpoints[2]: "winreg" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac` + "\n" +
				`endpoints[3]: unknown protocol sequence "tcp6": want tcp, udp, np, lrpc or http, or its long name such as ncacn_ip_tcp` + "\n" +
				"endpoints[4]: ::1: the endpoint mapper tells IPv4 addresses only; 0.0.0.0 is every address, of both families\n" +
				"endpoints[5]: version 1: an interface's version is MAJOR.MINOR, as in 1.0",
		},
		{"remove what is not there", remove(dceDocument("tcp")), "winreg " + winreg + " version 1.0: not registered"},
		{"remove the mapper's", remove(mapper), "epmapper e1af8308-5d1f-11c9-91a4-08002b14a0fa version 3.0 on tcp 0.0.0.0:135: not allowed: it is the mapper's own"},
		{"remove on a transport that there is not", remove(dceDocument("tcp6")), `unknown protocol sequence "tcp6"`},
		{"remove a version of onc", remove(number), "version 1: an interface's version is MAJOR.MINOR, as in 1.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.ask()
			var refused *api.RefusedError
			if !errors.As(err, &refused) || err.Error() != tt.want {
				t.Errorf("refused with %v, want\n%s", err, tt.want)
			}
			if l, err := c.List(ctx); err != nil || l.Seq != 2 {
				t.Errorf("%d changes were made, %v, want 2 as before", l.Seq, err)
			}
		})
	}
}

func TestOwnershipOfDCE(t *testing.T) {
	host := endpoint.HostOwner(netip.MustParseAddr("192.0.2.1"))
	g := registry.New()
	hosts := endpoint.Registration{
		Interface: endpoint.FromSyntax(dcerpc.Syntax{UUID: ndr.MustParseUUID(winreg), Major: 1}),
		Endpoint:  endpoint.At(epm.TCP, netip.MustParseAddrPort("192.0.2.1:50001")),
	}
	if _, err := g.Add(registry.Claim{Owner: host}, hosts); err != nil {
		t.Fatal(err)
	}
	r := start(t, &Server{Registry: g})
	ctx := t.Context()
	root := api.NewClient(r.path)
	l, err := root.List(ctx)
	if err != nil || len(l.Endpoints) != 1 || l.Endpoints[0].Owner != "192.0.2.1" || l.Endpoints[0].UID != endpoint.NoUID {
		t.Fatalf("List = %+v, %v, want a row of 192.0.2.1's", l, err)
	}
	if _, err := clientAs(t, 65534, r.path).Add(ctx, api.Addition{Endpoints: []endpoint.Document{dceDocument(`np \pipe\winreg`)}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		what endpoint.Document
		want string
	}{
		{"another user's", dceDocument("np"), "winreg " + winreg + ` version 1.0 on np \pipe\winreg: only its owner or root may change it (owner: nobody)`},
		{"a host's", dceDocument("tcp"), "winreg " + winreg + " version 1.0 on tcp 192.0.2.1:50001: only its owner or root may change it (owner: 192.0.2.1)"},
	} {
		if err := clientAs(t, 4711, r.path).Remove(ctx, tt.what); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	const low = "winreg " + winreg + " version 1.0 on http 0.0.0.0:593: not allowed: ports below 1024 are for root and for who listens there"
	if _, err := clientAs(t, 4711, r.path).Add(ctx, api.Addition{Endpoints: []endpoint.Document{dceDocument("http 0.0.0.0:593")}}); err == nil || err.Error() != low {
		t.Errorf("a low port: %v, want %s", err, low)
	}
	if err := root.Remove(ctx, dceDocument("")); err != nil {
		t.Errorf("root removes those of others: %v", err)
	}
}

func TestWatchDCE(t *testing.T) {
	r := start(t, &Server{})
	c, ctx := api.NewClient(r.path), t.Context()
	events, ended := watch(t, c)
	next(t, events, ended)
	asked := dceDocument(`ncacn_np \pipe\winreg`)
	asked.Annotation = "old"
	added, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{asked}})
	if err != nil {
		t.Fatal(err)
	}
	row := added.Endpoints[0]
	expect := func(want api.Event) {
		t.Helper()
		if diff := cmp.Diff(want, next(t, events, ended)); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
	expect(api.Event{Event: "made", Seq: 1, Endpoint: &row, By: me()})
	asked.Annotation = "new"
	if _, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{asked}}); err != nil {
		t.Fatal(err)
	}
	row.Annotation = "new"
	expect(api.Event{Event: "renewed", Seq: 2, Endpoint: &row, By: me()})

	mapper := dceDocument("ncacn_ip_tcp 10.0.0.5:2000")
	mapper.UUID, mapper.Version = epm.Interface.UUID.String(), endpoint.Version{Major: 3, Dotted: true}
	if _, err := c.Add(ctx, api.Addition{Endpoints: []endpoint.Document{mapper}}); err == nil {
		t.Error("Add of the mapper's interface is no error")
	}
	mapper.Owner, mapper.UID = me(), uint32(os.Getuid())
	expect(api.Event{Event: "refused", Seq: 2, Endpoint: &mapper, By: me(), Why: "not allowed: the interface is the mapper's own"})

	if err := c.Remove(ctx, dceDocument("np")); err != nil {
		t.Fatal(err)
	}
	expect(api.Event{Event: "ended", Seq: 3, Endpoint: &row, By: me(), Why: "removed"})
}
