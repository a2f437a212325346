package gate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/portset"
)

// Table is the gate's table of nftables, of the family inet.
const Table = "quaymaster_gate"

// Sets of pinholes, which outlive a reload. In their names 4 or 6 follows.
const (
	setOnce  = "once"
	setMulti = "multi"
	mapDNAT  = "dnat"
)

// Chains of the table, also those that a policy has no use for.
var chains = []string{"client_leg_raw", "client_leg_out", "client_leg", "channels", "control", "forward", "pinholes", "server_dnat", "client_snat"}

// elementsPerPinhole is how many elements the sets have room for: those that a packet deleted count until the kernel has
// collected them, and a pinhole may be used up faster than that.
const elementsPerPinhole = 4

// A ruleWriter writes the text of a policy.
type ruleWriter struct {
	strings.Builder
	p *Policy
}

func (w *ruleWriter) line(format string, args ...any) {
	fmt.Fprintf(w, format+"\n", args...)
}

// Ruleset returns the table as nft -f reads it. It is loaded as a whole or not at all, any number of times; what
// is in the sets of pinholes stays.
func (p *Policy) Ruleset() string {
	w := &ruleWriter{p: p}
	w.prologue()
	w.definitions()
	w.line("table inet %s {", Table)
	w.sets()
	w.clientLeg()
	w.channels()
	w.control()
	w.forward()
	w.translation()
	w.line("}")
	return w.String()
}

// prologue empties a table that is there but for its sets, of whatever policy it was.
func (w *ruleWriter) prologue() {
	w.line("# What was loaded before goes, but for the pinholes.")
	w.line("add table inet %s", Table)
	for _, c := range chains {
		w.line("add chain inet %s %s", Table, c)
	}
	w.line("flush table inet %s", Table)
	for _, c := range chains {
		w.line("delete chain inet %s %s", Table, c)
	}
	w.line("")
}

// definitions names interfaces, networks and ports.
func (w *ruleWriter) definitions() {
	w.line("define client_side = { %s }", quoted(w.p.ClientSide))
	w.line("define server_side = { %s }", quoted(w.p.ServerSide))
	for i := range w.p.Follow {
		e := &w.p.Follow[i]
		for _, f := range e.families() {
			w.line("define %s_clients%s = { %s }", e.Protocol, f.digit, networkList(e.Clients, f))
			w.line("define %s_servers%s = { %s }", e.Protocol, f.digit, networkList(e.Servers, f))
		}
		w.line("define %s_ports = { %s }", e.Protocol, portList(e.Ports))
	}
	w.line("")
}

func (w *ruleWriter) sets() {
	size := elementsPerPinhole * w.p.Limits.Pinholes
	for _, s := range []struct{ name, comment string }{
		{setOnce, "for one connection each: its first packet closes it"},
		{setMulti, "until their time is over"},
	} {
		w.line("	# Pinholes %s: from, to, protocol, port.", s.comment)
		for _, f := range families {
			w.line("	set %s%s {", s.name, f.digit)
			w.line("		type %s_addr . %[1]s_addr . inet_proto . inet_service", f.nftType)
			w.line("		flags timeout, dynamic")
			w.line("		counter")
			w.line("		timeout 30s")
			w.line("		gc-interval 2s")
			w.line("		size %d", size)
			w.line("	}")
		}
	}
	if !w.p.NAT.On() {
		return
	}
	w.line("	# Where servers connect to, in place of a client: server, address and port that stand for it: client, port.")
	for _, f := range families {
		w.line("	map %s%s {", mapDNAT, f.digit)
		w.line("		type %s_addr . %[1]s_addr . inet_proto . inet_service : %[1]s_addr . inet_service", f.nftType)
		w.line("		flags timeout")
		w.line("		timeout 30s")
		w.line("		size %d", size)
		w.line("	}")
	}
}

// eachChannel calls do for each protocol of IP and family of an entry.
func (w *ruleWriter) eachChannel(do func(e *Entry, transport string, f family)) {
	for i := range w.p.Follow {
		e := &w.p.Follow[i]
		for _, t := range e.Protocol.Transports() {
			for _, f := range e.families() {
				do(e, transportName(t), f)
			}
		}
	}
}

