package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/catalog"
)

// Least versions of the kernel: rules delete elements of sets from 5.4 on, sets count from 5.7 on, and what is in
// one batch is seen as one step by those who look elements up.
const leastMajor, leastMinor = 5, 7

// descriptorsBeside is how many open files the gate needs beside those of sessions.
const descriptorsBeside = 100

// Preflight looks whether this host is fit for a policy, and changes nothing that stays; nil is for all protocols of both families, on
// whatever interfaces. The order is that in which things are best mended.
func Preflight(ctx context.Context, p *Policy) []Check {
	var interfaces []string
	if p == nil {
		var err error
		if p, err = ReadPolicy("example", example, catalog.Builtin()); err != nil {
			panic(err) // it is a part of the program
		}
	} else {
		interfaces = p.interfaces()
	}
	all := []Check{checkKernel(), checkCapabilities(), checkNft(ctx), checkRules(ctx, p), checkSets(ctx)}
	all = append(all, p.checkSettings(interfaces)...)
	all = append(all, p.checkChanged()...)
	for _, name := range interfaces {
		all = append(all, checkPresence(name))
	}
	all = append(all, p.checkPorts()...)
	all = append(all, p.checkFiles())
	return append(all, p.checkOthers()...)
}

func checkKernel() Check {
	c := Check{What: "kernel", Want: fmt.Sprintf("%d.%d or newer", leastMajor, leastMinor), State: Missing, Mend: "install a newer kernel"}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		c.Is = "unknown: " + err.Error()
		return c
	}
	c.Is = unix.ByteSliceToString(name.Release[:])
	if kernelIsNew(c.Is) {
		c.State, c.Mend = Fit, ""
	}
	return c
}

func kernelIsNew(release string) bool {
	first, rest, _ := strings.Cut(release, ".")
	second := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		second = rest[:i]
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	return err1 == nil && err2 == nil && (major > leastMajor || major == leastMajor && minor >= leastMinor)
}

// checkCapabilities looks at what this process may do.
func checkCapabilities() Check {
	const want = "CAP_NET_ADMIN CAP_NET_RAW"
	c := Check{What: "rights", Want: want, State: Missing, Mend: "run as root, or with AmbientCapabilities=" + want + " in the unit"}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		c.Is = "unknown: " + err.Error()
		return c
	}
	_, line, _ := strings.Cut(string(status), "\nCapEff:")
	line, _, _ = strings.Cut(line, "\n")
	effective, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		c.Is = "unknown: " + err.Error()
		return c
	}
	var has []string
	for _, one := range []struct {
		name string
		bit  int
	}{{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_NET_RAW", unix.CAP_NET_RAW}} {
		if effective&(1<<one.bit) != 0 {
			has = append(has, one.name)
		}
	}
	c.Is = strings.Join(has, " ")
	if c.Is == want {
		c.State, c.Mend = Fit, ""
	} else if c.Is == "" {
		c.Is = "neither"
	}
	return c
}

func checkNft(ctx context.Context) Check {
	c := Check{What: "nft", Want: "installed", State: Fit}
	out, err := exec.CommandContext(ctx, nftPath(), "--version").Output()
	if err != nil {
		c.Is, c.State, c.Mend = "not installed", Missing, "apt-get install nftables, or dnf install nftables"
		return c
	}
	c.Is = strings.TrimSpace(string(out))
	return c
}

// checkRules has the kernel read the rules of the policy, and load the modules they need, without taking them.
func checkRules(ctx context.Context, p *Policy) Check {
	c := Check{What: "nftables: tproxy, socket, ct, dynamic sets", Is: "taken", Want: "the rules are taken", State: Fit}
	if err := runNft(ctx, p.Print(), "-c"); err != nil {
		c.Is, c.State, c.Mend = reason(err), Missing, "modprobe -a nft_tproxy nft_socket nft_ct; a kernel with CONFIG_NFT_TPROXY and CONFIG_NFT_SOCKET"
		if errors.Is(err, exec.ErrNotFound) || os.Geteuid() != 0 {
			c.Mend = "see above"
		}
	}
	return c
}

// trial makes a table of which nothing is left, for what only shows when it is done.
const trial = `add table inet quaymaster_trial
add set inet quaymaster_trial s { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags timeout, dynamic; counter; timeout 30s; gc-interval 2s; size 4; }
add element inet quaymaster_trial s { 192.0.2.1 . 192.0.2.2 . tcp . 1024 timeout 1m }
delete element inet quaymaster_trial s { 192.0.2.1 . 192.0.2.2 . tcp . 1024 }
add element inet quaymaster_trial s { 192.0.2.1 . 192.0.2.2 . tcp . 1024 timeout 1m }
delete table inet quaymaster_trial
`

func checkSets(ctx context.Context) Check {
	c := Check{What: "nftables: a set with times", Is: "works", Want: "works", State: Fit}
	if err := runNft(ctx, trial); err != nil {
		c.Is, c.State, c.Mend = reason(err), Missing, "see above"
	}
	return c
}

// reason returns an error of runNft without where it was.
func reason(err error) string {
	return strings.TrimPrefix(err.Error(), "gate: ")
}

