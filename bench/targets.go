package main

import (
	"fmt"
	"io"
	"math"

	"github.com/quaymaster/quaymaster/internal/probe"
)

// A target is a promise of the project about quaymaster's speed.
type target struct {
	text     string
	limit    float64
	atMost   bool // the figure must not exceed limit; else it must reach it
	decimals int
	unit     string
	// figure returns what was measured, false when a part of it was not.
	figure func(measured) (float64, bool)
}

// measured finds the median a server had in a measurement.
type measured struct{ results []result }

func (m measured) summary(server, kind string, rows int) summary {
	for _, r := range m.results {
		if r.kind == kind && r.rows == rows {
			return r.summaries[server]
		}
	}
	return summary{}
}

func (m measured) cpu(server, kind string, rows int) float64 {
	return m.summary(server, kind, rows).serverCPU.median
}

// rateRatio returns quaymaster's rate as a multiple of its peer's.
func rateRatio(kind string, rows int) func(measured) (float64, bool) {
	return func(m measured) (float64, bool) {
		return ratio(
			m.summary(serverQuaymaster, kind, rows).rate.median,
			m.summary(peerOf(dialectOf(kind)), kind, rows).rate.median)
	}
}

// cpuRatio returns quaymaster's processor time as a multiple of its peer's.
func cpuRatio(kind string, rows int) func(measured) (float64, bool) {
	return func(m measured) (float64, bool) {
		return ratio(m.cpu(serverQuaymaster, kind, rows), m.cpu(peerOf(dialectOf(kind)), kind, rows))
	}
}

func ratio(a, b float64) (float64, bool) { return a / b, a > 0 && b > 0 }

