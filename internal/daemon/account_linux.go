package daemon

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// An account is a user that the daemon runs as; nil is the one that started it.
type account struct {
	name     string
	uid, gid int
	groups   []int
}

// lookUp returns the account of that name, or nil for no name.
func lookUp(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("--user %s: there is no such account: make it (useradd --system %s) or choose another", name, name)
	}
	a := &account{name: name}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("--user %s: %w", name, err)
	}
	for _, id := range ids {
		g, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("--user %s: group %q is no number", name, id)
		}
		a.groups = append(a.groups, g)
	}
	if a.uid, err = strconv.Atoi(u.Uid); err == nil {
		a.gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return nil, fmt.Errorf("--user %s: %w", name, err)
	}
	return a, nil
}

// become gives up root for the account, for good and in every thread, after
// handing it the folder of the control socket, in which it removes what it made.
func (a *account) become(s *sockets) error {
	if a == nil || os.Getuid() == a.uid && os.Geteuid() == a.uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("--user %s: only root can become another user", a.name)
	}
	if path := pathOf(s.control); path == SystemControl {
		if err := os.Chown(filepath.Dir(path), a.uid, a.gid); err != nil {
			return fmt.Errorf("--user %s: %w", a.name, err)
		}
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"setgroups", func() error { return syscall.Setgroups(a.groups) }},
		{"setgid", func() error { return syscall.Setresgid(a.gid, a.gid, a.gid) }},
		{"setuid", func() error { return syscall.Setresuid(a.uid, a.uid, a.uid) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("--user %s: %s: %w", a.name, step.what, err)
		}
	}
	return nil
}

// pathOf returns the path of a local listener, empty for an abstract name.
func pathOf(l net.Listener) string {
	if p := l.Addr().String(); !strings.HasPrefix(p, "@") {
		return p
	}
	return ""
}
