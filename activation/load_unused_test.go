package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/reservation"
)

// TestUnusedAreKept checks that reservations that were rejected or passed over are counted
// and named with reasons by each load, by the status of their source and by id, also after
// a restart and when the source has not changed, until the source is corrected.
func TestUnusedAreKept(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		s := rig.source("src")
		long := slot("2@x", -3000*hour, -2999*hour, "r1")
		s.says(slot("1@x", hour, 2*hour, "r1"), slot("8@x", -2*hour, -hour, "r1"), long)
		s.set.Rejects = []reservation.Reject{{Where: "r.yml:3", ID: "6", Text: "start: is no time"}}

		ended := TimeText(time.Now().Add(-hour))
		want := []ReportLine{
			{What: "source", Source: "src", Text: "rejected=1 over=2"},
			{What: "rejected", ID: "6", Source: "src", Text: "r.yml:3: start: is no time"},
			{What: "over", ID: "8@x", Source: "src", Text: "8@x.yml:1: its slot ended at " + ended + ", before it was read"},
			{What: "over", ID: "2@x", Source: "src", Text: "2@x.yml:1: its slot ended at " + TimeText(long.End) + ", and it is not in the history"},
		}
		check := func(when string, rep Report) {
			t.Helper()
			lines := slices.DeleteFunc(rep.Lines, func(l ReportLine) bool { return l.What == "added" })
			if rep.Rejected != 1 || rep.Over != 2 || !slices.Equal(lines, want) {
				t.Errorf("%s: %s and lines %q, want rejected=1 over=2 and %q", when, rep.Summary(), lines, want)
			}
			if got := rig.status("src"); got.Live != 1 || got.Rejected != 1 || got.Over != 2 {
				t.Errorf("%s: the source's status is %+v, want live 1, rejected 1, over 2", when, got)
			}
			for id, text := range map[string]string{"6": "rejected r.yml:3: start: is no time", "8@x": "over 8@x.yml:1: its slot ended at " + ended + ", before it was read"} {
				if got := rig.unused(id); !slices.Equal(got, []string{"src " + text}) {
					t.Errorf("%s: %s is explained by %q, want %q of src", when, id, got, text)
				}
			}
			if got := rig.unused("1@x"); len(got) != 0 {
				t.Errorf("%s: 1@x, which is in force, is explained by %q", when, got)
			}
		}
		check("first load", rig.load(announce.LoadOptions{}))
		check("unchanged", rig.load(announce.LoadOptions{}))
		rig.shutDown()
		rig.start()
		if isClosed(rig.loader.Loaded()) {
			t.Error("no load has ended yet, but the loader does not say so")
		}
		if got := rig.unused("6"); len(got) != 1 {
			t.Errorf("before the first load of the next daemon, 6 is explained by %q", got)
		}
		check("after a restart", rig.load(announce.LoadOptions{}))
		if !isClosed(rig.loader.Loaded()) {
			t.Error("a load has ended, but the loader does not say so")
		}

		s.set.Rejects = nil
		s.says(slot("1@x", hour, 2*hour, "r1"))
		if rep := rig.loads(0, 0, 0, 0); rep.Over != 0 || rig.unused("6") != nil || rig.unused("8@x") != nil {
			t.Errorf("after the correction: %s, %q, %q", rep.Summary(), rig.unused("6"), rig.unused("8@x"))
		}
		s.says(slot("1@x", hour, 2*hour, "r1"), slot("9@x", -2*hour, -hour, "r1"))
		if rep := rig.load(announce.LoadOptions{DryRun: true}); rep.Over != 1 || rig.unused("9@x") != nil {
			t.Errorf("a dry run: %s, want over=1; it kept %q", rep.Summary(), rig.unused("9@x"))
		}
	})
}

