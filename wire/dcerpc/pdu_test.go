package dcerpc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// unhex decodes hexadecimal digits with any blanks between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// Interfaces and syntaxes of the rows.
var (
	epmapper = Syntax{UUID: ndr.MustParseUUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), Major: 3}
	mgmt     = Syntax{UUID: ndr.MustParseUUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), Major: 1}
	object   = ndr.MustParseUUID("00112233-4455-6677-8899-aabbccddeeff")
)

// A codec is how PDUs of one type are decoded and encoded.
type codec struct {
	parse  func(Header, []byte) (any, error)
	append func([]byte, Header, any) []byte
	needs  int // bytes without which every PDU is too short
}

func newCodec[T any](parse func(Header, []byte) (T, error), appendTo func([]byte, Header, T) []byte, needs int) codec {
	return codec{
		func(h Header, b []byte) (any, error) { return parse(h, b) },
		func(b []byte, h Header, v any) []byte { return appendTo(b, h, v.(T)) },
		needs,
	}
}

var codecs = map[PType]codec{
	PTypeBind:             newCodec(ParseBind, AppendBind, 28),
	PTypeAlterContext:     newCodec(ParseBind, AppendAlterContext, 28),
	PTypeBindAck:          newCodec(ParseBindAck, AppendBindAck, 32),
	PTypeAlterContextResp: newCodec(ParseBindAck, AppendAlterContextResp, 32),
	PTypeBindNak:          newCodec(ParseBindNak, AppendBindNak, 18),
	PTypeRequest: newCodec(ParseRequest, func(b []byte, h Header, m Request) []byte {
		return AppendRequest(b, h, m, MaxFrag)
	}, callSize),
	PTypeResponse: newCodec(ParseResponse, func(b []byte, h Header, m Response) []byte {
		return AppendResponse(b, h, m, MaxFrag)
	}, callSize),
	PTypeFault: newCodec(ParseFault, AppendFault, 28),
}

// A row is a PDU and what it says.
type row struct {
	name   string
	data   string
	header Header
	want   any
	auth   Auth
	other  bool // that we write it otherwise
}

// le returns the header of a little-endian PDU of version 5.0.
func le(t PType, f Flags, frag, auth uint16, call uint32) Header {
	return Header{5, 0, t, f, ndr.LittleEndian, frag, auth, call}
}

func be(t PType, f Flags, frag, auth uint16, call uint32) Header {
	h := le(t, f, frag, auth, call)
	h.Label = ndr.BigEndian
	return h
}

const (
	mapRequest = `
		05000003 10000000 8c00 0000 02000000 74000000 0000 0300
		00000000 01000000 4b000000 4b000000 0500
		1300 0d 785734123412cdabef000123456789ab0000 0200 0000 1300 0d 045d888aeb1cc9119fe808002b1048600200 0200 0000
		0100 0b 0200 0000 0100 07 0200 0000 0100 09 0400 00000000
		00 00000000 0000000000000000000000000000 0000 01000000`
	mapResponse = `
		05000203 10000000 9800 0000 02000000 80000000 0000 00 00
		00000000 00000000000000000000000000000000 01000000 01000000 00000000 01000000 02000000 4b000000 4b000000 0500
		1300 0d 785734123412cdabef000123456789ab0000 0200 0000 1300 0d 045d888aeb1cc9119fe808002b1048600200 0200 0000
		0100 0b 0200 0000 0100 07 0200 c000 0100 09 0400 0a620001
		00 00000000`
	signedRequest = `
		05000003 10000000 a000 1000 02000000 64000000 0000 0200
		00000000 00000000 00000000 00000000 0000000000000000000000000000000000000000 02000000
		8ae3137102f43671 0100 0400 01000000 0240 2800 0883afe11f5dc91191a408002b14a0fa03000000 045d888aeb1cc9119fe808002b10486002000000
		000000000000000000000000 09 05 0c 00 01000000 010000007d9000f13ee0279d01000000`
)

