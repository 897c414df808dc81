package activation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"
	"activationd/event"
	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

func TestWait(t *testing.T) {
	wait := func(rig *testRig, id string) chan View {
		got := make(chan View, 1)
		go func() {
			v, err := rig.e.Wait(context.Background(), id)
			if err != nil {
				rig.t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		return got
	}
	t.Run("for the end", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{At: time.Now().Add(hour)})
			got := wait(rig, id)
			rig.sleep(2 * hour)
			if v := <-got; v.Outcome != Succeeded {
				rig.t.Errorf("Wait: %s", v.Outcome)
			}
			if v := <-wait(rig, id); v.Outcome != Succeeded {
				rig.t.Errorf("Wait for a finished job: %s", v.Outcome)
			}
		})
	})
	// The end may be among events that were pruned before the waiting client read them.
	t.Run("and misses it", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{At: time.Now().Add(hour)})
			got := wait(rig, id)
			ctx := context.Background()
			if err := rig.e.CancelUnseen(ctx, id); err != nil {
				rig.t.Fatal(err)
			}
			if _, err := rig.e.Events().Prune(ctx, event.Retention{Since: time.Now().Add(hour)}); err != nil {
				rig.t.Fatal(err)
			}
			err := rig.e.Update(ctx, func(t *Txn) error { t.Emit(event.Event{ID: "another"}); return nil })
			if err != nil {
				rig.t.Fatal(err)
			}
			rig.e.Poke()
			synctest.Wait()
			if v := <-got; v.Outcome != Cancelled {
				rig.t.Errorf("Wait: %s", v.Outcome)
			}
		})
	})
}

// eventsAfter lists the events after a number.
func (rig *testRig) eventsAfter(after uint64) (all []*event.Event) {
	rig.t.Helper()
	for {
		page, err := rig.e.Events().Read(context.Background(), after)
		if err != nil {
			rig.t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all, after = append(all, page...), page[len(page)-1].Seq
	}
}

// happened lists the events after since that have ids.
func (rig *testRig) happened(since uint64) (events []string) {
	rig.t.Helper()
	for _, ev := range rig.eventsAfter(since) {
		events = append(events, strings.TrimSpace(ev.What+" "+ev.ID+" "+ev.State))
	}
	return events
}

func TestEvents(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		since := rig.newest()
		rig.add(NewJob{})
		rig.sleep(minute)
		want := []string{
			"state 1 scheduled", "state 1 waiting", "state 1 activating", "attempt.started 1 activating",
			"attempt.ended 1 activating", "state 1 finished",
		}
		if got := rig.happened(since); !slices.Equal(got, want) {
			rig.t.Errorf("happened: %q, want %q", got, want)
		}
	})
}

// Each change has one event: also the end of an attempt that leaves the state as it was, and
// the beginning of a deactivation.
func TestOneEventForEachChange(t *testing.T) {
	once := func(name string, script script, do func(rig *testRig, src *fakeSource), want ...string) {
		t.Run(name, func(t *testing.T) {
			announced(t, nil, one(hour, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
				rig.script("r1", Deactivate, script)
				since := rig.newest()
				do(rig, src)
				rig.sleep(10 * hour)
				var got []string
				for _, ev := range rig.eventsAfter(since) {
					got = append(got, strings.TrimPrefix(ev.Topic, "activation.r1.")+": "+ev.Reason)
				}
				if !slices.Equal(got, want) {
					t.Errorf("happened: %.2000q\nwant: %.2000q", got, want)
				}
			})
		})
	}
	up := []string{
		"waiting: ", "activating: ", "attempt.started: activate attempt 1", "attempt.ended: activate attempt 1 exited with status 0", "active: ",
	}
	once("the slot ends", script{}, func(*testRig, *fakeSource) {}, append(up,
		"deactivating: the slot has ended", "attempt.started: deactivate attempt 1",
		"attempt.ended: deactivate attempt 1 exited with status 0", "finished: the slot has ended")...)
	once("it cannot be undone", script{exit: 1}, func(*testRig, *fakeSource) {}, append(up,
		"deactivating: the slot has ended", "attempt.started: deactivate attempt 1", "attempt.ended: deactivate attempt 1 exited with status 1",
		"attempt.started: deactivate attempt 2", "attempt.ended: deactivate attempt 2 exited with status 1",
		"attempt.started: deactivate attempt 3", "attempt.ended: deactivate attempt 3 exited with status 1",
		"stuck: deactivate attempt 3 exited with status 1")...)
	once("it is cancelled while its script runs", script{}, func(rig *testRig, _ *fakeSource) {
		rig.script("r1", Activate, long)
		rig.sleep(hour + minute)
		rig.do(Cancel, "r1")
	}, append(slices.Clone(up[:3]), "activating: cancelled by root", "attempt.ended: activate attempt 1 was stopped",
		"deactivating: cancelled by root", "attempt.started: deactivate attempt 1",
		"attempt.ended: deactivate attempt 1 exited with status 0", "finished: cancelled by root")...)
}

