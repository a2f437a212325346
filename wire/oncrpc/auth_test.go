package oncrpc

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
	"pgregory.net/rapid"
)

// gids returns 0 to n-1.
func gids(n int) []uint32 {
	var g []uint32
	for i := range n {
		g = append(g, uint32(i))
	}
	return g
}

var sysCredentials = []struct {
	name string
	data string
	want SysCredential
	rest int // bytes after the credential
}{
	{"libtirpc 1.3.3: authunix_create(\"berth\", 1000, 1000, 4, ...)", "6b038c2a 00000005 62657274 68000000 000003e8 000003e8 00000004 00000004 00000018 0000001b 000003e8",
		SysCredential{Stamp: 0x6b038c2a, MachineName: "berth", UID: 1000, GID: 1000, GIDs: []uint32{4, 24, 27, 1000}}, 0},
	{"hand-built, rpcbind 1.2.6 accepts: 16 gids", `
			00005eed 00000005 62657274 68000000 00000000 00000000 00000010 00000000 00000001 00000002 00000003 00000004
			00000005 00000006 00000007 00000008 00000009 0000000a 0000000b 0000000c 0000000d 0000000e 0000000f`,
		SysCredential{Stamp: 0x5eed, MachineName: "berth", GIDs: gids(16)}, 0},
	{"hand-built, rpcbind 1.2.6 accepts: name of 255 bytes", `
			00005eed 000000ff 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626200 00000000 00000000 00000000`,
		SysCredential{Stamp: 0x5eed, MachineName: strings.Repeat("b", 255)}, 0},
	{"hand-built, rpcbind 1.2.6 accepts: bytes after it", "00005eed 00000005 62657274 68000000 00000000 00000000 00000001 00000000 00000000",
		SysCredential{Stamp: 0x5eed, MachineName: "berth", GIDs: []uint32{0}}, 4},
	{"RFC 5531 appendix A: nothing but zeros", "00000000 00000000 00000000 00000000 00000000", SysCredential{}, 0},
	{"RFC 5531 appendix A: largest numbers", "ffffffff 00000001 ff000000 ffffffff ffffffff 00000001 ffffffff",
		SysCredential{Stamp: 1<<32 - 1, MachineName: "\xff", UID: 1<<32 - 1, GID: 1<<32 - 1, GIDs: []uint32{1<<32 - 1}}, 0},
}

func TestParseSysCredential(t *testing.T) {
	for _, tt := range sysCredentials {
		b := unhex(tt.data)
		got, err := ParseSysCredential(b)
		if d := diff(got, tt.want); err != nil || d != "" {
			t.Errorf("%s: ParseSysCredential(%x) = %v (-want +got):\n%s", tt.name, b, err, d)
		}
		if err := CheckSysCredential(b); err != nil {
			t.Errorf("%s: CheckSysCredential(%x) = %v, want nil", tt.name, b, err)
		}
		end := len(b) - tt.rest
		if got := tt.want.Append(nil); !bytes.Equal(got, b[:end]) {
			t.Errorf("%s: Append = %x, want %x", tt.name, got, b[:end])
		}
		for n := range end {
			if got, err := ParseSysCredential(b[:n]); !errors.Is(err, xdr.ErrShort) {
				t.Errorf("%s: ParseSysCredential(%x) = %+v, %v, want ErrShort", tt.name, b[:n], got, err)
			}
			if err := CheckSysCredential(b[:n]); !errors.Is(err, xdr.ErrShort) {
				t.Errorf("%s: CheckSysCredential(%x) = %v, want ErrShort", tt.name, b[:n], err)
			}
		}
	}
}