var rows = []row{
	{"impacket-rpcdump: bind", `
		05000b03 10000000 4800 0000 01000000 b810 b810 00000000 01 00 0000
		0000 01 00 0883afe11f5dc91191a408002b14a0fa 0300 0000 045d888aeb1cc9119fe808002b104860 0200 0000`,
		le(PTypeBind, 3, 72, 0, 1), Bind{4280, 4280, 0, []Context{{0, epmapper, []Syntax{NDR}}}}, Auth{}, false},
	{"Samba 4.17.12 as AD DC: bind_ack to impacket-rpcdump", `
		05000c03 10000000 3c00 0000 01000000 b810 b810 c8d90000 0400 31333500 0000
		01 00 0000 0000 0000 045d888aeb1cc9119fe808002b104860 0200 0000`,
		le(PTypeBindAck, 3, 60, 0, 1), BindAck{4280, 4280, 55752, "135", []Result{{Acceptance, 0, NDR}}}, Auth{}, false},
	{"go-msrpc, anonymous: bind that proposes features", `
		05000b17 10000000 7400 0000 01000000 0010 0010 00000000 02 00 0000
		0000 01 00 0883afe11f5dc91191a408002b14a0fa 0300 0000 045d888aeb1cc9119fe808002b104860 0200 0000
		0100 01 00 0883afe11f5dc91191a408002b14a0fa 0300 0000 2c1cb76c129840450300000000000000 0100 0000`,
		le(PTypeBind, FirstFrag|LastFrag|SupportHeaderSign|Multiplex, 116, 0, 1),
		Bind{4096, 4096, 0, []Context{{0, epmapper, []Syntax{NDR}}, {1, epmapper, []Syntax{Features(3).Syntax()}}}}, Auth{}, false},
	{"Samba 4.17.12 as AD DC: bind_ack that grants features to go-msrpc", `
		05000c17 10000000 5400 0000 01000000 0010 0010 9e660000 0400 31333500 0000 02 00 0000
		0000 0000 045d888aeb1cc9119fe808002b104860 0200 0000 0300 0300 00000000000000000000000000000000 0000 0000`,
		le(PTypeBindAck, 0x17, 84, 0, 1),
		BindAck{4096, 4096, 0x669e, "135", []Result{{Acceptance, 0, NDR}, {NegotiateAck, 3, Syntax{}}}}, Auth{}, false},
	{"impacket rpcmap.py: bind with NTLM", `
		05000b03 10000000 7000 2000 01000000 b810 b810 00000000 01 00 0000
		0000 01 00 80bda8af8a7dc911bef408002b102989 0100 0000 045d888aeb1cc9119fe808002b104860 0200 0000
		0a 06 00 00 7f350100 4e544c4d5353500001000000358288e000000000000000000000000000000000`,
		le(PTypeBind, 3, 112, 32, 1), Bind{4280, 4280, 0, []Context{{0, mgmt, []Syntax{NDR}}}},
		Auth{AuthNTLM, LevelPrivacy, 0, 79231, unhex("4e544c4d5353500001000000358288e000000000000000000000000000000000")}, true},
	{"C706 12.6.4.1: alter_context that proposes NDR64 too", `
		05000e03 10000000 5c00 0000 02000000 d016 d016 44332211 01 00 0000
		0100 02 00 0883afe11f5dc91191a408002b14a0fa 0300 0000
		045d888aeb1cc9119fe808002b104860 0200 0000 33057171babe37498319b5dbef9ccc36 0100 0000`,
		le(PTypeAlterContext, 3, 92, 0, 2), Bind{5840, 5840, 0x11223344, []Context{{1, epmapper, []Syntax{NDR, NDR64}}}}, Auth{}, false},
	{"Samba 4.17.12 as AD DC: alter_context_resp with SPNEGO", `
		05000f03 10000000 5d00 1d00 01000000 d016 d016 be3a0000 0000 0000 01 00 0000
		0000 0000 045d888aeb1cc9119fe808002b104860 0200 0000
		09 05 00 00 01000000 a11b3019a0030a0100a3120410010000002d585d0cc633dda600000000`,
		le(PTypeAlterContextResp, 3, 93, 29, 1), BindAck{5840, 5840, 15038, "", []Result{{Acceptance, 0, NDR}}},
		Auth{AuthSPNEGO, LevelIntegrity, 0, 1, unhex("a11b3019a0030a0100a3120410010000002d585d0cc633dda600000000")}, true},
	{"C706 12.6.4.2: alter_context_resp that rejects NDR64", `
		05000f03 10000000 3800 0000 02000000 d016 d016 44332211 0000 0000 01 00 0000
		0200 0200 00000000000000000000000000000000 0000 0000`,
		le(PTypeAlterContextResp, 3, 56, 0, 2),
		BindAck{5840, 5840, 0x11223344, "", []Result{{ProviderRejection, TransferSyntaxesNotSupported, Syntax{}}}}, Auth{}, false},
	{"C706 12.6.4.4: bind_ack whose address has no NUL", `
		05000c03 10000000 3c00 0000 01000000 b810 b810 01000000 0300 313335 000000 01 00 0000
		0000 0000 045d888aeb1cc9119fe808002b104860 0200 0000`,
		le(PTypeBindAck, 3, 60, 0, 1), BindAck{4280, 4280, 1, "135", []Result{{Acceptance, 0, NDR}}}, Auth{}, true},
	{"C706 12.6.4.5: bind_nak, one version", "05000d03 10000000 1500 0000 01000000 0400 01 0500",
		le(PTypeBindNak, 3, 21, 0, 1), BindNak{RejectProtocolVersionNotSupported, []ProtocolVersion{{5, 0}}}, Auth{}, false},
	{"MS-RPCE 2.2.2.5: bind_nak", "05000d03 10000000 1300 0000 01000000 0800 00",
		le(PTypeBindNak, 3, 19, 0, 1), BindNak{Reason: RejectAuthenticationTypeNotRecognized}, Auth{}, false},
	{"bind_nak without a list of versions", "05000d03 10000000 1200 0000 01000000 0200",
		le(PTypeBindNak, 3, 18, 0, 1), BindNak{Reason: RejectLocalLimitExceeded}, Auth{}, true},
	{"rpcclient 4.17.12: request, ept_map", mapRequest,
		le(PTypeRequest, 3, 140, 0, 2), Request{116, 0, 3, ndr.UUID{}, unhex(mapRequest)[24:]}, Auth{}, false},
	{"Samba 4.17.12 standalone: response to ept_map", mapResponse,
		le(PTypeResponse, 3, 152, 0, 2), Response{128, 0, 0, unhex(mapResponse)[24:]}, Auth{}, false},
	{"C706 12.6.4.9: request with an object", `
		05000083 10000000 3000 0000 07000000 08000000 0100 0200 33221100554477668899aabbccddeeff 0102030405060708`,
		le(PTypeRequest, FirstFrag|LastFrag|ObjectUUID, 48, 0, 7), Request{8, 1, 2, object, unhex("0102030405060708")}, Auth{}, false},
	{"C706 12.6.4.9: request without a stub", "05000003 10000000 1800 0000 07000000 00000000 0100 0200",
		le(PTypeRequest, 3, 24, 0, 7), Request{0, 1, 2, ndr.UUID{}, []byte{}}, Auth{}, false},
	{"a very old client: no flags", "05000000 10000000 1800 0000 07000000 00000000 0100 0200",
		le(PTypeRequest, 0, 24, 0, 7), Request{0, 1, 2, ndr.UUID{}, []byte{}}, Auth{}, true},
	{"one ept_lookup to Samba 4.17.12 as AD DC, signed: request with a verification trailer", signedRequest,
		le(PTypeRequest, 3, 160, 16, 2), Request{100, 0, 2, ndr.UUID{}, unhex(signedRequest)[24:124]},
		Auth{AuthSPNEGO, LevelIntegrity, 12, 1, unhex("010000007d9000f13ee0279d01000000")}, true},
	{"Samba 4.17.12 as AD DC: fault to impacket rpcmap.py", "05000323 10000000 2000 0000 02000000 18000000 0000 00 00 0b00011c 00000000",
		le(PTypeFault, FirstFrag|LastFrag|DidNotExecute, 32, 0, 2), Fault{0, 0, StatusProtoError}, Auth{}, true},
	{"MS-RPCE 2.2.2.8: fault", "05000303 10000000 2000 0000 02000000 20000000 0100 00 00 f7060000 00000000",
		le(PTypeFault, 3, 32, 0, 2), Fault{1, 0, StatusBadStubData}, Auth{}, false},

	{"C706 12.6.4.3, big-endian: bind", `
		05000b03 00000000 0048 0000 00000001 10b8 10b8 00000000 01 00 0000
		0000 01 00 e1af83085d1f11c991a408002b14a0fa 0000 0003 8a885d041ceb11c99fe808002b104860 0000 0002`,
		be(PTypeBind, 3, 72, 0, 1), Bind{4280, 4280, 0, []Context{{0, epmapper, []Syntax{NDR}}}}, Auth{}, false},
	{"MS-RPCE 2.2.2.14, big-endian: bind_ack that grants features", `
		05010c03 00000000 0054 0000 00000001 1000 1000 0000669e 0004 31333500 0000 02 00 0000
		0000 0000 8a885d041ceb11c99fe808002b104860 0000 0002 0003 0003 00000000000000000000000000000000 0000 0000`,
		Header{5, 1, PTypeBindAck, 3, ndr.BigEndian, 84, 0, 1},
		BindAck{4096, 4096, 0x669e, "135", []Result{{Acceptance, 0, NDR}, {NegotiateAck, 3, Syntax{}}}}, Auth{}, false},
	{"C706 12.6.4.5, big-endian: bind_nak", "05000d03 00000000 0017 0000 00000001 0004 02 0500 0501",
		be(PTypeBindNak, 3, 23, 0, 1), BindNak{RejectProtocolVersionNotSupported, []ProtocolVersion{{5, 0}, {5, 1}}}, Auth{}, false},
	{"C706 12.6.4.9, big-endian: request with an object", `
		05000083 00000000 0030 0000 00000007 00000008 0001 0002 00112233445566778899aabbccddeeff 0102030405060708`,
		be(PTypeRequest, FirstFrag|LastFrag|ObjectUUID, 48, 0, 7), Request{8, 1, 2, object, unhex("0102030405060708")}, Auth{}, false},
	{"C706 12.6.4.10, big-endian: response", "05000203 00000000 001c 0000 00000007 00000004 0001 02 00 01020304",
		be(PTypeResponse, 3, 28, 0, 7), Response{4, 1, 2, unhex("01020304")}, Auth{}, false},
	{"C706 12.6.4.7, big-endian: fault", "05000323 00000000 0020 0000 00000002 00000020 0001 00 00 1c010003 00000000",
		be(PTypeFault, FirstFrag|LastFrag|DidNotExecute, 32, 0, 2), Fault{1, 0, StatusUnkIf}, Auth{}, false},
	{"C706 13.2.6.1, big-endian: request with a trailer", `
		05000003 00000000 002c 0004 00000007 00000004 0001 0002 01020304 00000000 0a 05 04 00 00000009 a1a2a3a4`,
		be(PTypeRequest, 3, 44, 4, 7), Request{4, 1, 2, ndr.UUID{}, unhex("01020304")}, Auth{AuthNTLM, LevelIntegrity, 4, 9, unhex("a1a2a3a4")}, true},
}

