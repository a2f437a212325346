package main

import (
	"strings"
	"testing"
)

func TestReadMemory(t *testing.T) {
	// Of a quaymaster with 10 rows, some lines and mappings left out.
	const smaps = `00400000-00903000 r-xp 00000000 fe:00 278543                             /usr/bin/quaymaster
Size:               5132 kB
Rss:                4096 kB
Pss:                4096 kB
Anonymous:             0 kB
THPeligible:           0
VmFlags: rd ex mr mw me sd
c000000000-c000800000 rw-p 00000000 00:00 0                              [anon: Go: heap]
Rss:                3000 kB
Anonymous:          3000 kB
7f65a0000000-7f65a0008000 r--s 00000000 00:3f 9                          /run/quaymaster/registry.db
Rss:                  28 kB
Anonymous:             0 kB
ProtectionKey:         0
7f65a1000000-7f65a1800000 rw-p 00000000 00:00 0
Rss:                   4 kB
Anonymous:             4 kB
`
	got, err := readMemory(strings.NewReader(smaps))
	if want := (memory{Resident: 7100 << 10, Anonymous: 3004 << 10, Journal: 28 << 10}); err != nil || got != want {
		t.Errorf("readMemory = %+v, %v, want %+v", got, err, want)
	}
	if got, err := readMemory(strings.NewReader("Rss: many kB\n")); err == nil {
		t.Errorf("readMemory of a size that is no number = %+v, want an error", got)
	}
}
