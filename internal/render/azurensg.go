package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A network security group filters what stays within its subnet as well, so what it lets in
// is from the plan of the site as a whole.
var azureNSG = &Target{
	Name:      nameAzureNSG,
	Title:     "network security groups of Azure, as a template of Azure Resource Manager",
	Extension: ".json",
	Of:        OfSite,
	Render:    renderAzureNSG,
}

const (
	nameAzureNSG = "azure-nsg"
	// The limits of a group: rules, and what all of these together list of sources, of destinations and
	// of ports. Azure calls that MaxSecurityRuleAddressesOrPortsPerSecurityGroup.
	nsgRules, nsgEntries = 1000, 4000
	// The priorities that rules may have. A rule goes before those of higher numbers.
	nsgFirst, nsgLast = 100, 4096
	// nsgDescription is how long a description may be.
	nsgDescription = 140
	// armLimit is how many bytes a template may have.
	armLimit = 4 << 20
)

type armTemplate struct {
	Schema         string                  `json:"$schema"`
	ContentVersion string                  `json:"contentVersion"`
	Parameters     map[string]armParameter `json:"parameters"`
	Resources      []nsg                   `json:"resources"`
}

type armParameter struct {
	Type         string `json:"type"`
	DefaultValue string `json:"defaultValue"`
}

type nsg struct {
	Type       string `json:"type"`
	APIVersion string `json:"apiVersion"`
	Name       string `json:"name"`
	Location   string `json:"location"`
	Properties struct {
		SecurityRules []nsgRule `json:"securityRules"`
	} `json:"properties"`
}

type nsgRule struct {
	Name       string        `json:"name"`
	Properties nsgProperties `json:"properties"`
}

type nsgProperties struct {
	Description          string   `json:"description"`
	Protocol             string   `json:"protocol"`
	SourceAddress        string   `json:"sourceAddressPrefix,omitempty"`
	SourceAddresses      []string `json:"sourceAddressPrefixes,omitempty"`
	SourcePort           string   `json:"sourcePortRange"`
	DestinationAddress   string   `json:"destinationAddressPrefix,omitempty"`
	DestinationAddresses []string `json:"destinationAddressPrefixes,omitempty"`
	DestinationPort      string   `json:"destinationPortRange,omitempty"`
	DestinationPorts     []string `json:"destinationPortRanges,omitempty"`
	Access               string   `json:"access"`
	Priority             int      `json:"priority"`
	Direction            string   `json:"direction"`
}