func TestPDUs(t *testing.T) {
	for _, tt := range rows {
		b := unhex(tt.data)
		h, err := ParseHeader(b)
		if err != nil || h != tt.header {
			t.Errorf("%s: ParseHeader(%x) = %+v, %v, want %+v", tt.name, b, h, err, tt.header)
			continue
		}
		if got := h.Append([]byte{0xee}); !bytes.Equal(got[1:], b[:HeaderSize]) {
			t.Errorf("%s: Append(ee) = %x, want ee%x", tt.name, got, b[:HeaderSize])
		}
		c := codecs[h.PType]
		got, err := c.parse(h, b)
		if d := cmp.Diff(tt.want, got); err != nil || d != "" {
			t.Errorf("%s: %v, (-want +got):\n%s", tt.name, err, d)
		}
		auth, err := ParseAuth(h, b)
		if d := cmp.Diff(tt.auth, auth); err != nil || d != "" {
			t.Errorf("%s: ParseAuth: %v, (-want +got):\n%s", tt.name, err, d)
		}
		if again := c.append([]byte{0xee, 0xee, 0xee}, h, tt.want); bytes.Equal(again[3:], b) == tt.other {
			t.Errorf("%s: appended to eeeeee = %x, of %x, want that to be equal: %t", tt.name, again, b, !tt.other)
		}
	}
}