var badSysCredentials = []struct {
	name string
	data string
	want error
}{
	{"hand-built, rpcbind 1.2.6 answers AUTH_BADCRED: 17 gids", `
			00005eed 00000005 62657274 68000000 00000000 00000000 00000011 00000000 00000001 00000002 00000003 00000004
			00000005 00000006 00000007 00000008 00000009 0000000a 0000000b 0000000c 0000000d 0000000e 0000000f 00000010`, xdr.ErrTooLong},
	{"hand-built, rpcbind 1.2.6 answers AUTH_BADCRED: name of 256 bytes", `
			00005eed 00000100 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262 62626262
			62626262 62626262 62626262 62626262 62626262 62626262 00000000 00000000 00000000`, xdr.ErrTooLong},
	{"2^32-1 gids", "00000000 00000000 00000000 00000000 ffffffff 00000000", xdr.ErrTooLong},
	{"2^30 gids, 2^32 bytes", "00000000 00000000 00000000 00000000 40000000 00000000", xdr.ErrTooLong},
	{"name of 2^32-1 bytes", "00000000 ffffffff 00000000 00000000 00000000 00000000", xdr.ErrTooLong},
	{"name of 2^31 bytes", "00000000 80000000 00000000 00000000 00000000 00000000", xdr.ErrTooLong},
	{"empty", "", xdr.ErrShort},
}

func TestParseSysCredentialFails(t *testing.T) {
	for _, tt := range badSysCredentials {
		b := unhex(tt.data)
		if got, err := ParseSysCredential(b); !errors.Is(err, tt.want) || diff(got, SysCredential{}) != "" {
			t.Errorf("%s: ParseSysCredential(%x) = %+v, %v, want %v", tt.name, b, got, err, tt.want)
		}
		if err := CheckSysCredential(b); !errors.Is(err, tt.want) {
			t.Errorf("%s: CheckSysCredential(%x) = %v, want %v", tt.name, b, err, tt.want)
		}
	}
}

func FuzzParseSysCredential(f *testing.F) {
	for _, tt := range sysCredentials {
		f.Add(unhex(tt.data))
	}
	for _, tt := range badSysCredentials {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseSysCredential(b)
		if check := CheckSysCredential(b); (check == nil) != (err == nil) || err != nil && check.Error() != err.Error() {
			t.Fatalf("CheckSysCredential(%x) = %v, ParseSysCredential %v", b, check, err)
		}
		if err != nil {
			return
		}
		if len(c.MachineName) > MaxMachineName || len(c.GIDs) > MaxGIDs {
			t.Fatalf("ParseSysCredential(%x) = %+v, over the limits", b, c)
		}
		again := c.Append(nil)
		got, err := ParseSysCredential(again)
		if d := diff(got, c); err != nil || d != "" {
			t.Fatalf("ParseSysCredential(%x) = %v (-want +got):\n%s", again, err, d)
		}
	})
}

// Within the limits every credential fits the body of an OpaqueAuth.
func TestSysCredentialRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := SysCredential{
			Stamp:       rapid.Uint32().Draw(t, "stamp"),
			MachineName: rapid.StringN(0, -1, MaxMachineName).Draw(t, "name"),
			UID:         rapid.Uint32().Draw(t, "uid"),
			GID:         rapid.Uint32().Draw(t, "gid"),
			GIDs:        rapid.SliceOfN(rapid.Uint32(), 0, MaxGIDs).Draw(t, "gids"),
		}
		b := want.Append(nil)
		if len(b) > MaxAuthBody {
			t.Fatalf("%d bytes, want at most %d", len(b), MaxAuthBody)
		}
		got, err := ParseSysCredential(b)
		if d := diff(got, want); err != nil || d != "" {
			t.Fatalf("ParseSysCredential(%x) = %v (-want +got):\n%s", b, err, d)
		}
	})
}

func TestAuthFlavorString(t *testing.T) {
	for f, want := range map[AuthFlavor]string{
		AuthNone: "AUTH_NONE", AuthSys: "AUTH_SYS", AuthShort: "AUTH_SHORT", AuthDH: "AUTH_DH", RPCSecGSS: "RPCSEC_GSS", 99: "AuthFlavor(99)",
	} {
		if got := f.String(); got != want {
			t.Errorf("AuthFlavor(%d).String() = %s, want %s", uint32(f), got, want)
		}
	}
}

func BenchmarkCheckSysCredential(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckSysCredential(berth); err != nil {
			b.Fatal(err)
		}
	}
}