func renderAzureNSG(w io.Writer, in *Input) error {
	if err := in.checkPorts(nameAzureNSG); err != nil {
		return err
	}
	t := armTemplate{
		Schema:         "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		ContentVersion: "1.0.0.0",
		Parameters:     map[string]armParameter{"location": {"string", "[resourceGroup().location]"}},
		Resources:      []nsg{},
	}
	hosts := listeners(in.Rules)
	for _, z := range in.Plan.Site.Zones {
		if !slices.ContainsFunc(hosts, func(h *site.Host) bool { return h.Zone == z }) {
			continue
		}
		rules, err := nsgRulesOf(in, z)
		if err != nil {
			return err
		}
		n := nsg{Type: "Microsoft.Network/networkSecurityGroups", APIVersion: "2023-09-01", Name: nsgName(z), Location: "[parameters('location')]"}
		n.Properties.SecurityRules = rules
		t.Resources = append(t.Resources, n)
	}
	b := &bytes.Buffer{}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(t); err != nil {
		return err
	}
	if b.Len() > armLimit {
		return &UnsayableError{nameAzureNSG, in.Rules[0].Flows[0], "the template would have more than the 4 MB that Azure takes; plan parts of the site each by itself"}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// nsgName returns what the group before the subnets of a zone is called.
func nsgName(z *site.Zone) string {
	name := word(z.Name)
	if name != z.Name || strings.HasSuffix(name, "-") { // which ends no name
		name += "-" + digest(z.Name)
	}
	return "quaymaster-" + name
}

// nsgRulesOf returns the rules of the group before a zone. The last one lets nothing else in: Azure itself
// lets all in that comes from its virtual networks.
func nsgRulesOf(in *Input, z *site.Zone) ([]nsgRule, error) {
	var all []nsgRule
	known := map[string]bool{}                                        // what rules let in
	room := nsgRoom{nsgRules - 1, nsgEntries, nsgEntries, nsgEntries} // one rule is the last one
	for _, r := range in.Rules {
		to := slices.DeleteFunc(slices.Clone(r.To), func(h *site.Host) bool { return h.Zone != z })
		if len(to) == 0 {
			continue
		}
		for _, f := range in.meet(r.From, to) {
			props, err := nsgProtocol(&r, f)
			if err != nil {
				return nil, err
			}
			props.Description = r.Remark(nsgDescription)
			props.SourcePort, props.Access, props.Direction = "*", "Allow", "Inbound"
			props.SourceAddresses, props.DestinationAddresses = prefixWords(f.Addresses(r.From)), prefixWords(f.Addresses(to))
			props.Priority = nsgFirst + len(all)
			opens := fmt.Sprint(r.protocolWord(), props.SourceAddresses, props.DestinationAddresses, props.DestinationPorts)
			if known[opens] { // hosts may have the addresses of others
				continue
			}
			known[opens] = true
			if much := room.take(&props); much != "" {
				return nil, &UnsayableError{nameAzureNSG, r.Flows[0], fmt.Sprintf("the network security group of zone %s would have more than %s, which is all that Azure has; give hosts that are alike as networks, or divide the zone", z.Name, much)}
			}
			all = append(all, nsgRule{r.protocolWord() + "-" + digest(opens), props})
		}
	}
	return append(all, nsgRule{"nothing-else", nsgProperties{
		Description: "What no other rule lets in", Protocol: "*", SourceAddress: "*", SourcePort: "*", DestinationAddress: "*", DestinationPort: "*",
		Access: "Deny", Priority: nsgLast, Direction: "Inbound",
	}}), nil
}

// nsgRoom is what a group has room for.
type nsgRoom struct{ rules, sources, destinations, ports int }

// take makes room for a rule, or returns what there would be too much of.
func (room *nsgRoom) take(p *nsgProperties) string {
	room.rules--
	room.sources -= len(p.SourceAddresses)
	room.destinations -= len(p.DestinationAddresses)
	room.ports -= len(p.DestinationPorts)
	switch {
	case room.rules < 0:
		return fmt.Sprintf("%d rules", nsgRules)
	case room.sources < 0:
		return fmt.Sprintf("%d source addresses in all rules together", nsgEntries)
	case room.destinations < 0:
		return fmt.Sprintf("%d destination addresses in all rules together", nsgEntries)
	case room.ports < 0:
		return fmt.Sprintf("%d ports or ranges in all rules together", nsgEntries)
	}
	return ""
}

// nsgProtocol returns the protocol and the ports of a rule.
func nsgProtocol(r *Rule, f Family) (nsgProperties, error) {
	unsayable := func(why string) (nsgProperties, error) {
		return nsgProperties{}, &UnsayableError{nameAzureNSG, r.Flows[0], why}
	}
	p := nsgProperties{DestinationPort: "*"}
	switch protocol := r.protocol(); {
	case protocol == 0:
		p.Protocol = "*"
	case protocol == catalog.TCP:
		p.Protocol, p.DestinationPort, p.DestinationPorts = "Tcp", "", portWords(r.Ports)
	case protocol == catalog.UDP:
		p.Protocol, p.DestinationPort, p.DestinationPorts = "Udp", "", portWords(r.Ports)
	case protocol == catalog.ESP:
		p.Protocol = "Esp"
	case protocol == catalog.AH:
		p.Protocol = "Ah"
	case protocol == catalog.ICMP && f == IPv6:
		return unsayable("network security groups know no ICMPv6; leave ping out (options: icmp: false), or give the hosts addresses of IPv4 only")
	case protocol == catalog.ICMP && isEcho(r.Flows):
		return unsayable("network security groups know no types of ICMP, so all of ICMP would be open for a ping; leave ping out (options: icmp: false)")
	case protocol == catalog.ICMP:
		p.Protocol = "Icmp"
	default:
		return unsayable("network security groups know TCP, UDP, ICMP, ESP and AH, or everything; use another tunnel (ipsec), or let it end elsewhere than in Azure")
	}
	return p, nil
}

// protocolWord returns what is spoken by a rule, in a word of names: tcp, echo, all.
func (r *Rule) protocolWord() string {
	switch p := r.protocol(); {
	case p == 0:
		return "all"
	case isEcho(r.Flows):
		return string(catalog.Echo)
	default:
		return p.String()
	}
}

func prefixWords(prefixes []netip.Prefix) []string {
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = p.String()
	}
	return words
}
