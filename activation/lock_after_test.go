package activation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"

	"activationd/internal/fault"
)

// In a queue the highest priority is first, regardless of arrival. Running activations
// are not disturbed.
func TestPriority(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1 }, func(rig *testRig) {
		rig.add(NewJob{})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Priority: -1}})
		rig.add(NewJob{})
		rig.add(NewJob{Order: Order{Priority: 5}})
		rig.add(NewJob{Order: Order{Priority: 5}})
		rig.add(NewJob{Order: Order{Priority: 6}})
		rig.sleep(minute)
		rig.ran("1.activate.1 6.activate.1 4.activate.1 5.activate.1 3.activate.1 2.activate.1")
	})
}

// Of several that become due at one time, the highest priority starts first.
func TestPriorityAtOneInstant(t *testing.T) {
	for name, locks := range map[string][]string{"slot": nil, "lock": {"a"}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *Settings) {
				if locks == nil {
					s.MaxParallel = 1
				}
			}, func(rig *testRig) {
				at := time.Now().Add(hour)
				rig.add(NewJob{At: at, Order: Order{Locks: locks}})
				rig.add(NewJob{At: at, Order: Order{Locks: locks, Priority: -2}})
				rig.add(NewJob{At: at, Order: Order{Locks: locks, Priority: 2}})
				rig.sleep(2 * hour)
				rig.ran("3.activate.1 1.activate.1 2.activate.1")
			})
		})
	}
}

func TestSharedLock(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.add(NewJob{Order: Order{Locks: []string{"a:shared"}}})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Locks: []string{"a:shared"}}})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Locks: []string{"a:shared"}}})
		rig.add(NewJob{Order: Order{Locks: []string{"a:shared"}}})
		rig.sleep(time.Millisecond)
		rig.is("2", "activating")
		rig.because("3", "waits for lock a, held by 1, 2")
		rig.is("4", "waiting") // or the third would wait forever
		rig.because("4", "waits for lock a:shared, next for 3")
		uses, err := rig.e.Locks(context.Background())
		if err != nil || len(uses) != 5 {
			t.Fatalf("%+v, %v", uses, err)
		}
		for _, g := range uses {
			if want := map[string]string{"3": "1 2", "4": "3", "5": "3"}[g.ID]; strings.Join(g.WaitsFor, " ") != want {
				t.Errorf("%s waits for %q, want %q", g.ID, g.WaitsFor, want)
			}
		}
		rig.sleep(1500 * time.Millisecond)
		rig.is("3", "activating")
		rig.sleep(time.Second)
		rig.is("4", "activating")
		rig.is("5", "activating")
		rig.sleep(minute)
		rig.ranInAnyOrder("1.activate.1 2.activate.1 3.activate.1 4.activate.1 5.activate.1")
	})
}

func TestCountedLock(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, long)
		rig.add(NewJob{Order: Order{Locks: []string{"net=1/4"}}})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Locks: []string{"net=3/4"}}})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Locks: []string{"net=2/4"}}})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Locks: []string{"net=1/2"}}})
		rig.sleep(time.Millisecond)
		rig.is("2", "activating")
		rig.because("3", "waits for lock net=2/4, held by 1, 2")
		uses, err := rig.e.Locks(context.Background())
		if err != nil {
			rig.t.Fatal(err)
		}
		var lines []string
		for _, g := range uses {
			line := g.ID + " " + g.Request
			if g.Waiting {
				line += " for " + strings.Join(g.WaitsFor, "+")
			}
			lines = append(lines, line)
		}
		if got, want := strings.Join(lines, "; "), "1 net=1/4; 2 net=3/4; 3 net=2/4 for 1+2; 4 net=1/2 for 1+2"; got != want {
			rig.t.Errorf("locks: %s, want %s", got, want)
		}
		rig.sleep(time.Second) // the second has ended
		rig.is("3", "activating")
		rig.because("4", "waits for lock net=1/2, held by 1, 3") // which have all of its capacity
		rig.sleep(time.Second)
		rig.is("4", "activating")
	})
}

