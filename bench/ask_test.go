package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestCheckAsked(t *testing.T) {
	many := func(entry string, n int) string { return strings.TrimSuffix(strings.Repeat(entry+",", n), ",") }
	host := func(mapper, entries, ports string) string {
		return fmt.Sprintf(`{"host": "h", "mappers": [{"state": %q}], "entries": [%s], "ports": [%s]}`, mapper, entries, ports)
	}
	const (
		program  = `{"program": 536870913, "state": "not tried"}`
		works    = `{"program": 536870913, "state": "listening"}`
		binds    = `{"uuid": "9a5f3c1e-0000-4000-8000-000000000002", "state": "listening"}`
		mapper   = `{"program": 100000, "state": "listening"}`
		filtered = `{"state": "filtered"}`
		open     = `{"state": "listening"}`
	)
	listed := host("listening", mapper+","+many(program, askedRows), "")
	for _, tt := range []struct {
		name, kind string
		size       int
		hosts      []string
		want       int // hosts; -1: an error
	}{
		{"hosts", kindAskHosts, 2, []string{listed, listed}, 2},
		{"a host is silent", kindAskHosts, 2, []string{listed, host("filtered", "", "")}, -1},
		{"a host tells too little", kindAskHosts, 1, []string{host("listening", many(program, askedRows-1), "")}, -1},
		{"rows work", kindAskTry, 2, []string{host("listening", mapper+","+works+","+binds, "")}, 1},
		{"one does not", kindAskTry, 2, []string{host("listening", mapper+","+program+","+binds, "")}, -1},
		{"ports are filtered", kindAskFiltered, 2, []string{host("", "", filtered+","+filtered)}, 1},
		{"one is not", kindAskFiltered, 2, []string{host("", "", filtered+","+open)}, -1},
		{"a host that is none", kindAskHosts, 1, []string{"1"}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := fmt.Sprintf(`{"schema": "quaymaster/ask/1", "hosts": [%s]}`, strings.Join(tt.hosts, ","))
			got, err := checkAsked(strings.NewReader(text), tt.kind, tt.size)
			if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
				t.Errorf("checkAsked = %d, %v, want %d", got, err, tt.want)
			}
		})
	}
	if _, err := checkAsked(strings.NewReader(`{"schema": "quaymaster/ask/1"`), kindAskHosts, 1); err == nil {
		t.Error("checkAsked takes what breaks off")
	}
}

func TestCheckScanned(t *testing.T) {
	// Written by nmap 7.93 with -sV --script rpcinfo and without -sV.
	const versions = `Nmap scan report for 10.111.0.1
Host is up (0.000099s latency).

PORT    STATE SERVICE VERSION
111/tcp open  rpcbind 2-4 (RPC #100000)
| rpcinfo: 
|   program version    port/proto  service
|   100000  2,3,4        111/tcp   rpcbind
|   100000  2,3,4        111/udp   rpcbind
|_  100000  3,4          111/udp6  rpcbind

`
	const plain = `Nmap scan report for 10.111.0.2
Host is up (0.00013s latency).

PORT    STATE SERVICE
111/tcp open  rpcbind
| rpcinfo: 
|   program version    port/proto  service
|_  100000  2,3,4        111/tcp   rpcbind

`
	silent, _, _ := strings.Cut(plain, "| rpcinfo")
	if err := checkScanned([]byte(versions+plain), 2); err != nil {
		t.Error(err)
	}
	if err := checkScanned([]byte(strings.Repeat(plain, 199)+silent), 200); err != nil {
		t.Errorf("one of 200 lacks the list: %v", err)
	}
	for name, text := range map[string]string{"nothing": "", "a host is missing": plain, "one tells nothing": plain + silent} {
		if err := checkScanned([]byte(text), 2); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}