// In the other byte order the same value has as many bytes.
func TestTwins(t *testing.T) {
	for _, tt := range rows {
		h, want := tt.header, tt.want
		h.Flags |= wholeFrag
		c := codecs[h.PType]
		first := c.append(nil, h, want)
		if h.Label = ndr.BigEndian; !tt.header.Label.IsBigEndian() {
			h.Label = ndr.BigEndian
		} else {
			h.Label = ndr.LittleEndian
		}
		b := c.append(nil, h, want)
		got, err := ParseHeader(b)
		if err != nil || got.Label != h.Label || int(got.FragLength) != len(first) || len(b) != len(first) {
			t.Errorf("%s: twin %x has header %+v, %v, want %d bytes", tt.name, b, got, err, len(first))
			continue
		}
		v, err := c.parse(got, b)
		if d := cmp.Diff(want, v); err != nil || d != "" {
			t.Errorf("%s: twin %x: %v, (-want +got):\n%s", tt.name, b, err, d)
		}
	}
}

// resized returns the first n bytes of a PDU with a header that says so.
func resized(h Header, b []byte, n int) (Header, []byte) {
	h.FragLength = uint16(n)
	return h, append(h.Append(nil), b[HeaderSize:n]...)
}

func TestTruncatedPDUs(t *testing.T) {
	for _, tt := range rows {
		b := unhex(tt.data)
		c := codecs[tt.header.PType]
		for n := range b {
			if _, err := ParseHeader(b[:n]); n < HeaderSize && !errors.Is(err, ndr.ErrShort) {
				t.Errorf("%s: ParseHeader of %d bytes = %v, want ErrShort", tt.name, n, err)
			}
			if v, err := c.parse(tt.header, b[:n]); !errors.Is(err, ndr.ErrShort) {
				t.Errorf("%s: %d bytes of %d = %v, %v, want ErrShort", tt.name, n, len(b), v, err)
			}
			if n < HeaderSize {
				continue
			}
			h, cut := resized(tt.header, b, n)
			v, err := c.parse(h, cut)
			switch {
			case err == nil && n < c.needs:
				t.Errorf("%s: PDU of %d bytes = %v, want an error", tt.name, n, v)
			case tt.header.AuthLength == 0 && err == nil && isBind(tt.header.PType):
				t.Errorf("%s: PDU of %d bytes = %v, want an error", tt.name, n, v)
			case tt.header.AuthLength == 0 && err != nil && !errors.Is(err, ndr.ErrShort):
				t.Errorf("%s: PDU of %d bytes = %v, want ErrShort", tt.name, n, err)
			}
		}
	}
}

// isBind tells whether a body ends exactly.
func isBind(t PType) bool {
	return t == PTypeBind || t == PTypeAlterContext || t == PTypeBindAck || t == PTypeAlterContextResp
}

func TestParseHeaderFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		data string
		want error
	}{
		{"version 4, connectionless", "04000b03 10000000 4800 0000 01000000", ErrVersion},
		{"version 5.2", "05020b03 10000000 4800 0000 01000000", ErrVersion},
		{"fragment shorter than the header", "05000b03 10000000 0f00 0000 01000000", ErrFragLength},
		{"fragment of no bytes", "05000b03 10000000 0000 0000 01000000", ErrFragLength},
		{"EBCDIC", "05000b03 11000000 4800 0000 01000000", ndr.ErrLabel},
	} {
		if h, err := ParseHeader(unhex(tt.data)); !errors.Is(err, tt.want) || h != (Header{}) {
			t.Errorf("%s: ParseHeader = %v, %v, want %v", tt.name, h, err, tt.want)
		}
	}
}

func TestBodiesThatFail(t *testing.T) {
	for _, tt := range []struct {
		name string
		data string
		want string
	}{
		{"255 contexts announced", "05000b03 10000000 1c00 0000 01000000 b810 b810 00000000 ff 00 0000", "dcerpc: bind: ndr: offset 28: short data"},
		{"255 transfer syntaxes announced", `05000b03 10000000 3400 0000 01000000 b810 b810 00000000 01 00 0000
			0000 ff 00 0883afe11f5dc91191a408002b14a0fa 0300 0000`, "dcerpc: bind: ndr: offset 52: short data"},
		{"255 results announced", "05000c03 10000000 2000 0000 01000000 b810 b810 00000000 0000 0000 ff 00 0000", "dcerpc: bind_ack: ndr: offset 32: short data"},
		{"address of 65,535 bytes", "05000c03 10000000 2000 0000 01000000 b810 b810 00000000 ffff 0000 00 00 0000", "dcerpc: bind_ack: ndr: offset 26: short data"},
		{"255 versions announced", "05000d03 10000000 1300 0000 01000000 0400 ff", "dcerpc: bind_nak: ndr: offset 19: short data"},
		{"token larger than the PDU", "05000003 10000000 1800 ffff 01000000 00000000 0000 0000", "dcerpc: auth trailer does not fit: token of 65535 bytes in a PDU of 24"},
		{"token over the header", "05000003 10000000 2000 0900 01000000 00000000 0000 0000 0a05000000000000", "dcerpc: auth trailer does not fit: token of 9 bytes in a PDU of 32"},
		{"trailer over the body", "05000003 10000000 2000 0800 01000000 0a050000 00000000 0000000000000000", "dcerpc: request: ndr: offset 16: short data"},
		{"padding over the header", "05000003 10000000 2800 0800 01000000 00000000 0000 0000 0a05ff00 00000000 0000000000000000",
			"dcerpc: auth trailer does not fit: 255 bytes of padding"},
		{"padding over the body", "05000003 10000000 2800 0800 01000000 00000000 0000 0000 0a050100 00000000 0000000000000000",
			"dcerpc: request: ndr: offset 22: short data"},
		{"object flag without an object", "05000083 10000000 2000 0000 07000000 08000000 0100 0200 0102030405060708", "dcerpc: request: ndr: offset 24: short data"},
	} {
		b := unhex(tt.data)
		h, err := ParseHeader(b)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if v, err := codecs[h.PType].parse(h, b); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, %v, want %s", tt.name, v, err, tt.want)
		}
	}
}

func TestParseAuth3(t *testing.T) {
	// C706 knows no such PDU; this is the layout of MS-RPCE, section 2.2.2.10.
	b := unhex("05001003 10000000 2400 0800 01000000 20202020 0a 06 00 00 7f350100 4e544c4d53535000")
	h, err := ParseHeader(b)
	if err != nil || h.PType != PTypeAuth3 {
		t.Fatalf("ParseHeader = %v, %v", h, err)
	}
	want := Auth{AuthNTLM, LevelPrivacy, 0, 79231, unhex("4e544c4d53535000")}
	if got, err := ParseAuth(h, b); err != nil || !cmp.Equal(got, want) {
		t.Errorf("ParseAuth(%x) = %v, %v, want %v", b, got, err, want)
	}
}

// A stub ends where the trailer starts, so that appending to it cannot write
// into the PDU.
func TestStubHasNoRoom(t *testing.T) {
	b := unhex(signedRequest)
	h, _ := ParseHeader(b)
	m, err := ParseRequest(h, b)
	if err != nil || cap(m.Stub) != len(m.Stub) {
		t.Errorf("cap = %d, len = %d, %v", cap(m.Stub), len(m.Stub), err)
	}
}

// What is behind the PDU in its slice does not count.
func TestBytesBehindThePDU(t *testing.T) {
	for _, tt := range rows {
		b := append(unhex(tt.data), 1, 2, 3)
		got, err := codecs[tt.header.PType].parse(tt.header, b)
		if d := cmp.Diff(tt.want, got); err != nil || d != "" {
			t.Errorf("%s: %v, (-want +got):\n%s", tt.name, err, d)
		}
	}
}

