//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// TestScript runs the scripts of testdata/script, each in namespaces of its own,
// where the port mapper's port is free. Beside the usual commands they have
//
//	serve NAME ARGS…     starts "quaymaster serve ARGS…" and waits until it is ready
//	gate NAME ARGS…      the same with "quaymaster gate ARGS…"
//	start NAME ARGS…     starts "quaymaster ARGS…"
//	await NAME REGEXP    waits until what NAME wrote to its standard output matches
//	end NAME [STATUS]    ends NAME with SIGTERM; it must have that exit status, 0 if not given
//	ended NAME STATUS    waits until NAME ends by itself
//	rows FILE N          writes a file for "endpoints add --from" with N rows
//
// What NAME writes is in the files NAME.out and NAME.err.
func TestScript(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			testscript.Run(t, testscript.Params{
				Files:               []string{script},
				RequireExplicitExec: true,
				Setup: func(e *testscript.Env) error {
					e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
					e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
					e.Setenv("GORACE", os.Getenv("GORACE")) // or every program of a -race test sleeps a second at its end
					e.Values["programs"] = programs{}
					return os.Mkdir(e.Getenv("HOME"), 0o755)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"serve": ready("serve"), "gate": ready("gate"), "start": start, "await": await, "end": end, "ended": ended, "rows": writeRows,
				},
			})
		})
	}
}

// scriptTime is how long anything in a script may take.
const scriptTime = 20 * time.Second

// programs are those that a script has started, by their names.
type programs map[string]*program

type program struct {
	cmd  *exec.Cmd
	out  string        // file
	done chan struct{} // closed when it has ended
}

func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *program) read() string {
	out, _ := os.ReadFile(p.out + ".out")
	return string(out)
}

// arguments ends the script unless there are enough and the command is not negated.
func arguments(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("want at least %d arguments, and no !", least)
	}
}

func spawn(ts *testscript.TestScript, name string, env []string, args ...string) *program {
	p := &program{cmd: exec.Command("quaymaster", args...), out: ts.MkAbs(name), done: make(chan struct{})}
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = env
	for _, key := range []string{"HOME", "XDG_STATE_HOME", "PATH", "NO_COLOR", "GORACE"} {
		p.cmd.Env = append(p.cmd.Env, key+"="+ts.Getenv(key))
	}
	stdout, err := os.Create(p.out + ".out")
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(p.out + ".err")
	ts.Check(err)
	defer stderr.Close()
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.done)
		p.cmd.Wait() // how it ended stands in ProcessState
	}()
	ts.Defer(func() {
		p.cmd.Process.Kill()
		<-p.done
	})
	ts.Value("programs").(programs)[name] = p
	return p
}

func find(ts *testscript.TestScript, name string) *program {
	p := ts.Value("programs").(programs)[name]
	if p == nil {
		ts.Fatalf("nothing called %s was started", name)
	}
	return p
}

// ready returns the command that starts a verb which says when it is ready.
func ready(verb string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) { startReady(ts, neg, verb, args) }
}

func startReady(ts *testscript.TestScript, neg bool, verb string, args []string) {
	arguments(ts, neg, args, 1)
	dir, err := os.MkdirTemp(ts.MkAbs("."), "")
	ts.Check(err)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	p := spawn(ts, args[0], []string{"NOTIFY_SOCKET=" + conn.LocalAddr().String()}, append([]string{verb}, args[1:]...)...)
	b := make([]byte, 100)
	for deadline := time.Now().Add(scriptTime); ; {
		conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // or its end goes unseen
		if n, err := conn.Read(b); err == nil && string(b[:n]) == "READY=1" {
			return
		}
		if p.ended() || time.Now().After(deadline) {
			text, _ := os.ReadFile(p.out + ".err")
			ts.Fatalf("%s is not ready, %v:\n%s", verb, p.cmd.ProcessState, text)
		}
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	spawn(ts, args[0], nil, args[1:]...)
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	p := find(ts, args[0])
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for deadline := time.Now().Add(scriptTime); !want.MatchString(p.read()); time.Sleep(2 * time.Millisecond) {
		if p.ended() && !want.MatchString(p.read()) || time.Now().After(deadline) {
			text, _ := os.ReadFile(p.out + ".err")
			ts.Fatalf("%s (%v) wrote nothing that matches %s, but:\n%s%s", args[0], p.cmd.ProcessState, want, p.read(), text)
		}
	}
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1)
	find(ts, args[0]).cmd.Process.Signal(syscall.SIGTERM)
	status := "0"
	if len(args) > 1 {
		status = args[1]
	}
	ended(ts, neg, []string{args[0], status})
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	p := find(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(scriptTime):
		ts.Fatalf("%s goes on", args[0])
	}
	if status := strconv.Itoa(p.cmd.ProcessState.ExitCode()); status != args[1] {
		text, _ := os.ReadFile(p.out + ".err")
		ts.Fatalf("%s ended with exit status %s, want %s:\n%s", args[0], status, args[1], text)
	}
}

// writeRows writes rows as "endpoints -o json" does, or as YAML by the name of the file.
func writeRows(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var text bytes.Buffer
	var rows []map[string]any
	for i := range n {
		program, port := 0x2000_0000+i, 2000+i%60_000
		if filepath.Ext(args[0]) == ".yaml" {
			fmt.Fprintf(&text, "- program: %d\n  version: 1\n  netid: tcp\n  address: 0.0.0.0\n  port: %d\n", program, port)
			continue
		}
		rows = append(rows, map[string]any{
			"id": fmt.Sprintf("%012x", i+1), "dialect": "onc", "program": program, "version": 1, "netid": "tcp", "address": "0.0.0.0", "port": port,
			"owner": "root", "uid": 0, "since": "2026-11-22T23:47:00.123456789Z", "annotation": "",
		})
	}
	if rows != nil {
		e := json.NewEncoder(&text)
		e.SetIndent("", "  ")
		ts.Check(e.Encode(rows))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text.Bytes(), 0o644))
}
