package daemon

import (
	"context"
	"log/slog"
	"time"
)

// maxLines is how many lines a second a bounded log writes one by one.
const maxLines = 10

// A bounded log has lines that anybody can cause as many of as they like: of more than a few in a second it tells only how many there were.
type bounded struct {
	log    *slog.Logger
	level  slog.Level
	others string // the line that says how many

	second       time.Time // that lines are counted in
	told, untold int
}

// tell writes a line.
func (b *bounded) tell(now time.Time, what string, about ...any) {
	if b.may(now) {
		b.log.Log(context.Background(), b.level, what, about...)
	}
}

// may reports whether one more line is written now, and counts it in any case. Who asks first need not make up lines that nobody reads.
func (b *bounded) may(now time.Time) bool {
	if now.Sub(b.second) >= time.Second {
		b.more()
		b.second, b.told = now, 0
	}
	if b.told == maxLines {
		b.untold++
		return false
	}
	b.told++
	return true
}

// more tells how many lines were not written.
func (b *bounded) more() {
	if b.untold > 0 {
		b.log.Log(context.Background(), b.level, b.others, "count", b.untold)
	}
	b.untold = 0
}

// due returns when it is time for more; zero: never.
func (b *bounded) due() time.Time {
	if b.untold == 0 {
		return time.Time{}
	}
	return b.second.Add(time.Second)
}
