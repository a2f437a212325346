package launch

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// A family knows which sockets the processes hold that descend from this one. Being
// a subreaper, it is the ancestor of all that the program starts, also where a daemon
// forks and its parents end.
type family struct {
	program int                        // that was started, and was not waited for; 0: none
	before  []int                      // children that this process had before, as where a shell has become it: they are none of the family
	links   map[string]map[uint32]link // of each network's sockets that were found last, by their numbers
}

func newFamily() *family { return &family{before: children(), links: map[string]map[uint32]link{}} }

// A link is where in /proc a socket was found.
type link struct {
	pid  int
	path string
}

// A parting tells whose sockets are.
type parting struct {
	own     []socktable.Socket
	others  []socktable.Socket
	unclear []socktable.Socket // of another user: a descendant's that hides its own, or a stranger's
}

// part parts sockets of a network.
func (f *family) part(network string, sockets []socktable.Socket) (p parting) {
	known, found := f.links[network], map[uint32]link{}
	f.links[network] = found
	var sought []socktable.Socket
	for _, s := range sockets {
		if l, ok := known[s.Inode]; ok && l.leadsTo(s.Inode) {
			found[s.Inode] = l
			p.own = append(p.own, s)
		} else {
			sought = append(sought, s)
		}
	}
	if len(sought) == 0 {
		return p
	}
	pids := f.descendants()
	links, hidden := socketLinks(pids)
	for _, s := range sought {
		switch l, held := links[s.Inode]; {
		case held:
			found[s.Inode] = l
			p.own = append(p.own, s)
		case !hidden || s.Inode == 0 || heldByOthers(network, s, pids):
			p.others = append(p.others, s)
		case s.UID == uint32(os.Geteuid()) && s.UID != socktable.NoUID:
			p.own = append(p.own, s) // the daemon takes it for ours as well
		default:
			p.unclear = append(p.unclear, s)
		}
	}
	return p
}

// heldByOthers tells whether a process that is none of the family is seen to hold a socket.
func heldByOthers(network string, s socktable.Socket, family []int) bool {
	holder, ok := socktable.HolderOf(network, s.Addr)
	return ok && !slices.Contains(family, holder.PID)
}

// leadsTo tells whether a socket is still there.
func (l link) leadsTo(inode uint32) bool {
	target, err := os.Readlink(l.path)
	return err == nil && target == fmt.Sprintf("socket:[%d]", inode)
}

// holder returns the process that was found to hold a socket, 0 if none was.
func (f *family) holder(inode uint32) int {
	return cmp.Or(f.links["tcp"][inode].pid, f.links["udp"][inode].pid)
}

// socketLinks returns the links in /proc to the sockets that processes hold. Hidden says that
// of one they may not be seen, as of a program that has changed its user.
func socketLinks(pids []int) (links map[uint32]link, hidden bool) {
	links = map[uint32]link{}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		names, err := readNames(dir)
		hidden = hidden || err != nil && runs(pid)
		for _, name := range names {
			path := dir + "/" + name
			target, err := os.Readlink(path)
			if os.IsPermission(err) { // it has just changed its user
				hidden = true
			}
			digits, isSocket := strings.CutPrefix(target, "socket:[")
			inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 32)
			if isSocket && err == nil {
				links[uint32(inode)] = link{pid, path}
			}
		}
	}
	return links, hidden
}

// runs tells whether a process has not ended: the files of one that has are root's until
// somebody waits for it.
func runs(pid int) bool {
	const zombie = 'Z'
	state, _ := process.State(pid)
	return state != zombie && unix.Kill(pid, 0) != unix.ESRCH
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// descendants returns the processes of the family, nearest first: the program in any case,
// while one that is made meanwhile may be left out.
func (f *family) descendants() []int {
	children := childrenByParent()
	all := f.without(children[os.Getpid()])
	if f.program != 0 && !slices.Contains(all, f.program) { // as with /proc mounted with hidepid
		all = append(all, f.program)
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// children returns those processes of the family that are children of this one: the program,
// and those whose parents have ended. They keep their numbers until they are waited for.
func (f *family) children() []int { return f.without(children()) }

func (f *family) without(pids []int) []int {
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return slices.Contains(f.before, pid) })
}

// left takes note that a child of this process was waited for.
func (f *family) left(pid int) {
	f.before = slices.DeleteFunc(f.before, func(b int) bool { return b == pid })
}

// children returns the processes whose parent this one is.
func children() []int { return childrenByParent()[os.Getpid()] }

func childrenByParent() map[int][]int {
	all := map[int][]int{}
	names, _ := readNames("/proc")
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			_, parent := process.State(pid)
			all[parent] = append(all[parent], pid)
		}
	}
	return all
}

// inOurGroup tells whether a process has this one's process group.
func inOurGroup(pid int) bool {
	group, err := unix.Getpgid(pid)
	return err == nil && group == unix.Getpgrp()
}

// inForeground tells whether this process' group is the one that gets the keys of its terminal.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