func TestAfter(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("2", Activate, script{lasts: 2 * time.Second, exit: 1})
		rig.add(NewJob{})
		rig.add(NewJob{})
		for _, after := range []string{"1", "1:failure", "1:any", "2:success", "2:failure", "2:any"} {
			rig.add(NewJob{Order: Order{After: []string{after}}})
		}
		rig.add(NewJob{Order: Order{After: []string{"3", "7"}}})
		rig.sleep(500 * time.Millisecond)
		rig.is("3", "waiting")
		rig.because("3", "waits for the end of 1, which is running")
		rig.sleep(minute)
		rig.ranInAnyOrder("1.activate.1 2.activate.1 3.activate.1 5.activate.1 7.activate.1 8.activate.1 9.activate.1")
		rig.is("4", "cancelled")
		rig.because("4", "it was to run after a failure of 1, which has succeeded")
		rig.is("6", "cancelled")
		rig.because("6", "it was to run after the success of 2, which has failed: exited with status 1")

		added, err := rig.e.Add(context.Background(), admin, []NewJob{{Order: Order{Argv: []string{"true"}, After: []string{"77"}}}})
		if err != nil || !errors.Is(added[0].Err, fault.NotFound) {
			rig.t.Errorf("after an unknown id: %+v, %v", added, err)
		}
	})
}

// An activation is kept as long as a job is to run after it.
func TestAfterIsKept(t *testing.T) {
	bubble(t, func(s *Settings) { s.HistoryAge = hour; s.HistoryCount = 1 }, func(rig *testRig) {
		rig.add(NewJob{})
		rig.sleep(2 * time.Second)
		rig.add(NewJob{At: time.Now().Add(100 * hour), Order: Order{After: []string{"1"}}})
		rig.sleep(101 * hour)
		rig.ran("1.activate.1 2.activate.1")
		rig.sleep(48 * hour)
		if _, err := rig.e.Get(context.Background(), "1"); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("1 is kept although no job waits for it: %v", err)
		}
	})
}

// A job that runs after a job of another owner reveals nothing of it that its own owner
// may not see.
func TestAfterAnothers(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.add(NewJob{Order: Order{Owner: "root"}, Hold: true})
		rig.add(NewJob{Order: Order{Owner: "eve", After: []string{"1"}}})
		rig.add(NewJob{Order: Order{Owner: "root", After: []string{"1"}}})
		if _, err := rig.e.Do(context.Background(), admin, "1", Cancel, "a secret"); err != nil {
			t.Fatal(err)
		}
		rig.sleep(time.Second)
		rig.because("2", "it was to run after the success of 1, which was cancelled")
		if why := rig.get("3").Reason; !strings.Contains(why, "a secret") {
			t.Errorf("its owner reads %q", why)
		}
		// A job has one id only.
		added, err := rig.e.Add(context.Background(), admin, []NewJob{{Order: Order{Owner: "ada", Argv: []string{"true"}, After: []string{"01:any"}}}})
		if err != nil || !errors.Is(added[0].Err, fault.NotFound) {
			t.Errorf("after 01: %+v, %v", added, err)
		}
		if _, err := rig.e.Wait(context.Background(), "01"); !errors.Is(err, fault.NotFound) {
			t.Errorf("wait 01: %v", err)
		}
	})
}

// A chain of jobs that fails gives each the reason of the one before, but not longer and
// longer ones.
func TestChainOfReasons(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		id := rig.add(NewJob{Hold: true})
		for range 50 {
			id = rig.add(NewJob{Order: Order{After: []string{id}}})
		}
		rig.do(Cancel, "1")
		rig.sleep(time.Second)
		rig.is(id, "cancelled")
		if why := rig.get(id).Reason; len(why) > 300 || !strings.HasPrefix(why, "it was to run after the success of 50, which was cancelled: it was") {
			t.Errorf("%d bytes: %s", len(why), why)
		}
	})
}

