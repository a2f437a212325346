package gate

import (
	"fmt"
	"slices"
	"strings"
)

// A Setting is a value of the kernel's, as sysctl(8) names it.
type Setting struct{ Name, Value string }

// Settings returns what the gate changes while it is there.
func (p *Policy) Settings() []Setting {
	// A socket that waits out its end, with addresses that are not this host's, would catch packets that are to be forwarded.
	return []Setting{{"net.ipv4.ip_early_demux", "0"}}
}

// Conditions returns what has to be so beforehand, since it changes what else the host does.
func (p *Policy) Conditions() []Setting {
	var all []Setting
	for _, f := range p.families() {
		if f.ipv6 {
			all = append(all, Setting{"net.ipv6.conf.all.forwarding", "1"})
		} else {
			all = append(all, Setting{"net.ipv4.ip_forward", "1"})
		}
	}
	if slices.ContainsFunc(p.families(), func(f family) bool { return !f.ipv6 }) {
		all = append(all, Setting{"net.ipv4.conf.all.src_valid_mark", "0"})
	}
	return append(all, Setting{"net.ipv4.tcp_fwmark_accept", "0"})
}

// RouteCommands returns the commands of ip(8) that lead control channels here.
func (p *Policy) RouteCommands() []string {
	var all []string
	for _, f := range p.families() {
		option, everything := "", "0.0.0.0/0"
		if f.ipv6 {
			option, everything = "-6 ", "::/0"
		}
		m := p.Marks
		all = append(all,
			fmt.Sprintf("ip %srule add fwmark 0x%08x/0x%08x lookup %d priority %d", option, m.Packet, m.Packet, m.Table, m.Table),
			fmt.Sprintf("ip %sroute add local %s dev lo table %d", option, everything, m.Table))
	}
	return all
}

// HostRules returns what the host's own rules need, for each of the ways that people write them: all where forward is mark, and only
// what lets control channels in where it is own.
func (p *Policy) HostRules() []HostRules {
	packet, flow := fmt.Sprintf("0x%08x", p.Marks.Packet), fmt.Sprintf("0x%08x", p.Marks.Flow)
	all := []HostRules{
		{
			"nftables", "in front of what drops; here in table inet filter",
			[]string{fmt.Sprintf("nft insert rule inet filter forward 'ct mark & %s != 0 accept'", flow)},
			[]string{fmt.Sprintf("nft insert rule inet filter input 'meta mark & %s != 0 accept'", packet)},
		},
		{
			"iptables", "and the same with ip6tables",
			[]string{fmt.Sprintf("iptables -I FORWARD -m connmark --mark %s/%[1]s -j ACCEPT", flow)},
			[]string{fmt.Sprintf("iptables -I INPUT -m mark --mark %s/%[1]s -j ACCEPT", packet)},
		},
		{
			"firewalld", "again after each reload of it; from 2.1 on with NftablesTableOwner=no in firewalld.conf",
			[]string{fmt.Sprintf("nft insert rule inet firewalld filter_FORWARD 'ct mark & %s != 0 accept'", flow)},
			[]string{fmt.Sprintf("nft insert rule inet firewalld filter_INPUT 'meta mark & %s != 0 accept'", packet)},
		},
		{
			"ufw", "in /etc/ufw/before.rules behind the line \"# End required lines\", and with ufw6- for ufw- in before6.rules; then ufw reload",
			[]string{fmt.Sprintf("-A ufw-before-forward -m connmark --mark %s/%[1]s -j ACCEPT", flow)},
			[]string{fmt.Sprintf("-A ufw-before-input -m mark --mark %s/%[1]s -j ACCEPT", packet)},
		},
	}
	if p.Forward == ForwardOwn {
		for i := range all {
			all[i].Forward = nil
		}
	}
	return all
}

// HostRules are rules that the host's own have to have beside the gate's.
type HostRules struct {
	Of      string   // nftables, iptables, firewalld, ufw
	Where   string   // in words
	Forward []string // for what pinholes let through
	Input   []string // for control channels; needed only where the host drops what comes in
}

// Print returns all that the gate puts into the kernel, as text that nft -f reads: the table, and as comments the
// commands for what is beside it. It is what [System.Up] loads.
func (p *Policy) Print() string {
	var b strings.Builder
	comment := func(format string, args ...any) {
		b.WriteString(strings.TrimRight("# "+fmt.Sprintf(format, args...), " ") + "\n")
	}
	comment("What quaymaster gate loads. nft -f reads it; what nft does not do stands in comments.")
	comment("")
	comment("Routes that lead control channels to this host, and settings:")
	for _, c := range p.RouteCommands() {
		comment("  %s", c)
	}
	for _, s := range p.Settings() {
		comment("  sysctl -w %s=%s", s.Name, s.Value)
	}
	comment("What has to be so beforehand (quaymaster gate preflight looks):")
	for _, s := range p.Conditions() {
		comment("  sysctl -w %s=%s", s.Name, s.Value)
	}
	comment("")
	if p.Forward == ForwardMark {
		comment("These rules let nothing through by themselves: they mark what a pinhole is open for. The host's own rules have to accept")
		comment("the mark: one rule for what is forwarded, and where it drops what comes in, one for control channels.")
	} else {
		comment("An accept of one table does not undo a drop of another. Where the host drops what comes in, control channels need a rule there;")
		comment("and what it drops of what is forwarded stays dropped.")
	}
	for _, h := range p.HostRules() {
		comment("  %s (%s):", h.Of, h.Where)
		for _, r := range h.Forward {
			comment("    %s", r)
		}
		for _, r := range h.Input {
			comment("    %s", r)
		}
	}
	b.WriteString("\n" + p.Ruleset())
	return b.String()
}