// toServers and toClients are what packets of a control channel have in common; the port first, which data has not.
func toServers(e *Entry, transport string, f family) string {
	return channel("TRANSPORT dport $NAME_ports IP saddr $NAME_clientsN IP daddr $NAME_serversN", e, transport, f)
}

func toClients(e *Entry, transport string, f family) string {
	return channel("TRANSPORT sport $NAME_ports IP saddr $NAME_serversN IP daddr $NAME_clientsN", e, transport, f)
}

func channel(match string, e *Entry, transport string, f family) string {
	return strings.NewReplacer("TRANSPORT", transport, "NAME", string(e.Protocol), "IP", f.nft, "clientsN", "clients"+f.digit, "serversN", "servers"+f.digit).Replace(match)
}

func (w *ruleWriter) clientLeg() {
	w.line("")
	w.line("	# Both legs of a control channel have the same addresses. The client's is not tracked, so that they do not")
	w.line("	# take each other's place in the table of connections.")
	w.line("	chain client_leg_raw {")
	w.line("		type filter hook prerouting priority raw; policy accept")
	w.eachChannel(func(e *Entry, t string, f family) {
		w.line("		iifname $client_side %s notrack", toServers(e, t, f))
	})
	w.line("	}")
	w.line("	chain client_leg_out {")
	w.line("		type filter hook output priority raw; policy accept")
	w.eachChannel(func(e *Entry, t string, f family) {
		w.line("		oifname $client_side %s notrack", toClients(e, t, f))
	})
	w.line("	}")
	w.line("	# Control channels come here. While nobody listens they are dropped.")
	w.line("	chain client_leg {")
	w.line("		type filter hook prerouting priority mangle; policy accept")
	w.eachChannel(func(e *Entry, t string, f family) {
		target := f.loopback
		if t == "tcp" { // over UDP the port stays: answers come from it
			target += fmt.Sprintf(":%d", w.p.Marks.Port)
		}
		match := "iifname $client_side " + toServers(e, t, f)
		w.line("		%s tproxy %s to %s counter accept", match, f.nft, target)
		w.line("		%s counter drop", match)
	})
	w.line("	}")
}

func (w *ruleWriter) channels() {
	mark := fmt.Sprintf("meta mark set meta mark | 0x%08x", w.p.Marks.Packet)
	w.line("	# The mark leads both legs to this host. It comes last: rules of others that look for the way back to a source would follow it.")
	w.line("	# What servers answer belongs to sockets with addresses of clients; translation is undone by then.")
	w.line("	chain channels {")
	w.line("		type filter hook prerouting priority 300; policy accept")
	w.line("		meta mark & 0x%08x != 0 meta mark set meta mark & 0x%08x", w.p.Marks.Packet, ^w.p.Marks.Packet)
	w.eachChannel(func(e *Entry, t string, f family) {
		w.line("		iifname $client_side %s %s accept", toServers(e, t, f), mark)
		if e.Protocol != TFTP { // whose servers answer from another port, straight to the client
			w.line("		iifname $server_side %s socket transparent 1 %s accept", toClients(e, t, f), mark)
		}
	})
	w.line("	}")
}

func (w *ruleWriter) control() {
	w.line("	chain control {")
	w.line("		type filter hook input priority filter - 5; policy accept")
	w.line("		meta mark & 0x%08x != 0 counter accept", w.p.Marks.Packet)
	w.line("	}")
}

