//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// foul is what a terminal must not be sent: escapes, a line of its own, a turn of direction, what is no UTF-8.
const foul = "\x1b[2J\x1b]0;x\a\r\nforged \u202e\u009b1m\x9b\xff"

// isClean tells whether a text has lines of what is seen, and no more.
func isClean(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) })
}

// serveTCP has each connection to an address served until the test ends.
func serveTCP(t *testing.T, address string, serve func(net.Conn)) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	nstest.Answer(t, ln, serve)
}

// servePortMapper answers each call of a list with what write writes behind the head of the answer; other
// programs are not there.
func servePortMapper(t *testing.T, address string, write func(w io.Writer) error) {
	t.Helper()
	serveTCP(t, address, func(conn net.Conn) {
		for {
			mark := make([]byte, 4)
			if _, err := io.ReadFull(conn, mark); err != nil {
				return
			}
			b := make([]byte, int(mark[2])<<8|int(mark[3])) // calls are short, and one fragment
			if _, err := io.ReadFull(conn, b); err != nil {
				return
			}
			call, _, err := oncrpc.ParseCall(b)
			if err != nil {
				return
			}
			head := oncrpc.AppendAccepted(nil, call.XID, oncrpc.Success)
			if call.Version != 4 || call.Procedure != uint32(rpcbind.ProcDump) {
				head = oncrpc.AppendAccepted(nil, call.XID, oncrpc.ProcUnavail)
				conn.Write(append(oncrpc.AppendRecordMark(nil, len(head), true), head...))
				continue
			}
			conn.Write(append(oncrpc.AppendRecordMark(nil, len(head), false), head...))
			if err := write(conn); err != nil {
				return
			}
		}
	})
}

// rowsWriter writes a whole list.
func rowsWriter(rows ...rpcbind.RPCB) func(io.Writer) error {
	var b []byte
	for _, row := range rows {
		b = row.Append(rpcbind.AppendNext(b))
	}
	b = rpcbind.AppendEnd(b)
	return func(w io.Writer) error {
		_, err := w.Write(append(oncrpc.AppendRecordMark(nil, len(b), true), b...))
		return err
	}
}

