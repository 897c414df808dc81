package activation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
)

func TestHoldAndReleaseARecurrence(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ctx := context.Background()
		l.every(Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC"})
		l.sleep(90 * minute)
		if _, err := l.e.HoldRecurrence(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.e.HoldRecurrence(ctx, admin, "h"); !errors.Is(err, fault.Conflict) {
			t.Errorf("held twice: %v", err)
		}
		l.restart()
		l.sleep(3 * hour)
		l.tallied("h", 1, 0)
		if _, err := l.e.ReleaseRecurrence(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		l.tallied("h", 1, 3)
		l.sleep(hour)
		l.tallied("h", 2, 3)
		l.accounted("h")
		if v := l.view("h"); len(v.Skips) != 1 || v.Skips[0].Reason != "held by root" {
			t.Errorf("skipped: %+v", v.Skips)
		}
	})
}

func TestRunARecurrence(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ctx := context.Background()
		l.every(Rule{Name: "h", Every: hour})
		id, err := l.e.RunRecurrence(ctx, admin, "h")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		l.is(id, "activating")
		if _, err := l.e.RunRecurrence(ctx, admin, "h"); !errors.Is(err, fault.Conflict) {
			t.Errorf("beside what runs: %v", err)
		}
		l.sleep(hour)
		l.tallied("h", 1, 0)
		l.accounted("h")
	})
}

func TestWhoMayTouchARecurrence(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ctx := context.Background()
		l.every(Rule{Name: "h", Every: hour})
		eve := By{Name: "eve", OnlyOwn: true}
		_, held := l.e.HoldRecurrence(ctx, eve, "h")
		_, released := l.e.ReleaseRecurrence(ctx, eve, "h")
		_, ran := l.e.RunRecurrence(ctx, eve, "h")
		for what, err := range map[string]error{"hold": held, "release": released, "run": ran, "remove": l.e.RemoveRecurrence(ctx, eve, "h")} {
			if !errors.Is(err, fault.Denied) {
				t.Errorf("%s of another's: %v", what, err)
			}
		}
		if err := l.e.RemoveRecurrence(ctx, By{Name: "ada", OnlyOwn: true}, "h"); err != nil {
			t.Error(err)
		}
		l.sleep(10 * hour)
		l.ran("")
		if keys := append(append(l.mem.sorted(recurrenceKey), l.mem.sorted(tallyKey)...), l.mem.sorted(startKey)...); len(keys) > 0 {
			t.Errorf("left: %v", keys)
		}
	})
}

func TestUnsoundRules(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.every(Rule{Name: "taken", Every: hour})
		job := NewJob{Argv: []string{"true"}}
		for want, rule := range map[string]Rule{
			"name":           {Name: "a/b", Every: hour, Job: job},
			"want one of":    {Name: "a", Every: hour, Cron: "@daily", Job: job},
			"a second":       {Name: "a", Every: time.Millisecond, Job: job},
			"cron: ":         {Name: "a", Cron: "* * *", Job: job},
			"have 5009":      {Name: "a", Cron: strings.Repeat("0,", 2500) + "0 * * * *", Job: job},
			"calendar: ":     {Name: "a", Calendar: "Fri..Mon", Job: job},
			"time zone":      {Name: "a", Cron: "@daily", Zone: "Nowhere", Job: job},
			"overlap":        {Name: "a", Every: hour, Overlap: "maybe", Job: job},
			"jitter":         {Name: "a", Every: hour, Jitter: -1, Job: job},
			"catch-up":       {Name: "a", Every: hour, CatchUp: 1001, Job: job},
			"end":            {Name: "a", Every: hour, End: time.Now(), Job: job},
			"there is no co": {Name: "a", Every: hour},
			"already":        {Name: "taken", Every: hour, Job: job},
		} {
			_, err := l.e.AddRecurrence(context.Background(), rule)
			if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, fault.Invalid) && want != "already" {
				t.Errorf("%+v: %v, want %q", rule, err, want)
			}
		}
	})
}

