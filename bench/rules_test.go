package main

import (
	"strings"
	"testing"
)

// No two pairs have the same ports, or a host in common.
func TestApartPlan(t *testing.T) {
	const pairs = 70_000
	ports, hosts := map[string]bool{}, map[string]bool{}
	for _, f := range apartPlan(pairs).Flows {
		ports[f.Ports.String()] = true
		hosts[f.From[0].Addresses[0].String()], hosts[f.To[0].Addresses[0].String()] = true, true
		if len(f.From) != 1 || len(f.To) != 1 {
			t.Fatalf("a flow is of %d and %d hosts, want one each", len(f.From), len(f.To))
		}
	}
	if len(ports) != pairs || len(hosts) != 2*pairs {
		t.Errorf("%d sets of ports, %d hosts, want %d, %d", len(ports), len(hosts), pairs, 2*pairs)
	}
}

func TestRunRules(t *testing.T) {
	var rules strings.Builder
	if err := runRules("30", &rules); err != nil {
		t.Fatal(err)
	}
	if err := checkRules(strings.NewReader(rules.String()), 30, 60); err != nil {
		t.Error(err)
	}
	if err := runRules("many", &rules); err == nil {
		t.Error("runRules takes what is no number")
	}
}

func TestCheckRules(t *testing.T) {
	const text = `table inet quaymaster_edge {
	set hosts4_1 {
		elements = {
			10.1.0.1, 10.1.0.2,
		}
	}
	chain forward {
		ct state established accept

		# app0 10.9.0.9 -> dc0
		ip saddr @hosts4_1 ip daddr 10.0.0.1 tcp dport { 88, 135 } accept
		ip saddr 10.1.0.2 ip daddr 10.0.0.1 udp dport 88 accept
	}
}
`
	if err := checkRules(strings.NewReader(text), 2, 3); err != nil {
		t.Error(err)
	}
	for name, wrong := range map[string]string{
		"nothing": "", "a host is missing": strings.Replace(text, "10.1.0.1,", "", 1), "a rule is missing": strings.Replace(text, "ip saddr @", "# @", 1),
	} {
		if err := checkRules(strings.NewReader(wrong), 2, 3); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}