// If the daemon dies between the end of one job and the start of the job after it, the
// next daemon starts that.
func TestAfterADeath(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.add(NewJob{Hold: true})
		rig.add(NewJob{Order: Order{After: []string{"1:any"}}})
		rig.sleep(time.Second)
		rig.shutDown()
		rig.do(Cancel, "1")
		rig.restart()
		rig.sleep(minute)
		rig.ran("2.activate.1")
	})
}

func TestDeadline(t *testing.T) {
	t.Run("missed while it waits", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, long)
			rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			rig.add(NewJob{Order: Order{Locks: []string{"a"}, Deadline: time.Now().Add(minute)}})
			rig.add(NewJob{Hold: true, Order: Order{Deadline: time.Now().Add(minute)}})
			rig.sleep(minute)
			rig.is("2", "missed")
			rig.because("2", "its deadline passed at "+TimeText(time.Now())+", and it had not begun: it was waiting: waits for lock a, held by 1")
			rig.is("3", "missed")
			rig.because("3", "its deadline passed at "+TimeText(time.Now())+", and it had not begun: it was held: added on hold")
		})
	})
	t.Run("stopped by it", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, script{hangs: true})
			rig.add(NewJob{At: time.Now().Add(minute), Order: Order{Deadline: time.Now().Add(3 * minute)}})
			rig.sleep(3*minute - 1)
			rig.is("1", "activating")
			rig.sleep(minute)
			rig.is("1", "timed_out")
			if got := rig.get("1").Since.Sub(rig.beganAt("1", Activate, 1)); got != 2*minute {
				rig.t.Errorf("stopped after %v", got)
			}
		})
	})
	t.Run("stopped by it with tries left", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, script{hangs: true})
			rig.add(NewJob{Order: Order{Deadline: time.Now().Add(minute), Retries: new(5), Backoff: new(time.Duration)}})
			rig.sleep(2 * minute)
			rig.is("1", "timed_out")
			rig.because("1", "ran into its timeout: its deadline has come")
			rig.ran("1.activate.1")
		})
	})
	t.Run("nothing to retry after it", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, fails)
			rig.add(NewJob{Order: Order{Deadline: time.Now().Add(minute)}})
			rig.sleep(10 * time.Second)
			rig.do(Retry, "1") // there is time left
			rig.sleep(minute)
			rig.is("1", "failed")
			_, err := rig.e.Do(context.Background(), admin, "1", Retry, "")
			if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "its deadline passed at") {
				rig.t.Errorf("retry after the deadline: %v, want a conflict that names it", err)
			}
			rig.sleep(minute)
			rig.is("1", "failed")
			rig.ran("1.activate.1 1.activate.2")
		})
	})
	t.Run("missed while it waits for another's end", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.add(NewJob{Hold: true})
			rig.add(NewJob{Order: Order{After: []string{"1"}, Deadline: time.Now().Add(minute)}})
			rig.do(RunNow, "2")
			rig.sleep(minute)
			rig.is("2", "missed")
			rig.because("2", "its deadline passed at "+TimeText(time.Now())+", and it had not begun: it was waiting: waits for the end of 1, which is held")
		})
	})
	t.Run("no further try after it", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.Jobs.Retries = 5 }, func(rig *testRig) {
			rig.script("1", Activate, fails)
			rig.add(NewJob{Order: Order{Deadline: time.Now().Add(15 * time.Second), Backoff: new(8 * time.Second)}})
			rig.sleep(15 * time.Second)
			rig.is("1", "failed")
			rig.ran("1.activate.1 1.activate.2")
		})
	})
}

