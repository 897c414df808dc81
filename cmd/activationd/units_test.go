package main

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		in   string
		want time.Duration
	}{
		{"0", 0}, {"0s", 0}, {"500ms", 500 * time.Millisecond}, {"90s", 90 * time.Second}, {"1h30m", 90 * time.Minute},
		{"2d", 2 * day}, {"1w", 7 * day}, {"1w2d3h", 9*day + 3*time.Hour}, {"1d0.5h", day + 30*time.Minute},
	} {
		if got, err := parseDuration(tt.in); err != nil || got != tt.want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"", "-", "d", "w", "5", "-5m", "-0s", "1d-1h", "1d+1h", "+1d", "1.5d", "1d1w", "1d1", "1 d", "999999w",
		"99999d99999999h", "9223372036854775807ns1d", "1y", "0x1d"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestDurationsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weeks := rapid.IntRange(0, 500).Draw(t, "weeks")
		days := rapid.IntRange(0, 10_000).Draw(t, "days")
		rest := time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "rest"))
		text := fmt.Sprintf("%dw%dd%v", weeks, days, rest)
		want := time.Duration(7*weeks+days)*24*time.Hour + rest
		if got, err := parseDuration(text); err != nil || got != want {
			t.Fatalf("parseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	})
}

func TestSizesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Range(0, 1<<62).Draw(t, "size"))
		var got Size
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("size %q = %d, %v, want %d", want, got, err, want)
		}
	})
	for _, in := range []string{"", "-1", "1kb", "KiB", "1.5MiB", "9999999TiB", "99999999999999999999"} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("size %q = %d, want an error", in, s)
		}
	}
}
