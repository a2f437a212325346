package site_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

const regHead = "Windows Registry Editor Version 5.00\n\n"

// beside are the files that stand beside a site file.
var beside = map[string]string{
	"good.yaml":   "pool: {ports: [5000-5100, \"80\"], ports_internet_available: true, use_internet_ports: true}\n",
	"outside.reg": regHead + "[HKEY_LOCAL_MACHINE\\Software\\Microsoft\\Rpc\\Internet]\n\"Ports\"=hex(7):35,00,30,00,30,00,30,00,2d,00,36,00,30,00,30,00,30,00,30,00,00,00,00,00\n\"PortsInternetAvailable\"=\"N\"\n\"UseInternetPorts\"=\"Y\"\n",
	"bad.reg":     regHead + "[HKEY_LOCAL_MACHINE\\Software\\Microsoft\\Rpc\\Internet]\n\"Ports\"=hex(7):35,00,30,00,30,00,30,00,2d,00,78,00,00,00,00,00\n\"PortsInternetAvailable\"=\"J\"\n",
	"removed.reg": regHead + "[-HKEY_LOCAL_MACHINE\\Software\\Microsoft\\Rpc\\Internet]\n",
	"broken.yaml": "pool: {prots: [5000-5100]}",
	"low.yaml":    "pool: {ports: [80], ports_internet_available: true, use_internet_ports: true}\n",
}

