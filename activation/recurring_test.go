package activation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/recurring"

	"activationd/schedule"
	"activationd/store"
	"activationd/supervisor"
)

// every adds a recurrence of ada's.
func (rig *testRig) every(r recurring.Rule) *recurring.Recurrence {
	rig.t.Helper()
	if r.Job.Argv == nil {
		r.Job.Argv = []string{"true"}
	}
	if r.Job.Owner == "" {
		r.Job.Owner = "ada"
	}
	made, err := rig.book.Add(context.Background(), admin, r)
	if err != nil {
		rig.t.Fatalf("AddRecurrence(%+v): %v", r, err)
	}
	synctest.Wait()
	return made
}

func (rig *testRig) view(name string) recurring.View {
	rig.t.Helper()
	v, err := rig.book.Get(context.Background(), name, 10_000)
	if err != nil {
		rig.t.Fatalf("Recurrence(%s): %v", name, err)
	}
	return v
}

// tallied checks how many occurrences became activations and how many were skipped.
func (rig *testRig) tallied(name string, begun, skipped uint64) {
	rig.t.Helper()
	if y := rig.view(name).Tally; y.Begun != begun || y.Skipped != skipped {
		rig.t.Errorf("%s: %d begun and %d skipped, want %d and %d", name, y.Begun, y.Skipped, begun, skipped)
	}
}

// occurrencesOf lists a recurrence's occurrences that became activations, each
// with its outcome or state, as times of day.
func (rig *testRig) occurrencesOf(name string) string {
	var words []string
	_ = rig.e.List(context.Background(), Filter{Finished: true, From: name, Sort: "id"}, func(v View) error {
		how := string(v.Outcome)
		if how == "" {
			how = string(v.State)
		}
		words = append(words, v.Occurrence.UTC().Format("15:04:05")+" "+how)
		return nil
	})
	return strings.Join(words, ", ")
}

// The keys of recurrences in the store.
const (
	recurrenceKey = "e/"
	tallyKey      = "y/"
	skipKey       = "k/"
)

// stored returns a recurrence as it is stored.
func stored(tx store.Tx, name string) (*recurring.Recurrence, error) {
	r := new(recurring.Recurrence)
	return r, json.Unmarshal(tx.Get(recurrenceKey+name), r)
}

// occurrences are all occurrences of r by its rule.
func occurrences(r *recurring.Recurrence) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for after := r.Created; ; {
			some, err := r.Upcoming(after, r.Created, 100)
			for _, o := range some {
				if !yield(o.Occurrence) {
					return
				}
				after = o.Occurrence
			}
			if err != nil || len(some) < 100 {
				return
			}
		}
	}
}

// unaccounted lists errors in the account of a recurrence that was neither changed nor
// held, and of which nothing was pruned: each occurrence from its beginning must have
// become one activation, or be in one record of skipped occurrences.
func unaccounted(tx store.Tx, r *recurring.Recurrence) (faults []string) {
	became := make(map[time.Time]int)
	for k, data := range tx.Scan(RecordKey, "") {
		if a, err := Decode(k, data); err == nil && a.From == r.Name && !a.Occurrence.IsZero() {
			became[a.Occurrence.UTC()]++
		}
	}
	all := 0
	for at := range occurrences(r) {
		if !r.Next.IsZero() && !at.Before(r.Next) || at.After(r.Last) {
			break
		}
		n := became[at.UTC()]
		all += n
		for _, data := range tx.Scan(skipKey+r.Name+"/", "") {
			var skip recurring.Skip
			if err := json.Unmarshal(data, &skip); err != nil {
				return []string{err.Error()}
			}
			if !at.Before(skip.From) && !at.After(skip.To) {
				n++
			}
		}
		if n != 1 {
			faults = append(faults, fmt.Sprintf("%s: the occurrence %v has %d records", r.Name, at, n))
		}
	}
	if all != len(became) {
		faults = append(faults, fmt.Sprintf("%s: %d occurrences became activations, %d of which never were", r.Name, len(became), len(became)-all))
	}
	return faults
}