func TestEdit(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, long)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(time.Millisecond)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}, Label: "x"}})
		rig.add(NewJob{At: time.Now().Add(hour), Order: Order{Retries: new(2)}})
		rig.sleep(time.Millisecond)
		edit := func(by Actor, id string, change func(*NewJob)) error {
			_, err := rig.e.Edit(context.Background(), by, id, func(j *NewJob, _ time.Time) error {
				change(j)
				return nil
			})
			return err
		}
		if err := edit(admin, "2", func(j *NewJob) { j.Label = "y" }); err != nil {
			rig.t.Error(err)
		}
		rig.is("2", "waiting") // in its place in the queue
		if err := edit(admin, "2", func(j *NewJob) { j.Locks = nil }); err != nil {
			rig.t.Error(err)
		}
		rig.sleep(time.Millisecond)
		rig.is("2", "activating")
		if got := rig.get("2"); got.Label != "y" {
			rig.t.Errorf("label %q", got.Label)
		}
		if err := edit(admin, "3", func(j *NewJob) { j.At = time.Now().Add(minute) }); err != nil {
			rig.t.Error(err)
		}
		rig.sleep(minute)
		rig.is("3", "activating")
		if got := rig.get("3"); got.Record.Retries == nil || *got.Record.Retries != 2 {
			rig.t.Errorf("retries %v", got.Record.Retries)
		}
		for _, tt := range []struct {
			by   Actor
			id   string
			to   func(*NewJob)
			want error
		}{
			{admin, "1", func(*NewJob) {}, fault.Conflict},
			{admin, "99", func(*NewJob) {}, fault.NotFound},
		} {
			if err := edit(tt.by, tt.id, tt.to); !errors.Is(err, tt.want) {
				rig.t.Errorf("%s: %v, want %v", tt.id, err, tt.want)
			}
		}
		id := rig.add(NewJob{Order: Order{Owner: "ada"}, At: time.Now().Add(hour)})
		if err := edit(Actor{Name: "eve", UID: 1001, OnlyOwn: true}, id, func(*NewJob) {}); !errors.Is(err, fault.Denied) {
			rig.t.Errorf("the job of another owner: %v", err)
		}
		if err := edit(admin, id, func(j *NewJob) { j.At = time.Now().Add(-hour) }); !errors.Is(err, fault.Invalid) {
			rig.t.Errorf("into the past: %v", err)
		}
		if err := edit(admin, id, func(j *NewJob) { j.Deadline = time.Now().Add(minute) }); !errors.Is(err, fault.Invalid) {
			rig.t.Errorf("a deadline before its start: %v", err)
		}
	})
}

// The jobs of a recurrence do not run at once, even if their own locks are changed.
func TestEditOfARecurrencesJob(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, long)
		if _, err := rig.book.Add(context.Background(), admin, recurring.Rule{Name: "m", Cron: "* * * * *", Overlap: recurring.OverlapQueue, Job: NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}}}}); err != nil {
			rig.t.Fatal(err)
		}
		rig.sleep(150 * time.Second)
		rig.is("2", "waiting")
		if _, err := rig.e.Edit(context.Background(), admin, "2", func(j *NewJob, _ time.Time) error { j.Locks = nil; return nil }); err != nil {
			rig.t.Fatal(err)
		}
		rig.sleep(time.Second)
		rig.is("2", "waiting")
	})
}

