//go:build linux

package main

import (
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// intendedDifferences are the lines of rpcinfo that differ on purpose from what it prints with
// rpcbind, as documented in docs/serve.md: they are left out on both sides. The expression is
// matched with "COMMAND: LINE".
var intendedDifferences = []struct {
	lines  *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`^rpcinfo -l (127\.0\.0\.1|::1) 300005 1: +300005 `), "a server that listens on one address only is told at that address"},
}

// TestRPCInfoSameAsRPCBind makes the same registrations with rpcbind and with quaymaster and
// compares all that rpcinfo then says.
func TestRPCInfoSameAsRPCBind(t *testing.T) {
	programs := buildPrograms(t)
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t) // it asks as several users
	nstest.Need(t, "rpcinfo", "ip")
	nstest.Veth(t, "v0", "10.99.0.1/24", "fd99::1/64")

	seen := map[string][]observation{}
	for _, mapper := range []string{"rpcbind", "quaymaster"} {
		t.Run(mapper, func(t *testing.T) {
			nstest.TmpFS(t, "/run") // one mapper's socket is not the other's
			startMapper(t, mapper)
			listenWhere(t, rootRegisters+nobodyRegisters)
			seen[mapper] = observe(t, programs)
		})
	}
	want, got := seen["rpcbind"], seen["quaymaster"]
	if len(want) == 0 || len(want) != len(got) {
		t.Fatalf("%d observations with rpcbind, %d with quaymaster", len(want), len(got))
	}
	for i := range want {
		if diff := cmp.Diff(withoutIntended(want[i]), withoutIntended(got[i])); diff != "" {
			t.Errorf("%s (-rpcbind +quaymaster):\n%s", want[i].Command, diff)
		}
	}
}

// listenWhere listens wherever the registrations say, or quaymaster would not believe them for long.
func listenWhere(t *testing.T, registrations string) {
	t.Helper()
	open := map[string]bool{}
	for line := range strings.Lines(registrations) {
		words := strings.Fields(line)
		if len(words) != 5 || !strings.HasSuffix(words[0], "set") || strings.HasSuffix(words[0], "unset") {
			continue
		}
		netid, at := words[3], words[4]
		if words[0] == "set" && netid != "local" { // the last two parts of a universal address are the port
			a, err := rpcbind.ParseUniversalAddress(at)
			if err != nil {
				t.Fatal(err)
			}
			at = strconv.Itoa(int(a.Port()))
		}
		if open[netid+at] {
			continue
		}
		open[netid+at] = true
		t.Cleanup(listenAt(t, netid, at))
	}
}

