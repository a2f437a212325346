package launch

import (
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

func TestComplete(t *testing.T) {
	for _, tt := range []struct {
		words            string
		tcp, udp         bool
		wantTCP, wantUDP bool
		mistake          string
	}{
		{words: "x", wantTCP: true},
		{words: "x {port}", wantTCP: true},
		{words: "x {port}", udp: true, wantUDP: true},
		{words: "x {port}", tcp: true, udp: true, wantTCP: true, wantUDP: true},
		{words: "x", udp: true, wantUDP: true},
		{words: "x {tcp}", wantTCP: true},
		{words: "x --u={udp}", wantUDP: true},
		{words: "x {tcp}:{udp}", wantTCP: true, wantUDP: true},
		{words: "x {tcp} {udp}", tcp: true, wantTCP: true},
		{words: "x {tcp} {udp}", udp: true, wantUDP: true},
		{words: "{tcp} {other}", wantTCP: true}, // a strange name of a program
		{words: "x {port} {tcp}", mistake: "use either"},
		{words: "x {port} {udp}", mistake: "use either"},
		{words: "x {tcp}", udp: true, mistake: "--udp"},
		{words: "x {udp}", tcp: true, mistake: "--tcp"},
		{words: "x {udp}", tcp: true, udp: true, mistake: "--tcp"},
	} {
		j := Job{Command: strings.Fields(tt.words), TCP: tt.tcp, UDP: tt.udp}
		err := j.Complete()
		switch {
		case tt.mistake != "":
			if err == nil || !strings.Contains(err.Error(), tt.mistake) {
				t.Errorf("%s, %t, %t: %v, want a mistake with %q", tt.words, tt.tcp, tt.udp, err, tt.mistake)
			}
		case err != nil || j.TCP != tt.wantTCP || j.UDP != tt.wantUDP:
			t.Errorf("%s, %t, %t: %t, %t, %v, want %t, %t", tt.words, tt.tcp, tt.udp, j.TCP, j.UDP, err, tt.wantTCP, tt.wantUDP)
		}
	}
}

func TestRequest(t *testing.T) {
	for words, want := range map[string]api.GrantRequest{
		"x":                {TCP: true, UDP: true},
		"x {port}":         {TCP: true, UDP: true},
		"x {tcp}":          {TCP: true},
		"x {udp}":          {UDP: true},
		"x -t {tcp},{udp}": {TCP: true, UDP: true, Apart: true},
	} {
		want.Dialect, want.Pool, want.Command = "dce", "internet", "x"
		j := Job{Command: strings.Fields(words), Pool: "internet", Interfaces: []endpoint.Document{{Dialect: "dce"}}}
		if got := j.request(); got != want {
			t.Errorf("%s: request = %+v, want %+v", words, got, want)
		}
	}
}

func TestFill(t *testing.T) {
	for _, tt := range []struct {
		words    []string
		tcp, udp uint16
		want     []string
	}{
		{[]string{"x", "-p", "{port}"}, 5001, 5001, []string{"x", "-p", "5001"}},
		{[]string{"x", "--at=*:{port},[::]:{port}", "", "{Port}", "{ port }", "{}", "{port"}, 5001, 5001,
			[]string{"x", "--at=*:5001,[::]:5001", "", "{Port}", "{ port }", "{}", "{port"}},
		{[]string{"x", "{udp}{tcp}"}, 1, 2, []string{"x", "21"}},
		{[]string{"{port}"}, 1, 1, []string{"{port}"}},
	} {
		if got := fill(tt.words, tt.tcp, tt.udp); !slices.Equal(got, tt.want) {
			t.Errorf("fill(%q, %d, %d) = %q, want %q", tt.words, tt.tcp, tt.udp, got, tt.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := []string{"A=1", "QUAYMASTER_PORT=7", "QUAYMASTER_PORTS=8"}
	if got, want := environment(env, 5001), []string{"A=1", "QUAYMASTER_PORTS=8", "QUAYMASTER_PORT=5001"}; !slices.Equal(got, want) {
		t.Errorf("environment = %q, want %q", got, want)
	}
	if env[1] != "QUAYMASTER_PORT=7" {
		t.Errorf("the caller's environment has changed: %q", env)
	}
}

func TestTitle(t *testing.T) {
	for _, tt := range []struct {
		program, want string
	}{
		{"rpc.mountd", "rpc.mountd"},
		{"/usr/sbin/rpc.mountd", "rpc.mountd"},
		{"./\x1b[2J", `\x1b[2J`},
		{strings.Repeat("x", 63), strings.Repeat("x", 63)},
		{strings.Repeat("x", 64), strings.Repeat("x", 60) + "…"},
		{strings.Repeat("ä", 40), strings.Repeat("ä", 30) + "…"},
		{"x" + strings.Repeat("ä", 40), "x" + strings.Repeat("ä", 29) + "…"},
	} {
		got := title(tt.program)
		if got != tt.want {
			t.Errorf("title(%q) = %q, want %q", tt.program, got, tt.want)
		}
		g := endpoint.Grant{Dialect: endpoint.ONC, TCP: 1, Command: got}
		if err := g.Validate(); err != nil {
			t.Errorf("title(%q): %v", tt.program, err)
		}
	}
}
