package file

import (
	"path/filepath"
	"testing"
	"time"
)

// TestExamples reads the example files of reservations. All of their reservations are valid,
// and no slot is over, so that a daemon that is given the files has something to do.
func TestExamples(t *testing.T) {
	names, err := filepath.Glob("../../examples/*/reservations.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, name := range names {
		set := load(t, name)
		for _, r := range set.Rejects {
			t.Errorf("%s: %s: %s", name, r.Where, r.Text)
		}
		if len(set.Reservations) == 0 {
			t.Errorf("%s has no reservations", name)
		}
		for _, r := range set.Reservations {
			if !r.End.After(time.Now()) {
				t.Errorf("%s: %s: its slot was over at %v", name, r.ID, r.End)
			}
		}
	}
}
