package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

// What a client has open to the hosts is counted, and nothing else is.
func TestOpenConnections(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	if err := separateClients(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "0.0.0.0:2000")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	script := fmt.Sprintf("exec 3<>/dev/tcp/%[1]s/2000 4<>/dev/udp/%[1]s/2001 5<>/dev/tcp/%[2]s/2000 6<>/dev/tcp/%[3]s/2000; echo; read",
		farHost(0), farHost(999), farAddress)
	cmd := amongClients([]string{"bash", "-c", script})
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() }).Stop()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the client does not connect: %v", err)
	}
	if !stopped(cmd.Process.Pid) {
		t.Error("the client has ended")
	}
	hosts := map[netip.Addr]int{}
	for _, host := range openConnections(cmd.Process.Pid) {
		hosts[host]++
	}
	if len(hosts) != 2 || hosts[farHost(0)] != 2 || hosts[farHost(999)] != 1 {
		t.Errorf("connections %v, want two to %v and one to %v", hosts, farHost(0), farHost(999))
	}
	unix.Kill(cmd.Process.Pid, unix.SIGCONT)
	in.Close()
	countConnections(cmd.Process.Pid) // returns, since the client ends
	cmd.Wait()
	if stopped(cmd.Process.Pid) {
		t.Error("who has ended is stopped")
	}
}

// What clients have closed is in no table that is read while others are stopped.
func TestClosedConnections(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	if err := separateClients(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "0.0.0.0:2000")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // until the client has closed its end, which then waits
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	script := fmt.Sprintf("exec 3<>/dev/tcp/%s/2000; exec 3>&-; until ! grep -q ' 0[1458] ' /proc/net/tcp; do sleep 0.01; done; cat /proc/net/tcp", farHost(0))
	cmd := amongClients([]string{"timeout", "20", "bash", "-c", script})
	table, err := cmd.Output()
	if err != nil {
		t.Fatalf("the client: %v", err)
	}
	if rows := strings.Count(string(table), "\n"); rows != 1 {
		t.Errorf("the table has more than its titles:\n%s", table)
	}
}

// The rows that are tried are answered as their programs would.
func TestAnswerNull(t *testing.T) {
	const xid, row = 7, 3
	for _, tt := range []struct {
		name             string
		program, version uint32
		want             oncrpc.AcceptStat
	}{
		{"its own", firstProgram + row, rowVersion, oncrpc.Success},
		{"another version", firstProgram + row, rowVersion + 1, oncrpc.ProgMismatch},
		{"another program", firstProgram, rowVersion, oncrpc.ProgUnavail},
	} {
		c := oncrpc.Call{XID: xid, Program: tt.program, Version: tt.version}
		reply, _, err := oncrpc.ParseReply(answerNull(c.Append(nil), row))
		if err != nil || reply.XID != xid || reply.Accept != tt.want {
			t.Errorf("%s: answered %+v, %v, want %v", tt.name, reply, err, tt.want)
		}
	}
	if reply := answerNull([]byte("no call"), row); reply != nil {
		t.Errorf("what is no call is answered %x", reply)
	}
}
