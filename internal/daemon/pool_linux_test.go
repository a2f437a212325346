package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/portset"
)

// policyText returns a policy in YAML.
func policyText(ports string, available, use bool) string {
	return fmt.Sprintf("pool:\n  ports: [%s]\n  ports_internet_available: %t\n  use_internet_ports: %t\n", ports, available, use)
}

// testHost is a host with the kernel's defaults.
var testHost = &portpool.Host{Local: portset.Of(portset.Range{First: 32768, Last: 60999})}

// TestPools: what the options say of the policy becomes the pools.
func TestPools(t *testing.T) {
	const outside = `level=WARN msg="the policy of ports is hardly what was meant" err="%s:4:23: ordinary servers get ports outside the list, since ports_internet_available true with use_internet_ports false selects every other port: true with true, or false with false, keeps them inside" hint="%s"` + "\n"
	for _, tt := range []struct {
		name, text string
		ports      string // that ordinary servers get
		err, log   string // FILE stands for the file
	}{
		{"valid", policyText("5100-5300", true, true), "5100-5300", "", ""},
		{"warnings are no matter for the log", policyText("5000", true, true), "5000", "", ""},
		{"hardly meant", policyText("5100-5300", true, false), "61000-65535", "", fmt.Sprintf(outside, "FILE", "quaymaster pool lint FILE tells more")},
		{"invalid", policyText("5100-x, 9-8", true, true), "", `FILE:2:11: string 1 of ports, "5100-x", is no port or range: write a port such as 5000 or a range such as 5000-5020` +
			"\n" + `FILE:2:19: string 2 of ports, "9-8", is reversed: write 8-9`, ""},
		{"no policy", "# nothing\n", "", "FILE: no policy here: the file has no key pool: write one as quaymaster pool convert FILE --to yaml does", ""},
		{"no YAML", "pool: [\n", "", "FILE:1:7: ", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := newPlace(t).dir + "/pool.yaml"
			write(t, file, tt.text)
			chmod(t, file, 0o644)
			log, out := testLog(slog.LevelInfo)
			pools, err := (&Options{PoolFile: file}).pools(testHost, os.Geteuid(), log)
			want := strings.Replace(tt.err, "FILE", file, 1)
			want = strings.Replace(want, "\nFILE:", "\n"+file+":", 1)
			var mistakes config.Mistakes
			if !strings.HasPrefix(errorText(err), want) || (err == nil) != (want == "") || err != nil && !errors.As(err, &mistakes) {
				t.Errorf("pools: %v, want the mistakes %s", err, want)
			}
			if err == nil && (pools.Source != file || pools.Host != testHost || pools.Ports(portpool.Default).String() != tt.ports) {
				t.Errorf("pools = %+v with %v for ordinary servers, want %s", pools, pools.Ports(portpool.Default), tt.ports)
			}
			if want := strings.ReplaceAll(tt.log, "FILE", file); out.String() != want {
				t.Errorf("the log has\n%swant\n%s", out, want)
			}
		})
	}
	t.Run("the key of the configuration", func(t *testing.T) {
		o, err := Load("serve.yaml", []byte(policyText("5100-5300", true, false)))
		if err != nil {
			t.Fatal(err)
		}
		log, out := testLog(slog.LevelInfo)
		pools, err := o.pools(testHost, os.Geteuid(), log)
		if err != nil || pools.Source != absolute("serve.yaml") || pools.Ports(portpool.Default).String() != "61000-65535" {
			t.Errorf("pools = %+v, %v", pools, err)
		}
		if want := fmt.Sprintf(outside, "serve.yaml", "quaymaster pool lint tells more, of the key pool in a file of its own"); out.String() != want {
			t.Errorf("the log has\n%swant\n%s", out, want)
		}
		o.PoolFile = newPlace(t).dir + "/pool.yaml" // goes first
		write(t, o.PoolFile, policyText("6000", true, true))
		chmod(t, o.PoolFile, 0o644)
		if pools, err = o.pools(testHost, os.Geteuid(), log); err != nil || pools.Source != o.PoolFile || pools.Ports(portpool.Default).String() != "6000" {
			t.Errorf("pools with a file and a key = %+v, %v", pools, err)
		}
	})
	t.Run("none", func(t *testing.T) {
		log, _ := testLog(slog.LevelInfo)
		pools, err := (&Options{}).pools(testHost, os.Geteuid(), log)
		if err != nil || pools.Source != "" || pools.Policy != nil || pools.Ports(portpool.Default).String() != "61000-65535" {
			t.Errorf("pools without a policy = %+v, %v", pools, err)
		}
		if pools.Host = nil; !pools.Ports(portpool.Default).IsEmpty() {
			t.Errorf("ports of a host that is not known: %v", pools.Ports(portpool.Default))
		}
	})
}

const policyStays = `msg="policy of ports stays as it was"`