func TestReply(t *testing.T) {
	h := Header{5, 1, PTypeRequest, FirstFrag | LastFrag | Multiplex | ObjectUUID, ndr.BigEndian, 100, 8, 7}
	want := Header{MinorVersion: 1, Label: ndr.BigEndian, CallID: 7}
	if got := h.Reply(); got != want {
		t.Errorf("Reply() = %v, want %v", got, want)
	}
	b := AppendFault(nil, h.Reply(), Fault{Status: StatusBadStubData})
	if got, err := ParseHeader(b); err != nil || got != (Header{5, 1, PTypeFault, 3, ndr.BigEndian, 32, 0, 7}) {
		t.Errorf("header of a fault = %+v, %v", got, err)
	}
}

func TestWhole(t *testing.T) {
	for f, want := range map[Flags]bool{
		0: true, FirstFrag: false, LastFrag: false, FirstFrag | LastFrag: true, ObjectUUID: true,
		FirstFrag | LastFrag | Multiplex: true, FirstFrag | SupportHeaderSign: false,
	} {
		if got := f.Whole(); got != want {
			t.Errorf("Flags(%#x).Whole() = %t, want %t", uint8(f), got, want)
		}
	}
}

func TestFeatures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		syntax Syntax
		want   Features
		ok     bool
	}{
		{"go-msrpc: both", Syntax{ndr.MustParseUUID("6cb71c2c-9812-4540-0300-000000000000"), 1, 0}, SecurityContextMultiplexing | KeepConnectionOnOrphan, true},
		{"none", Syntax{ndr.MustParseUUID("6cb71c2c-9812-4540-0000-000000000000"), 1, 0}, 0, true},
		{"more than have a meaning", Syntax{ndr.MustParseUUID("6cb71c2c-9812-4540-0180-ff0000000000"), 1, 0}, 0x8001, true},
		{"version 2", Syntax{ndr.MustParseUUID("6cb71c2c-9812-4540-0300-000000000000"), 2, 0}, 0, false},
		{"version 1.1", Syntax{ndr.MustParseUUID("6cb71c2c-9812-4540-0300-000000000000"), 1, 1}, 0, false},
		{"another prefix", Syntax{ndr.MustParseUUID("6cb71c2c-9812-4541-0300-000000000000"), 1, 0}, 0, false},
		{"NDR", NDR, 0, false},
		{"nil", Syntax{}, 0, false},
	} {
		if got, ok := tt.syntax.Features(); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %v.Features() = %d, %t, want %d, %t", tt.name, tt.syntax, got, ok, tt.want, tt.ok)
		}
	}
	if got, ok := Features(3).Syntax().Features(); got != 3 || !ok {
		t.Errorf("Features(3).Syntax().Features() = %d, %t", got, ok)
	}
}

func TestDidNotExecute(t *testing.T) {
	for _, tt := range []struct {
		status Status
		flags  Flags
		want   Flags
	}{
		{StatusOpRngError, 0, FirstFrag | LastFrag | DidNotExecute},
		{StatusUnkIf, Multiplex, FirstFrag | LastFrag | DidNotExecute | Multiplex},
		{StatusProtoError, 0, FirstFrag | LastFrag | DidNotExecute},
		{StatusServerTooBusy, 0, FirstFrag | LastFrag | DidNotExecute},
		{StatusBadStubData, 0, FirstFrag | LastFrag},
		{StatusBadStubData, DidNotExecute, FirstFrag | LastFrag | DidNotExecute},
		{StatusContextMismatch, 0, FirstFrag | LastFrag},
		{StatusAccessDenied, 0, FirstFrag | LastFrag},
	} {
		b := AppendFault(nil, Header{Flags: tt.flags, Label: ndr.LittleEndian}, Fault{Status: tt.status})
		if got := Flags(b[3]); got != tt.want || len(b) != FaultSize {
			t.Errorf("%v, %#x: flags %#x, %d bytes, want %#x, %d", tt.status, uint8(tt.flags), uint8(got), len(b), uint8(tt.want), FaultSize)
		}
	}
}

