package activation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/supervisor/wrapper"
)

// verbs are the triggers that clients request.
var verbs = []Trigger{Cancel, Hold, Release, RunNow, Retry, Forgive}

// recordsIn returns a record in state s for each combination of what a refusal depends on.
func recordsIn(s State, now time.Time) (all []*Record) {
	for mask := range 1 << 8 {
		bit := func(n int) bool { return mask&(1<<n) != 0 }
		r := &Record{ID: "7", Kind: Job, Life: Life{State: s, NeedsUndo: bit(1), HoldNext: bit(2)}}
		over := now.Add(time.Hour)
		if bit(3) {
			over = now.Add(-time.Hour)
		}
		if r.Deadline = over; bit(0) {
			r.Kind, r.Deadline, r.End = Reservation, time.Time{}, over
		}
		if bit(4) {
			r.Comeback = serveAgain
		}
		if bit(5) {
			r.PendingOutcome = Cancelled
		}
		a := Attempt{Open: true}
		if bit(6) {
			a.NotBefore = now.Add(time.Hour)
		}
		if bit(7) {
			a.Result.Hung = []wrapper.Hung{{PID: 1}}
		}
		if s == Activating || s == Deactivating {
			r.Attempts = []Attempt{a}
		}
		f := r.facts(Moment{Now: now})
		if !possible(s, f) {
			continue
		}
		if s != Finished {
			all = append(all, r)
			continue
		}
		for _, o := range []Outcome{Succeeded, Failed, TimedOut, Cancelled, Missed, Lost} {
			c := r.clone()
			c.Outcome = o
			all = append(all, c)
		}
	}
	return all
}

// TestRefusals checks that a refusal names no verb that is refused, too, and says nothing
// of slots to the owner of a job.
func TestRefusals(t *testing.T) {
	now := Moment{Now: time.Now()}
	var texts []string
	for _, s := range States {
		for _, r := range recordsIn(s, now.Now) {
			for _, on := range verbs {
				if r.accepts(on, now) {
					continue
				}
				text := refusal(r, on, now)
				line := string(r.Kind) + ": " + strings.ReplaceAll(text, TimeText(r.Deadline), "TIME")
				if !slices.Contains(texts, line) {
					texts = append(texts, line)
				}
				if r.Kind == Job && strings.Contains(text, "slot") {
					t.Errorf("a job: %s", text)
				}
				_, advice, _ := strings.Cut(text, ": ")
				for _, word := range strings.FieldsFunc(advice, func(r rune) bool { return r < 'a' || r > 'z' }) {
					if v := Trigger(word); slices.Contains(verbs, v) && !r.accepts(v, now) {
						t.Errorf("%s %s with %+v: %s is refused, too: %s", r.Kind, s, r.facts(now), v, text)
					}
				}
			}
		}
	}
	slices.Sort(texts)
	golden(t, "refusals.golden", strings.Join(texts, "\n")+"\n")
}
