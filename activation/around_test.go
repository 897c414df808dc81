package activation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// In a line the highest priority goes first, whoever came before; what runs is
// not disturbed.
func TestPriority(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1 }, func(l *lab) {
		l.add(NewJob{})
		l.sleep(time.Millisecond)
		l.add(NewJob{Priority: -1})
		l.add(NewJob{})
		l.add(NewJob{Priority: 5})
		l.add(NewJob{Priority: 5})
		l.add(NewJob{Priority: 6})
		l.sleep(minute)
		l.ran("1.activate.1 6.activate.1 4.activate.1 5.activate.1 3.activate.1 2.activate.1")
	})
}

// Of those who become due at one instant, the highest priority goes first.
func TestPriorityAtOneInstant(t *testing.T) {
	for name, locks := range map[string][]string{"slot": nil, "lock": {"a"}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *Settings) {
				if locks == nil {
					s.MaxParallel = 1
				}
			}, func(l *lab) {
				at := time.Now().Add(hour)
				l.add(NewJob{At: at, Locks: locks})
				l.add(NewJob{At: at, Locks: locks, Priority: -2})
				l.add(NewJob{At: at, Locks: locks, Priority: 2})
				l.sleep(2 * hour)
				l.ran("3.activate.1 1.activate.1 2.activate.1")
			})
		})
	}
}

func TestSharedLock(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.add(NewJob{Locks: []string{"a:shared"}})
		l.sleep(time.Millisecond)
		l.add(NewJob{Locks: []string{"a:shared"}})
		l.sleep(time.Millisecond)
		l.add(NewJob{Locks: []string{"a"}})
		l.sleep(time.Millisecond)
		l.add(NewJob{Locks: []string{"a:shared"}})
		l.add(NewJob{Locks: []string{"a:shared"}})
		l.sleep(time.Millisecond)
		l.is("2", "activating")
		l.because("3", "waits for lock a, held by 1, 2")
		l.is("4", "waiting") // or the third would wait for ever
		l.because("4", "waits for lock a:shared, next for 3")
		grips, err := l.e.Locks(context.Background())
		if err != nil || len(grips) != 5 {
			t.Fatalf("%+v, %v", grips, err)
		}
		for _, g := range grips {
			if want := map[string]string{"3": "1 2", "4": "3", "5": "3"}[g.ID]; strings.Join(g.For, " ") != want {
				t.Errorf("%s waits for %q, want %q", g.ID, g.For, want)
			}
		}
		l.sleep(1500 * time.Millisecond)
		l.is("3", "activating")
		l.sleep(time.Second)
		l.is("4", "activating")
		l.is("5", "activating")
		l.sleep(minute)
		l.ranInAnyOrder("1.activate.1 2.activate.1 3.activate.1 4.activate.1 5.activate.1")
	})
}

func TestCountedLock(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, long)
		l.add(NewJob{Locks: []string{"net=1/4"}})
		l.sleep(time.Millisecond)
		l.add(NewJob{Locks: []string{"net=3/4"}})
		l.sleep(time.Millisecond)
		l.add(NewJob{Locks: []string{"net=2/4"}})
		l.sleep(time.Millisecond)
		l.add(NewJob{Locks: []string{"net=1/2"}})
		l.sleep(time.Millisecond)
		l.is("2", "activating")
		l.because("3", "waits for lock net=2/4, held by 1, 2")
		grips, err := l.e.Locks(context.Background())
		if err != nil {
			l.t.Fatal(err)
		}
		var lines []string
		for _, g := range grips {
			line := g.ID + " " + g.Want
			if g.Waiting {
				line += " for " + strings.Join(g.For, "+")
			}
			lines = append(lines, line)
		}
		if got, want := strings.Join(lines, "; "), "1 net=1/4; 2 net=3/4; 3 net=2/4 for 1+2; 4 net=1/2 for 1+2"; got != want {
			l.t.Errorf("locks: %s, want %s", got, want)
		}
		l.sleep(time.Second) // the second has ended
		l.is("3", "activating")
		l.because("4", "waits for lock net=1/2, held by 1, 3") // of whose capacity nothing is left
		l.sleep(time.Second)
		l.is("4", "activating")
	})
}

