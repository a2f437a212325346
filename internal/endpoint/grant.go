package endpoint

import (
	"errors"
	"fmt"
	"time"
)

// A Grant is ports that were given to a process out of a pool, before anything
// listens there. They are its until it ends or gives them back, whether or not
// something is registered there.
type Grant struct {
	ID      ID      // given by the registry; registrations have others
	Dialect Dialect // of what is to listen there: a port is never given to both
	Pool    Pool    // from which the ports are
	TCP     uint16  // port of TCP; 0: none
	UDP     uint16  // port of UDP; 0: none
	Command string  // what the process runs there, for people: at most MaxAnnotation printable bytes
	Owner   Owner   // user of the process
	PID     int32   // of the process; 0 if unknown
	RunGone bool    // the process has ended, and something listens there still
	Since   time.Time
}

// Validate returns nil for a grant that could be, or an error that says what is
// wrong with it.
func (g *Grant) Validate() error {
	switch {
	case g.Dialect != ONC && g.Dialect != DCE:
		return fmt.Errorf("unknown dialect %s", g.Dialect)
	case int(g.Pool) >= len(poolNames):
		return fmt.Errorf("unknown pool %s", g.Pool)
	case g.TCP == 0 && g.UDP == 0:
		return errors.New("no port")
	case g.Owner.Host.IsValid():
		return errors.New("ports are given on this host only")
	}
	return ValidText("command", g.Command)
}

// Document returns what programs read; user is the owner's name.
func (g *Grant) Document(user string) GrantDocument {
	return GrantDocument{
		ID: g.ID.String(), Dialect: g.Dialect.String(), Pool: g.Pool.String(), TCP: g.TCP, UDP: g.UDP, Command: g.Command,
		Owner: user, UID: g.Owner.UID, PID: g.PID, RunGone: g.RunGone, Since: g.Since,
	}
}

// A GrantDocument is a [Grant] as programs read it, in JSON.
type GrantDocument struct {
	ID      string    `json:"id"`       // 12 hexadecimal digits
	Dialect string    `json:"dialect"`  // "onc", "dce"
	Pool    string    `json:"pool"`     // a word of [Pool]
	TCP     uint16    `json:"tcp"`      // 0: none
	UDP     uint16    `json:"udp"`      // 0: none
	Command string    `json:"command"`  // what runs there; empty if that was not said
	Owner   string    `json:"owner"`    // user's name, or the uid where it has none
	UID     uint32    `json:"uid"`      // of the owner
	PID     int32     `json:"pid"`      // of the process whose ports they are; 0 if unknown
	RunGone bool      `json:"run_gone"` // that process has ended, and something listens there still
	Since   time.Time `json:"since"`
}

// A Pool says which of the pools ports are from. The policy of Windows knows two;
// without a policy there is one.
type Pool uint8

// Pools.
const (
	DynamicPool  Pool = iota // where there is no policy
	InternetPool             // of servers that ask for it with RPC_C_USE_INTERNET_PORT, or state no preference
	IntranetPool             // the same for RPC_C_USE_INTRANET_PORT
)

var poolNames = [...]string{"dynamic", "internet", "intranet"}

// String returns the word that people see.
func (p Pool) String() string {
	if int(p) < len(poolNames) {
		return poolNames[p]
	}
	return fmt.Sprintf("Pool(%d)", uint8(p))
}

// ParsePool reads what [Pool.String] writes.
func ParsePool(s string) (Pool, error) {
	for i, name := range poolNames {
		if s == name {
			return Pool(i), nil
		}
	}
	return 0, fmt.Errorf("pool %q: want dynamic, internet or intranet", s)
}
