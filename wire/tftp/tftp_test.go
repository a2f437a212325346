package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A packet is any of those that this package has.
type packet interface{ Append([]byte) []byte }

// parse decodes a packet of any kind.
func parse(b []byte) (packet, error) {
	switch OpcodeOf(b) {
	case OpData:
		return ParseData(b)
	case OpAck:
		return ParseAck(b)
	case OpError:
		return ParseError(b)
	case OpOptionAck:
		return ParseOptionAck(b)
	}
	return ParseRequest(b)
}

var rows = []struct {
	name string
	data string
	want packet
}{
	{"RFC 1350 5: RRQ", "\x00\x01pxelinux.0\x00octet\x00", Request{Op: OpRead, Filename: "pxelinux.0", Mode: Octet}},
	{"RFC 1350 5: WRQ", "\x00\x02a b/c\x00netascii\x00", Request{Op: OpWrite, Filename: "a b/c", Mode: Netascii}},
	{"RFC 1350 1: mail to a user", "\x00\x02root\x00mail\x00", Request{Op: OpWrite, Filename: "root", Mode: Mail}},
	{"RFC 2347: RRQ with blksize and tsize", "\x00\x01foobar\x00octet\x00blksize\x001432\x00tsize\x000\x00",
		Request{OpRead, "foobar", Octet, []Option{{BlockSize, "1432"}, {TransferSize, "0"}}}},
	{"RFC 7440 3: windowsize", "\x00\x01foobar\x00octet\x00windowsize\x0016\x00",
		Request{OpRead, "foobar", Octet, []Option{{WindowSize, "16"}}}},
	{"RFC 2347: an option without a value", "\x00\x01f\x00octet\x00x\x00\x00", Request{OpRead, "f", Octet, []Option{{"x", ""}}}},
	{"RFC 1350 5: DATA", "\x00\x03\x00\x01hello", Data{1, []byte("hello")}},
	{"RFC 1350 6: the last DATA of a file of 512 bytes", "\x00\x03\x00\x02", Data{2, nil}},
	{"RFC 1350 5: ACK", "\x00\x04\xff\xff", Ack{65535}},
	{"RFC 1350 5: ERROR", "\x00\x05\x00\x01File not found\x00", Error{CodeNotFound, "File not found"}},
	{"RFC 2347: ERROR about options", "\x00\x05\x00\x08\x00", Error{CodeOptionDenied, ""}},
	{"RFC 2347: OACK", "\x00\x06blksize\x001432\x00tsize\x003145728\x00",
		OptionAck{[]Option{{BlockSize, "1432"}, {TransferSize, "3145728"}}}},
}

func TestPackets(t *testing.T) {
	for _, tt := range rows {
		got, err := parse([]byte(tt.data))
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %q = %v, %v (-want +got):\n%s", tt.name, tt.data, got, err, diff)
		}
		if b := tt.want.Append([]byte{0xee}); string(b) != "\xee"+tt.data {
			t.Errorf("%s: Append to ee = %q, want ee and %q", tt.name, b, tt.data)
		}
	}
}

// Strings must end and nothing may be missing. Data of any length is whole, and so are options up to any of them.
func TestTruncated(t *testing.T) {
	for _, tt := range rows {
		for n := range tt.data {
			got, err := parse([]byte(tt.data[:n]))
			_, isData := got.(Data)
			if err == nil && !(isData && n >= 4) && !endsAtOption(tt.data[:n]) {
				t.Errorf("%s: the first %d bytes are %+v, want an error", tt.name, n, got)
			}
		}
	}
}

// endsAtOption tells whether a request or an OACK ends behind the value of an option, or has none.
func endsAtOption(s string) bool {
	if len(s) < opSize {
		return false
	}
	op := OpcodeOf([]byte(s))
	if len(s) == opSize {
		return op == OpOptionAck
	}
	n := strings.Count(s[2:], "\x00")
	return s[len(s)-1] == 0 && n%2 == 0 && n > 0 && (op == OpOptionAck || op.IsRequest())
}

