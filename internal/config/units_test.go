package config

import (
	"testing"

	"pgregory.net/rapid"
)

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
