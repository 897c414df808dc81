package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/internal/fault"
)

// pause pauses something, and waits for the consequences.
func (rig *testRig) pause(what, name string, until time.Duration, reason string) {
	rig.t.Helper()
	p := Pause{What: what, Name: name, Reason: reason}
	if until > 0 {
		p.Until = rig.now().Add(until)
	}
	if _, err := rig.e.Pause(context.Background(), Actor{Name: "ada"}, p); err != nil {
		rig.t.Fatalf("Pause(%s %s): %v", what, name, err)
	}
	synctest.Wait()
}

func (rig *testRig) resume(what, name string) {
	rig.t.Helper()
	if _, err := rig.e.Resume(context.Background(), Actor{Name: "eve"}, what, name); err != nil {
		rig.t.Fatalf("Resume(%s %s): %v", what, name, err)
	}
	synctest.Wait()
}

// at is a time in the words of reasons.
func (rig *testRig) at(in time.Duration) string { return TimeText(time.Now().Add(in)) }

func withSources(s *Settings, names ...string) {
	s.Sources = make(map[string]Defaults)
	for _, n := range names {
		s.Sources[SourceKey(n)] = s.Reservations
	}
}

func TestPauseOfTheDaemon(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1 }, func(rig *testRig) {
		runs := rig.add(NewJob{})
		rig.is(runs, "activating")
		rig.pause(PauseDaemon, "", 0, "maintenance")
		low := rig.add(NewJob{Order: Order{Priority: -1}})
		late := rig.add(NewJob{At: time.Now().Add(2 * minute)})
		high := rig.add(NewJob{At: time.Now().Add(minute), Order: Order{Priority: 7}})
		rig.sleep(10 * minute)
		rig.is(runs, "succeeded") // what runs goes on
		for _, id := range []string{low, late, high} {
			rig.is(id, "waiting")
			rig.because(id, "waits for the daemon, which ada has paused: maintenance")
		}
		rig.ran("1.activate.1")
		if all, err := rig.e.Pauses(context.Background()); err != nil || len(all) != 1 || all[0].Waiting != 3 {
			rig.t.Errorf("Pauses: %+v, %v", all, err)
		}
		rig.restart()
		rig.sleep(10 * minute)
		rig.because(low, "waits for the daemon, which ada has paused: maintenance")
		rig.resume(PauseDaemon, "")
		rig.sleep(minute)
		rig.ran("1.activate.1 4.activate.1 3.activate.1 2.activate.1")
		if all, err := rig.e.Pauses(context.Background()); err != nil || len(all) != 0 {
			rig.t.Errorf("after the end, Pauses: %+v, %v", all, err)
		}
	})
}

// TestPauseUntil checks that what waits begins at the moment at which the pause ends, also when
// that has been moved, or no daemon ran in between.
func TestPauseUntil(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead = 50 * time.Millisecond }, func(rig *testRig) {
		began := time.Now()
		rig.pause(PauseDevice, "sw1", hour, "a fan is broken")
		id := rig.add(NewJob{At: began.Add(minute), Order: Order{Locks: []string{"sw1:shared"}}})
		other := rig.add(NewJob{At: began.Add(minute), Order: Order{Locks: []string{"sw10"}}})
		rig.sleep(2 * minute)
		rig.because(id, "waits for device sw1, which ada has paused until "+TimeText(began.Add(hour))+": a fan is broken")
		rig.is(other, "succeeded")
		rig.pause(PauseDevice, "sw1", 28*minute, "a fan is replaced") // replaces it
		rig.because(id, "waits for device sw1, which ada has paused until "+TimeText(began.Add(30*minute))+": a fan is replaced")
		all, err := rig.e.Pauses(context.Background())
		if err != nil || len(all) != 1 || !all[0].Since.Equal(began) {
			rig.t.Errorf("Pauses: %+v, %v, want one since %v", all, err, began)
		}
		rig.sleep(10 * minute)
		rig.shutDown()
		rig.start()
		rig.sleep(hour)
		if at := rig.beganAt(id, Activate, 1); !at.Equal(began.Add(30 * minute)) {
			rig.t.Errorf("it began at %v, want %v", at, began.Add(30*minute))
		}

		rig.pause(PauseDevice, "sw1", hour, "")
		id = rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.is(id, "waiting")
		rig.shutDown()
		rig.sleep(2 * hour)
		rig.start()
		rig.sleep(2 * RetryPause)
		rig.is(id, "missed") // by then it is an hour late
		id = rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.sleep(minute)
		rig.is(id, "succeeded")
	})
}

