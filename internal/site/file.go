package site

// A file is a site file as it is written. Words of it are looked up later, so that all that is
// wrong is told at once.
type file struct {
	Zones     map[string]fileZone     `yaml:"zones"`
	Domains   map[string]fileDomain   `yaml:"domains"`
	Trusts    []fileTrust             `yaml:"trusts"`
	Hosts     map[string]fileHost     `yaml:"hosts"`
	Firewalls map[string]fileFirewall `yaml:"firewalls"`
	Tunnels   []fileTunnel            `yaml:"tunnels"`
	Options   fileOptions             `yaml:"options"`
}

type fileZone struct {
	Networks []word `yaml:"networks"`
}

type fileDomain struct {
	Forest word `yaml:"forest"`
	SYSVOL word `yaml:"sysvol"`
}

type fileTrust struct {
	Trusting  word `yaml:"trusting"`
	Trusted   word `yaml:"trusted"`
	Direction word `yaml:"direction"`
	Phase     word `yaml:"phase"`
}

type fileHost struct {
	Zone         word            `yaml:"zone"`
	Addresses    []word          `yaml:"addresses"`
	OS           word            `yaml:"os"`
	Roles        []word          `yaml:"roles"`
	Domain       word            `yaml:"domain"`
	DynamicRange word            `yaml:"dynamic_range"`
	RPCPolicy    word            `yaml:"rpc_policy"`
	Pins         map[string]word `yaml:"pins"`
	LDAPS        bool            `yaml:"ldaps"`
	NetBIOS      bool            `yaml:"netbios"`
	Uses         []word          `yaml:"uses"`
}

type fileFirewall struct {
	Zones   []word `yaml:"zones"`
	Kind    word   `yaml:"kind"`
	Follows []word `yaml:"follows"`
	NAT     bool   `yaml:"nat"`
}

type fileTunnel struct {
	Between []word `yaml:"between"`
	Kind    word   `yaml:"kind"`
}

type fileOptions struct {
	Mode    word   `yaml:"mode"`
	Profile word   `yaml:"profile"`
	ICMP    *bool  `yaml:"icmp"`
	Need    []word `yaml:"need"`
}

// A word is text of a file. What looks like a number to YAML is one too: a port, a zone
// called 10.
type word string

// UnmarshalText takes any text.
func (w *word) UnmarshalText(text []byte) error {
	*w = word(text)
	return nil
}
