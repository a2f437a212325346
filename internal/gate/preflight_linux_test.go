package gate

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// checked returns the check of that name.
func checked(t *testing.T, all []Check, what string) Check {
	t.Helper()
	for _, c := range all {
		if c.What == what {
			return c
		}
	}
	t.Fatalf("there is no check of %q among %+v", what, all)
	return Check{}
}

func TestPreflight(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft", "ip")
	gateway(t)
	nstest.Veth(t, "c", "10.1.0.1/24")
	nstest.Veth(t, "s", "10.3.0.1/24")
	p := readPolicy(t, minimal)
	before := surroundings(t)
	for _, c := range Preflight(t.Context(), p) {
		if c.State != Fit || c.Is == "" || c.What == "" || c.Want == "" || c.Mend != "" {
			t.Errorf("on a host that is fit: %+v", c)
		}
	}
	for _, c := range Preflight(t.Context(), nil) {
		if c.State != Fit {
			t.Errorf("without a policy, on a host that is fit: %+v", c)
		}
	}
	if after := surroundings(t); after != before {
		t.Errorf("preflight left behind:\n%s\nbefore it was\n%s", after, before)
	}

	sysctl(t, "net.ipv4.ip_forward", "0")
	sysctl(t, "net/ipv4/conf/all/src_valid_mark", "1")
	sysctl(t, "net/ipv4/conf/c/src_valid_mark", "1")
	command(t, "ip", "link", "delete", "s")
	command(t, "ip", "link", "set", "c", "down")
	l, err := net.Listen("tcp", "127.0.0.1:30111")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	p.Limits.Sessions = int(limit.Max / 2)
	nft(t, "table ip filter {\nchain FORWARD { type filter hook forward priority 0; policy drop; }\n chain INPUT { type filter hook input priority 0; policy drop; }\nchain OUTPUT { type filter hook output priority 0; policy accept; }\n}\n", "-f", "-")
	all := Preflight(t.Context(), p)
	for what, want := range map[string]Check{
		"net.ipv4.ip_forward":              {State: Missing, Is: "0", Want: "1", Mend: "sysctl -w net.ipv4.ip_forward=1"},
		"net.ipv4.conf.all.src_valid_mark": {State: Missing, Is: "1", Want: "0", Mend: "sysctl -w net.ipv4.conf.all.src_valid_mark=0"},
		"src_valid_mark of c":              {State: Missing, Is: "1", Want: "0", Mend: "sysctl -w net/ipv4/conf/c/src_valid_mark=0"},
		"net.ipv4.ip_early_demux":          {State: Fit, Is: "1", Want: "0 while the gate runs, which sets it"},
		"src_valid_mark of s":              {State: Fit, Is: "0", Want: "0"},
		"interface s":                      {State: Beware, Is: "not there", Want: "up", Mend: "it may come later; its name is of gate.yaml"},
		"interface c":                      {State: Beware, Is: "down", Want: "up", Mend: "ip link set c up"},
		"127.0.0.1:30111 tcp":              {State: Missing, Is: "in use", Want: "free", Mend: "ss -Hlnpt sport = :30111 says by whom; stop it, or choose marks.port"},
		"[::1]:30111 tcp":                  {State: Fit, Is: "free", Want: "free"},
		"chain ip filter FORWARD":          {State: Beware, Is: "drops what is forwarded", Want: "accepts the mark", Mend: "nft insert rule ip filter FORWARD 'ct mark & 0x02000000 != 0 accept', unless it does"},
		"chain ip filter INPUT":            {State: Beware, Is: "drops what comes in", Want: "accepts control channels", Mend: "nft insert rule ip filter INPUT 'meta mark & 0x01000000 != 0 accept', unless it does"},
	} {
		want.What = what
		if got := checked(t, all, what); got != want {
			t.Errorf("Preflight says\n%+v, want\n%+v", got, want)
		}
	}
	if c := checked(t, all, "open files"); c.State != Missing || !strings.Contains(c.Mend, "LimitNOFILE=") {
		t.Errorf("of open files Preflight says %+v", c)
	}
	p.Forward = ForwardOwn
	all = Preflight(t.Context(), p)
	if c := checked(t, all, "chain ip filter FORWARD"); c.Mend != "forward: own does not open it: use forward: mark, and a rule there" {
		t.Errorf("of another chain that drops: %+v", c)
	}
	// What is to be done is written as it can be done.
	for _, c := range all {
		if rule, ok := strings.CutPrefix(c.Mend, "nft "); ok {
			rule, _, _ = strings.Cut(rule, ", unless")
			nft(t, strings.ReplaceAll(rule, "'", ""), "-f", "-")
		}
	}
}

func TestKernelIsNew(t *testing.T) {
	for release, want := range map[string]bool{
		"6.18.44-fc-v657": true, "5.7.0": true, "5.10.0-8-amd64": true, "5.7": true, "5.7-rc1": true, "10.0.1": true,
		"5.6.19": false, "4.19.0": false, "": false, "six": false, "6": false,
	} {
		if got := kernelIsNew(release); got != want {
			t.Errorf("kernelIsNew(%q) = %v, want %v", release, got, want)
		}
	}
}

// As many files are asked for as a gate opens at most.
func TestDescriptors(t *testing.T) {
	const ends = ": {clients: [10.1.0.0/16], servers: [10.3.0.0/24]}\n"
	for text, want := range map[string]int{
		"follow:\n  tftp" + ends:                                             0,
		"follow:\n  epm" + ends:                                              2,
		"follow:\n  portmapper" + ends:                                       3,
		"follow:\n  ftp" + ends + "  tftp" + ends:                            2,
		"nat: masquerade\nfollow:\n  tftp" + ends:                            1,
		"nat: masquerade\nfollow:\n  epm" + ends + "  ftp" + ends:            3,
		"nat: masquerade\nfollow:\n  portmapper" + ends + "  ftp" + ends:     4,
		"nat: masquerade\nfollow:\n  portmapper" + ends + "  epm" + ends:     3,
		"nat: snat 10.3.0.1\nfollow:\n  portmapper" + ends + "  tftp" + ends: 3,
	} {
		p := readPolicy(t, "client_side: [c]\nserver_side: [s]\nlimits: {sessions: 10}\n"+text)
		if got := p.descriptors(); got != want*10+descriptorsBeside {
			t.Errorf("%s: %d open files for 10 sessions, want %d for each and %d", text, got, want, descriptorsBeside)
		}
	}
}
