package mapper

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

var (
	tcp6Far = way{netid: rpcbind.TCP6, server: "fd98::1", client: "fd98::2"}
	link    = way{netid: rpcbind.TCP6, server: "fe80::98", client: "fe80::7"}
)

// named is a tower of a protocol sequence whose endpoints are names.
func named(p epm.ProtSeq, name, host string) epm.Tower {
	return epm.Tower{Interface: syntax(uuidA, 1, 0), Transfer: dcerpc.NDR, ProtSeq: p, Name: name, Host: host}
}

// TestAddress: of a server that listens everywhere a client is told the address at
// which it reached this host (contract, "Address"), of others their own.
func TestAddress(t *testing.T) {
	a := syntax(uuidA, 1, 0)
	configured := netip.MustParseAddr("192.0.2.7")
	for _, tt := range []struct {
		w          way
		configured netip.Addr
		want       string // empty: none, which is 0.0.0.0 on the wire
	}{
		{w: tcpLo, want: "127.0.0.1"}, {w: tcpSelf, want: "10.99.0.1"}, {w: tcpFar, want: "10.98.0.1"},
		{w: tcp6Lo}, {w: tcp6Far}, {w: link},
		{w: asRoot, want: "127.0.0.1"}, {w: asUser, want: "127.0.0.1"},
		{w: tcpLo, configured: configured, want: "192.0.2.7"}, {w: tcpFar, configured: configured, want: "192.0.2.7"},
		{w: tcp6Far, configured: configured, want: "192.0.2.7"}, {w: asUser, configured: configured, want: "192.0.2.7"},
	} {
		for name, label := range labels {
			m := newDCE(t, DCEConfig{Address: tt.configured})
			setup := client(t, m, asRoot)
			for _, tower := range []epm.Tower{
				tcpTower(a, "", 2001), tcpTower(a, "10.99.0.1", 2002), tcpTower(a, "203.0.113.9", 2003), tcpTower(a, "127.0.0.1", 2004),
				ipTower(epm.UDP, a, "", 2005), ipTower(epm.HTTP, a, "", 2006), ipTower(epm.HTTP, a, "203.0.113.9", 2007),
				named(epm.NP, `\pipe\winreg`, ""), named(epm.NP, `\pipe\winreg`, `\\FS1`), named(epm.NP, `\pipe\srvsvc`, "FS2"), named(epm.LRPC, "rpcd_mdssvc", ""),
			} {
				setup.insert(entry(ndr.UUID{}, tower, ""))
			}
			want := map[epm.ProtSeq][]epm.Tower{
				// Those of this host first: many clients call the first port on the host that they asked.
				epm.TCP:  {tcpTower(a, "127.0.0.1", 2004), tcpTower(a, "10.99.0.1", 2002), tcpTower(a, tt.want, 2001), tcpTower(a, "203.0.113.9", 2003)},
				epm.UDP:  {ipTower(epm.UDP, a, tt.want, 2005)},
				epm.HTTP: {ipTower(epm.HTTP, a, tt.want, 2006), ipTower(epm.HTTP, a, "203.0.113.9", 2007)},
				epm.NP:   {named(epm.NP, `\pipe\srvsvc`, "FS2"), named(epm.NP, `\pipe\winreg`, "FS1"), named(epm.NP, `\pipe\winreg`, "")},
				epm.LRPC: {named(epm.LRPC, "rpcd_mdssvc", "")},
			}
			c := newClient(t, dceLine(t, m, tt.w).send, label, 0)
			for _, p := range []epm.ProtSeq{epm.TCP, epm.UDP, epm.HTTP, epm.NP, epm.LRPC} {
				got := c.find(epm.Map{Tower: asking(p, a), MaxTowers: 10})
				checkTowers(t, fmt.Sprintf("%v, %s, %s", tt.w, name, p), got.Towers, want[p])

				// One by one they come in the same order.
				one := epm.Map{Tower: asking(p, a), MaxTowers: 1}
				for i := range want[p] {
					got := c.find(one)
					checkTowers(t, fmt.Sprintf("%v, %s, %s: part %d", tt.w, name, p, i), got.Towers, want[p][i:i+1])
					one.Handle = got.Handle
				}
			}
			var all []epm.Entry // oldest first, wherever they are
			for _, tower := range []epm.Tower{
				want[epm.TCP][2], want[epm.TCP][1], want[epm.TCP][3], want[epm.TCP][0], want[epm.UDP][0], want[epm.HTTP][0], want[epm.HTTP][1],
				want[epm.NP][2], want[epm.NP][1], want[epm.NP][0], want[epm.LRPC][0],
			} {
				all = append(all, epm.Entry{Tower: tower})
			}
			checkEntries(t, fmt.Sprintf("%v, %s: lookup", tt.w, name), c.lookup(epm.Lookup{MaxEntries: 500}).Entries, all)
			if port := c.ack.SecondaryAddr; port != "135" && (tt.w.netid != rpcbind.Local || port != "epmapper") {
				t.Errorf("%v: secondary address %q", tt.w, port)
			}
		}
	}
}

// TestPipes: names of pipes with and without a host; what would be told other than
// it was registered is refused.
func TestPipes(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		want       epm.Status
	}{
		{`\pipe\winreg`, "", 0}, {`\pipe\winreg`, "FS1", 0}, {`\winreg`, "", 0}, {`\PIPE\winreg`, "fs1.example.com", 0},
		{"winreg", "", epm.StatusInvalidEntry}, {"winreg", "FS1", epm.StatusInvalidEntry}, {"", "FS1", epm.StatusInvalidEntry},
		{"", "", epm.StatusInvalidEntry}, {"\\pipe\\\x01", "", epm.StatusInvalidEntry}, {`\pipe\x`, "F\nS", epm.StatusInvalidEntry},
	} {
		m := newDCE(t, DCEConfig{})
		c := client(t, m, asRoot)
		tower := named(epm.NP, tt.name, tt.host)
		status, fault := c.change(epm.OpInsert, epm.Insert{Entries: []epm.Entry{{Tower: tower}}})
		if status != tt.want || fault != 0 {
			t.Errorf("insert %q at %q: %v, %v, want %v", tt.name, tt.host, status, fault, tt.want)
			continue
		}
		var want []epm.Entry
		if tt.want == 0 {
			want = []epm.Entry{{Tower: tower}}
		}
		checkEntries(t, tt.name, c.lookup(epm.Lookup{MaxEntries: 5}).Entries, want)
	}
}