// TestUnusedEvents checks that each load has an event with the numbers, and each
// reservation that was passed over an event with the reason, once, although its line moves.
func TestUnusedEvents(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		s := rig.source("src")
		over := slot("8@x", -2*hour, -hour, "r1")
		load := func(counts string, rs ...reservation.Reservation) []string {
			t.Helper()
			since := rig.newest()
			s.says(rs...)
			s.set.Fingerprint += counts
			rig.loader.Ask() // as if the source had changed: nobody waits for the report
			rig.sleep(minute)
			var texts []string
			for _, ev := range rig.eventsAfter(since) {
				if ev.What == "load" && !strings.HasSuffix(ev.Reason, counts) {
					t.Errorf("the load's event says %q, want %q at the end", ev.Reason, counts)
				}
				if ev.What == "over" {
					texts = append(texts, ev.ID+" "+ev.Topic+" "+ev.Reason)
				}
			}
			return texts
		}
		got := load("over=1; src: rejected=0 over=1", over)
		if want := "8@x load.over src: 8@x.yml:1: its slot ended at " + TimeText(over.End) + ", before it was read"; !slices.Equal(got, []string{want}) {
			t.Errorf("events %q, want %q", got, want)
		}
		over.Where = "r.yml:99"
		if got := load("over=1", over); len(got) != 0 {
			t.Errorf("again events %q, want none", got)
		}
		if got := load("rejected=0 over=0"); len(got) != 0 {
			t.Errorf("events %q of an empty source", got)
		}
	})
}

// TestManyUnused checks that a source with very many wrong reservations has all of them
// counted, and the first ones kept.
func TestManyUnused(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		s := rig.source("src")
		for i := range 5000 {
			s.set.Rejects = append(s.set.Rejects, reservation.Reject{Where: fmt.Sprintf("r.yml:%d", i), Text: "id: missing"})
		}
		rep := rig.loads(0, 0, 0, 5000)
		want := ReportLine{What: "source", Source: "src", Text: "rejected=5000 over=0 (only 1000 of them are listed)"}
		if len(rep.Lines) != 1001 || rep.Lines[0] != want {
			t.Errorf("%d lines, the first %+v; want 1001, the first %+v", len(rep.Lines), rep.Lines[0], want)
		}
		if again := rig.loads(0, 0, 0, 5000); !slices.Equal(rep.Lines, again.Lines) {
			t.Error("another load has other lines")
		}
		if got := rig.status("src"); got.Rejected != 5000 {
			t.Errorf("the source's status is %+v, want 5000 rejected", got)
		}
		s.set.Rejects = nil
		for i := range 5000 {
			s.set.Rejects = append(s.set.Rejects, reservation.Reject{Where: fmt.Sprintf("r.yml:%d", i), Text: strings.Repeat("x", 10_000)})
		}
		s.set.Fingerprint = "more"
		if rep := rig.loads(0, 0, 0, 5000); len(rep.Lines) > 100 {
			t.Errorf("%d lines of long texts are kept", len(rep.Lines))
		}
	})
}

// TestSourceFails checks that the status of a source says since when it cannot be read.
func TestSourceFails(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		s := rig.source("src")
		rig.loads(0, 0, 0, 0)
		s.err = errors.New("connection refused")
		since := time.Now()
		rig.load(announce.LoadOptions{})
		rig.sleep(hour)
		rig.load(announce.LoadOptions{})
		if got := rig.status("src"); got.Error != "connection refused" || !got.Failing.Equal(since) {
			t.Errorf("the source's status is %+v, want connection refused since %v", got, since)
		}
		s.err = nil
		rig.load(announce.LoadOptions{})
		if got := rig.status("src"); got.Error != "" || !got.Failing.IsZero() {
			t.Errorf("the source's status is %+v, want no error", got)
		}
	})
}

// unused returns the explanations of unused reservations with an id.
func (rig *testRig) unused(id string) (texts []string) {
	rig.t.Helper()
	all, err := rig.loader.Unused(context.Background(), id)
	if err != nil {
		rig.t.Fatal(err)
	}
	for _, u := range all {
		what := "rejected"
		if u.Over {
			what = "over"
		}
		texts = append(texts, fmt.Sprintf("%s %s %s: %s", u.Source, what, u.Where, u.Text))
	}
	return texts
}
