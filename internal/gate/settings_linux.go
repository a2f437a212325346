package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// settingFile returns where the kernel has a setting. The name of an interface may have dots, which stand for themselves behind
// a slash, as sysctl(8) has it: net/ipv4/conf/eth0.7/rp_filter.
func settingFile(name string) string {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return "/proc/sys/" + name
}

func readSetting(name string) (string, error) {
	b, err := os.ReadFile(settingFile(name))
	if err != nil {
		return "", fmt.Errorf("gate: sysctl %s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func writeSetting(s Setting) error {
	if err := os.WriteFile(settingFile(s.Name), []byte(s.Value), 0o644); err != nil {
		return fmt.Errorf("gate: sysctl -w %s=%s: %w", s.Name, s.Value, err)
	}
	return nil
}

// checkSettings looks at what has to be so beforehand, also on these interfaces.
func (p *Policy) checkSettings(interfaces []string) []Check {
	var all []Check
	for _, s := range p.Conditions() {
		c := Check{What: s.Name, Want: s.Value}
		is, err := readSetting(s.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && s.Value == "0":
			is, c.State = "not known to this kernel", Fit
		case err != nil:
			is, c.State = "unknown: "+err.Error(), Missing
		case is == s.Value:
			c.State = Fit
		default:
			c.State, c.Mend = Missing, fmt.Sprintf("sysctl -w %s=%s", s.Name, s.Value)
		}
		c.Is = is
		all = append(all, c)
	}
	if slices.ContainsFunc(p.families(), func(f family) bool { return !f.ipv6 }) {
		for _, i := range interfaces {
			all = append(all, checkValidMark(i))
		}
	}
	return all
}

// checkValidMark looks whether marks count when the kernel looks for the way back to the source of a packet of IPv4. For control channels that way
// would lead to this host, which is none of a source, so that they would be dropped, whatever rp_filter says.
func checkValidMark(iface string) Check {
	c := Check{What: "src_valid_mark of " + iface, Is: "0", Want: "0", State: Fit}
	name := "net/ipv4/conf/" + iface + "/src_valid_mark" // beside that of all
	if v, err := readSetting(name); err == nil && v != "0" {
		c.Is, c.State, c.Mend = v, Missing, "sysctl -w "+name+"=0"
	}
	return c
}