// A reader that remembers a number continues from there with the next daemon: numbers
// rise, and no event comes twice.
func TestEventsAfterARestart(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		since := rig.newest()
		rig.script("1", Activate, long)
		id := rig.add(NewJob{})
		before := rig.eventsAfter(since)
		rig.m.dieAfter(0)
		rig.restart()
		if again := rig.eventsAfter(since); len(again) != len(before) || again[0].Seq != before[0].Seq || again[0].Topic != before[0].Topic {
			rig.t.Errorf("events before and after the restart: %v, %v", before, again)
		}
		last := before[len(before)-1].Seq
		rig.sleep(2 * hour)
		rig.is(id, "succeeded")
		after := rig.eventsAfter(last)
		if len(after) != 2 || after[0].What != "attempt.ended" || after[1].Topic != "activation.1.finished" || after[0].Seq <= last || after[1].Seq <= after[0].Seq {
			rig.t.Errorf("after %d: %v", last, after)
		}
	})
}

// The end of an attempt is described in fields, for programs.
func TestEventOfAnEnd(t *testing.T) {
	for _, tt := range []struct {
		script script
		want   event.Event
	}{
		{script{}, event.Event{Result: wrapper.Exited, Exit: new(0)}},
		{script{exit: 3}, event.Event{Result: wrapper.Exited, Exit: new(3), Failed: true}},
	} {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, tt.script)
			id := rig.add(NewJob{})
			rig.sleep(minute)
			for _, ev := range rig.eventsAfter(0) {
				if ev.What != "attempt.ended" {
					continue
				}
				want := tt.want
				if ev.ID != id || ev.Kind != "job" || ev.Owner != "ada" || ev.Phase != Activate || ev.Attempt != 1 || ev.Host != "lab1" ||
					ev.Result != want.Result || *ev.Exit != *want.Exit || ev.Signal != "" || ev.Failed != want.Failed ||
					ev.Topic != "activation."+id+".attempt.ended" {
					rig.t.Errorf("the event is %+v, want %+v", ev, want)
				}
			}
		})
	}
	a := Attempt{Result: wrapper.Result{Reason: wrapper.Exited, Exit: -1, Signal: 9}}
	if ev := a.Event(""); ev.Exit != nil || ev.Signal != "KILL" || !ev.Failed {
		t.Errorf("the event of an attempt that was killed is %+v", ev)
	}
	a = Attempt{Result: wrapper.Result{Reason: wrapper.Lost, Exit: -1}}
	if ev := a.Event(""); ev.Exit != nil || ev.Result != wrapper.Lost {
		t.Errorf("the event of an attempt that was lost is %+v", ev)
	}
}

// kept counts the events in the store.
func (rig *testRig) kept() (n int) {
	for _, ev := range rig.eventsAfter(0) {
		if ev.What != event.Gap {
			n++
		}
	}
	return n
}

// Events are kept as long, and as many, as the settings say. A client that asks for older
// ones is informed that they were removed.
func TestEventsAreBounded(t *testing.T) {
	const together = 2 // events of one job that are stored as one entry
	t.Run("by number", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.EventsCount = 80 }, func(rig *testRig) {
			for range 100 {
				rig.add(NewJob{})
				rig.sleep(minute)
			}
			rig.restart() // without those in memory
			if n := rig.kept(); n < 80 || n > 90+together {
				rig.t.Errorf("%d events are kept, want 80, or up to an eighth more", n)
			}
			if first := rig.eventsAfter(1)[0]; first.What != event.Gap || first.From != 2 || first.Seq == 0 {
				rig.t.Errorf("the first is %+v, want a gap", first)
			}
			set := *rig.e.Settings()
			set.EventsCount = 7
			rig.e.Configure(set)
			synctest.Wait()
			rig.restart()
			if n := rig.kept(); n < 7 || n > 7+together {
				rig.t.Errorf("%d events are kept under the new settings, want 7", n)
			}
		})
	})
	t.Run("by age", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.EventsAge = 10 * hour }, func(rig *testRig) {
			rig.add(NewJob{})
			rig.sleep(9 * hour)
			if n := rig.kept(); n != 6 {
				rig.t.Errorf("%d events are kept, want 6", n)
			}
			rig.sleep(2 * hour)
			rig.restart()
			if n := rig.kept(); n != 0 {
				rig.t.Errorf("%d events are kept too long", n)
			}
		})
	})
}

