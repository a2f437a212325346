package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
)

// A memory is what a process has in memory, in bytes.
type memory struct {
	Resident  int64 // without the journal
	Anonymous int64 // of that: what is the process's alone
	Journal   int64 // pages of the journal's file, which are the file system's
}

// journalName is the file's that quaymaster maps.
const journalName = "registry.db"

func memoryOf(pid int) (memory, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return memory{}, err
	}
	defer f.Close()
	return readMemory(f)
}

// readMemory adds up /proc/PID/smaps (proc(5)): for each mapping a line with
// its path, and lines of what is in memory of it.
func readMemory(smaps io.Reader) (memory, error) {
	var m memory
	journal := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 5 && !strings.HasSuffix(fields[0], ":") {
			journal = path.Base(fields[len(fields)-1]) == journalName
			continue
		}
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("smaps: %w", err)
		}
		switch {
		case fields[0] == "Rss:" && journal:
			m.Journal += kib << 10
		case fields[0] == "Rss:":
			m.Resident += kib << 10
		case fields[0] == "Anonymous:" && !journal:
			m.Anonymous += kib << 10
		}
	}
	return m, lines.Err()
}
