package main

import (
	"strings"
	"testing"
)

// TestMutants checks that each mutant can be tried: its piece of the code is there.
func TestMutants(t *testing.T) {
	mutants, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range mutants {
		if _, _, err := m.find("../.."); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if names[m.name] {
			t.Errorf("there are two mutants %q", m.name)
		}
		names[m.name] = true
		if !strings.HasPrefix(strings.Join(m.tests, " "), "./") {
			t.Errorf("%s: the tests are %q, want a package first", m.name, m.tests)
		}
	}
	if len(mutants) < 30 {
		t.Errorf("there are %d mutants", len(mutants))
	}
}