func open(name string) ([]byte, error) {
	text, ok := beside[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func read(t testing.TB, text string) *site.Site {
	t.Helper()
	s, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), open, "nftables")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A reporter is a test, of rapid too.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// describe returns all that a site says but for its warnings, a line for each of its parts. It goes
// everywhere, and fails the test where something is nil that may not be.
func describe(t reporter, s *site.Site) string {
	t.Helper()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, z := range s.Zones {
		line("zone %s %v", z.Name, z.Networks)
	}
	for _, d := range s.Domains {
		line("domain %s %s %s", d.Name, d.Forest, d.SYSVOL)
	}
	for _, tr := range s.Trusts {
		line("trust %s %s %s", tr.Trusting.Name, tr.Trusted.Name, tr.Phase)
	}
	for _, h := range s.Hosts {
		line("host %s %s %v", h.Name, h.Zone.Name, h.Addresses)
		if h.OS != nil {
			line("  os %s", h.OS.ID)
		}
		if h.Domain != nil {
			line("  domain %s", h.Domain.Name)
		}
		for _, r := range h.Roles {
			line("  role %s %q", r.ID, r.Group)
		}
		for _, p := range h.Pins {
			line("  pin %s %v", p.ID, p.Ports)
		}
		if d := h.Dynamic; d.From != "" {
			line("  dynamic %v %s %t", d.Ports, d.From, d.Policy)
		}
		if h.LDAPS || h.NetBIOS || h.IsGroup() {
			line("  ldaps %t netbios %t group %t", h.LDAPS, h.NetBIOS, h.IsGroup())
		}
		for _, u := range h.Uses {
			of := "every"
			if u.Host != nil {
				of = u.Host.Name
			} else if u.Role == "" {
				t.Errorf("host %s uses nothing", h.Name)
			}
			line("  uses %s %s", of, u.Role)
		}
		if len(h.Addresses) == 0 {
			t.Errorf("host %s has no addresses", h.Name)
		}
	}
	for _, f := range s.Firewalls {
		line("firewall %s %q %v nat %t", f.Name, f.Kind, f.Follows, f.NAT)
		for _, z := range f.Zones {
			line("  zone %s", z.Name)
		}
		if len(f.Zones) < 2 {
			t.Errorf("firewall %s has %d zones", f.Name, len(f.Zones))
		}
	}
	for _, tu := range s.Tunnels {
		line("tunnel %s %s %s", tu.Between[0].Name, tu.Between[1].Name, tu.Kind)
	}
	icmp := "as the profile"
	if s.Options.ICMP != nil {
		icmp = fmt.Sprint(*s.Options.ICMP)
	}
	line("options environment %t hardened %t icmp %s needs %v", s.Options.Environment, s.Options.Hardened, icmp, s.Options.Needs)
	return b.String()
}

// full says everything that can be said.
const full = `zones:
  dmz: {networks: [192.0.2.0/24]}
  core: {networks: ["fd00:1::/64", 10.0.1.0/24, 10.0.0.0/24]}
domains:
  corp.example: {}
  eu.corp.example: {forest: corp.example, sysvol: frs}
  partner.example: {forest: partner.example, sysvol: dfsr}
trusts:
- {trusting: partner.example, trusted: corp.example}
- {trusting: corp.example, trusted: eu.corp.example, direction: two-way, phase: create}
hosts:
  dc2:
    addresses: ["fd00:1::11", 10.0.0.11]
    roles: [rodc]
    domain: corp.example
    rpc_policy: good.yaml
  dc1:
    zone: core
    addresses: [10.0.0.10, "fd00:1::10"]
    os: 2019
    roles: [Domain Controller, dns_server, global-catalog]
    domain: corp.example
    pins: {netlogon: 38902, ntds: 38901}
    ldaps: true
    netbios: true
    uses: [web, files, files/print-server, terminal-services, failover-cluster]
  dc3:
    addresses: [10.0.0.12]
    roles: [dc]
    domain: eu.corp.example
    rpc_policy: outside.reg
  dc4:
    addresses: [10.0.0.13]
    roles: [dc]
    domain: partner.example
  files:
    addresses: [10.0.0.0/29, 10.0.0.128/25, 10.0.1.0/24]
    roles: ["failover-cluster:sql", file-server, print-spooler, "cluster:other"]
    uses: [files]
    dynamic_range: 50000-50255,50300
  web:
    addresses: [192.0.2.1]
    roles: [terminal-services]
    pins: {iis-ftp-passive: 5000-5100, onc-lockd: "32769,32803"}
firewalls:
  inner: {zones: [dmz, core], kind: nftables, follows: [tftp, epm, ftp, portmapper], nat: true}
  edge: {zones: [core, dmz]}
tunnels:
- {between: [dmz, core], kind: pptp}
options: {mode: environment, profile: hardened, icmp: false, need: [required, legacy]}
`

func TestRead(t *testing.T) {
	s := read(t, full)
	want := `zone core [10.0.0.0/24 10.0.1.0/24 fd00:1::/64]
zone dmz [192.0.2.0/24]
domain corp.example corp.example dfsr
domain eu.corp.example corp.example frs
domain partner.example partner.example dfsr
trust corp.example eu.corp.example create
trust eu.corp.example corp.example create
trust partner.example corp.example use
host dc1 core [10.0.0.10/32 fd00:1::10/128]
  os windows-server-2019
  domain corp.example
  role dc ""
  role dns-server ""
  role global-catalog ""
  pin netlogon 38902
  pin ntds 38901
  ldaps true netbios true group false
  uses every cluster
  uses every terminal-services
  uses files 
  uses files print-spooler
  uses web 
host dc2 core [10.0.0.11/32 fd00:1::11/128]
  domain corp.example
  role rodc ""
  dynamic 5000-5100 rpc_policy good.yaml true
host dc3 core [10.0.0.12/32]
  domain eu.corp.example
  role dc ""
  dynamic 60001-65535 rpc_policy outside.reg true
host dc4 core [10.0.0.13/32]
  domain partner.example
  role dc ""
host files core [10.0.0.0/29 10.0.0.128/25 10.0.1.0/24]
  role cluster "other"
  role cluster "sql"
  role print-spooler ""
  role server ""
  dynamic 50000-50255,50300 dynamic_range false
  ldaps false netbios false group true
  uses files 
host web dmz [192.0.2.1/32]
  role terminal-services ""
  pin iis-ftp-passive 5000-5100
  pin onc-lockd 32769,32803
firewall edge "" [] nat false
  zone core
  zone dmz
firewall inner "nftables" [epm ftp portmapper tftp] nat true
  zone core
  zone dmz
tunnel core dmz pptp
options environment true hardened true icmp false needs [legacy required]
`
	if diff := cmp.Diff(want, describe(t, s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(s.Warnings) > 0 {
		t.Errorf("warnings:\n%v", s.Warnings)
	}
	if s.Catalog != catalog.Builtin() {
		t.Error("the site has another catalog than it was read with")
	}
	if got, want := s.Mistake("$.firewalls.inner.nat", "bad").Error(), "s.yaml:46:91: bad"; got != want {
		t.Errorf("Mistake = %q, want %q", got, want)
	}
}

func TestReadDefaults(t *testing.T) {
	s := read(t, "zones: {core: {networks: [10.0.0.0/24]}}\nhosts: {a: {addresses: [10.0.0.1], roles: [wsus]}}\n")
	want := "zone core [10.0.0.0/24]\nhost a core [10.0.0.1/32]\n  role wsus \"\"\noptions environment false hardened false icmp as the profile needs []\n"
	if diff := cmp.Diff(want, describe(t, s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The pools are those of the host's own system.
func TestReadPolicyOfOldSystem(t *testing.T) {
	s := read(t, "zones: {core: {networks: [10.0.0.0/24]}}\nhosts: {a: {addresses: [10.0.0.1], roles: [wsus], os: 2003, rpc_policy: outside.reg}}\n")
	if got, want := s.Hosts[0].Dynamic.Ports.String(), "1025-4999"; got != want {
		t.Errorf("the host gives out %s, want %s", got, want)
	}
}

// A file is opened once, whoever names it.
func TestReadOpensOnce(t *testing.T) {
	opened := 0
	count := func(name string) ([]byte, error) {
		opened++
		return open(name)
	}
	text := base + "hosts:\n  a: {addresses: [10.0.0.1], roles: [wsus], rpc_policy: good.yaml}\n  b: {addresses: [10.0.0.2], roles: [wsus], rpc_policy: good.yaml}\n"
	if _, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), count); err != nil || opened != 1 {
		t.Errorf("Read opened %d files, %v, want one", opened, err)
	}
}

// Without kinds any kind is taken: who has no targets cannot say which there are.
func TestReadAnyKind(t *testing.T) {
	text := base + "hosts:\n  a: {addresses: [10.0.0.1], roles: [wsus]}\nfirewalls: {edge: {zones: [core, dmz], kind: magic}}\n"
	s, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), open)
	if err != nil || s.Firewalls[0].Kind != "magic" {
		t.Errorf("Read = %v, %v, want the kind magic", s, err)
	}
}

// uncommented returns the example with the keys that stand in comments, but for the one that goes with no other.
func uncommented() []byte {
	text := regexp.MustCompile(`(?m)^( *)# ( *(?:- )?[a-z_.]+:)`).ReplaceAll(site.Example(), []byte("$1$2"))
	return regexp.MustCompile(`(?m)^ *rpc_policy:.*\n`).ReplaceAll(text, nil)
}

// What the example has in comments is right too.
func TestExampleComments(t *testing.T) {
	s := read(t, string(uncommented()))
	if len(s.Trusts) != 2 || len(s.Tunnels) != 1 || len(s.Domains) != 3 || s.Options.ICMP == nil || !s.Hosts[0].LDAPS || !s.Firewalls[0].NAT {
		t.Errorf("not all comments are read:\n%s", describe(t, s))
	}
}

func TestExample(t *testing.T) {
	s := read(t, string(site.Example()))
	if len(s.Warnings) > 0 {
		t.Errorf("the example has warnings:\n%v", s.Warnings)
	}
	if len(s.Hosts) < 3 || len(s.Firewalls) == 0 {
		t.Errorf("the example has %d hosts and %d firewalls", len(s.Hosts), len(s.Firewalls))
	}
}

// The file that the documentation shows works.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/site.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "\n    zones:\n")
	block, _, _ = strings.Cut(block, "\n\n")
	if !ok {
		t.Fatal("docs/site.md shows no site")
	}
	if s := read(t, "zones:\n"+strings.ReplaceAll("\n"+block, "\n    ", "\n")[1:]); len(s.Warnings) > 0 {
		t.Errorf("warnings: %v", s.Warnings)
	}
}
