package daemon

import (
	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/gate"
)

// GateOptions say how a gate is run.
type GateOptions struct {
	Policy  *gate.Policy
	Control string // path of the control socket; empty: [api.SystemGate]
	User    string // account to become; empty: that of the system, if root starts it and there is one
	Keep    bool   // rules and pinholes stay when it ends, for the next one
}

func (o *GateOptions) control() string {
	if o.Control == "" {
		return api.SystemGate
	}
	return o.Control
}

// LoadGate reads gate.yaml. Who can change it decides what the firewall opens, so it counts only if that is nobody but root and starter, the uid of who
// starts the gate. Errors are config.Mistakes and, if it cannot be read, a *fs.PathError.
func LoadGate(name string, starter int) (*gate.Policy, error) {
	text, err := readTrusted(name, starter)
	if err != nil {
		return nil, err
	}
	return gate.ReadPolicy(name, text, catalog.Builtin())
}
