package site_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var warned = []struct{ name, text, want string }{
	{"nothing", base + "hosts:\n  a: {addresses: [10.0.0.1], roles: [wsus]}\n  b: {addresses: [192.0.2.1], uses: [a]}\nfirewalls: {edge: {zones: [core, dmz]}}\n", ""},
	{"zone without hosts", base + "hosts: {a: {addresses: [10.0.0.1], roles: [wsus]}}\nfirewalls: {edge: {zones: [core, dmz]}}\n", `1:42: zone dmz has no hosts`},
	{
		"zone between two firewalls", `zones:
  a: {networks: [10.0.0.0/24]}
  b: {networks: [10.0.1.0/24]}
  c: {networks: [10.0.2.0/24]}
hosts:
  x: {addresses: [10.0.0.1], roles: [wsus]}
  y: {addresses: [10.0.2.1], uses: [x]}
firewalls: {f: {zones: [a, b]}, g: {zones: [b, c]}}
`, "",
	},
	{
		"zone that no firewall leads to", `zones:
  a: {networks: [10.0.0.0/24]}
  b: {networks: [10.0.1.0/24]}
  c: {networks: [10.0.2.0/24]}
hosts:
  x: {addresses: [10.0.0.1], roles: [wsus]}
  y: {addresses: [10.0.1.1], uses: [x]}
  z: {addresses: [10.0.2.1], uses: [x]}
firewalls: {f: {zones: [a, c]}}
`, `3:3: no firewall leads to zone b: name the one that does under firewalls`,
	},
	{
		"no firewalls", base + "hosts:\n  a: {addresses: [10.0.0.1], roles: [wsus]}\n  b: {addresses: [192.0.2.1], uses: [a]}\n",
		`1:8: there are 2 zones and no firewalls: nothing is said of what filters between them`,
	},
	{
		"one zone", "zones: {a: {networks: [10.0.0.0/24]}}\nhosts: {a: {addresses: [10.0.0.1], roles: [wsus]}}\n", "",
	},
	{
		"host for nothing", "zones: {a: {networks: [10.0.0.0/24]}}\nhosts:\n  a: {addresses: [10.0.0.1]}\n",
		`3:3: host a has no roles and uses nothing: nothing is planned for it`,
	},
	{
		"role that no host has", "zones: {a: {networks: [10.0.0.0/24]}}\nhosts:\n  a: {addresses: [10.0.0.1], uses: [wsus, print-server]}\n  b: {addresses: [10.0.0.2], roles: [print-spooler]}\n",
		`3:37: no host is "wsus", which host a uses: nothing is planned for that`,
	},
	{
		"group of one host", base + `hosts:
  a: {addresses: [10.0.0.1], roles: [wsus, "cluster:a"]}
  b: {addresses: [192.0.2.1], roles: ["cluster:b", "wsus:c"]}
  c: {addresses: [192.0.2.2], roles: ["failover-cluster:b"]}
  d: {addresses: [192.0.2.16/28], roles: ["cluster:d"]}
  e: {addresses: [192.0.2.32], domain: corp.example, roles: ["cluster:a"]}
firewalls: {edge: {zones: [core, dmz]}}
`, `4:44: only host a is cluster:a: a group is of several hosts
5:52: only host b is wsus:c: a group is of several hosts
8:62: only host e of corp.example is cluster:a: a group is of several hosts`,
	},
	{
		"pins of one port", "zones: {a: {networks: [10.0.0.0/24]}}\nhosts:\n  a: {addresses: [10.0.0.1], roles: [wsus], pins: {wmi: 5000, msdtc: 5000, rdp: 3389}}\n",
		`3:52: pins msdtc and wmi of host a are both 5000: a port is one service's`,
	},
	{
		"trust of one side", base + `hosts:
  a: {addresses: [10.0.0.1], roles: [rodc], domain: corp.example}
  b: {addresses: [192.0.2.1], roles: [member], domain: lab.example}
firewalls: {edge: {zones: [core, dmz]}}
trusts:
- {trusting: corp.example, trusted: lab.example}
`, `8:3: no host is a domain controller of lab.example: of the trust the other side alone is planned`,
	},
	{
		"trusts in a circle", `zones: {core: {networks: [10.0.0.0/24]}}
domains: {a.example: {}, b.example: {}, c.example: {}, d.example: {}, e.example: {}}
hosts:
  a: {addresses: [10.0.0.1], roles: [dc], domain: a.example}
  b: {addresses: [10.0.0.2], roles: [dc], domain: b.example}
  c: {addresses: [10.0.0.3], roles: [dc], domain: c.example}
  d: {addresses: [10.0.0.4], roles: [dc], domain: d.example}
  e: {addresses: [10.0.0.5], roles: [dc], domain: e.example}
trusts:
- {trusting: d.example, trusted: c.example}
- {trusting: c.example, trusted: b.example}
- {trusting: b.example, trusted: d.example}
- {trusting: b.example, trusted: e.example}
- {trusting: a.example, trusted: b.example}
`, `12:3: the trusts b.example → d.example → c.example → b.example come back to where they begin: each is planned by itself, and nothing that follows from several`,
	},
	{
		"trusts of two ways in a circle", `zones: {core: {networks: [10.0.0.0/24]}}
domains: {a.example: {}, b.example: {}, c.example: {}}
hosts:
  a: {addresses: [10.0.0.1], roles: [dc], domain: a.example}
  b: {addresses: [10.0.0.2], roles: [dc], domain: b.example}
  c: {addresses: [10.0.0.3], roles: [dc], domain: c.example}
trusts:
- {trusting: a.example, trusted: b.example, direction: two-way}
- {trusting: b.example, trusted: c.example, direction: two-way}
- {trusting: c.example, trusted: a.example}
- {trusting: a.example, trusted: c.example}
`, "",
	},
}

func TestWarnings(t *testing.T) {
	for _, tt := range warned {
		t.Run(tt.name, func(t *testing.T) {
			s := read(t, tt.text)
			got := strings.TrimPrefix(strings.ReplaceAll("\n"+s.Warnings.Error(), "\ns.yaml:", "\n"), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			describe(t, s)
		})
	}
}
