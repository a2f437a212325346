package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/show"
)

func TestAskPorts(t *testing.T) {
	for _, tt := range []struct{ word, tcp, udp, err string }{
		{"tcp/88,135", "88,135", "", ""},
		{"udp/53,5000-5002", "", "53,5000-5002", ""},
		{"TCP/1-3", "1-3", "", ""},
		{"88/tcp,53/udp,443", "88,443", "53,443", ""},
		{"5000-5001/udp", "", "5000-5001", ""},
		{"65535", "65535", "65535", ""},
		{"tcp/x,70000,7", "7", "", "port \"x\": want a port such as 443 or a range such as 5000-5020\nport \"70000\": ports end at 65535"},
		{"tcp/", "", "", `port "": want a port such as 443 or a range such as 5000-5020`},
		{"sctp/88", "88", "88", `port "88": transport "sctp": want tcp or udp`},
		{"88/", "88", "88", `port "88/": transport "": want tcp or udp`},
		{"tcp/88/udp", "", "", `port "88/udp": want a port such as 443 or a range such as 5000-5020`},
		{"tcp/0", "", "", `port "0": nothing can be at port 0`},
		{"tcp/9-7", "", "", `port "9-7": range is reversed: write 7-9`},
	} {
		if !isPorts(tt.word) {
			t.Errorf("%q is not taken for ports", tt.word)
		}
		tcp, udp, err := parseAskPorts(tt.word)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.err || text == "" && (tcp.String() != tt.tcp || udp.String() != tt.udp) {
			t.Errorf("%q is tcp %q, udp %q, %q; want %q, %q, %q", tt.word, tcp, udp, text, tt.tcp, tt.udp, tt.err)
		}
	}
}

func TestAskWanted(t *testing.T) {
	both := askDialects{onc: true, dce: true}
	for _, tt := range []struct {
		word     string
		dialects askDialects
		onc, dce string // what is looked for
		err      string
	}{
		{"mountd", both, "100005 0", "", ""},
		{"mountd:3", both, "100005 3", "", ""},
		{"100005:3", both, "100005 3", "", ""},
		{"0x20000001", both, "536870913 0", "", ""},
		{drsuapi, both, "", drsuapi + " any", ""},
		{"drsuapi:4.0", both, "", drsuapi + " 4.0", ""},
		{"12345678-1234-1234-1234-123456789012", both, "", "12345678-1234-1234-1234-123456789012 any", ""},
		{"drsuapii", both, "", "", `"drsuapii" is no interface of the catalog; did you mean "drsuapi"?`},
		{"mountd:3.0", both, "", "", "mountd:3.0: a program of ONC RPC has versions such as 3, not 3.0"},
		{"mountd:", both, "", "", `mountd:: version "": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`},
		{"mountd@udp", both, "100005 0 udp", "", ""},
		{"mountd:3@tcp6", both, "100005 3 tcp6", "", ""},
		{"samr@np", both, "", "12345778-1234-abcd-ef00-0123456789ac any [ncacn_np]", ""},
		{"drsuapi:4.0@ncacn_ip_tcp", both, "", drsuapi + " 4.0 [ncacn_ip_tcp]", ""},
		{"mountd@", both, "", "", "mountd@: a program of ONC RPC is on udp, tcp, udp6, tcp6 or local"},
		{"mountd", askDialects{dce: true}, "", "", "mountd is a program of ONC RPC: leave --dce out"},
		{"drsuapi", askDialects{onc: true}, "", "", "drsuapi is an interface of DCE/RPC: leave --onc out"},
	} {
		if isPorts(tt.word) {
			t.Errorf("%q is taken for ports", tt.word)
		}
		w, err := parseWanted(catalog.Builtin(), tt.word, tt.dialects)
		if err != nil || tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%q: %v, want %s", tt.word, err, tt.err)
			}
			continue
		}
		var onc, dce []string
		for _, p := range w.programs {
			text := endpointText(p.Program, p.Version)
			if w.netid != 0 {
				text += " " + w.netid.String()
			}
			onc = append(onc, text)
		}
		for _, q := range w.interfaces {
			v := "any"
			if !q.AnyVersion {
				v = endpoint.Version{Major: uint32(q.Major), Minor: q.Minor, Dotted: true}.String()
			}
			if q.ProtSeqs != nil {
				v += fmt.Sprintf(" %v", q.ProtSeqs)
			}
			dce = append(dce, q.UUID.String()+" "+v)
		}
		if got := strings.Join(onc, ","); got != tt.onc {
			t.Errorf("%q looks for programs %q, want %q", tt.word, got, tt.onc)
		}
		if got := strings.Join(dce, ","); got != tt.dce {
			t.Errorf("%q looks for interfaces %q, want %q", tt.word, got, tt.dce)
		}
	}
}

