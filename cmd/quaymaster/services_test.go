//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// A service is a real server that registers itself.
type service struct {
	command []string
	program int
	rows    []string // "VERSION NETID" that it registers, in order
	asks    []question
	// What it does at SIGTERM depends on its own making: rpc.rwalld dies and leaves its row.
	leaves bool
}

// A question is a client that finds the service through the mapper.
type question struct {
	command []string
	says    []string
}

var everyNetID = []string{"tcp", "tcp6", "udp", "udp6"}

// services were watched with rpcbind 1.2.6, nfs-utils 2.6.2, quota 4.06 and NetKit 0.17.
var services = []service{
	{
		// It registers as user statd, at a port below 1024 that it really holds
		// (and below 600, from where on others take any).
		command: []string{"rpc.statd", "-F", "-L", "-d", "-p", "515"}, program: 100024, leaves: true,
		rows: versionsOn([]int{1}, everyNetID),
		asks: []question{
			{[]string{"rpcinfo", "-t", "127.0.0.1", "100024"}, []string{"program 100024 version 1 ready and waiting"}},
			{[]string{"rpcinfo", "-u", "127.0.0.1", "status", "1"}, []string{"program 100024 version 1 ready and waiting"}},
			{[]string{"rpcinfo", "-T", "udp6", "::1", "100024"}, []string{"program 100024 version 1 ready and waiting"}},
			{[]string{"rpcinfo", "-T", "tcp6", "::1", "100024"}, []string{"program 100024 version 1 ready and waiting"}},
		},
	},
	{
		command: []string{"rpc.mountd", "-F"}, program: 100005, leaves: true,
		rows: versionsOn([]int{1, 2, 3}, everyNetID),
		asks: []question{
			{[]string{"showmount", "-e", "127.0.0.1"}, []string{"Export list for 127.0.0.1:", "/srv/quay 127.0.0.1"}},
			{[]string{"showmount", "-e", "::1"}, []string{"Export list for ::1:", "/srv/quay 127.0.0.1"}},
			{[]string{"showmount", "-a", "127.0.0.1"}, []string{"All mount points on 127.0.0.1:"}},
			{[]string{"rpcinfo", "-u", "127.0.0.1", "mountd"}, []string{"program 100005 version 1 ready and waiting", "program 100005 version 2 ready and waiting", "program 100005 version 3 ready and waiting"}},
			{[]string{"rpcinfo", "-T", "tcp6", "::1", "mountd", "3"}, []string{"program 100005 version 3 ready and waiting"}},
		},
	},
	{
		command: []string{"rpc.rquotad", "-F"}, program: 100011, leaves: true,
		rows: versionsOn([]int{1, 2}, everyNetID),
		asks: []question{
			{[]string{"rpcinfo", "-t", "127.0.0.1", "rquotad"}, []string{"program 100011 version 1 ready and waiting", "program 100011 version 2 ready and waiting"}},
			{[]string{"rpcinfo", "-T", "udp6", "::1", "rquotad", "2"}, []string{"program 100011 version 2 ready and waiting"}},
		},
	},
	{
		command: []string{"rpc.rusersd"}, program: 100002, leaves: true,
		rows: versionsOn([]int{2, 3}, []string{"udp"}),
		asks: []question{
			{[]string{"rusers", "127.0.0.1"}, []string{"harbour"}},
			{[]string{"rusers", "-l", "127.0.0.1"}, []string{"harbour", ":tty9"}},
			{[]string{"rpcinfo", "-u", "127.0.0.1", "rusersd"}, []string{"program 100002 version 2 ready and waiting", "program 100002 version 3 ready and waiting"}},
		},
	},
	{
		command: []string{"rpc.rwalld", "-n"}, program: 100008, leaves: false,
		rows: versionsOn([]int{1}, []string{"udp"}),
		asks: []question{
			{[]string{"rpcinfo", "-u", "127.0.0.1", "100008", "1"}, []string{"program 100008 version 1 ready and waiting"}},
		},
	},
}

func versionsOn(versions []int, netids []string) []string {
	var rows []string
	for _, v := range versions {
		for _, netid := range netids {
			rows = append(rows, fmt.Sprintf("%d %s", v, netid))
		}
	}
	return rows
}

