package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// Roles this executable takes when it starts itself, as its first argument.
const (
	roleAgent  = "agent-of-bench" // in new namespaces, with a server to measure
	roleEcho   = "echo-of-bench"
	roleCanned = "canned-of-bench"
	roleRules  = "rules-of-bench" // of as many pairs as the second argument says
)

const (
	warmUp           = 50 * time.Millisecond
	registerPatience = 2 * time.Minute // 100,000 rows or grants take quaymaster ten seconds on an idle machine
	jobPatience      = max(window, idleWindow) + time.Minute
	askJobPatience   = 2*askPatience + time.Minute
)

// A brief is what an agent is to start.
type brief struct {
	Server  string
	Dialect endpoint.Dialect
	Path    string // quaymaster's executable
	Rows    int    // to register
	Grants  int    // to hold; 0: no ports are given out
	Restart bool   // it is started again and again: another one's memory is looked at
	Asked   bool   // clients of another namespace ask it
	Tried   bool   // and try its rows

	Gate     bool // it stands between clients and a server
	Pinholes int  // that it has open

	Plans bool // no server: programs are run
}

// contents says what the server has beside it, for people.
func (b brief) contents() string {
	if b.Gate {
		return thousands(int64(b.Pinholes)) + " pinholes"
	}
	if b.Plans {
		return "sites"
	}
	if b.Grants > 0 {
		return thousands(int64(b.Grants)) + " grants"
	}
	return fmt.Sprintf("%s rows of %s", thousands(int64(b.Rows)), b.Dialect)
}

// A report is an agent's answer to its brief, without a tally, and to each
// job.
type report struct {
	Tally *tally `json:",omitempty"`
	Error string `json:",omitempty"`
}

// brief returns what the agent of one of m's servers is to start.
func (m measurement) brief(server, path string) brief {
	b := brief{Server: server, Dialect: dialectOf(m.kind), Path: path, Rows: m.rows}
	if ofGrants(m.kind) {
		b.Rows, b.Grants, b.Restart = 0, m.rows, m.kind == kindRestart
	}
	if ofGate(m.kind) {
		b = brief{Server: server, Path: path, Gate: true}
		if m.kind == kindGateBulk {
			b.Pinholes = m.rows
		}
	}
	if ofPlanning(m.kind) {
		b = brief{Server: server, Path: path, Plans: true}
	}
	if ofAsking(m.kind) { // the server is quaymaster, whoever asks
		b.Server, b.Rows, b.Asked = serverQuaymaster, askedRows, true
		if b.Tried = m.kind == kindAskTry; b.Tried {
			b.Rows = m.rows
		}
	}
	return b
}

// runAgent starts the server of the brief that is the first value on in,
// works off the jobs that follow, and returns at the end of in. It is the
// first process of a PID namespace, so the server cannot outlive it.
func runAgent(in io.Reader, out io.Writer) error {
	jobs, reports := json.NewDecoder(in), json.NewEncoder(out)
	var b brief
	if err := jobs.Decode(&b); err != nil {
		return fmt.Errorf("brief: %w", err)
	}
	s, err := settle(b)
	if err != nil {
		return reports.Encode(report{Error: err.Error()})
	}
	defer s.stop()
	if err := reports.Encode(report{}); err != nil {
		return err
	}
	for {
		var j job
		if err := jobs.Decode(&j); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("job: %w", err)
		}
		var r report
		s.resume()
		r.Tally, err = work(b, j, s)
		s.pause()
		if err != nil {
			r.Error = err.Error()
		}
		if err := reports.Encode(r); err != nil {
			return err
		}
	}
}

// settle prepares the namespaces and starts, fills and pauses the server, if there is one.
func settle(b brief) (*server, error) {
	if b.Gate {
		return settleGate(b)
	}
	if err := furnish(); err != nil || b.Plans {
		return nil, err
	}
	if err := prepare(b); err != nil {
		return nil, err
	}
	s, err := startServer(b)
	if err == nil {
		err = register(b, time.Now().Add(registerPatience))
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	s.pause()
	return s, nil
}

// prepare has all there that the server's rows stand for, and those who ask.
func prepare(b brief) error {
	if b.Asked {
		if err := separateClients(); err != nil {
			return err
		}
	}
	switch {
	case b.Tried:
		return answerTried(b.Rows)
	case b.Server == serverSamba: // it listens itself
		return nil
	}
	return listenForRows()
}

// work does a job twice, the first time briefly and only to warm up.
func work(b brief, j job, s *server) (t *tally, err error) {
	if j.Kind == kindRestart {
		return restart(b, s)
	}
	if ofAsking(j.Kind) {
		return ask(b, j)
	}
	if ofPlanning(j.Kind) {
		return planOnce(b, j)
	}
	if ofGate(j.Kind) {
		return workGate(j, s)
	}
	for _, window := range [...]time.Duration{warmUp, j.Window} {
		l, err := newLoad(j, b.Server)
		if err != nil {
			return nil, err
		}
		if t, err = measure(l, window, s.clock); err != nil {
			return nil, err
		}
		if err := t.err(); err != nil {
			return nil, err
		}
	}
	if j.Kind == kindDump || j.Kind == kindGrants {
		t.Memory, err = memoryOf(s.pid())
	}
	return t, err
}

// An agent is the parent's end of a process that runs runAgent.
type agent struct {
	cmd     *exec.Cmd
	jobs    io.WriteCloser
	encode  *json.Encoder
	reports *json.Decoder
	said    tail // on standard error, by the server for the most part
}

// startAgent starts an agent and waits until its server has all rows. The
// agent ends with ctx.
func startAgent(ctx context.Context, b brief) (*agent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &agent{cmd: exec.CommandContext(ctx, self, roleAgent)}
	inNamespaces(a.cmd)
	a.cmd.Stderr = &a.said
	if a.jobs, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	reports, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.encode, a.reports = json.NewEncoder(a.jobs), json.NewDecoder(reports)
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting in new namespaces: %w", err)
	}
	if _, err := a.ask(b, startPatience+registerPatience); err != nil {
		a.stop()
		return nil, err
	}
	return a, nil
}

// do has a job done.
func (a *agent) do(j job) (*tally, error) {
	patience := jobPatience
	if ofAsking(j.Kind) {
		patience = askJobPatience
	}
	r, err := a.ask(j, patience)
	return r.Tally, err
}

// ask sends a brief or a job and returns the report. An agent that does not
// report in time is ended.
func (a *agent) ask(question any, patience time.Duration) (report, error) {
	defer time.AfterFunc(patience, func() { a.cmd.Process.Kill() }).Stop()
	var r report
	err := a.encode.Encode(question)
	if err == nil {
		err = a.reports.Decode(&r)
	}
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		err = fmt.Errorf("%w%s", err, a.said.quote())
	}
	return r, err
}

// stop lets the agent and all it started end, and waits for that.
func (a *agent) stop() {
	defer time.AfterFunc(startPatience, func() { a.cmd.Process.Kill() }).Stop()
	a.jobs.Close()
	a.cmd.Wait()
}

// A tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex // guards last
	last []byte
}

const maxTail = 2000 // bytes

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	t.last = bytes.Clone(t.last[max(0, len(t.last)-maxTail):])
	return len(p), nil
}

// quote returns what was written, indented, to follow an error.
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.last))
	if text == "" {
		return ""
	}
	return "\n    " + strings.ReplaceAll(text, "\n", "\n    ")
}
