package catalog_test

import (
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
)

func TestBuiltinServices(t *testing.T) {
	c := catalog.Builtin()
	got := map[string]int{"services": len(c.Services()), "rows": len(c.PortRows()), "disagreements": len(c.Disagreements("")), "flows": len(c.Flows("", "")), "roles": len(c.Roles()), "systems": len(c.Systems()), "ranges": len(c.DynamicRanges())}
	for _, s := range c.Services() {
		got["ports"] += len(s.Ports)
	}
	t.Log(got, c.PortsAt(3268, catalog.TCP))
}
