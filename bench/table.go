package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A summary is what the rounds of one measurement gave for one server. CPU
// times are in microseconds per request, latencies in microseconds, memory in
// MiB.
type summary struct {
	rate         spread // requests per second
	serverCPU    spread
	generatorCPU spread
	p50, p99     spread // zero where single requests are not timed
	longest      spread // likewise
	lost         spread // calls

	idleCPU   spread // per cent of a core, where nothing is asked
	restart   spread // milliseconds, where the server is started again
	memory    spread // without the journal
	anonymous spread // of that
	journal   spread

	toPlain spread // rate to that of plain forwarding in the same round

	// Of a program that is run once.
	ran       spread // milliseconds
	ranCPU    spread // of these on a processor
	ranUser   spread // of these not in the kernel
	ranMemory spread // at most
	conns     spread // connections at a time, at most
	hostConns spread // of these to one host
}

// A result is a measurement that was done.
type result struct {
	measurement
	summaries map[string]summary // by server
}

// writeTables writes the results as a table for each dialect that has any, and one
// for each of the other things that are measured.
func writeTables(w io.Writer, results []result) {
	some := func(of func(kind string) bool) []result {
		return slices.DeleteFunc(slices.Clone(results), func(r result) bool { return !of(r.kind) })
	}
	for _, d := range []endpoint.Dialect{endpoint.ONC, endpoint.DCE} {
		if rs := some(func(kind string) bool {
			return !ofGrants(kind) && !ofAsking(kind) && !ofGate(kind) && !ofPlanning(kind) && dialectOf(kind) == d
		}); len(rs) > 0 {
			writeTable(w, serversOf(d), rs)
			fmt.Fprintln(w)
		}
	}
	if rs := some(ofGrants); len(rs) > 0 {
		fmt.Fprint(w, "Ports that are given out; quaymaster alone, since no other program gives out ports for RPC:\n\n")
		writeOwnTable(w, slices.Concat(pairFigures, figures[1:]), rs)
		fmt.Fprintln(w)
	}
	if rs := some(ofGate); len(rs) > 0 {
		fmt.Fprint(w, "A gate between clients and a port mapper, over veths; beside it the same gateway with fixed rules:\n\n")
		writeGateTable(w, rs)
		fmt.Fprintln(w)
	}
	if rs := some(ofAsking); len(rs) > 0 {
		fmt.Fprint(w, "Asking hosts over a veth, with nmap beside it where nmap can do the same:\n\n")
		writeAskTable(w, rs)
		fmt.Fprintln(w)
	}
	if rs := some(ofPlanning); len(rs) > 0 {
		fmt.Fprint(w, "Planning and writing rules, whole processes; quaymaster alone:\n\n")
		writeOwnTable(w, planFigures, rs)
		fmt.Fprintln(w)
	}
}

// titles are the servers' names in the table.
var titles = map[string]string{
	serverRPCBind: "rpcbind", serverSamba: "Samba", serverQuaymaster: "quaymaster", serverEcho: "Go echo",
	serverNmap: "nmap", serverNmapVersions: "nmap -sV", serverPlain: "plain",
}

// writeTable writes results as one Markdown table: servers side by side, a
// line per figure, and quaymaster's ratios to the first and the last.
func writeTable(w io.Writer, servers []string, results []result) {
	peer := servers[0]
	rows := [][]string{
		{"measurement", "figure", titles[peer], titles[serverQuaymaster], titles[serverEcho], "to " + titles[peer], "to echo"},
		{"---", "---", "--:", "--:", "--:", "--:", "--:"},
	}
	for _, r := range results {
		name := r.name
		for _, f := range figures {
			cells := []string{name, f.name}
			shown := false
			for _, server := range servers {
				s := f.of(r.summaries[server])
				cells = append(cells, f.cell(s))
				shown = shown || s.measured()
			}
			if !shown {
				continue
			}
			ours := f.of(r.summaries[serverQuaymaster])
			for _, server := range []string{peer, serverEcho} {
				cells = append(cells, ratioCell(ours, f.of(r.summaries[server])))
			}
			rows = append(rows, cells)
			name = ""
		}
	}
	writeAligned(w, rows)
}

// writeOwnTable writes results that quaymaster alone has.
func writeOwnTable(w io.Writer, figures []figure, results []result) {
	rows := [][]string{{"measurement", "figure", titles[serverQuaymaster]}, {"---", "---", "--:"}}
	for _, r := range results {
		name := r.name
		for _, f := range figures {
			if s := f.of(r.summaries[serverQuaymaster]); s.measured() {
				rows = append(rows, []string{name, f.name, f.cell(s)})
				name = ""
			}
		}
	}
	writeAligned(w, rows)
}

// writeAskTable writes results of programs that ask.
func writeAskTable(w io.Writer, results []result) {
	head, align := []string{"measurement", "figure"}, []string{"---", "---"}
	for _, server := range askers {
		head, align = append(head, titles[server]), append(align, "--:")
	}
	rows := [][]string{append(head, "to nmap"), append(align, "--:")}
	for _, r := range results {
		name := r.name
		for _, f := range askFigures {
			ours := f.of(r.summaries[serverQuaymaster])
			cells := []string{name, f.name}
			shown := false
			for _, server := range askers {
				s := f.of(r.summaries[server])
				cells = append(cells, f.cell(s))
				shown = shown || s.measured()
			}
			if shown {
				rows = append(rows, append(cells, ratioCell(ours, f.of(r.summaries[serverNmap]))))
				name = ""
			}
		}
	}
	writeAligned(w, rows)
}

