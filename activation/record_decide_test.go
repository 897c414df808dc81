package activation

import (
	"testing"
	"time"
)

const (
	minute = time.Minute
	hour   = time.Hour
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
		r    Record // the Start of a job is 10, too
		now  float64
		want Trigger
	}{
		{"before its instant", rec{Life: Life{State: Scheduled}}, 9.99, noTrigger},
		{"at its instant", rec{Life: Life{State: Scheduled}}, 10, Due},
		{"within the arming time", rec{Life: Life{State: Scheduled}}, 10 - 0.0005, Due},
		{"lead comes before the start", rec{Life: Life{State: Scheduled}, Slot: Slot{Lead: hour}}, 9, Due},
		{"late, policy run", rec{Life: Life{State: Scheduled}, Order: Order{Missed: MissedRun}}, 11.9, Due},
		{"late, policy skip", rec{Life: Life{State: Scheduled}, Order: Order{Missed: MissedSkip}}, 10.1, Miss},
		{"a little late is not missed", rec{Life: Life{State: Scheduled}, Order: Order{Missed: MissedSkip}}, 10 + 0.9/60, Due},
		{"late because somebody kept it", rec{Life: Life{State: Scheduled, Urgency: Anyway}, Order: Order{Missed: MissedSkip}}, 11, Due},
		{"late, but its slot is over", rec{Life: Life{State: Scheduled, Urgency: Anyway}}, 12, Over},
		{"slot over while nothing ran", rec{Life: Life{State: Scheduled}}, 12, Over},
		{"tail ends it sooner", rec{Life: Life{State: Scheduled}, Slot: Slot{Tail: hour}}, 11, Over},
		{"a job within its grace", rec{Kind: Job, Life: Life{State: Scheduled}}, 11, Due},
		{"a job beyond its grace", rec{Kind: Job, Life: Life{State: Scheduled}}, 11.1, Miss},
		{"a job that somebody kept", rec{Kind: Job, Life: Life{State: Scheduled, Urgency: Anyway}}, 20, Due},
		{"a job does not end", rec{Kind: Job, Life: Life{State: Held}}, 1000, noTrigger},

		{"held past its start", rec{Life: Life{State: Held}}, 11, noTrigger},
		{"held past its end", rec{Life: Life{State: Held}}, 12, Over},

		{"waiting", rec{Life: Life{State: Waiting}}, 10, Grant},
		{"waiting, and run early", rec{Life: Life{State: Waiting}}, 5, Grant},
		{"waiting for the next try", rec{Life: Life{State: Waiting, retry: retry{RetryAt: at(10.5)}}}, 10.4, noTrigger},
		{"the next try", rec{Life: Life{State: Waiting, retry: retry{RetryAt: at(10.5)}}}, 10.5, Grant},
		{"waited too long", rec{Life: Life{State: Waiting, Until: at(10.5)}}, 10.5, Expire},
		{"waited until the end", rec{Life: Life{State: Waiting, Until: at(10.5)}}, 12, Over},

		{"an attempt runs", rec{Life: Life{State: Activating, Attempts: open}}, 11, noTrigger},
		{"the slot ends under it", rec{Life: Life{State: Activating, Attempts: open}}, 12, Over},
		{"to be stopped", rec{Life: Life{State: Activating, Attempts: open, ending: ending{PendingOutcome: Cancelled}}}, 11, stopRun},
		{"to be held", rec{Life: Life{State: Activating, Attempts: open, HoldNext: true}}, 11, stopRun},
		{"being stopped", rec{Life: Life{State: Activating, Attempts: open, ending: ending{PendingOutcome: Cancelled}, Stopped: true}}, 12, noTrigger},
		{"a job's attempt has no end", rec{Kind: Job, Life: Life{State: Activating, Attempts: open}}, 1000, noTrigger},

		{"active", rec{Life: Life{State: Active}}, 11.99, noTrigger},
		{"the slot's end", rec{Life: Life{State: Active}}, 12, Over},

		{"to be undone", rec{Life: Life{State: Deactivating}}, 11, Grant},
		{"being undone", rec{Life: Life{State: Deactivating, Attempts: undoing}}, 13, noTrigger},
		{"to be undone again, later", rec{Life: Life{State: Deactivating, retry: retry{RetryAt: at(11)}}}, 10.9, noTrigger},
		{"nothing to undo with", rec{Life: Life{State: Deactivating}, Order: Order{Undo: []string{}}}, 11, OK},

		{"stuck", rec{Life: Life{State: Stuck}}, 1000, noTrigger},
		{"finished", rec{Life: Life{State: Finished, Until: at(20)}}, 19, noTrigger},
		{"kept long enough", rec{Life: Life{State: Finished, Until: at(20)}}, 20, Prune},
		{"kept while its slot is announced", rec{Life: Life{State: Finished, Until: at(11)}, Slot: Slot{Source: "lab"}}, 11.5, noTrigger},
		{"its announced slot is over", rec{Life: Life{State: Finished, Until: at(11)}, Slot: Slot{Source: "lab"}}, 12, Prune},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.r
			r.ID, r.Start, r.Since = "r", at(10), at(0)
			if r.Kind == "" {
				r.Kind, r.End = Reservation, at(12)
			}
			l := inputs{Moment: Moment{Now: at(tt.now)}, arm: 2 * time.Second, missedGrace: hour, undo: r.Undo == nil}
			if got := r.decide(l); got != tt.want {
				t.Errorf("decide at %v = %q, want %q", tt.now, got, tt.want)
			}
			// If decide returns a trigger, the index must find the record by then.
			if due, _ := r.due(); tt.want != noTrigger && tt.want != stopRun && (due.IsZero() || due.After(l.Now.Add(l.arm))) {
				t.Errorf("%s happens at %v, but the index says %v", tt.want, l.Now, due)
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
	if Instant(early) >= Instant(late) {
		t.Errorf("instants do not sort")
	}
	for _, at := range []time.Time{early, late} {
		got, id, err := parseInstant(Instant(at) + "/r/1")
		if err != nil || !got.Equal(at) || id != "r/1" {
			t.Errorf("parseInstant(Instant(%v)) = %v, %q, %v", at, got, id, err)
		}
	}
	for _, bad := range []string{"", "00", "zz/1", "00/1"} {
		if _, _, err := parseInstant(bad); err == nil {
			t.Errorf("parseInstant(%q) has no error", bad)
		}
	}
}