func (rig *testRig) accounted(name string) {
	rig.t.Helper()
	_ = rig.db.View(context.Background(), func(tx store.Tx) error {
		r, err := stored(tx, name)
		if err != nil {
			rig.t.Error(err)
			return nil
		}
		for _, f := range unaccounted(tx, r) {
			rig.t.Error(f)
		}
		return nil
	})
}

func TestRecurrenceOccurs(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		r := rig.every(recurring.Rule{Name: "hourly", Cron: "0 * * * *", Zone: "UTC"})
		if want := time.Now().Add(hour); !r.Next.Equal(want) {
			t.Errorf("next %v, want %v", r.Next, want)
		}
		rig.sleep(3*hour + minute)
		rig.ran("1.activate.1 2.activate.1 3.activate.1")
		rig.tallied("hourly", 3, 0)
		for i, id := range []string{"1", "2", "3"} {
			v := rig.get(id)
			at := r.Created.Add(time.Duration(i+1) * hour)
			if !v.Occurrence.Equal(at) || !rig.beganAt(id, Activate, 1).Equal(at) || v.From != "hourly" || v.Owner != "ada" || v.Label != "hourly" {
				t.Errorf("%s is %q of %s at %v, want at %v", id, v.Label, v.Owner, v.Occurrence, at)
			}
		}
		env := strings.Join(rig.w.run(supervisor.Key{ID: "1", Phase: Activate, N: 1}).spec.Env, "\n")
		for _, want := range []string{"ACTIVATION_RECURRENCE=hourly", "ACTIVATION_OCCURRENCE=2000-01-01T01:00:00Z"} {
			if !strings.Contains(env, want) {
				t.Errorf("environment without %s:\n%s", want, env)
			}
		}
		if y := rig.view("hourly").Tally; y.Outcomes[Succeeded] != 3 || y.EndedID != "3" || y.LastOutcome != Succeeded {
			t.Errorf("tally %+v", y)
		}
		if rig.alarm.rings != 3 {
			t.Errorf("the alarm rang %d times", rig.alarm.rings)
		}
		rig.accounted("hourly")
	})
}

func TestRecurrenceIsArmed(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead = 50 * time.Millisecond }, func(rig *testRig) {
		r := rig.every(recurring.Rule{Name: "m", Every: minute})
		rig.sleep(minute - 30*time.Millisecond)
		rig.is("1", "activating")
		rig.ran("")
		rig.sleep(minute)
		if at := rig.beganAt("1", Activate, 1); !at.Equal(r.Created.Add(minute)) {
			t.Errorf("it began at %v", at)
		}
		rig.accounted("m")
	})
}

func TestOverlap(t *testing.T) {
	tests := []struct{ overlap, want string }{
		{recurring.OverlapSkip, "00:01:00 succeeded, 00:04:00 activating"},
		{recurring.OverlapQueue, "00:01:00 succeeded, 00:02:00 activating, 00:03:00 waiting, 00:04:00 waiting"},
		{recurring.OverlapParallel, "00:01:00 succeeded, 00:02:00 activating, 00:03:00 activating, 00:04:00 activating"},
		{recurring.OverlapReplace, "00:01:00 cancelled, 00:02:00 cancelled, 00:03:00 cancelled, 00:04:00 activating"},
	}
	for _, tt := range tests {
		t.Run(tt.overlap, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				rig.w.scripts = func(supervisor.Key) script { return script{lasts: 150 * time.Second, onStop: time.Second} }
				rig.every(recurring.Rule{Name: "m", Every: minute, Overlap: tt.overlap})
				rig.sleep(4*minute + 10*time.Second)
				if got := rig.occurrencesOf("m"); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				rig.accounted("m")
				v := rig.view("m")
				if tt.overlap == recurring.OverlapSkip {
					if len(v.Skips) != 1 || v.Skips[0].Count != 2 || !strings.Contains(v.Skips[0].Reason, "the earlier job 1 has not ended") {
						t.Errorf("skipped: %+v", v.Skips)
					}
				} else if len(v.Skips) != 0 {
					t.Errorf("skipped: %+v", v.Skips)
				}
				if tt.overlap == recurring.OverlapReplace { // never two at once
					for n, id := range []string{"2", "3", "4"} {
						before := rig.w.run(supervisor.Key{ID: fmt.Sprint(n + 1), Phase: Activate, N: 1})
						if rig.beganAt(id, Activate, 1).Before(before.result.Ended) {
							t.Errorf("%s began before the one that it replaces had ended", id)
						}
					}
				}
			})
		})
	}
}

