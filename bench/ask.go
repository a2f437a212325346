package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Hosts that are asked are one and the same, the benchmark's server under all the addresses
// of a network; another network is behind it and drops everything.
var (
	farHosts      = netip.MustParsePrefix("10.111.0.0/16")
	filteredHosts = netip.MustParsePrefix("10.112.0.0/16")
)

// farHost returns address i of the many.
func farHost(i int) netip.Addr {
	a := farHosts.Addr().As4()
	a[2], a[3] = byte(i/250), byte(1+i%250)
	return netip.AddrFrom4(a)
}

// askedRows is how many rows the hosts have of which many are asked.
const askedRows = 10

// An askedHost is what a host's answer is checked by.
type askedHost struct {
	Mappers []struct{ State, Why string }
	Entries []struct {
		Program uint32
		UUID    string
		State   string
	}
	Ports []struct{ State string }
}

// own counts the entries that are of the benchmark, in a state.
func (h *askedHost) own(state string) int {
	n := 0
	for _, e := range h.Entries {
		ours := e.Program >= firstProgram || strings.HasPrefix(e.UUID, rowUUID.String()[:8])
		if ours && e.State == state {
			n++
		}
	}
	return n
}

// check says what is wrong with a host's answer to a kind of question of that size.
func (h *askedHost) check(kind string, size int) error {
	switch kind {
	case kindAskHosts:
		if len(h.Mappers) != 1 || h.Mappers[0].State != "listening" || h.own("not tried") != askedRows {
			return fmt.Errorf("mappers %v, %d rows of the benchmark, want one that listens and %d", h.Mappers, h.own("not tried"), askedRows)
		}
	case kindAskTry:
		if got := h.own("listening"); got != size {
			return fmt.Errorf("%d endpoints work, want %d", got, size)
		}
	case kindAskFiltered:
		filtered := 0
		for _, p := range h.Ports {
			if p.State == "filtered" {
				filtered++
			}
		}
		if filtered != size {
			return fmt.Errorf("%d of %d ports are filtered, want %d", filtered, len(h.Ports), size)
		}
	}
	return nil
}

// checkAsked reads what ask -o json wrote, one host after the other so that it need not be
// held as a whole, and returns how many hosts answered right.
func checkAsked(r io.Reader, kind string, size int) (hosts int, err error) {
	d := json.NewDecoder(r)
	for {
		switch t, err := d.Token(); {
		case err != nil:
			return 0, fmt.Errorf("what ask wrote: %w", err)
		case t == json.Delim('['):
			for d.More() {
				var h askedHost
				if err := d.Decode(&h); err != nil {
					return hosts, fmt.Errorf("what ask wrote: host %d: %w", hosts, err)
				}
				if err := h.check(kind, size); err != nil {
					return hosts, fmt.Errorf("host %d: %w", hosts, err)
				}
				hosts++
			}
			return hosts, nil
		}
	}
}

// checkScanned reads what nmap wrote about hosts, all of which have a port mapper. Of one in a
// hundred it may lack the list: that another program misses one does not end the benchmark.
func checkScanned(text []byte, hosts int) error {
	open, listed := 0, 0
	for line := range bytes.Lines(text) {
		switch words := strings.Fields(string(line)); {
		case len(words) > 2 && words[0] == "111/tcp" && words[1] == "open":
			open++
		case len(words) > 3 && strings.HasPrefix(words[0], "|") && words[1] == "100000" && words[3] == "111/tcp":
			listed++
		}
	}
	if atLeast := hosts - hosts/100; open < atLeast || listed < atLeast {
		return fmt.Errorf("nmap found port 111 open on %d hosts and what is registered on %d, want %d or more of %d", open, listed, atLeast, hosts)
	}
	return nil
}