// serveEndpointMapper accepts what is bound, and answers each ept_lookup with the rows for its number.
func serveEndpointMapper(t *testing.T, address string, rows func(call int) (rows []epm.Entry, more bool)) {
	t.Helper()
	serveTCP(t, address, func(conn net.Conn) {
		for calls := 0; ; {
			b := make([]byte, dcerpc.HeaderSize)
			if _, err := io.ReadFull(conn, b); err != nil {
				return
			}
			h, err := dcerpc.ParseHeader(b)
			if err != nil {
				return
			}
			b = append(b, make([]byte, int(h.FragLength)-len(b))...)
			if _, err := io.ReadFull(conn, b[dcerpc.HeaderSize:]); err != nil {
				return
			}
			bound := dcerpc.BindAck{MaxXmitFrag: 4280, MaxRecvFrag: 4280, AssocGroup: 1, SecondaryAddr: "135", Results: []dcerpc.Result{{Transfer: dcerpc.NDR}}}
			var answer []byte
			switch h.PType {
			case dcerpc.PTypeBind:
				answer = dcerpc.AppendBindAck(nil, h.Reply(), bound)
			case dcerpc.PTypeAlterContext:
				answer = dcerpc.AppendAlterContextResp(nil, h.Reply(), bound)
			case dcerpc.PTypeRequest:
				m, err := dcerpc.ParseRequest(h, b)
				if err != nil || epm.Op(m.Opnum) != epm.OpLookup {
					return
				}
				reply := epm.LookupReply{Max: epm.MaxEntries, Status: epm.StatusOK}
				more := false
				if reply.Entries, more = rows(calls); more {
					reply.Handle = ndr.Handle{UUID: ndr.UUID{1}}
				}
				calls++
				answer = dcerpc.AppendResponse(nil, h.Reply(), dcerpc.Response{Stub: reply.Append(nil, h.Label)}, 4280)
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	})
}

// hostileEntry is a row at a port of loopback, the object of which makes it another than the rest.
func hostileEntry(n int, p epm.ProtSeq, name, annotation string) epm.Entry {
	return epm.Entry{Object: ndr.UUID{0: 1, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}, Annotation: annotation, Tower: epm.Tower{
		Interface: dcerpc.Syntax{UUID: ndr.MustParseUUID(drsuapi), Major: 4}, Transfer: dcerpc.NDR, ProtSeq: p, Name: name, Port: 9,
	}}
}

// TestAskFoulMappers: whatever mappers tell, what reaches a terminal is clean, and no line of it is theirs.
func TestAskFoulMappers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	serve := func(address string, more bool) {
		rows := []rpcbind.RPCB{
			{Program: 100005, Version: 3, NetID: "tcp", Address: "127.0.0.1.0.9", Owner: foul},
			{Program: 100005, Version: 3, NetID: foul, Address: "127.0.0.1.0.9", Owner: "superuser"},
			{Program: 100005, Version: 3, NetID: "udp", Address: foul, Owner: "superuser"},
			{Program: 100005, Version: 3, NetID: "local", Address: "/run/" + foul, Owner: "superuser"},
		}
		entries := []epm.Entry{
			hostileEntry(1, epm.TCP, "", foul), hostileEntry(2, epm.NP, `\pipe\`+foul, foul), hostileEntry(3, epm.LRPC, foul, foul),
		}
		if more {
			rows = append(rows, rpcbind.RPCB{Program: 7, Version: 1, NetID: "x" + foul, Address: foul, Owner: foul})
			entries = append(entries, hostileEntry(4, epm.NP, foul, "a"+foul))
		}
		servePortMapper(t, address+":111", rowsWriter(rows...))
		serveEndpointMapper(t, address+":135", func(int) ([]epm.Entry, bool) { return entries, false })
	}
	serve("127.0.0.1", false)
	serve("127.0.0.2", true)

	d := askJSON(t, exitDone, "127.0.0.1")
	if e := d.Hosts[0].Entries; len(e) != 7 || e[1].Told == "" || e[4].Annotation == "" {
		t.Fatalf("ask -o json tells %d rows: %+v", len(e), e)
	}
	d.Hosts[0].Host = "127.0.0.2"
	before := writeAnswer(t, d)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"127.0.0.1"}, `\x1b[2J\x1b]0;x\x07\x0d\x0aforged \u202e\u009b1m\x9b\xff`},
		{[]string{"127.0.0.1", "--verbose"}, `forged \u202e`},
		{[]string{"127.0.0.1", "--try", "--verbose", "--timeout", "1s"}, " REFUSED "},
		{[]string{"127.0.0.1", "drsuapi", "mountd", "--timeout", "1s"}, ""},
		{[]string{"127.0.0.2", "--compare", before}, `\x1b[2J`},
		{[]string{"127.0.0.2", "--compare", before, "-o", "json"}, `forged`},
		{[]string{"127.0.0.1", "-o", "json"}, `\u001b[2J`},
		{[]string{"127.0.0.1", "-o", "yaml"}, `\x1b[2J`},
		{[]string{"127.0.0.1", "-o", "csv"}, `\x1b[2J`},
		{[]string{"127.0.0.1", "-o", "markdown"}, `\\x1b[2J`},
	} {
		r := run(t, "quaymaster", append([]string{"ask"}, tt.args...)...)
		if !isClean(r.Stdout + r.Stderr) {
			t.Errorf("ask %q is not clean: %q", tt.args, r.Stdout+r.Stderr)
		}
		if strings.Contains(r.Stdout, "\nforged") || !strings.Contains(r.Stdout, tt.want) {
			t.Errorf("ask %q = %q, want %q within a line", tt.args, r.Stdout, tt.want)
		}
	}
}

// TestAskEndlessMappers: lists without an end are cut, and said to be.
func TestAskEndlessMappers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	row := rpcbind.RPCB{Program: 100005, Version: 3, NetID: "tcp", Address: "127.0.0.1.0.9", Owner: "superuser"}.Append(rpcbind.AppendNext(nil))
	fragment := append(oncrpc.AppendRecordMark(nil, 1000*len(row), false), bytes.Repeat(row, 1000)...)
	servePortMapper(t, "127.0.0.1:111", func(w io.Writer) error {
		for {
			if _, err := w.Write(fragment); err != nil {
				return err
			}
		}
	})
	serveEndpointMapper(t, "127.0.0.1:135", func(call int) (rows []epm.Entry, more bool) {
		for i := range 500 {
			rows = append(rows, hostileEntry(500*call+i, epm.TCP, "", fmt.Sprint(foul, call)))
		}
		return rows, true
	})
	start := time.Now()
	r := run(t, "quaymaster", "ask", "127.0.0.1", "--try", "--verbose")
	for _, want := range []string{
		"; of 200,000 rows 200,000 refused", "; this is not all",
		fmt.Sprintf("\n  port mapper: it tells more than %d rows", probe.MaxEntries), "\n  endpoint mapper: it tells more than is read",
	} {
		if r.Exit != exitFound || !strings.Contains(r.Stdout, want) {
			t.Errorf("ask ends with exit status %d, %s, and %q; want %q", r.Exit, r.Stderr, r.Stdout[max(0, len(r.Stdout)-1000):], want)
		}
	}
	if !isClean(r.Stdout + r.Stderr) {
		t.Error("what it shows is not clean")
	}
	t.Logf("%d bytes in %v", len(r.Stdout), time.Since(start))
}

// TestAskScatteringMapper: a mapper cannot keep us for long, be it with ports that are filtered or with such
// as accept and are silent.
func TestAskScatteringMapper(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	if r := run(t, "nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in tcp dport 1000-9999 drop"); r.Exit != 0 {
		t.Fatalf("nft = %+v", r)
	}
	const most, silent, timeout = 4000, 10000, 150 * time.Millisecond
	serve := func(address string, from, n int) {
		serveEndpointMapper(t, address+":135", func(call int) (rows []epm.Entry, more bool) {
			for i := 500 * call; i < min(n, 500*(call+1)); i++ {
				e := hostileEntry(i, epm.TCP, "", "")
				e.Tower.Port = uint16(from + i)
				rows = append(rows, e)
			}
			return rows, 500*(call+1) < n
		})
	}
	serve("127.0.0.1", 1000, most)
	const listeners = (hostPatience + 20) * probe.DefaultHostConns
	serve("127.0.0.2", silent, listeners)
	for i := range listeners {
		serveTCP(t, fmt.Sprintf("127.0.0.2:%d", silent+i), func(conn net.Conn) { io.Copy(io.Discard, conn) })
	}
	ask := func(host, want string) time.Duration {
		start := time.Now()
		r := run(t, "quaymaster", "ask", host, "--dce", "--try", "--timeout", timeout.String())
		if !regexp.MustCompile(want).MatchString(r.Stdout) || r.Exit != exitFound {
			t.Errorf("ask %s --try ends with exit status %d, %s, and %q", host, r.Exit, r.Stderr, r.Stdout[max(0, len(r.Stdout)-1000):])
		}
		return time.Since(start)
	}
	if took := ask("127.0.0.1", "; of 4,000 rows 4,000 filtered"); took > hostPatience*timeout {
		t.Errorf("filtered ports took %v, want less than %v", took, hostPatience*timeout)
	}
	if took := ask("127.0.0.2", fmt.Sprintf(`; of %d rows [1-9]\d* wrong, [1-9]\d* not tried`, listeners)); took < hostPatience*timeout || took > hostPatience*timeout+10*time.Second {
		t.Errorf("silent ports took %v, want a little more than %v", took, hostPatience*timeout)
	}
}
