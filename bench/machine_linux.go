package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// writeMachine writes what the figures depend on, with the versions of the
// servers that take part.
func writeMachine(w io.Writer, ms []measurement) {
	fmt.Fprintf(w, "- kernel: Linux %s\n", kernelRelease())
	fmt.Fprintf(w, "- processor: %s, %d cores\n", processorModel(), runtime.NumCPU())
	fmt.Fprintf(w, "- Go: %s\n", strings.TrimPrefix(runtime.Version(), "go"))
	shown := make(map[string]bool)
	for _, server := range []string{serverRPCBind, serverSamba, serverNmap, serverNmapVersions} {
		if name := packageOf(server); takesPart(ms, server) && !shown[name] {
			shown[name] = true
			fmt.Fprintf(w, "- %s: %s\n", titles[server], packageVersion(name))
		}
	}
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])
}

func processorModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown" // not every architecture names it
}

// packageOf returns the package that a server other than ours comes in.
func packageOf(server string) string {
	if server == serverNmapVersions {
		return serverNmap
	}
	return server
}

// packageVersion asks the package manager: rpcbind itself does not tell.
func packageVersion(name string) string {
	for _, query := range [][]string{
		{"dpkg-query", "--show", "--showformat", "${Version}", name},
		{"rpm", "--query", "--queryformat", "%{VERSION}-%{RELEASE}", name},
	} {
		if out, err := exec.Command(query[0], query[1:]...).Output(); err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	return "unknown version"
}
