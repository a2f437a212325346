//go:build !linux

package socktable

import "github.com/quaymaster/quaymaster/portset"

// HoldersOf returns nothing: processes are looked into on Linux only.
func HoldersOf(network string, ports portset.Set) map[uint16]Process { return nil }
