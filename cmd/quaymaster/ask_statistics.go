package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// askStatistics are what a port mapper has counted since it was started, and what time it is there.
type askStatistics struct {
	Error    string           `json:"error"` // why it did not tell
	Time     *time.Time       `json:"time"`  // to the second; null: it did not tell
	Ahead    int64            `json:"ahead_s"`
	Versions []askVersionStat `json:"versions"`
	Cut      bool             `json:"cut"`
}

// An askVersionStat has the counts of one version of the port mapper.
type askVersionStat struct {
	Version uint32          `json:"version"`
	Calls   []askCallStat   `json:"calls"`
	Sets    uint32          `json:"sets"` // that did something
	Unsets  uint32          `json:"unsets"`
	Lookups []askLookupStat `json:"lookups"`
	Remote  []askRemoteStat `json:"forwarded"`
}

type askCallStat struct {
	Procedure string `json:"procedure"`
	Count     uint32 `json:"count"`
}

type askLookupStat struct {
	Program uint32 `json:"program"`
	Version uint32 `json:"version"`
	NetID   string `json:"netid"` // as it came
	Found   uint32 `json:"found"`
	Missed  uint32 `json:"missed"`
}

type askRemoteStat struct {
	Program   uint32 `json:"program"`
	Version   uint32 `json:"version"`
	Procedure uint32 `json:"procedure"`
	NetID     string `json:"netid"`
	Done      uint32 `json:"done"`
	Failed    uint32 `json:"failed"`
	Indirect  uint32 `json:"indirect"` // of these
}

// mostStatistics is how many rows of one of a mapper's lists are kept: rpcbind's never shrink.
const mostStatistics = 1000

// statistics asks the port mapper that was found.
func (a *asker) statistics(ctx context.Context, f *findings) *askStatistics {
	s := &askStatistics{Versions: []askVersionStat{}}
	silent := func(r *probe.Report) bool { return r.State != probe.Listening }
	if len(f.onc) > 0 && !slices.ContainsFunc(f.onc, func(r *probe.Report) bool { return !silent(r) }) {
		s.Error = "the port mapper does not answer"
		return s
	}
	stats, err := a.StatisticsONC(ctx, f.addr, f.options)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	for i := range stats {
		s.Versions = append(s.Versions, s.version(rpcbind.Version2+uint32(i), &stats[i]))
	}
	there, err := a.TimeONC(ctx, f.addr, f.options)
	if err != nil {
		s.Error = "its time: " + err.Error()
		return s
	}
	there = there.UTC()
	s.Time, s.Ahead = &there, there.Unix()-time.Now().Unix()
	return s
}

// version returns the counts of a version.
func (s *askStatistics) version(version uint32, from *rpcbind.Stat) askVersionStat {
	v := askVersionStat{Version: version, Calls: []askCallStat{}, Sets: from.Sets, Unsets: from.Unsets, Lookups: []askLookupStat{}, Remote: []askRemoteStat{}}
	for i := range rpcbind.Procs(version) {
		v.Calls = append(v.Calls, askCallStat{i.Name(version), from.Calls[i]})
	}
	s.Cut = s.Cut || max(len(from.Lookups), len(from.Remote)) > mostStatistics
	for _, l := range from.Lookups[:min(len(from.Lookups), mostStatistics)] {
		v.Lookups = append(v.Lookups, askLookupStat{l.Program, l.Version, l.NetID, l.Found, l.Missed})
	}
	for _, r := range from.Remote[:min(len(from.Remote), mostStatistics)] {
		v.Remote = append(v.Remote, askRemoteStat{r.Program, r.Version, r.Procedure, r.NetID, r.Done, r.Failed, r.Indirect})
	}
	return v
}

// rows returns how many rows there are.
func (s *askStatistics) rows() int {
	n := 0
	for _, v := range s.Versions {
		n += len(v.Lookups) + len(v.Remote)
	}
	return n
}

// drop forgets the rows.
func (s *askStatistics) drop() {
	s.Cut = true
	for i := range s.Versions {
		s.Versions[i].Lookups, s.Versions[i].Remote = []askLookupStat{}, []askRemoteStat{}
	}
}

// print shows the statistics: what was never called, asked for or forwarded is left out.
func (s *askStatistics) print(to show.Screen, facts *catalog.Catalog) {
	line := "statistics of the port mapper"
	if s.Time != nil {
		line += ", where it is " + s.Time.Local().Format(time.DateTime)
		switch {
		case s.Ahead > 1: // the answer has whole seconds
			line += fmt.Sprintf(", %s ahead of here", time.Duration(s.Ahead)*time.Second)
		case s.Ahead < -1:
			line += fmt.Sprintf(", %s behind here", time.Duration(-s.Ahead)*time.Second)
		default:
			line += ", as here"
		}
	}
	if s.Error != "" {
		line += ": " + s.Error
	}
	if s.Cut {
		line += "; this is not all"
	}
	fmt.Fprintln(to, show.Clean(line))
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	calls := show.NewTable(show.Column{Head: "version", Right: true}, show.Column{Head: "set", Right: true}, show.Column{Head: "unset", Right: true}, show.Column{Head: "calls"})
	lookups := show.NewTable(show.Column{Head: "version", Right: true}, show.Column{Head: "asked for"}, show.Column{Head: "transport"},
		show.Column{Head: "found", Right: true}, show.Column{Head: "not found", Right: true})
	remote := show.NewTable(show.Column{Head: "version", Right: true}, show.Column{Head: "forwarded to"}, show.Column{Head: "procedure", Right: true}, show.Column{Head: "transport"},
		show.Column{Head: "done", Right: true}, show.Column{Head: "failed", Right: true}, show.Column{Head: "indirect", Right: true})
	asked, forwarded := 0, 0
	for _, v := range s.Versions {
		var parts []string
		for _, c := range v.Calls {
			if c.Count > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", c.Count, c.Procedure))
			}
		}
		calls.Add(number(v.Version), number(v.Sets), number(v.Unsets), strings.Join(parts, ", "))
		for _, l := range v.Lookups {
			lookups.Add(number(v.Version), programTitle(facts, l.Program, l.Version), l.NetID, number(l.Found), number(l.Missed))
			asked++
		}
		for _, r := range v.Remote {
			remote.Add(number(v.Version), programTitle(facts, r.Program, r.Version), number(r.Procedure), r.NetID, number(r.Done), number(r.Failed), number(r.Indirect))
			forwarded++
		}
	}
	if len(s.Versions) > 0 {
		calls.Print(to)
	}
	if asked > 0 {
		fmt.Fprintln(to)
		lookups.Print(to)
	}
	if forwarded > 0 {
		fmt.Fprintln(to)
		remote.Print(to)
	}
}

// programTitle returns "mountd:3", as it can be asked for.
func programTitle(facts *catalog.Catalog, program, version uint32) string {
	d := endpoint.Document{Dialect: endpoint.ONC.String(), Program: program}
	name := nameIn(facts, &d)
	if name == "" {
		name = strconv.FormatUint(uint64(program), 10)
	}
	if version == 0 {
		return name // of any version
	}
	return fmt.Sprintf("%s:%d", name, version)
}
