package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/portset"
)

// poolLintFlags are the flags of pool lint.
type poolLintFlags struct {
	*globals
	output string
}

func newPoolLint(x *globals) *cobra.Command {
	f := poolLintFlags{globals: x}
	cmd := &cobra.Command{
		Use:   "lint FILE",
		Short: "Say what a policy means and what is wrong with it",
		Long: `Lint says which ports ordinary servers get and which those that ask for the
Internet or the intranet pool, on Windows and on this host, and finds what
makes a policy invalid, is hardly meant or asks for trouble.

Exit status: 0 if there is nothing to say against it, 3 if there is.

` + aboutPolicyFiles,
		Example: `  quaymaster pool lint policy.reg
  quaymaster pool lint policy.reg -o json       for programs`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error { return f.run(args[0]) },
	}
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	return cmd
}

func (f *poolLintFlags) run(name string) error {
	if f.output != "table" && f.output != "json" {
		return usagef("output %q: want table or json", f.output)
	}
	d, err := readPolicy(name)
	if err != nil {
		return err
	}
	host, err := portpool.ReadHost()
	if err != nil {
		fmt.Fprintf(os.Stderr, "quaymaster: pool: this host is left out: %s\n", show.Clean(err.Error()))
	}
	l := lint{document: d, host: host, Report: portpool.Lint(d, host, catalog.Builtin())}
	if f.output == "json" {
		err = show.JSON(os.Stdout, l.json())
	} else {
		err = l.print(f.stdout())
	}
	if err == nil && len(l.Findings) > 0 {
		return errFound
	}
	return err
}

// A lint is what a document comes to, ready to be shown.
type lint struct {
	portpool.Report
	document *portpool.Document
	host     *portpool.Host // nil if not known
}

// where returns a place of the file.
func (l *lint) where(at portpool.Place) string {
	if at.Line == 0 {
		return l.document.Name
	}
	return fmt.Sprintf("%s:%d", l.document.Name, at.Line)
}

func (l *lint) print(s show.Screen) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	if l.document.Key.State == portpool.Present {
		l.printValues(s)
		fmt.Fprintln(w)
	}
	if l.Invalid {
		fmt.Fprint(w, `The whole policy is invalid. On Windows no server can listen over TCP or UDP then: code 87,
ERROR_INVALID_PARAMETER; Netlogon logs event 5820. Nothing can be made of it here.
`)
	} else {
		l.printServers(s)
	}
	fmt.Fprintln(w)
	l.printFindings(s)
	return w.Flush()
}

// printValues shows what the file says.
func (l *lint) printValues(s show.Screen) {
	t := show.NewTable(show.Column{Head: "where"}, show.Column{Head: "value"}, show.Column{Head: "data", Shrink: true}, show.Column{Head: "meaning"})
	meanings := l.meanings()
	for i, row := range l.document.Values() {
		var data []string
		for _, e := range row.Text {
			data = append(data, e.Text)
		}
		meaning := meanings[i]
		switch row.State {
		case portpool.Absent:
			meaning = "missing"
		case portpool.Removed:
			meaning = "removed"
		default:
			if l.Invalid && l.document.Syntax == portpool.Reg { // which may be what is wrong
				meaning = row.Type.String()
			}
		}
		t.Add(l.where(row.Place), row.Name, strings.Join(data, " "), meaning)
	}
	t.Print(s)
}

// meanings returns what each value of a valid policy means.
func (l *lint) meanings() (meanings [3]string) {
	p := l.Policy
	if p == nil {
		return meanings
	}
	list, other := "intranet", "Internet"
	if p.PortsInternetAvailable {
		list, other = other, list
	}
	return [3]string{
		show.Count(p.List().Len(), "port", "ports"),
		fmt.Sprintf("the list is the %s pool; every other port is the %s pool", list, other),
		fmt.Sprintf("servers that state no preference get the %s pool", poolName(p.Choose(portpool.Default))),
	}
}

func poolName(of portpool.Preference) string {
	if of == portpool.Internet {
		return "Internet"
	}
	return of.String()
}