// TestPauseKeepsNoOthers checks that what waits for a pause is in no queue.
func TestPauseKeepsNoOthers(t *testing.T) {
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("paused first: %v", first), func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				rig.script("1", Activate, long)
				rig.add(NewJob{Order: Order{Locks: []string{"x"}}}) // holds x
				if first {
					rig.pause(PauseDevice, "sw1", 0, "")
				}
				both := rig.add(NewJob{Order: Order{Locks: []string{"x", "sw1", "y"}}})
				if !first {
					rig.because(both, "waits for lock x, held by 1")
					rig.pause(PauseDevice, "sw1", 0, "")
				}
				rig.because(both, "waits for device sw1, which ada has paused")
				other := rig.add(NewJob{Order: Order{Locks: []string{"y"}}})
				rig.is(other, "activating")
				rig.resume(PauseDevice, "sw1")
				rig.because(both, "waits for lock x, held by 1")
			})
		})
	}
}

func TestPauseOfASource(t *testing.T) {
	bubble(t, func(s *Settings) { withSources(s, "a/b", "other") }, func(rig *testRig) {
		s, other := rig.source("a/b"), rig.source("other")
		s.says(slot("r1", minute, hour, "sw1"), slot("r2", 2*hour, 3*hour, "sw2"))
		other.says(slot("r3", minute, hour, "sw3"))
		rig.loads(3, 0, 0, 0)
		rig.pause(PauseSource, "a/b", 0, "its database is moved")
		rig.sleep(10 * minute)
		rig.is("r3", "active")
		rig.because("r1", "waits for source a/b, which ada has paused: its database is moved")
		rig.sleep(time.Until(rig.get("r1").End))
		rig.is("r1", "missed")
		rig.because("r1", "its slot ended while it waited for source a/b, which ada has paused: its database is moved")
		rig.sleep(90 * minute)
		rig.is("r2", "waiting")
		rig.resume(PauseSource, "a/b")
		rig.sleep(minute)
		rig.is("r2", "active")
		_, err := rig.e.Pause(context.Background(), admin, Pause{What: PauseSource, Name: "a"})
		if want := `there is no source "a": the configuration has a/b, other: not-found`; !errors.Is(err, fault.NotFound) || err.Error() != want {
			rig.t.Errorf("an unknown source: %v, want %s", err, want)
		}
	})
}

// TestPauseAndUndoing checks that what has begun is undone during a pause, and not begun again.
func TestPauseAndUndoing(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		s := rig.source("src")
		s.says(slot("up", 0, hour, "sw1"), slot("fails", 0, hour, "sw2"))
		rig.script("fails", Activate, script{lasts: time.Second, exit: 1}, script{lasts: time.Second})
		rig.load(announce.LoadOptions{})
		rig.sleep(5 * time.Second)
		rig.is("up", "active")
		rig.is("fails", "waiting") // for its second attempt
		rig.pause(PauseDaemon, "", 0, "")
		rig.sleep(minute)
		rig.because("fails", "waits for the daemon, which ada has paused")
		job := rig.add(NewJob{Order: Order{Locks: []string{"sw2"}}})
		rig.resume(PauseDaemon, "")
		rig.pause(PauseDevice, "sw1", 0, "")
		rig.pause(PauseDevice, "sw2", 0, "")
		rig.sleep(minute)
		rig.is("fails", "active")
		rig.because(job, "waits for device sw2, which ada has paused")
		rig.sleep(2 * hour)
		rig.is("up", "succeeded")
		rig.is("fails", "succeeded")
		rig.ranInAnyOrder("fails.activate.1 fails.activate.2 fails.deactivate.1 up.activate.1 up.deactivate.1")
	})
}

// TestPauseAtARetry: a reservation that began keeps its devices while its next attempt waits, and
// is undone at the end of its slot.
func TestPauseAtARetry(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		s := rig.source("src")
		s.says(slot("r", 0, hour, "sw1", "sw2"))
		rig.script("r", Activate, script{lasts: time.Second, exit: 1})
		rig.load(announce.LoadOptions{})
		rig.sleep(2 * time.Second)
		rig.pause(PauseDevice, "sw1", 0, "")
		rig.sleep(minute)
		rig.because("r", "waits for device sw1, which ada has paused")
		job := rig.add(NewJob{Order: Order{Locks: []string{"sw2"}}})
		rig.because(job, "waits for lock sw2, held by r")
		rig.sleep(time.Until(rig.get("r").End.Add(minute)))
		rig.is("r", "failed")
		rig.is(job, "succeeded")
		rig.ran("r.activate.1 r.deactivate.1 " + job + ".activate.1")
	})
}