// If too many are unfinished, further ones are skipped, too.
func TestOverlapHasABound(t *testing.T) {
	bubble(t, func(s *Settings) { s.Jobs.Timeout = 0 }, func(rig *testRig) {
		rig.w.scripts = func(supervisor.Key) script { return script{hangs: true} }
		rig.every(recurring.Rule{Name: "s", Every: time.Second, Overlap: recurring.OverlapQueue})
		rig.sleep(1010 * time.Second)
		rig.tallied("s", 1000, 10)
		rig.accounted("s")
		for _, id := range rig.view("s").Members {
			rig.do(Cancel, id)
		}
	})
}

func TestCatchUp(t *testing.T) {
	tests := []struct {
		name    string
		catchUp int
		overlap string
		down    time.Duration
		begun   uint64 // up to one second after the start
		skipped uint64
		want    string
	}{
		{"none", 0, recurring.OverlapSkip, 5*hour + 30*minute, 0, 5, ""},
		{"none, and one in time", 0, recurring.OverlapSkip, 5*hour + 30*time.Second, 1, 4, "05:00:00 succeeded"},
		{"last", 1, recurring.OverlapSkip, 5*hour + 30*minute, 1, 4, "05:00:00 succeeded"},
		{"the last three", 3, recurring.OverlapParallel, 5*hour + 30*minute, 3, 2, "03:00:00 succeeded, 04:00:00 succeeded, 05:00:00 succeeded"},
		{"one after the other", 3, recurring.OverlapSkip, 5*hour + 30*minute, 3, 2, "03:00:00 succeeded, 04:00:00 activating, 05:00:00 waiting"},
		{"as many as there were", 100, recurring.OverlapParallel, 2*hour + 30*minute, 2, 0, "01:00:00 succeeded, 02:00:00 succeeded"},
		{"nothing missed", 100, recurring.OverlapParallel, 30 * minute, 0, 0, ""},
		{"all, and one in time", 100, recurring.OverlapParallel, hour + 30*time.Second, 1, 0, "01:00:00 succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				rig.every(recurring.Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC", CatchUp: tt.catchUp, Overlap: tt.overlap})
				rig.shutDown()
				time.Sleep(tt.down)
				rig.start()
				rig.sleep(time.Second)
				if got := rig.occurrencesOf("h"); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				rig.tallied("h", tt.begun, tt.skipped)
				rig.accounted("h")
				rig.sleep(3 * hour)
				rig.tallied("h", tt.begun+3, tt.skipped)
				rig.accounted("h")
			})
		})
	}
}

// Occurrences of the last minute, which are not missed yet, run after a downtime as often
// as the catch-up says; the newest always runs.
func TestDenseCatchUp(t *testing.T) {
	tests := []struct {
		catchUp int
		overlap string
		down    time.Duration
		begun   uint64
		skipped uint64
		want    string
	}{
		{0, recurring.OverlapParallel, 85 * time.Second, 1, 7, "00:01:20 succeeded"},
		{0, recurring.OverlapSkip, 85 * time.Second, 1, 7, "00:01:20 succeeded"},
		{0, recurring.OverlapSkip, 35 * time.Second, 1, 2, "00:00:30 succeeded"},
		{1, recurring.OverlapSkip, 85 * time.Second, 1, 7, "00:01:20 succeeded"},
		{1, recurring.OverlapQueue, 35 * time.Second, 1, 2, "00:00:30 succeeded"},
		{3, recurring.OverlapParallel, 85 * time.Second, 3, 5, "00:01:00 succeeded, 00:01:10 succeeded, 00:01:20 succeeded"},
		{3, recurring.OverlapSkip, 35 * time.Second, 3, 0, "00:00:10 succeeded, 00:00:20 succeeded, 00:00:30 succeeded"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d %s %v", tt.catchUp, tt.overlap, tt.down), func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				rig.w.scripts = func(supervisor.Key) script { return script{lasts: time.Second} }
				rig.every(recurring.Rule{Name: "d", Cron: "*/10 * * * * *", Zone: "UTC", CatchUp: tt.catchUp, Overlap: tt.overlap})
				rig.shutDown()
				time.Sleep(tt.down)
				rig.start()
				rig.sleep(4 * time.Second)
				if got := rig.occurrencesOf("d"); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				rig.tallied("d", tt.begun, tt.skipped)
				rig.accounted("d")
				rig.sleep(minute)
				rig.tallied("d", tt.begun+6, tt.skipped)
				rig.accounted("d")
			})
		})
	}
}

