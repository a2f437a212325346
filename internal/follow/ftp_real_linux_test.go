package follow

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// An ftpRelay stands between clients and a server, as a gate does, but opens nothing.
type ftpRelay struct {
	broken   bool           // promises are not kept
	promises chan []Promise // of each control channel, when it has ended
}

// serve serves one control channel, and returns when both sides have ended it.
func (r *ftpRelay) serve(client net.Conn, server string) {
	defer client.Close()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		r.promises <- nil
		return
	}
	defer conn.Close()
	type piece struct {
		from Side
		data []byte
	}
	sides := [2]net.Conn{client, conn}
	pieces := make(chan piece)
	for side := range sides {
		go func() {
			for b := make([]byte, 3); ; { // few bytes at a time
				n, err := sides[side].Read(b)
				pieces <- piece{Side(side), slices.Clone(b[:n])}
				if err != nil {
					pieces <- piece{Side(side), nil}
					return
				}
			}
		}()
	}
	addr := client.RemoteAddr().(*net.TCPAddr).AddrPort()
	f := NewFTP(Policy{Ends: [2]netip.AddrPort{addr, netip.MustParseAddrPort(server)}})
	var promises []Promise
	for open := 2; open > 0; {
		p := <-pieces
		if p.data == nil {
			open--
			sides[p.from.Other()].(*net.TCPConn).CloseWrite()
			continue
		}
		steps, err := f.Follow(p.from, p.data)
		for _, s := range steps {
			switch {
			case len(s.Promises) > 0 && r.broken:
				sides[s.ElseTo].Write(s.Else)
			default:
				promises = append(promises, s.Promises...)
				sides[s.To].Write(s.Data)
			}
		}
		if err != nil {
			client.Close()
			conn.Close()
		}
	}
	r.promises <- promises
}

// startFTP starts vsftpd on port 21 of two addresses, with a file "greeting" that says hello, and a relay on port
// 2121 of the same.
func startFTP(t *testing.T) *ftpRelay {
	nstest.Veth(t, "ftp0", "192.0.2.1/24", "2001:db8::1/64")
	root := filepath.Join("/run", "ftp")
	if err := errors.Join(os.Mkdir(root, 0o755), os.WriteFile(filepath.Join(root, "greeting"), []byte("hello\n"), 0o644), os.Mkdir("/run/empty", 0o755)); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "vsftpd.conf")
	settings := "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\nsecure_chroot_dir=/run/empty\nanon_root=" + root +
		"\nisolate=NO\nisolate_network=NO\nseccomp_sandbox=NO\n"
	if err := os.WriteFile(conf, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	nstest.Start(t, "vsftpd", conf)
	r := &ftpRelay{promises: make(chan []Promise, 16)}
	for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
		server := net.JoinHostPort(host, "21")
		nstest.WaitFor(t, "vsftpd to listen", 20*time.Second, func() bool {
			c, err := net.Dial("tcp", server)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		l, err := net.Listen("tcp", net.JoinHostPort(host, "2121"))
		if err != nil {
			t.Fatal(err)
		}
		nstest.Answer(t, l, func(c net.Conn) { r.serve(c, server) })
	}
	return r
}

// Clients get files from a server through a follower, and what they use was promised.
func TestFTPReal(t *testing.T) {
	nstest.NeedRoot(t) // vsftpd changes to another user
	nstest.Need(t, "vsftpd", "curl", "lftp")
	if !nstest.Inside(t) {
		return
	}
	r := startFTP(t)
	const four, six = "ftp://192.0.2.1:2121", "ftp://[2001:db8::1]:2121"
	lftp := func(settings, url string) []string {
		return []string{"lftp", "-c", "set net:max-retries 1; set net:timeout 10; " + settings + "open " + url + "; cat greeting; cat greeting; bye"}
	}
	for _, tt := range []struct {
		command  []string
		by       Side
		promises int
	}{
		{[]string{"curl", "-sS", "-m", "20", "--disable-epsv", four + "/greeting"}, Client, 1},
		{[]string{"curl", "-sS", "-m", "20", four + "/greeting"}, Client, 1},
		{[]string{"curl", "-sS", "-m", "20", "-P", "-", "--disable-eprt", four + "/greeting"}, Server, 1},
		{[]string{"curl", "-sS", "-m", "20", "-P", "-", four + "/greeting"}, Server, 1},
		{[]string{"curl", "-sS", "-m", "20", six + "/greeting"}, Client, 1},
		{[]string{"curl", "-sS", "-m", "20", "-P", "-", six + "/greeting"}, Server, 1},
		{lftp("", four), Client, 2},
		{lftp("set ftp:sync-mode no; ", four), Client, 2},
		{lftp("set ftp:passive-mode no; ", four), Server, 2},
		{lftp("", six), Client, 2},
	} {
		out, err := exec.Command(tt.command[0], tt.command[1:]...).CombinedOutput()
		if want := strings.Repeat("hello\n", tt.promises); err != nil || string(out) != want {
			t.Errorf("%q wrote %q, %v, want %q", tt.command, out, err, want)
		}
		select {
		case got := <-r.promises:
			if len(got) != tt.promises || slices.ContainsFunc(got, func(p Promise) bool { return p.By != tt.by }) {
				t.Errorf("%q was promised %+v, want %d that the %v connects", tt.command, got, tt.promises, tt.by)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%q: the control channel does not end", tt.command)
		}
	}
}

// Where no promise is kept, the session goes on all the same, and the server has no port to go to.
func TestFTPRealBroken(t *testing.T) {
	nstest.NeedRoot(t)
	nstest.Need(t, "vsftpd")
	if !nstest.Inside(t) {
		return
	}
	r := startFTP(t)
	r.broken = true
	c, err := net.Dial("tcp", "192.0.2.1:2121")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	for _, tt := range []struct{ command, want string }{
		{"", "220"}, {"USER ftp", "331"}, {"PASS x", "230"},
		{"PORT 192,0,2,1,200,1", "425 Can't"}, {"RETR greeting", "425 Use PASV or PORT"},
		{"EPRT |1|192.0.2.1|51200|", "425 Can't"}, {"PASV", "425 Can't"}, {"EPSV", "425 Can't"}, {"PWD", "257"}, {"PORT 192,0,2,1,200,2", "425 Can't"}, {"LIST", "425 Use PASV or PORT"}, {"QUIT", "221"},
	} {
		if tt.command != "" {
			fmt.Fprintf(c, "%s\r\n", tt.command)
		}
		if got, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(got, tt.want) {
			t.Fatalf("%q is answered %q, %v, want %q", tt.command, got, err, tt.want)
		}
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	c.Close()
	select {
	case got := <-r.promises:
		if len(got) > 0 {
			t.Errorf("promised %+v", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("the control channel does not end")
	}
}
