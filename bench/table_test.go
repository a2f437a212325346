package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resultsOfTest has some of the plan's.
func resultsOfTest() []result {
	flat := func(v float64) spread { return spread{v, v, v} }
	return []result{
		{measurement{"GETPORT", kindGetPort, 10, nil}, map[string]summary{
			serverRPCBind:    {rate: spread{50_000, 40_000, 52_000}, serverCPU: flat(20)},
			serverQuaymaster: {rate: flat(175_000), serverCPU: spread{5, 4.9, 6.25}, p50: flat(300)},
			serverEcho:       {rate: flat(140_000), serverCPU: flat(6.25)},
		}},
		{measurement{"GETPORT, few", kindSaturated, 10, nil}, map[string]summary{
			serverQuaymaster: {serverCPU: flat(5)},
		}},
		{measurement{"GETPORT, more", kindSaturated, 1_000, nil}, map[string]summary{
			serverQuaymaster: {rate: flat(999.6), serverCPU: flat(5.25)},
		}},
		{measurement{"GETPORT, many", kindSaturated, 100_000, nil}, map[string]summary{
			serverQuaymaster: {serverCPU: flat(5.75)},
		}},
		{measurement{"DUMP", kindDump, 10_000, nil}, map[string]summary{
			serverRPCBind:    {memory: flat(6), anonymous: flat(2.4)},
			serverQuaymaster: {memory: spread{31.25, 30, 34.5}, anonymous: flat(19), journal: flat(3)},
		}},
		{measurement{"idle", kindIdle, 10_000, nil}, map[string]summary{
			serverQuaymaster: {idleCPU: flat(0.875)},
		}},
		{measurement{"ept_map", kindMap64, 10, nil}, map[string]summary{
			serverSamba:      {rate: flat(10_000), serverCPU: flat(90)},
			serverQuaymaster: {rate: flat(25_000), serverCPU: flat(30)},
		}},
		{measurement{"bind + ept_map", kindBindMap, 10, nil}, map[string]summary{
			serverQuaymaster: {longest: spread{20_000, 10_000, 501_000}, lost: spread{0, 0, 1}},
		}},
		{measurement{"grants", kindGrants, 100_000, nil}, map[string]summary{
			serverQuaymaster: {rate: spread{12_000, 9_000, 13_000}, serverCPU: flat(80), memory: flat(51.25)},
		}},
		{measurement{"restart", kindRestart, 100_000, nil}, map[string]summary{
			serverQuaymaster: {restart: flat(1250)},
		}},
		{measurement{"gate data", kindGateBulk, 0, nil}, map[string]summary{
			serverPlain:      {rate: flat(1_000)},
			serverQuaymaster: {rate: spread{990, 900, 1_100}, toPlain: spread{0.99, 0.9, 1.1}},
		}},
		{measurement{"gate opens", kindGateOpen, 0, nil}, map[string]summary{
			serverPlain:      {rate: flat(10_000), p50: flat(90)},
			serverQuaymaster: {rate: flat(4_000), serverCPU: flat(80), p50: flat(240), toPlain: flat(0.4)},
		}},
		{measurement{"gate idles", kindGateIdle, 4_000, nil}, map[string]summary{
			serverQuaymaster: {idleCPU: flat(0.5), memory: flat(81)},
		}},
		{measurement{"ask many", kindAskHosts, 1_000, nil}, map[string]summary{
			serverNmapVersions: {ran: flat(200_000)},
			serverNmap:         {ran: flat(1_000), ranMemory: flat(40)},
			serverQuaymaster:   {ran: spread{250, 200, 300}, ranMemory: spread{40, 39, 65}, conns: flat(64), hostConns: flat(1)},
		}},
		{measurement{"plans", kindPlan, 100_000, nil}, map[string]summary{
			serverQuaymaster: {rate: flat(8), ran: spread{125, 110, 2_500}, ranCPU: flat(130), ranUser: flat(120), ranMemory: spread{40, 39, 41}},
		}},
		{measurement{"more plans", kindPlan, 2_500_000, nil}, map[string]summary{
			serverQuaymaster: {rate: flat(1), ran: flat(1_000), ranUser: flat(960)},
		}},
		{measurement{"rules", kindPlanRules, 100_000, nil}, map[string]summary{
			serverQuaymaster: {rate: flat(1), ran: flat(1_200), ranUser: flat(1_250), ranMemory: flat(300)},
		}},
	}
}