// checkChanged looks at what the gate sets itself.
func (p *Policy) checkChanged() []Check {
	var all []Check
	for _, s := range p.Settings() {
		c := Check{What: s.Name, Want: s.Value + " while the gate runs, which sets it", State: Fit}
		var err error
		if c.Is, err = readSetting(s.Name); err != nil {
			c.Is, c.State, c.Mend = "unknown: "+err.Error(), Missing, "mount /proc/sys, writable"
		}
		all = append(all, c)
	}
	return all
}

func checkPresence(name string) Check {
	c := Check{What: "interface " + name, Is: "up", Want: "up", State: Fit}
	link, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		c.Is, c.State, c.Mend = "not there", Beware, "it may come later; its name is of gate.yaml"
	case link.Flags&net.FlagUp == 0:
		c.Is, c.State, c.Mend = "down", Beware, "ip link set "+name+" up"
	}
	return c
}

// checkPorts looks whether something else listens where control channels come in. A gate that runs does, and is no finding.
func (p *Policy) checkPorts() []Check {
	if parts, err := tableParts(); err == nil && parts != "" {
		return nil
	}
	var all []Check
	for _, protocol := range []uint8{tcp, udp} {
		transport := transportName(protocol)
		for _, at := range p.Listeners(protocol) {
			c := Check{What: fmt.Sprintf("%s %s", at, transport), Is: "free", Want: "free", State: Fit}
			switch err := tryListen(transport, at); {
			case errors.Is(err, unix.EADDRINUSE):
				c.Is, c.State, c.Mend = "in use", Missing, fmt.Sprintf("ss -Hlnp%s sport = :%d says by whom; stop it", transport[:1], at.Port())
				if protocol == tcp {
					c.Mend += ", or choose marks.port"
				}
			case errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT):
				continue // a host without IPv6
			case err != nil:
				c.Is, c.State, c.Mend = "unknown: "+err.Error(), Beware, "run as root"
			}
			all = append(all, c)
		}
	}
	return all
}

func tryListen(transport string, at netip.AddrPort) error {
	if transport == "tcp" {
		l, err := net.Listen("tcp", at.String())
		if err == nil {
			l.Close()
		}
		return err
	}
	l, err := net.ListenPacket("udp", at.String())
	if err == nil {
		l.Close()
	}
	return err
}

// descriptors returns how many open files the gate needs when there are as many sessions as there may be: two for each over TCP, one
// for each over UDP but those of TFTP, and one more for those that have a port of this host stand for one of the client's.
func (p *Policy) descriptors() int {
	ofTCP, ofUDP := 0, 0 // for each session
	for i := range p.Follow {
		e := &p.Follow[i]
		standsIn := p.NAT.On() && (e.Protocol == FTP || e.Protocol == TFTP)
		for _, transport := range e.Protocol.Transports() {
			switch {
			case transport == tcp && standsIn:
				ofTCP = 3
			case transport == tcp:
				ofTCP = max(ofTCP, 2)
			case standsIn || e.Protocol != TFTP:
				ofUDP = 1
			}
		}
	}
	return descriptorsBeside + (ofTCP+ofUDP)*p.Limits.Sessions
}

// checkFiles looks at the limit of open files.
func (p *Policy) checkFiles() Check {
	need := uint64(p.descriptors())
	c := Check{What: "open files", Want: fmt.Sprintf("%d for limits.sessions of %d", need, p.Limits.Sessions), State: Fit}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		c.Is, c.State = "unknown: "+err.Error(), Beware
		return c
	}
	c.Is = strconv.FormatUint(limit.Max, 10) // to which the program raises the soft one
	if limit.Max < need {
		c.State, c.Mend = Missing, fmt.Sprintf("LimitNOFILE=%d in the unit, ulimit -Hn %[1]d before it by hand, or lower limits.sessions", need)
	}
	return c
}

// checkOthers looks at tables beside the gate's that drop what no rule of theirs accepts: an accept of the gate's does not count there.
func (p *Policy) checkOthers() []Check {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, err := conn.ListChains()
	if err != nil {
		return []Check{{What: "other rules", State: Beware, Is: "unknown: " + err.Error(), Want: "known", Mend: "see above"}}
	}
	var all []Check
	for _, chain := range chains {
		drops := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		family, ofIP := familyWords[chain.Table.Family]
		if chain.Hooknum == nil || !drops || !ofIP || chain.Table.Name == Table {
			continue
		}
		in := fmt.Sprintf("%s %s %s", family, chain.Table.Name, chain.Name)
		switch *chain.Hooknum {
		case *nftables.ChainHookForward:
			c := Check{What: "chain " + in, State: Beware, Is: "drops what is forwarded"}
			if p.Forward == ForwardOwn {
				c.Want, c.Mend = "no other drops", "forward: own does not open it: use forward: mark, and a rule there"
			} else {
				c.Want, c.Mend = "accepts the mark", fmt.Sprintf("nft insert rule %s 'ct mark & 0x%08x != 0 accept', unless it does", in, p.Marks.Flow)
			}
			all = append(all, c)
		case *nftables.ChainHookInput:
			all = append(all, Check{
				What: "chain " + in, State: Beware, Is: "drops what comes in", Want: "accepts control channels",
				Mend: fmt.Sprintf("nft insert rule %s 'meta mark & 0x%08x != 0 accept', unless it does", in, p.Marks.Packet),
			})
		}
	}
	return all
}

var familyWords = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}
