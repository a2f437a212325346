package socktable

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

func TestReceiversAndUsers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	table := openTable(t)
	for _, tt := range []struct {
		name             string
		sockets          []plan
		receivers, users string
	}{
		{"none", nil, "", ""},
		{"both families", []plan{{addr: "0.0.0.0:111"}, {addr: "[::]:111", v6only: true}}, "0.0.0.0:111 [::]:111", "0.0.0.0:111 [::]:111"},
		{"dual-stack", []plan{{addr: "[::]:111"}}, "[::]:111*", "[::]:111*"},
		{"one address", []plan{{addr: "127.0.0.1:111"}, {addr: "127.0.0.1:112"}}, "127.0.0.1:111", "127.0.0.1:111"},
		{"connected", []plan{{addr: "127.0.0.1:1000"}, {addr: "127.0.0.1:111", peer: "127.0.0.1:1000"}}, "", "127.0.0.1:111"},
		{"at another port", []plan{{addr: "127.0.0.1:1111"}}, "", ""},
	} {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(network+" "+tt.name, func(t *testing.T) {
				for _, p := range tt.sockets {
					p.network = network
					d := p.open(t)
					t.Cleanup(d.Close) // before the next case
				}
				for _, method := range []struct {
					name string
					ask  func(string, uint16) ([]Socket, error)
					want string
				}{{"Receivers", table.Receivers, tt.receivers}, {"Users", table.Users, tt.users}} {
					got, err := method.ask(network, 111)
					if err != nil || text(got) != method.want {
						t.Errorf("%s = %q, %v, want %q", method.name, text(got), err, method.want)
					}
					other := map[string]string{"tcp": "udp", "udp": "tcp"}[network]
					if got, err := method.ask(other, 111); err != nil || len(got) > 0 {
						t.Errorf("%s of %s = %q, %v, want none", method.name, other, text(got), err)
					}
				}
			})
		}
	}
	if got, err := table.Receivers("sctp", 111); err == nil {
		t.Errorf("Receivers of sctp = %v, want an error", got)
	}
	if got, err := table.Users("", 111); err == nil {
		t.Errorf("Users of no network = %v, want an error", got)
	}
}

// Sockets are told with the numbers by which /proc knows them.
func TestInode(t *testing.T) {
	table := openTable(t)
	for _, network := range []string{"tcp", "udp"} {
		d := plan{network: network, addr: "127.0.0.1:0"}.open(t)
		port := d.addr(t).Port()
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", *d))
		if err != nil {
			t.Fatal(err)
		}
		got, err := table.Receivers(network, port)
		if err != nil || len(got) != 1 || link != fmt.Sprintf("socket:[%d]", got[0].Inode) {
			t.Errorf("%s: Receivers(%d) = %+v, %v, want the one with %s", network, port, got, err, link)
		}
		all, err := table.Receivers(network, 0)
		if err != nil || len(got) != 1 || !contains(all, got[0]) {
			t.Errorf("%s: Receivers(0) = %+v, %v, want %+v among them", network, all, err, got)
		}
	}
}

// What the kernel keeps of a connection stays in the way, without an owner.
func TestUsersOfTheClosed(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	table := openTable(t)
	l := plan{network: "tcp", addr: "127.0.0.1:111"}.open(t)
	c := plan{network: "tcp", addr: "127.0.0.1:112", peer: "127.0.0.1:111"}.open(t)
	fd, _, err := unix.Accept(int(*l))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	unix.Close(fd)
	l.Close()
	nstest.WaitFor(t, "what is left of the connection", patience, func() bool {
		got, err := table.Users("tcp", 112)
		return err == nil && len(got) == 1 && got[0].Inode == 0
	})
}
