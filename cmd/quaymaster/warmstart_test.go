//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// What rpcbind left, of which wire/rpcbind/testdata/README.md tells.
const recordedWarmStart = "../../wire/rpcbind/testdata"

// summary writes documents in a line each.
func summary(rows []endpoint.Document) []string {
	var lines []string
	for _, d := range rows {
		lines = append(lines, fmt.Sprintf("%s %d %s %s %s %d uid %d", d.Dialect, d.Program, d.Version, d.NetID, d.Address, d.Port, d.UID))
	}
	return lines
}

func checkWarmStart(t *testing.T, dir string, wantRows, wantNotes []string) {
	t.Helper()
	rows, notes, err := readWarmStart(dir)
	for i := range notes {
		notes[i] = strings.ReplaceAll(notes[i], dir, "DIR")
	}
	if diff := cmp.Diff(wantRows, summary(rows), cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("readWarmStart: %v, rows (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff(wantNotes, notes, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("readWarmStart: notes (-want +got):\n%s", diff)
	}
	for i := range rows {
		if _, err := rows[i].Registration(); err != nil {
			t.Errorf("%v cannot be registered: %v", rows[i], err)
		}
	}
}

func TestReadWarmStart(t *testing.T) {
	checkWarmStart(t, recordedWarmStart, []string{
		"onc 100005 3 tcp 0.0.0.0 20048 uid 0",
		"onc 100005 3 tcp6 :: 20048 uid 0",
		"onc 300001 1 udp 10.99.0.1 5003 uid 0",
		"onc 300001 1 local /run/three.sock 0 uid 0",
		"onc 300003 2 tcp 0.0.0.0 4711 uid 0",
		"onc 100024 1 udp 0.0.0.0 60737 uid 103",
		"onc 100024 1 tcp 0.0.0.0 60738 uid 103",
		"onc 300007 1 udp 0.0.0.0 4715 uid 103",
		"onc 300008 1 local /" + strings.Repeat("x", 106) + " 0 uid 65534",
		"onc 300013 1 local /run/thirteen.sock 0 uid 65534",
	}, []string{
		`DIR/rpcbind.xdr: row 18: program 300004 version 1 on "tcp6" at "::ffff:10.99.0.1.19.140" is left out: rpcbind: universal address "::ffff:10.99.0.1.19.140": an IPv4 address in IPv6 is not allowed`,
		`DIR/rpcbind.xdr: row 19: program 300006 version 1 on "udp" at "0.0.0.0.0.0" is left out: 0.0.0.0:0: port 0 cannot be registered`,
		`DIR/rpcbind.xdr: row 24: program 300009 version 1 on "local" at "/` + strings.Repeat("y", 99) + `" is left out: local: path of 240 bytes; 2 to 107 are possible`,
		`DIR/rpcbind.xdr: row 25: program 300010 version 1 on "` + strings.Repeat("udp4", 25) + `" at "1.2.3.4.5.6" is left out: the netid is unknown`,
		`DIR/rpcbind.xdr: row 26: program 300011 version 1 on "tcp" at "1.2.3.4.10.300" is left out: rpcbind: universal address "1.2.3.4.10.300": port bytes "10"."300" are not two numbers from 0 to 255`,
		`DIR/rpcbind.xdr: row 27: program 300012 version 1 on "local" at "no path \x1b[2J" is left out: local: path "no path \x1b[2J" does not begin with / or @`,
	})
}

// leaveWarmStart writes the files as rpcbind does; nil is no file.
func leaveWarmStart(t *testing.T, rpcbs []rpcbind.RPCB, mappings []rpcbind.Mapping) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), rpcbind.AppendEnd(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if rpcbs != nil {
		var b []byte
		for _, m := range rpcbs {
			b = m.Append(rpcbind.AppendNext(b))
		}
		write("rpcbind.xdr", b)
	}
	if mappings != nil {
		var b []byte
		for _, m := range mappings {
			b = m.Append(rpcbind.AppendNext(b))
		}
		write("portmap.xdr", b)
	}
	return dir
}

