package follow

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A dceRecording is a conversation of testdata/epm.txt.
type dceRecording struct {
	name   string
	server string // its address and port
	talk   []said // a segment of TCP each
}

func dceRecordings(tb testing.TB) []dceRecording {
	tb.Helper()
	file, err := os.ReadFile("testdata/epm.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var all []dceRecording
	for line := range strings.Lines(string(file)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		side := Client
		switch word {
		case "conversation":
			all = append(all, dceRecording{name: rest, server: rest[strings.LastIndexByte(rest, ' ')+1:] + ":135"})
			continue
		case "client":
		case "server":
			side = Server
		default:
			continue
		}
		data, err := hex.DecodeString(rest)
		if err != nil {
			tb.Fatal(err)
		}
		r := &all[len(all)-1]
		r.talk = append(r.talk, said{side, data})
	}
	if len(all) != 14 {
		tb.Fatalf("%d conversations", len(all))
	}
	return all
}

func (r dceRecording) follower(p Policy) Follower {
	p.Ends = ends("10.97.0.2:40000", r.server)
	return NewEPM(p)
}

// said returns what a side said.
func (r dceRecording) said(by Side) []byte {
	var b []byte
	for _, s := range r.talk {
		if s.by == by {
			b = append(b, s.data...)
		}
	}
	return b
}

// uuidName names an interface by the start of its UUID.
func uuidName(i endpoint.Interface) string {
	return fmt.Sprintf("%.8s v%d.%d", i.UUID, i.Major, i.Minor)
}

// Conversations with Samba, and what of them is promised, refused and changed: where all interfaces are allowed, and where only
// drsuapi is.
func TestEPMRecordings(t *testing.T) {
	drsuapi := endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.MustParseUUID("e3514235-4b06-11d1-ab04-00c04fc2dcd2"), Major: 4}
	var b strings.Builder
	for _, r := range dceRecordings(t) {
		for _, p := range []Policy{{}, {Allow: only(drsuapi)}} {
			p.Name = uuidName
			steps, err := followAll(r.follower(p), r.talk)
			fmt.Fprintf(&b, "%s; %s\n", r.name, map[bool]string{true: "all allowed", false: "drsuapi allowed"}[p.Allow == nil])
			for _, p := range promised(steps) {
				fmt.Fprintf(&b, "\tpromises %s\n", p)
			}
			for _, s := range steps {
				if s.Refused != nil {
					fmt.Fprintf(&b, "\trefuses %v\n", s.Refused)
				}
			}
			if err != nil {
				fmt.Fprintf(&b, "\tends: %v\n", err)
			}
			if got := sent(steps, Server); !bytes.Equal(got, r.said(Client)) {
				fmt.Fprintf(&b, "\tthe server hears of %v\n", pduTypes(t, got))
			}
			if got := sent(steps, Client); !bytes.Equal(got, r.said(Server)) {
				fmt.Fprintf(&b, "\tthe client hears of %v\n", pduTypes(t, got))
			}
		}
	}
	golden(t, "epm-steps.txt", b.String())
}

// pduTypes returns what PDUs a stream has, with the number of towers that an answer of the mapper has.
func pduTypes(t *testing.T, b []byte) []string {
	t.Helper()
	var all []string
	var f dcerpc.PDUReader
	var a dcerpc.Assembler
	f.Reset(dcerpc.MaxFrag)
	for len(b) > 0 {
		used, pdu, err := f.Feed(b)
		if err != nil || pdu == nil {
			t.Fatalf("no PDU in %x: %v", b, err)
		}
		b = b[used:]
		h, _ := dcerpc.ParseHeader(pdu)
		what := h.PType.String()
		if h.PType == dcerpc.PTypeResponse {
			m, err := dcerpc.ParseResponse(h, pdu)
			whole, ok, errWhole := a.AddResponse(h, m)
			if err != nil || errWhole != nil {
				t.Fatalf("%x: %v, %v", pdu, err, errWhole)
			}
			if ok {
				if k, err := epm.ParseLookupReply(whole.Stub, h.Label); err == nil {
					what += fmt.Sprintf(" (%d entries, %v)", len(k.Entries), k.Status)
				} else if m, err := epm.ParseMapReply(whole.Stub, h.Label); err == nil {
					what += fmt.Sprintf(" (%d towers, %v)", len(m.Towers), m.Status)
				}
			}
		}
		if h.PType == dcerpc.PTypeFault {
			m, _ := dcerpc.ParseFault(h, pdu)
			what += fmt.Sprintf(" (%v)", m.Status)
		}
		all = append(all, what)
	}
	return all
}

// The steps are the same however the stream is cut.
func TestEPMSegments(t *testing.T) {
	for _, r := range dceRecordings(t) {
		if len(r.said(Server)) > 2000 && testing.Short() {
			continue
		}
		for _, talk := range [][]said{r.talk, merged(r.talk)} {
			checkSegments(t, func() Follower { return r.follower(Policy{Name: uuidName}) }, talk)
		}
	}
}
