package main

import "testing"

func TestNearlyFull(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	tests := []struct {
		name                           string
		space, size, inodes, allInodes uint64
		want                           string
	}{
		{"half full", 5 * gib, 10 * gib, 500, 1000, ""},
		{"small, at a twentieth", 10 * mib, 200 * mib, 0, 0, ""},
		{"small, below a twentieth", 10*mib - 1, 200 * mib, 0, 0, "10.0 MiB"},
		{"large, above the limit", 2 * gib, 1000 * gib, 0, 0, ""},
		{"large, below the limit", gib - mib, 1000 * gib, 0, 0, "1023.0 MiB"},
		{"full", 0, 10 * gib, 1000, 1000, "0.0 MiB"},
		{"few inodes", 5 * gib, 10 * gib, 9_999, 1_000_000, "9999 inodes"},
		{"enough inodes", 5 * gib, 10 * gib, 10_000, 1_000_000, ""},
		{"no limit of inodes", 5 * gib, 10 * gib, 0, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := nearlyFull(tt.space, tt.size, tt.inodes, tt.allInodes); got != tt.want {
				t.Errorf("nearlyFull(%d, %d, %d, %d) = %q, want %q", tt.space, tt.size, tt.inodes, tt.allInodes, got, tt.want)
			}
		})
	}
}
