package main

import (
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

func TestListens(t *testing.T) {
	onc := func(program, version uint32, netid, address string, port uint16) endpoint.Document {
		return endpoint.Document{Dialect: "onc", Program: program, Version: endpoint.Version{Major: version}, NetID: netid, Address: address, Port: port}
	}
	dce := func(uuid, address string) endpoint.Document {
		return endpoint.Document{Dialect: "dce", UUID: uuid, Version: endpoint.Version{Major: 1, Dotted: true}, ProtSeq: "ncacn_ip_tcp", Address: address, Port: 5001}
	}
	for _, tt := range []struct {
		standing []endpoint.Document
		want     string
	}{
		{[]endpoint.Document{onc(100005, 3, "tcp", "0.0.0.0", 5001), onc(100005, 3, "tcp6", "::", 5001), onc(100005, 2, "tcp", "0.0.0.0", 5001), onc(100005, 2, "tcp6", "::", 5001)},
			"x (pid 812) listens: mountd 2-3 on tcp tcp6 at *:5001"},
		{[]endpoint.Document{onc(0x20000001, 1, "tcp", "127.0.0.1", 5001), onc(0x20000001, 1, "udp", "0.0.0.0", 5002)},
			"x (pid 812) listens: 536870913 1 on tcp at 127.0.0.1:5001, 536870913 1 on udp at *:5002"},
		{[]endpoint.Document{dce("338cd001-2244-31f1-aaaa-900038001003", "10.0.0.5"), dce("00000000-2244-31f1-aaaa-900038001003", "0.0.0.0")},
			"x (pid 812) listens: 00000000-2244-31f1-aaaa-900038001003 1.0 on tcp at *:5001, winreg 1.0 on tcp at 10.0.0.5:5001"},
	} {
		if got := listens("x", 812, tt.standing); got != tt.want {
			t.Errorf("listens = %q, want %q", got, tt.want)
		}
	}
}