// TestPauseAndMissed checks how late a job may begin because of a pause.
func TestPauseAndMissed(t *testing.T) {
	tests := []struct {
		name  string
		job   Order
		pause time.Duration
		want  string
	}{
		{"within missed_grace", Order{Missed: MissedRun}, 50 * minute, "succeeded"},
		{"later than missed_grace", Order{Missed: MissedRun}, 70 * minute, "missed"},
		{"skip, but late by less than a minute", Order{Missed: MissedSkip}, 50 * time.Second, "succeeded"},
		{"skip", Order{Missed: MissedSkip}, 70 * time.Second, "missed"},
		{"an at job may be late", Order{AtJob: &AtJob{Queue: "a"}, Missed: MissedRun}, 70 * minute, "succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				rig.set.MissedGrace = hour
				due := time.Now().Add(minute)
				id := rig.add(NewJob{Order: tt.job, At: due})
				rig.pause(PauseDaemon, "", minute+tt.pause, "maintenance")
				rig.sleep(2 * hour)
				rig.is(id, tt.want)
				if tt.want == "missed" {
					rig.because(id, "due at "+TimeText(due)+", but it waited for the daemon, which ada has paused until "+TimeText(due.Add(tt.pause))+": maintenance")
				}
			})
		})
	}
	t.Run("one that waited for something else before", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, script{lasts: 50 * minute})
			rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			id := rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			rig.sleep(30 * minute)
			rig.pause(PauseDaemon, "", hour, "")
			rig.sleep(70 * minute)
			rig.is(id, "succeeded") // the pause kept it for forty minutes only
		})
	})
}

// TestPauseAndRun: an operator's run does not begin what somebody has paused.
func TestPauseAndRun(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.pause(PauseDevice, "sw1", 0, "it is open")
		waits := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		later := rig.add(NewJob{At: time.Now().Add(hour), Order: Order{Locks: []string{"sw1"}}})
		for _, id := range []string{waits, later} {
			before := rig.get(id).State
			_, err := rig.e.Do(context.Background(), admin, id, RunNow, "")
			want := "cannot run: " + id + " is concerned by device sw1, which ada has paused: it is open; it can run after atctl resume device sw1: conflict"
			if !errors.Is(err, fault.Conflict) || err.Error() != want {
				rig.t.Errorf("Do(RunNow): %v, want %s", err, want)
			}
			rig.is(id, string(before))
		}
		rig.do(Hold, waits) // other verbs go on
		rig.resume(PauseDevice, "sw1")
		rig.do(RunNow, later)
		rig.sleep(minute)
		rig.is(later, "succeeded")
		rig.is(waits, "held")
	})
}

// TestPauseDisarms: an attempt that waits for its start time does not run yet.
func TestPauseDisarms(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead = minute }, func(rig *testRig) {
		due := time.Now().Add(hour)
		id := rig.add(NewJob{At: due, Order: Order{Locks: []string{"sw1"}}})
		other := rig.add(NewJob{At: due})
		rig.sleep(hour - 30*time.Second)
		rig.is(id, "activating")
		rig.pause(PauseDevice, "sw1", 0, "")
		rig.because(id, "waits for device sw1, which ada has paused")
		rig.sleep(minute)
		rig.is(other, "succeeded")
		rig.is(id, "waiting")
		rig.resume(PauseDevice, "sw1")
		rig.sleep(minute)
		rig.is(id, "succeeded")
	})
}

// TestPauseOfMany checks that the end of a pause wakes all, in order, with bounded turns, also if
// the daemon dies at any moment while it wakes them.
func TestPauseOfMany(t *testing.T) {
	const n = 300 // more than a turn looks at
	for _, calls := range []int{-1, 1, 3} {
		t.Run(fmt.Sprintf("dies after %d calls", calls), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.MaxParallel = 2 }, func(rig *testRig) {
				rig.pause(PauseDevice, "sw1", 0, "")
				jobs := slices.Repeat([]NewJob{{Order: Order{Argv: []string{"true"}, Locks: []string{"sw1:shared"}}}}, n)
				if _, err := rig.e.Add(context.Background(), admin, jobs); err != nil {
					rig.t.Fatal(err)
				}
				synctest.Wait()
				rig.m.dieAfter(calls)
				if _, err := rig.e.Resume(context.Background(), admin, PauseDevice, "sw1"); err != nil && !errors.Is(err, errDead) {
					rig.t.Fatal(err)
				}
				synctest.Wait()
				if calls >= 0 {
					rig.restart()
				}
				rig.sleep(n * time.Second)
				rig.sound()
				rig.w.mu.Lock()
				defer rig.w.mu.Unlock()
				ran := make(map[string]int)
				for _, k := range rig.w.order {
					ran[k.ID]++
				}
				for i := range n {
					if id := itoa(i + 1); ran[id] != 1 {
						rig.t.Errorf("%s has run %d times", id, ran[id])
					}
				}
			})
		})
	}
}

