//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// TestTShark captures conversations with a mapper and has Wireshark's dissectors look for
// anything that is not as the protocol says.
func TestTShark(t *testing.T) {
	programs := buildPrograms(t)
	onEachMapper(t, func(t *testing.T, mapper string) {
		nstest.Need(t, "tshark", "ip", "rpcinfo")
		nstest.Veth(t, "v0", "10.99.0.1/24", "fd99::1/64")
		startMapper(t, mapper)
		c := startCapture(t)

		observe(t, programs)
		client := filepath.Join(programs, "client")
		for _, p := range paths {
			converse(t, 1000, func(args ...string) result {
				return run(t, client, append([]string{p.transport, p.host}, args...)...)
			})
		}
		useServices(t)
		callEverything(t)

		v := judge(t, c.stop())
		if len(v.findings) > 0 {
			t.Errorf("tshark finds:\n%s", strings.Join(v.findings, "\n"))
		}
		for _, transport := range transports {
			if v.frames[transport] == 0 {
				t.Errorf("no Portmap frame over %s: %v", transport, v.frames)
			}
		}
	})
}

// callEverything calls each procedure of each version with arguments that most of them
// understand, over each transport. What is answered is another test's affair; here it is only
// that something is.
func callEverything(t *testing.T) {
	t.Helper()
	row := rpcbind.RPCB{Program: 300042, Version: 1, NetID: "tcp", Address: "127.0.0.1.0.111", Owner: "quay"}
	mapping := rpcbind.Mapping{Program: 300042, Version: 1, Protocol: rpcbind.ProtocolTCP, Port: 4711}
	for _, network := range []string{"udp4", "tcp4", "udp6", "tcp6"} {
		c, err := dialMapper(network)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for version := uint32(1); version <= 5; version++ {
			for proc := rpcbind.Proc(0); proc <= rpcbind.ProcGetStat+1; proc++ {
				args := row.Append(nil)
				switch {
				case proc == rpcbind.ProcCallIt, proc == rpcbind.ProcIndirect && c.stream:
					continue // rpcbind says nothing, which takes time
				case version == rpcbind.Version2:
					args = mapping.Append(nil)
				case proc == rpcbind.ProcUAddr2TAddr:
					args = xdr.AppendString(nil, row.Address)
				case proc == rpcbind.ProcTAddr2UAddr:
					args = rpcbind.TAddr(rpcbind.TCP, row.Address).Append(nil)
				case proc == rpcbind.ProcIndirect:
					args = rpcbind.RemoteCall{Program: 300042, Version: 1}.Append(nil)
				}
				var refusal *oncrpc.ReplyError
				if _, err := c.call(version, proc, args); err != nil && !errors.As(err, &refusal) {
					t.Errorf("procedure %d of version %d over %s: %v", proc, version, network, err)
				}
			}
		}
	}
}

// TestTSharkFindsFaults shows that the judge can condemn: a server of the test answers the same
// call well and badly.
func TestTSharkFindsFaults(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "tshark")
	rows := func(b []byte) []byte {
		b = rpcbind.AppendNext(b)
		return rpcbind.AppendEnd(rpcbind.Mapping{Program: 300042, Version: 1, Protocol: 6, Port: 4711}.Append(b))
	}
	header := func(xid uint32) []byte { return oncrpc.AppendAccepted(nil, xid, oncrpc.Success) }
	for i, tt := range []struct {
		name   string
		answer func(xid uint32) []byte
		faulty bool
	}{
		{"well formed", func(xid uint32) []byte { return rows(header(xid)) }, false},
		{"list without its end", func(xid uint32) []byte { b := rows(header(xid)); return b[:len(b)-4] }, true},
		{"row cut off", func(xid uint32) []byte { b := rows(header(xid)); return b[:len(b)-12] }, true},
		{"header cut off", func(xid uint32) []byte { return header(xid)[:16] }, true},
		{"no RPC at all", func(xid uint32) []byte { return []byte("ahoy") }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startCapture(t)
			answerOnce(t, uint32(i+1), tt.answer)
			v := judge(t, c.stop())
			if faulty := len(v.findings) > 0; faulty != tt.faulty {
				t.Errorf("tshark finds %q, faulty = %v, want %v", v.findings, faulty, tt.faulty)
			}
			if rows := v.frames["UDP over IPv4"]; !tt.faulty && rows != 1 {
				t.Errorf("Portmap frames: %v, want the answer", v.frames)
			}
		})
	}
}