func TestServices(t *testing.T) {
	onEachMapper(t, func(t *testing.T, mapper string) {
		startMapper(t, mapper)
		useServices(t)
	})
}

// useServices has real servers register, be found by their own clients, and end.
func useServices(t *testing.T) {
	t.Helper()
	nstest.Need(t, "rpcinfo", "showmount", "rusers")
	prepareServices(t)
	for _, s := range services { // together, as on a real host
		nstest.Start(t, s.command[0], s.command[1:]...)
	}
	for _, s := range services {
		nstest.WaitFor(t, s.command[0]+" to register", startTime, func() bool {
			return len(rowsOf(t, s.program)) >= len(s.rows)
		})
		if got := rowsOf(t, s.program); !slices.Equal(got, s.rows) {
			t.Errorf("%s registered %q, want %q", s.command[0], got, s.rows)
		}
	}
	for _, s := range services {
		for _, q := range s.asks {
			checkQuestion(t, q)
		}
	}
	for _, s := range services {
		stopService(t, s)
	}
}

// prepareServices gives the servers their files: an empty state folder with one export, and one
// user who is logged in.
func prepareServices(t *testing.T) {
	t.Helper()
	nstest.NeedRoot(t) // some of the servers change to other users
	nstest.NFSFolders(t, "/srv/quay\t127.0.0.1(ro,sync,no_subtree_check,secure,root_squash,sec=sys)\n")
	if err := os.WriteFile("/run/utmp", loginRecord("harbour", "tty9"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// loginRecord is the struct utmp of a user process, utmp(5), as on every 64-bit and on most
// 32-bit Linux systems.
func loginRecord(user, line string) []byte {
	record := struct {
		Type        int16
		_           int16
		PID         int32
		Line        [32]byte
		ID          [4]byte
		User        [32]byte
		Host        [256]byte
		Exit        [2]int16
		Session     int32
		Time, Micro int32
		Address     [4]int32
		_           [20]byte
	}{Type: 7, PID: int32(os.Getpid()), Time: 1_700_000_000}
	copy(record.Line[:], line)
	copy(record.User[:], user)
	var b bytes.Buffer
	binary.Write(&b, binary.NativeEndian, record) // into memory, of fixed size: cannot fail
	return b.Bytes()
}

// rowsOf returns the rows of a program as "VERSION NETID", sorted.
func rowsOf(t *testing.T, program int) []string {
	t.Helper()
	r := run(t, "rpcinfo")
	if r.Exit != 0 {
		t.Fatalf("rpcinfo = %+v", r)
	}
	var rows []string
	for line := range strings.Lines(r.Stdout) {
		if f := strings.Fields(line); f[0] == strconv.Itoa(program) {
			rows = append(rows, f[1]+" "+f[2])
		}
	}
	slices.Sort(rows)
	return rows
}

func checkQuestion(t *testing.T, q question) {
	t.Helper()
	r := run(t, q.command[0], q.command[1:]...)
	if r.Exit != 0 {
		t.Errorf("%q = %+v, want exit status 0", q.command, r)
	}
	for _, want := range q.says {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("%q = %+v, want %q", q.command, r, want)
		}
	}
}

// stopService asks a server to end and looks at what is left of its registration.
func stopService(t *testing.T, s service) {
	t.Helper()
	var pids []int
	nstest.WaitFor(t, "one process of "+s.command[0], startTime, func() bool { // a moment long there may be two
		pids = processesOf(t, s.command[0])
		return len(pids) == 1
	})
	if err := syscall.Kill(pids[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	nstest.WaitFor(t, s.command[0]+" to end", startTime, func() bool { return len(processesOf(t, s.command[0])) == 0 })
	if rows := rowsOf(t, s.program); s.leaves && len(rows) > 0 {
		t.Errorf("%s ended and left %q", s.command[0], rows)
	}
}

// processesOf finds a server, also one that put itself into the background.
func processesOf(t *testing.T, name string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range paths {
		b, _ := os.ReadFile(path) // it may have ended since
		command, _, _ := strings.Cut(string(b), "\x00")
		if filepath.Base(command) == name {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}