func TestStrings(t *testing.T) {
	for want, v := range map[string]interface{ String() string }{
		"request": PTypeRequest, "bind_ack": PTypeBindAck, "alter_context_resp": PTypeAlterContextResp, "rpc_auth_3": PTypeAuth3,
		"response": PTypeResponse, "fault": PTypeFault, "bind": PTypeBind, "bind_nak": PTypeBindNak, "alter_context": PTypeAlterContext,
		"shutdown": PTypeShutdown, "co_cancel": PTypeCoCancel, "orphaned": PTypeOrphaned, "PType(1)": PType(1),
		"acceptance": Acceptance, "user_rejection": UserRejection, "provider_rejection": ProviderRejection, "negotiate_ack": NegotiateAck,
		"ContextResult(4)": ContextResult(4), "abstract_syntax_not_supported": AbstractSyntaxNotSupported,
		"proposed_transfer_syntaxes_not_supported": TransferSyntaxesNotSupported, "local_limit_exceeded": LocalLimitExceeded,
		"reason_not_specified": ReasonNotSpecified, "ProviderReason(4)": ProviderReason(4),
		"temporary_congestion": RejectTemporaryCongestion, "protocol_version_not_supported": RejectProtocolVersionNotSupported,
		"authentication_type_not_recognized": RejectAuthenticationTypeNotRecognized, "invalid_checksum": RejectInvalidChecksum,
		"RejectReason(3)": RejectReason(3), "SPNEGO": AuthSPNEGO, "NTLM": AuthNTLM, "Kerberos": AuthKerberos, "Netlogon": AuthNetlogon,
		"AuthType(1)": AuthType(1), "connect": LevelConnect, "call": LevelCall, "packet": LevelPacket, "integrity": LevelIntegrity,
		"privacy": LevelPrivacy, "AuthLevel(0)": AuthLevel(0),
		"rpc_s_access_denied": StatusAccessDenied, "ept_s_cant_perform_op": StatusCantPerformOp, "rpc_x_bad_stub_data": StatusBadStubData,
		"nca_s_fault_context_mismatch": StatusContextMismatch, "nca_s_invalid_pres_context_id": StatusInvalidPresContextID,
		"nca_s_unsupported_authn_level": StatusUnsupportedAuthnLevel, "nca_s_op_rng_error": StatusOpRngError, "nca_s_unk_if": StatusUnkIf,
		"nca_s_proto_error": StatusProtoError, "nca_s_server_too_busy": StatusServerTooBusy, "0x1c000001": Status(0x1c000001),
		"8a885d04-1ceb-11c9-9fe8-08002b104860 2.0": NDR, "71710533-beba-4937-8319-b5dbef9ccc36 1.0": NDR64,
	} {
		if got := v.String(); got != want {
			t.Errorf("String() = %s, want %s", got, want)
		}
	}
	for want, err := range map[string]error{
		"dcerpc: fault: nca_s_unk_if":                    Fault{Status: StatusUnkIf},
		"dcerpc: bind refused: local_limit_exceeded":     BindNak{Reason: RejectLocalLimitExceeded},
		"dcerpc: bind refused: reason_not_specified":     BindNak{},
		"dcerpc: fragment: of a call that has not begun": errNoFirst,
	} {
		if err.Error() != want {
			t.Errorf("Error() = %s, want %s", err, want)
		}
	}
}

// What does not fit the wire is the caller's mistake.
func TestTooLargeToAppend(t *testing.T) {
	for name, appendTo := range map[string]func(){
		"256 contexts":        func() { AppendBind(nil, Header{}, Bind{Contexts: make([]Context, MaxContexts+1)}) },
		"more than 64 KiB":    func() { AppendBind(nil, Header{}, Bind{Contexts: slicesOf(200)}) },
		"256 results":         func() { AppendBindAck(nil, Header{}, BindAck{Results: make([]Result, MaxContexts+1)}) },
		"a very long address": func() { AppendBindAck(nil, Header{}, BindAck{SecondaryAddr: strings.Repeat("x", MaxFrag)}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			appendTo()
		}()
	}
}

func slicesOf(n int) []Context {
	contexts := make([]Context, n)
	for i := range contexts {
		contexts[i].Transfers = make([]Syntax, 20)
	}
	return contexts
}

// An address is as long as it may be with the NUL that we write, whether or not
// the peer wrote one.
func TestSecondaryAddr(t *testing.T) {
	for _, tt := range []struct {
		length int
		ok     bool
	}{{MaxSecondaryAddr - 1, true}, {MaxSecondaryAddr, false}} {
		m := BindAck{SecondaryAddr: strings.Repeat("x", tt.length)}
		b := AppendBindAck(nil, Header{Label: ndr.LittleEndian}, m)
		for _, length := range []int{tt.length + 1, tt.length} { // with and without the NUL
			b[24], b[25] = byte(length), byte(length>>8)
			h, err := ParseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseBindAck(h, b)
			if (err == nil) != tt.ok || err == nil && got.SecondaryAddr != m.SecondaryAddr || err != nil && !errors.Is(err, ndr.ErrTooLong) {
				t.Errorf("address of %d bytes, length %d: %q, %v", tt.length, length, got.SecondaryAddr, err)
			}
		}
	}
}

// The largest bind that fits is decoded and encoded.
func TestLargestBind(t *testing.T) {
	m := Bind{Contexts: make([]Context, MaxContexts)}
	for i := range m.Contexts {
		m.Contexts[i] = Context{uint16(i), epmapper, []Syntax{NDR, NDR64, NDR, NDR, NDR, NDR, NDR, NDR, NDR, NDR, NDR}}
	}
	b := AppendBind(nil, Header{Label: ndr.LittleEndian}, m)
	h, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseBind(h, b); err != nil || !cmp.Equal(got, m) {
		t.Errorf("ParseBind of %d bytes: %v", len(b), err)
	}
}

// dialogue reads testdata/rpcdump.txt.
func dialogue(tb testing.TB) (client, server [][]byte) {
	tb.Helper()
	file, err := os.ReadFile("testdata/rpcdump.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if s, ok := strings.CutPrefix(line, "client "); ok {
			client = append(client, unhex(s))
		} else if s, ok := strings.CutPrefix(line, "server "); ok {
			server = append(server, unhex(s))
		}
	}
	if len(client) != 3 || len(server) != 4 {
		tb.Fatalf("%d PDUs of the client and %d of the server, want 3 and 4", len(client), len(server))
	}
	return client, server
}

