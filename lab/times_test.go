package lab

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/internal/timetext/timeforms"
)

// TestDurations tries every duration of an inventory with every form. Most are longer
// than a pace may be.
func TestDurations(t *testing.T) {
	for _, key := range []string{"pace character", "pace chunk_delay", "pace line", "limits connect", "limits command"} {
		for _, f := range timeforms.Durations() {
			kind, name, _ := strings.Cut(key, " ")
			r := reader{}
			root := r.Root([]byte("{" + name + ": " + strconv.Quote(f.Text) + "}"))
			var got time.Duration
			if kind == "pace" {
				p := r.pace(root, kind)
				got = p.Character + p.ChunkDelay + p.Line
			} else {
				l := r.limits(root, kind)
				got = l.Connect + l.Command
			}
			err := r.Faults.Err()
			long := err != nil && strings.Contains(err.Error(), "must be a time from 0s to")
			if f.Why == "" && !long && (err != nil || got != f.Want) {
				t.Errorf("%s: %s: %q is %v, %v, want %v", key, f.Name, f.Text, got, err, f.Want)
			}
			if f.Why != "" && (err == nil || !strings.Contains(err.Error(), f.Why)) {
				t.Errorf("%s: %s: of %q is said %v, want that it %s", key, f.Name, f.Text, err, f.Why)
			}
		}
	}
}
