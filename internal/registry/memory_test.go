package registry_test

import (
	"testing"

	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, storetest.Subject{
		Place: func(*testing.T) func() registry.Store {
			m := registry.NewMemory()
			return func() registry.Store { return m }
		},
		Record: storetest.Record, Grant: storetest.Grant,
	})
}
