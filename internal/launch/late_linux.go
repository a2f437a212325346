package launch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// endedEarly is the end of a server that never listened.
func (s *server) endedEarly() (status int, taken string, err error) {
	if taken := s.taken(); taken != "" && s.told == 0 {
		return 0, taken, nil
	}
	s.Say(fmt.Sprintf("%s (pid %d) ended with %s before it listened on %s", s.name, s.pid, s.how, list(s.asked())))
	return s.status, "", nil
}

// late ends a server that did not listen in time; err says if its sockets cannot be looked at.
func (s *server) late(seen sight, err error) (int, string, error) {
	taken := s.taken()
	if err == nil {
		err = fmt.Errorf("%s (pid %d) did not listen on %s within %s: %s", s.name, s.pid, list(seen.missing), s.Wait, s.advice(seen))
	}
	s.stop()
	if taken != "" && s.told == 0 {
		return 0, taken, nil
	}
	return ExitFailed, "", err
}

// advice says what to do about a server that does not listen where it should.
func (s *server) advice(seen sight) string {
	question := fmt.Sprintf("does it take the port from %s or %s?", s.placeholders(), PortVariable)
	if seen.untold {
		if s.Interfaces[0].Dialect == endpoint.DCE.String() {
			return "it listens there with IPv6 only, which the endpoint mapper's protocol cannot tell: it has to listen with IPv4"
		}
		return "it listens there at addresses only that no client could be told: it has to listen at another"
	}
	if len(seen.unclear) > 0 {
		uid := seen.unclear[0].UID
		return fmt.Sprintf("a socket of uid %d is there, whose process hides from this user: if it is the server's, run quaymaster as uid %d", uid, uid)
	}
	switch others := strings.Join(s.elsewhere(), ", "); {
	case others != "" && len(seen.rows) > 0:
		return fmt.Sprintf("it listens on %s: leave --%s out if that is all", others, seen.missing[0].network)
	case others != "":
		return fmt.Sprintf("it listens on %s: %s", others, question)
	}
	return question + " --wait TIME gives it longer"
}

// placeholders names those that the command has, or could have.
func (s *server) placeholders() string {
	p := placeholdersOf(s.Command)
	switch {
	case p.tcp && p.udp:
		return tcpWord + ", " + udpWord
	case p.tcp:
		return tcpWord
	case p.udp:
		return udpWord
	}
	return portWord
}

// elsewhere returns where descendants listen: "tcp 20048".
func (s *server) elsewhere() []string {
	const most = 8
	links, _ := socketLinks(s.family.descendants())
	var all []string
	for _, network := range []string{"tcp", "udp"} {
		sockets, err := s.table.Receivers(network, 0)
		if err != nil {
			return nil
		}
		var numbers []uint16
		for _, socket := range sockets {
			if _, ok := links[socket.Inode]; ok && socket.Addr.Port() != 0 {
				numbers = append(numbers, socket.Addr.Port())
			}
		}
		slices.Sort(numbers)
		for _, n := range slices.Compact(numbers) {
			all = append(all, fmt.Sprintf("%s %d", network, n))
		}
	}
	if len(all) > most {
		all = append(all[:most], "and others")
	}
	return all
}

// taken says which of the ports another program has; empty if none has.
func (s *server) taken() string {
	for _, p := range s.ports() {
		sockets, err := s.table.Users(p.network, p.number)
		if err != nil {
			continue
		}
		if whose := s.family.part(p.network, sockets); len(whose.own) == 0 && len(whose.others) > 0 {
			return fmt.Sprintf("%s was taken by %s before %s listened there", p, holder(p.network, whose.others), s.name)
		}
	}
	return ""
}

// holder says whose sockets those are.
func holder(network string, sockets []socktable.Socket) string {
	for _, socket := range sockets {
		if p, ok := socktable.HolderOf(network, socket.Addr); ok {
			return p.String()
		}
	}
	if socket := sockets[0]; socket.Inode != 0 && socket.UID != socktable.NoUID {
		return fmt.Sprintf("a socket of uid %d", socket.UID)
	}
	return "another socket"
}

// asked returns the ports to be registered.
func (s *server) asked() []port {
	return slices.DeleteFunc(s.ports(), func(p port) bool { return !p.asked })
}

// list writes ports: "tcp and udp port 5001".
func list(ports []port) string {
	if len(ports) == 2 && ports[0].number == ports[1].number {
		return fmt.Sprintf("%s and %s", ports[0].network, ports[1])
	}
	var all []string
	for _, p := range ports {
		all = append(all, p.String())
	}
	return strings.Join(all, " and ")
}
