package boltstore

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// rowOf returns a row with a right checksum.
func rowOf(id endpoint.ID, text string) row {
	return rowFor(keyOf(id), []byte(text))
}

// decoded returns the registration that a row says.
func decoded(w row, now moment) (registry.Record, error) {
	var c registry.Contents
	if err := decode(&c, w, now); err != nil {
		return registry.Record{}, err
	}
	if len(c.Rows) != 1 || len(c.Grants) > 0 {
		return registry.Record{}, fmt.Errorf("%d registrations, %d grants", len(c.Rows), len(c.Grants))
	}
	return c.Rows[0], nil
}

func TestText(t *testing.T) {
	began := time.Now()
	r := storetest.Record(9)
	r.ID, r.Since, r.Until = 0xabc, time.Date(2026, 11, 22, 23, 47, 0, 5, time.FixedZone("", 3600)), began.Add(2*time.Second)
	r.Interface, r.Endpoint, r.Owner = endpoint.Program(100005, 3), endpoint.Endpoint{NetID: rpcbind.UDP, Addr: netip.MustParseAddrPort("192.0.2.1:111")}, endpoint.Owner{UID: 1000}
	r.PID, r.Order, r.SocketUID, r.Started, r.Seen, r.Elsewhere = 4711, 7, 1001, 99, true, false
	w, err := encode(&r, moment{began, 10})
	const want = `{"dialect":1,"program":100005,"version":3,"netid":"udp","addr":"192.0.2.1:111",` +
		`"annotation":"für \u003c9\u003e \u0026 “mehr”","uid":1000,"since":"2026-11-22T22:47:00.000000005Z",` +
		`"evidence":"process","until":2000000010,"pid":4711,"order":7,"seen":true,"socket_uid":1001,"started":99}`
	if got := string(w.value[crcSize:]); err != nil || string(w.key) != "\x00\x00\x00\x00\x0a\xbc" || got != want {
		t.Errorf("encode = %x, %s, %v, want\n%s", w.key, got, err, want)
	}
}

// Another process reads the same monotonic clock, but its time.Time knows nothing
// of ours; and the wall clock may have been set in between.
func TestUntil(t *testing.T) {
	began := time.Now()
	later := moment{began.Add(-time.Hour).Round(0), 100}
	for _, tt := range []struct {
		name  string
		until time.Time
		want  time.Duration // after the reading of 100; the record is written at 40
	}{
		{"ahead", began.Add(time.Minute), time.Minute - 60},
		{"past", began.Add(-time.Minute), -time.Minute - 60},
		{"before the boot", began.Add(-1000 * time.Hour), -1000*time.Hour - 60},
		{"by the wall clock", began.Add(time.Minute).Round(0), time.Minute - 60},
		{"as late as can be", began.Add(math.MaxInt64), math.MaxInt64 - 100},
	} {
		r := storetest.Record(2)
		r.Until = tt.until
		w, err := encode(&r, moment{began, 40})
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoded(w, later)
		off := got.Until.Sub(later.time) - tt.want
		if err != nil || off.Abs() > time.Second {
			t.Errorf("%s: until %v after the later moment, %v, want %v", tt.name, got.Until.Sub(later.time), err, tt.want)
		}
	}
	r := storetest.Record(0)
	w, err := encode(&r, moment{began, 40})
	if got, decodeErr := decoded(w, later); err != nil || decodeErr != nil || !got.Until.IsZero() {
		t.Errorf("no Until becomes %v, %v, %v", got.Until, err, decodeErr)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		change func(*registry.Record)
		want   string
	}{
		{func(r *registry.Record) { r.ID = 0 }, "id 0: it has 6 bytes and is not 0"},
		{func(r *registry.Record) { r.ID = endpoint.MaxID + 1 }, "id 281474976710656: it has 6 bytes and is not 0"},
		{func(r *registry.Record) { r.Own = true }, "000000000abc: the mapper's own rows are not stored"},
		{func(r *registry.Record) { r.Evidence = 99 }, `000000000abc: evidence "Evidence(99)": want `},
		{func(r *registry.Record) { r.NetID = 99 }, "000000000abc: unknown transport NetID(99)"},
		{func(r *registry.Record) { r.Annotation = "\xff" }, `000000000abc: annotation "\xff" is not printable`},
		{func(r *registry.Record) { r.Since = time.Date(10000, 1, 2, 0, 0, 0, 0, time.UTC) }, "000000000abc: since: "},
	} {
		r := storetest.Record(0)
		r.ID = 0xabc
		tt.change(&r)
		if _, err := encode(&r, moment{}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("encode = %v, want %q", err, tt.want)
		}
	}
}