func TestWriteTables(t *testing.T) {
	var got strings.Builder
	writeTables(&got, resultsOfTest())
	want := `
| measurement   | figure                        |                rpcbind |       quaymaster | Go echo | to rpcbind | to echo |
| ------------- | ----------------------------- | ---------------------: | ---------------: | ------: | ---------: | ------: |
| GETPORT       | requests/s                    | 50,000 (40,000–52,000) |          175,000 | 140,000 |      3.50× |   1.25× |
|               | server CPU, µs                |                   20.0 | 5.00 (4.90–6.25) |    6.25 |      0.25× |   0.80× |
|               | latency p50, µs               |                      — |              300 |       — |          — |       — |
| GETPORT, few  | server CPU, µs                |                      — |             5.00 |       — |          — |       — |
| GETPORT, more | requests/s                    |                      — |            1,000 |       — |          — |       — |
|               | server CPU, µs                |                      — |             5.25 |       — |          — |       — |
| GETPORT, many | server CPU, µs                |                      — |             5.75 |       — |          — |       — |
| DUMP          | memory, MiB                   |                   6.00 | 31.2 (30.0–34.5) |       — |      5.21× |       — |
|               | of it anonymous, MiB          |                   2.40 |             19.0 |       — |      7.92× |       — |
|               | and pages of the journal, MiB |                      — |             3.00 |       — |          — |       — |
| idle          | server CPU, % of a core       |                      — |             0.88 |       — |          — |       — |

| measurement    | figure         |  Samba |              quaymaster | Go echo | to Samba | to echo |
| -------------- | -------------- | -----: | ----------------------: | ------: | -------: | ------: |
| ept_map        | requests/s     | 10,000 |                  25,000 |       — |    2.50× |       — |
|                | server CPU, µs |   90.0 |                    30.0 |       — |    0.33× |       — |
| bind + ept_map | longest, µs    |      — | 20,000 (10,000–501,000) |       — |        — |       — |
|                | calls lost     |      — |        0.00 (0.00–1.00) |       — |        — |       — |

Ports that are given out; quaymaster alone, since no other program gives out ports for RPC:

| measurement | figure                     |             quaymaster |
| ----------- | -------------------------- | ---------------------: |
| grants      | pairs/s                    |  12,000 (9,000–13,000) |
|             | operations/s               | 24,000 (18,000–26,000) |
|             | server CPU, µs             |                   80.0 |
|             | memory, MiB                |                   51.2 |
| restart     | until the first answer, ms |                  1,250 |

A gate between clients and a port mapper, over veths; beside it the same gateway with fixed rules:

| measurement | figure                  |  plain |      quaymaster | to plain, in the same round |
| ----------- | ----------------------- | -----: | --------------: | --------------------------: |
| gate data   | MiB/s                   |  1,000 | 990 (900–1,100) |            0.99 (0.90–1.10) |
| gate opens  | requests/s              | 10,000 |           4,000 |                        0.40 |
|             | latency p50, µs         |   90.0 |             240 |                           — |
| gate idles  | server CPU, % of a core |      — |            0.50 |                           — |
|             | memory, MiB             |      — |            81.0 |                           — |

Asking hosts over a veth, with nmap beside it where nmap can do the same:

| measurement | figure                         | nmap -sV |  nmap |       quaymaster | to nmap |
| ----------- | ------------------------------ | -------: | ----: | ---------------: | ------: |
| ask many    | time, ms                       |  200,000 | 1,000 |    250 (200–300) |   0.25× |
|             | memory at most, MiB            |        — |  40.0 | 40.0 (39.0–65.0) |   1.00× |
|             | connections at a time, at most |        — |     — |               64 |       — |
|             | of these to one host           |        — |     — |                1 |       — |

Planning and writing rules, whole processes; quaymaster alone:

| measurement | figure              |       quaymaster |
| ----------- | ------------------- | ---------------: |
| plans       | time, ms            |  125 (110–2,500) |
|             | user CPU, ms        |              120 |
|             | memory at most, MiB | 40.0 (39.0–41.0) |
| more plans  | time, ms            |            1,000 |
|             | user CPU, ms        |              960 |
| rules       | time, ms            |            1,200 |
|             | user CPU, ms        |            1,250 |
|             | memory at most, MiB |              300 |

`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got.String()); diff != "" {
		t.Errorf("writeTables (-want +got):\n%s", diff)
	}
}