func TestAfter(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("2", Activate, script{lasts: 2 * time.Second, exit: 1})
		l.add(NewJob{})
		l.add(NewJob{})
		for _, after := range []string{"1", "1:failure", "1:any", "2:success", "2:failure", "2:any"} {
			l.add(NewJob{After: []string{after}})
		}
		l.add(NewJob{After: []string{"3", "7"}})
		l.sleep(500 * time.Millisecond)
		l.is("3", "waiting")
		l.because("3", "waits for the end of 1, which is activating")
		l.sleep(minute)
		l.ranInAnyOrder("1.activate.1 2.activate.1 3.activate.1 5.activate.1 7.activate.1 8.activate.1 9.activate.1")
		l.is("4", "cancelled")
		l.because("4", "it was to run after a failure of 1, which has succeeded")
		l.is("6", "cancelled")
		l.because("6", "it was to run after the success of 2, which ended as failed: activate attempt 1 exited with status 1")

		added, err := l.e.Add(context.Background(), []NewJob{{Argv: []string{"true"}, After: []string{"77"}}})
		if err != nil || !errors.Is(added[0].Err, fault.NotFound) {
			l.t.Errorf("after one that is not there: %+v, %v", added, err)
		}
	})
}

// What somebody is to come after is remembered until he has come.
func TestAfterIsKept(t *testing.T) {
	bubble(t, func(s *Settings) { s.Keep = hour; s.KeepCount = 1 }, func(l *lab) {
		l.add(NewJob{})
		l.sleep(2 * time.Second)
		l.add(NewJob{At: time.Now().Add(100 * hour), After: []string{"1"}})
		l.sleep(101 * hour)
		l.ran("1.activate.1 2.activate.1")
		l.sleep(48 * hour)
		if _, err := l.e.Get(context.Background(), "1"); !errors.Is(err, fault.NotFound) {
			l.t.Errorf("1 is kept though nobody waits for it: %v", err)
		}
	})
}

// A job that comes after another's tells nothing of it that its owner may not see.
func TestAfterAnothers(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.add(NewJob{Owner: "root", Hold: true})
		l.add(NewJob{Owner: "eve", After: []string{"1"}})
		l.add(NewJob{Owner: "root", After: []string{"1"}})
		if _, err := l.e.Do(context.Background(), admin, "1", Cancel, "a secret"); err != nil {
			t.Fatal(err)
		}
		l.sleep(time.Second)
		l.because("2", "it was to run after the success of 1, which ended as cancelled")
		if why := l.get("3").Reason; !strings.Contains(why, "a secret") {
			t.Errorf("its owner is told %q", why)
		}
		// A job has one name.
		added, err := l.e.Add(context.Background(), []NewJob{{Owner: "ada", Argv: []string{"true"}, After: []string{"01:any"}}})
		if err != nil || !errors.Is(added[0].Err, fault.NotFound) {
			t.Errorf("after 01: %+v, %v", added, err)
		}
		if _, err := l.e.Wait(context.Background(), "01"); !errors.Is(err, fault.NotFound) {
			t.Errorf("wait 01: %v", err)
		}
	})
}

// A chain of jobs that fails tells each why, and no more than that.
func TestChainOfReasons(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		id := l.add(NewJob{Hold: true})
		for range 50 {
			id = l.add(NewJob{After: []string{id}})
		}
		l.do(Cancel, "1")
		l.sleep(time.Second)
		l.is(id, "cancelled")
		if why := l.get(id).Reason; len(why) > 300 || !strings.HasPrefix(why, "it was to run after the success of 50, which ended as cancelled: it was") {
			t.Errorf("%d bytes: %s", len(why), why)
		}
	})
}

// A daemon that dies between the end of one and the beginning of the other
// begins it when it comes back.
func TestAfterADeath(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.add(NewJob{Hold: true})
		l.add(NewJob{After: []string{"1:any"}})
		l.sleep(time.Second)
		l.shutDown()
		l.do(Cancel, "1")
		l.restart()
		l.sleep(minute)
		l.ran("2.activate.1")
	})
}

