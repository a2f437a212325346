package render_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
)

// write writes what a target says into a file and returns its path.
func write(t *testing.T, target string, in *render.Input) string {
	t.Helper()
	text, err := rendered(targetNamed(target), in)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// sh runs a command of the shell, which must succeed, and returns what it says.
func sh(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// headed returns the commands that the head of a text tells after a word, with its own path for FILE.
func headed(t *testing.T, path, word string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, line := range strings.Split(string(text), "\n") {
		if command, ok := strings.CutPrefix(line, "# "+word+":"); ok {
			all = append(all, strings.ReplaceAll(strings.TrimSpace(command), "FILE", path))
		}
	}
	if len(all) == 0 {
		t.Fatalf("the head of %s tells no %q", path, word)
	}
	return all
}

// loadable are subjects whose texts are loaded: those of the golden files, and one that tries to
// be more than names.
func loadable() map[string]*render.Input {
	s := &testSite{}
	bad := "'; reboot; \" `$(reboot)` # }\nEND\nflush ruleset\n-- --> <b> ]]> \\ \x1b[2J" + strings.Repeat("ü -A x ", 3000)
	core, dmz := s.zone(bad+"1"), s.zone(bad+"2")
	w := s.firewall(bad, core, dmz)
	f := s.flow("tcp/1,3-4,6", hosts(s.host(bad, dmz, "10.0.0.1", "10.0.0.3"), s.host("within", dmz, "10.0.0.0/24")), hosts(s.host(bad+"b", core, "10.1.0.1", "10.1.0.3")))
	f.ID, f.App, f.Service, f.Relationship, f.Condition, f.Sources = bad, bad, bad, bad, bad, []string{bad}
	all := subjects()
	all["names"] = render.ForFirewall(s.plan(), w)
	return all
}

func TestNftablesLoads(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	for name, in := range loadable() {
		for _, family := range familiesOf("nftables") {
			in.Family = family
			path := write(t, "nftables", in)
			sh(t, "nft -c -f "+path)
			load := headed(t, path, "load")[0]
			sh(t, load)
			once := sh(t, "nft list ruleset")
			sh(t, load)
			if twice := sh(t, "nft list ruleset"); twice != once {
				t.Errorf("%s, family %d: loaded once\n%s\ntwice\n%s", name, family, once, twice)
			}
			if n := strings.Count(sh(t, "nft list tables"), "table"); n != 1 {
				t.Errorf("%s, family %d: %d tables, want 1", name, family, n)
			}
			sh(t, headed(t, path, "remove")[0])
			if left := sh(t, "nft list ruleset"); left != "" {
				t.Errorf("%s, family %d: removed, there is\n%s", name, family, left)
			}
		}
	}
}

func TestIptablesLoads(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			if backend == "legacy" {
				nstest.NeedRoot(t) // iptables-legacy-save reads the names of tables in /proc
			}
			useIptables(t, backend)
			for name, in := range loadable() {
				for _, family := range familiesOf("iptables") {
					in.Family = family
					program := []string{"", "iptables", "ip6tables"}[family]
					path := write(t, "iptables", in)
					sh(t, program+"-restore --test --noflush "+path)
					before := sh(t, program+" -A FORWARD -i other0 -j ACCEPT; "+program+" -A INPUT -i other0 -j ACCEPT; "+program+"-save | grep ^-A")
					var saved [2]string
					for i := range saved {
						for _, command := range slices.Concat(headed(t, path, "load"), headed(t, path, "once")) {
							sh(t, command)
						}
						saved[i] = sh(t, program+"-save | grep ^-A")
					}
					if saved[0] != saved[1] {
						t.Errorf("%s, family %d: loaded once\n%s\ntwice\n%s", name, family, saved[0], saved[1])
					}
					empty := render.ForFirewall(plan.Of(in.Plan.Site, nil), in.Firewall)
					if in.Host != nil {
						empty = render.ForHost(empty.Plan, in.Host)
					}
					empty.Family = family
					sh(t, headed(t, write(t, "iptables", empty), "load")[0]) // leaves chains of the rules before
					sh(t, headed(t, path, "remove")[0])
					if after := sh(t, program+"-save | grep ^-A"); after != before {
						t.Errorf("%s, family %d: before\n%s\nafter it was removed\n%s", name, family, before, after)
					}
					if left := sh(t, program+"-save"); strings.Contains(left, "qm-") {
						t.Errorf("%s, family %d: removed, there is\n%s", name, family, left)
					}
					sh(t, program+" -F")
				}
			}
		})
	}
}