func TestWriteTargets(t *testing.T) {
	var got strings.Builder
	writeTargets(&got, resultsOfTest())
	want := `
| target                                                                                      |  measured |              |
| ------------------------------------------------------------------------------------------- | --------: | ------------ |
| GETPORT over UDP: server CPU at most 1.6 × the echo's                                       |     0.80× | met          |
| GETPORT over UDP, 64 clients: at least 2 × rpcbind's rate                                   |     3.50× | met          |
| GETPORT over UDP, 64 outstanding: at least 2.5 × rpcbind's rate                             |         — | not measured |
| GETPORT from 10 to 100,000 rows: server CPU within 10 %                                     |    15.0 % | not met      |
| GETADDR: server CPU within 20 % of GETPORT's                                                |         — | not measured |
| DUMP of 10,000 rows, 8 clients: at least 3 × rpcbind's rate                                 |         — | not measured |
| TCP connection per request: at least 1.5 × rpcbind's rate                                   |         — | not measured |
| SET + UNSET pairs, journalled, 8 clients: at least 1 × rpcbind's rate                       |         — | not measured |
| memory after DUMP of 10,000 rows, without the journal: below 30 MiB                         | 31.25 MiB | not met      |
| idle with 10,000 rows: at most 5 % of a core                                                |    0.88 % | met          |
| ept_map, 1 connection: at least 1 × Samba's rate                                            |         — | not measured |
| ept_map, 8 connections: at least 3 × Samba's rate                                           |         — | not measured |
| ept_map, 64 connections: at least 3 × Samba's rate                                          |     2.50× | not met      |
| ept_map, 64 connections: server CPU at most a third of Samba's                              |     0.33× | met          |
| ept_map from 10 to 100,000 interfaces: server CPU within 20 %                               |         — | not measured |
| bind + ept_map, 64 clients: at least 1.5 × Samba's rate                                     |         — | not measured |
| bind + ept_map, 64 clients: server CPU at most a third of Samba's                           |         — | not measured |
| bind + ept_map, 64 clients: none takes more than 500 ms, none is lost                       |  501.0 ms | not met      |
| grant + release, 100,000 held: at least 10,000 pairs a second                               |   12000/s | met          |
| grant + release from 10 to 100,000 held: server CPU within 20 %                             |         — | not measured |
| ask --hosts, 1,000 hosts: at least 20 × as fast as nmap -sV --script rpcinfo                |      800× | met          |
| ask --hosts, 1,000 hosts: memory at most 64 MiB                                             |  65.0 MiB | not met      |
| ask --hosts, 1,000 hosts: at most 256 connections at a time                                 |        64 | met          |
| ask --try, 200 endpoints: at most 4 connections at a time to the host                       |         — | not measured |
| ask --try, 200 endpoints: at most 500 ms                                                    |         — | not measured |
| ask, 300 ports that drop everything: at most 1.3 × the time-out                             |         — | not measured |
| gate, bulk data: in the best round at least plain forwarding's rate                         |     1.10× | met          |
| gate, bulk data beside 100,000 pinholes: in the best round at least plain forwarding's rate |         — | not measured |
| gate, a control connection each: at least 0.35 × plain forwarding's rate                    |         — | not measured |
| gate, GETPORT over UDP: at least 0.3 × plain forwarding's rate                              |         — | not measured |
| gate, an answer that opens a pinhole: at most 200 µs more, p50                              |    150 µs | met          |
| gate, 4,000 idle control channels: memory below 80 MiB                                      |  81.0 MiB | not met      |
| plan, 1,100 hosts, 100,000 pairs, to nftables: at most 2 s                                  |    0.12 s | met          |
| plan, 1,100 hosts, 100,000 pairs, to nftables: memory at most 300 MiB                       |  41.0 MiB | met          |
| plan, from 100,000 to 2,500,000 pairs: at most 25 × the user CPU                            |     8.00× | met          |
| plan, from 1,100 to 5,500 hosts: at most 5 × the user CPU                                   |     8.00× | not met      |
| plan, internal/render alone, 10,000 pairs with ports of their own: at most 0.3 s user CPU   |         — | not measured |
| plan, internal/render alone, 100,000 pairs with ports of their own: at most 3 s user CPU    |    1.25 s | met          |
| plan, nft -f of 10,000 pairs: at most 0.3 s                                                 |         — | not measured |
| plan, nft -f of 100,000 pairs: at most 0.3 s                                                |         — | not measured |
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got.String()); diff != "" {
		t.Errorf("writeTargets (-want +got):\n%s", diff)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1_000: "1,000", 1_234_567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}

// Every figure a target needs must be in the plan.
func TestPlanServesTargets(t *testing.T) {
	var results []result
	one := spread{1, 1, 1}
	for _, m := range plan() {
		r := result{m, make(map[string]summary)}
		for _, server := range m.servers {
			r.summaries[server] = summary{
				rate: one, serverCPU: one, idleCPU: one, memory: one, longest: one, p50: one, toPlain: one,
				ran: one, ranUser: one, ranMemory: one, conns: one, hostConns: one,
			}
		}
		results = append(results, r)
	}
	for _, target := range targets {
		if _, ok := target.figure(measured{results}); !ok {
			t.Errorf("%q: the plan does not measure it", target.text)
		}
	}
}

func TestChoose(t *testing.T) {
	got := choose(plan(), regexp.MustCompile("^GETPORT, UDP"), []string{serverEcho})
	var names []string
	for _, m := range got {
		names = append(names, m.name)
	}
	want := []string{"GETPORT, UDP, 64 clients, 10 rows", "GETPORT, UDP, 64 outstanding, 10 rows"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("choose (-want +got):\n%s", diff)
	}
	if !takesPart(got, serverEcho) || takesPart(got, serverRPCBind) {
		t.Errorf("takesPart: echo %v, rpcbind %v, want true, false", takesPart(got, serverEcho), takesPart(got, serverRPCBind))
	}
}
