package activation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"

	"activationd/internal/fault"
)

func TestHoldAndReleaseARecurrence(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx := context.Background()
		rig.every(recurring.Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC"})
		rig.sleep(90 * minute)
		if _, err := rig.book.Hold(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		if _, err := rig.book.Hold(ctx, admin, "h"); !errors.Is(err, fault.Conflict) {
			t.Errorf("held twice: %v", err)
		}
		rig.restart()
		rig.sleep(3 * hour)
		rig.tallied("h", 1, 0)
		if _, err := rig.book.Release(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		rig.tallied("h", 1, 3)
		rig.sleep(hour)
		rig.tallied("h", 2, 3)
		rig.accounted("h")
		if v := rig.view("h"); len(v.Skips) != 1 || v.Skips[0].Reason != "held by root" {
			t.Errorf("skipped: %+v", v.Skips)
		}
	})
}

func TestRunARecurrence(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx := context.Background()
		rig.every(recurring.Rule{Name: "h", Every: hour})
		id, err := rig.book.RunOnce(ctx, admin, "h")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		rig.is(id, "activating")
		if _, err := rig.book.RunOnce(ctx, admin, "h"); !errors.Is(err, fault.Conflict) {
			t.Errorf("beside what runs: %v", err)
		}
		rig.sleep(hour)
		rig.tallied("h", 1, 0)
		rig.accounted("h")
	})
}

func TestWhoMayTouchARecurrence(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx := context.Background()
		rig.every(recurring.Rule{Name: "h", Every: hour})
		eve := Actor{Name: "eve", OnlyOwn: true}
		_, held := rig.book.Hold(ctx, eve, "h")
		_, released := rig.book.Release(ctx, eve, "h")
		_, ran := rig.book.RunOnce(ctx, eve, "h")
		for what, err := range map[string]error{"hold": held, "release": released, "run": ran, "remove": rig.book.Remove(ctx, eve, "h")} {
			if !errors.Is(err, fault.Denied) {
				t.Errorf("%s of another owner: %v", what, err)
			}
		}
		if err := rig.book.Remove(ctx, Actor{Name: "ada", OnlyOwn: true}, "h"); err != nil {
			t.Error(err)
		}
		rig.sleep(10 * hour)
		rig.ran("")
		if keys := append(append(rig.mem.Keys(recurrenceKey), rig.mem.Keys(tallyKey)...), rig.mem.Keys(StartKey)...); len(keys) > 0 {
			t.Errorf("left: %v", keys)
		}
	})
}

func TestUnsoundRules(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.every(recurring.Rule{Name: "taken", Every: hour})
		job := NewJob{Order: Order{Argv: []string{"true"}}}
		for want, rule := range map[string]recurring.Rule{
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
			_, err := rig.book.Add(context.Background(), admin, rule)
			if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, fault.Invalid) && want != "already" {
				t.Errorf("%+v: %v, want %q", rule, err, want)
			}
		}
	})
}

func TestDeclaredRecurrences(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx := context.Background()
		declare := func(added, changed, removed, rejected int, rules ...recurring.Rule) {
			t.Helper()
			for i := range rules {
				rules[i].Job.Argv, rules[i].Job.Owner = []string{"true"}, "ops"
			}
			rig.declare(rules...)
			rep, err := rig.loader.Load(ctx, announce.LoadOptions{})
			if err != nil || rep.Added != added || rep.Changed != changed || rep.Removed != removed || rep.Rejected != rejected {
				t.Errorf("%s, %v, want %d %d %d %d: %v", rep.Summary(), err, added, changed, removed, rejected, rep.Lines)
			}
			synctest.Wait()
		}
		rig.every(recurring.Rule{Name: "mine", Every: hour})
		h := recurring.Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC"}
		declare(1, 0, 0, 1, h, recurring.Rule{Name: "mine", Every: hour})
		rig.sleep(90 * minute)
		declare(0, 0, 0, 0, h)
		if _, err := rig.book.Hold(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		h.Cron = "30 * * * *"
		declare(0, 1, 0, 0, h) // and stays held
		rig.sleep(2 * hour)
		rig.tallied("h", 1, 0)
		if _, err := rig.book.Release(ctx, admin, "h"); err != nil {
			t.Fatal(err)
		}
		rig.sleep(hour)
		if err := rig.book.Remove(ctx, admin, "h"); !errors.Is(err, fault.Conflict) {
			t.Errorf("removed a declared recurrence: %v", err)
		}
		if y := rig.view("h").Tally; y.Begun != 2 {
			t.Errorf("tally %+v", y)
		}
		declare(0, 0, 1, 0)
		if _, err := rig.book.Get(ctx, "h", 1); !errors.Is(err, fault.NotFound) {
			t.Errorf("h is there: %v", err)
		}
		rig.view("mine")
		rig.sleep(2 * hour)
	})
}

// TestJitterIsNotLost has rules held, released and changed while an occurrence waits for
// its jitter. The occurrence runs, or there is a record of the reason why not.
func TestJitterIsNotLost(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx := context.Background()
		declare := func(r recurring.Rule) {
			t.Helper()
			r.Job = NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}}}
			rig.declare(r)
			if rep, err := rig.loader.Load(ctx, announce.LoadOptions{}); err != nil || rep.Rejected > 0 {
				t.Fatalf("%v, %v", rep.Lines, err)
			}
			synctest.Wait()
		}
		waiting := func() time.Time { // waits until an occurrence waits for its jitter
			t.Helper()
			v := rig.view("h")
			rig.sleep(time.Until(v.Due.Add(-v.Due.Sub(v.Next) / 2)))
			if now := time.Now(); v.Next.After(now) || !v.Due.After(now) {
				t.Fatalf("%v is not between %v and %v", now, v.Next, v.Due)
			}
			return v.Next
		}
		hold := func(what func(context.Context, Actor, string, ...recurring.Condition) (*recurring.Recurrence, error)) {
			t.Helper()
			if _, err := what(ctx, admin, "h"); err != nil {
				t.Fatal(err)
			}
		}
		h := recurring.Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC", Jitter: 50 * minute}
		declare(h)

		next := waiting()
		hold(rig.book.Hold)
		hold(rig.book.Release)
		if v := rig.view("h"); !v.Next.Equal(next) {
			t.Errorf("released, it waits for %v, and not for %v", v.Next, next)
		}
		rig.sleep(time.Until(rig.view("h").Due))
		rig.tallied("h", 1, 0)

		next = waiting() // with less jitter it may be due at once
		h.Jitter = time.Second
		declare(h)
		rig.sleep(minute)
		rig.tallied("h", 2, 0)
		if v := rig.get("2"); !v.Occurrence.Equal(next) {
			t.Errorf("it was the occurrence %v, want %v", v.Occurrence, next)
		}
		rig.accounted("h")

		h.Jitter = 50 * minute
		declare(h)
		waiting()
		h.Cron = "30 0 * * *"
		declare(h)
		rig.tallied("h", 2, 1)
		if v := rig.view("h"); len(v.Skips) != 1 || v.Skips[0].Reason != "the rule was changed before it was due" {
			t.Errorf("skipped: %+v", v.Skips)
		}

		h.Cron = "0 * * * *"
		declare(h)
		waiting()
		hold(rig.book.Hold)
		rig.sleep(2 * hour)
		h.Cron = "30 0 * * *"
		declare(h) // three were held back, the last of which may have waited
		if v := rig.view("h"); v.Tally.Skipped != 4 || v.HoldReason == "" || !v.Next.After(time.Now()) {
			t.Errorf("%+v", v)
		}
	})
}
