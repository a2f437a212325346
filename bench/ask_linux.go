package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Where the asker's list and its answer are, in the namespace's own /run.
const (
	hostsFile  = "/run/hosts-of-bench"
	answerFile = "/run/answer-of-bench"
)

const (
	// askPatience bounds a question. nmap -sV takes four minutes for 1,000 hosts.
	askPatience = 10 * time.Minute
	// sampleEvery is how often the asker's connections are counted.
	sampleEvery = time.Millisecond
)

// countedTimeout is what one answer may take while connections are counted: the asker is stopped
// for most of that time.
const countedTimeout = time.Minute

// askCommand prepares the question of a job, in the namespace of the clients.
func askCommand(quaymaster string, j job, count bool) (*exec.Cmd, error) {
	var args []string
	switch {
	case j.Kind == kindAskTry:
		args = []string{quaymaster, "ask", farHost(0).String(), "--try", "-o", "json"}
	case j.Kind == kindAskFiltered:
		args = []string{quaymaster, "ask", filteredHosts.Addr().Next().String(), fmt.Sprintf("tcp/1-%d", j.Rows), "-o", "json"}
	case j.Kind != kindAskHosts:
		return nil, fmt.Errorf("unknown question %q", j.Kind)
	case j.Asker == serverQuaymaster:
		args = []string{quaymaster, "ask", "--hosts", hostsFile, "--onc", "-o", "json"}
	case j.Asker == serverNmap, j.Asker == serverNmapVersions:
		args = []string{"nmap", "-n", "-Pn", "-T4", "--max-hostgroup", "1000", "-sT", "-p111", "--script", "rpcinfo", "-iL", hostsFile}
		if j.Asker == serverNmapVersions {
			args = append(args, "-sV")
		}
	default:
		return nil, fmt.Errorf("unknown program %q", j.Asker)
	}
	if count {
		args = append(args, "--timeout", countedTimeout.String())
	}
	var list strings.Builder
	for i := range j.Rows {
		fmt.Fprintln(&list, farHost(i))
	}
	return amongClients(args), os.WriteFile(hostsFile, []byte(list.String()), 0o644)
}

// ask asks twice: while the connections are counted, which costs time, and to take the
// time. What takes long is asked only once, and its connections are not counted.
func ask(b brief, j job) (*tally, error) {
	var counted expense
	if j.Asker == serverQuaymaster && j.Kind != kindAskFiltered {
		t, err := askOnce(b, j, true)
		if err != nil {
			return nil, err
		}
		counted = *t.Once
	}
	t, err := askOnce(b, j, false)
	if err == nil {
		t.Once.Conns, t.Once.HostConns = counted.Conns, counted.HostConns
	}
	return t, err
}

func askOnce(b brief, j job, count bool) (*tally, error) {
	cmd, err := askCommand(b.Path, j, count)
	if err != nil {
		return nil, err
	}
	answer, err := os.Create(answerFile)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	cmd.Stdout = answer
	var most expense
	var meanwhile func(pid int)
	if count {
		meanwhile = func(pid int) { most = countConnections(pid) }
	}
	t, err := runOnce(cmd, askPatience, meanwhile)
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == wantedStatus(j.Kind)) {
		if _, seek := answer.Seek(0, io.SeekStart); seek == nil && j.Asker == serverQuaymaster {
			_, wrong := checkAsked(answer, j.Kind, j.Rows) // says more than the status
			err = errors.Join(err, wrong)
		}
		return nil, err
	}
	t.Once.Conns, t.Once.HostConns = most.Conns, most.HostConns
	if _, err := answer.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if j.Asker == serverQuaymaster {
		t.Requests, err = checkAsked(answer, j.Kind, j.Rows)
		if want := hostsOf(j); err == nil && t.Requests != want {
			err = fmt.Errorf("%d hosts answered, want %d", t.Requests, want)
		}
		return t, err
	}
	t.Requests = j.Rows
	text, err := io.ReadAll(answer)
	if err != nil {
		return nil, err
	}
	return t, checkScanned(text, j.Rows)
}

// wantedStatus is the exit status of a question, if it is not 0: filtered ports are a finding.
func wantedStatus(kind string) int {
	if kind == kindAskFiltered {
		return 3
	}
	return 0
}

func hostsOf(j job) int {
	if j.Kind == kindAskHosts {
		return j.Rows
	}
	return 1
}
