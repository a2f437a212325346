package rpcbind

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// The files of testdata/README.md hold these rows.
var (
	rpcbFileRows = []RPCB{
		{100000, 4, "tcp6", "::.0.111", "superuser"},
		{100000, 3, "tcp6", "::.0.111", "superuser"},
		{100000, 4, "udp6", "::.0.111", "superuser"},
		{100000, 3, "udp6", "::.0.111", "superuser"},
		{100000, 4, "tcp", "0.0.0.0.0.111", "superuser"},
		{100000, 3, "tcp", "0.0.0.0.0.111", "superuser"},
		{100000, 2, "tcp", "0.0.0.0.0.111", "superuser"},
		{100000, 4, "udp", "0.0.0.0.0.111", "superuser"},
		{100000, 3, "udp", "0.0.0.0.0.111", "superuser"},
		{100000, 2, "udp", "0.0.0.0.0.111", "superuser"},
		{100000, 4, "local", "/run/rpcbind.sock", "superuser"},
		{100000, 3, "local", "/run/rpcbind.sock", "superuser"},
		{100005, 3, "tcp", "0.0.0.0.78.80", "superuser"},
		{100005, 3, "tcp6", "::.78.80", "superuser"},
		{300001, 1, "udp", "10.99.0.1.19.139", "superuser"},
		{300001, 1, "local", "/run/three.sock", "superuser"},
		{300003, 2, "tcp", "0.0.0.0.18.103", "superuser"},
		{300004, 1, "tcp6", "::ffff:10.99.0.1.19.140", "superuser"},
		{300006, 1, "udp", "0.0.0.0.0.0", "superuser"},
		{100024, 1, "udp", "0.0.0.0.237.65", "103"},
		{100024, 1, "tcp", "0.0.0.0.237.66", "103"},
		{300007, 1, "udp", "0.0.0.0.18.107", "103"},
		{300008, 1, "local", "/" + strings.Repeat("x", 106), "65534"},
		{300009, 1, "local", "/" + strings.Repeat("y", 239), "65534"},
		{300010, 1, strings.Repeat("udp4", 30), "1.2.3.4.5.6", "65534"},
		{300011, 1, "tcp", "1.2.3.4.10.300", "65534"},
		{300012, 1, "local", "no path \x1b[2J", "65534"},
		{300013, 1, "unix", "/run/thirteen.sock", "65534"},
	}
	mappingFileRows = []Mapping{
		{100000, 4, ProtocolTCP, 111},
		{100000, 3, ProtocolTCP, 111},
		{100000, 2, ProtocolTCP, 111},
		{100000, 4, ProtocolUDP, 111},
		{100000, 3, ProtocolUDP, 111},
		{100000, 2, ProtocolUDP, 111},
		{100005, 3, ProtocolTCP, 20048},
		{300001, 1, ProtocolUDP, 5003},
		{300003, 2, ProtocolTCP, 4711},
		{300006, 1, ProtocolUDP, 0},
		{100024, 1, ProtocolUDP, 60737},
		{100024, 1, ProtocolTCP, 60738},
		{300007, 1, ProtocolUDP, 4715},
		{300011, 1, ProtocolTCP, 2860},
	}
)

// A file is decoded, and encoded to the same bytes; cut anywhere or with a byte
// after its end it is refused.
func checkFile[T interface{ Append([]byte) []byte }](t *testing.T, name string, parse func([]byte) ([]T, error), want []T) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(b)
	if d := diff(got, want); err != nil || d != "" {
		t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
	}
	if again := appendList(nil, want); !bytes.Equal(again, b) {
		t.Errorf("%s: append = %x, want %x", name, again, b)
	}
	for n := range b {
		if got, err := parse(b[:n]); !errors.Is(err, xdr.ErrShort) || got != nil {
			t.Errorf("%s: the first %d bytes = %v, %v, want ErrShort", name, n, got, err)
		}
	}
	got, err = parse(append(b, 0))
	if !errors.Is(err, xdr.ErrTrailing) || got != nil || !strings.HasPrefix(err.Error(), "rpcbind: "+name+": ") {
		t.Errorf("%s and a byte = %v, %v, want ErrTrailing", name, got, err)
	}
	if got, err := parse(AppendEnd(nil)); len(got) > 0 || err != nil {
		t.Errorf("%s without a row = %v, %v, want nothing", name, got, err)
	}
	if got, err := parse(unhex("00000002")); !errors.Is(err, xdr.ErrBool) {
		t.Errorf("%s with list word 2 = %v, %v, want ErrBool", name, got, err)
	}
}

func TestFiles(t *testing.T) {
	checkFile(t, "rpcbind.xdr", ParseRPCBFile, rpcbFileRows)
	checkFile(t, "portmap.xdr", ParseMappingFile, mappingFileRows)
}

func TestFileStrings(t *testing.T) {
	for _, tt := range []struct {
		bytes int
		want  error
	}{{9000, nil}, {9001, xdr.ErrTooLong}} {
		long := strings.Repeat("x", tt.bytes)
		for _, row := range []RPCB{{NetID: long}, {Address: long}, {Owner: long}} {
			got, err := ParseRPCBFile(appendList(nil, []RPCB{row}))
			if !errors.Is(err, tt.want) || err == nil && got[0] != row {
				t.Errorf("a string of %d bytes: %v, want %v", tt.bytes, err, tt.want)
			}
		}
	}
}

// What decodes encodes to the same bytes, but for what pads it, and within the
// length that it came in.
func fuzzFile[T interface{ Append([]byte) []byte }](f *testing.F, name string, parse func([]byte) ([]T, error)) {
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-4])
	f.Add(AppendEnd(nil))
	f.Add(unhex("00000001 00000001 00000001 00002329 00000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := parse(b)
		if err != nil {
			return
		}
		again := appendList(nil, want)
		got, err := parse(again)
		if d := diff(got, want); err != nil || d != "" || len(again) != len(b) {
			t.Fatalf("%x, encoded %x = %v (-want +got):\n%s", b, again, err, d)
		}
	})
}

func FuzzParseRPCBFile(f *testing.F)    { fuzzFile(f, "rpcbind.xdr", ParseRPCBFile) }
func FuzzParseMappingFile(f *testing.F) { fuzzFile(f, "portmap.xdr", ParseMappingFile) }
