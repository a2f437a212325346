package site_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// base are the first lines of most files below: what stands behind it begins in line 3.
const base = `zones: {core: {networks: [10.0.0.0/24]}, dmz: {networks: [192.0.2.0/24]}}
domains: {corp.example: {}, lab.example: {}}
`

var mistaken = []struct{ name, text, want string }{
	{"no zones", `hosts: {a: {addresses: [10.0.0.1]}}
`, `1:1: no zones: name at least one with its networks, zones: {core: {networks: [10.0.0.0/24]}}`},
	{"nothing", `# nothing
`, `1:1: no zones: name at least one with its networks, zones: {core: {networks: [10.0.0.0/24]}}`},
	{"zones empty", `zones: {}
`, `1:8: no zones: name at least one with its networks, zones: {core: {networks: [10.0.0.0/24]}}`},
	{"zone of nothing", `zones: {core: }
`, `1:14: zones.core: want keys with values, found nothing: give it a value or remove it`},
	{"zone without networks", `zones: {core: {}, dmz: {networks: []}}
`, `1:9: zone "core" has no networks: name them, networks: [10.0.0.0/24]
1:35: zone "dmz" has no networks: name them, networks: [10.0.0.0/24]`},
	{"name of a zone", `zones: {"b d": {networks: [10.0.0.0/24]}, büro: {networks: [10.0.1.0/24]}, -x: {networks: [10.0.2.0/24]}, "": {networks: [10.0.3.0/24]}}
`, `1:9: zone "b d": want letters and digits, between them also '-', '_' and '.', such as app-1
1:43: zone "büro": want letters and digits, between them also '-', '_' and '.', such as app-1
1:76: zone "-x": want letters and digits, between them also '-', '_' and '.', such as app-1
1:107: zone "": want letters and digits, between them also '-', '_' and '.', such as app-1`},
	{"names that differ in case", `zones: {core: {networks: [10.0.0.0/24]}, Core: {networks: [10.0.1.0/24]}}
`, `1:9: zone "core" differs from "Core" in upper and lower case only: rename one`},
	{"zones that overlap", `zones:
  core: {networks: [10.0.0.128/25]}
  dmz: {networks: [10.0.0.0/24]}
  lan: {networks: ["fd00::/48"]}
  wan: {networks: ["fd00:0:0:1::/64"]}
`, `3:20: 10.0.0.0/24 of zone dmz and 10.0.0.128/25 of zone core (line 2) overlap: zones share no address
5:20: fd00:0:0:1::/64 of zone wan and fd00::/48 of zone lan (line 4) overlap: zones share no address`},
	{"zones with one network", `zones:
  core: {networks: [10.0.0.0/24]}
  dmz: {networks: [10.0.0.0/24]}
`, `3:20: 10.0.0.0/24 is in zone core too (line 2): zones share no address`},
	{"network twice", `zones:
  core: {networks: [10.0.0.0/24, 10.1.0.0/16, 10.0.0.0/24, 10.1.1.0/24]}
`, `2:47: 10.0.0.0/24 is there twice: remove one
2:60: 10.1.1.0/24 and 10.1.0.0/16 (line 2) overlap: remove the smaller`},
	{"no network", `zones: {core: {networks: [10.0.0, 10.0.0.0/33, net, 10.0.0.1, "fe80::1%eth0"]}}
`, `1:27: "10.0.0" is no address or network: write one such as 10.0.0.10, 10.0.0.0/24 or fd00:1::/64
1:35: "10.0.0.0/33" is no address or network: write one such as 10.0.0.10, 10.0.0.0/24 or fd00:1::/64
1:48: "net" is no address or network: write one such as 10.0.0.10, 10.0.0.0/24 or fd00:1::/64
1:63: "fe80::1%eth0": want an address without a scope: write fe80::1`},
	{"host bits", `zones: {core: {networks: [10.0.0.1/24, "fd00::1/64"]}}
`, `1:27: 10.0.0.1/24 has bits set behind its length: write 10.0.0.0/24, or 10.0.0.1 for the one address
1:40: fd00::1/64 has bits set behind its length: write fd00::/64, or fd00::1 for the one address`},
	{"every address", `zones: {core: {networks: [0.0.0.0/0, "::/0"]}}
`, `1:27: 0.0.0.0/0 is every address there is: name the networks that are meant
1:38: ::/0 is every address there is: name the networks that are meant`},
	{"IPv4 in IPv6", `zones: {core: {networks: ["::ffff:10.0.0.0/120", "::ffff:0:0/96", "::ffff:10.0.0.1"]}}
`, `1:27: ::ffff:10.0.0.0/120 is IPv4 in IPv6: write 10.0.0.0/24
1:50: ::ffff:0:0/96 is IPv4 in IPv6: write 0.0.0.0/0
1:67: ::ffff:10.0.0.1 is IPv4 in IPv6: write 10.0.0.1`},
	{"what no host has", `zones: {core: {networks: [127.0.0.0/8, 127.0.1.0/24, 224.0.0.0/4, 239.1.0.0/16, 0.0.0.0/32, 0.0.0.0/8, 128.0.0.0/1, "::1/128", "::/128", "ff00::/8", "ff02::/16", "::/64", 255.255.255.255/32]}}
`, `1:27: 127.0.0.0/8 is loopback: no host has it as its address
1:40: 127.0.1.0/24 is loopback: no host has it as its address
1:54: 224.0.0.0/4 is multicast: no host has it as its address
1:67: 239.1.0.0/16 is multicast: no host has it as its address
1:81: 0.0.0.0/32 is unspecified: no host has it as its address
1:93: 0.0.0.0/8 contains 0.0.0.0, which is unspecified: name the networks that are meant
1:104: 128.0.0.0/1 contains 224.0.0.0/4, which is multicast: name the networks that are meant
1:117: ::1/128 is loopback: no host has it as its address
1:128: ::/128 is unspecified: no host has it as its address
1:138: ff00::/8 is multicast: no host has it as its address
1:150: ff02::/16 is multicast: no host has it as its address
1:163: ::/64 contains ::, which is unspecified: name the networks that are meant
1:172: 255.255.255.255/32 is broadcast: no host has it as its address`},
	{"unknown key", `zones: {core: {networks: [10.0.0.0/24], netwroks: []}}
farewalls: {}
`, `1:41: unknown key "netwroks"; did you mean "networks"?
2:1: unknown key "farewalls"; did you mean "firewalls"?`},
	{"key twice", `zones: {core: {networks: [10.0.0.0/24]}}
hosts:
  a: {addresses: [10.0.0.1], roles: [wsus]}
  a: {addresses: [10.0.0.2], roles: [wsus]}
`, `4:3: key "a" is on line 3 already: keep one`},
	{"anchor", `zones: &z {core: {networks: [10.0.0.0/24]}}
`, `1:8: anchors are not supported: quote a value that starts with "&"`},
	{"wrong kinds", `zones: {core: {networks: 10.0.0.0/24}}
hosts: {a: {addresses: [10.0.0.1], roles: wsus, ldaps: yes}}
trusts: {}
`, `1:26: zones.core.networks: want a list, found text "10.0.0.0/24"
2:43: hosts.a.roles: want a list, found text "wsus"
2:56: hosts.a.ldaps: want true or false, found text "yes"
3:9: trusts: want a list, found keys with values`},
	{"form and content at once", `zones: {core: {networks: [10.0.0.0/24]}}
hosts:
  a: {adresses: [10.0.0.1], rolse: [member], uses: [b/wsus, a/wsus]}
  b: {addresses: [10.0.0.2], role: [wsus], os: windows-2o19}
  c: {addresses: [10.0.0.3], roles: [member], domian: corp.example}
firewalls: {edge: {zone: [core, dmz]}}
trusts: [{trusting: corp, trustd: corp}]
`, `3:7: unknown key "adresses"; did you mean "addresses"?
3:29: unknown key "rolse"; did you mean "roles"?
3:61: host a uses itself, which no firewall sees: remove it
4:30: unknown key "role"; did you mean "roles"?
4:48: unknown system "windows-2o19"; did you mean "windows-2000"?
5:47: unknown key "domian"; did you mean "domain"?
6:20: unknown key "zone"; did you mean "zones"?
7:27: unknown key "trustd"; did you mean "trusted"?`},
	{"host without addresses", base + `hosts: {a: {}, b: {addresses: []}, c: {zone: core}}
`, `3:9: host "a" has no addresses: list them, addresses: [10.0.0.10], or prefixes of a group of hosts
3:31: host "b" has no addresses: list them, addresses: [10.0.0.10], or prefixes of a group of hosts
3:36: host "c" has no addresses: list them, addresses: [10.0.0.10], or prefixes of a group of hosts`},
	{"name of a host", base + `hosts: {"a b": {addresses: [10.0.0.1], roles: [wsus]}, a/b: {addresses: [10.0.0.2], roles: [wsus]}}
`, `3:9: host "a b": want letters and digits, between them also '-', '_' and '.', such as app-1
3:56: host "a/b": want letters and digits, between them also '-', '_' and '.', such as app-1`},
	{"host in no zone", base + `hosts: {a: {addresses: [10.9.0.1]}}
`, `3:25: 10.9.0.1 is in no zone: correct it, or add its network to a zone`},
	{"host in two zones", base + `hosts: {a: {addresses: [10.0.0.1, 192.0.2.1]}}
`, `3:35: 192.0.2.1 is in zone dmz, and 10.0.0.1 in zone core: make two hosts of a, one in each`},
	{"prefix in two zones", `zones: {a: {networks: [10.0.0.0/24]}, b: {networks: [10.0.1.0/24]}}
hosts: {h: {addresses: [10.0.0.0/23]}}
`, `2:25: 10.0.0.0/23 is in zones a and b: make a host of each part`},
	{"prefix in a zone in part", `zones: {a: {networks: [10.0.0.0/24, 10.0.3.0/24]}}
hosts: {h: {addresses: [10.0.0.0/23]}, i: {addresses: [10.0.2.0/23]}}
`, `2:25: 10.0.0.0/23 is in zone a only in part: correct it, or add its network to the zone
2:56: 10.0.2.0/23 is in zone a only in part: correct it, or add its network to the zone`},
	{"host in another zone than it says", base + `hosts: {a: {zone: dmz, addresses: [10.0.0.1]}}
`, `3:36: 10.0.0.1 is in zone core, and host a says dmz: correct one of the two`},
	{"unknown zone", base + `hosts: {a: {zone: dnz, addresses: [10.0.0.1]}, b: {zone: office, addresses: [10.0.0.2]}}
`, `3:19: unknown zone "dnz"; did you mean "dmz"?
3:58: unknown zone "office"; known are core, dmz`},
	{"address of two hosts", base + `hosts:
  a: {addresses: [10.0.0.1]}
  b: {addresses: [10.0.0.1]}
  c: {addresses: [10.0.0.16/28]}
  d: {addresses: [10.0.0.20]}
`, `5:19: 10.0.0.1 is host a too (line 4): an address is one host's
7:19: 10.0.0.20 and 10.0.0.16/28 of host c (line 6) overlap: an address is one host's`},
	{"address of a host twice", base + `hosts: {a: {addresses: [10.0.0.1, 10.0.0.1, 10.0.0.16/28, 10.0.0.16/30]}}
`, `3:35: 10.0.0.1 is there twice: remove one
3:59: 10.0.0.16/30 and 10.0.0.16/28 (line 3) overlap: remove the smaller`},
	{"addresses no host has", base + `hosts: {a: {addresses: ["::ffff:10.0.0.1", 127.0.0.1, 224.0.0.1, 0.0.0.0, 10.0.0.17/28, host.example]}}
`, `3:25: ::ffff:10.0.0.1 is IPv4 in IPv6: write 10.0.0.1
3:44: 127.0.0.1 is loopback: no host has it as its address
3:55: 224.0.0.1 is multicast: no host has it as its address
3:66: 0.0.0.0 is unspecified: no host has it as its address
3:75: 10.0.0.17/28 has bits set behind its length: write 10.0.0.16/28, or 10.0.0.17 for the one address
3:89: "host.example" is no address or network: write one such as 10.0.0.10, 10.0.0.0/24 or fd00:1::/64`},
	{"unknown system", base + `hosts: {a: {addresses: [10.0.0.1], os: windows-server-2o19}}
`, `3:40: unknown system "windows-server-2o19"; did you mean "windows-server-2019"?`},
	{"unknown role", base + `hosts: {a: {addresses: [10.0.0.1], roles: [domain-controler, "wsuss:x", prnt-spooler, zzz]}}
`, `3:44: unknown role "domain-controler" of host a; did you mean "domain-controller"?
3:62: unknown role "wsuss" of host a; did you mean "wsus"?
3:73: unknown role "prnt-spooler" of host a; did you mean "print-spooler"?
3:87: unknown role "zzz" of host a; "quaymaster role list" and "quaymaster service list" have all that there are`},
	{"role that may be several", base + `hosts: {a: {addresses: [10.0.0.1], roles: [TermService]}}
`, `3:44: role "TermService" of host a may be terminal-services or rdp-shadow-remote-assist: name one`},
	{"role twice", base + `hosts: {a: {addresses: [10.0.0.1], domain: corp.example, roles: [dc, domain-controller, "cluster:a", "failover-cluster:a"]}}
`, `3:70: "domain-controller" is role dc, which host a has already: remove one
3:102: "failover-cluster:a" is role cluster, which host a has already: remove one`},
	{"role with a bad group", base + `hosts: {a: {addresses: [10.0.0.1], roles: ["cluster:", "cluster:a b"]}}
`, `3:44: "cluster:": after the colon stands a word for those who serve together, as in cluster:a
3:56: "cluster:a b": after the colon stands a word for those who serve together, as in cluster:a`},
	{"no domain", base + `hosts:
  a: {addresses: [10.0.0.1], roles: [domain-controller]}
  b: {addresses: [10.0.0.2], roles: [member, wsus]}
  c: {addresses: [10.0.0.3], roles: [rodc, pdc]}
  d: {addresses: [10.0.0.4], roles: [exchange-server]}
`, `4:3: host a is domain-controller, which needs a domain: say which, domain: corp.example
5:3: host b is member, which needs a domain: say which, domain: corp.example
6:3: host c is rodc, pdc, which needs a domain: say which, domain: corp.example
6:37: host c is a domain controller that is writable and one that is read-only: remove one of the two
7:3: host d is exchange-server, which needs a domain: say which, domain: corp.example`},
	{"two kinds of domain controllers", base + `hosts: {a: {addresses: [10.0.0.1], domain: corp.example, roles: [pdc, rodc]}}
`, `3:65: host a is a domain controller that is writable and one that is read-only: remove one of the two`},
	{"unknown domain", base + `hosts: {a: {addresses: [10.0.0.1], domain: crop.example, roles: [member]}, b: {addresses: [10.0.0.2], domain: lab.test, roles: [member]}}
`, `3:44: unknown domain "crop.example"; did you mean "corp.example"?
3:111: unknown domain "lab.test"; if it is right add it to domains: {lab.test: {}}`},
	{"domains", `zones: {core: {networks: [10.0.0.0/24]}}
domains:
  a.example: {forest: b.example}
  b.example: {forest: c.example, sysvol: dfs}
  c.example: {}
  d.example: {forest: ""}
  "a b": {}
  bad.example:
`, `3:23: b.example is of the forest "c.example" itself: write that
4:42: unknown way to replicate SYSVOL "dfs"; did you mean "dfsr"?
7:3: domain "a b": want letters and digits, between them also '-', '_' and '.', such as app-1
8:16: domains.'bad.example': want keys with values, found nothing: give it a value or remove it`},
	{"trusts", base + `trusts:
- {trusting: corp.example, trusted: corp.example}
- {trusting: corp.exmple, trusted: other}
- {trusting: corp.example}
- {trusted: corp.example, direction: both, phase: later}
- {trusting: corp.example, trusted: lab.example}
- {trusting: corp.example, trusted: lab.example, phase: create}
- {trusting: lab.example, trusted: corp.example, direction: two-way}
`, `4:37: corp.example trusts itself, as every domain does: remove the trust or name another domain
5:14: unknown domain "corp.exmple"; did you mean "corp.example"?
5:36: unknown domain "other"; if it is right add it to domains: {other: {}}
6:3: the trust does not say which domain is trusted: give trusted
7:3: the trust does not say which domain is trusting: give trusting
7:38: unknown direction "both"; known are one-way, two-way
7:51: unknown phase "later"; known are use, create
9:3: corp.example trusts lab.example by line 8 already: keep one of the two
10:3: corp.example trusts lab.example by line 8 already: keep one of the two`},
	{"pins", base + `hosts:
  a:
    addresses: [10.0.0.1]
    domain: corp.example
    roles: [dc]
    pins: {ntds: 38901, netlogon: "38901", ntdz: 1, dfsr: 0, wmi: 70000, msdtc: "1,2", ntfrs: "", certsvc: x}
  b:
    addresses: [10.0.0.2]
    roles: [dns-server]
    pins:
      dns-rpcprotocol: 1
      netsh-dynamicport: 50000-50255
      rpc-internet-range: 50000-50255
      wmi: [1]
`, `8:35: pins ntds and netlogon of host a are both 38901: they must differ (Netlogon event 5809)
8:44: unknown pin "ntdz" of host a; did you mean "ntds"?
8:59: dfsr: 0 is no port: remove the pin where the port is dynamic
8:67: wmi "70000": ports end at 65535
8:81: msdtc is one port, not 2 (1-2): write that one
8:95: ntfrs has no port: name it, or remove the pin
8:108: certsvc "x": want a port such as 443 or a range such as 5000-5020
13:7: dns-rpcprotocol chooses transports and gives no port: remove it
14:7: netsh-dynamicport is no port of a service: write dynamic_range of the host in place of the pin
15:7: rpc-internet-range is no port of a service: write rpc_policy of the host in place of the pin
16:12: hosts.b.pins.wmi: want a single value, found a list`},
	{"dynamic ports", base + `hosts:
  a: {addresses: [10.0.0.1], roles: [wsus], dynamic_range: 50000-50255, rpc_policy: good.yaml}
  b: {addresses: [10.0.0.2], roles: [wsus], dynamic_range: ""}
  c: {addresses: [10.0.0.3], roles: [wsus], dynamic_range: 6-5}
  d: {addresses: [10.0.0.4], roles: [wsus], dynamic_range: 0-5}
`, `4:85: host a has dynamic_range and rpc_policy: keep one, rpc_policy if it has that policy of RPC
5:60: dynamic_range has no ports: name them, 50000-50255, or remove the key for those of the system
6:60: dynamic_range "6-5": write 5-6
7:60: dynamic_range 0-5: 0 is no port that a host gives out`},
	{"policies", base + `hosts:
  a: {addresses: [10.0.0.1], roles: [wsus], rpc_policy: missing.reg}
  b: {addresses: [10.0.0.2], roles: [wsus], rpc_policy: bad.reg}
  c: {addresses: [10.0.0.3], roles: [wsus], rpc_policy: low.yaml}
  d: {addresses: [10.0.0.4], roles: [wsus], rpc_policy: ""}
  e: {addresses: [10.0.0.5], roles: [wsus], rpc_policy: broken.yaml}
  f: {addresses: [10.0.0.6], roles: [wsus], rpc_policy: removed.reg}
  g: {addresses: [10.0.0.7], roles: [zzz]}
`, `4:57: rpc_policy "missing.reg": file does not exist
5:57: rpc_policy "bad.reg": the file has no policy that holds
bad.reg:3:1: UseInternetPorts is missing, and the policy needs all three values: add it, or remove the whole key
bad.reg:4:1: string 1 of Ports, "5000-x", is no port or range: write a port such as 5000 or a range such as 5000-5020
bad.reg:5:1: PortsInternetAvailable is "J": write Y or N
6:57: rpc_policy "low.yaml" leaves ordinary servers no port: see quaymaster pool lint
7:57: rpc_policy "": name the file, or remove the key
8:57: rpc_policy "broken.yaml": the file has no policy that holds
broken.yaml:1:8: unknown key "prots"; did you mean "ports"?
9:57: rpc_policy "removed.reg": the file has no policy that holds
removed.reg:3:1: the file removes the policy: nothing is left of it
10:38: unknown role "zzz" of host g; "quaymaster role list" and "quaymaster service list" have all that there are`},
	{"one policy of many hosts", base + `hosts:
  b: {addresses: [10.0.0.2], roles: [wsus], rpc_policy: removed.reg}
  a: {addresses: [10.0.0.1], roles: [wsus], rpc_policy: removed.reg}
`, `4:57: rpc_policy "removed.reg": the file has no policy that holds
removed.reg:3:1: the file removes the policy: nothing is left of it
5:57: rpc_policy "removed.reg": the file has no policy that holds`},
	{"domains that could not be read", "zones: {core: {networks: [10.0.0.0/24]}}\ndomains: [corp.example]\n" +
		"hosts: {a: {addresses: [10.0.0.1], roles: [member], domain: corp.example, zone: office}}\n", `2:10: domains: want keys with values, found a list
3:81: unknown zone "office"; known are core`},
	{"uses", base + `hosts:
  a: {addresses: [10.0.0.1], roles: [wsus], uses: [a, b, b, b/wsus, b/print-server, b/print-spooler, wsus, "wsus:x"]}
  b: {addresses: [10.0.0.2], roles: [print-spooler, dns-server], uses: [c, wsuz, c/wsus, a/wsuz, a/zzz, zzz, TermService, a/, "", /a]}
`, `4:52: host a uses itself, which no firewall sees: remove it
4:58: "b" is there twice: remove one
4:61: host b is no "wsus": its roles are dns-server, print-spooler
4:85: "b/print-spooler" is there twice: remove one
4:108: "wsus:x": uses go to every group: leave out ":x", or name the host as HOST/wsus
5:73: unknown host or role "c" in uses of b; it is a host of the site, HOST/ROLE, or a role that hosts have
5:76: unknown host or role "wsuz" in uses of b; did you mean "wsus"?
5:82: unknown host "c" in uses of b; HOST/ROLE names a host of the site
5:90: unknown role "wsuz" in uses of b; did you mean "wsus"?
5:98: unknown role "zzz" in uses of b; "quaymaster role list" and "quaymaster service list" have all that there are
5:105: unknown host or role "zzz" in uses of b; it is a host of the site, HOST/ROLE, or a role that hosts have
5:110: role "TermService" in uses of b may be terminal-services or rdp-shadow-remote-assist: name one
5:123: unknown role "" in uses of b; "quaymaster role list" and "quaymaster service list" have all that there are
5:127: unknown host or role "" in uses of b; it is a host of the site, HOST/ROLE, or a role that hosts have
5:131: unknown host "" in uses of b; HOST/ROLE names a host of the site`},
	{"firewalls", base + `firewalls:
  edge: {zones: [core, core], kind: nftable}
  inner: {zones: [core], follows: [epm, ftpp, epm]}
  outer: {zones: [core, dnz, dmz]}
  none: {}
  "b d": {zones: [core, dmz], kind: "", nat: 1}
`, `4:24: firewall edge is between zone core and itself: name another zone, or remove it
4:37: unknown kind of firewall "nftable"; did you mean "nftables"?
5:18: firewall inner is between two zones, and has 1: name them, zones: [core, dmz]
5:41: unknown control channel "ftpp"; did you mean "ftp"?
5:47: "epm" is there twice: remove one
6:25: unknown zone "dnz"; did you mean "dmz"?
8:3: firewall "b d": want letters and digits, between them also '-', '_' and '.', such as app-1
8:37: unknown kind of firewall ""; known are nftables
8:46: firewalls.b d.nat: want true or false, found 1`},
	{"firewall called as a host", base + `hosts: {Edge: {addresses: [10.0.0.1], roles: [wsus]}}
firewalls: {edge: {zones: [core, dmz]}}
`, `4:13: firewall "edge" is called as the host "Edge": rename one, since rules are asked for by either name`},
	{"tunnels", base + `tunnels:
- {between: [core, core], kind: ipsec}
- {between: [core], kind: gre}
- {between: [core, dmz], kind: ipsec}
- {between: [dmz, core], kind: pptp}
- {between: [core, dmz, lan]}
- {kind: pptp}
`, `4:20: the tunnel is between zone core and itself: name another zone, or remove it
5:13: the tunnel is between two zones, and has 1: name them, between: [core, dmz]
5:27: unknown kind of tunnel "gre"; known are ipsec, pptp
7:3: a tunnel between core and dmz is on line 6 already: keep one
8:3: the tunnel has no kind: write kind: ipsec, or pptp
8:13: the tunnel is between 3 zones: make a tunnel of each two
8:25: unknown zone "lan"; known are core, dmz
9:3: the tunnel is between two zones, and has 0: name them, between: [core, dmz]`},
	{"options", base + `options: {mode: precice, profile: hard, icmp: maybe, need: [required, requird, required]}
`, `3:17: unknown mode "precice"; did you mean "precise"?
3:35: unknown profile "hard"; known are vendor, hardened
3:47: options.icmp: want true or false, found text "maybe"
3:71: unknown need "requird"; did you mean "required"?
3:80: "required" is there twice: remove one`},
	{"no needs", base + `options: {need: []}
`, `3:17: need is empty, and nothing would be planned: name needs, [required], or remove the key`},
	{"text from elsewhere", base + `hosts: {a: {zone: "\e[2J", addresses: ["\e[2J"], roles: ["\e[2J"], domain: "\e[2J", pins: {ntds: "\e[2J"}, uses: ["\e[2J"], dynamic_range: "\e[2J"}, "\e[2J": {addresses: [10.0.0.2], roles: [dc, "zzz\u202e"]}}
options: {mode: "\e[2J"}
`, `3:19: unknown zone "\x1b[2J"; known are core, dmz
3:40: "\x1b[2J" is no address or network: write one such as 10.0.0.10, 10.0.0.0/24 or fd00:1::/64
3:58: unknown role "\x1b[2J" of host a; "quaymaster role list" and "quaymaster service list" have all that there are
3:76: unknown domain "\x1b[2J"; if it is right add it to domains: {\x1b[2J: {}}
3:98: ntds "\x1b[2J": want a port such as 443 or a range such as 5000-5020
3:140: dynamic_range "\x1b[2J": want a port such as 443 or a range such as 5000-5020
3:150: host "\x1b[2J": want letters and digits, between them also '-', '_' and '.', such as app-1
3:150: host \x1b[2J is dc, which needs a domain: say which, domain: corp.example
3:195: unknown role "zzz\u202e" of host \x1b[2J; "quaymaster role list" and "quaymaster service list" have all that there are
4:17: unknown mode "\x1b[2J"; known are precise, environment`},
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range mistaken {
		t.Run(tt.name, func(t *testing.T) {
			s, err := site.Read("s.yaml", []byte(tt.text), catalog.Builtin(), open, "nftables")
			if err == nil || s != nil {
				t.Fatalf("Read = %v, %v, want only an error", s, err)
			}
			got := strings.ReplaceAll("\n"+err.Error(), "\ns.yaml:", "\n")[1:]
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
