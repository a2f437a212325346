package endpoint

import "fmt"

// Evidence is why a registration is believed. When it ends, the registration does.
type Evidence uint8

// Kinds of evidence.
const (
	Unchecked Evidence = iota // the owner's word, where the daemon was told not to look
	Listening                 // a socket receives what is sent to the endpoint
	Waiting                   // the owner's word, until Until: no socket is there yet
	Process                   // a process, PID, that runs
	Lease                     // the owner's word, until Until
	Permanent                 // an administrator's word
	RunGone                   // as Listening; the process that started the server, and that its ports were given to, has ended
)

var evidenceNames = [...]string{"unchecked", "listening", "waiting", "process", "lease", "permanent", "listening, run gone"}

// String returns the word that people see.
func (e Evidence) String() string {
	if int(e) < len(evidenceNames) {
		return evidenceNames[e]
	}
	return fmt.Sprintf("Evidence(%d)", uint8(e))
}

// Listens tells whether a socket receives at the endpoint.
func (e Evidence) Listens() bool { return e == Listening || e == RunGone }

// ParseEvidence reads what [Evidence.String] writes.
func ParseEvidence(s string) (Evidence, error) {
	for i, name := range evidenceNames {
		if s == name {
			return Evidence(i), nil
		}
	}
	return 0, fmt.Errorf("evidence %q: want unchecked, listening, waiting, process, lease, permanent, or listening, run gone", s)
}