// printServers shows which servers get which ports.
func (l *lint) printServers(s show.Screen) {
	columns := []show.Column{{Head: "servers"}, {Head: "get"}, {Head: "Windows 2008+", Shrink: true}, {Head: "Windows 2003", Shrink: true}}
	if l.host != nil {
		columns = append(columns, show.Column{Head: "this host", Shrink: true})
	}
	t := show.NewTable(columns...)
	for _, of := range l.Servers {
		cells := []string{"ordinary ones", "other ports", of.Windows.String(), of.Windows2003.String()}
		switch {
		case l.Policy == nil:
			cells[0], cells[1] = "all", "dynamic ports"
		case of.Listed:
			cells[1] = "the list"
		}
		switch of.Preference {
		case portpool.Internet:
			cells[0] = "RPC_C_USE_INTERNET_PORT"
		case portpool.Intranet:
			cells[0] = "RPC_C_USE_INTRANET_PORT"
		}
		if l.host != nil {
			cells = append(cells, of.Host.String())
		}
		for i := 2; i < len(cells); i++ {
			if cells[i] == "" {
				cells[i] = "none"
			}
		}
		t.Add(cells...)
	}
	t.Print(s)
	if l.Policy == nil {
		fmt.Fprintln(s, "There is no policy, and without one no preference counts.")
	}
	if l.host != nil {
		fmt.Fprintf(s, "This host gives %s to outgoing connections", l.host.Local)
		if spared := l.host.Local.Intersect(l.host.Reserved); !spared.IsEmpty() {
			fmt.Fprintf(s, " without %s, which is reserved", spared)
		}
		fmt.Fprintln(s, "; servers find the rest of 49152-65535.")
	}
}

// printFindings shows what is wrong.
func (l *lint) printFindings(s show.Screen) {
	if len(l.Findings) == 0 {
		fmt.Fprintln(s, "nothing is wrong with it")
		return
	}
	signs := map[portpool.Severity]string{portpool.Warning: "!", portpool.Error: "✗", portpool.Invalid: "✗"}
	count := map[portpool.Severity]int{}
	for _, f := range l.Findings {
		count[f.Severity]++
		fmt.Fprintf(s, "%s %s\n", signs[f.Severity], show.Clean(l.where(f.Place)+"  "+f.Message()))
	}
	fmt.Fprintf(s, "\n%s: %s, %s\n", show.Count(len(l.Findings), "finding", "findings"),
		show.Count(count[portpool.Error]+count[portpool.Invalid], "error", "errors"), show.Count(count[portpool.Warning], "warning", "warnings"))
}

// lintJSON is what "pool lint -o json" prints.
type lintJSON struct {
	File     string        `json:"file"`
	State    string        `json:"state"`
	Policy   *policyJSON   `json:"policy"`
	Servers  []serversJSON `json:"servers"`
	Findings []findingJSON `json:"findings"`
}

type policyJSON struct {
	Ports                  []string `json:"ports"`
	PortsInternetAvailable bool     `json:"ports_internet_available"`
	UseInternetPorts       bool     `json:"use_internet_ports"`
}

type serversJSON struct {
	Preference  string       `json:"preference"`
	Pool        string       `json:"pool"` // empty without a policy
	Listed      bool         `json:"listed"`
	Windows     portset.Set  `json:"windows"`
	Windows2003 portset.Set  `json:"windows_2003"`
	Host        *portset.Set `json:"host"` // null if not known
}

type findingJSON struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Line     int    `json:"line"`   // 0 if it is the file as a whole
	Column   int    `json:"column"` // 0 if not known
	Text     string `json:"text"`
	Do       string `json:"do"`
}

func (l *lint) json() lintJSON {
	j := lintJSON{File: l.document.Name, State: "valid", Servers: []serversJSON{}, Findings: []findingJSON{}}
	switch {
	case l.Invalid:
		j.State = "invalid"
	case l.document.Key.State == portpool.Removed:
		j.State = "removed"
	case l.Policy == nil:
		j.State = "absent"
	default:
		j.Policy = &policyJSON{nil, l.Policy.PortsInternetAvailable, l.Policy.UseInternetPorts}
		for _, r := range l.Policy.Ports {
			j.Policy.Ports = append(j.Policy.Ports, r.String())
		}
	}
	for _, of := range l.Servers {
		one := serversJSON{Preference: of.Preference.String(), Listed: of.Listed, Windows: of.Windows, Windows2003: of.Windows2003}
		if l.Policy != nil {
			one.Pool = of.Pool.String()
		}
		if l.host != nil {
			one.Host = &of.Host
		}
		j.Servers = append(j.Servers, one)
	}
	for _, f := range l.Findings {
		j.Findings = append(j.Findings, findingJSON{f.Severity.String(), f.Code, f.Line, f.Column, f.Text, f.Do})
	}
	return j
}
