package show_test

import (
	"math"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/show"
)

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		d    time.Duration
		want string
	}{
		{-time.Hour, "0s"},
		{0, "0s"},
		{999 * time.Millisecond, "0s"},
		{12 * time.Second, "12s"},
		{time.Minute - 1, "59s"},
		{time.Minute, "1m"},
		{41*time.Minute + 59*time.Second, "41m"},
		{time.Hour, "1h"},
		{2*time.Hour + 59*time.Minute, "2h"},
		{day - 1, "23h"},
		{day, "1d"},
		{12*day + 23*time.Hour, "12d"},
		{math.MaxInt64, "106751d"},
	}
	for _, tt := range tests {
		if got := show.Age(tt.d); got != tt.want {
			t.Errorf("Age(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestCount(t *testing.T) {
	tests := []struct {
		n    int
		want string
	}{
		{0, "0 entries"},
		{1, "1 entry"},
		{2, "2 entries"},
		{-1, "-1 entries"},
		{999, "999 entries"},
		{1000, "1,000 entries"},
		{-123456, "-123,456 entries"},
		{16425, "16,425 entries"},
		{1234567, "1,234,567 entries"},
	}
	for _, tt := range tests {
		if got := show.Count(tt.n, "entry", "entries"); got != tt.want {
			t.Errorf("Count(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}