var targets = []target{
	{text: "GETPORT over UDP: server CPU at most 1.6 × the echo's", limit: 1.6, atMost: true, decimals: 2, unit: "×",
		figure: func(m measured) (float64, bool) {
			return ratio(m.cpu(serverQuaymaster, kindGetPort, 10), m.cpu(serverEcho, kindGetPort, 10))
		}},
	{text: "GETPORT over UDP, 64 clients: at least 2 × rpcbind's rate", limit: 2, decimals: 2, unit: "×",
		figure: rateRatio(kindGetPort, 10)},
	{text: "GETPORT over UDP, 64 outstanding: at least 2.5 × rpcbind's rate", limit: 2.5, decimals: 2, unit: "×",
		figure: rateRatio(kindSaturated, 10)},
	{text: "GETPORT from 10 to 100,000 rows: server CPU within 10 %", limit: 10, atMost: true, decimals: 1, unit: " %",
		figure: flatness(kindSaturated, 10, 1_000, 100_000)},
	{text: "GETADDR: server CPU within 20 % of GETPORT's", limit: 20, atMost: true, decimals: 1, unit: " %",
		figure: func(m measured) (float64, bool) {
			r, ok := ratio(m.cpu(serverQuaymaster, kindGetAddr, 10), m.cpu(serverQuaymaster, kindSaturated, 10))
			return (r - 1) * 100, ok
		}},
	{text: "DUMP of 10,000 rows, 8 clients: at least 3 × rpcbind's rate", limit: 3, decimals: 2, unit: "×",
		figure: rateRatio(kindDump, 10_000)},
	{text: "TCP connection per request: at least 1.5 × rpcbind's rate", limit: 1.5, decimals: 2, unit: "×",
		figure: rateRatio(kindConnect, 10)},
	{text: "SET + UNSET pairs, journalled, 8 clients: at least 1 × rpcbind's rate", limit: 1, decimals: 2, unit: "×",
		figure: rateRatio(kindPairs, 10)},
	{text: "memory after DUMP of 10,000 rows, without the journal: below 30 MiB", limit: 30, atMost: true, decimals: 2, unit: " MiB",
		figure: func(m measured) (float64, bool) {
			v := m.summary(serverQuaymaster, kindDump, 10_000).memory
			return v.median, v.measured()
		}},
	{text: "idle with 10,000 rows: at most 5 % of a core", limit: 5, atMost: true, decimals: 2, unit: " %",
		figure: func(m measured) (float64, bool) {
			v := m.summary(serverQuaymaster, kindIdle, 10_000).idleCPU
			return v.median, v.measured()
		}},
	{text: "ept_map, 1 connection: at least 1 × Samba's rate", limit: 1, decimals: 2, unit: "×",
		figure: rateRatio(kindMap1, 10)},
	{text: "ept_map, 8 connections: at least 3 × Samba's rate", limit: 3, decimals: 2, unit: "×",
		figure: rateRatio(kindMap8, 10)},
	{text: "ept_map, 64 connections: at least 3 × Samba's rate", limit: 3, decimals: 2, unit: "×",
		figure: rateRatio(kindMap64, 10)},
	{text: "ept_map, 64 connections: server CPU at most a third of Samba's", limit: 1. / 3, atMost: true, decimals: 2, unit: "×",
		figure: cpuRatio(kindMap64, 10)},
	{text: "ept_map from 10 to 100,000 interfaces: server CPU within 20 %", limit: 20, atMost: true, decimals: 1, unit: " %",
		figure: flatness(kindMap64, 10, 100_000)},
	{text: "bind + ept_map, 64 clients: at least 1.5 × Samba's rate", limit: 1.5, decimals: 2, unit: "×",
		figure: rateRatio(kindBindMap, 10)},
	{text: "bind + ept_map, 64 clients: server CPU at most a third of Samba's", limit: 1. / 3, atMost: true, decimals: 2, unit: "×",
		figure: cpuRatio(kindBindMap, 10)},
	{text: "bind + ept_map, 64 clients: none takes more than 500 ms, none is lost", limit: 500, atMost: true, decimals: 1, unit: " ms",
		figure: func(m measured) (float64, bool) {
			v := m.summary(serverQuaymaster, kindBindMap, 10).longest // with the lost
			return v.high / 1000, v.measured()
		}},
	{text: "grant + release, 100,000 held: at least 10,000 pairs a second", limit: 10_000, decimals: 0, unit: "/s",
		figure: func(m measured) (float64, bool) {
			v := m.summary(serverQuaymaster, kindGrants, 100_000).rate
			return v.median, v.measured()
		}},
	{text: "grant + release from 10 to 100,000 held: server CPU within 20 %", limit: 20, atMost: true, decimals: 1, unit: " %",
		figure: flatness(kindGrants, 10, 100_000)},
	{text: "ask --hosts, 1,000 hosts: at least 20 × as fast as nmap -sV --script rpcinfo", limit: 20, decimals: 0, unit: "×",
		figure: func(m measured) (float64, bool) {
			return ratio(m.summary(serverNmapVersions, kindAskHosts, 1_000).ran.median, m.summary(serverQuaymaster, kindAskHosts, 1_000).ran.median)
		}},
	{text: "ask --hosts, 1,000 hosts: memory at most 64 MiB", limit: 64, atMost: true, decimals: 1, unit: " MiB",
		figure: highest(kindAskHosts, 1_000, func(s summary) spread { return s.ranMemory })},
	{text: "ask --hosts, 1,000 hosts: at most 256 connections at a time", limit: 256, atMost: true,
		figure: highest(kindAskHosts, 1_000, func(s summary) spread { return s.conns })},
	{text: "ask --try, 200 endpoints: at most 4 connections at a time to the host", limit: 4, atMost: true,
		figure: highest(kindAskTry, 200, func(s summary) spread { return s.hostConns })},
	{text: "ask --try, 200 endpoints: at most 500 ms", limit: 500, atMost: true, decimals: 1, unit: " ms",
		figure: func(m measured) (float64, bool) {
			v := m.summary(serverQuaymaster, kindAskTry, 200).ran
			return v.median, v.measured()
		}},
	{text: "ask, 300 ports that drop everything: at most 1.3 × the time-out", limit: 1.3, atMost: true, decimals: 2, unit: "×",
		figure: func(m measured) (float64, bool) {
			v := m.summary(serverQuaymaster, kindAskFiltered, 300).ran
			return v.median / millis(probe.DefaultTimeout), v.measured()
		}},
	{text: "gate, bulk data: in the best round at least plain forwarding's rate", limit: 1, decimals: 2, unit: "×",
		figure: bestToPlain(kindGateBulk, 0)},
	{text: "gate, bulk data beside 100,000 pinholes: in the best round at least plain forwarding's rate", limit: 1, decimals: 2, unit: "×",
		figure: bestToPlain(kindGateBulk, 100_000)},
	{text: "gate, a control connection each: at least 0.35 × plain forwarding's rate", limit: 0.35, decimals: 2, unit: "×",
		figure: toPlain(kindGateConnect, 10)},
	{text: "gate, GETPORT over UDP: at least 0.3 × plain forwarding's rate", limit: 0.3, decimals: 2, unit: "×",
		figure: toPlain(kindGateGetPort, 10)},
	{text: "gate, an answer that opens a pinhole: at most 200 µs more, p50", limit: 200, atMost: true, decimals: 0, unit: " µs",
		figure: func(m measured) (float64, bool) {
			ours, plain := m.summary(serverQuaymaster, kindGateOpen, 0).p50, m.summary(serverPlain, kindGateOpen, 0).p50
			return ours.median - plain.median, ours.measured() && plain.measured()
		}},
	{text: "gate, 4,000 idle control channels: memory below 80 MiB", limit: 80, atMost: true, decimals: 1, unit: " MiB",
		figure: highest(kindGateIdle, 4_000, func(s summary) spread { return s.memory })},
	{text: "plan, 1,100 hosts, 100,000 pairs, to nftables: at most 2 s", limit: 2, atMost: true, decimals: 2, unit: " s",
		figure: seconds(kindPlan, 100_000, func(s summary) spread { return s.ran })},
	{text: "plan, 1,100 hosts, 100,000 pairs, to nftables: memory at most 300 MiB", limit: 300, atMost: true, decimals: 1, unit: " MiB",
		figure: highest(kindPlan, 100_000, func(s summary) spread { return s.ranMemory })},
	{text: "plan, from 100,000 to 2,500,000 pairs: at most 25 × the user CPU", limit: 25, atMost: true, decimals: 2, unit: "×",
		figure: planGrowth},
	{text: "plan, from 1,100 to 5,500 hosts: at most 5 × the user CPU", limit: 5, atMost: true, decimals: 2, unit: "×",
		figure: planGrowth},
	{text: "plan, internal/render alone, 10,000 pairs with ports of their own: at most 0.3 s user CPU", limit: 0.3, atMost: true, decimals: 2, unit: " s",
		figure: seconds(kindPlanRules, 10_000, func(s summary) spread { return s.ranUser })},
	{text: "plan, internal/render alone, 100,000 pairs with ports of their own: at most 3 s user CPU", limit: 3, atMost: true, decimals: 2, unit: " s",
		figure: seconds(kindPlanRules, 100_000, func(s summary) spread { return s.ranUser })},
	{text: "plan, nft -f of 10,000 pairs: at most 0.3 s", limit: 0.3, atMost: true, decimals: 3, unit: " s",
		figure: seconds(kindPlanLoad, 10_000, func(s summary) spread { return s.ran })},
	{text: "plan, nft -f of 100,000 pairs: at most 0.3 s", limit: 0.3, atMost: true, decimals: 3, unit: " s",
		figure: seconds(kindPlanLoad, 100_000, func(s summary) spread { return s.ran })},
}

