package mapper

import (
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Calls are not forwarded: a call from this host would carry rights that the
// one who asked for it does not have. Who asks gets the answers of a mapper
// that cannot forward.

// callIt is CALLIT and BCAST, to which every failure is silence: they are
// broadcast, and every host without the service would answer.
func (m *ONC) callIt(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	if c, err := rpcbind.ParseRemoteCall(q.args); err == nil {
		m.stats.remote(q.version, remote{c.Program, c.Version, c.Procedure, q.NetID, false})
	}
	return b, silent
}

// indirect is INDIRECT, which tells failures (RFC 1833, section 2.2.1).
func (m *ONC) indirect(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	c, err := rpcbind.ParseRemoteCall(q.args)
	if err != nil {
		return b, oncrpc.GarbageArgs
	}
	m.stats.remote(q.version, remote{c.Program, c.Version, c.Procedure, q.NetID, true})
	if _, ok := m.find(c.Program, c.Version, q.NetID, false); ok {
		return b, oncrpc.SystemErr
	}
	if low, high, ok := m.Registry.Versions(c.Program, q.NetID); ok {
		start := len(b) - acceptedSize
		return oncrpc.AppendProgMismatch(b[:start], q.oncrpc.XID, low, high), oncrpc.ProgMismatch
	}
	return b, oncrpc.ProgUnavail
}

// acceptedSize is the bytes that oncrpc.AppendAccepted appends.
const acceptedSize = 24