// Each change that a client requested names the client. A change that follows from it, or
// from the clock, names nobody.
func TestEventsNameTheirActor(t *testing.T) {
	pools := func(s *Settings) {
		s.Pools = vlanstore.Pools{"e": {Domain: "e", Ranges: []vlanstore.Range{{First: 100, Last: 110}}}}
	}
	ctx := context.Background()
	do := func(on Trigger) func(*testRig, string) error {
		return func(rig *testRig, id string) error { _, err := rig.e.Do(ctx, olga, id, on, ""); return err }
	}
	rule := recurring.Rule{Name: "m", Cron: "0 5 * * *", Job: NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}}}}
	for act, asked := range map[string]func(rig *testRig, id string) error{
		"activation.1.held hold": do(Hold),
		"activation.1.edited edit": func(rig *testRig, id string) error {
			_, err := rig.e.Edit(ctx, olga, id, func(j *NewJob, _ time.Time) error { j.Label = "x"; return nil })
			return err
		},
		"activation.1.waiting run": do(RunNow),
		"activation.2.scheduled add": func(rig *testRig, _ string) error {
			_, err := rig.e.Add(ctx, olga, []NewJob{{Order: Order{Argv: []string{"true"}}}})
			return err
		},
		"activation.r1.topology.attached linkconf": func(rig *testRig, _ string) error { return rig.e.Link(ctx, olga, "r1", []byte("sw1")) },
		"load reload": func(rig *testRig, _ string) error {
			_, err := rig.loader.Load(ctx, announce.LoadOptions{By: olga})
			return err
		},
		"daemon.stopping stop":         func(rig *testRig, _ string) error { rig.e.NoteStop(ctx, olga, true); return nil },
		"recurrence.m.added every add": func(rig *testRig, _ string) error { _, err := rig.book.Add(ctx, olga, rule); return err },
		"recurrence.m.held every hold": func(rig *testRig, _ string) error {
			_, err1 := rig.book.Add(ctx, olga, rule)
			_, err2 := rig.book.Hold(ctx, olga, "m")
			return errors.Join(err1, err2)
		},
		"vlan.e.100.leased vlan alloc": func(rig *testRig, id string) error {
			_, err := rig.e.Lease(ctx, olga, id, []vlanstore.Want{{Domain: "e", Link: "a"}})
			return err
		},
		"vlan.e.105.quarantined vlan quarantine": func(rig *testRig, _ string) error {
			_, err := rig.e.QuarantineVLAN(ctx, olga, "e", 105, "broken")
			return err
		},
	} {
		topic, action, _ := strings.Cut(act, " ")
		t.Run(topic, func(t *testing.T) {
			bubble(t, pools, func(rig *testRig) {
				id := rig.add(NewJob{At: time.Now().Add(hour)})
				since := rig.newest()
				if err := asked(rig, id); err != nil {
					t.Fatal(err)
				}
				rig.sleep(2 * hour)
				found := false
				for _, ev := range rig.eventsAfter(since) {
					switch {
					case ev.Topic == topic:
						found = true
						if ev.Actor == nil || *ev.Actor != (event.Actor{Kind: "token", Name: "olga", Role: "operator"}) {
							t.Errorf("%s names the actor %v", topic, ev.Actor)
						}
						if ev.Action != action {
							t.Errorf("%s has the action %q, want %q", topic, ev.Action, action)
						}
					case ev.What == "attempt.started" && ev.Actor != nil:
						t.Errorf("%s names the actor %v, want none", ev.Topic, ev.Actor)
					}
				}
				if !found {
					t.Errorf("there is no event %s: %q", topic, rig.happened(since))
				}
			})
		})
	}
}
