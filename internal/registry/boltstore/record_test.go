package boltstore

import (
	"math"
	"net/netip"
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
		got, err := decode(w, later)
		off := got.Until.Sub(later.time) - tt.want
		if err != nil || off.Abs() > time.Second {
			t.Errorf("%s: until %v after the later moment, %v, want %v", tt.name, got.Until.Sub(later.time), err, tt.want)
		}
	}
	r := storetest.Record(0)
	w, err := encode(&r, moment{began, 40})
	if got, decodeErr := decode(w, later); err != nil || decodeErr != nil || !got.Until.IsZero() {
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
	good := rowOf(1, `{"dialect":1,"netid":"local","path":"/x","evidence":"lease","since":"2026-11-22T23:47:00Z"}`)
	if _, err := decode(good, moment{}); err != nil {
		t.Fatal(err)
	}
	for i := range len(good.value) * 8 {
		bad := row{good.key, append([]byte(nil), good.value...)}
		bad.value[i/8] ^= 1 << (i % 8)
		if got, err := decode(bad, moment{}); err == nil {
			t.Fatalf("with bit %d changed decode = %+v", i, got)
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
	} {
		if got, err := decode(bad, moment{}); err == nil {
			t.Errorf("decode(%x, %q) = %+v", bad.key, bad.value, got)
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
	f.Fuzz(func(t *testing.T, id uint64, text string) {
		m := moment{time.Now(), 1 << 40}
		got, err := decode(rowOf(endpoint.ID(id)&endpoint.MaxID, text), m)
		if err != nil {
			return
		}
		if year := got.Since.UTC().Year(); year < 0 || year > 9999 {
			return // which a time zone can make of a text, and no text can say
		}
		w, err := encode(&got, m)
		if err != nil {
			t.Fatalf("encode(%+v) = %v", got, err)
		}
		if again, err := decode(w, m); err != nil || !storetest.Same(got, again) {
			t.Errorf("%+v becomes\n%+v, %v", got, again, err)
		}
	})
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
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			decode(w, m)
		}
	})
}