// seconds returns the median of a figure of quaymaster's that is in milliseconds.
func seconds(kind string, rows int, of func(summary) spread) func(measured) (float64, bool) {
	return func(m measured) (float64, bool) {
		v := of(m.summary(serverQuaymaster, kind, rows))
		return v.median / 1000, v.measured()
	}
}

// toPlain returns the rate of a gate to that of plain forwarding.
func toPlain(kind string, rows int) func(measured) (float64, bool) {
	return func(m measured) (float64, bool) {
		v := m.summary(serverQuaymaster, kind, rows).toPlain
		return v.median, v.measured()
	}
}

// bestToPlain returns the best of the rounds: where data goes the same way, one is as fast.
func bestToPlain(kind string, rows int) func(measured) (float64, bool) {
	return func(m measured) (float64, bool) {
		v := m.summary(serverQuaymaster, kind, rows).toPlain
		return v.high, v.measured()
	}
}

// highest returns the most that a figure of quaymaster's was in any round.
func highest(kind string, rows int, of func(summary) spread) func(measured) (float64, bool) {
	return func(m measured) (float64, bool) {
		v := of(m.summary(serverQuaymaster, kind, rows))
		return v.high, v.measured()
	}
}

// flatness returns by how many per cent the dearest of the sizes exceeds the
// cheapest.
func flatness(kind string, sizes ...int) func(measured) (float64, bool) {
	return func(m measured) (float64, bool) {
		low, high := math.Inf(1), 0.0
		for _, rows := range sizes {
			cpu := m.cpu(serverQuaymaster, kind, rows)
			if cpu == 0 {
				return 0, false
			}
			low, high = min(low, cpu), max(high, cpu)
		}
		return (high/low - 1) * 100, true
	}
}

// writeTargets writes each target with what was measured and the verdict.
func writeTargets(w io.Writer, results []result) {
	rows := [][]string{{"target", "measured", ""}, {"---", "--:", "---"}}
	for _, t := range targets {
		value, ok := t.figure(measured{results})
		text, verdict := "—", "not measured"
		if ok {
			text = fmt.Sprintf("%.*f%s", t.decimals, value, t.unit)
			verdict = "not met"
			if t.atMost && value <= t.limit || !t.atMost && value >= t.limit {
				verdict = "met"
			}
		}
		rows = append(rows, []string{t.text, text, verdict})
	}
	writeAligned(w, rows)
}

// planGrowth is how much more processor time a domain takes to plan that has five times as many hosts, and so 25 times as many pairs.
func planGrowth(m measured) (float64, bool) {
	return ratio(m.summary(serverQuaymaster, kindPlan, 2_500_000).ranUser.median, m.summary(serverQuaymaster, kindPlan, 100_000).ranUser.median)
}