// A year of skipped seconds is one record, and is computed quickly.
func TestLongDowntime(t *testing.T) {
	for _, rule := range []recurring.Rule{{Name: "s", Every: time.Second}, {Name: "s", Cron: "* * * * * *", Zone: "UTC"}} {
		bubble(t, nil, func(rig *testRig) {
			rig.w.scripts = func(supervisor.Key) script { return script{lasts: time.Millisecond} }
			rig.every(rule)
			rig.shutDown()
			time.Sleep(365 * 24 * hour)
			rig.start()
			rig.sleep(2 * time.Second)
			v := rig.view("s")
			if len(v.Skips) != 1 || v.Tally.Begun != 3 { // the newest was not missed
				t.Fatalf("tally %+v, skipped: %v", v.Tally, v.Skips)
			}
			seconds := uint64(365*24*hour/time.Second) - 1
			if s := v.Skips[0]; rule.Every > 0 && (s.Count != seconds || s.More) || rule.Every == 0 && (s.Count != 10_000 || !s.More) {
				t.Errorf("skipped: %+v, want %d", s, seconds)
			}
			if behind := time.Until(v.Next); behind < 0 || behind > time.Second {
				t.Errorf("the next one is due in %v", behind)
			}
		})
	}
}

func TestJitter(t *testing.T) {
	var due [2][]time.Duration
	for run := range due { // the due times are the same in both, whatever happens meanwhile
		bubble(t, nil, func(rig *testRig) {
			r := rig.every(recurring.Rule{Name: "j", Every: 10 * minute, Jitter: 4 * minute})
			for range 20 {
				if run == 1 {
					rig.restart()
				}
				rig.sleep(10 * minute)
			}
			v := rig.view("j")
			for id := 1; id <= int(v.Tally.Begun); id++ {
				a := rig.get(fmt.Sprint(id))
				late := rig.beganAt(a.ID, Activate, 1).Sub(a.Occurrence)
				if late < 0 || late >= 4*minute {
					t.Errorf("%v began %v late", a.Occurrence, late)
				}
				due[run] = append(due[run], a.Start.Sub(r.Created))
			}
			rig.accounted("j")
		})
	}
	slices.Sort(due[0])
	if n := len(slices.Compact(slices.Clone(due[0]))); n < 19 {
		t.Errorf("%d different instants of 20", n)
	}
	if !slices.Equal(due[0], due[1]) {
		t.Errorf("due at %v, and with restarts at %v", due[0], due[1])
	}
}

// Occurrences keep their order, however large the jitter is.
func TestMuchJitter(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.w.scripts = func(supervisor.Key) script { return script{} }
		rig.every(recurring.Rule{Name: "j", Every: minute, Jitter: 24 * hour})
		rig.sleep(2 * hour)
		v := rig.view("j")
		if v.Tally.Begun < 119 || v.Tally.Skipped != 0 {
			t.Errorf("tally %+v", v.Tally)
		}
		rig.accounted("j")
	})
}

func TestStartAndEnd(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		now := time.Now()
		rig.every(recurring.Rule{Name: "m", Every: 7 * minute, Start: now.Add(hour), End: now.Add(hour + 14*minute)})
		rig.sleep(10 * hour)
		if got := rig.occurrencesOf("m"); got != "01:00:00 succeeded, 01:07:00 succeeded" {
			t.Error(got)
		}
		if v := rig.view("m"); !v.Next.IsZero() || !v.Due.IsZero() {
			t.Errorf("next %v, due %v after the end", v.Next, v.Due)
		}
	})
}

