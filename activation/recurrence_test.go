package activation

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/schedule"
	"activationd/store"
	"activationd/supervisor"
)

// every adds a recurrence of ada's.
func (l *lab) every(r Rule) *Recurrence {
	l.t.Helper()
	if r.Job.Argv == nil {
		r.Job.Argv = []string{"true"}
	}
	if r.Job.Owner == "" {
		r.Job.Owner = "ada"
	}
	made, err := l.e.AddRecurrence(context.Background(), r)
	if err != nil {
		l.t.Fatalf("AddRecurrence(%+v): %v", r, err)
	}
	synctest.Wait()
	return made
}

func (l *lab) view(name string) RecurrenceView {
	l.t.Helper()
	v, err := l.e.Recurrence(context.Background(), name, maxSpans)
	if err != nil {
		l.t.Fatalf("Recurrence(%s): %v", name, err)
	}
	return v
}

// tallied checks how many occurrences became activations and how many did not.
func (l *lab) tallied(name string, begun, skipped uint64) {
	l.t.Helper()
	if y := l.view(name).Tally; y.Begun != begun || y.Skipped != skipped {
		l.t.Errorf("%s: %d begun and %d skipped, want %d and %d", name, y.Begun, y.Skipped, begun, skipped)
	}
}

// occurrencesOf lists a recurrence's occurrences that became activations, each
// with its outcome or state, as times of day.
func (l *lab) occurrencesOf(name string) string {
	var words []string
	_ = l.e.List(context.Background(), Filter{Finished: true, Recurrence: name}, func(v View) error {
		how := string(v.Outcome)
		if how == "" {
			how = string(v.State)
		}
		words = append(words, v.Occurrence.UTC().Format("15:04:05")+" "+how)
		return nil
	})
	return strings.Join(words, ", ")
}

// unaccounted lists what is wrong with the account of a recurrence that was
// neither changed nor held, and of which nothing was pruned: each occurrence from
// its beginning has become one activation, or stands in one record of what was
// skipped.
func unaccounted(tx store.Tx, r *Recurrence) (faults []string) {
	became := make(map[time.Time]int)
	for k, data := range tx.Scan(recordKey, "") {
		if a, err := decode(k, data); err == nil && a.Recurrence == r.Name && !a.Occurrence.IsZero() {
			became[a.Occurrence.UTC()]++
		}
	}
	s, err := r.times(r.Created)
	if err != nil {
		return []string{err.Error()}
	}
	all := 0
	for at := r.next(s, r.Created); !at.IsZero() && (r.Next.IsZero() || at.Before(r.Next)) && !at.After(r.Last); at = r.next(s, at) {
		n := became[at.UTC()]
		all += n
		for _, data := range tx.Scan(skipKey+r.Name+"/", "") {
			var skip Skip
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

func (l *lab) accounted(name string) {
	l.t.Helper()
	_ = l.db.View(context.Background(), func(tx store.Tx) error {
		r, err := decodeRecurrence(name, tx.Get(recurrenceKey+name))
		if err != nil {
			l.t.Error(err)
			return nil
		}
		for _, f := range unaccounted(tx, r) {
			l.t.Error(f)
		}
		return nil
	})
}

func TestRecurrenceOccurs(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		r := l.every(Rule{Name: "hourly", Cron: "0 * * * *", Zone: "UTC"})
		if want := time.Now().Add(hour); !r.Next.Equal(want) {
			t.Errorf("next %v, want %v", r.Next, want)
		}
		l.sleep(3*hour + minute)
		l.ran("1.activate.1 2.activate.1 3.activate.1")
		l.tallied("hourly", 3, 0)
		for i, id := range []string{"1", "2", "3"} {
			v := l.get(id)
			at := r.Created.Add(time.Duration(i+1) * hour)
			if !v.Occurrence.Equal(at) || !l.beganAt(id, Activate, 1).Equal(at) || v.Recurrence != "hourly" || v.Owner != "ada" || v.Label != "hourly" {
				t.Errorf("%s is %q of %s at %v, want at %v", id, v.Label, v.Owner, v.Occurrence, at)
			}
		}
		env := strings.Join(l.w.run(supervisor.Key{ID: "1", Phase: Activate, N: 1}).spec.Env, "\n")
		for _, want := range []string{"ACTIVATION_RECURRENCE=hourly", "ACTIVATION_OCCURRENCE=2000-01-01T01:00:00Z"} {
			if !strings.Contains(env, want) {
				t.Errorf("environment without %s:\n%s", want, env)
			}
		}
		if y := l.view("hourly").Tally; y.Outcomes[Succeeded] != 3 || y.EndedID != "3" || y.LastOutcome != Succeeded {
			t.Errorf("tally %+v", y)
		}
		if l.alarm.rings != 3 {
			t.Errorf("the alarm rang %d times", l.alarm.rings)
		}
		l.accounted("hourly")
	})
}

func TestRecurrenceIsArmed(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead = 50 * time.Millisecond }, func(l *lab) {
		r := l.every(Rule{Name: "m", Every: minute})
		l.sleep(minute - 30*time.Millisecond)
		l.is("1", "activating")
		l.ran("")
		l.sleep(minute)
		if at := l.beganAt("1", Activate, 1); !at.Equal(r.Created.Add(minute)) {
			t.Errorf("it began at %v", at)
		}
		l.accounted("m")
	})
}