// listenAt listens on every address at a port, or at the path of a local socket.
func listenAt(t *testing.T, netid, at string) (stop func()) {
	t.Helper()
	network, address := netid, ":"+at
	switch netid {
	case "tcp", "udp":
		network += "4"
	case "local":
		network, address = "unix", at
	}
	var c io.Closer
	var err error
	if strings.HasPrefix(netid, "udp") {
		c, err = net.ListenPacket(network, address)
	} else {
		c, err = net.Listen(network, address)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { c.Close() }
}

// An observation is what a command said, in the form in which it is compared.
type observation struct {
	Command string
	Stdout  []string // lines, sorted
	Stderr  []string
	Exit    int
}

// registrations are made in this order, as root and as nobody, before rpcinfo is asked. What
// happens to well-known programs of others and to ports below 1024 is decided elsewhere.
const (
	rootRegisters = `
set 300001 1 udp 0.0.0.0.19.139
set 300001 1 tcp 0.0.0.0.19.140
set 300001 1 udp6 ::.19.141
set 300001 1 tcp6 ::.19.142
set 300001 1 local /run/three.sock
set 300001 3 udp 0.0.0.0.19.143
set 300001 3 udp 0.0.0.0.19.143
set 300001 3 udp 0.0.0.0.19.144
set 300002 9 tcp 0.0.0.0.19.145
set 300002 2 tcp 0.0.0.0.19.145
set 300002 5 tcp 0.0.0.0.19.145
pmapset 300003 2 tcp 4711
pmapset 300003 2 udp 4712
pmapset 300003 3 tcp 4713
pmapset 300003 2 tcp 4714
pmapset 300004 1 udp 4715
pmapunset 300004 1
pmapunset 300004 1
set 300005 1 tcp 10.99.0.1.19.146
set 300005 1 tcp6 fd99::1.19.147
set 300005 2 udp 127.0.0.1.19.148
set 100003 3 tcp 0.0.0.0.8.1
set 100003 4 tcp 0.0.0.0.8.1
set 100003 3 udp 0.0.0.0.8.1
unset 300001 1 tcp
set 300001 1 tcp 0.0.0.0.19.149
unset 300002 2 *
unset 300002 2 *
unset 300999 1 udp
set 300006 1 udp 0.0.0.0.19.150
set 300006 1 tcp 0.0.0.0.19.151
set 300006 1 udp6 ::.19.152
set 300006 1 local /run/six.sock
`
	nobodyRegisters = `
set 300010 1 udp 0.0.0.0.19.160
set 300010 1 tcp6 ::.19.161
set 300010 2 tcp6 ::.19.161
set 300011 1 local /run/eleven.sock
set 300001 7 tcp 0.0.0.0.19.162
set 300001 1 udp 0.0.0.0.19.163
unset 300001 1 udp
unset 300001 1 *
unset 300999 1 *
set 300012 1 udp 0.0.0.0.19.164
unset 300012 1 udp
`
	nobody = "65534"
)

// questions are the arguments of rpcinfo. The echo server, 536871321, has versions 1 and 3 on
// every transport; 300777 is not there.
var questions = []string{
	"", "127.0.0.1", "::1", "10.99.0.1", "fd99::1",
	"-p", "-p 127.0.0.1", "-p ::1", "-p 10.99.0.1",
	"-s", "-s 127.0.0.1", "-s ::1",

	"-l 127.0.0.1 300001 1", "-l ::1 300001 1", "-l 10.99.0.1 300001 1", "-l fd99::1 300001 1",
	"-l 127.0.0.1 300005 1", "-l 10.99.0.1 300005 1", "-l ::1 300005 1", "-l 127.0.0.1 300005 2",
	"-l 127.0.0.1 100000 4", "-l ::1 100000 3", "-l 127.0.0.1 300001 2", "-l 127.0.0.1 300777 1",
	"-l 127.0.0.1 300003 2", "-l 127.0.0.1 300011 1", "-l 127.0.0.1 536871321 3", "-l 10.99.0.1 536871321 1",

	"-t 127.0.0.1 536871321", "-t 127.0.0.1 536871321 1", "-t 127.0.0.1 536871321 2", "-t 10.99.0.1 536871321 3",
	"-t ::1 536871321 1", "-t 127.0.0.1 100000", "-t 127.0.0.1 100000 7", "-t 127.0.0.1 300777",
	"-t 127.0.0.1 300777 1", "-t 127.0.0.1 portmapper 2",
	"-u 127.0.0.1 536871321", "-u 127.0.0.1 536871321 1", "-u 127.0.0.1 536871321 2", "-u 10.99.0.1 536871321 3",
	"-u ::1 536871321 3", "-u 127.0.0.1 100000", "-u 127.0.0.1 100000 7", "-u 127.0.0.1 300777",
	"-u 127.0.0.1 300777 1", "-u 127.0.0.1 300011 1",
	"-n 10000 -u 127.0.0.1 536871321 1", "-n 10001 -t 127.0.0.1 536871321",

	"-T udp 127.0.0.1 536871321", "-T tcp 127.0.0.1 536871321", "-T udp6 ::1 536871321", "-T tcp6 ::1 536871321",
	"-T local localhost 536871321", "-T udp 10.99.0.1 536871321 1", "-T tcp6 fd99::1 536871321 3",
	"-T udp 127.0.0.1 536871321 2", "-T tcp 127.0.0.1 536871321 2", "-T udp6 ::1 536871321 2",
	"-T tcp6 ::1 536871321 2", "-T local localhost 536871321 2",
	"-T udp 127.0.0.1 300777", "-T tcp 127.0.0.1 300777 1", "-T udp6 ::1 300777", "-T tcp6 ::1 300777 1",
	"-T local localhost 300777", "-T local localhost 100000", "-T udp6 ::1 100000", "-T tcp6 ::1 100000 9",
	"-a 127.0.0.1.0.111 -T udp 100000", "-a 127.0.0.1.0.111 -T tcp 100000 9", "-a ::1.0.111 -T tcp6 100000 4",
	"-a /run/rpcbind.sock -T local 100000 3",
	"-a 127.0.0.1.39.16 -T udp 536871321", "-a ::1.39.19 -T tcp6 536871321 1", "-a /run/echo.sock -T local 536871321",

	"-d 300777 1", "-d 300777 1 -T udp", "-T udp -d 300006 1", "-s",
	"-T udp -d 300006 1", "-d 300006 1", "-d 300006 1", "-d 300010 2", "-d 536871321 1", "", "-p",
	"-t 127.0.0.1 536871321 1", "-T local localhost 536871321",
	"-m 127.0.0.1", "-m ::1",
}

// nobodysQuestions are asked as nobody, last.
var nobodysQuestions = []string{
	"-s", "-d 300001 3", "-T tcp -d 300001 1", "-d 300010 1", "-T tcp -d 300001 7", "-d 300777 1", "", "-p",
}

func observe(t *testing.T, programs string) []observation {
	t.Helper()
	register := func(input string, args ...string) observation {
		t.Helper()
		cmd := exec.Command(filepath.Join(programs, "register"), args...)
		cmd.Stdin = strings.NewReader(strings.TrimLeft(input, "\n"))
		r := runCommand(t, cmd)
		if r.Exit != 0 {
			t.Fatalf("register failed: %s", r.Stderr)
		}
		return observation{"register " + strings.Join(args, " "), answered(input, r.Stdout), nil, 0}
	}
	seen := []observation{register(rootRegisters), register(nobodyRegisters, nobody)}
	startServer(t, programs, "udp=0.0.0.0.39.16", "tcp=0.0.0.0.39.17", "udp6=::.39.18", "tcp6=::.39.19", "local=/run/echo.sock")
	for _, args := range questions {
		seen = append(seen, ask(t, args, nil))
	}
	for _, args := range nobodysQuestions {
		seen = append(seen, ask(t, args, &syscall.Credential{Uid: 65534, Gid: 65534}))
	}
	return seen
}

// answered puts every call of the register program before its answer.
func answered(input, output string) []string {
	calls, answers := strings.Split(strings.Trim(input, "\n"), "\n"), strings.Split(strings.Trim(output, "\n"), "\n")
	for i := range answers {
		answers[i] = calls[min(i, len(calls)-1)] + ": " + answers[i]
	}
	return answers
}

func ask(t *testing.T, args string, who *syscall.Credential) observation {
	t.Helper()
	cmd := exec.Command(nstest.Path(t, "rpcinfo"), strings.Fields(args)...)
	cmd.Dir = "/"
	command := "rpcinfo " + args
	if who != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
		command = "as nobody: " + command
	}
	r := runCommand(t, cmd)
	return observation{command, normalize(args, r.Stdout), strings.Split(r.Stderr, "\n"), r.Exit}
}

