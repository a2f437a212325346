package portpool

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

// Formats are the words for what [Policy.Convert] can make of a policy.
var Formats = []string{"yaml", "reg", "sysctl", "netsh", "samba"}

// errUnusable is the error for lists that other programs have no use for.
var errUnusable = errors.New("the list has no port from 1024 up")

// Convert returns p as the format has it, which is one of [Formats]:
//
//   - yaml: the key pool of the configuration
//   - reg: what "reg import" takes, in UTF-16 as regedit exports it
//   - sysctl: the list as a line of sysctl.conf, which keeps the kernel from giving its
//     ports to outgoing connections
//   - netsh: the commands by which Windows keeps them from outgoing connections, and
//     the one that can stand in place of the policy
//   - samba: the line of smb.conf for what ordinary servers get
//
// From yaml and reg the same policy is read again. The others cannot say all of it,
// and fail where they can say nothing.
func (p *Policy) Convert(format string) ([]byte, error) {
	switch format {
	case "yaml":
		return p.yaml(), nil
	case "reg":
		return encodeUTF16(strings.ReplaceAll(p.RegText(), "\n", "\r\n")), nil
	case "sysctl":
		return p.sysctl()
	case "netsh":
		return p.netsh()
	case "samba":
		return p.samba()
	}
	return nil, fmt.Errorf("format %q: want %s", format, strings.Join(Formats, ", "))
}

func (p *Policy) yaml() []byte {
	b := []byte("pool:\n  ports: [")
	const width = 100
	start := len("pool:\n")
	for i, r := range p.Ports {
		item := fmt.Sprintf("%q", r.String())
		if i > 0 {
			b = append(b, ',')
			if len(b)-start+len(item) > width {
				b = append(b, "\n    "...)
				start = len(b) - len("    ")
			} else {
				b = append(b, ' ')
			}
		}
		b = append(b, item...)
	}
	return fmt.Appendf(b, "]\n  ports_internet_available: %t\n  use_internet_ports: %t\n", p.PortsInternetAvailable, p.UseInternetPorts)
}

// RegText returns p as the text of a .reg file, with line ends of Unix. What regedit exports,
// and [Policy.Convert] makes, is this in UTF-16 with the line ends of Windows.
func (p *Policy) RegText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n[HKEY_LOCAL_MACHINE\\%s]\n", headerUnicode, policyKey)
	var data []byte
	for _, r := range p.Ports {
		data = appendUTF16(data, r.String()+"\x00")
	}
	data = appendUTF16(data, "\x00")
	writeHex(&b, fmt.Sprintf("%q=hex(%x):", nameOfPorts, uint32(RegMultiSZ)), data)
	letter := map[bool]string{true: "Y", false: "N"}
	fmt.Fprintf(&b, "%q=%q\n", nameOfPIA, letter[p.PortsInternetAvailable])
	fmt.Fprintf(&b, "%q=%q\n\n", nameOfUIP, letter[p.UseInternetPorts])
	return b.String()
}

// writeHex writes data after head, in lines of the width that regedit gives them.
func writeHex(b *strings.Builder, head string, data []byte) {
	const full = 77 // a line that is so long gets a backslash
	b.WriteString(head)
	column := len(head)
	for i, c := range data {
		if i > 0 {
			b.WriteByte(',')
			if column++; column >= full {
				b.WriteString("\\\n  ")
				column = 2
			}
		}
		fmt.Fprintf(b, "%02x", c)
		column += 2
	}
	b.WriteByte('\n')
}

func appendUTF16(b []byte, s string) []byte {
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

// encodeUTF16 returns s in UTF-16, low byte first, after a byte order mark.
func encodeUTF16(s string) []byte { return appendUTF16(nil, "\ufeff"+s) }

// usable returns the ports of the list that can be given out.
func (p *Policy) usable() (portset.Set, error) {
	set := p.List().Intersect(unprivileged)
	if set.IsEmpty() {
		return set, errUnusable
	}
	return set, nil
}

func (p *Policy) sysctl() ([]byte, error) {
	set, err := p.usable()
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `# The ports of the RPC list: the kernel gives them to nobody who does not ask for them.
# The line replaces what is reserved already: add that to it.
net.ipv4.ip_local_reserved_ports = %v
`, set), nil
}

func (p *Policy) netsh() ([]byte, error) {
	set, err := p.usable()
	if err != nil {
		return nil, err
	}
	var b []byte
	b = append(b, "rem The ports of the RPC list: Windows gives them to no outgoing connection.\n"...)
	each := func(format string, args ...any) {
		for _, family := range []string{"ipv4", "ipv6"} {
			for _, transport := range []string{"tcp", "udp"} {
				b = fmt.Appendf(b, format, append([]any{family, transport}, args...)...)
			}
		}
	}
	for r := range set.Ranges() {
		each("netsh int %s add excludedportrange %s startport=%d numberofports=%d\n", r.First, r.Len())
	}
	b = append(b, "\n"...)
	instead, why := p.dynamicPort(set)
	if why != "" {
		b = fmt.Appendf(b, "rem No dynamicport command can stand in place of the policy: %s.\n", why)
	} else {
		b = append(b, "rem Or in place of the policy and of the commands above: outgoing connections share the range then.\n"...)
		each("rem netsh int %s set dynamicport %s start=%d num=%d\n", instead.First, instead.Len())
	}
	return []byte(strings.ReplaceAll(string(b), "\n", "\r\n")), nil
}

// dynamicPort returns the range that Windows would have to take for its dynamic
// ports to give ordinary servers those of set, the list; or why there is none.
func (p *Policy) dynamicPort(set portset.Set) (portset.Range, string) {
	pin, _ := catalog.Builtin().Pin("netsh-dynamicport")
	var only portset.Range
	n := 0
	for r := range set.Ranges() {
		only = r
		n++
	}
	switch {
	case !p.Listed(Default):
		return only, "the policy keeps ordinary servers out of its list"
	case n > 1:
		return only, "it takes one range"
	case only.First < pin.Limits.MinStart:
		return only, fmt.Sprintf("it begins at %d or above", pin.Limits.MinStart)
	case only.Len() < int(pin.Limits.MinNum):
		return only, fmt.Sprintf("it takes %d ports or more", pin.Limits.MinNum)
	}
	return only, ""
}

func (p *Policy) samba() ([]byte, error) {
	pool := p.Pool(Default, windows)
	if pool.IsEmpty() {
		if p.Listed(Default) {
			return nil, errUnusable
		}
		return nil, fmt.Errorf("the list takes all of %v, so that nothing is left for ordinary servers", windows)
	}
	var best portset.Range
	longest := 0
	for r := range pool.Ranges() {
		if r.Len() > longest {
			best, longest = r, r.Len()
		}
	}
	b := []byte("# In the section [global]: the ports that ordinary RPC servers get.\n")
	if !p.Listed(Default) {
		b = fmt.Appendf(b, "# They are outside the list: %v without it.\n", windows)
	}
	if left := pool.Minus(portset.Of(best)); !left.IsEmpty() {
		b = fmt.Appendf(b, "# Samba takes one range; left out: %v\n", left)
	}
	return fmt.Appendf(b, "rpc server dynamic port range = %d-%d\n", best.First, best.Last), nil
}