func TestOverlap(t *testing.T) {
	tests := []struct{ overlap, want string }{
		{OverlapSkip, "00:01:00 succeeded, 00:04:00 activating"},
		{OverlapQueue, "00:01:00 succeeded, 00:02:00 activating, 00:03:00 waiting, 00:04:00 waiting"},
		{OverlapParallel, "00:01:00 succeeded, 00:02:00 activating, 00:03:00 activating, 00:04:00 activating"},
		{OverlapReplace, "00:01:00 cancelled, 00:02:00 cancelled, 00:03:00 cancelled, 00:04:00 activating"},
	}
	for _, tt := range tests {
		t.Run(tt.overlap, func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				l.w.scripts = func(supervisor.Key) script { return script{lasts: 150 * time.Second, onStop: time.Second} }
				l.every(Rule{Name: "m", Every: minute, Overlap: tt.overlap})
				l.sleep(4*minute + 10*time.Second)
				if got := l.occurrencesOf("m"); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				l.accounted("m")
				v := l.view("m")
				if tt.overlap == OverlapSkip {
					if len(v.Skips) != 1 || v.Skips[0].Count != 2 || !strings.Contains(v.Skips[0].Reason, "1, which is before it, has not ended") {
						t.Errorf("skipped: %+v", v.Skips)
					}
				} else if len(v.Skips) != 0 {
					t.Errorf("skipped: %+v", v.Skips)
				}
				if tt.overlap == OverlapReplace { // never two at once
					for n, id := range []string{"2", "3", "4"} {
						before := l.w.run(supervisor.Key{ID: fmt.Sprint(n + 1), Phase: Activate, N: 1})
						if l.beganAt(id, Activate, 1).Before(before.result.Ended) {
							t.Errorf("%s began before the one that it replaces had ended", id)
						}
					}
				}
			})
		})
	}
}

// Too many at once are skipped, too.
func TestOverlapHasABound(t *testing.T) {
	bubble(t, func(s *Settings) { s.Jobs.Timeout = 0 }, func(l *lab) {
		l.w.scripts = func(supervisor.Key) script { return script{hangs: true} }
		l.every(Rule{Name: "s", Every: time.Second, Overlap: OverlapQueue})
		l.sleep((maxMembers + 10) * time.Second)
		l.tallied("s", maxMembers, 10)
		l.accounted("s")
		for _, id := range l.view("s").Members {
			l.do(Cancel, id)
		}
	})
}

func TestCatchUp(t *testing.T) {
	tests := []struct {
		name    string
		catchUp int
		overlap string
		down    time.Duration
		begun   uint64 // by one second after the start
		skipped uint64
		want    string
	}{
		{"none", 0, OverlapSkip, 5*hour + 30*minute, 0, 5, ""},
		{"none, and one in time", 0, OverlapSkip, 5*hour + 30*time.Second, 1, 4, "05:00:00 succeeded"},
		{"last", 1, OverlapSkip, 5*hour + 30*minute, 1, 4, "05:00:00 succeeded"},
		{"the last three", 3, OverlapParallel, 5*hour + 30*minute, 3, 2, "03:00:00 succeeded, 04:00:00 succeeded, 05:00:00 succeeded"},
		{"one after the other", 3, OverlapSkip, 5*hour + 30*minute, 3, 2, "03:00:00 succeeded, 04:00:00 activating, 05:00:00 waiting"},
		{"as many as there were", 100, OverlapParallel, 2*hour + 30*minute, 2, 0, "01:00:00 succeeded, 02:00:00 succeeded"},
		{"nothing missed", 100, OverlapParallel, 30 * minute, 0, 0, ""},
		{"all, and one in time", 100, OverlapParallel, hour + 30*time.Second, 1, 0, "01:00:00 succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				l.every(Rule{Name: "h", Cron: "0 * * * *", Zone: "UTC", CatchUp: tt.catchUp, Overlap: tt.overlap})
				l.shutDown()
				time.Sleep(tt.down)
				l.start()
				l.sleep(time.Second)
				if got := l.occurrencesOf("h"); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				l.tallied("h", tt.begun, tt.skipped)
				l.accounted("h")
				l.sleep(3 * hour)
				l.tallied("h", tt.begun+3, tt.skipped)
				l.accounted("h")
			})
		})
	}
}

