package render_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

func TestTerraformAWS(t *testing.T) {
	s := text(t, target("terraform-aws"), render.ForSite(company(t, true)))
	golden(t, "terraform-aws", s)
	if formatted := string(hclwrite.Format([]byte(s))); formatted != s {
		t.Errorf("terraform fmt would change it to\n%s", formatted)
	}
}

// Terraform takes the text with the provider of AWS, where both are installed. It is not of Debian, so
// that it is missing is no failure.
func TestTerraformAWSValidates(t *testing.T) {
	if testing.Short() {
		t.Skip("the provider takes ten seconds to start")
	}
	s := text(t, target("terraform-aws"), render.ForSite(company(t, true)))
	const providers = "/opt/tf-plugins"
	path, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform is not installed")
	}
	if _, err := os.Stat(filepath.Join(providers, "registry.terraform.io/hashicorp/aws")); err != nil {
		t.Skip("the provider of AWS is not installed: " + providers)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"fmt", "-check", "-diff"}, {"init", "-backend=false", "-plugin-dir=" + providers}, {"validate"}} {
		cmd := exec.Command(path, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE=", "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("terraform %s: %v\n%s", args[0], err, out)
		}
	}
}

const (
	groupLimit     = 1000
	awsDescription = 255
)

// each is a resource and one of its keys.
type each struct {
	body  *hclsyntax.Body
	value cty.Value
}

// value evaluates an attribute; of one that is not there it is empty.
func (e each) attribute(name string) (string, error) {
	a, ok := e.body.Attributes[name]
	if !ok {
		return "", nil
	}
	v, diags := a.Expr.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"value": e.value})}})
	if diags.HasErrors() {
		return "", diags
	}
	if v.Type() == cty.Number {
		return v.AsBigFloat().String(), nil
	}
	return v.AsString(), nil
}

var toset = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "list", Type: cty.DynamicPseudoType},
	Type:     function.StaticReturnType(cty.DynamicPseudoType),
	Impl:     func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
})