func endpointText(numbers ...uint32) string {
	var b strings.Builder
	for i, n := range numbers {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(endpoint.Version{Major: n}.String())
	}
	return b.String()
}

func TestReadHosts(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{"fs1\n# all of them\n dc1.example.com  # the first\n\n10.0.0.1\r\nfe80::1%eth0\nfs1\n", "fs1 dc1.example.com 10.0.0.1 fe80::1%eth0", ""},
		{"fs1 fs2\nfs1:111\n10.0.0.0/8\n10.0.0\nfö\nok\n", "", "FILE:1: host \"fs1 fs2\": want one host in a line\nFILE:2: host \"fs1:111\": want a name or an address, without a port\n" +
			"FILE:3: host \"10.0.0.0/8\": want a host, not a network or ports\nFILE:4: host \"10.0.0\": no address\nFILE:5: host \"fö\": a name cannot have 'ö'"},
		{"# nobody\n", "", "FILE: no host is listed: want one in each line"},
		{strings.Repeat("a", 300), "", "FILE:1: host \"" + strings.Repeat("a", 40) + "\"…: names have at most 253 bytes"},
	} {
		name := filepath.Join(t.TempDir(), "hosts")
		if err := os.WriteFile(name, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		hosts, err := readHosts(name)
		text := ""
		if err != nil {
			text = strings.ReplaceAll(err.Error(), name, "FILE")
		}
		if got := strings.Join(hosts, " "); got != tt.want || text != tt.err {
			t.Errorf("readHosts of %q = %q, %q; want %q, %q", tt.text, got, text, tt.want, tt.err)
		}
	}
}

// oncEntry returns a row of mountd that was tried.
func oncEntry(version uint32, netid string, port uint16, state probe.State) askEntry {
	return askEntry{Dialect: "onc", Program: 100005, Name: "mountd", Version: endpoint.Version{Major: version}, NetID: netid,
		Address: "10.0.0.9", Port: port, State: state}
}

func answerOf(entries ...askEntry) *askHost {
	h := newAskHost("fs1")
	h.Address = "10.0.0.9"
	h.Mappers = append(h.Mappers, askMapper{Dialect: "onc", Via: "tcp 111, version 4", State: probe.Listening})
	h.Entries = append(h.Entries, entries...)
	return h
}