func (w *ruleWriter) forward() {
	flow := w.p.Marks.Flow
	w.line("	chain forward {")
	if w.p.Forward == ForwardOwn {
		w.line("		type filter hook forward priority filter; policy drop")
		w.line("		ct state invalid drop")
		w.line("		ct state established accept")
		w.line("		# Errors about what is let through. Nothing else that is related: no helper of the kernel opens anything.")
		w.line("		meta l4proto { icmp, ipv6-icmp } ct state related accept")
	} else {
		w.line("		# Marks connections and drops nothing: the host's own rules decide.")
		w.line("		type filter hook forward priority filter - 5; policy accept")
	}
	w.line("		ct state != new %s", map[Forward]string{ForwardOwn: "drop", ForwardMark: "accept"}[w.p.Forward])
	w.line("		ct mark & 0x%08x != 0 accept # sent again, after a pinhole was used up", flow)
	w.line("		iifname $client_side oifname $server_side jump pinholes")
	w.line("		iifname $server_side oifname $client_side jump pinholes")
	w.line("		%s", map[Forward]string{ForwardOwn: `counter drop`, ForwardMark: "accept"}[w.p.Forward])
	w.line("	}")
	w.line("	chain pinholes {")
	for _, f := range families {
		key := fmt.Sprintf("%s saddr . %[1]s daddr . meta l4proto . th dport", f.nft)
		once, multi := setOnce+f.digit, setMulti+f.digit
		w.line("		%s @%s delete @%s { %s } ct mark set ct mark | 0x%08x counter accept", key, once, once, key, flow)
		w.line("		%s @%s ct mark set ct mark | 0x%08x counter accept", key, multi, flow)
	}
	w.line("	}")
}

func (w *ruleWriter) translation() {
	if !w.p.NAT.On() {
		return
	}
	w.line("	chain server_dnat {")
	w.line("		type nat hook prerouting priority dstnat; policy accept")
	for _, f := range families {
		w.line("		iifname $server_side dnat %s to %[1]s saddr . %[1]s daddr . meta l4proto . th dport map @%s%s", f.nft, mapDNAT, f.digit)
	}
	w.line("	}")
	w.line("	chain client_snat {")
	w.line("		type nat hook postrouting priority srcnat; policy accept")
	for _, f := range families {
		verdict := "masquerade"
		if a := w.p.NAT.Address; a.IsValid() {
			if a.Is6() != f.ipv6 {
				continue
			}
			verdict = fmt.Sprintf("snat %s to %s", f.nft, a)
		}
		var all []netip.Prefix
		for i := range w.p.Follow {
			all = append(all, ofFamily(w.p.Follow[i].Clients, f.ipv6)...)
		}
		if len(all) > 0 {
			w.line("		oifname $server_side ct mark & 0x%08x != 0 %s saddr { %s } %s", w.p.Marks.Flow, f.nft, networkList(all, f), verdict)
		}
		w.eachChannel(func(e *Entry, t string, of family) {
			if of == f && e.Protocol != TFTP { // whose requests leave from an address of this host
				w.line("		oifname $server_side %s %s", toServers(e, t, f), verdict)
			}
		})
	}
	w.line("	}")
}

// A family is how nftables calls what is of IPv4 or IPv6.
type family struct {
	ipv6     bool
	digit    string // behind the names of sets
	nft      string // of headers
	nftType  string // of addresses
	loopback string
}

var families = []family{
	{false, "4", "ip", "ipv4", "127.0.0.1"},
	{true, "6", "ip6", "ipv6", "[::1]"},
}

// families returns those that an entry has clients and servers of.
func (e *Entry) families() []family {
	return slices.DeleteFunc(slices.Clone(families), func(f family) bool {
		return len(ofFamily(e.Clients, f.ipv6)) == 0 || len(ofFamily(e.Servers, f.ipv6)) == 0
	})
}

// families returns those that any entry has.
func (p *Policy) families() []family {
	return slices.DeleteFunc(slices.Clone(families), func(f family) bool {
		return !slices.ContainsFunc(p.Follow, func(e Entry) bool { return slices.Contains(e.families(), f) })
	})
}

func transportName(protocol uint8) string {
	if protocol == udp {
		return "udp"
	}
	return "tcp"
}

func quoted(names []string) string {
	return `"` + strings.Join(names, `", "`) + `"`
}

// networkList returns the networks of a family, none within another.
func networkList(all []netip.Prefix, f family) string {
	var b netipx.IPSetBuilder
	for _, p := range ofFamily(all, f.ipv6) {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		panic(fmt.Sprintf("gate: networks: %v", err)) // they are valid and of one family
	}
	var texts []string
	for _, p := range set.Prefixes() {
		texts = append(texts, strings.TrimSuffix(p.String(), map[bool]string{false: "/32", true: "/128"}[f.ipv6]))
	}
	return strings.Join(texts, ", ")
}

func portList(ports portset.Set) string {
	return strings.ReplaceAll(ports.String(), ",", ", ")
}