// fuzzCodec: what decodes, encodes and decodes to the same value.
func fuzzCodec(f *testing.F, types ...PType) {
	for _, tt := range rows {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		h.PType = types[int(h.PType)%len(types)]
		c := codecs[h.PType]
		want, err := c.parse(h, b)
		if err != nil {
			return
		}
		if _, err := ParseAuth(h, b); err != nil {
			t.Fatalf("%x decodes with a trailer that does not: %v", b, err)
		}
		again := c.append(nil, h, comparable(want))
		h2, err := ParseHeader(again)
		if err != nil || int(h2.FragLength) != len(again) || h2.PType != h.PType || h2.CallID != h.CallID {
			t.Fatalf("%x encodes to %x, with header %v, %v", b, again, h2, err)
		}
		got, err := c.parse(h2, again)
		if d := cmp.Diff(comparable(want), got); err != nil || d != "" {
			t.Fatalf("%x encodes to %x: %v, (-want +got):\n%s", b, again, err, d)
		}
	})
}

// comparable sets what we compute ourselves, and cuts what needs a second fragment.
func comparable(v any) any {
	const most = MaxFrag - callSize - ndr.UUIDSize - 7
	switch m := v.(type) {
	case Request:
		m.Stub = m.Stub[:min(len(m.Stub), most)]
		m.AllocHint = uint32(len(m.Stub))
		return m
	case Response:
		m.Stub = m.Stub[:min(len(m.Stub), most)]
		m.AllocHint = uint32(len(m.Stub))
		return m
	}
	return v
}

func FuzzBind(f *testing.F)     { fuzzCodec(f, PTypeBind, PTypeAlterContext) }
func FuzzBindAck(f *testing.F)  { fuzzCodec(f, PTypeBindAck, PTypeAlterContextResp) }
func FuzzBindNak(f *testing.F)  { fuzzCodec(f, PTypeBindNak) }
func FuzzRequest(f *testing.F)  { fuzzCodec(f, PTypeRequest) }
func FuzzResponse(f *testing.F) { fuzzCodec(f, PTypeResponse) }
func FuzzFault(f *testing.F)    { fuzzCodec(f, PTypeFault) }

func FuzzHeader(f *testing.F) {
	for _, tt := range rows {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		if got := h.Append(nil); !bytes.Equal(got, b[:HeaderSize]) {
			t.Fatalf("%+v encodes to %x, want %x", h, got, b[:HeaderSize])
		}
		a, err := ParseAuth(h, b)
		if err == nil && len(a.Token) != int(h.AuthLength) {
			t.Fatalf("token of %d bytes, want %d", len(a.Token), h.AuthLength)
		}
	})
}

// On a server a call costs no allocation.
func TestNothingIsAllocated(t *testing.T) {
	q, stub := unhex(mapRequest), unhex(mapResponse)[callSize:]
	buf := make([]byte, 0, 256)
	var a Assembler
	n := testing.AllocsPerRun(100, func() {
		h, err := ParseHeader(q)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseRequest(h, q)
		if err != nil {
			t.Fatal(err)
		}
		m, ok, err := a.Add(h, m)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if b := AppendResponse(buf, h.Reply(), Response{ContextID: m.ContextID, Stub: stub}, 5840); len(b) != 152 {
			t.Fatalf("%d bytes", len(b))
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkCall(b *testing.B) {
	q, stub := unhex(mapRequest), unhex(mapResponse)[callSize:]
	buf := make([]byte, 0, 256)
	var a Assembler
	b.ReportAllocs()
	for b.Loop() {
		h, err := ParseHeader(q)
		if err != nil {
			b.Fatal(err)
		}
		m, err := ParseRequest(h, q)
		if err != nil {
			b.Fatal(err)
		}
		m, ok, err := a.Add(h, m)
		if !ok || err != nil {
			b.Fatal(ok, err)
		}
		buf = AppendResponse(buf[:0], h.Reply(), Response{ContextID: m.ContextID, Stub: stub}, 5840)
	}
}

func BenchmarkParseBind(b *testing.B) {
	data := unhex(rows[0].data)
	b.ReportAllocs()
	for b.Loop() {
		h, err := ParseHeader(data)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ParseBind(h, data); err != nil {
			b.Fatal(err)
		}
	}
}
