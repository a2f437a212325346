package boltstore

import (
	"crypto/rand"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bootID returns what names this boot of the host. If the kernel does not tell,
// it is a name that nothing else has, so that no other process believes the file.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return rand.Text()
	}
	return strings.TrimSpace(string(b))
}

// now reads both clocks. It takes a system call, unlike time.Now.
func now() moment {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // every kernel has this clock
	}
	return moment{time.Now(), ts.Nano()}
}