func TestBadRows(t *testing.T) {
	const (
		local = `"dialect":1,"netid":"local","path":"/x","evidence":"lease","since":"2026-11-22T23:47:00Z"`
		grant = `"grant":{"dialect":1,"pool":"dynamic","tcp":1024,"since":"2026-11-22T23:47:00Z"}`
	)
	good := rowOf(1, `{`+local+`}`)
	for _, good := range []row{good, rowOf(1, `{`+local+`,"grant":null}`), rowOf(1, `{`+grant+`}`)} {
		var c registry.Contents
		if err := decode(&c, good, moment{}); err != nil || len(c.Rows)+len(c.Grants) != 1 {
			t.Fatalf("decode(%s) = %+v, %v", good.value, c, err)
		}
		for i := range len(good.value) * 8 {
			bad := row{good.key, append([]byte(nil), good.value...)}
			bad.value[i/8] ^= 1 << (i % 8)
			if err := decode(&c, bad, moment{}); err == nil {
				t.Fatalf("with bit %d of %s changed decode = %+v", i, good.value, c)
			}
		}
	}
	for _, bad := range []row{
		{}, {good.key, nil}, {good.key, good.value[:3]}, {nil, good.value}, {append(good.key, 0), good.value}, {keyOf(2), good.value},
		rowOf(0, string(good.value[crcSize:])),
		rowOf(1, ``), rowOf(1, `{}`), rowOf(1, `7`), rowOf(1, `{"dialect":256}`),
		rowOf(1, `{"dialect":1,"netid":"x","path":"/x","evidence":"lease"}`),
		rowOf(1, `{"dialect":1,"netid":"local","path":"/x","evidence":"hope"}`),
		rowOf(1, `{"dialect":1,"netid":"local","path":"x","evidence":"lease"}`),
		rowOf(1, `{"dialect":1,"netid":"tcp","addr":"1.2.3.4","evidence":"lease"}`),
		rowOf(0, `{`+grant+`}`),
		rowOf(1, `{`+local+`,`+grant+`}`), rowOf(1, `{`+grant+`,"uid":1}`), rowOf(1, `{`+grant+`,"until":0}`), rowOf(1, `{`+grant+`,"grant":null}`),
		rowOf(1, `{"grant":{}}`), rowOf(1, `{"grant":7}`), rowOf(1, `{"grant":[]}`),
		rowOf(1, `{"grant":{"dialect":3,"pool":"dynamic","tcp":1024}}`),
		rowOf(1, `{"grant":{"dialect":1,"pool":"swimming","tcp":1024}}`),
		rowOf(1, `{"grant":{"dialect":1,"pool":"dynamic"}}`),
		rowOf(1, `{"grant":{"dialect":1,"pool":"dynamic","tcp":65536}}`),
		rowOf(1, `{"grant":{"dialect":1,"pool":"dynamic","tcp":1024,"command":"\n"}}`),
		rowOf(1, `{"grant":{"dialect":1,"pool":"dynamic","tcp":1024,"since":"today"}}`),
	} {
		var c registry.Contents
		if err := decode(&c, bad, moment{}); err == nil || len(c.Rows)+len(c.Grants) > 0 {
			t.Errorf("decode(%x, %q) = %+v, %v", bad.key, bad.value, c, err)
		}
	}
}

// FuzzDecode gives the decoder texts with right checksums: what it makes of them
// is kept when it is stored again.
func FuzzDecode(f *testing.F) {
	for i := range storetest.Every {
		r := storetest.Record(i)
		w, err := encode(&r, moment{time.Now(), 1 << 40})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint64(r.ID), string(w.value[crcSize:]))
	}
	for i := range 12 {
		g := storetest.Grant(i)
		w, err := encodeGrant(&g)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint64(g.ID), string(w.value[crcSize:]))
	}
	f.Add(uint64(1), `{"dialect":1,"netid":"local","path":"/x","evidence":"lease","grant":{"dialect":1,"pool":"dynamic","tcp":1024}}`)
	f.Fuzz(func(t *testing.T, id uint64, text string) {
		m := moment{time.Now(), 1 << 40}
		var got, again registry.Contents
		if err := decode(&got, rowOf(endpoint.ID(id)&endpoint.MaxID, text), m); err != nil {
			return
		}
		if len(got.Rows)+len(got.Grants) != 1 {
			t.Fatalf("decode(%s) = %+v", text, got)
		}
		b := registry.Batch{Rows: got.Rows, Grants: got.Grants}
		var since time.Time
		if len(b.Rows) > 0 {
			since = b.Rows[0].Since
		} else {
			since = b.Grants[0].Since
		}
		if year := since.UTC().Year(); year < 0 || year > 9999 {
			return // which a time zone can make of a text, and no text can say
		}
		w, err := encodeOne(&b, m)
		if err != nil {
			t.Fatalf("encode(%+v) = %v", got, err)
		}
		if err := decode(&again, w, m); err != nil || !slices.EqualFunc(got.Rows, again.Rows, storetest.Same) || !slices.EqualFunc(got.Grants, again.Grants, storetest.SameGrant) {
			t.Errorf("%+v becomes\n%+v, %v", got, again, err)
		}
	})
}

// encodeOne returns the row of what there is one of.
func encodeOne(b *registry.Batch, m moment) (row, error) {
	if len(b.Rows) > 0 {
		return encode(&b.Rows[0], m)
	}
	return encodeGrant(&b.Grants[0])
}

// What a Write costs beside bbolt, and a Load for each row.
func BenchmarkRow(b *testing.B) {
	r, m := storetest.Record(0), moment{time.Now(), 1 << 40}
	r.Annotation = "" // as of those that register over the network
	w, err := encode(&r, m)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encode(&r, m)
		}
	})
	benchmarkDecode(b, w)
}

func BenchmarkGrant(b *testing.B) {
	g := storetest.Grant(0)
	g.Command = "rpc.mountd"
	w, err := encodeGrant(&g)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encodeGrant(&g)
		}
	})
	benchmarkDecode(b, w)
}

func benchmarkDecode(b *testing.B, w row) {
	b.Run("decode", func(b *testing.B) {
		var c registry.Contents
		for b.Loop() {
			c.Rows, c.Grants = c.Rows[:0], c.Grants[:0]
			decode(&c, w, moment{})
		}
	})
}
