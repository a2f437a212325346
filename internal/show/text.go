package show

import (
	"fmt"
	"strconv"
	"time"
)

// Age returns how long ago something was, cut to its largest unit: "12s", "41m",
// "2h", "12d". A day has 24 hours. What is still to come is "0s" old: clocks differ.
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// Count returns n, with commas between thousands, and the right one of two
// words for it: Count(1, "entry", "entries") is "1 entry".
func Count(n int, one, many string) string {
	digits := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	word := many
	if n == 1 {
		word = one
	}
	return sign + digits + " " + word
}
