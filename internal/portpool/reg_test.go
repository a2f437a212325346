package portpool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/portset"
)

// wantPolicy is what the files of TestEncodings say.
var wantPolicy = &Policy{[]portset.Range{{First: 5001, Last: 5200}, {First: 6000, Last: 6000}}, true, true}

// exported is a policy as regedit of Windows 2000 and later exports it, but in UTF-8
// with line ends of Unix. regedit4 is the same as "regedit /ea" and Windows NT 4.0 do.
const (
	exported = `Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Rpc\Internet]
"Ports"=hex(7):35,00,30,00,30,00,31,00,2d,00,35,00,32,00,30,00,30,00,00,00,36,\
  00,30,00,30,00,30,00,00,00,00,00
"PortsInternetAvailable"="Y"
"UseInternetPorts"="Y"

`
	regedit4 = `REGEDIT4

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Rpc\Internet]
"Ports"=hex(7):35,30,30,31,2d,35,32,30,30,00,36,30,30,30,00,00
"PortsInternetAvailable"="Y"
"UseInternetPorts"="Y"

`
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func utf16Text(s string) string { return string(appendUTF16(nil, s)) }

func TestEncodings(t *testing.T) {
	tests := []struct{ name, text string }{
		{"UTF-16 with a mark", markLittle + utf16Text(crlf(exported))},
		{"UTF-16 without a mark", utf16Text(crlf(exported))},
		{"UTF-16 with line ends of Unix", markLittle + utf16Text(exported)},
		{"UTF-8", crlf(exported)},
		{"UTF-8 with a mark", markUTF8 + crlf(exported)},
		{"line ends of Unix", exported},
		{"REGEDIT4", crlf(regedit4)},
		{"REGEDIT4 with line ends of Unix", regedit4},
		{"REGEDIT4 in UTF-16", markLittle + utf16Text(regedit4)},
		{"letters of a code page", crlf(regedit4) + "; Gr\xfc\xdfe\r\n[HKEY_CURRENT_USER\\\xfc]\r\n\"\xfc\"=\"\xfc\"\r\n"},
		{"no last line end", strings.TrimRight(exported, "\n")},
		{"keys and values in upper case", strings.NewReplacer("SOFTWARE", "SOFTWARE", "Microsoft", "MICROSOFT", "Rpc", "RPC", "Internet]", "INTERNET]", "Ports", "PORTS", "UseInternet", "USEINTERNET", "hex", "HEX", "00,2d", "00,2D").Replace(exported)},
		{"the short name of the root", strings.Replace(exported, "HKEY_LOCAL_MACHINE", "hklm", 1)},
		{"blanks", strings.NewReplacer("[HK", " \t[HK", "]", " ]  ", `"Ports"=hex(7):`, ` "Ports" = hex(7):`, "35,00,30", "35, 00 ,30", `="Y"`, ` =	"Y"  `).Replace(exported)},
		{"comments", strings.NewReplacer("]\n", "] ; the policy\n; more\n", "36,\\\n", "36,\\ ; goes on\n  ; a comment between\n", `"Y"`, `"Y" ; yes`).Replace(exported)},
		{"one byte on a line", strings.NewReplacer("hex(7):", "hex(7):\\\n  ", ",", ",\\\n ").Replace(exported)},
		{"a comma at the end", strings.Replace(exported, "00,00,00,00,00\n", "00,00,00,00,00,\n", 1)},
		{"escapes", strings.Replace(exported, "[HKEY", "[HKEY_CURRENT_USER\\a]\n\"a\\\"b\\\\\"=\"c\\\"\"\n\"d\"=\"\\\\\"\n[HKEY", 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, findings := read(t, "p.reg", tt.text).Policy()
			if diff := cmp.Diff(wantPolicy, p); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(findings) > 0 {
				t.Errorf("findings:\n%s", lines(findings))
			}
			// However little comes at a time, and without a name that tells.
			if strings.HasPrefix(tt.text, "HK") {
				return
			}
			d, err := Read("policy", iotest.OneByteReader(strings.NewReader(tt.text)))
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := d.Policy(); !cmp.Equal(again, p) {
				t.Errorf("byte by byte it is %v, want %v", again, p)
			}
		})
	}
}

func TestRegFindings(t *testing.T) {
	policy := strings.TrimPrefix(exported, headerUnicode+"\n\n")
	const head = headerUnicode + "\n\n"
	gone := "[-HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet]\n"
	odd := func(bytes string) string {
		return head + "[HKLM\\Software\\Microsoft\\Rpc\\Internet]\n\"Ports\"=hex(7):" + bytes + "\n" + flags
	}
	tests := []struct {
		name, text string
		state      State
		policy     *Policy
		findings   string
	}{
		{"no key", head + "[HKEY_CURRENT_USER\\a]\n", Absent, nil,
			"warning no-policy 0: no policy here: the file has no key HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet: export that key; if it does not exist, there is no policy\n"},
		{"the key of a user", head + strings.Replace(policy, "LOCAL_MACHINE", "CURRENT_USER", 1), Absent, nil,
			"error other-key 3: this is another key than the policy's: make it [HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet]\n"},
		{"the key of 32-bit programs", head + strings.Replace(policy, "SOFTWARE", "SOFTWARE\\Wow6432Node", 1), Absent, nil,
			"error other-key 3: this is another key than the policy's: make it [HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet]\n"},
		{"a key below", head + strings.Replace(policy, "Internet]", "Internet\\a]", 1), Absent, nil,
			"warning no-policy 0: no policy here: the file has no key HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet: export that key; if it does not exist, there is no policy\n"},
		{"the key removed", head + gone, Removed, nil, ""},
		{"a key above removed", head + policy + "[-HKEY_LOCAL_MACHINE\\Software\\Microsoft\\rpc]\n", Removed, nil, ""},
		{"a key beside removed", head + policy + "[-HKEY_LOCAL_MACHINE\\Software\\Microsoft\\RpcX]\n[-HKLM\\Software\\Micro]\n[-HKLM]\n", Present, wantPolicy, ""},
		{"removed and made again", head + gone + policy, Present, wantPolicy, ""},
		{"made and removed", head + policy + gone, Removed, nil, ""},
		{"values of a removed key", head + gone + "\"Ports\"=\"x\"\n", Removed, nil,
			"warning unread-line 4: the key above is deleted, and regedit skips its values: remove the - before HKEY, or the line\n"},
		{"the key twice", head + strings.ReplaceAll(policy, `"Y"`, `"N"`) + policy, Present, wantPolicy,
			"warning key-twice 9: the key is on line 3 too: of each value, the last one counts: make one of the two\n"},
		{"the key twice, in parts", head + strings.Replace(policy, `"UseInternetPorts"="Y"`, "", 1) + "[HKLM\\Software\\Microsoft\\Rpc\\Internet]\n\"UseInternetPorts\"=\"Y\"", Present, wantPolicy,
			"warning key-twice 9: the key is on line 3 too: of each value, the last one counts: make one of the two\n"},
		{"a value twice", head + policy + "\"useinternetports\"=\"N\"\n\"UseInternetPorts\"=\"Y\"\n", Present, wantPolicy,
			`warning value-twice 9: useinternetports is on line 7 too: the last one counts: remove one of the two
warning value-twice 10: UseInternetPorts is on line 9 too: the last one counts: remove one of the two
`},
		{"names misspelt", head + policy + "\"PortInternetAvailable\"=\"Y\"\n\"Color\"=\"red\"\n@=\"x\"\n", Present, wantPolicy,
			`warning unknown-value 9: "PortInternetAvailable" is no value of the policy: did you mean "PortsInternetAvailable"?
warning unknown-value 10: "Color" is no value of the policy: remove it
warning unknown-value 11: "@" is no value of the policy: remove it
`},
		{"lines that are nothing", head + policy + "Ports=5000\n\"Ports\n\"Ports\" 5000\n\x00\x01\n", Present, wantPolicy,
			`warning unread-line 9: "Ports=5000" is no value, and regedit skips it: write "name"=data, or begin a comment with ;
warning unread-line 10: "\"Ports" is no value, and regedit skips it: write "name"=data, or begin a comment with ;
warning unread-line 11: "\"Ports\" 5000" is no value, and regedit skips it: write "name"=data, or begin a comment with ;
warning unread-line 12: "\x00\x01" is no value, and regedit skips it: write "name"=data, or begin a comment with ;
`},
		{"data that is none", head + policy + "\"Ports\"=5000\n\"Ports\"=\"5000\n\"Ports\"=\"5000\" 5001\n\"Ports\"=hex(7):5g\n\"Ports\"=hex(x):50\n\"Ports\"=hex(7)\n\"Ports\"=dword:x\n\"Ports\"=\n", Present, wantPolicy,
			`error unread-line 9: Ports: "5000" is no data, and regedit skips the line: see how regedit exports such a value
error unread-line 10: Ports: the text does not end on its line, and regedit skips the line: see how regedit exports such a value
error unread-line 11: Ports: " 5001" comes after the text, and regedit skips the line: see how regedit exports such a value
error unread-line 12: Ports: "5g" is no byte in hex, and regedit skips the line: see how regedit exports such a value
error unread-line 13: Ports: "x" is no type, and regedit skips the line: see how regedit exports such a value
error unread-line 14: Ports: a colon is missing after hex, and regedit skips the line: see how regedit exports such a value
error unread-line 15: Ports: "dword:x" is no dword, and regedit skips the line: see how regedit exports such a value
error unread-line 16: Ports: "" is no data, and regedit skips the line: see how regedit exports such a value
`},
		{"a text cut within a character", markLittle + utf16Text(exported) + "x", Present, wantPolicy,
			"warning unread-line 9: \"�\" is no value, and regedit skips it: write \"name\"=data, or begin a comment with ;\n"},
		{"a value broken off", head + strings.Replace(policy, "36,\\\n  00,30,00,30,00,30,00,00,00,00,00\n", "\\\n", 1), Present,
			&Policy{[]portset.Range{{First: 5001, Last: 5200}}, true, true},
			"warning missing-nul 4: REG_MULTI_SZ ends with 1 NUL characters instead of 2: add 00,00 at the end for each\nwarning broken-off 5: the value of line 4 should go on here: remove the \\ at the end of the line before, or add what is missing\n"},
		{"a value that the end breaks off", odd("35,00")[:len(odd("35,00"))-len(flags)-1] + ",\\", Present, nil,
			`invalid missing-value 3: PortsInternetAvailable is missing, and the policy needs all three values: add it, or remove the whole key
invalid missing-value 3: UseInternetPorts is missing, and the policy needs all three values: add it, or remove the whole key
warning missing-nul 4: REG_MULTI_SZ ends with 0 NUL characters instead of 2: add 00,00 at the end for each
`},
		{"no NUL", odd("36,00,30,00,30,00,30,00"), Present, &Policy{[]portset.Range{{First: 6000, Last: 6000}}, true, true},
			"warning missing-nul 4: REG_MULTI_SZ ends with 0 NUL characters instead of 2: add 00,00 at the end for each\n"},
		{"one NUL", odd("36,00,30,00,30,00,30,00,00,00"), Present, &Policy{[]portset.Range{{First: 6000, Last: 6000}}, true, true},
			"warning missing-nul 4: REG_MULTI_SZ ends with 1 NUL characters instead of 2: add 00,00 at the end for each\n"},
		{"three NULs", odd("36,00,30,00,30,00,30,00,00,00,00,00,00,00"), Present, &Policy{[]portset.Range{{First: 6000, Last: 6000}}, true, true}, ""},
		{"only NULs", odd("00,00,00,00"), Present, nil, "invalid no-ports 4: Ports lists no port: list ports or ranges, or remove the whole key\n"},
		{"an odd number of bytes", odd("36,00,30,00,30,00,30,00,00,00,00"), Present, &Policy{[]portset.Range{{First: 6000, Last: 6000}}, true, true},
			`error encoding 4: an odd number of bytes, 11: each character has two: add the 00 that is missing
warning missing-nul 4: REG_MULTI_SZ ends with 1 NUL characters instead of 2: add 00,00 at the end for each
`},
		{"half a digit at the end", odd("36,00,30,00,30,00,30"), Present, nil,
			`invalid bad-string 4: string 1 of Ports, "600�", is no port or range: write a port such as 5000 or a range such as 5000-5020
error encoding 4: an odd number of bytes, 7: each character has two: add the 00 that is missing
warning missing-nul 4: REG_MULTI_SZ ends with 0 NUL characters instead of 2: add 00,00 at the end for each
`},
		{"half a character", odd("36,d8,00,00,00,00"), Present, nil,
			"invalid bad-string 4: string 1 of Ports, \"�\", is no port or range: write a port such as 5000 or a range such as 5000-5020\n"},
		{"single bytes in Version 5.00", odd("36,30,30,30,00,00"), Present, nil,
			`invalid bad-string 4: string 1 of Ports, "〶〰", is no port or range: write a port such as 5000 or a range such as 5000-5020
error encoding 4: there is one byte for a character, where files of Version 5.00 have two: write 35,00 for 5, or make the first line REGEDIT4
warning missing-nul 4: REG_MULTI_SZ ends with 1 NUL characters instead of 2: add 00,00 at the end for each
`},
		{"two bytes in REGEDIT4", strings.Replace(odd("36,00,30,00,30,00,30,00,00,00,00,00"), headerUnicode, headerANSI, 1), Present,
			&Policy{[]portset.Range{{First: 6, Last: 6}, {}, {}, {}}, true, true},
			`error encoding 4: there are two bytes for a character, where files that begin with REGEDIT4 have one: make the first line "Windows Registry Editor Version 5.00"
warning listed-twice 4: Ports lists 0 more than once: list each port once
`},
		{"a text over several lines", head + "[HKEY_CURRENT_USER\\a]\n\"b\"=\"one\ntwo \\\"\n[HKLM\\Software\\Microsoft\\Rpc\\Internet]\n\"Ports\"=\\\"x\\\"\nthree\"\n" + policy, Present, wantPolicy, ""},
		{"a text that does not end", head + "[HKEY_CURRENT_USER\\a]\n\"b\"=\"one\n\n" + strings.ReplaceAll(policy, `"`, ""), Absent, nil,
			"error hidden-key 6: the key stands in a text that begins on line 4: end the text there with a quotation mark\n"},
		{"a name that does not end", head + "[HKEY_CURRENT_USER\\a]\n\"b=one\n@\n\"c\"\n\"d\"x=\"\n@x=\"\n" + policy, Present, wantPolicy, ""},
		{"a bracket in the name of a key", head + "[HKLM\\Software\\Microsoft\\Rpc\\Internet]a]\n\"Ports\"=\"x\"\n" + policy, Present, wantPolicy, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := read(t, "p.reg", tt.text)
			p, findings := d.Policy()
			if d.Key.State != tt.state {
				t.Errorf("the key's state is %d, want %d", d.Key.State, tt.state)
			}
			if diff := cmp.Diff(tt.policy, p); diff != "" {
				t.Errorf("policy (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tt.findings, lines(findings)); diff != "" {
				t.Errorf("findings (-want +got)\n%s", diff)
			}
		})
	}
}

func TestNoRegFile(t *testing.T) {
	long := strings.Repeat("35,00,", maxValue/6+1)
	tests := []struct{ name, text, want string }{
		{"empty", "", `p.reg:1:1: the file is empty: want a .reg file, which begins with "Windows Registry Editor Version 5.00"`},
		{"another sort of text", "# hello\n", `p.reg:1:1: not a .reg file: it begins with "# hello" instead of "Windows Registry Editor Version 5.00" or "REGEDIT4"; export the key with regedit or reg export`},
		{"junk", "\x7fELF\x02\x01\x01\x00\x00", `p.reg:1:1: not a .reg file: it begins with "\x7fELF\x02\x01\x01\x00\x00" instead of`},
		{"a hive", "regf\x00\x01\x02", `p.reg:1:1: not a .reg file: it begins with "regf\x00\x01\x02" instead of`},
		{"a long line", strings.Repeat("x", 1<<20), `p.reg:1:1: not a .reg file: it begins with "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"… instead of`},
		{"no first line", "[HKEY_LOCAL_MACHINE\\Software\\Microsoft\\Rpc\\Internet]\n", `p.reg:1:1: the first line is "[HKEY_LOCAL_MACHINE\\Software\\Microsoft\\R"…, with which regedit takes nothing: make it "Windows Registry Editor Version 5.00"`},
		{"another version", "Windows Registry Editor Version 6.00\n", `p.reg:1:1: the first line is "Windows Registry Editor Version 6.00", with which regedit takes nothing: make it "Windows Registry Editor Version 5.00"`},
		{"lower case", "regedit4\n", `p.reg:1:1: the first line is "regedit4", with which regedit takes nothing: make it "Windows Registry Editor Version 5.00"`},
		{"high byte first", markBig + "\x00W\x00i", `p.reg:1:1: UTF-16 with the high byte first, which regedit does not read: save the file as UTF-16 LE or UTF-8`},
		{"high byte first, no mark", "\x00W\x00i", `p.reg:1:1: UTF-16 with the high byte first, which regedit does not read: save the file as UTF-16 LE or UTF-8`},
		{"a line without end", regKey + "\"Ports\"=hex(7):" + long, `p.reg:4:1: the line is longer than 1048576 bytes: no value of the policy is`},
		{"a value without end", regKey + "\"Ports\"=hex(7):\\\n" + strings.Repeat("35,00,\\\n", maxValue/5), `p.reg:4:1: the value is longer than 1048576 bytes: no value of the policy is`},
		{"a value with a line without end", regKey + "\"Ports\"=hex(7):\\\n" + long, `p.reg:4:1: the value is longer than 1048576 bytes: no value of the policy is`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Read("p.reg", strings.NewReader(tt.text))
			var mistakes config.Mistakes
			if d != nil || !errors.As(err, &mistakes) || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Read = %v, %v, want mistakes that begin with\n%s", d, err, tt.want)
			}
		})
	}
}

