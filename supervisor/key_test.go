package supervisor

import "testing"

func TestParseKey(t *testing.T) {
	for _, k := range []Key{{"1042@ostrava", "activate", 1}, {"a.b.7", "deactivate", 12}, {"1", "run", 0}} {
		if got, ok := ParseKey(k.String()); got != k || !ok {
			t.Errorf("ParseKey(%q) = %v, %v", k, got, ok)
		}
	}
	for _, s := range []string{"", "1", "1.2", "1.activate.", "1.activate.x", "1.activate.01", "1.activate.+1", ".locks"} {
		if k, ok := ParseKey(s); ok {
			t.Errorf("ParseKey(%q) = %v, want none", s, k)
		}
	}
}