// answerOnce makes a DUMP call and answers it, over real sockets.
func answerOnce(t *testing.T, xid uint32, answer func(xid uint32) []byte) {
	t.Helper()
	server, err := net.ListenPacket("udp4", mapperAddress("udp4"))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := net.Dial("udp4", mapperAddress("udp4"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(appendCall(nil, false, xid, rpcbind.Version2, rpcbind.ProcDump, nil)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	_, from, err := server.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.WriteTo(answer(xid), from); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(b); err != nil {
		t.Fatal(err)
	}
}

// A verdict is what tshark thinks of a capture.
type verdict struct {
	findings []string
	frames   map[string]int // Portmap frames by transport
}

// mappersFrames selects what is judged: all RPC, and all that a mapper received or sent.
const mappersFrames = "rpc || portmap || udp.port == 111 || tcp.port == 111"

// transports as the judge names them, by the layers that tshark found.
var transports = []string{"UDP over IPv4", "TCP over IPv4", "UDP over IPv6", "TCP over IPv6"}

var layers = map[string]string{
	":ip:udp:": "UDP over IPv4", ":ip:tcp:": "TCP over IPv4", ":ipv6:udp:": "UDP over IPv6", ":ipv6:tcp:": "TCP over IPv6",
}

func judge(t *testing.T, pcap string) verdict {
	t.Helper()
	r := run(t, "tshark", "-n", "-r", pcap, "-q", "-z", "expert,warn,"+mappersFrames)
	if r.Exit != 0 {
		t.Fatalf("tshark = %+v", r)
	}
	v := verdict{findings: expertFindings(r.Stdout), frames: map[string]int{}}

	r = run(t, "tshark", "-n", "-r", pcap, "-Y", mappersFrames, "-T", "fields", "-e", "frame.number", "-e", "frame.protocols", "-e", "_ws.malformed", "-e", "_ws.col.Info")
	if r.Exit != 0 {
		t.Fatalf("tshark = %+v", r)
	}
	for line := range strings.Lines(r.Stdout) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if len(f) != 4 {
			t.Fatalf("tshark wrote %q", line)
		}
		protocols := f[1] + ":"
		notRPC := strings.Contains(protocols, ":udp:") && !strings.Contains(protocols, ":rpc:") || strings.Contains(f[3], "Continuation")
		if f[2] != "" || notRPC { // a continuation is what tshark takes for RPC by its port alone
			v.findings = append(v.findings, "frame "+strings.Join(f, " "))
		}
		if strings.Contains(protocols, ":portmap:") {
			for layer, transport := range layers {
				if strings.Contains(protocols, layer) {
					v.frames[transport]++
				}
			}
		}
	}
	return v
}

// expertRow is "Frequency Group Protocol Summary", with at least a warning's weight.
var expertRow = regexp.MustCompile(`^ *[0-9]+ +(\S+) +(\S+) +(.*)$`)

// expertFindings returns the warnings and errors of tshark's expert report but those of TCP,
// which has its own reasons: connections end as they please.
func expertFindings(report string) []string {
	var findings []string
	for line := range strings.Lines(report) {
		row := expertRow.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if row != nil && row[2] != "TCP" {
			findings = append(findings, "expert: "+strings.Join(row[1:], " "))
		}
	}
	return findings
}

func TestExpertFindings(t *testing.T) {
	const report = `
Errors (2)
=============
   Frequency      Group           Protocol  Summary
           2  Malformed            Portmap  Malformed Packet (Exception occurred)

Warns (1)
=============
   Frequency      Group           Protocol  Summary
           1   Sequence                TCP  Connection reset (RST)
`
	want := []string{"expert: Malformed Portmap Malformed Packet (Exception occurred)"}
	if got := expertFindings(report); !slices.Equal(got, want) {
		t.Errorf("expertFindings = %q, want %q", got, want)
	}
}

// A capture records all frames of the loopback interface from its start on. It is done here and
// not by dumpcap because a socket has a definite beginning and end: nothing is to be waited for.
type capture struct {
	t    *testing.T
	fd   int
	file *os.File
	done chan error
}

// lastWords are the payload of the datagram that ends a capture.
var lastWords = []byte("the capture of quaymaster's test ends here")

func startCapture(t *testing.T) *capture {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // 0: nothing until bound
	if err != nil {
		t.Fatal(err)
	}
	everything := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: lo.Index}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "lo.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{t: t, fd: fd, file: file, done: make(chan error, 1)}
	go func() { c.done <- c.record() }()
	return c
}

// record writes the file format of pcap-savefile(5) until it reads the last words.
func (c *capture) record() error {
	const ethernet = 1
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 1 << 18, ethernet})
	frame := make([]byte, 1<<18)
	for {
		n, from, err := unix.Recvfrom(c.fd, frame, 0)
		if err != nil {
			return fmt.Errorf("capturing: %w", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue // lo shows every frame going out and coming in
		}
		if bytes.HasSuffix(frame[:n], lastWords) {
			_, err := b.WriteTo(c.file)
			return err
		}
		now := time.Now()
		binary.Write(&b, binary.LittleEndian, []uint32{uint32(now.Unix()), uint32(now.Nanosecond() / 1000), uint32(n), uint32(n)})
		b.Write(frame[:n])
	}
}

// stop returns the name of the file with all frames sent before.
func (c *capture) stop() string {
	c.t.Helper()
	conn, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(lastWords); err != nil {
		c.t.Fatal(err)
	}
	if err := <-c.done; err != nil {
		c.t.Fatal(err)
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || stats.Drops > 0 {
		c.t.Fatalf("capturing lost frames: %+v, %v", stats, err)
	}
	unix.Close(c.fd)
	if err := c.file.Close(); err != nil {
		c.t.Fatal(err)
	}
	return c.file.Name()
}
