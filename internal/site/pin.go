package site

import (
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/portset"
)

// instead says which key of a host stands for what is a pin to the catalog but no service's.
var instead = map[string]string{
	"rpc-internet-range": "rpc_policy",
	"netsh-dynamicport":  "dynamic_range",
}

// plural are the pins that take several ports: ranges, sites of a server, TCP and UDP apart.
var plural = []string{"iis-ftp-passive", "iis-bindings", "onc-lockd", "samba-rpc-port", "dcom-appid", "rpc-ep-add-filter"}

// readPins sets the pins of a host.
func (r *reader) readPins(path string, raw fileHost, h *Host) {
	if len(raw.Pins) == 0 {
		return
	}
	pins := r.pins()
	for _, id := range names(raw.Pins) {
		at, w := config.Path(path+".pins", id), raw.Pins[id]
		pin, ok := pins[id]
		if !ok {
			known := slices.DeleteFunc(names(pins), func(id string) bool { return !takesPorts(pins[id]) })
			r.note(r.file.KeyMistake(at, "unknown pin %s of host %s%s", quote(word(id)), h.Name, r.meant(id, func() []string { return known }, "known are "+strings.Join(known, ", "))))
			continue
		}
		if key := instead[id]; key != "" {
			r.note(r.file.KeyMistake(at, "%s is no port of a service: write %s of the host in place of the pin", id, key))
			continue
		}
		if !takesPorts(pin) {
			r.note(r.file.KeyMistake(at, "%s chooses transports and gives no port: remove it", id))
			continue
		}
		ports, err := portset.Parse(string(w))
		switch {
		case err != nil:
			r.mistake(at, "%s %s: %s", id, quote(w), reason(err))
		case ports.IsEmpty():
			r.mistake(at, "%s has no port: name it, or remove the pin", id)
		case ports.Contains(0):
			r.mistake(at, "%s: 0 is no port: remove the pin where the port is dynamic", id)
		case ports.Len() > 1 && !slices.Contains(plural, id):
			r.mistake(at, "%s is one port, not %d (%s): write that one", id, ports.Len(), ports)
		default:
			h.Pins = append(h.Pins, Pin{id, ports})
		}
	}
	r.checkPins(path, h)
}

// checkPins notes pins of a host that cannot be together.
func (r *reader) checkPins(path string, h *Host) {
	ntds, netlogon := pinned(h, "ntds"), pinned(h, "netlogon")
	if ports := ntds.Intersect(netlogon); !ports.IsEmpty() {
		r.mistake(path+".pins.netlogon", "pins ntds and netlogon of host %s are both %s: they must differ (Netlogon event 5809)", h.Name, ports)
	}
}

func pinned(h *Host, id string) portset.Set {
	for _, p := range h.Pins {
		if p.ID == id {
			return p.Ports
		}
	}
	return portset.Set{}
}

// takesPorts reports whether a pin puts a port in place of dynamic ones.
func takesPorts(p catalog.Pin) bool {
	return p.Method != "transport-toggle" && instead[p.ID] == ""
}

// pins returns the pins of the catalog by ID.
func (r *reader) pins() map[string]catalog.Pin {
	if r.allPins == nil {
		r.allPins = map[string]catalog.Pin{}
		for p := range r.catalog.Pins() {
			r.allPins[p.ID] = p
		}
	}
	return r.allPins
}