// What recurs within the minute in which nothing is missed yet, runs as often after a
// downtime as its catch-up says, and the newest does.
func TestDenseCatchUp(t *testing.T) {
	tests := []struct {
		catchUp int
		overlap string
		down    time.Duration
		begun   uint64
		skipped uint64
		want    string
	}{
		{0, OverlapParallel, 85 * time.Second, 1, 7, "00:01:20 succeeded"},
		{0, OverlapSkip, 85 * time.Second, 1, 7, "00:01:20 succeeded"},
		{0, OverlapSkip, 35 * time.Second, 1, 2, "00:00:30 succeeded"},
		{1, OverlapSkip, 85 * time.Second, 1, 7, "00:01:20 succeeded"},
		{1, OverlapQueue, 35 * time.Second, 1, 2, "00:00:30 succeeded"},
		{3, OverlapParallel, 85 * time.Second, 3, 5, "00:01:00 succeeded, 00:01:10 succeeded, 00:01:20 succeeded"},
		{3, OverlapSkip, 35 * time.Second, 3, 0, "00:00:10 succeeded, 00:00:20 succeeded, 00:00:30 succeeded"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d %s %v", tt.catchUp, tt.overlap, tt.down), func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				l.w.scripts = func(supervisor.Key) script { return script{lasts: time.Second} }
				l.every(Rule{Name: "d", Cron: "*/10 * * * * *", Zone: "UTC", CatchUp: tt.catchUp, Overlap: tt.overlap})
				l.shutDown()
				time.Sleep(tt.down)
				l.start()
				l.sleep(4 * time.Second)
				if got := l.occurrencesOf("d"); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				l.tallied("d", tt.begun, tt.skipped)
				l.accounted("d")
				l.sleep(minute)
				l.tallied("d", tt.begun+6, tt.skipped)
				l.accounted("d")
			})
		})
	}
}