// readTerraform returns what security groups let in: those of hosts by their names.
func readTerraform(s string, hosts []*site.Host) ([]allowance, error) {
	file, diags := hclsyntax.ParseConfig([]byte(s), "site.tf", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	byGroup := map[string]*site.Host{}
	names := map[string]bool{}
	seen := map[string]bool{}
	counts := map[string]int{}
	var all []allowance
	body := file.Body.(*hclsyntax.Body)
	for _, b := range body.Blocks {
		if id := b.Type + strings.Join(b.Labels, "."); names[id] {
			return nil, fmt.Errorf("two of %s", id)
		} else {
			names[id] = true
		}
		if b.Type == "output" { // the values are groups, by hosts
			for _, item := range b.Body.Attributes["value"].Expr.(*hclsyntax.ObjectConsExpr).Items {
				k, diags := item.KeyExpr.Value(nil)
				if diags.HasErrors() {
					return nil, diags
				}
				group := item.ValueExpr.(*hclsyntax.ScopeTraversalExpr).Traversal[1].(hcl.TraverseAttr).Name
				for _, h := range hosts {
					if h.Name == k.AsString() {
						byGroup[group] = h
					}
				}
			}
		}
	}
	for _, b := range body.Blocks {
		if b.Type != "resource" || b.Labels[0] != "aws_vpc_security_group_ingress_rule" {
			continue
		}
		group := b.Body.Attributes["security_group_id"].Expr.(*hclsyntax.ScopeTraversalExpr).Traversal[1].(hcl.TraverseAttr).Name
		keys, diags := b.Body.Attributes["for_each"].Expr.Value(&hcl.EvalContext{Functions: map[string]function.Function{"toset": toset}})
		if diags.HasErrors() {
			return nil, diags
		}
		for _, v := range keys.Elements() {
			e := each{b.Body, v}
			get := func(name string) string {
				s, err := e.attribute(name)
				if err != nil {
					diags = diags.Append(&hcl.Diagnostic{Severity: hcl.DiagError, Summary: err.Error()})
				}
				return s
			}
			four, six, protocol, from, to := get("cidr_ipv4"), get("cidr_ipv6"), get("ip_protocol"), get("from_port"), get("to_port")
			if d := get("description"); len(d) > awsDescription || d == "" {
				return nil, fmt.Errorf("description %q", d)
			}
			if diags.HasErrors() {
				return nil, diags
			}
			id := fmt.Sprint(group, four, six, protocol, from, to)
			if seen[id] {
				return nil, fmt.Errorf("AWS refuses a second rule for %s", id)
			}
			seen[id] = true
			n, err := netip.ParsePrefix(four + six)
			if err != nil || n.Addr().Is4() != (four != "") {
				return nil, fmt.Errorf("%s%s: %v", four, six, err)
			}
			if counts[group+four[:0]+protocolFamily(four)]++; counts[group+protocolFamily(four)] > groupLimit {
				return nil, errors.New("more rules than AWS has")
			}
			a := allowance{from: []netip.Prefix{n}, to: byGroup[group].Addresses}
			switch protocol + ":" + from + "-" + to {
			case "-1:-":
				a.what = "all"
			case "47:-", "50:-", "51:-":
				a.what = map[string]string{"47": "gre", "50": "esp", "51": "ah"}[protocol]
			case "icmp:8-0", "icmpv6:128-0":
				a.what = "echo"
			case "icmp:-1--1", "icmpv6:-1--1":
				a.what = "icmp"
			default:
				a.what = protocol
				if a.ports, err = portset.Parse(from + "-" + to); err != nil || protocol != "tcp" && protocol != "udp" {
					return nil, fmt.Errorf("%s %s-%s: %v", protocol, from, to, err)
				}
			}
			all = append(all, a)
		}
	}
	return all, nil
}

func protocolFamily(four string) string {
	if four != "" {
		return "/4"
	}
	return "/6"
}

func TestTerraformAWSIsThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t, everyProtocol...)
		in := drawFamily(t, render.ForSite(p))
		s, err := rendered(target("terraform-aws"), in)
		if err != nil {
			t.Fatal(err)
		}
		allowances, err := readTerraform(s, p.Site.Hosts)
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		compare(t, in, everyFlow, everyPair, allowances, s)
		notItself(t, allowances, s)
	})
}

// manyPairs returns a plan in which n hosts connect to one, in zones as given.
func manyPairs(n int, ports portset.Set) *plan.Plan {
	z := &site.Zone{Name: "z"}
	h := &site.Host{Name: "h", Zone: z, Addresses: prefixes("10.255.0.1")}
	s := &site.Site{Catalog: catalog.Builtin(), Zones: []*site.Zone{z}, Hosts: []*site.Host{h}}
	f := &plan.Flow{ID: "f", To: []*site.Host{h}, Protocol: catalog.TCP, Ports: ports, App: "app", Relationship: "r", Sources: []string{"s"}}
	for i := range n {
		from := &site.Host{Name: fmt.Sprintf("c%06d", i), Zone: z, Addresses: prefixes(fmt.Sprintf("10.%d.%d.1", i/250, i%250))}
		s.Hosts = append(s.Hosts, from)
		f.From = append(f.From, from)
	}
	return plan.Of(s, []*plan.Flow{f})
}

func TestTerraformAWSLimits(t *testing.T) {
	two := portset.Ports(80, 443)
	if s := text(t, target("terraform-aws"), render.ForSite(manyPairs(groupLimit/2, two))); !strings.Contains(s, "# h: 1000 rules of IPv4, 0 of IPv6. A group has 60 of each: have the quota raised") {
		t.Errorf("the quota is not told:\n%s", s[:2000])
	}
	_, err := rendered(target("terraform-aws"), render.ForSite(manyPairs(groupLimit/2+1, two)))
	var unsayable *render.UnsayableError
	if !errors.As(err, &unsayable) || !strings.Contains(err.Error(), "more than 1000 rules") {
		t.Errorf("1002 rules: %v", err)
	}
}
