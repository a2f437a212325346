package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == roleAgent:
		err = runAgent(os.Stdin, os.Stdout)
	case len(os.Args) > 1 && os.Args[1] == roleEcho:
		err = runEcho(addressOf(endpoint.ONC))
	case len(os.Args) > 1 && os.Args[1] == roleCanned:
		err = runCanned(addressOf(endpoint.DCE))
	case len(os.Args) > 2 && os.Args[1] == roleRules:
		err = runRules(os.Args[2], os.Stdout)
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		var usage usageError
		if errors.As(err, &usage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// A usageError is a wrong argument.
type usageError string

func (e usageError) Error() string { return string(e) }

// run measures and prints what the command line asks for.
func run(ctx context.Context) error {
	only := flag.String("only", "", "measure only what matches this `REGEXP`")
	rounds := flag.Int("rounds", 3, "measure everything `N` times; the median counts")
	path := flag.String("quaymaster", "", "measure this `EXECUTABLE` instead of building one")
	list := flag.String("servers", strings.Join(allServers, ","), "measure these, separated by commas")
	flag.Parse()

	pattern, err := regexp.Compile(*only)
	servers := strings.Split(*list, ",")
	switch {
	case err != nil:
		return usageError("-only: " + err.Error())
	case flag.NArg() > 0:
		return usageError(fmt.Sprintf("unexpected argument %q", flag.Arg(0)))
	case *rounds < 1:
		return usageError("-rounds: at least 1")
	}
	for _, s := range servers {
		if !slices.Contains(allServers, s) {
			return usageError(fmt.Sprintf("-servers: %q is not one of %s", s, strings.Join(allServers, ", ")))
		}
	}
	if os.Getuid() != 0 {
		// rpcbind insists on setgroups(2), which a user namespace does not allow; Samba
		// starts, and answers nobody.
		servers = slices.DeleteFunc(servers, func(s string) bool {
			needsRoot := s == serverRPCBind || s == serverSamba
			if needsRoot {
				progress("%s is left out: it needs root", s)
			}
			return needsRoot
		})
	}
	chosen := choose(plan(), pattern, servers)
	if len(chosen) == 0 {
		return usageError("-only and -servers leave nothing to measure")
	}

	b := bench{agents: make(map[brief]*agent)}
	defer b.stop()
	for server, path := range map[string]string{
		serverRPCBind: "rpcbind", serverSamba: sambaServer, serverNmap: "nmap", serverNmapVersions: "nmap",
	} {
		if !takesPart(chosen, server) {
			continue
		}
		if _, err := exec.LookPath(path); err != nil {
			return fmt.Errorf("%w; install the package %s, or do without: -servers quaymaster,echo", err, packageOf(server))
		}
	}
	if takesPart(chosen, serverQuaymaster) || slices.ContainsFunc(chosen, func(m measurement) bool { return ofAsking(m.kind) || ofGate(m.kind) }) {
		dir, err := os.MkdirTemp("", "quaymaster-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if b.quaymaster, err = executable(ctx, *path, dir); err != nil {
			return err
		}
	}
	results, err := b.measureAll(ctx, chosen, *rounds)
	if err != nil {
		return err
	}
	writeMachine(os.Stdout, chosen)
	fmt.Printf("- each figure: median of %d rounds of %v (lowest–highest), the servers in turn\n", *rounds, window)
	fmt.Printf("- UDP calls sent again after %v: %d; calls lost: %d\n\n", retransmitAfter, b.retransmitted, b.lost)
	writeTables(os.Stdout, results)
	writeTargets(os.Stdout, results)
	return nil
}

// executable returns the absolute path of the quaymaster to measure: path, or
// one built into dir when path is empty.
func executable(ctx context.Context, path, dir string) (string, error) {
	if path != "" {
		return filepath.Abs(path)
	}
	const pkg = "github.com/quaymaster/quaymaster/cmd/quaymaster"
	progress("building quaymaster")
	path = filepath.Join(dir, "quaymaster")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

func progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
}

// A bench keeps the servers that are running.
type bench struct {
	quaymaster    string
	agents        map[brief]*agent
	retransmitted int
	lost          int
}

func (b *bench) stop() {
	for _, a := range b.agents {
		a.stop()
	}
}

// measureAll goes through all measurements, and within each through its
// servers, round after round: what disturbs the machine for a while disturbs
// all of them.
func (b *bench) measureAll(ctx context.Context, ms []measurement, rounds int) ([]result, error) {
	tallies := make([]map[string][]*tally, len(ms)) // by server
	for round := range rounds {
		for i, m := range ms {
			if round == 0 {
				tallies[i] = make(map[string][]*tally)
			}
			for _, server := range m.servers {
				if round > 0 && onlyOnce(server) {
					continue
				}
				t, err := b.once(ctx, m, server)
				if ctx.Err() != nil {
					return nil, errors.New("interrupted")
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", m.name, server, err)
				}
				progress("%d/%d  %-60s  %-10s %s", round+1, rounds, m.name, server, t)
				b.retransmitted += t.Retransmitted
				b.lost += t.Lost
				tallies[i][server] = append(tallies[i][server], t)
			}
		}
	}
	var results []result
	for i, m := range ms {
		r := result{m, make(map[string]summary)}
		for server, ts := range tallies[i] {
			r.summaries[server] = summarize(ts)
		}
		if ours, ok := r.summaries[serverQuaymaster]; ok && ofGate(m.kind) {
			ours.toPlain = ratios(tallies[i][serverQuaymaster], tallies[i][serverPlain])
			r.summaries[serverQuaymaster] = ours
		}
		results = append(results, r)
	}
	return results, nil
}

// once does one round of m with one server, which is started if it is not
// running yet.
func (b *bench) once(ctx context.Context, m measurement, server string) (*tally, error) {
	key := m.brief(server, b.quaymaster)
	if b.agents[key] == nil {
		progress("starting %s with %s", key.Server, key.contents())
		a, err := startAgent(ctx, key)
		if err != nil {
			return nil, err
		}
		b.agents[key] = a
	}
	return b.agents[key].do(m.job(server))
}

// ratios returns how the rates of one server were to those of another in the same rounds.
func ratios(ours, theirs []*tally) spread {
	var values []float64
	for i := range min(len(ours), len(theirs)) {
		if r, ok := ratio(ours[i].rate(), theirs[i].rate()); ok {
			values = append(values, r)
		}
	}
	return spreadOf(values)
}

func summarize(ts []*tally) summary {
	over := func(figure func(*tally) float64) spread {
		var values []float64
		for _, t := range ts {
			values = append(values, figure(t))
		}
		return spreadOf(values)
	}
	return summary{
		rate:         over((*tally).rate),
		serverCPU:    over((*tally).serverCPU),
		generatorCPU: over((*tally).generatorCPU),
		p50:          over(func(t *tally) float64 { return micros(t.P50) }),
		p99:          over(func(t *tally) float64 { return micros(t.P99) }),
		longest:      over(func(t *tally) float64 { return micros(t.Longest) }),
		lost:         over(func(t *tally) float64 { return float64(t.Lost) }),
		idleCPU:      over((*tally).idleCPU),
		restart:      over(func(t *tally) float64 { return millis(t.Restart) }),
		memory:       over(func(t *tally) float64 { return mebibytes(t.Memory.Resident) }),
		anonymous:    over(func(t *tally) float64 { return mebibytes(t.Memory.Anonymous) }),
		journal:      over(func(t *tally) float64 { return mebibytes(t.Memory.Journal) }),
		ran:          over((*tally).ran),
		ranCPU:       over(func(t *tally) float64 { return millis(t.once().CPU) }),
		ranUser:      over(func(t *tally) float64 { return millis(t.once().User) }),
		ranMemory:    over(func(t *tally) float64 { return mebibytes(t.once().Memory) }),
		conns:        over(func(t *tally) float64 { return float64(t.once().Conns) }),
		hostConns:    over(func(t *tally) float64 { return float64(t.once().HostConns) }),
	}
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
