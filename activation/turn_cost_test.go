package activation

import (
	"testing"
	"time"
)

func TestCostAfter(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name       string
		cost       time.Duration
		n          int
		took, want time.Duration
	}{
		{"as before", 4 * ms, 32, 64 * ms, 4 * ms},
		{"a quarter of the way up", 4 * ms, 32, 128 * ms, 5 * ms},
		{"a quarter of the way down", 5 * ms, 32, 16 * ms, 4 * ms},
		{"too few say nothing", 4 * ms, tellsCost - 1, time.Second, 4 * ms},
		{"a disk that was stuck for once", 4 * ms, 32, time.Hour, 8 * ms},
		{"a clock that does not move", 5 * ms, 32, 0, 4 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := costAfter(tt.cost, tt.n, tt.took); got != tt.want {
				t.Errorf("costAfter(%v, %d, %v) = %v, want %v", tt.cost, tt.n, tt.took, got, tt.want)
			}
		})
	}
	for _, took := range []time.Duration{0, time.Hour} {
		cost := usualCost
		for range 100 {
			if cost = costAfter(cost, 32, took); cost < leastCost || cost > mostCost {
				t.Fatalf("after turns of %v it is %v", took, cost)
			}
		}
	}
}