func TestDeadline(t *testing.T) {
	t.Run("missed while it waits", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"a"}})
			l.add(NewJob{Locks: []string{"a"}, Deadline: time.Now().Add(minute)})
			l.add(NewJob{Hold: true, Deadline: time.Now().Add(minute)})
			l.sleep(minute)
			l.is("2", "missed")
			l.because("2", "its deadline passed at "+stamp(time.Now())+", and it had not begun: it was waiting: waits for lock a, held by 1")
			l.is("3", "missed")
			l.because("3", "its deadline passed at "+stamp(time.Now())+", and it had not begun: it was held: added on hold")
		})
	})
	t.Run("stopped by it", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, script{hangs: true})
			l.add(NewJob{At: time.Now().Add(minute), Deadline: time.Now().Add(3 * minute)})
			l.sleep(3*minute - 1)
			l.is("1", "activating")
			l.sleep(minute)
			l.is("1", "timed_out")
			if got := l.get("1").Since.Sub(l.beganAt("1", Activate, 1)); got != 2*minute {
				l.t.Errorf("stopped after %v", got)
			}
		})
	})
	t.Run("stopped by it with tries left", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, script{hangs: true})
			l.add(NewJob{Deadline: time.Now().Add(minute), Retries: new(5), Backoff: new(time.Duration)})
			l.sleep(2 * minute)
			l.is("1", "timed_out")
			l.because("1", "activate attempt 1 ran into its timeout: its deadline has come")
			l.ran("1.activate.1")
		})
	})
	t.Run("nothing to retry after it", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, fails)
			l.add(NewJob{Deadline: time.Now().Add(minute)})
			l.sleep(10 * time.Second)
			l.do(Retry, "1") // there is time left
			l.sleep(minute)
			l.is("1", "failed")
			_, err := l.e.Do(context.Background(), admin, "1", Retry, "")
			if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "its deadline passed at") {
				l.t.Errorf("retry after the deadline: %v, want a conflict that names it", err)
			}
			l.sleep(minute)
			l.is("1", "failed")
			l.ran("1.activate.1 1.activate.2")
		})
	})
	t.Run("missed while it waits for another's end", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.add(NewJob{Hold: true})
			l.add(NewJob{After: []string{"1"}, Deadline: time.Now().Add(minute)})
			l.do(RunNow, "2")
			l.sleep(minute)
			l.is("2", "missed")
			l.because("2", "its deadline passed at "+stamp(time.Now())+", and it had not begun: it was waiting: waits for the end of 1, which is held")
		})
	})
	t.Run("no further try after it", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.Jobs.Retries = 5 }, func(l *lab) {
			l.script("1", Activate, fails)
			l.add(NewJob{Deadline: time.Now().Add(15 * time.Second), Backoff: new(8 * time.Second)})
			l.sleep(15 * time.Second)
			l.is("1", "failed")
			l.ran("1.activate.1 1.activate.2")
		})
	})
}

func TestEdit(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, long)
		l.add(NewJob{Locks: []string{"a"}})
		l.sleep(time.Millisecond)
		l.add(NewJob{Locks: []string{"a"}, Label: "x"})
		l.add(NewJob{At: time.Now().Add(hour), Retries: new(2)})
		l.sleep(time.Millisecond)
		edit := func(by By, id string, change func(*NewJob)) error {
			_, err := l.e.Edit(context.Background(), by, id, func(j *NewJob, _ time.Time) error {
				change(j)
				return nil
			})
			return err
		}
		if err := edit(admin, "2", func(j *NewJob) { j.Label = "y" }); err != nil {
			l.t.Error(err)
		}
		l.is("2", "waiting") // in its place in line
		if err := edit(admin, "2", func(j *NewJob) { j.Locks = nil }); err != nil {
			l.t.Error(err)
		}
		l.sleep(time.Millisecond)
		l.is("2", "activating")
		if got := l.get("2"); got.Label != "y" {
			l.t.Errorf("label %q", got.Label)
		}
		if err := edit(admin, "3", func(j *NewJob) { j.At = time.Now().Add(minute) }); err != nil {
			l.t.Error(err)
		}
		l.sleep(minute)
		l.is("3", "activating")
		if got := l.get("3"); got.Record.Retries == nil || *got.Record.Retries != 2 {
			l.t.Errorf("retries %v", got.Record.Retries)
		}
		for _, tt := range []struct {
			by   By
			id   string
			to   func(*NewJob)
			want error
		}{
			{admin, "1", func(*NewJob) {}, fault.Conflict},
			{admin, "99", func(*NewJob) {}, fault.NotFound},
		} {
			if err := edit(tt.by, tt.id, tt.to); !errors.Is(err, tt.want) {
				l.t.Errorf("%s: %v, want %v", tt.id, err, tt.want)
			}
		}
		id := l.add(NewJob{Owner: "ada", At: time.Now().Add(hour)})
		if err := edit(By{Name: "eve", UID: 1001, OnlyOwn: true}, id, func(*NewJob) {}); !errors.Is(err, fault.Denied) {
			l.t.Errorf("another's: %v", err)
		}
		if err := edit(admin, id, func(j *NewJob) { j.At = time.Now().Add(-hour) }); !errors.Is(err, fault.Invalid) {
			l.t.Errorf("into the past: %v", err)
		}
		if err := edit(admin, id, func(j *NewJob) { j.Deadline = time.Now().Add(minute) }); !errors.Is(err, fault.Invalid) {
			l.t.Errorf("a deadline before its start: %v", err)
		}
	})
}

// An entry's jobs do not run side by side, whatever is made of their own locks.
func TestEditOfARecurrencesJob(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, long)
		if _, err := l.e.AddRecurrence(context.Background(), Rule{Name: "m", Cron: "* * * * *", Overlap: OverlapQueue, Job: NewJob{Owner: "ada", Argv: []string{"true"}}}); err != nil {
			l.t.Fatal(err)
		}
		l.sleep(150 * time.Second)
		l.is("2", "waiting")
		if _, err := l.e.Edit(context.Background(), admin, "2", func(j *NewJob, _ time.Time) error { j.Locks = nil; return nil }); err != nil {
			l.t.Fatal(err)
		}
		l.sleep(time.Second)
		l.is("2", "waiting")
	})
}