var (
	ownerColumn = regexp.MustCompile(`[ \t]+\S+$`)
	number      = regexp.MustCompile(`\b\d+\b`)
	lookupRow   = regexp.MustCompile(`^\S+\s+\d+\s+\S+\s+\d+\s+\d+\s*$`) // prog vers netid success failure
	blanks      = regexp.MustCompile(`[ \t]+`)
)

// normalize returns what rpcinfo printed without what may differ: the order of rows, the owner, and
// the counters of -m.
func normalize(args, stdout string) []string {
	lines := strings.Split(strings.TrimRight(stdout, "\n"), "\n")
	for i, line := range lines {
		switch {
		case strings.HasPrefix(args, "-m"):
			lines[i] = withoutCounters(line)
		case args == "", strings.HasPrefix(args, "-s"), !strings.HasPrefix(args, "-"):
			lines[i] = ownerColumn.ReplaceAllString(line, "")
		}
	}
	slices.Sort(lines)
	if strings.HasPrefix(args, "-m") {
		lines = slices.Compact(lines) // that there are counters, not how many
	}
	return lines
}

func withoutCounters(line string) string {
	if lookupRow.MatchString(line) {
		return "a program, a version, a netid: N N"
	}
	if strings.ContainsAny(line, "()") { // PORTMAP (version 2) statistics
		return line
	}
	return strings.TrimSpace(blanks.ReplaceAllString(number.ReplaceAllString(line, "N"), " "))
}

func withoutIntended(o observation) observation {
	intended := func(line string) bool {
		for _, d := range intendedDifferences {
			if d.lines.MatchString(o.Command + ": " + line) {
				return true
			}
		}
		return false
	}
	o.Stdout = slices.DeleteFunc(slices.Clone(o.Stdout), intended)
	o.Stderr = slices.DeleteFunc(slices.Clone(o.Stderr), intended)
	return o
}

func TestNormalize(t *testing.T) {
	for _, tt := range []struct {
		args, stdout string
		want         []string
	}{
		{"", "b  2    tcp  0.0.0.0.0.111   -          superuser\na  1    udp  ::.0.111   nfs  65534\n",
			[]string{"a  1    udp  ::.0.111   nfs", "b  2    tcp  0.0.0.0.0.111   -"}},
		{"-p", "    100000    4   tcp    111  portmapper\n", []string{"    100000    4   tcp    111  portmapper"}},
		{"-m ::1", "PORTMAP (version 2) statistics\n3       0/0     12/5  \nportmapper      2\ttcp6\t  1           \t0\nnfs      3\ttcp\t  0           \t7\n",
			[]string{"N N/N N/N", "PORTMAP (version 2) statistics", "a program, a version, a netid: N N"}},
	} {
		if diff := cmp.Diff(tt.want, normalize(tt.args, tt.stdout)); diff != "" {
			t.Errorf("normalize(%q, %q) (-want +got):\n%s", tt.args, tt.stdout, diff)
		}
	}
}
