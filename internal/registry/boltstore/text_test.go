package boltstore

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// FuzzText holds what is written to be what encoding/json writes, of whatever
// text that reads.
func FuzzText(f *testing.F) {
	until := int64(math.MinInt64)
	for _, seed := range []text{
		{},
		{Dialect: 255, Program: math.MaxUint32, Version: 3, NetID: "udp6", Addr: netip.MustParseAddrPort("[fe80::1%eth\"0]:111")},
		{NetID: "local", Path: "/run/\x01\x7f\"\\/a.sock", Annotation: "für <9> & “mehr”\u2028", UID: 1000, Evidence: "\xff"},
		{Since: time.Date(2026, 11, 22, 23, 47, 0, 5, time.FixedZone("", -90*60)), Until: &until, PID: -7, Order: math.MaxUint64},
		{Since: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Dialect: 2, UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1, Object: ndr.UUID{1}, ProtSeq: "ncacn_np", Path: `\pipe\x`, Host: netip.MustParseAddr("10.0.0.5")},
		{Until: new(int64), Seen: true, SocketUID: 1001, Started: 99, Elsewhere: true},
	} {
		b, _ := json.Marshal(&seed)
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, s string) {
		var value text
		if json.Unmarshal([]byte(s), &value) != nil {
			return
		}
		want, wantErr := json.Marshal(&value)
		got, err := value.append(nil)
		if string(got) != string(want) || (err == nil) != (wantErr == nil) {
			t.Errorf("append(%+v) = %s, %v, want %s, %v", value, got, err, want, wantErr)
		}
	})
}
