package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Samba's endpoint mapper is part of samba-dcerpcd, which starts rpcd_epmapper to
// answer and hands it the connections.
const (
	sambaServer = "/usr/libexec/samba/samba-dcerpcd"
	sambaMapper = "/usr/libexec/samba/rpcd_epmapper"
	sambaDir    = "/run/samba-of-bench"
)

// sambaCommand prepares Samba's endpoint mapper with the given number of rows. It
// maps what the programs list that its command names, in the form of their
// --list-interfaces: one of these is a script that lists the rows. At each of them
// Samba listens, and would start the script if anybody came. The process that
// answers must not end for idleness: it has nothing to do while others are measured,
// and when it awakes from a longer pause it would end and take a connection with it.
func sambaCommand(rows int) (*exec.Cmd, error) {
	var config strings.Builder
	config.WriteString(`[global]
server role = standalone server
rpc start on demand helpers = no
interfaces = 127.0.0.1
bind interfaces only = yes
rpcd_epmapper:idle_seconds = 3600
`)
	for option, name := range map[string]string{
		"private dir": "private", "lock directory": "lock", "state directory": "state", "cache directory": "cache",
		"pid directory": "pid", "ncalrpc dir": "ncalrpc",
	} {
		dir := filepath.Join(sambaDir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		fmt.Fprintf(&config, "%s = %s\n", option, dir)
	}
	file, script := filepath.Join(sambaDir, "smb.conf"), filepath.Join(sambaDir, "rows")
	if err := os.WriteFile(file, []byte(config.String()), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(script, []byte(rowScript(rows)), 0o755); err != nil {
		return nil, err
	}
	return exec.Command(sambaServer, "--foreground", "--no-process-group", "--configfile="+file,
		"--log-basename="+sambaDir, sambaMapper, script), nil
}

// rowScript returns a program that lists rows as samba-dcerpcd asks for: how many
// processes it would be at most and for how many idle seconds, then each
// interface and its endpoints.
func rowScript(rows int) string {
	var text strings.Builder
	text.WriteString("#!/bin/sh\ncat <<end\n1\n10\n")
	for i := range rows {
		fmt.Fprintf(&text, "%s/0x%08x row%d\n ncacn_ip_tcp:[%d]\n", rowSyntax(i).UUID, rowVersion, i, rowPort(i))
	}
	text.WriteString("end\n")
	return text.String()
}
