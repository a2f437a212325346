//go:build linux && !noauth

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// TestAskAuthenticated: Samba's mapper and services believe who asks, or not.
func TestAskAuthenticated(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "pdbedit")
	samba := nstest.Samba(t)
	add := exec.Command(nstest.Path(t, "pdbedit"), "-s", nstest.SambaConfig, "-a", "-u", "games", "-t")
	add.Stdin = strings.NewReader("a secret\na secret\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("pdbedit: %v: %s", err, out)
	}
	nstest.Start(t, samba[0], append(samba[1:], "--option=rpc server dynamic port range=50120-50140", "--libexec-rpcds")...)
	nstest.WaitToConnect(t, "tcp", "127.0.0.1:135", startTime)
	for name, text := range map[string]string{"/run/right": "a secret\n", "/run/wrong": "another\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(env string, more ...string) result {
		cmd := exec.Command(nstest.Path(t, "quaymaster"), append([]string{"ask", "127.0.0.1", "samr@tcp", "--user", "games"}, more...)...)
		cmd.Env = append(os.Environ(), env)
		return runCommand(t, cmd)
	}
	for _, tt := range []struct {
		name, env string
		flags     []string
		exit      int
		says      string
	}{
		{"from a file", "", []string{"--password-file", "/run/right"}, 0, "works"},
		{"from the environment", "QUAYMASTER_PASSWORD=a secret", []string{"--auth-level", "integrity"}, 0, "works"},
		{"wrong", "", []string{"--password-file", "/run/wrong"}, 3, "it does not believe who asks"},
		{"none", "", nil, 2, "no password for games: name a file (--password-file), set QUAYMASTER_PASSWORD, or ask from a terminal"},
		{"no file", "", []string{"--password-file", "/run/none"}, 1, "no such file"},
		{"a level that there is not", "", []string{"--auth-level", "all"}, 2, `--auth-level: there is no authentication at the level "all"`},
	} {
		r := ask(tt.env, tt.flags...)
		if text := r.Stdout + r.Stderr; r.Exit != tt.exit || !strings.Contains(text, tt.says) || strings.Contains(text, "a secret") || strings.Contains(text, "another") {
			t.Errorf("%s: %+v, want exit status %d and %q", tt.name, r, tt.exit, tt.says)
		}
	}
}