func TestDeclaredRecurrences(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ctx := context.Background()
		declare := func(added, changed, removed, rejected int, rules ...Rule) {
			t.Helper()
			for i := range rules {
				rules[i].Job.Argv, rules[i].Job.Owner = []string{"true"}, "ops"
			}
			l.e.SetRecurrences(rules)
			rep, err := l.e.Load(ctx, LoadOptions{})
			if err != nil || rep.Added != added || rep.Changed != changed || rep.Removed != removed || rep.Rejected != rejected {
				t.Errorf("%s, %v, want %d %d %d %d: %v", rep.Summary(), err, added, changed, removed, rejected, rep.Lines)
			}
			synctest.Wait()
		}
		l.every(Rule{Name: "mine", Every: hour})
		h := Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC"}
		declare(1, 0, 0, 1, h, Rule{Name: "mine", Every: hour})
		l.sleep(90 * minute)
		declare(0, 0, 0, 0, h)
		if _, err := l.e.HoldRecurrence(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		h.Cron = "30 * * * *"
		declare(0, 1, 0, 0, h) // and stays held
		l.sleep(2 * hour)
		l.tallied("h", 1, 0)
		if _, err := l.e.ReleaseRecurrence(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		l.sleep(hour)
		if err := l.e.RemoveRecurrence(ctx, admin, "h"); !errors.Is(err, fault.Conflict) {
			t.Errorf("removed what is declared: %v", err)
		}
		if y := l.view("h").Tally; y.Begun != 2 {
			t.Errorf("tally %+v", y)
		}
		declare(0, 0, 1, 0)
		if _, err := l.e.Recurrence(ctx, "h", 1); !errors.Is(err, fault.NotFound) {
			t.Errorf("h is there: %v", err)
		}
		l.view("mine")
		l.sleep(2 * hour)
	})
}

// TestJitterIsNotLost has rules held, released and changed while an occurrence
// waits for its jitter to be over. It runs, or there is a record of why it does not.
func TestJitterIsNotLost(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ctx := context.Background()
		declare := func(r Rule) {
			t.Helper()
			r.Job = NewJob{Owner: "ada", Argv: []string{"true"}}
			l.e.SetRecurrences([]Rule{r})
			if rep, err := l.e.Load(ctx, LoadOptions{}); err != nil || rep.Rejected > 0 {
				t.Fatalf("%v, %v", rep.Lines, err)
			}
			synctest.Wait()
		}
		waiting := func() time.Time { // has an occurrence wait
			t.Helper()
			v := l.view("h")
			l.sleep(time.Until(v.Due.Add(-v.Due.Sub(v.Next) / 2)))
			if now := time.Now(); v.Next.After(now) || !v.Due.After(now) {
				t.Fatalf("%v is not between %v and %v", now, v.Next, v.Due)
			}
			return v.Next
		}
		hold := func(what func(context.Context, By, string) (*Recurrence, error)) {
			t.Helper()
			if _, err := what(ctx, admin, "h"); err != nil {
				t.Fatal(err)
			}
		}
		h := Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC", Jitter: 50 * minute}
		declare(h)

		next := waiting()
		hold(l.e.HoldRecurrence)
		hold(l.e.ReleaseRecurrence)
		if v := l.view("h"); !v.Next.Equal(next) {
			t.Errorf("released, it waits for %v, and not for %v", v.Next, next)
		}
		l.sleep(time.Until(l.view("h").Due))
		l.tallied("h", 1, 0)

		next = waiting() // with less jitter it may be due at once
		h.Jitter = time.Second
		declare(h)
		l.sleep(minute)
		l.tallied("h", 2, 0)
		if v := l.get("2"); !v.Occurrence.Equal(next) {
			t.Errorf("it was the occurrence %v, want %v", v.Occurrence, next)
		}
		l.accounted("h")

		h.Jitter = 50 * minute
		declare(h)
		waiting()
		h.Cron = "30 0 * * *"
		declare(h)
		l.tallied("h", 2, 1)
		if v := l.view("h"); len(v.Skips) != 1 || v.Skips[0].Reason != "the rule was changed before it was due" {
			t.Errorf("skipped: %+v", v.Skips)
		}

		h.Cron = "0 * * * *"
		declare(h)
		waiting()
		hold(l.e.HoldRecurrence)
		l.sleep(2 * hour)
		h.Cron = "30 0 * * *"
		declare(h) // three were held back, the last of which may have waited
		if v := l.view("h"); v.Tally.Skipped != 4 || v.Held == "" || !v.Next.After(time.Now()) {
			t.Errorf("%+v", v)
		}
	})
}