// useIptables has the commands of iptables be those of a backend, nft or legacy.
func useIptables(t *testing.T, backend string) {
	t.Helper()
	program := nstest.Path(t, "iptables-"+backend)
	bin := t.TempDir()
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		target := filepath.Join(filepath.Dir(program), strings.Replace(name, "tables", "tables-"+backend, 1))
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":/usr/sbin:/sbin:"+os.Getenv("PATH"))
}

// Ten thousand pairs of hosts are loaded in a moment, whether they are alike or each has ports of its own.
func TestLargeTextsLoad(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t) // or messages to the kernel are short
	nstest.Need(t, "nft", "iptables-nft", "iptables-legacy")
	for name, p := range map[string]*plan.Plan{
		"100 members, 100 domain controllers": domain(100, 100),
		"10,000 flows of two hosts each":      pairs(10_000),
	} {
		for _, load := range []struct{ target, program, option string }{
			{"nftables", "nft", "-f"}, {"iptables", "iptables-nft-restore", "--noflush"}, {"iptables", "iptables-legacy-restore", "--noflush"},
		} {
			in := render.ForFirewall(p, p.Site.Firewalls[0])
			in.Family = render.IPv4
			cmd := exec.Command(nstest.Path(t, load.program), load.option, write(t, load.target, in))
			start := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %s: %v\n%s", name, load.program, err, out)
			}
			busy := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			t.Logf("%s: %s loaded it in %v, of which it was busy for %v", name, load.program, time.Since(start), busy)
			if busy > 3*time.Second { // a tenth of that; with a set for each rule nft takes 10 s
				t.Errorf("%s: %s was busy for %v", name, load.program, busy)
			}
		}
	}
}

func TestFirewalldLoads(t *testing.T) {
	nstest.NeedRoot(t)
	nstest.Need(t, "firewalld")
	for name, in := range loadable() {
		for _, family := range familiesOf("firewalld") {
			if in.Family = family; family != render.Both && name != "edge" { // firewalld takes a second for each check
				continue
			}
			dir := t.TempDir()
			sh(t, "touch "+dir+"/firewalld.conf")
			path := write(t, "firewalld", in)
			files := func() string { return sh(t, "cd "+dir+" && find . -type f | sort | xargs cat") }
			before := files()
			sh(t, "sh "+path+" "+dir) // which has it checked
			once := files()
			sh(t, "echo >"+dir+"/ipsets/"+policyOf(t, dir)+"-v4-9.xml") // of an older plan
			sh(t, "sh "+path+" "+dir)
			if twice := files(); twice != once || once == before {
				t.Errorf("%s, family %d: written once\n%s\ntwice\n%s", name, family, once, twice)
			}
			remove, _, _ := strings.Cut(headed(t, path, "remove")[0], " && firewall-cmd")
			sh(t, strings.Replace(remove, "/etc/firewalld", dir, 1))
			if after := files(); after != before {
				t.Errorf("%s, family %d: removed, there is\n%s", name, family, after)
			}
		}
	}
}

// policyOf returns the name of the only policy in a folder of firewalld.
func policyOf(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "policies", "*.xml"))
	if err != nil || len(found) != 1 {
		t.Fatalf("policies %v, %v, want one", found, err)
	}
	return strings.TrimSuffix(filepath.Base(found[0]), ".xml")
}
