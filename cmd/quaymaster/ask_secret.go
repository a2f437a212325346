package main

import (
	"io"
	"os"
	"strings"

	"github.com/quaymaster/quaymaster/internal/probe"
)

// secretVariable is where the secret is that no file is named for.
const secretVariable = "QUAYMASTER_SECRET"

// addSecret gives the community of SNMP or the secret of RADIUS to the ports that are asked in these. It is on
// no command line, which everybody on the host can read.
func (f *askFlags) addSecret(q *askQuestion) error {
	secret, from := os.Getenv(secretVariable), secretVariable
	if f.secretFile != "" {
		var err error
		if secret, err = readSecret(f.secretFile); err != nil {
			return err
		}
		from = "--secret-file"
	}
	if secret == "" {
		return nil
	}
	used := map[string]bool{}
	for i := range q.ports {
		p := &q.ports[i]
		if usual := probe.Usual(p.Network, p.Port); usual == "snmp" || usual == "radius" {
			p.Secret = secret
			used[usual] = true
		}
	}
	switch {
	case len(used) > 1: // SNMP sends it as it is
		return usagef("%s: the secret of RADIUS would go over the network in the clear, as the community of SNMP: ask for these ports one after the other", from)
	case len(used) == 0 && f.secretFile != "":
		return usagef("--secret-file goes with a port of SNMP (udp/161) or RADIUS (udp/1812)")
	}
	return nil
}

// readSecret returns the line that a file has.
func readSecret(name string) (string, error) {
	const most = 1024 // bytes
	file, err := os.Open(name)
	if err != nil {
		return "", usagef("--secret-file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most+2))
	if err != nil {
		return "", usagef("--secret-file: %w", err)
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || rest != "" || len(line) > most {
		return "", usagef("--secret-file %s: want one line of at most %d bytes", name, most)
	}
	return line, nil
}
