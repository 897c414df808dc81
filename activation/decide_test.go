package activation

import (
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	// Times are hours after midnight. The slot goes from 10 to 12.
	at := func(hours float64) time.Time {
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(hours * float64(hour)))
	}
	open := []Attempt{{Phase: Activate, N: 1, Open: true}}
	undoing := []Attempt{{Phase: Deactivate, N: 1, Open: true}}
	type rec = Record
	tests := []struct {
		name string
		r    Record // a job's Start is 10, too
		now  float64
		want Event
	}{
		{"before its instant", rec{State: Scheduled}, 9.99, noEvent},
		{"at its instant", rec{State: Scheduled}, 10, Due},
		{"within the arming time", rec{State: Scheduled}, 10 - 0.0005, Due},
		{"lead comes before the start", rec{State: Scheduled, Lead: hour}, 9, Due},
		{"late, policy run", rec{State: Scheduled, Missed: MissedRun}, 11.9, Due},
		{"late, policy skip", rec{State: Scheduled, Missed: MissedSkip}, 10.1, Miss},
		{"a little late is not missed", rec{State: Scheduled, Missed: MissedSkip}, 10 + 0.9/60, Due},
		{"late because somebody kept it", rec{State: Scheduled, Missed: MissedSkip, Late: true}, 11, Due},
		{"late, but its slot is over", rec{State: Scheduled, Late: true}, 12, Over},
		{"slot over while nothing ran", rec{State: Scheduled}, 12, Over},
		{"tail ends it sooner", rec{State: Scheduled, Tail: hour}, 11, Over},
		{"a job within its grace", rec{Kind: Job, State: Scheduled}, 11, Due},
		{"a job beyond its grace", rec{Kind: Job, State: Scheduled}, 11.1, Miss},
		{"a job that somebody kept", rec{Kind: Job, State: Scheduled, Late: true}, 20, Due},
		{"a job does not end", rec{Kind: Job, State: Held}, 1000, noEvent},

		{"held past its start", rec{State: Held}, 11, noEvent},
		{"held past its end", rec{State: Held}, 12, Over},

		{"waiting", rec{State: Waiting}, 10, Grant},
		{"waiting, and run early", rec{State: Waiting}, 5, Grant},
		{"waiting for the next try", rec{State: Waiting, RetryAt: at(10.5)}, 10.4, noEvent},
		{"the next try", rec{State: Waiting, RetryAt: at(10.5)}, 10.5, Grant},
		{"waited too long", rec{State: Waiting, Until: at(10.5)}, 10.5, Expire},
		{"waited until the end", rec{State: Waiting, Until: at(10.5)}, 12, Over},

		{"an attempt runs", rec{State: Activating, Attempts: open}, 11, noEvent},
		{"the slot ends under it", rec{State: Activating, Attempts: open}, 12, Over},
		{"to be stopped", rec{State: Activating, Attempts: open, Ending: Cancelled}, 11, stopAgain},
		{"to be held", rec{State: Activating, Attempts: open, Pause: true}, 11, stopAgain},
		{"being stopped", rec{State: Activating, Attempts: open, Ending: Cancelled, Stopped: true}, 12, noEvent},
		{"a job's attempt has no end", rec{Kind: Job, State: Activating, Attempts: open}, 1000, noEvent},

		{"active", rec{State: Active}, 11.99, noEvent},
		{"the slot's end", rec{State: Active}, 12, Over},

		{"to be undone", rec{State: Deactivating}, 11, Grant},
		{"being undone", rec{State: Deactivating, Attempts: undoing}, 13, noEvent},
		{"to be undone again, later", rec{State: Deactivating, RetryAt: at(11)}, 10.9, noEvent},
		{"nothing to undo with", rec{State: Deactivating, Undo: []string{}}, 11, OK},

		{"stuck", rec{State: Stuck}, 1000, noEvent},
		{"finished", rec{State: Finished, Until: at(20)}, 19, noEvent},
		{"kept long enough", rec{State: Finished, Until: at(20)}, 20, Prune},
		{"kept while its slot is announced", rec{State: Finished, Until: at(11), Source: "lab"}, 11.5, noEvent},
		{"its announced slot is over", rec{State: Finished, Until: at(11), Source: "lab"}, 12, Prune},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.r
			r.ID, r.Start, r.Since = "r", at(10), at(0)
			if r.Kind == "" {
				r.Kind, r.End = Reservation, at(12)
			}
			l := look{moment: moment{now: at(tt.now)}, arm: 2 * time.Second, missedGrace: hour, undo: r.Undo == nil}
			if got := r.decide(l); got != tt.want {
				t.Errorf("decide at %v = %q, want %q", tt.now, got, tt.want)
			}
			// Whoever has to be looked at then must be found by the index.
			if due, _ := r.due(); tt.want != noEvent && tt.want != stopAgain && (due.IsZero() || due.After(l.now.Add(l.arm))) {
				t.Errorf("%s happens at %v, but the index says %v", tt.want, l.now, due)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	d := Defaults{BackoffFirst: 10 * time.Second, BackoffMax: minute}
	for n, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second, 4: minute, 1000: minute} {
		if got := d.backoff(n); got != want {
			t.Errorf("backoff(%d) = %v, want %v", n, got, want)
		}
	}
	if got := (Defaults{BackoffFirst: time.Second}).backoff(3); got != time.Second {
		t.Errorf("without a limit backoff(3) = %v, want %v", got, time.Second)
	}
}

func TestKeys(t *testing.T) {
	if a, b := key("9"), key("10"); a >= b {
		t.Errorf("keys of jobs do not sort by number: %q, %q", a, b)
	}
	if a, b := key("99999999999"), key("1042@ostrava"); a >= b {
		t.Errorf("jobs do not come before reservations: %q, %q", a, b)
	}
	early, late := time.Unix(0, 1), time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)
	if instant(early) >= instant(late) {
		t.Errorf("instants do not sort")
	}
	for _, at := range []time.Time{early, late} {
		got, id, err := parseInstant(instant(at) + "/r/1")
		if err != nil || !got.Equal(at) || id != "r/1" {
			t.Errorf("parseInstant(instant(%v)) = %v, %q, %v", at, got, id, err)
		}
	}
	for _, bad := range []string{"", "00", "zz/1", "00/1"} {
		if _, _, err := parseInstant(bad); err == nil {
			t.Errorf("parseInstant(%q) has no error", bad)
		}
	}
}