func TestJoinWarmStart(t *testing.T) {
	rpcbs := []rpcbind.RPCB{
		{Program: 7, Version: 1, NetID: "tcp", Address: "10.0.0.5.7.208", Owner: "superuser"},
		{Program: 7, Version: 1, NetID: "tcp", Address: "10.0.0.5.7.208", Owner: "superuser"},
		{Program: 7, Version: 1, NetID: "tcp", Address: "10.0.0.6.7.208", Owner: "what"},
		{Program: 7, Version: 1, NetID: "tcp", Address: "10.0.0.6.0.0", Owner: "superuser"},
		{Program: 8, Version: 1, NetID: "udp", Address: "x", Owner: "superuser"},
		{Program: 8, Version: 1, NetID: "udp", Address: "10.0.0.5.7.209", Owner: "4294967296"},
		{Program: 9, Version: 1, NetID: "udp6", Address: "::1.7.209", Owner: "unknown\x1b"},
		{Program: 10, Version: 1, NetID: "local", Address: strings.Repeat("z", 9000), Owner: "superuser"},
	}
	mappings := []rpcbind.Mapping{
		{Program: 100000, Version: 2, Protocol: 17, Port: 111},
		{Program: 7, Version: 1, Protocol: 6, Port: 2000},
		{Program: 7, Version: 1, Protocol: 6, Port: 2001},
		{Program: 7, Version: 1, Protocol: 17, Port: 2002},
		{Program: 7, Version: 1, Protocol: 17, Port: 2002},
		{Program: 7, Version: 1, Protocol: 17, Port: 2003},
		{Program: 8, Version: 2, Protocol: 132, Port: 2000},
		{Program: 8, Version: 2, Protocol: 6, Port: 65536 + 2000},
		{Program: 8, Version: 2, Protocol: 6, Port: 0},
	}
	noteOfMappings := []string{
		`DIR/portmap.xdr: row 6: program 7 version 1, protocol 17, port 2003 is left out: it is at udp 0.0.0.0:2002 already`,
		`DIR/portmap.xdr: row 7: program 8 version 2, protocol 132, port 2000 is left out: want protocol 6 or 17, and a port to 65535`,
		`DIR/portmap.xdr: row 8: program 8 version 2, protocol 6, port 67536 is left out: want protocol 6 or 17, and a port to 65535`,
		`DIR/portmap.xdr: row 9: program 8 version 2, protocol 6, port 0 is left out: 0.0.0.0:0: port 0 cannot be registered`,
	}
	checkWarmStart(t, leaveWarmStart(t, rpcbs, mappings), []string{
		"onc 7 1 tcp 10.0.0.5 2000 uid 0",
		"onc 8 1 udp 10.0.0.5 2001 uid 0",
		"onc 9 1 udp6 ::1 2001 uid 0",
		"onc 7 1 udp 0.0.0.0 2002 uid 0",
	}, append([]string{
		`DIR/rpcbind.xdr: row 3: program 7 version 1 on "tcp" at "10.0.0.6.7.208" is left out: it is at tcp 10.0.0.5:2000 already`,
		`DIR/rpcbind.xdr: row 4: program 7 version 1 on "tcp" at "10.0.0.6.0.0" is left out: 10.0.0.6:0: port 0 cannot be registered`,
		`DIR/rpcbind.xdr: row 5: program 8 version 1 on "udp" at "x" is left out: rpcbind: universal address "x": want address.high.low`,
		`DIR/rpcbind.xdr: row 6: program 8 version 1 on "udp" at "10.0.0.5.7.209" becomes root's: its owner "4294967296" is no user`,
		`DIR/rpcbind.xdr: row 7: program 9 version 1 on "udp6" at "::1.7.209" becomes root's: its owner "unknown\x1b" is no user`,
		`DIR/rpcbind.xdr: row 8: program 10 version 1 on "local" at "` + strings.Repeat("z", 100) + `" is left out: local: path "` + strings.Repeat("z", 287),
		`DIR/portmap.xdr: row 3: program 7 version 1, protocol 6, port 2001 is left out: it is at tcp 10.0.0.5:2000 already`,
	}, noteOfMappings...))

	checkWarmStart(t, leaveWarmStart(t, nil, mappings), []string{
		"onc 7 1 tcp 0.0.0.0 2000 uid 0", "onc 7 1 udp 0.0.0.0 2002 uid 0",
	}, append([]string{
		`DIR/rpcbind.xdr is not there: no IPv6, no local sockets and no owners are known`,
		`DIR/portmap.xdr: row 3: program 7 version 1, protocol 6, port 2001 is left out: it is at tcp 0.0.0.0:2000 already`,
	}, noteOfMappings...))

	checkWarmStart(t, leaveWarmStart(t, rpcbs[:1], nil), []string{"onc 7 1 tcp 10.0.0.5 2000 uid 0"}, nil)
	checkWarmStart(t, leaveWarmStart(t, []rpcbind.RPCB{}, []rpcbind.Mapping{}), nil, nil)
}

