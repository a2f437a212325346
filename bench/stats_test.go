package main

import (
	"testing"
	"time"
)

func TestSpreadOf(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{4}, spread{4, 4, 4}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}},
		{[]float64{8, 2, 4, 6}, spread{5, 2, 8}},
	} {
		if got := spreadOf(tt.values); got != tt.want {
			t.Errorf("spreadOf(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("quantile(0.5) of nothing = %v, want 0", got)
	}
	for i := range 100 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	h.add(time.Hour)
	for q, want := range map[float64]time.Duration{
		0:    1 * time.Microsecond,
		0.5:  51 * time.Microsecond,
		0.99: 100 * time.Microsecond,
		1:    100_000 * time.Microsecond,
	} {
		if got := h.quantile(q); got != want {
			t.Errorf("quantile(%v) = %v, want %v", q, got, want)
		}
	}
}
