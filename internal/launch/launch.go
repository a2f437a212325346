// Package launch runs a server of RPC at ports of the daemon's pool, and keeps it
// registered while it listens there.
package launch

import (
	"os"
	"path/filepath"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/show"
)

// A Job is a server to run, and what to register of it.
type Job struct {
	Command    []string            // the program, then its words, in which placeholders stand for ports
	Env        []string            // of the program, which gets PortVariable as well
	Interfaces []endpoint.Document // what it serves, of one dialect: interface, version and annotation
	TCP, UDP   bool                // the transports to register; neither: see [Job.Complete]
	Pool       string              // as in [api.GrantRequest]
	Wait       time.Duration       // within which it has to listen
	KillWithMe bool                // it gets SIGTERM when this process ends, however that happens

	Daemon    *api.Client
	Explain   func(error) error                           // adds to an error of Daemon what to do about it
	Signals   <-chan os.Signal                            // what this process is sent, to be passed on; never closed
	Say       func(line string)                           // tells people what goes wrong; the text may be from anywhere
	Listening func(pid int, standing []endpoint.Document) // called when the server was registered, and when more of it was, with all that stands

	mercy time.Duration // of a test; else that below
}

// Exit statuses that are not the program's, as env(1) has them.
const (
	ExitFailed    = 125 // there is no port, nobody to register with, or the program did not listen
	ExitCannotRun = 126 // the program is there and cannot be executed
	ExitNotFound  = 127 // there is no such program
)

// request returns what to ask the daemon for.
func (j *Job) request() api.GrantRequest {
	r := api.GrantRequest{Dialect: j.Interfaces[0].Dialect, Pool: j.Pool, TCP: true, UDP: true, Command: title(j.Command[0])}
	if p := placeholdersOf(j.Command); p.tcp || p.udp {
		r.TCP, r.UDP, r.Apart = p.tcp, p.udp, p.tcp && p.udp
	}
	return r
}

// title returns a program's name for people: as much of it as may stand beside a row. Everybody
// sees it, so the words behind the name are left out: a secret may be among them.
func title(program string) string {
	text := show.Clean(filepath.Base(program))
	const more = "…"
	if len(text) <= endpoint.MaxAnnotation {
		return text
	}
	end := 0
	for i := range text { // where characters begin
		if i <= endpoint.MaxAnnotation-len(more) {
			end = i
		}
	}
	return text[:end] + more
}