func TestCompareHosts(t *testing.T) {
	silent := answerOf()
	silent.Mappers[0].State = probe.Filtered
	cut := answerOf(oncEntry(3, "udp", 7, 0))
	cut.Mappers[0].Cut = true
	lost := newAskHost("fs1")
	lost.Error = "no such host"
	ports := func(s probe.State) *askHost {
		h := newAskHost("fs1")
		h.Address, h.Ports = "10.0.0.9", []triedPort{{Network: "tcp", Port: 88, State: s}}
		return h
	}
	for _, tt := range []struct {
		name    string
		was, is *askHost
		want    []string
	}{
		{"nothing", answerOf(oncEntry(3, "tcp", 7, probe.Listening)), answerOf(oncEntry(3, "tcp", 7, probe.Listening)), nil},
		{"not tried then", answerOf(oncEntry(3, "tcp", 7, probe.NotTried)), answerOf(oncEntry(3, "tcp", 7, probe.NotListening)), nil},
		{"state", answerOf(oncEntry(3, "tcp", 7, probe.Listening)), answerOf(oncEntry(3, "tcp", 7, probe.NotListening)),
			[]string{"~  fs1  mountd 100005 version 3  tcp 10.0.0.9:7  works → REFUSED"}},
		{"many", answerOf(oncEntry(3, "tcp", 7, 0), oncEntry(1, "tcp", 7, 0), oncEntry(1, "udp", 7, 0), oncEntry(2, "tcp", 7, 0)), answerOf(oncEntry(2, "tcp", 7, 0), oncEntry(4, "tcp", 7, 0)),
			[]string{"+  fs1  mountd 100005 version 4  tcp 10.0.0.9:7", "-  fs1  mountd 100005 version 1  tcp udp 10.0.0.9:7", "-  fs1  mountd 100005 version 3  tcp 10.0.0.9:7"}},
		{"another port", answerOf(oncEntry(3, "tcp", 7, 0)), answerOf(oncEntry(3, "tcp", 8, 0)),
			[]string{"+  fs1  mountd 100005 version 3  tcp 10.0.0.9:8", "-  fs1  mountd 100005 version 3  tcp 10.0.0.9:7"}},
		{"twice, then once", answerOf(oncEntry(3, "tcp", 7, 0), oncEntry(3, "tcp", 7, 0)), answerOf(oncEntry(3, "tcp", 7, 0)),
			[]string{"-  fs1  mountd 100005 version 3  tcp 10.0.0.9:7"}},
		{"a mapper that is silent has lost nothing", answerOf(oncEntry(3, "tcp", 7, 0)), silent, []string{"~  fs1  port mapper  listening → filtered"}},
		{"of a list that is cut nothing is absent", answerOf(oncEntry(3, "tcp", 7, 0)), cut, nil},
		{"not asked then", newAskHost("fs1"), answerOf(oncEntry(3, "tcp", 7, 0)), nil},
		{"lost", answerOf(oncEntry(3, "tcp", 7, 0)), lost, []string{"~  fs1  host  asked at 10.0.0.9 → no such host"}},
		{"port", ports(probe.Listening), ports(probe.Filtered), []string{"~  fs1  88/tcp  listening → filtered"}},
	} {
		if diff := cmp.Diff(tt.want, changeLines(compareHosts(tt.was, tt.is))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestWatchKeeps: a mapper that was silent for a while is compared with what it told before.
func TestWatchKeeps(t *testing.T) {
	first := answerOf(oncEntry(3, "tcp", 7, 0), oncEntry(3, "udp", 7, 0))
	silent := answerOf()
	silent.Mappers[0].State = probe.Filtered
	silent.keep(first)
	lost := newAskHost("fs1")
	lost.Error = "no such host"
	lost.keep(silent)
	want := []string{"~  fs1  host  no such host → asked at 10.0.0.9", "~  fs1  port mapper  filtered → listening", "-  fs1  mountd 100005 version 3  udp 10.0.0.9:7"}
	if diff := cmp.Diff(want, changeLines(compareHosts(lost, answerOf(oncEntry(3, "tcp", 7, 0))))); diff != "" {
		t.Errorf("after a silence (-want +got):\n%s", diff)
	}
}

func TestAskTable(t *testing.T) {
	hostile := askEntry{Dialect: "dce", UUID: drsuapi, Version: endpoint.Version{Major: 4, Dotted: true}, Name: "drsuapi", ProtSeq: "ncacn_np",
		Path: "\\pipe\\\x1b[2Jx", Annotation: "a\x1b]0;b\a", State: probe.NotTried, Why: "needs SMB 445"}
	h := answerOf(oncEntry(1, "tcp", 20048, probe.Listening), oncEntry(2, "tcp", 20048, probe.Listening), oncEntry(3, "tcp", 20048, probe.Listening),
		oncEntry(3, "udp", 7, probe.Filtered), oncEntry(1, "udp", 8, probe.Wrong), oncEntry(2, "udp", 9, probe.NotListening), hostile)
	h.Entries[0].Time, h.Entries[1].Time, h.Entries[3].Why = 950, 1200, "no answer"
	for i := range 3 {
		h.Entries[i].Told = "0.0.0.0.78.80"
	}
	h.Mappers[0].Problems = []string{"it tells \x1b[31mport 0"}
	h.Missing = []string{"samr"}
	h.Mappers = append(h.Mappers, askMapper{Dialect: "dce", State: probe.NotListening})
	h.Ports = []triedPort{{Network: "tcp", Port: 22, Name: "SSH", State: probe.Listening, Time: 200, What: "SSH", Text: "SSH-2.0-\x1b[2J"}}
	var out bytes.Buffer
	f := askFlags{verbose: true}
	if err := f.printHosts(show.Screen{Writer: &out}, []*askHost{h}, &askQuestion{try: true}); err != nil {
		t.Fatal(err)
	}
	const want = `fs1 (10.0.0.9)   endpoint mapper: NOT LISTENING · port mapper 111/tcp
INTERFACE             VERSION  TRANSPORT  ENDPOINT        STATE             TIME  ANNOTATION
mountd        100005  1-3      tcp        *:20048         works            1.2ms  —
mountd        100005  1        udp        10.0.0.9:8      WRONG INTERFACE      —  —
mountd        100005  2        udp        10.0.0.9:9      REFUSED              —  —
mountd        100005  3        udp        10.0.0.9:7      FILTERED             —  no answer
drsuapi    e3514235…  4.0      np         \pipe\\x1b[2Jx  not tried            —  a\x1b]0;b\x07 · needs SMB 445
samr               —  —        —          —               NOT REGISTERED       —  —

PORT  TRANSPORT  FOR  STATE       TIME  ANSWERS  SAYS
  22  tcp        SSH  LISTENING  0.2ms  SSH      SSH-2.0-\x1b[2J

2 interfaces, 5 endpoints; of 7 rows 3 work, 1 refused, 1 filtered, 1 wrong, 1 not tried; 1 not registered; 1 port: 1 listening
! 10.0.0.9:7 (mountd) is filtered: a firewall on the way lacks it, or the server hangs.
! 10.0.0.9:9 (mountd) is registered and nothing listens there: start the server again, or have the registration removed.
port mapper: tcp 111, version 4
endpoint mapper: no answer
what is wrong with what was told:
  port mapper: it tells \x1b[31mport 0
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestAskStatus(t *testing.T) {
	mapper := func(dialect string, s probe.State) askMapper { return askMapper{Dialect: dialect, State: s} }
	host := func(mappers ...askMapper) *askHost {
		h := newAskHost("fs1")
		h.Mappers = mappers
		return h
	}
	withPort := func(s probe.State) *askHost {
		h := newAskHost("fs1")
		h.Ports = []triedPort{{State: s}}
		return h
	}
	failed := newAskHost("fs1")
	failed.Error = "no such host"
	missing := host(mapper("onc", probe.Listening))
	missing.Missing = []string{"nfs"}
	unanswered := host(mapper("onc", probe.Listening))
	unanswered.Unanswered = []unansweredWord{{Word: "samr"}}
	for _, tt := range []struct {
		name string
		h    *askHost
		q    askQuestion
		want int
	}{
		{"both", host(mapper("onc", probe.Listening), mapper("dce", probe.Listening)), askQuestion{}, exitDone},
		{"one is absent", host(mapper("onc", probe.Listening), mapper("dce", probe.NotListening)), askQuestion{}, exitDone},
		{"one is filtered", host(mapper("onc", probe.Filtered), mapper("dce", probe.Listening)), askQuestion{}, exitDone},
		{"both are absent", host(mapper("onc", probe.NotListening), mapper("dce", probe.NotListening)), askQuestion{}, exitFound},
		{"absent that was asked for", host(mapper("onc", probe.NotListening)), askQuestion{must: askDialects{onc: true}}, exitFound},
		{"nobody says anything", host(mapper("onc", probe.Filtered), mapper("dce", probe.Failed)), askQuestion{}, exitFailed},
		{"one accepts and is silent", host(mapper("onc", probe.Wrong), mapper("dce", probe.Filtered)), askQuestion{}, exitFound},
		{"no such host", failed, askQuestion{}, exitFailed},
		{"not registered", missing, askQuestion{}, exitFound},
		{"not answered", unanswered, askQuestion{}, exitFound},
		{"it works", answerOf(oncEntry(3, "tcp", 7, probe.Listening)), askQuestion{}, exitDone},
		{"it does not let us in", answerOf(oncEntry(3, "tcp", 7, probe.Rejected)), askQuestion{}, exitDone},
		{"it is wrong", answerOf(oncEntry(3, "tcp", 7, probe.Wrong)), askQuestion{}, exitFound},
		{"port", withPort(probe.Listening), askQuestion{}, exitDone},
		{"filtered port", withPort(probe.Filtered), askQuestion{}, exitFound},
	} {
		if got := tt.h.status(&tt.q); got != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, got, tt.want)
		}
	}
	found, done := withPort(probe.Filtered), withPort(probe.Listening)
	if got := statusOf([]*askHost{done, found, failed, done}, &askQuestion{}); got != exitFailed {
		t.Errorf("status of all = %d, want %d", got, exitFailed)
	}
}

// TestAskJSONReadsBack: what is written can be compared with.
func TestAskJSONReadsBack(t *testing.T) {
	d := askDocument{askSchema, []*askHost{answerOf(oncEntry(3, "tcp", 7, probe.Wrong))}}
	d.Hosts[0].Entries[0].Problems = []string{}
	d.Hosts[0].Entries[0].Versions = &askVersions{1, 2}
	d.Hosts[0].Mappers[0].Problems = []string{}
	var text bytes.Buffer
	if err := writeAnswers(show.Screen{Writer: &text}, show.FormatJSON, d.Hosts); err != nil {
		t.Fatal(err)
	}
	var back askDocument
	if err := json.Unmarshal(text.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

// No host is a list, too.
func TestAskNobody(t *testing.T) {
	for format, want := range map[show.Format]string{
		show.FormatJSON: "{\n  \"schema\": \"quaymaster/ask/1\",\n  \"hosts\": []\n}\n",
		show.FormatYAML: "schema: quaymaster/ask/1\nhosts: []\n",
	} {
		var text bytes.Buffer
		if err := writeAnswers(show.Screen{Writer: &text}, format, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, text.String()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", format, diff)
		}
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(show.Screen{Writer: &out, Terminal: true}, 3)
	p.step()
	p.step()
	p.end()
	if got, want := out.String(), "\r1 of 3 hosts\r\x1b[K"; got != want {
		t.Errorf("on a terminal %q, want %q", got, want)
	}
	out.Reset()
	for _, p := range []*progress{newProgress(show.Screen{Writer: &out, Terminal: true}, 1), newProgress(show.Screen{Writer: &out}, 3)} {
		p.step()
		p.end()
	}
	if out.Len() > 0 {
		t.Errorf("for one host, or where nobody watches: %q", out.String())
	}
}

func TestPortNames(t *testing.T) {
	names := portNames(catalog.Builtin(), []probe.PortQuestion{{Network: "tcp", Port: 135}, {Network: "udp", Port: 123}, {Network: "tcp", Port: 20048}, {Network: "tcp", Port: 4}})
	want := map[askedPort]string{{"tcp", 135}: "RPC endpoint mapper", {"udp", 123}: "NTP", {"tcp", 20048}: "mountd", {"tcp", 4}: ""}
	if diff := cmp.Diff(want, names, cmp.AllowUnexported(askedPort{})); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestAskTime(t *testing.T) {
	for us, want := range map[int64]string{0: "", 40: "<0.1ms", 100: "0.1ms", 1200: "1.2ms", int64(3 * time.Second / time.Microsecond): "3.0s"} {
		if got := askTime(us); got != want {
			t.Errorf("askTime(%d) = %q, want %q", us, got, want)
		}
	}
}