func TestMalformed(t *testing.T) {
	long := strings.Repeat("a", MaxRequest)
	for _, tt := range []struct {
		name string
		data string
		want error
	}{
		{"nothing", "", ErrShort},
		{"one byte", "\x00", ErrShort},
		{"opcode 0", "\x00\x00f\x00octet\x00", ErrOpcode},
		{"opcode 7", "\x00\x07f\x00octet\x00", ErrOpcode},
		{"opcode in the other byte order", "\x01\x00f\x00octet\x00", ErrOpcode},
		{"no mode", "\x00\x01f\x00", ErrString},
		{"no file name", "\x00\x01\x00octet\x00", ErrEmpty},
		{"unknown mode", "\x00\x01f\x00binary\x00", ErrMode},
		{"mode with a long s", "\x00\x01f\x00neta\u017fcii\x00", ErrMode},
		{"empty mode", "\x00\x01f\x00\x00", ErrMode},
		{"mail in a read request", "\x00\x01f\x00mail\x00", ErrMode},
		{"option without a name", "\x00\x01f\x00octet\x00\x00512\x00", ErrEmpty},
		{"option without a value", "\x00\x01f\x00octet\x00blksize\x00", ErrString},
		{"option that does not end", "\x00\x01f\x00octet\x00blksize\x00512", ErrString},
		{"option twice, in another case", "\x00\x01f\x00octet\x00blksize\x00512\x00BLKSIZE\x008\x00", ErrOption},
		{"request of 513 bytes", "\x00\x01" + long[:504] + "\x00octet\x00", ErrTooLong},
		{"ACK with data", "\x00\x04\x00\x01a", ErrTrailing},
		{"ERROR that does not end", "\x00\x05\x00\x01a", ErrString},
		{"ERROR with data", "\x00\x05\x00\x01a\x00b", ErrTrailing},
		{"ERROR of 513 bytes", "\x00\x05\x00\x01" + long[:508] + "\x00", ErrTooLong},
		{"OACK with an option twice", "\x00\x06tsize\x001\x00tsize\x002\x00", ErrOption},
		{"OACK of 515 bytes", "\x00\x06" + long + "\x00", ErrTooLong},
		{"DATA of 65465 bytes", "\x00\x03\x00\x01" + strings.Repeat("a", MaxBlock+1), ErrTooLong},
	} {
		if got, err := parse([]byte(tt.data)); !errors.Is(err, tt.want) {
			t.Errorf("%s: parse(%.60q) = %+v, %v, want %v", tt.name, tt.data, got, err, tt.want)
		}
	}
	if got, err := ParseRequest([]byte("\x00\x01" + long[:503] + "\x00octet\x00")); err != nil {
		t.Errorf("request of 512 bytes = %+v, %v, want no error", got, err)
	}
	for _, f := range []func([]byte) error{
		func(b []byte) error { _, err := ParseData(b); return err },
		func(b []byte) error { _, err := ParseAck(b); return err },
		func(b []byte) error { _, err := ParseError(b); return err },
		func(b []byte) error { _, err := ParseOptionAck(b); return err },
	} {
		if err := f([]byte("\x00\x01f\x00octet\x00")); !errors.Is(err, ErrOpcode) {
			t.Errorf("a request taken for something else: %v, want %v", err, ErrOpcode)
		}
		if err := f(nil); !errors.Is(err, ErrShort) {
			t.Errorf("nothing taken for a packet: %v, want %v", err, ErrShort)
		}
	}
}

// Names of modes and options are the same in any case (RFC 1350, section 5; RFC 2347).
func TestCase(t *testing.T) {
	got, err := ParseRequest([]byte("\x00\x01F\x00OcTeT\x00BlkSize\x00512\x00"))
	if err != nil || got.Mode != Octet || got.Filename != "F" || !got.Options[0].Is(BlockSize) {
		t.Errorf("ParseRequest = %+v, %v, want mode octet and option blksize", got, err)
	}
}

func TestOptionCheck(t *testing.T) {
	for _, tt := range []struct {
		option Option
		ok     bool
	}{
		{Option{BlockSize, "8"}, true}, {Option{BlockSize, "65464"}, true}, {Option{"BLKSIZE", "512"}, true},
		{Option{BlockSize, "7"}, false}, {Option{BlockSize, "65465"}, false}, {Option{"BlkSize", "0"}, false},
		{Option{BlockSize, ""}, false}, {Option{BlockSize, "-8"}, false}, {Option{BlockSize, "+8"}, false},
		{Option{BlockSize, "512 "}, false}, {Option{BlockSize, "0x200"}, false}, {Option{BlockSize, "99999999999999999999"}, false},
		{Option{Timeout, "1"}, true}, {Option{Timeout, "255"}, true}, {Option{Timeout, "0"}, false}, {Option{Timeout, "256"}, false},
		{Option{WindowSize, "1"}, true}, {Option{WindowSize, "65535"}, true}, {Option{WindowSize, "0"}, false}, {Option{WindowSize, "65536"}, false},
		{Option{TransferSize, "0"}, true}, {Option{TransferSize, "9223372036854775807"}, true}, {Option{TransferSize, "9223372036854775808"}, false},
		{Option{TransferSize, "many"}, false},
		{Option{"rollover", "any"}, true}, {Option{Multicast, ""}, true},
	} {
		if err := tt.option.Check(); (err == nil) != tt.ok {
			t.Errorf("%+v.Check() = %v, want no error: %v", tt.option, err, tt.ok)
		}
	}
}

func TestStrings(t *testing.T) {
	for got, want := range map[string]string{
		OpRead.String(): "RRQ", OpOptionAck.String(): "OACK", Opcode(0).String(): "Opcode(0)", Opcode(7).String(): "Opcode(7)",
		Mail.String(): "mail", Mode(0).String(): "Mode(0)", Mode(4).String(): "Mode(4)",
		CodeOptionDenied.String(): "option negotiation", ErrorCode(9).String(): "ErrorCode(9)",
		Error{CodeAccess, "no"}.Error(): "tftp: access violation: no",
	} {
		if got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

// What decodes encodes and decodes to the same value.
func FuzzParse(f *testing.F) {
	for _, tt := range rows {
		f.Add([]byte(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parse(b)
		if err != nil {
			return
		}
		again := got.Append(nil)
		if q, ok := got.(Request); ok { // its mode is written in lower case
			at := 2 + len(q.Filename) + 1
			b = bytes.Clone(b)
			copy(b[at:], bytes.ToLower(b[at:at+len(q.Mode.String())]))
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x = %+v, which is encoded as %x", b, got, again)
		}
		if twice, err := parse(again); err != nil || !reflect.DeepEqual(twice, got) {
			t.Fatalf("%x = %+v, encoded again %+v, %v", b, got, twice, err)
		}
		if binary.BigEndian.Uint16(b) == 0 {
			t.Fatalf("%x has opcode 0 and is %+v", b, got)
		}
	})
}
