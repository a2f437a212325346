package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// Where a site and its rules are, in the namespace's own /run.
const (
	siteFile  = "/run/site-of-bench.yaml"
	rulesFile = "/run/rules-of-bench"
)

// planPatience bounds a program that plans.
const planPatience = 25 * time.Second

// domainRules is how many rules a domain takes, however large: one for each of TCP, UDP and ICMP.
const domainRules = 3

// planOnce runs the program of a job, whose rules are checked.
func planOnce(b brief, j job) (*tally, error) {
	program := []string{b.Path, "plan", siteFile, "--to", "nftables", "--for", siteFirewall}
	var text string
	rules, hosts := j.Rows, 2*j.Rows
	switch j.Kind {
	case kindPlanApart:
		text = apartSite(j.Rows)
	case kindPlanRules:
		program = []string{"/proc/self/exe", roleRules, strconv.Itoa(j.Rows)}
	case kindPlan, kindPlanLoad:
		size, ok := domainSizes[j.Rows]
		if !ok {
			return nil, fmt.Errorf("no domain of %d pairs", j.Rows)
		}
		text = domainSite(size)
		rules, hosts = domainRules, size.members+size.controllers
	default:
		return nil, fmt.Errorf("unknown planning %q", j.Kind)
	}
	if err := os.WriteFile(siteFile, []byte(text), 0o644); err != nil {
		return nil, err
	}
	t, err := writeRules(program, rules, hosts)
	if err == nil && j.Kind == kindPlanLoad {
		t, err = loadRules()
	}
	if err == nil {
		t.Requests = 1
	}
	return t, err
}

// writeRules runs a program that writes rules, so many of so many hosts.
func writeRules(program []string, rules, hosts int) (*tally, error) {
	f, err := os.Create(rulesFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdout = f
	t, err := runOnce(cmd, planPatience, nil)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return t, checkRules(f, rules, hosts)
}

// loadRules has nft load the rules into the namespace, which has none before and none afterwards.
func loadRules() (*tally, error) {
	t, err := runOnce(exec.Command("nft", "-f", rulesFile), planPatience, nil)
	if err != nil {
		return nil, err
	}
	t.Once.Memory = 0 // it has less than this process, so that its peak is not known
	return t, nft("delete table inet quaymaster_" + siteFirewall)
}