func TestReadError(t *testing.T) {
	for _, text := range []string{"", regKey, markLittle + utf16Text(regKey)} {
		_, err := Read("p.reg", io.MultiReader(strings.NewReader(text), iotest.ErrReader(io.ErrClosedPipe)))
		if !errors.Is(err, io.ErrClosedPipe) || !strings.HasPrefix(err.Error(), "portpool: p.reg: ") {
			t.Errorf("Read after %q: %v, want %v", text, err, io.ErrClosedPipe)
		}
	}
	if _, err := Read("p.yaml", iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Read of YAML: %v, want %v", err, io.ErrClosedPipe)
	}
}

// What a file without an extension is taken for.
func TestSyntax(t *testing.T) {
	for text, want := range map[string]Syntax{
		exported: Reg, regedit4: Reg, markUTF8 + exported: Reg, markLittle + utf16Text(exported): Reg, utf16Text(regedit4): Reg,
		"pool:\n": YAML, "{\"pool\": null}": YAML, "": YAML, markUTF8 + "pool:\n": YAML,
	} {
		if d := read(t, "policy.txt", text); d.Syntax != want {
			t.Errorf("%.20q… is taken for %d, want %d", text, d.Syntax, want)
		}
	}
	if _, err := Read("policy", strings.NewReader("\x7fELF\x00")); err == nil || !strings.Contains(err.Error(), "not a .reg file") {
		t.Errorf("Read of junk: %v", err)
	}
}

