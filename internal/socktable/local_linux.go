package socktable

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// local lists the sockets of the UNIX domain that listen and have a name.
func (t *Table) local() ([]localSocket, error) {
	if t.fromProc {
		return localOfProc(), nil
	}
	var all []localSocket
	request := localRequest()
	err := t.dumps.ask(unix.NLM_F_DUMP, request[:], func(answer []byte) error {
		l, ok, err := parseLocal(answer)
		if ok && err == nil {
			all = append(all, l)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socktable: listing sockets of the UNIX domain: %w", err)
	}
	return all, nil
}

// localOfProc is local for a kernel without unix_diag. The table in /proc has no
// owners and no inodes of paths, and a name with a line end in it may feign a
// row, so it is the second choice.
func localOfProc() []localSocket {
	var all []localSocket
	eachLine("/proc/net/unix", func(line string) {
		if _, path, ok := parseProcUnix(line); ok {
			all = append(all, localSocket{Socket: Socket{Path: path, UID: NoUID}})
		}
	})
	return all
}

// parseProcUnix reads a line of /proc/net/unix; ok is false unless the socket
// listens and has a name.
func parseProcUnix(line string) (inode, path string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[3] != acceptsConnections {
		return "", "", false
	}
	_, path, ok = strings.Cut(line, " "+fields[6]+" ") // it may have blanks
	return fields[6], path, ok
}

// look tells what a path leads to. Where that cannot be known, as in a folder
// into which we may not look, the socket's name is all there is to go by.
func look(path string) file {
	var st unix.Stat_t
	err := unix.Stat(path, &st) // follows symbolic links, as connecting does
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return file{}
	case err != nil:
		return file{hidden: true}
	}
	return file{socket: st.Mode&unix.S_IFMT == unix.S_IFSOCK, inode: uint32(st.Ino), uid: st.Uid}
}
