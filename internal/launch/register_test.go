package launch

import (
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// numbered gives sockets numbers from n on.
func numbered(n uint32, rows []row) []row {
	for i := range rows {
		rows[i].sockets = []uint32{n + uint32(i)}
	}
	return rows
}

func TestLedger(t *testing.T) {
	l := ledger{}
	now := time.Now()
	mountd := func(n uint32, at string) []row {
		return numbered(n, rowsOf([]endpoint.Document{mountd3}, "tcp", sockets(at)))
	}
	due := func(rows []row, want string) []row {
		t.Helper()
		got := l.due(rows, now)
		if written(got) != want {
			t.Errorf("due = %q, want %q", written(got), want)
		}
		return got
	}
	made := func(id string, rows []row) {
		for i := range rows {
			rows[i].ID = id
		}
		l.take(outcome{made: rows}, now)
	}
	stands := func(want string) {
		t.Helper()
		if got := writtenDocuments(l.standing()); got != want {
			t.Errorf("there stands %q, want %q", got, want)
		}
	}
	made("a", due(mountd(1, "127.0.0.1:5"), "3 tcp 127.0.0.1:5"))
	due(mountd(1, "127.0.0.1:5"), "")
	stands("3 tcp 127.0.0.1:5")

	// Bound again, with no look between.
	made("a", due(mountd(2, "127.0.0.1:5"), "3 tcp 127.0.0.1:5"))
	// A second socket, then without the first.
	two := mountd(2, "127.0.0.1:5")
	two[0].sockets = append(two[0].sockets, 3)
	due(two, "")
	due(mountd(3, "127.0.0.1:5"), "")
	// Closed, and bound again.
	due(nil, "")
	stands("")
	rows := due(mountd(3, "127.0.0.1:5"), "3 tcp 127.0.0.1:5")
	if rows[0].replaces != "" {
		t.Errorf("%q is to be removed, want nothing", rows[0].replaces)
	}
	made("b", rows)
	// At a better address, and of IPv6 as well.
	rows = due(mountd(4, "0.0.0.0:5 [::]:5"), "3 tcp 0.0.0.0:5, 3 tcp6 [::]:5")
	if rows[0].replaces != "b" || rows[1].replaces != "" {
		t.Errorf("%q and %q are to be removed, want b only", rows[0].replaces, rows[1].replaces)
	}
	made("c", rows)
	if ids := l.ids(); len(ids) != 1 || !ids["c"] {
		t.Errorf("ids = %v, want c", ids)
	}
	stands("3 tcp 0.0.0.0:5, 3 tcp6 [::]:5")

	// What the server has registered itself.
	l = ledger{}
	l.take(outcome{left: mountd(1, "0.0.0.0:5")}, now)
	due(mountd(1, "0.0.0.0:5"), "")
	stands("3 tcp 0.0.0.0:5")
	if ids := l.ids(); len(ids) != 0 {
		t.Errorf("ids = %v, want none", ids)
	}

	// What is refused is tried again, less and less often.
	l = ledger{}
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		l.take(outcome{refused: due(mountd(1, "0.0.0.0:5"), "3 tcp 0.0.0.0:5")}, now)
		stands("")
		now = now.Add(pause*time.Second - 1)
		due(mountd(1, "0.0.0.0:5"), "")
		now = now.Add(1)
	}
	made("d", due(mountd(1, "0.0.0.0:5"), "3 tcp 0.0.0.0:5"))
	stands("3 tcp 0.0.0.0:5")
}