// A year of seconds is one record, and does not take long.
func TestLongDowntime(t *testing.T) {
	for _, rule := range []Rule{{Name: "s", Every: time.Second}, {Name: "s", Cron: "* * * * * *", Zone: "UTC"}} {
		bubble(t, nil, func(l *lab) {
			l.w.scripts = func(supervisor.Key) script { return script{lasts: time.Millisecond} }
			l.every(rule)
			l.shutDown()
			time.Sleep(365 * 24 * hour)
			l.start()
			l.sleep(2 * time.Second)
			v := l.view("s")
			if len(v.Skips) != 1 || v.Tally.Begun != 3 { // the newest was not missed yet
				t.Fatalf("tally %+v, skipped: %v", v.Tally, v.Skips)
			}
			seconds := uint64(365*24*hour/time.Second) - 1
			if s := v.Skips[0]; rule.Every > 0 && (s.Count != seconds || s.More) || rule.Every == 0 && (s.Count != countMost || !s.More) {
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
	for run := range due { // the same in both, whatever happens meanwhile
		bubble(t, nil, func(l *lab) {
			r := l.every(Rule{Name: "j", Every: 10 * minute, Jitter: 4 * minute})
			for range 20 {
				if run == 1 {
					l.restart()
				}
				l.sleep(10 * minute)
			}
			v := l.view("j")
			for id := 1; id <= int(v.Tally.Begun); id++ {
				a := l.get(fmt.Sprint(id))
				late := l.beganAt(a.ID, Activate, 1).Sub(a.Occurrence)
				if late < 0 || late >= 4*minute {
					t.Errorf("%v began %v late", a.Occurrence, late)
				}
				due[run] = append(due[run], a.Start.Sub(r.Created))
			}
			l.accounted("j")
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

// However much jitter there is, one comes after the other.
func TestMuchJitter(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.w.scripts = func(supervisor.Key) script { return script{} }
		l.every(Rule{Name: "j", Every: minute, Jitter: 24 * hour})
		l.sleep(2 * hour)
		v := l.view("j")
		if v.Tally.Begun < 119 || v.Tally.Skipped != 0 {
			t.Errorf("tally %+v", v.Tally)
		}
		l.accounted("j")
	})
}

func TestStartAndEnd(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		now := time.Now()
		l.every(Rule{Name: "m", Every: 7 * minute, Start: now.Add(hour), End: now.Add(hour + 14*minute)})
		l.sleep(10 * hour)
		if got := l.occurrencesOf("m"); got != "01:00:00 succeeded, 01:07:00 succeeded" {
			t.Error(got)
		}
		if v := l.view("m"); !v.Next.IsZero() || !v.Due.IsZero() {
			t.Errorf("next %v, due %v after the end", v.Next, v.Due)
		}
	})
}

func TestRecurrenceAtBoot(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.every(Rule{Name: "b", Cron: "@reboot", Jitter: 30 * minute})
		l.sleep(hour)
		l.restart()
		l.sleep(hour)
		l.tallied("b", 0, 0)
		l.shutDown()
		l.boot = "boot2"
		l.start()
		l.sleep(hour)
		l.restart()
		l.sleep(hour)
		l.tallied("b", 1, 0)
		l.is("1", "succeeded")
		if late := l.beganAt("1", Activate, 1).Sub(l.get("1").Occurrence); late <= 0 || late >= 30*minute {
			t.Errorf("it began %v after the daemon, without its jitter", late)
		}
	})
}

// The engine may die at any instant: each occurrence has one record all the same.
func TestRecurrenceSurvivesDeath(t *testing.T) {
	for calls := 1; calls < 40; calls++ {
		bubble(t, nil, func(l *lab) {
			l.every(Rule{Name: "s", Every: time.Second, Overlap: OverlapParallel, CatchUp: 5})
			for range 5 {
				l.m.dieAfter(calls)
				l.sleep(3 * time.Second)
				l.restart()
			}
			l.sleep(time.Second / 2)
			l.accounted("s")
			if y := l.view("s").Tally; y.Begun < 15 || y.Skipped != 0 {
				t.Errorf("after %d calls: tally %+v", calls, y)
			}
		})
	}
}

// The bubble's clock cannot be set, so a turn's is.
func TestClockSteps(t *testing.T) {
	mem := newMemStore()
	set := testSettings()
	start := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	at := func(now time.Time, fn func(*txn) error) {
		t.Helper()
		err := mem.Update(t.Context(), func(tx store.Tx) error {
			return fn(&txn{Tx: tx, moment: moment{now: now}, zones: new(zones), set: &set, log: slog.New(slog.DiscardHandler)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	at(start, func(x *txn) error {
		_, err := x.addRecurrence(Rule{Name: "m", Cron: "* * * * *", Zone: "Europe/Prague", Overlap: OverlapParallel, Job: NewJob{Argv: []string{"true"}}}, false)
		return err
	})
	look := func(now time.Time, begun, skipped uint64) {
		t.Helper()
		at(now, func(x *txn) error { _, err := x.recurs("m"); return err })
		at(now, func(x *txn) error {
			if y := x.tallyOf("m"); y.Begun != begun || y.Skipped != skipped {
				t.Errorf("at %v: %d begun, %d skipped, want %d and %d", now, y.Begun, y.Skipped, begun, skipped)
			}
			r, err := x.recurrence("m")
			for _, f := range unaccounted(x, r) {
				t.Error(f)
			}
			return err
		})
	}
	look(start.Add(minute), 1, 0)
	look(start.Add(minute), 1, 0)
	look(start.Add(2*minute), 2, 0)
	look(start.Add(2*hour), 2+1, 117) // forward: the newest is in time still, the others missed
	look(start.Add(hour), 3, 117)     // back: nothing again
	look(start.Add(2*hour), 3, 117)
	look(start.Add(2*hour+minute), 4, 117)
	look(start.Add(24*hour), 5, 1440-5) // over the change of the clocks in that night

	// A clock that is far ahead for a moment is one that was wrong.
	correct := func(now, next time.Time) {
		t.Helper()
		at(now, func(x *txn) error {
			if err := x.correct(); err != nil {
				return err
			}
			if r, err := x.recurrence("m"); err != nil || !r.Next.Equal(next) {
				t.Errorf("at %v: the next is %v, %v, want %v", now, r.Next, err, next)
			}
			return nil
		})
	}
	correct(start.Add(12*hour), start.Add(24*hour+minute)) // it may have been right
	at(start.AddDate(70, 0, 0), func(x *txn) error { _, err := x.recurs("m"); return err })
	correct(start.Add(25*hour), start.Add(25*hour+minute))
	at(start.Add(25*hour+minute), func(x *txn) error { _, err := x.recurs("m"); return err })
	correct(start.Add(25*hour+minute), start.Add(25*hour+2*minute))
}

// When the clock is set, and when a daemon starts, it is seen to that none is
// far ahead.
func TestRecurrenceFarAhead(t *testing.T) {
	for name, look := range map[string]func(*lab){
		"step":  func(l *lab) { l.alarm.c <- schedule.Wake{Stepped: true} },
		"start": func(l *lab) { l.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				r := l.every(Rule{Name: "h", Every: hour})
				ahead := *r
				ahead.Last, ahead.Next, ahead.Due = r.Last.AddDate(2098, 0, 0), r.Next.AddDate(98, 0, 0), r.Due.AddDate(98, 0, 0)
				err := l.e.update(context.Background(), func(t *txn) error { return t.saveRecurrence(r, &ahead) })
				if err != nil {
					t.Fatal(err)
				}
				look(l)
				l.sleep(hour)
				l.tallied("h", 1, 0)
			})
		})
	}
}