// TestPauseSurvivesADeath: what is in queues leaves them, also if the daemon dies before it has
// looked at them.
func TestPauseSurvivesADeath(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, long)
		rig.add(NewJob{Order: Order{Locks: []string{"x"}}})
		both := rig.add(NewJob{Order: Order{Locks: []string{"x", "y", "sw1"}}})
		rig.m.dieAfter(1) // the pause is durable, and nobody has looked at the others
		if _, err := rig.e.Pause(context.Background(), Actor{Name: "ada"}, Pause{What: PauseDevice, Name: "sw1"}); !errors.Is(err, errDead) {
			rig.t.Fatalf("Pause by a daemon that dies: %v", err)
		}
		rig.restart()
		rig.sleep(2 * RetryPause)
		rig.because(both, "waits for device sw1, which ada has paused")
		rig.is(rig.add(NewJob{Order: Order{Locks: []string{"y"}}}), "activating")
	})
}

func TestPauseRefusals(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		now := rig.now()
		tests := []struct {
			p    Pause
			want string
		}{
			{Pause{What: "lab"}, `"lab" cannot be paused: want daemon, source NAME, queue NAME or device NAME: invalid`},
			{Pause{What: PauseDaemon, Name: "x"}, `the daemon has no name here, such as "x": invalid`},
			{Pause{What: PauseSource, Name: "x"}, `there is no source "x": the configuration has none: not-found`},
			{Pause{What: PauseDevice, Name: "a/b"}, `device: "a/b" is not a name: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _: invalid`},
			{Pause{What: PauseDevice, Name: "sw1", Until: now}, "until: " + TimeText(now) + " is in the past: invalid"},
			{Pause{What: PauseDevice, Name: "sw1", Reason: strings.Repeat("x", 301)}, "reason: it has 301 bytes, at most 300 are possible: invalid"},
		}
		for _, tt := range tests {
			if _, err := rig.e.Pause(context.Background(), admin, tt.p); err == nil || err.Error() != tt.want {
				rig.t.Errorf("Pause(%+v): %v, want %s", tt.p, err, tt.want)
			}
		}
		resume := func(want string) {
			rig.t.Helper()
			if _, err := rig.e.Resume(context.Background(), admin, PauseDevice, "sw1"); !errors.Is(err, fault.Conflict) || err.Error() != want {
				rig.t.Errorf("Resume: %v, want %s", err, want)
			}
		}
		resume("device sw1 is not paused, and neither is anything else: conflict")
		rig.pause(PauseDevice, "sw2", 0, "")
		rig.pause(PauseDaemon, "", 0, "")
		resume("device sw1 is not paused; what is paused: the daemon, device sw2: conflict")
	})
}

// TestPauseEvents checks what the log of events says of pauses.
func TestPauseEvents(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		since := rig.newest()
		end := rig.at(hour)
		rig.pause(PauseDevice, "sw1", hour, "a fan is broken")
		rig.pause(PauseDaemon, "", 0, "")
		rig.resume(PauseDaemon, "")
		rig.sleep(2 * hour)
		var got []string
		for _, ev := range rig.eventsAfter(since) {
			by := "-"
			if ev.Actor != nil {
				by = ev.Actor.Name
			}
			got = append(got, strings.Join([]string{ev.Topic, ev.What, by, ev.Action, ev.Reason}, "|"))
		}
		want := []string{
			"device.sw1.paused|device.paused|ada|pause|device sw1 until " + end + ": a fan is broken",
			"daemon.paused|daemon.paused|ada|pause|the daemon",
			"daemon.resumed|daemon.resumed|eve|resume|the daemon, which ada had paused",
			"device.sw1.resumed|device.resumed|-||device sw1: its pause has ended",
		}
		if !slices.Equal(got, want) {
			rig.t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestPauseIsReported checks when Parts.Paused is called: at the start, and at each change.
func TestPauseIsReported(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		var mu sync.Mutex
		told := ""
		rig.paused = func(paused bool) {
			outsideOnly("a pause is reported")
			mu.Lock()
			defer mu.Unlock()
			told += map[bool]string{true: "paused ", false: "not "}[paused]
		}
		check := func(want string) {
			rig.t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if told != want {
				rig.t.Errorf("told: %q, want %q", told, want)
			}
			told = ""
		}
		rig.restart()
		check("not ")
		rig.pause(PauseDevice, "sw1", 0, "")
		check("")
		rig.pause(PauseDaemon, "", hour, "")
		check("paused ")
		rig.restart()
		check("paused ")
		rig.sleep(hour)
		check("not ")
		rig.pause(PauseDaemon, "", 0, "")
		rig.resume(PauseDaemon, "")
		check("paused not ")
	})
}