// TestReloadPool: the policy is read again on SIGHUP; a bad one leaves the old, and the
// rest of what is reloaded as it is.
func TestReloadPool(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	file := newPlace(t).dir + "/pool.yaml"
	put := func(text string, mode os.FileMode) {
		t.Helper()
		write(t, file, text)
		chmod(t, file, mode)
	}
	put(policyText("5100-5300", true, true), 0o644)
	r := startReloading(t, Options{PoolFile: file})
	logs := func(line string) {
		t.Helper()
		if !strings.Contains(r.Output(), line) {
			t.Errorf("the log lacks %s:\n%s", line, r.Output())
		}
	}
	put(policyText("5100-5400", true, false), 0o644)
	r.hangUp(t, `msg="policy of ports read again" file=`+file)
	logs(`level=WARN msg="the policy of ports is hardly what was meant" err="` + file + `:4:23: `)

	for text, want := range map[string]string{
		policyText("5400-5100", true, true): file + `:2:11: string 1 of ports, \"5400-5100\", is reversed: write 5100-5400`,
		"# nothing\n":                       file + `: no policy here: `,
	} {
		put(text, 0o644)
		r.hangUp(t, policyStays)
		logs("level=ERROR " + policyStays + ` err="` + want)
	}
	put(policyText("5100-5400", true, true), 0o666)
	r.hangUp(t, policyStays)
	logs("level=ERROR " + policyStays + ` err="` + file + `: it can be written by everybody: chmod go-w ` + file)
	remove(t, file)
	write(t, r.options.permanentFile(), "- {program: nfs, version: 3, netid: tcp, address: 10.0.0.9, port: 2049}\n")
	r.hangUp(t, readAgain)
	logs("level=ERROR " + policyStays + ` err="open ` + file + `: no such file or directory"`)
	if rows := r.permanentRows(t); len(rows) != 1 {
		t.Errorf("permanent rows %q beside a policy that cannot be read, want one", rows)
	}
	r.options.PoolFile = ""
	r.hangUp(t, `msg="policy of ports read again" file=none`)
	r.stop(t)
}

// TestPoolOfAnother: the daemon reads the policy as root, and again as the account that
// it has become. Who owns it is held against who started the daemon.
func TestPoolOfAnother(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.File(t, "/etc/passwd", "root:x:0:0::/root:/bin/sh\nquay:x:4711:4712::/:/bin/false\n")
	nstest.File(t, "/etc/group", "root:x:0:\nquay:x:4712:\n")
	p := newPlace(t)
	for dir := filepath.Dir(p.dir); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		chmod(t, dir, 0o755)
	}
	file := p.dir + "/pool.yaml"
	write(t, file, policyText("5100-5300", true, true))
	chmod(t, file, 0o600)
	r := startReloading(t, Options{PoolFile: file, User: "quay"})
	const denied = `: permission denied: the daemon runs as quay (4711), who must be able to read the file and to reach it through every folder"`
	if want := `level=WARN msg="the policy of ports cannot be read again on SIGHUP" err="open ` + file + denied; !strings.Contains(r.Output(), want) {
		t.Errorf("the log lacks %s:\n%s", want, r.Output())
	}
	r.hangUp(t, policyStays)
	if want := policyStays + ` err="open ` + file + denied; !strings.Contains(r.Output(), want) {
		t.Errorf("the log lacks %s:\n%s", want, r.Output())
	}
	chmod(t, file, 0o644)
	r.hangUp(t, `msg="policy of ports read again" file=`+file)
	if err := os.Chown(file, 4711, -1); err != nil { // the account itself may not change it either
		t.Fatal(err)
	}
	r.hangUp(t, policyStays+` err="`+file+`: it belongs to quay (4711)`)
	r.stop(t)
}

// TestBadPool: without a policy that can be used the daemon does not begin.
func TestBadPool(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	p := newPlace(t)
	file := p.dir + "/pool.yaml"
	dir := t.TempDir()
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{policyText("5100, x, y", true, true), 0o644, file + `:2:17: string 2 of ports, "x", is no port or range: write a port such as 5000 or a range such as 5000-5020` + "\n" +
			file + `:2:20: string 3 of ports, "y", is no port or range: write a port such as 5000 or a range such as 5000-5020` + "\n"},
		{policyText("5100", true, true), 0o666, file + ": it can be written by everybody: chmod go-w " + file + "\n"},
		{"", 0, "--pool: open " + file + ": no such file or directory\n"},
	} {
		if tt.mode == 0 {
			remove(t, file)
		} else {
			write(t, file, tt.text)
			chmod(t, file, tt.mode)
		}
		c := nstest.StartCommand(t, command(t, Options{Dev: true, StateDir: dir, PoolFile: file}))
		if status := c.Wait(t, patience); status != 1 || c.Output() != tt.want {
			c.Signal(syscall.SIGTERM)
			t.Errorf("the daemon ended with %d and wrote\n%swant\n%s", status, c.Output(), tt.want)
		}
		if exists(dir + "/control.sock") {
			t.Error("a socket is left after the failure")
		}
	}
}
