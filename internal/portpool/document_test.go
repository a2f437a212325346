package portpool

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// multi returns strings as hex(7) has them, in UTF-16 with all NULs.
func multi(entries ...string) string {
	var b []byte
	for _, e := range entries {
		b = appendUTF16(b, e+"\x00")
	}
	return hex(appendUTF16(b, "\x00"))
}

func hex(b []byte) string {
	items := make([]string, len(b))
	for i, c := range b {
		items[i] = fmt.Sprintf("%02x", c)
	}
	return strings.Join(items, ",")
}

const regKey = "Windows Registry Editor Version 5.00\n\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet]\n"

// regFile returns a .reg file with the given strings in Ports, on line 4, and Y on
// lines 5 and 6.
func regFile(entries ...string) string {
	return regKey + `"Ports"=hex(7):` + multi(entries...) + "\n" + flags
}

const flags = "\"PortsInternetAvailable\"=\"Y\"\n\"UseInternetPorts\"=\"Y\"\n"

func read(t testing.TB, name, text string) *Document {
	t.Helper()
	d, err := Read(name, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// lines returns findings as "severity code line: message".
func lines(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%v %s %d: %s\n", f.Severity, f.Code, f.Line, f.Message())
	}
	return b.String()
}

// What is one string of Ports, and what is none, of which one makes the policy
// invalid (KB 154596; Win32). What they do not say is decided here: blanks and leading zeros are
// forgiven, anything but digits and one hyphen is not.
func TestStrings(t *testing.T) {
	tests := []struct{ entry, want, finding string }{
		{"5000", "5000", ""},
		{"5000-5020", "5000-5020", ""},
		{"5000-5000", "5000", ""},
		{"0", "0", ""},
		{"0-65535", "0-65535", ""},
		{"65535", "65535", ""},
		{" 5000", "5000", `warning odd-string 4: string 1 of Ports, " 5000", has blanks around it, which not every reader forgives: write 5000`},
		{"5000-5020\t", "5000-5020", `warning odd-string 4: string 1 of Ports, "5000-5020\t", has blanks around it, which not every reader forgives: write 5000-5020`},
		{"05000-5020", "5000-5020", `warning odd-string 4: string 1 of Ports, "05000-5020", has leading zeros, which not every reader forgives: write 5000-5020`},
		{"65536", "", `invalid bad-string 4: string 1 of Ports, "65536", is above 65535: write a port such as 5000 or a range such as 5000-5020`},
		{"5000-70000", "", `invalid bad-string 4: string 1 of Ports, "5000-70000", is above 65535: write a port such as 5000 or a range such as 5000-5020`},
		{"18446744073709551617", "", `invalid bad-string 4: string 1 of Ports, "18446744073709551617", is above 65535: write a port such as 5000 or a range such as 5000-5020`},
		{"5020-5000", "", `invalid bad-string 4: string 1 of Ports, "5020-5000", is reversed: write 5000-5020`},
		{"5000 - 5020", "", `invalid bad-string 4: string 1 of Ports, "5000 - 5020", is no port or range: write 5000-5020`},
		{"5000-", "", `invalid bad-string 4: string 1 of Ports, "5000-", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{"-5000", "", `invalid bad-string 4: string 1 of Ports, "-5000", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{"+5000", "", `invalid bad-string 4: string 1 of Ports, "+5000", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{"5000-5010-5020", "", `invalid bad-string 4: string 1 of Ports, "5000-5010-5020", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{"5000,5001", "", `invalid bad-string 4: string 1 of Ports, "5000,5001", is no port or range: write each port or range as a string of its own`},
		{"0x1388", "", `invalid bad-string 4: string 1 of Ports, "0x1388", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{"5000–5020", "", `invalid bad-string 4: string 1 of Ports, "5000–5020", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{"http", "", `invalid bad-string 4: string 1 of Ports, "http", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{"٥٠٠٠", "", `invalid bad-string 4: string 1 of Ports, "٥٠٠٠", is no port or range: write a port such as 5000 or a range such as 5000-5020`},
		{" ", "", `invalid bad-string 4: string 1 of Ports, " ", ends the list for some readers: write a port such as 5000 or a range such as 5000-5020`},
	}
	for _, tt := range tests {
		t.Run(tt.entry, func(t *testing.T) {
			p, findings := read(t, "p.reg", regFile(tt.entry)).Policy()
			if got := strings.TrimSuffix(lines(findings), "\n"); got != tt.finding {
				t.Errorf("findings are\n%s\nwant\n%s", got, tt.finding)
			}
			switch {
			case tt.want == "" && p != nil:
				t.Errorf("Policy() = %v, want none", p)
			case tt.want != "" && (p == nil || len(p.Ports) != 1 || p.Ports[0].String() != tt.want):
				t.Errorf("Policy() = %v, want %s", p, tt.want)
			}
		})
	}
}

// What makes a policy invalid as a whole, and what does not.
func TestValidation(t *testing.T) {
	list := `"Ports"=hex(7):` + multi("5001-5200") + "\n"
	tests := []struct {
		name, text string
		valid      bool
		findings   string
	}{
		{"all three", regKey + list + flags, true, ""},
		{"letters in lower case", regKey + list + strings.ReplaceAll(flags, `"Y"`, `"n"`), true, ""},
		{"one bad string of three", regFile("5001-5200", "x", "6000"), false,
			"invalid bad-string 4: string 2 of Ports, \"x\", is no port or range: write a port such as 5000 or a range such as 5000-5020\n"},
		{"an empty string between", regFile("5001-5200", "", "6000"), false,
			"invalid bad-string 4: string 2 of Ports, \"\", ends the list for some readers: write a port such as 5000 or a range such as 5000-5020\n"},
		{"an empty string at the end", regFile("5001-5200", ""), true, ""},
		{"ports twice", regFile("5001-5200", "5150-5300", "5200"), true, "warning listed-twice 4: Ports lists 5150-5200 more than once: list each port once\n"},
		{"no strings", regFile(), false, "invalid no-ports 4: Ports lists no port: list ports or ranges, or remove the whole key\n"},
		{"no Ports", regKey + flags, false, "invalid missing-value 3: Ports is missing, and the policy needs all three values: add it, or remove the whole key\n"},
		{"nothing", regKey, false, `invalid missing-value 3: Ports is missing, and the policy needs all three values: add it, or remove the whole key
invalid missing-value 3: PortsInternetAvailable is missing, and the policy needs all three values: add it, or remove the whole key
invalid missing-value 3: UseInternetPorts is missing, and the policy needs all three values: add it, or remove the whole key
`},
		{"a value removed", regKey + list + flags + "\"UseInternetPorts\"=-\n", false,
			`invalid missing-value 7: UseInternetPorts is removed, and the policy needs all three values: give it a value, or remove the whole key
warning value-twice 7: UseInternetPorts is on line 6 too: the last one counts: remove one of the two
`},
		{"a word for a letter", regKey + list + strings.Replace(flags, `"Y"`, `"Yes"`, 1), false, "invalid bad-letter 5: PortsInternetAvailable is \"Yes\": write Y or N\n"},
		{"a letter with a blank", regKey + list + strings.Replace(flags, `"Y"`, `"Y "`, 1), false, "invalid bad-letter 5: PortsInternetAvailable is \"Y \": write Y or N\n"},
		{"an empty letter", regKey + list + strings.Replace(flags, `"Y"`, `""`, 1), false, "invalid bad-letter 5: PortsInternetAvailable is \"\": write Y or N\n"},
		{"a number for a letter", regKey + list + strings.Replace(flags, `"Y"`, `dword:00000001`, 1), false,
			"invalid wrong-type 5: PortsInternetAvailable is REG_DWORD: make it REG_SZ: \"PortsInternetAvailable\"=\"Y\" or \"N\"\n"},
		{"a letter in hex", regKey + list + strings.Replace(flags, `"Y"`, `hex(1):59,00,00,00`, 1), true, ""},
		{"a letter in hex without its NUL", regKey + list + strings.Replace(flags, `"Y"`, `hex(1):59,00`, 1), true,
			"warning missing-nul 5: REG_SZ ends with 0 NUL characters instead of 1: add 00,00 at the end for each\n"},
		{"a letter to expand", regKey + list + strings.Replace(flags, `"Y"`, `hex(2):59,00,00,00`, 1), false,
			"invalid wrong-type 5: PortsInternetAvailable is REG_EXPAND_SZ: make it REG_SZ: \"PortsInternetAvailable\"=\"Y\" or \"N\"\n"},
		{"a text for the list", regKey + "\"Ports\"=\"5001-5200\"\n" + flags, false,
			"invalid wrong-type 4: Ports is REG_SZ: make it REG_MULTI_SZ, in a .reg file hex(7), with a string for each port or range\n"},
		{"bytes for the list", regKey + "\"Ports\"=hex:35,00\n" + flags, false,
			"invalid wrong-type 4: Ports is REG_BINARY: make it REG_MULTI_SZ, in a .reg file hex(7), with a string for each port or range\n"},
		{"an unknown type", regKey + "\"Ports\"=hex(ffff0009):35,00\n" + flags, false,
			"invalid wrong-type 4: Ports is type 4294901769: make it REG_MULTI_SZ, in a .reg file hex(7), with a string for each port or range\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := read(t, "p.reg", tt.text)
			p, findings := d.Policy()
			if (p != nil) != tt.valid {
				t.Errorf("Policy() = %v, want a policy: %v", p, tt.valid)
			}
			if diff := cmp.Diff(tt.findings, lines(findings)); diff != "" {
				t.Errorf("findings (-want +got)\n%s", diff)
			}
			if mistakes := d.Mistakes(findings); (len(mistakes) == 0) != tt.valid {
				t.Errorf("Mistakes() = %v, want some: %v", mistakes, !tt.valid)
			}
		})
	}
}

// A file can hold any number of mistakes; what is told of them is bounded.
func TestManyMistakes(t *testing.T) {
	bad := make([]string, 5000)
	for i := range bad {
		bad[i] = []string{"x", " 5001"}[i%2]
	}
	d := read(t, "p.reg", regFile(bad...)+strings.Repeat("what is this?\n", 5000))
	_, findings := d.Policy()
	if n := len(findings); n != 3*maxFindings+4 { // three kinds, and for each how many more there are; and what is listed twice
		t.Errorf("%d findings:\n%s", n, lines(findings))
	}
}

func TestYAML(t *testing.T) {
	const text = `# a comment
pool:
  ports: ["5001-5200", 6000, 05300]
  ports_internet_available: false
  use_internet_ports: true
`
	d := read(t, "p.yaml", text)
	at := func(line, column int) Place { return Place{line, column} }
	want := &Document{
		Name: "p.yaml", Syntax: YAML, Key: Key{Present, at(3, 3)},
		Ports: Value{Present, at(3, 10), RegMultiSZ, []Entry{
			{at(3, 11), "5001-5200"}, {at(3, 24), "6000"}, {at(3, 30), "05300"}}},
		PortsInternetAvailable: Value{Present, at(4, 29), RegSZ, []Entry{{at(4, 29), "false"}}},
		UseInternetPorts:       Value{Present, at(5, 23), RegSZ, []Entry{{at(5, 23), "true"}}},
	}
	if diff := cmp.Diff(want, d, cmpopts.IgnoreUnexported(Document{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	_, findings := d.Policy()
	if got, want := lines(findings), "warning odd-string 3: string 3 of ports, \"05300\", has leading zeros, which not every reader forgives: write 5300\n"; got != want {
		t.Errorf("findings are %s, want %s", got, want)
	}
}

func TestYAMLMistakes(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a key misspelt", "pool: {port: [5000]}", `p.yaml:1:8: unknown key "port"; did you mean "ports"?`},
		{"the key left out", "ports: [5000]\n", `p.yaml:1:1: unknown key "ports"; known here: pool`},
		{"letters of Windows", "pool: {ports_internet_available: Y}", `p.yaml:1:34: pool.ports_internet_available: want true or false, found text "Y"`},
		{"one text", "pool: {ports: 5000-5020}", `p.yaml:1:15: pool.ports: want a list, found text "5000-5020"`},
		{"no YAML", "pool: [\n", "p.yaml:"},
	}
	for _, tt := range tests {
		if _, err := Read("p.yaml", strings.NewReader(tt.text)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: Read = %v, want %s", tt.name, err, tt.want)
		}
	}
	for text, want := range map[string]string{
		"":         "warning no-policy 0: no policy here: the file has no key pool: write one as quaymaster pool convert FILE --to yaml does\n",
		"pool:\n":  "warning no-policy 0: no policy here: the file has no key pool: write one as quaymaster pool convert FILE --to yaml does\n",
		"pool: {}": "invalid missing-value 1: ports is missing, and the policy needs all three values: add it, or remove the whole key\ninvalid missing-value 1: ports_internet_available is missing, and the policy needs all three values: add it, or remove the whole key\ninvalid missing-value 1: use_internet_ports is missing, and the policy needs all three values: add it, or remove the whole key\n",
		"pool: {ports: [], ports_internet_available: true, use_internet_ports: true}":          "invalid no-ports 1: ports lists no port: list ports or ranges, or remove the whole key\n",
		"pool: {ports: [5020-5000], ports_internet_available: true, use_internet_ports: true}": "invalid bad-string 1: string 1 of ports, \"5020-5000\", is reversed: write 5000-5020\n",
	} {
		d := read(t, "p.yaml", text)
		p, findings := d.Policy()
		if got := lines(findings); p != nil || got != want {
			t.Errorf("%q: Policy() = %v with\n%swant\n%s", text, p, got, want)
		}
	}
	d := read(t, "p.yaml", "pool:\n  ports:\n    - 5000\n    - x\n  ports_internet_available: true\n  use_internet_ports: true\n")
	_, findings := d.Policy()
	if got, want := d.Mistakes(findings).Error(), `p.yaml:4:7: string 2 of ports, "x", is no port or range: write a port such as 5000 or a range such as 5000-5020`; got != want {
		t.Errorf("Mistakes() = %s, want %s", got, want)
	}
}

// TestValid: a policy, or why there is none.
func TestValid(t *testing.T) {
	const header = "Windows Registry Editor Version 5.00\n\n"
	const key = `[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Rpc\Internet]`
	for _, tt := range []struct{ name, text, list, err string }{
		{"p.yaml", "pool: {ports: [5100], ports_internet_available: true, use_internet_ports: true}\n", "5100", ""},
		{
			"p.yaml", "pool:\n  ports: [5100, x]\n  ports_internet_available: true\n", "",
			"p.yaml:2:3: use_internet_ports is missing, and the policy needs all three values: add it, or remove the whole key\n" +
				`p.yaml:2:17: string 2 of ports, "x", is no port or range: write a port such as 5000 or a range such as 5000-5020`,
		},
		{"p.yaml", "", "", "p.yaml: no policy here: the file has no key pool: write one as quaymaster pool convert FILE --to yaml does"},
		{"p.yaml", "pool:\n", "", "p.yaml: no policy here: the file has no key pool: write one as quaymaster pool convert FILE --to yaml does"},
		{"p.reg", header + "[-" + key[1:] + "\n", "", "p.reg:3:1: the file removes the policy: nothing is left of it"},
		{"p.reg", header + "[HKEY_LOCAL_MACHINE\\SOFTWARE]\n", "", "p.reg: no policy here: "},
		{"p.reg", header + strings.Replace(key, "LOCAL_MACHINE", "CURRENT_USER", 1) + "\n", "", "p.reg:3:1: this is another key than the policy's: "},
	} {
		d, err := Read(tt.name, strings.NewReader(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Valid()
		switch {
		case tt.err == "":
			if err != nil || p.List().String() != tt.list {
				t.Errorf("Valid of %q = %+v, %v, want the list %s", tt.text, p, err, tt.list)
			}
		case p != nil || err == nil || !strings.HasPrefix(err.Error(), tt.err):
			t.Errorf("Valid of %q = %+v, %v, want %s", tt.text, p, err, tt.err)
		}
	}
}