// A registry is an export of size bytes, made up as it is read: keys with values
// of all sorts, lines of a megabyte, and the policy in the middle.
type registry struct {
	part, policy []byte
	left         int // bytes before the policy, and as many after it
	at           []byte
	second       bool
}

func newRegistry(size int) *registry {
	var part strings.Builder
	for i := range 50 {
		fmt.Fprintf(&part, "\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\Classes\\CLSID\\{%08x}\\InprocServer32]\r\n@=\"C:\\\\Windows\\\\x.dll\"\r\n\"a\"=dword:00000001\r\n", i)
		part.WriteString("\"b\"=hex:" + strings.Repeat(strings.Repeat("00,", 25)+"\\\r\n  ", 40) + "00\r\n\"c\"=\"two\r\nlines\"\r\n")
	}
	part.WriteString("\"long\"=\"" + strings.Repeat("x\\\"", 200_000) + "\"\r\n")
	return &registry{part: appendUTF16(nil, part.String()), policy: appendUTF16(nil, crlf(strings.TrimPrefix(exported, headerUnicode))),
		left: size / 2, at: encodeUTF16(headerUnicode + "\r\n")}
}

func (r *registry) Read(p []byte) (int, error) {
	if len(r.at) == 0 {
		switch {
		case r.left > 0:
			r.at = r.part
			r.left -= len(r.part)
		case !r.second:
			r.second, r.left, r.at = true, 50<<20, r.policy
		default:
			return 0, io.EOF
		}
	}
	n := copy(p, r.at)
	r.at = r.at[n:]
	return n, nil
}