func TestWarmStartMistakes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"no files", func(dir string) error {
			return os.RemoveAll(dir)
		}, "neither DIR/rpcbind.xdr nor DIR/portmap.xdr is there: rpcbind writes them when it ends, if it runs with -w"},
		{"cut", func(dir string) error {
			return os.Truncate(dir+"/rpcbind.xdr", 20)
		}, "DIR/rpcbind.xdr: rpcbind: rpcbind.xdr: xdr: offset 20: short data"},
		{"bytes after the end", func(dir string) error {
			return os.WriteFile(dir+"/portmap.xdr", make([]byte, 5), 0o600)
		}, "DIR/portmap.xdr: rpcbind: portmap.xdr: xdr: offset 4: data after the last field"},
		{"too large", func(dir string) error {
			return os.Truncate(dir+"/rpcbind.xdr", maxWarmStart+1)
		}, "DIR/rpcbind.xdr is larger than 67108864 bytes"},
		{"a pipe", func(dir string) error {
			return errors.Join(os.Remove(dir+"/portmap.xdr"), syscall.Mkfifo(dir+"/portmap.xdr", 0o600))
		}, "DIR/portmap.xdr is not a regular file"},
		{"a link to a device", func(dir string) error {
			return errors.Join(os.Remove(dir+"/rpcbind.xdr"), os.Symlink("/dev/zero", dir+"/rpcbind.xdr"))
		}, "DIR/rpcbind.xdr is not a regular file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := leaveWarmStart(t, []rpcbind.RPCB{{Program: 7, Version: 1, NetID: "tcp", Address: "10.0.0.5.7.208"}}, []rpcbind.Mapping{})
			if err := tt.spoil(dir); err != nil {
				t.Fatal(err)
			}
			rows, notes, err := readWarmStart(dir)
			if rows != nil || notes != nil || err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != tt.want {
				t.Errorf("readWarmStart = %v, %q, %v, want %s", rows, notes, err, tt.want)
			}
		})
	}
}

// What rpcbind knew when it was ended is what is read.
func TestWarmStartOfRPCBind(t *testing.T) {
	programs := buildPrograms(t)
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t) // rpcbind changes to the user _rpc
	mapper := nstest.Start(t, "rpcbind", "-f", "-w")
	var c *client
	nstest.WaitFor(t, "rpcbind to listen", startTime, func() bool {
		conn, err := dialMapper("unix")
		c = conn
		return err == nil
	})
	defer c.Close()
	for _, args := range [][]string{{rootRegisters}, {nobodyRegisters, nobody}} {
		cmd := exec.Command(filepath.Join(programs, "register"), args[1:]...)
		cmd.Stdin = strings.NewReader(strings.TrimLeft(args[0], "\n"))
		if r := runCommand(t, cmd); r.Exit != 0 {
			t.Fatalf("register failed: %s", r.Stderr)
		}
	}
	b, err := c.call(rpcbind.Version4, rpcbind.ProcDump, nil)
	if err != nil {
		t.Fatal(err)
	}
	told, err := rpcbind.ParseRPCBs(b)
	if err != nil {
		t.Fatal(err)
	}
	mapper.Signal(syscall.SIGTERM)
	mapper.Wait(t, startTime)

	var want []string
	for _, m := range told {
		if m.Program == rpcbind.Program {
			continue
		}
		n, _ := rpcbind.ParseNetID(m.NetID)
		e, err := endpoint.FromUniversalAddress(n, m.Address)
		if err != nil {
			t.Fatal(err)
		}
		r := endpoint.Registration{Interface: endpoint.Program(m.Program, m.Version), Endpoint: e}
		if m.Owner == nobody {
			r.Owner.UID = 65534
		}
		want = append(want, summary([]endpoint.Document{r.Document("")})...)
	}
	if len(want) < 20 {
		t.Fatalf("rpcbind told of %d rows: %q", len(want), want)
	}
	checkWarmStart(t, "/run/rpcbind", want, nil)
}
