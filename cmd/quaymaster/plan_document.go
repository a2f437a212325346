package main

import (
	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// planSchema is the schema of what "plan -o json" prints.
const planSchema = "quaymaster/plan/1"

// planDocument is what "plan -o json" prints.
type planDocument struct {
	Schema   string                `json:"schema"`
	Flows    []planFlowDocument    `json:"flows"`
	Warnings []planWarningDocument `json:"warnings"`
}

type planWarningDocument struct {
	Host string `json:"host"` // empty: the site
	Text string `json:"text"`
}

// planFlowDocument is a flow of it.
type planFlowDocument struct {
	ID           string             `json:"id"`
	From         []string           `json:"from"`
	To           []string           `json:"to"`
	Protocol     string             `json:"protocol"` // all: every one
	Ports        portset.Set        `json:"ports"`    // empty of protocols that have none
	Symbol       catalog.Symbol     `json:"symbol"`
	App          string             `json:"app"`
	Service      string             `json:"service"`
	Relationship string             `json:"relationship"`
	Row          string             `json:"row"`
	Need         catalog.Need       `json:"need"`
	Condition    string             `json:"condition"`
	Narrowing    *narrowingDocument `json:"narrowing"` // null: the flow is not dynamic
	Unfiltered   bool               `json:"unfiltered"`
	Reason       string             `json:"reason"`
	Notes        []string           `json:"notes"`
	Sources      []string           `json:"sources"`
}

type narrowingDocument struct {
	By      plan.By  `json:"by"`
	Pins    []string `json:"pins"`
	Pinhole []string `json:"pinhole"`
	From    string   `json:"from"`
}

func newPlanDocument(p *plan.Plan, flows []*plan.Flow) planDocument {
	d := planDocument{Schema: planSchema, Flows: []planFlowDocument{}, Warnings: []planWarningDocument{}}
	for _, f := range flows {
		d.Flows = append(d.Flows, newPlanFlowDocument(f))
	}
	for _, w := range p.Site.Warnings {
		d.Warnings = append(d.Warnings, planWarningDocument{"", w.Error()})
	}
	for _, w := range p.Warnings {
		d.Warnings = append(d.Warnings, planWarningDocument(w))
	}
	return d
}

func newPlanFlowDocument(f *plan.Flow) planFlowDocument {
	d := planFlowDocument{
		ID: f.ID, From: namesOf(f.From), To: namesOf(f.To), Protocol: protocolText(f.Protocol), Ports: f.Ports, Symbol: f.Symbol, App: f.App,
		Service: f.Service, Relationship: f.Relationship, Row: f.Row, Need: f.Need, Condition: f.Condition, Unfiltered: f.Unfiltered,
		Reason: f.Reason, Notes: append([]string{}, f.Notes...), Sources: f.Sources,
	}
	if n := f.Narrowing; n.By != "" {
		d.Narrowing = &narrowingDocument{By: n.By, Pins: append([]string{}, n.Pins...), Pinhole: []string{}, From: n.From}
		for _, firewall := range n.Pinhole {
			d.Narrowing.Pinhole = append(d.Narrowing.Pinhole, firewall.Name)
		}
	}
	return d
}

func namesOf(hosts []*site.Host) []string {
	names := make([]string, 0, len(hosts))
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return names
}
