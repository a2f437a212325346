package follow

import (
	"fmt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// maxPromises is the most ports that one answer may promise. A domain controller lists some thirty.
const maxPromises = 128

// A list is what one answer promises: every port once.
type list struct {
	policy   *Policy
	promises []Promise // at most maxPromises
	refused  *Refusal  // the first
	left     int       // how many were refused
}

// add takes what is told of an interface, and reports whether it may be told, having promised it.
func (l *list) add(i endpoint.Interface, protocol uint8, port uint16) bool {
	if r := l.policy.check(i, protocol, port); r != nil {
		l.refuse(r)
		return false
	}
	if l.policy.isChannel(port) {
		return true
	}
	for _, p := range l.promises {
		if p.Protocol == protocol && p.Port == port {
			return true
		}
	}
	if len(l.promises) == maxPromises {
		l.refuse(refuse("limit", i, "over %d ports in one answer", maxPromises))
		return false
	}
	l.promises = append(l.promises, l.policy.promise(i, protocol, port))
	return true
}

func (l *list) refuse(r *Refusal) {
	if l.refused == nil {
		l.refused = r
	}
	l.left++
}

// refusal returns what was refused, as one; nil if nothing was.
func (l *list) refusal() *Refusal {
	if l.left > 1 {
		l.refused.Why += fmt.Sprintf(" (and %d more)", l.left-1)
		l.left = 1
	}
	return l.refused
}