func TestRecurrenceAtBoot(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.every(recurring.Rule{Name: "b", Cron: "@reboot", Jitter: 30 * minute})
		rig.sleep(hour)
		rig.restart()
		rig.sleep(hour)
		rig.tallied("b", 0, 0)
		rig.shutDown()
		rig.boot = "boot2"
		rig.start()
		rig.sleep(hour)
		rig.restart()
		rig.sleep(hour)
		rig.tallied("b", 1, 0)
		rig.is("1", "succeeded")
		if late := rig.beganAt("1", Activate, 1).Sub(rig.get("1").Occurrence); late <= 0 || late >= 30*minute {
			t.Errorf("it began %v after the daemon, without its jitter", late)
		}
	})
}

// The engine may die at any moment; each occurrence has one record all the same.
func TestRecurrenceSurvivesDeath(t *testing.T) {
	for calls := 1; calls < 40; calls++ {
		bubble(t, nil, func(rig *testRig) {
			rig.every(recurring.Rule{Name: "s", Every: time.Second, Overlap: recurring.OverlapParallel, CatchUp: 5})
			for range 5 {
				rig.m.dieAfter(calls)
				rig.sleep(3 * time.Second)
				rig.restart()
			}
			rig.sleep(time.Second / 2)
			rig.accounted("s")
			if y := rig.view("s").Tally; y.Begun < 15 || y.Skipped != 0 {
				t.Errorf("after %d calls: tally %+v", calls, y)
			}
		})
	}
}

func TestClockSteps(t *testing.T) {
	start := time.Date(2000, 3, 25, 12, 0, 0, 0, time.UTC)
	bubble(t, nil, func(rig *testRig) {
		set := func(now time.Time) {
			rig.setClock(now.Sub(rig.now()))
		}
		set(start)
		rig.every(recurring.Rule{Name: "m", Cron: "* * * * *", Zone: "Europe/Prague", Overlap: recurring.OverlapParallel})
		look := func(now time.Time, begun, skipped uint64) {
			t.Helper()
			set(now)
			rig.tallied("m", begun, skipped)
			rig.accounted("m")
		}
		look(start.Add(minute), 1, 0)
		look(start.Add(minute), 1, 0)
		look(start.Add(2*minute), 2, 0)
		look(start.Add(2*hour), 2+1, 117) // forward: the newest is in time still, the others missed
		look(start.Add(hour), 3, 117)     // back: nothing is repeated
		look(start.Add(2*hour), 3, 117)
		look(start.Add(2*hour+minute), 4, 117)
		look(start.Add(24*hour), 5, 1440-5) // over the change of the clocks in that night

		// A clock that is far ahead for a moment was wrong.
		next := func(now, next time.Time) {
			t.Helper()
			set(now)
			if v := rig.view("m"); !v.Next.Equal(next) {
				t.Errorf("at %v: the next is %v, want %v", now, v.Next, next)
			}
		}
		next(start.Add(12*hour), start.Add(24*hour+minute)) // it may have been right
		set(start.AddDate(70, 0, 0))
		next(start.Add(25*hour), start.Add(25*hour+minute))
		next(start.Add(25*hour+minute), start.Add(25*hour+2*minute))
	})
}

// When the clock is set, and when a daemon starts, it checks that no recurrence is far
// ahead.
func TestRecurrenceFarAhead(t *testing.T) {
	for name, look := range map[string]func(*testRig){
		"step":  func(rig *testRig) { rig.alarm.c <- schedule.Wake{Stepped: true} },
		"start": func(rig *testRig) { rig.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				r := rig.every(recurring.Rule{Name: "h", Every: hour})
				ahead := *r
				ahead.Last, ahead.Next, ahead.Due = r.Last.AddDate(2098, 0, 0), r.Next.AddDate(98, 0, 0), r.Due.AddDate(98, 0, 0)
				err := rig.e.Update(context.Background(), func(t *Txn) error {
					data, err := json.Marshal(&ahead)
					return errors.Join(err, t.Put(recurrenceKey+"h", data), t.Enter("h", r.Due, ahead.Due))
				})
				if err != nil {
					t.Fatal(err)
				}
				look(rig)
				rig.sleep(hour)
				rig.tallied("h", 1, 0)
			})
		})
	}
}