// A new recurrence with the name of a removed one of another owner does not cancel that
// one's running jobs. Nobody else can get its lock.
func TestNamesakes(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx := context.Background()
		rule := func(owner string) recurring.Rule {
			return recurring.Rule{Name: "m", Cron: "* * * * *", Overlap: recurring.OverlapReplace, Job: NewJob{Order: Order{Owner: owner, Argv: []string{"true"}}}}
		}
		rig.script("1", Activate, long)
		if _, err := rig.book.Add(ctx, admin, rule("root")); err != nil {
			rig.t.Fatal(err)
		}
		rig.sleep(minute)
		rig.is("1", "activating")
		if err := rig.book.Remove(ctx, admin, "m"); err != nil {
			rig.t.Fatal(err)
		}
		if _, err := rig.book.Add(ctx, admin, rule("eve")); !errors.Is(err, fault.Conflict) {
			rig.t.Errorf("the name of another owner: %v", err)
		}
		if _, err := rig.book.Add(ctx, admin, rule("root")); err != nil {
			rig.t.Errorf("the first owner's own name again: %v", err)
		}
		if err := rig.book.Remove(ctx, admin, "m"); err != nil {
			rig.t.Fatal(err)
		}
		rig.declare(rule("ops"))
		if rep, err := rig.loader.Load(ctx, announce.LoadOptions{}); err != nil || rep.Rejected != 1 {
			rig.t.Errorf("declared: %s, %v", rep.Summary(), err)
		}
		rig.do(Cancel, "1")
		rig.sleep(minute)
		if rep, err := rig.loader.Load(ctx, announce.LoadOptions{}); err != nil || rep.Added != 1 {
			rig.t.Errorf("declared, when it has ended: %s, %v", rep.Summary(), err)
		}
		added, err := rig.e.Add(ctx, admin, []NewJob{{Order: Order{Owner: "eve", Argv: []string{"true"}, Locks: []string{"every.m"}}}})
		if err != nil || !errors.Is(added[0].Err, fault.Invalid) {
			rig.t.Errorf("its lock: %+v, %v", added, err)
		}
	})
}

func TestProgress(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, fails, long)
		id := rig.add(NewJob{Order: Order{Owner: "ada", User: &Identity{UID: 7}, Retries: new(1)}})
		rig.sleep(time.Millisecond)
		tell := func(by Actor, percent int) error {
			return rig.e.Progress(context.Background(), by, id, Progress{Percent: percent, Text: "so far"})
		}
		if err := tell(Actor{Name: "eve", UID: 8, OnlyOwn: true}, 1); !errors.Is(err, fault.Denied) {
			rig.t.Errorf("the job of another owner: %v", err)
		}
		if err := tell(Actor{Name: "seven", UID: 7, OnlyOwn: true}, 101); !errors.Is(err, fault.Invalid) {
			rig.t.Errorf("101 %%: %v", err)
		}
		if err := tell(Actor{Name: "seven", UID: 7, OnlyOwn: true}, 40); err != nil {
			rig.t.Error(err)
		}
		if p := rig.get(id).Progress; p == nil || p.String() != "40 % so far" {
			rig.t.Errorf("progress %v", p)
		}
		rig.sleep(2 * minute)
		if p := rig.get(id).Progress; p != nil {
			rig.t.Errorf("the second attempt has the first one's progress, %v", p)
		}
		rig.do(Cancel, id)
		rig.sleep(minute)
		if err := tell(admin, 50); !errors.Is(err, fault.Conflict) {
			rig.t.Errorf("of a job that does not run: %v", err)
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Settings)
		want int
	}{
		"by count": {func(s *Settings) { s.HistoryCount = 3 }, 3},
		"by bytes": {func(s *Settings) { s.HistoryBytes = 4 * 4096 }, 4}, // each run leaves 4096
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tt.set, func(rig *testRig) {
				for range 10 {
					rig.add(NewJob{})
				}
				rig.sleep(30 * time.Second)
				rig.is("1", "succeeded") // it can be read for a minute at least
				rig.sleep(minute)
				n := 0
				err := rig.e.List(context.Background(), Filter{Finished: true}, func(View) error { n++; return nil })
				if err != nil || n != tt.want {
					rig.t.Errorf("%d are kept, want %d; %v", n, tt.want, err)
				}
			})
		})
	}
}

func TestTags(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.add(NewJob{Order: Order{Tags: []string{"b", "a", "b"}}, Hold: true})
		rig.add(NewJob{Order: Order{Tags: []string{"a"}}, Hold: true})
		var ids []string
		err := rig.e.List(context.Background(), Filter{Tags: []string{"a", "b"}}, func(v View) error {
			ids = append(ids, v.ID+" "+strings.Join(v.Tags, ","))
			return nil
		})
		if err != nil || strings.Join(ids, "; ") != "1 a,b" {
			rig.t.Errorf("%v, %v", ids, err)
		}
	})
}
