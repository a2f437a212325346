package probe

import (
	"context"
	"net/netip"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// command runs a program that must succeed.
func command(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

func local(t *testing.T, name string, args ...string) {
	t.Helper()
	command(t, exec.Command(nstest.Path(t, name), args...))
}

// filter has a host treat what comes as the rules of nft say.
func filter(t *testing.T, h *nstest.Host, rules ...string) {
	t.Helper()
	nstest.Need(t, "nft")
	command(t, h.Command("nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; "+
		"add rule inet t in meta l4proto ipv6-icmp accept"))
	for _, r := range rules {
		command(t, h.Command("nft", "add rule inet t in "+r))
	}
}

const (
	hereV4, thereV4 = "10.99.0.1/24", "10.99.0.2/24"
	hereV6, thereV6 = "fd99::1/64", "fd99::2/64"
)

var far = netip.MustParseAddr("10.99.0.2")

func tcpPorts(from, n uint16) (q []PortQuestion) {
	for i := range n {
		q = append(q, PortQuestion{Network: "tcp", Port: from + i})
	}
	return q
}

// TestFilteredHost: three hundred ports of a host that drops everything take about as long as one.
func TestFilteredHost(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	h := nstest.NewHost(t, "far", hereV4, thereV4)
	filter(t, h, "drop")
	p := &Prober{Timeout: 2 * time.Second}
	start := time.Now()
	for _, r := range p.Ports(t.Context(), far, tcpPorts(1000, 300)) {
		if r.State != Filtered || r.Time != 0 {
			t.Fatalf("port %d: %v after %v (%s), want filtered", r.Port, r.State, r.Time, r.Text)
		}
	}
	if d := time.Since(start); d < p.Timeout || d > p.Timeout*3 {
		t.Errorf("300 filtered ports took %v, want a little more than %v", d, p.Timeout)
	}
	start = time.Now()
	var questions []PortQuestion
	for i := range uint16(40) {
		questions = append(questions, PortQuestion{Network: "udp", Port: 1000 + i})
	}
	for _, r := range p.Ports(t.Context(), far, questions) {
		if r.State != Filtered || r.Text != Silent {
			t.Fatalf("port %d: %v (%s), want %s", r.Port, r.State, r.Text, Silent)
		}
	}
	if d := time.Since(start); d > p.Timeout*3 {
		t.Errorf("40 silent ports took %v, want a little more than %v", d, p.Timeout)
	}
	if n := len(p.all) + len(p.silent) + len(p.hosts); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

// TestPortStates: what the network says of a port, each in its way.
func TestPortStates(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	h := nstest.NewHost(t, "far", hereV4, thereV4)
	command(t, h.Command("sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit"))
	command(t, h.Command("ip", "address", "add", thereV6, "dev", "eth0", "nodad"))
	local(t, "ip", "address", "add", hereV6, "dev", "far", "nodad")
	filter(t, h,
		"tcp dport 1 drop", "udp dport 1 drop",
		"tcp dport 2 reject with tcp reset",
		"tcp dport 3 reject with icmpx type admin-prohibited", "udp dport 3 reject with icmpx type admin-prohibited",
		"meta nfproto ipv4 tcp dport 4 reject with icmp type net-unreachable")
	local(t, "ip", "route", "add", "prohibit", "10.98.0.1")
	local(t, "ip", "route", "add", "unreachable", "10.98.0.2")
	p := &Prober{Timeout: 5 * time.Second} // a SYN is sent again after one second, and nobody is there after three
	var rows sync.WaitGroup
	defer rows.Wait()
	for _, tt := range []struct {
		host    string
		network string
		port    uint16
		want    State
		text    string
	}{
		{"10.99.0.2", "tcp", 1, Filtered, ""},
		{"10.99.0.2", "tcp", 2, NotListening, ""},
		{"10.99.0.2", "tcp", 3, Filtered, "no route to host"},
		{"10.99.0.2", "tcp", 4, Filtered, "network is unreachable"},
		{"10.99.0.2", "tcp", 5, NotListening, ""},
		{"10.99.0.2", "udp", 1, Filtered, Silent},
		{"10.99.0.2", "udp", 3, Filtered, "no route to host"},
		{"10.99.0.2", "udp", 5, NotListening, ""},
		{"10.99.0.2", "udp", 69, NotListening, ""},
		{"10.99.0.2", "udp", 161, NotListening, ""},
		{"10.99.0.2", "udp", 500, NotListening, ""},
		{"fd99::2", "tcp", 1, Filtered, ""},
		{"fd99::2", "tcp", 3, Filtered, "permission denied"},
		{"fd99::2", "tcp", 5, NotListening, ""},
		{"fd99::2", "udp", 5, NotListening, ""},
		{"fd99::2", "udp", 69, NotListening, ""},
		{"10.99.0.77", "tcp", 1, Filtered, "no route to host"}, // nobody is there
		{"10.98.0.1", "tcp", 1, Filtered, "permission denied"},
		{"10.98.0.2", "tcp", 1, Filtered, "no route to host"},
		{"10.97.0.1", "tcp", 1, Failed, "network is unreachable"},
		{"10.97.0.1", "udp", 1, Failed, "network is unreachable"},
	} {
		rows.Go(func() {
			r := p.Port(t.Context(), netip.MustParseAddr(tt.host), PortQuestion{Network: tt.network, Port: tt.port})
			if r.State != tt.want || r.Text != tt.text || (r.Time > 0) != (tt.want == NotListening) {
				t.Errorf("%s %s/%d: %v after %v, %q, want %v, %q", tt.host, tt.network, tt.port, r.State, r.Time, r.Text, tt.want, tt.text)
			}
		})
	}
}

// TestFilteredAmongOthers: a host of which some ports are filtered keeps nobody from those that listen.
func TestFilteredAmongOthers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	h := nstest.NewHost(t, "far", hereV4, thereV4)
	filter(t, h, "tcp dport 1000-1199 drop")
	p := &Prober{Timeout: 2 * time.Second}
	start := time.Now()
	results := p.Ports(t.Context(), far, tcpPorts(1000, 400))
	if d := time.Since(start); d > 3*p.Timeout {
		t.Errorf("took %v, want a little more than %v", d, p.Timeout)
	}
	for _, r := range results {
		want := NotListening
		if r.Port < 1200 {
			want = Filtered
		}
		if r.State != want {
			t.Fatalf("port %d: %v, want %v", r.Port, r.State, want)
		}
	}
}

// TestContextEnds: whoever is not through when the context ends was not tried.
func TestContextEnds(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	h := nstest.NewHost(t, "far", hereV4, thereV4)
	filter(t, h, "tcp dport 1000-1999 drop")
	p := &Prober{Timeout: time.Minute}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	start := time.Now()
	results := p.Ports(ctx, far, append(tcpPorts(5, 1), tcpPorts(1000, 20)...))
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("returned %v after the context's end", d)
	}
	if results[0].State != NotListening {
		t.Errorf("port 5: %v, want not listening", results[0].State)
	}
	for _, r := range results[1:] {
		if r.State != NotTried {
			t.Errorf("port %d: %v, want not tried", r.Port, r.State)
		}
	}
}