// What a removed recurrence of somebody else's has left running is not replaced by
// who takes its name, and nobody else can have its lock.
func TestNamesakes(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ctx := context.Background()
		rule := func(owner string) Rule {
			return Rule{Name: "m", Cron: "* * * * *", Overlap: OverlapReplace, Job: NewJob{Owner: owner, Argv: []string{"true"}}}
		}
		l.script("1", Activate, long)
		if _, err := l.e.AddRecurrence(ctx, rule("root")); err != nil {
			l.t.Fatal(err)
		}
		l.sleep(minute)
		l.is("1", "activating")
		if err := l.e.RemoveRecurrence(ctx, admin, "m"); err != nil {
			l.t.Fatal(err)
		}
		if _, err := l.e.AddRecurrence(ctx, rule("eve")); !errors.Is(err, fault.Conflict) {
			l.t.Errorf("another's name: %v", err)
		}
		if _, err := l.e.AddRecurrence(ctx, rule("root")); err != nil {
			l.t.Errorf("his own again: %v", err)
		}
		if err := l.e.RemoveRecurrence(ctx, admin, "m"); err != nil {
			l.t.Fatal(err)
		}
		l.e.SetRecurrences([]Rule{rule("ops")})
		if rep, err := l.e.Load(ctx, LoadOptions{}); err != nil || rep.Rejected != 1 {
			l.t.Errorf("declared: %s, %v", rep.Summary(), err)
		}
		l.do(Cancel, "1")
		l.sleep(minute)
		if rep, err := l.e.Load(ctx, LoadOptions{}); err != nil || rep.Added != 1 {
			l.t.Errorf("declared, when it has ended: %s, %v", rep.Summary(), err)
		}
		added, err := l.e.Add(ctx, []NewJob{{Owner: "eve", Argv: []string{"true"}, Locks: []string{"every.m"}}})
		if err != nil || !errors.Is(added[0].Err, fault.Invalid) {
			l.t.Errorf("its lock: %+v, %v", added, err)
		}
	})
}

func TestProgress(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, fails, long)
		id := l.add(NewJob{Owner: "ada", User: &Identity{UID: 7}, Retries: new(1)})
		l.sleep(time.Millisecond)
		tell := func(by By, percent int) error {
			return l.e.Report(context.Background(), by, id, Progress{Percent: percent, Text: "so far"})
		}
		if err := tell(By{Name: "eve", UID: 8, OnlyOwn: true}, 1); !errors.Is(err, fault.Denied) {
			l.t.Errorf("another's: %v", err)
		}
		if err := tell(By{Name: "seven", UID: 7, OnlyOwn: true}, 101); !errors.Is(err, fault.Invalid) {
			l.t.Errorf("101 %%: %v", err)
		}
		if err := tell(By{Name: "seven", UID: 7, OnlyOwn: true}, 40); err != nil {
			l.t.Error(err)
		}
		if p := l.get(id).Progress; p == nil || p.String() != "40 % so far" {
			l.t.Errorf("progress %v", p)
		}
		l.sleep(2 * minute)
		if p := l.get(id).Progress; p != nil {
			l.t.Errorf("the second attempt has the first one's progress, %v", p)
		}
		l.do(Cancel, id)
		l.sleep(minute)
		if err := tell(admin, 50); !errors.Is(err, fault.Conflict) {
			l.t.Errorf("of what does not run: %v", err)
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Settings)
		want int
	}{
		"by count": {func(s *Settings) { s.KeepCount = 3 }, 3},
		"by bytes": {func(s *Settings) { s.KeepBytes = 4 * 4096 }, 4}, // each run leaves 4096
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tt.set, func(l *lab) {
				for range 10 {
					l.add(NewJob{})
				}
				l.sleep(30 * time.Second)
				l.is("1", "succeeded") // one may look for a minute at least
				l.sleep(minute)
				n := 0
				err := l.e.List(context.Background(), Filter{Finished: true}, func(View) error { n++; return nil })
				if err != nil || n != tt.want {
					l.t.Errorf("%d are kept, want %d; %v", n, tt.want, err)
				}
			})
		})
	}
}

func TestTags(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.add(NewJob{Tags: []string{"b", "a", "b"}, Hold: true})
		l.add(NewJob{Tags: []string{"a"}, Hold: true})
		var ids []string
		err := l.e.List(context.Background(), Filter{Tags: []string{"a", "b"}}, func(v View) error {
			ids = append(ids, v.ID+" "+strings.Join(v.Tags, ","))
			return nil
		})
		if err != nil || strings.Join(ids, "; ") != "1 a,b" {
			l.t.Errorf("%v, %v", ids, err)
		}
	})
}