func TestExportOfWholeRegistry(t *testing.T) {
	const size, most = 100 << 20, 2 << 20
	r := newRegistry(size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := Read("registry.reg", r)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if p, findings := d.Policy(); !cmp.Equal(p, wantPolicy) || len(findings) > 0 {
		t.Errorf("Policy() = %v with %s, want %v", p, lines(findings), wantPolicy)
	}
	// All that was allocated, whether or not it was given back.
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("%d bytes were allocated for a file of %d, want %d at most", got, size, most)
	}
}

func BenchmarkRead(b *testing.B) {
	b.SetBytes(10 << 20)
	b.ReportAllocs()
	for b.Loop() {
		r := newRegistry(10 << 20)
		r.second = true // no second half
		r.policy = nil
		if _, err := Read("registry.reg", r); err != nil {
			b.Fatal(err)
		}
	}
}

// No file makes the reader panic; what it says is the same however it comes; and a
// policy that was read and is written reads back the same.
func FuzzRead(f *testing.F) {
	for _, text := range []string{exported, regedit4, markLittle + utf16Text(crlf(exported)), utf16Text(exported), regFile("0-65535", " 1", "x"),
		headerUnicode + "\n[-HKLM\\Software]\n[HKLM\\Software\\Microsoft\\Rpc\\Internet] ;\n\"Ports\"=-\n@=\"\n", "REGEDIT4\n\"a\"=\"\n[hklm\\software\\microsoft\\rpc\\internet]\"\n",
		"pool: {ports: [1, 2-3], ports_internet_available: true, use_internet_ports: false}", "\x00W", "\xfe\xff", "{}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Read("p", bytes.NewReader(text))
		if err != nil {
			for _, m := range err.(config.Mistakes) { // nothing else can go wrong here
				if m.Message == "" || strings.Contains(m.Message, "\n") {
					t.Errorf("message %q, want one line", m.Message)
				}
			}
			return
		}
		again, err := Read("p", iotest.HalfReader(bytes.NewReader(text)))
		if diff := cmp.Diff(d, again, cmp.AllowUnexported(Document{}), cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("half by half: %v\n%s", err, diff)
		}
		p, findings := d.Policy()
		if len(findings) > 5*maxFindings || (p == nil && d.Key.State == Present) != (len(d.Mistakes(findings)) > 0) {
			t.Errorf("Policy() = %v with %d findings:\n%s", p, len(findings), lines(findings))
		}
		for _, f := range findings {
			if f.Code == "" || f.Text == "" || strings.ContainsAny(f.Message(), "\n") || !utf8.ValidString(f.Message()) {
				t.Errorf("finding %+v", f)
			}
		}
		if p == nil {
			return
		}
		for _, format := range Formats {
			b, err := p.Convert(format)
			if err != nil || format != "reg" && format != "yaml" {
				continue
			}
			checkReadsBack(t, p, format, b)
		}
	})
}

func checkReadsBack(t interface{ Fatalf(string, ...any) }, p *Policy, format string, b []byte) {
	d, err := Read("p."+format, bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s of %v: %v", format, p, err)
	}
	back, findings := d.Policy()
	if !cmp.Equal(back, p) {
		t.Fatalf("%s of %v reads back as %v:\n%s", format, p, back, lines(findings))
	}
}