// writeGateTable writes results of what stands between clients and a server.
func writeGateTable(w io.Writer, results []result) {
	rows := [][]string{{"measurement", "figure", titles[serverPlain], titles[serverQuaymaster], "to plain, in the same round"}, {"---", "---", "--:", "--:", "--:"}}
	for _, r := range results {
		name, plain, ours := r.name, r.summaries[serverPlain], r.summaries[serverQuaymaster]
		for _, f := range gateFigures(r.kind) {
			if !f.of(plain).measured() && !f.of(ours).measured() {
				continue
			}
			rate := figure{of: func(s summary) spread { return s.toPlain }, format: threeDigits}
			cells := []string{name, f.name, f.cell(f.of(plain)), f.cell(f.of(ours)), "—"}
			if name != "" {
				cells[4] = rate.cell(ours.toPlain)
			}
			rows = append(rows, cells)
			name = ""
		}
	}
	writeAligned(w, rows)
}

// gateFigures are of a kind of load through a gateway: the rate first, if it has one.
func gateFigures(kind string) []figure {
	switch kind {
	case kindGateBulk:
		return []figure{{"MiB/s", func(s summary) spread { return s.rate }, whole}}
	case kindGateIdle:
		return figures
	}
	return slices.DeleteFunc(slices.Clone(figures), func(f figure) bool { return strings.Contains(f.name, "CPU") })
}

// A figure is a line of a measurement in the table.
type figure struct {
	name   string
	of     func(summary) spread
	format func(float64) string
}

// pairFigures are of requests that are two operations each.
var pairFigures = []figure{
	{"pairs/s", func(s summary) spread { return s.rate }, whole},
	{"operations/s", func(s summary) spread { return spread{2 * s.rate.median, 2 * s.rate.low, 2 * s.rate.high} }, whole},
}

var figures = []figure{
	{"requests/s", func(s summary) spread { return s.rate }, whole},
	{"server CPU, µs", func(s summary) spread { return s.serverCPU }, threeDigits},
	{"latency p50, µs", func(s summary) spread { return s.p50 }, threeDigits},
	{"latency p99, µs", func(s summary) spread { return s.p99 }, threeDigits},
	{"longest, µs", func(s summary) spread { return s.longest }, threeDigits},
	{"calls lost", func(s summary) spread { return s.lost }, threeDigits},
	{"generator CPU, µs", func(s summary) spread { return s.generatorCPU }, threeDigits},
	{"server CPU, % of a core", func(s summary) spread { return s.idleCPU }, threeDigits},
	{"until the first answer, ms", func(s summary) spread { return s.restart }, threeDigits},
	{"memory, MiB", func(s summary) spread { return s.memory }, threeDigits},
	{"of it anonymous, MiB", func(s summary) spread { return s.anonymous }, threeDigits},
	{"and pages of the journal, MiB", func(s summary) spread { return s.journal }, threeDigits},
}

// askFigures are of programs that ask, once.
var askFigures = []figure{
	{"time, ms", func(s summary) spread { return s.ran }, threeDigits},
	{"processor time, ms", func(s summary) spread { return s.ranCPU }, threeDigits},
	{"memory at most, MiB", func(s summary) spread { return s.ranMemory }, threeDigits},
	{"connections at a time, at most", func(s summary) spread { return s.conns }, whole},
	{"of these to one host", func(s summary) spread { return s.hostConns }, whole},
}

// planFigures are of programs that plan, or load what is planned.
var planFigures = []figure{
	{"time, ms", func(s summary) spread { return s.ran }, threeDigits},
	{"user CPU, ms", func(s summary) spread { return s.ranUser }, threeDigits},
	{"memory at most, MiB", func(s summary) spread { return s.ranMemory }, threeDigits},
}

// cell prints the median, and the extremes where they print differently.
func (f figure) cell(s spread) string {
	if !s.measured() {
		return "—"
	}
	median, low, high := f.format(s.median), f.format(s.low), f.format(s.high)
	if low == high {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, low, high)
}

func ratioCell(a, b spread) string {
	if !a.measured() || !b.measured() {
		return "—"
	}
	return fmt.Sprintf("%.2f×", a.median/b.median)
}

func whole(v float64) string { return thousands(int64(v + 0.5)) }

// threeDigits prints v with about three significant digits.
func threeDigits(v float64) string {
	switch {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return thousands(int64(v + 0.5))
}

// thousands prints n with a comma between groups of three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// writeAligned writes cells as a Markdown table whose source has straight
// columns too. The second row says how they are aligned: "---" or "--:".
func writeAligned(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			gap := widths[i] - len([]rune(cell))
			right := strings.HasSuffix(rows[1][i], ":")
			switch {
			case n == 1:
				cell = strings.Repeat("-", gap) + cell
			case right:
				cell = strings.Repeat(" ", gap) + cell
			default:
				cell += strings.Repeat(" ", gap)
			}
			fmt.Fprintf(w, "| %s ", cell)
		}
		fmt.Fprintln(w, "|")
	}
}
