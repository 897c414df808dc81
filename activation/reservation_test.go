package activation

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/supervisor"
)

// announced runs a scenario with one source, which announces rs.
func announced(t *testing.T, set func(*Settings), rs func() []reservation.Reservation, fn func(l *lab, src *fakeSource)) {
	t.Helper()
	bubble(t, set, func(l *lab) {
		src := l.source("lab")
		some := rs()
		src.says(some...)
		l.loads(len(some), 0, 0, 0)
		fn(l, src)
	})
}

func one(from, to time.Duration, devices ...string) func() []reservation.Reservation {
	return func() []reservation.Reservation { return []reservation.Reservation{slot("r1", from, to, devices...)} }
}

func TestReservation(t *testing.T) {
	t.Run("a whole life", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour, "sw1"), func(l *lab, src *fakeSource) {
			start := time.Now().Add(hour)
			l.is("r1", "scheduled")
			l.sleep(hour)
			l.is("r1", "activating")
			l.sleep(minute)
			l.is("r1", "active")
			l.because("r1", "")
			l.sleep(2 * hour)
			l.is("r1", "succeeded")
			l.because("r1", "the slot has ended")
			l.ran("r1.activate.1 r1.deactivate.1")
			if at := l.beganAt("r1", Activate, 1); !at.Equal(start) {
				l.t.Errorf("activated at %v, want %v", at, start)
			}
			if at := l.beganAt("r1", Deactivate, 1); !at.Equal(start.Add(2 * hour)) {
				l.t.Errorf("deactivated at %v, want %v", at, start.Add(2*hour))
			}
		})
	})
	t.Run("lead and tail", func(t *testing.T) {
		rs := func() []reservation.Reservation {
			r := slot("r1", hour, 3*hour)
			r.Lead, r.Tail = new(10*minute), new(5*minute)
			return []reservation.Reservation{r}
		}
		announced(t, nil, rs, func(l *lab, src *fakeSource) {
			now := time.Now()
			l.sleep(4 * hour)
			l.is("r1", "succeeded")
			if got := l.beganAt("r1", Activate, 1).Sub(now); got != 50*minute {
				l.t.Errorf("activated after %v, want 50m", got)
			}
			if got := l.beganAt("r1", Deactivate, 1).Sub(now); got != 175*minute {
				l.t.Errorf("deactivated after %v, want 2h55m", got)
			}
		})
	})
	t.Run("its slot runs already", func(t *testing.T) {
		announced(t, nil, one(-hour, hour), func(l *lab, src *fakeSource) {
			l.is("r1", "activating")
			l.sleep(2 * hour)
			l.is("r1", "succeeded")
		})
	})
	t.Run("its slot is over", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.source("lab").says(slot("r1", -2*hour, -hour))
			l.loads(0, 0, 0, 0)
			if _, err := l.e.Get(context.Background(), "r1"); !errors.Is(err, fault.NotFound) {
				l.t.Errorf("Get: %v", err)
			}
		})
	})
	t.Run("the slot ends while it is activated", func(t *testing.T) {
		announced(t, nil, one(0, minute, "sw1"), func(l *lab, src *fakeSource) {
			l.script("r1", Activate, script{hangs: true, onStop: 3 * time.Second})
			// announced() has started it with the script of before: again, with another.
			l.sleep(2 * minute)
			src.says(slot("r1", minute, 2*minute, "sw1"))
			l.loads(0, 1, 0, 0)
			l.sleep(2 * minute)
			l.is("r1", "activating")
			l.because("r1", "the slot ended before it was active")
			l.sleep(3 * time.Second)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "failed")
			l.because("r1", "the slot ended before it was active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2 r1.deactivate.2")
		})
	})
	t.Run("the slot ends while it waits", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.script("1", Activate, script{lasts: 10 * hour})
			l.add(NewJob{Locks: []string{"sw1"}})
			l.sleep(2*hour - 1)
			l.is("r1", "waiting")
			l.sleep(1)
			l.is("r1", "failed")
			l.because("r1", "the slot ended before it was active: waits for lock sw1, held by 1")
			l.sleep(10 * hour)
			l.ran("1.activate.1")
		})
	})
	t.Run("the slot ends while it is held", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.do(Hold, "r1")
			l.sleep(2 * hour)
			l.is("r1", "missed")
		})
	})
	t.Run("activation fails for good", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.script("r1", Activate, fails)
			l.sleep(hour + 12*time.Second) // the second of two tries has just failed
			l.is("r1", "deactivating")
			l.sleep(time.Second)
			l.is("r1", "failed")
			l.because("r1", "activate attempt 2 exited with status 1")
			l.ran("r1.activate.1 r1.activate.2 r1.deactivate.1")
		})
	})
	t.Run("it holds its devices between two tries", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(2 * hour)
			l.script("r2", Activate, fails, quick)
			src.says(slot("r2", 0, hour, "sw1"))
			l.loads(1, 0, 0, 0)
			l.sleep(2 * time.Second)
			l.is("r2", "waiting")
			job := l.add(NewJob{Locks: []string{"sw1"}})
			l.because(job, "waits for lock sw1, held by r2")
			l.sleep(minute)
			l.is("r2", "active")
			l.sleep(hour)
			l.is(job, "succeeded")
		})
	})
	t.Run("missed is skipped", func(t *testing.T) {
		rs := func() []reservation.Reservation {
			r := slot("r1", hour, 3*hour)
			r.Missed = MissedSkip
			return []reservation.Reservation{r}
		}
		announced(t, nil, rs, func(l *lab, src *fakeSource) {
			l.shutDown()
			l.sleep(hour + 2*minute)
			l.start()
			l.is("r1", "missed")
			l.do(Retry, "r1") // an admin decides otherwise
			l.sleep(minute)
			l.is("r1", "active")
		})
	})
	t.Run("missed as a whole", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.shutDown()
			l.sleep(3 * hour)
			l.start()
			l.is("r1", "missed")
			l.because("r1", "its slot was over before anything could run")
			l.ran("")
		})
	})
	t.Run("run early", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.do(RunNow, "r1")
			l.sleep(minute)
			l.is("r1", "active")
			r := slot("r1", 59*minute, 3*hour) // only its end is another
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "active")
			l.sleep(4 * hour)
			l.is("r1", "succeeded")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("no command to undo with", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Reservations.Deactivate = nil }, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(hour)
			l.is("r1", "succeeded")
			l.ran("r1.activate.1")
		})
	})
}

func TestStuck(t *testing.T) {
	stuck := func(t *testing.T, fn func(l *lab)) {
		t.Helper()
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, src *fakeSource) {
			l.script("r1", Deactivate, fails, fails, fails, quick)
			l.sleep(2 * hour)
			l.is("r1", "stuck")
			l.because("r1", "deactivate attempt 3 exited with status 1")
			job := l.add(NewJob{Locks: []string{"sw1"}})
			l.is(job, "waiting")
			fn(l)
			l.sleep(minute)
			l.is(job, "succeeded")
		})
	}
	t.Run("retry", func(t *testing.T) {
		stuck(t, func(l *lab) {
			l.do(Retry, "r1")
			l.is("r1", "deactivating")
			l.sleep(time.Second)
			l.is("r1", "succeeded")
			l.ran("r1.activate.1 r1.deactivate.1 r1.deactivate.2 r1.deactivate.3 r1.deactivate.4 1.activate.1")
		})
	})
	t.Run("forgive", func(t *testing.T) {
		stuck(t, func(l *lab) {
			l.do(Forgive, "r1")
			l.is("r1", "succeeded")
			l.because("r1", "forgiven by root")
		})
	})
	t.Run("forgive, and the daemon dies before it tells who waits", func(t *testing.T) {
		stuck(t, func(l *lab) {
			l.m.dieAfter(1)
			_, _ = l.e.Do(context.Background(), admin, "r1", Forgive, "")
			synctest.Wait()
			l.restart()
		})
	})
}

func TestTwoReservationsOfOneDevice(t *testing.T) {
	rs := func() []reservation.Reservation {
		return []reservation.Reservation{slot("r1", 0, hour, "sw1", "sw2"), slot("r2", hour, 2*hour, "sw2", "sw3"), slot("r3", hour, 2*hour, "sw4")}
	}
	announced(t, nil, rs, func(l *lab, src *fakeSource) {
		l.script("r1", Deactivate, script{lasts: 9 * minute})
		l.sleep(hour)
		l.is("r1", "deactivating")
		l.is("r2", "waiting")
		if got, want := l.get("r2").WaitsFor, []string{"lock sw2, held by r1"}; !slices.Equal(got, want) {
			l.t.Errorf("r2 waits for %q, want %q", got, want)
		}
		l.is("r3", "activating")
		l.sleep(9 * minute)
		l.is("r1", "succeeded")
		end, start := l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).result.Ended, l.beganAt("r2", Activate, 1)
		if !start.Equal(end) {
			l.t.Errorf("the second began at %v, the first was proved undone at %v", start, end)
		}
	})
}

func TestReload(t *testing.T) {
	t.Run("nothing changed", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			rep := l.loads(0, 0, 0, 0)
			if rep.Unchanged != 1 || rep.Generation != 2 {
				l.t.Errorf("%s, %d unchanged", rep.Summary(), rep.Unchanged)
			}
		})
	})
	t.Run("removed before it starts", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			src.says()
			l.loads(0, 0, 1, 0)
			l.is("r1", "cancelled")
			l.because("r1", "its source announces it no more")
		})
	})
	t.Run("removed while active", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says()
			l.loads(0, 0, 1, 0)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "cancelled")
			l.because("r1", "its source announces it no more")
		})
	})
	t.Run("removed while it is undone to be served again", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says(slot("r1", minute, hour))
			l.loads(0, 1, 0, 0)
			l.is("r1", "deactivating")
			src.says()
			l.loads(0, 0, 1, 0)
			l.sleep(hour)
			l.is("r1", "cancelled")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("cancelled while it is undone to be served again", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says(slot("r1", minute, hour))
			l.loads(0, 1, 0, 0)
			l.do(Cancel, "r1")
			l.sleep(hour)
			l.is("r1", "cancelled")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("announced again after it was removed", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour), func(l *lab, src *fakeSource) {
			r := slot("r1", 0, 2*hour)
			l.sleep(minute)
			src.says()
			l.loads(0, 0, 1, 0)
			src.says(r)
			l.loads(1, 0, 0, 0) // while it is being undone
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			src.says()
			l.loads(0, 0, 1, 0)
			l.sleep(minute)
			l.is("r1", "cancelled")
			src.says(r)
			l.loads(1, 0, 0, 0) // when it had been undone
			l.sleep(minute)
			l.is("r1", "active")
		})
	})
	t.Run("what an admin cancelled stays so", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Keep = 2 * minute }, one(hour, 3*hour), func(l *lab, src *fakeSource) {
			l.do(Cancel, "r1")
			r := slot("r1", hour, 4*hour)
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "cancelled")
			l.sleep(10 * minute) // longer than it would be kept if its slot were over
			r.Label = "another"
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "cancelled")
			l.sleep(5 * hour)
			l.ran("")
			if _, err := l.e.Get(context.Background(), "r1"); !errors.Is(err, fault.NotFound) {
				l.t.Errorf("Get after its slot: %v", err)
			}
		})
	})
	t.Run("what an admin holds stays so", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour), func(l *lab, src *fakeSource) {
			l.do(Hold, "r1")
			src.says(slot("r1", 2*hour, 4*hour))
			l.loads(0, 1, 0, 0)
			l.is("r1", "held")
			l.because("r1", "held by root")
		})
	})
	t.Run("what failed is served again when it is moved", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour), func(l *lab, src *fakeSource) {
			l.script("r1", Activate, fails, fails, quick)
			l.sleep(2 * hour)
			l.is("r1", "failed")
			r := slot("r1", hour, 2*hour)
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "scheduled")
			l.sleep(90 * minute)
			l.is("r1", "active")
		})
	})
	t.Run("what failed is not tried again for a label", func(t *testing.T) {
		announced(t, nil, one(0, 3*hour), func(l *lab, src *fakeSource) {
			l.do(Cancel, "r1")
			l.script("r2", Activate, fails)
			r := slot("r2", 0, 3*hour)
			src.says(r)
			l.load(LoadOptions{})
			l.sleep(hour)
			l.is("r2", "failed")
			r.Label = "another"
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r2", "failed")
		})
	})
}

func TestMoved(t *testing.T) {
	start := time.Duration(0)
	moved := func(name, state string, from, to time.Duration, fn func(l *lab)) {
		t.Run(name, func(t *testing.T) {
			announced(t, nil, one(start, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
				switch state {
				case "active":
					l.sleep(minute)
				case "waiting":
					l.do(Cancel, "r1")
					l.sleep(minute)
					l.script("1", Activate, long)
					l.add(NewJob{Locks: []string{"sw1"}})
					src.says(slot("r1", 0, 2*hour, "sw1"))
					l.load(LoadOptions{})
					l.do(Retry, "r1")
				}
				l.is("r1", state)
				src.says(slot("r1", from, to, "sw1"))
				l.loads(0, 1, 0, 0)
				fn(l)
			})
		})
	}
	moved("to the future while active", "active", hour, 2*hour, func(l *lab) {
		l.is("r1", "deactivating")
		l.sleep(minute)
		l.is("r1", "scheduled")
		l.because("r1", "was undone, to be served again: its reservation was changed")
		l.sleep(90 * minute)
		l.is("r1", "active")
		l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
	})
	moved("to the future while activating", "activating", hour, 2*hour, func(l *lab) {
		l.sleep(minute)
		l.is("r1", "scheduled")
		l.sleep(90 * minute)
		l.is("r1", "active")
	})
	moved("end later while active", "active", -minute, 5*hour, func(l *lab) {
		l.sleep(3 * hour)
		l.is("r1", "active")
		l.sleep(2*hour + minute)
		l.is("r1", "succeeded")
	})
	moved("end sooner while active", "active", -minute, hour, func(l *lab) {
		l.sleep(hour)
		l.is("r1", "deactivating")
	})
	moved("end has passed while active", "active", -minute, -time.Second, func(l *lab) {
		l.is("r1", "deactivating")
		l.sleep(minute)
		l.is("r1", "succeeded")
	})
	moved("to the future while waiting", "waiting", 90*minute, 3*hour, func(l *lab) {
		l.is("r1", "scheduled")
		job := l.add(NewJob{Locks: []string{"sw1"}})
		l.sleep(hour)
		l.is(job, "activating") // it does not stand in the way
		l.sleep(hour)
		l.is("r1", "active")
	})
	moved("end later while waiting keeps its place", "waiting", 0, 5*hour, func(l *lab) {
		l.is("r1", "waiting")
		job := l.add(NewJob{Locks: []string{"sw1"}})
		l.sleep(hour)
		l.is("r1", "activating")
		l.is(job, "waiting")
	})
	start = hour
	moved("to now while scheduled", "scheduled", 0, hour, func(l *lab) {
		l.is("r1", "activating")
	})
	moved("to another future while scheduled", "scheduled", 3*hour, 4*hour, func(l *lab) {
		l.sleep(2 * hour)
		l.is("r1", "scheduled")
		l.sleep(90 * minute)
		l.is("r1", "active")
	})
	moved("to the past while scheduled", "scheduled", -2*hour, -hour, func(l *lab) {
		l.is("r1", "missed")
	})
}

func TestMovedWhileArmed(t *testing.T) {
	announced(t, func(s *Settings) { s.ArmAhead = time.Second }, one(hour, 2*hour), func(l *lab, src *fakeSource) {
		l.sleep(hour - time.Second)
		l.is("r1", "activating")
		at := time.Now().Add(1500 * time.Millisecond) // half a second later than it was
		src.says(slot("r1", 1500*time.Millisecond, hour))
		l.loads(0, 1, 0, 0)
		l.sleep(minute)
		l.is("r1", "active")
		l.ran("r1.activate.2") // the first was disarmed, and nothing had to be undone
		if began := l.beganAt("r1", Activate, 2); !began.Equal(at) {
			l.t.Errorf("it began at %v, want %v", began, at)
		}
	})
}

func TestDevicesChange(t *testing.T) {
	t.Run("while active: the old ones are held and undone", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says(slot("r1", -minute, hour, "sw2"))
			rep := l.loads(0, 1, 0, 0)
			if !slices.ContainsFunc(rep.Lines, func(l ReportLine) bool { return l.What == "notice" && l.ID == "r1" }) {
				l.t.Errorf("nothing says that the old devices are in use: %v", rep.Lines)
			}
			l.is("r1", "active")
			job := l.add(NewJob{Locks: []string{"sw1"}})
			l.is(job, "waiting")
			l.sleep(2 * hour)
			env := l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec.Env
			if !slices.Contains(env, "ACTIVATION_DEVICES=sw1") {
				l.t.Errorf("undone with %q", env)
			}
		})
	})
	t.Run("while waiting: it is in line for the new ones", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("lab")
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw1"}})
			src.says(slot("r1", 0, 2*hour, "sw1"))
			l.loads(1, 0, 0, 0)
			behind := l.add(NewJob{Locks: []string{"sw1"}})
			src.says(slot("r1", 0, 2*hour, "sw2"))
			l.loads(0, 1, 0, 0)
			l.is("r1", "activating")
			l.sleep(hour)
			l.is(behind, "activating")
		})
	})
	t.Run("while activating: the next try is for the old ones", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("lab")
			l.script("r1", Activate, fails, quick)
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw2"}})
			r := slot("r1", 0, 2*hour, "sw1")
			r.Topology = "old"
			src.says(r)
			l.loads(1, 0, 0, 0)
			r.Topology, r.Devices = "new", []string{"sw2"}
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.sleep(minute)
			l.is("r1", "active") // it does not wait for another's device with half of its own done
			l.sleep(3 * hour)
			for _, k := range []supervisor.Key{{ID: "r1", Phase: Activate, N: 2}, {ID: "r1", Phase: Deactivate, N: 1}} {
				spec := l.w.run(k).spec
				if string(spec.Topology) != "old" || !slices.Contains(spec.Env, "ACTIVATION_DEVICES=sw1") {
					l.t.Errorf("%v: topology %q, %q", k, spec.Topology, spec.Env)
				}
			}
		})
	})
	t.Run("between two tries: what is half done is undone first", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("lab")
			l.script("r1", Activate, fails, quick)
			src.says(slot("r1", 0, 2*hour, "sw1"))
			l.loads(1, 0, 0, 0)
			l.sleep(2 * time.Second)
			l.is("r1", "waiting")
			src.says(slot("r1", 0, 2*hour, "sw2"))
			l.loads(0, 1, 0, 0)
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			if got := l.get("r1").Held; !slices.Equal(got, []string{"sw2"}) {
				l.t.Errorf("it holds %q", got)
			}
		})
	})
}

func TestHeldBetweenTwoTries(t *testing.T) {
	announced(t, func(s *Settings) { s.ArmAhead = time.Second }, one(hour, 3*hour, "sw1"), func(l *lab, src *fakeSource) {
		l.script("r1", Activate, fails, script{noStart: errors.New("no more processes")}, quick)
		l.sleep(hour + 2*time.Second)
		l.is("r1", "waiting")
		l.do(Hold, "r1")
		job := l.add(NewJob{Locks: []string{"sw1"}})
		l.is(job, "waiting") // what was half done is still there
		l.do(Release, "r1") // what does not start now does not undo it either
		l.sleep(minute)
		l.is("r1", "active")
		l.is(job, "waiting")
		l.sleep(3 * hour)
		l.is("r1", "succeeded")
		l.is(job, "succeeded")
	})
}

func TestGuardAndForce(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		src := l.source("lab")
		src.says(slot("r1", hour, 2*hour), slot("r2", hour, 2*hour), slot("r3", hour, 2*hour))
		l.loads(3, 0, 0, 0)
		src.says(slot("r1", hour, 2*hour))
		rep := l.loads(0, 0, 0, 0)
		if !errors.Is(rep.Err, fault.Conflict) {
			l.t.Errorf("a load that removes two of three: %v, want a conflict", rep.Err)
		}
		l.is("r2", "scheduled")
		if got := l.status("lab").Error; got == "" {
			l.t.Error("the status does not say that a source was not loaded")
		}
		rep = l.load(LoadOptions{DryRun: true, Force: true})
		if rep.Removed != 2 || rep.Generation != 1 {
			l.t.Errorf("dry run: %s", rep.Summary())
		}
		l.is("r2", "scheduled")
		rep = l.load(LoadOptions{Force: true})
		if rep.Removed != 2 || rep.Err != nil {
			l.t.Errorf("forced: %s, %v", rep.Summary(), rep.Err)
		}
		l.is("r2", "cancelled")
		if got := l.status("lab"); got.Error != "" || got.Live != 1 {
			l.t.Errorf("status %+v, want one live and no error", got)
		}
	})
}

func (l *lab) status(source string) SourceStatus {
	l.t.Helper()
	s, err := l.e.Status(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, src := range s.Sources {
		if src.Name == source {
			return src
		}
	}
	l.t.Fatalf("no source %s in %+v", source, s.Sources)
	return SourceStatus{}
}

func (l *lab) sourceOf(id string) string {
	l.t.Helper()
	v := l.get(id)
	return v.SourceName()
}

func TestSeveralSources(t *testing.T) {
	t.Run("one fails, the other is loaded", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			a, b := l.source("a"), l.source("b")
			a.says(slot("r1", hour, 2*hour))
			b.says(slot("r2", hour, 2*hour))
			l.loads(2, 0, 0, 0)
			a.err = errors.New("connection refused")
			b.says(slot("r2", hour, 2*hour), slot("r3", hour, 2*hour))
			rep := l.loads(1, 0, 0, 0)
			if rep.Err == nil {
				l.t.Error("the load does not say that a source failed")
			}
			l.is("r1", "scheduled")
			l.is("r3", "scheduled")
		})
	})
	t.Run("the same id in both", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			a, b := l.source("a"), l.source("b")
			a.says(slot("r1", hour, 2*hour))
			b.says(slot("r1", 3*hour, 4*hour))
			l.loads(1, 0, 0, 1)
			if got := l.sourceOf("r1"); got != "a" {
				l.t.Errorf("it is of source %q, want the first", got)
			}
			l.loads(0, 0, 0, 1) // it is still there
			a.says()
			l.loads(0, 1, 0, 0) // the other one's counts now, though that has not changed
			if got := l.sourceOf("r1"); got != "b" {
				l.t.Errorf("it is of source %q, want b", got)
			}
		})
	})
	t.Run("an active one changes its source and goes on", func(t *testing.T) {
		for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
			bubble(t, nil, func(l *lab) {
				l.source("a")
				l.source("b")
				from, to := l.srcs[0].Source.(*fakeSource), l.srcs[1].Source.(*fakeSource)
				if names[0] == "b" {
					from, to = to, from
				}
				r := slot("r1", 0, 2*hour)
				from.says(r)
				l.loads(1, 0, 0, 0)
				l.sleep(minute)
				from.says()
				to.says(r)
				l.loads(0, 1, 0, 0)
				l.is("r1", "active")
				if got := l.sourceOf("r1"); got != to.name {
					l.t.Errorf("it is of source %q, want %q", got, to.name)
				}
			})
		}
	})
	t.Run("one is not configured any more", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.source("a").says(slot("r1", hour, 2*hour))
			l.source("with/slash").says(slot("r2", hour, 2*hour))
			l.loads(2, 0, 0, 0)
			l.srcs = l.srcs[:1]
			l.e.SetSources(l.srcs)
			l.loads(0, 0, 1, 0)
			l.is("r1", "scheduled")
			l.is("r2", "cancelled")
			l.because("r2", "its source is not configured any more")
			if n := len(l.mem.sorted(loadKey)); n != 1 {
				l.t.Errorf("%d sources are remembered, want 1", n)
			}
		})
	})
	t.Run("other defaults are another reservation", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.srcs = []Source{{Source: src, Lead: 10 * minute, Missed: MissedRun}}
			l.e.SetSources(l.srcs)
			l.loads(0, 1, 0, 0)
			l.sleep(50 * minute)
			l.is("r1", "activating")
		})
	})
	t.Run("a default tail that is longer than the slot", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("a")
			l.srcs[0].Tail = hour
			l.e.SetSources(l.srcs)
			src.says(slot("r1", hour, 2*hour), slot("r2", hour, 3*hour))
			l.loads(1, 0, 0, 1)
		})
	})
}

// Who asks while a load runs is answered by one that began after he asked, and
// all of them by the same.
func TestLoadsAreMerged(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		src := l.source("lab")
		gate := make(chan struct{})
		src.gate = gate
		type answer struct {
			rep  Report
			live int
		}
		answers := make(chan answer, 10)
		ask := func() {
			rep, err := l.e.Load(context.Background(), LoadOptions{})
			if err != nil {
				l.t.Error(err)
			}
			answers <- answer{rep, rep.Added}
		}
		go ask()
		synctest.Wait() // the first load reads
		src.says(slot("r1", hour, 2*hour))
		for range 5 {
			go ask()
		}
		l.e.AskLoad()
		synctest.Wait()
		gate <- struct{}{}
		if a := <-answers; a.rep.Generation != 1 || a.rep.Added != 0 {
			l.t.Errorf("the first load: %s", a.rep.Summary())
		}
		gate <- struct{}{}
		for range 5 {
			if a := <-answers; a.rep.Generation != 2 || a.rep.Added != 1 {
				l.t.Errorf("a load that was asked for meanwhile: %s", a.rep.Summary())
			}
		}
		synctest.Wait()
		if src.read != 2 {
			l.t.Errorf("it was read %d times, want 2", src.read)
		}
		src.gate = nil
	})
}

func TestLoadWhenTheDaemonStops(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		src := l.source("lab")
		src.gate = make(chan struct{})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := l.e.Load(context.Background(), LoadOptions{})
				errs <- err
			}()
			synctest.Wait()
		}
		l.shutDown()
		for range 2 {
			if err := <-errs; err == nil {
				l.t.Error("a load that was not done has no error")
			}
		}
	})
}

func TestLinkconf(t *testing.T) {
	ctx := context.Background()
	link := func(l *lab, id, text string) {
		l.t.Helper()
		if err := l.e.Link(ctx, id, []byte(text)); err != nil {
			l.t.Fatalf("Link(%s): %v", id, err)
		}
		synctest.Wait()
	}
	t.Run("before it is announced", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			link(l, "r1", "sw1 sw2")
			src := l.source("lab")
			src.says(slot("r1", minute, hour))
			l.loads(1, 0, 0, 0)
			if got := l.get("r1").Devices; !slices.Equal(got, []string{"sw1", "sw2"}) {
				l.t.Errorf("devices %q", got)
			}
			l.sleep(2 * minute)
			if got := string(l.w.run(supervisor.Key{ID: "r1", Phase: Activate, N: 1}).spec.Topology); got != "sw1 sw2" {
				l.t.Errorf("activated with topology %q", got)
			}
			if err := l.e.Link(ctx, "r1", []byte("sw3")); !errors.Is(err, fault.Conflict) {
				l.t.Errorf("Link of what is active: %v, want a conflict", err)
			}
			l.sleep(hour)
			if got := string(l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec.Topology); got != "sw1 sw2" {
				l.t.Errorf("undone with topology %q", got)
			}
		})
	})
	t.Run("after it was announced, and taken away", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			link(l, "r1", "sw1")
			if got := l.get("r1"); got.Topology != "sw1" || !slices.Equal(got.Devices, []string{"sw1"}) {
				l.t.Errorf("topology %q, devices %q", got.Topology, got.Devices)
			}
			if err := l.e.Unlink(ctx, "r1"); err != nil {
				l.t.Fatal(err)
			}
			if got := l.get("r1"); got.Topology != "" || len(got.Devices) != 0 {
				l.t.Errorf("topology %q, devices %q", got.Topology, got.Devices)
			}
			if err := l.e.Unlink(ctx, "r1"); !errors.Is(err, fault.NotFound) {
				l.t.Errorf("Unlink of nothing: %v", err)
			}
		})
	})
	t.Run("while it waits", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			link(l, "r1", "sw1")
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw1"}})
			src := l.source("lab")
			src.says(slot("r1", 0, 3*hour))
			l.loads(1, 0, 0, 0)
			l.is("r1", "waiting")
			link(l, "r1", "sw2")
			l.is("r1", "activating")
		})
	})
	t.Run("a crash while it waits for what it does not want any more", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			link(l, "r1", "sw1")
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw1"}})
			src := l.source("lab")
			src.says(slot("r1", 0, 3*hour))
			l.loads(1, 0, 0, 0)
			l.m.dieAfter(1) // when it is written, and nobody has been told
			_ = l.e.Unlink(ctx, "r1")
			synctest.Wait()
			l.restart()
			l.is("r1", "activating")
		})
	})
}

func TestReboot(t *testing.T) {
	reboot := func(l *lab) {
		l.shutDown()
		l.w.powerLoss()
		l.boot += "'"
		l.start()
	}
	t.Run("what was active is undone and activated again", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			reboot(l)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			l.sleep(2 * hour)
			l.is("r1", "succeeded")
		})
	})
	t.Run("what ran is lost, undone and activated again", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			reboot(l)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "active")
		})
	})
	t.Run("what had just come up when the machine went down", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.shutDown() // before its end is recorded
			l.sleep(minute)
			l.boot += "'"
			l.start()
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
		})
	})
	t.Run("a job that ran is lost", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{})
			reboot(l)
			l.is(id, "lost")
		})
	})
	// The run directory may have gone with the power, with all that it said.
	t.Run("a job that was claimed may have run", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{})
			l.shutDown()
			l.w.powerLoss()
			delete(l.w.runs, supervisor.Key{ID: id, Phase: Activate, N: 1})
			l.boot += "'"
			l.start()
			l.is(id, "lost")
			l.ran("1.activate.1")
		})
	})
	// Dying again before it has taken all that up must change nothing.
	for calls := range 8 {
		t.Run("and the daemon dies after "+itoa(calls)+" calls", func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				src := l.source("lab")
				src.says(slot("r1", 0, 2*hour), slot("r2", minute, 2*hour))
				l.loads(2, 0, 0, 0)
				l.script("1", Activate, long)
				l.sleep(minute)
				id := l.add(NewJob{})
				l.is("r1", "active")
				l.is("r2", "activating")
				l.dieAtOnce = calls
				reboot(l)
				l.restart()
				l.sleep(minute)
				l.is(id, "lost")
				l.is("r1", "active")
				l.is("r2", "active")
				began := make(map[string]int)
				for _, k := range l.w.order {
					began[k.ID+" "+k.Phase]++
				}
				for what, want := range map[string]int{
					"r1 activate": 2, "r1 deactivate": 1, "r2 activate": 2, "r2 deactivate": 1, "1 activate": 1,
				} {
					if began[what] != want {
						l.t.Errorf("%s began %d times, want %d", what, began[what], want)
					}
				}
			})
		})
	}
	t.Run("its slot ended meanwhile", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			l.shutDown()
			l.sleep(3 * hour)
			l.boot += "'"
			l.start()
			l.sleep(minute)
			l.is("r1", "lost")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
}

func TestSpec(t *testing.T) {
	set := func(s *Settings) {
		s.BaseEnv = []string{"PATH=/bin", "LANG=C"}
		s.Reservations.Env = map[string]string{"LAB": "one", "COLOUR": "red"}
		s.Umask, s.SwitchUsers = 0o22, true
		s.Reservations.User = &Identity{UID: 7, GID: 8, Name: "lab", Home: "/lab", Shell: "/bin/sh"}
	}
	rs := func() []reservation.Reservation {
		r := slot("r1", 0, hour, "sw1", "sw2")
		r.Env = map[string]string{"LAB": "two"}
		r.Timeout = new(5 * minute)
		return []reservation.Reservation{r}
	}
	announced(t, set, rs, func(l *lab, src *fakeSource) {
		l.sleep(2 * hour)
		up, down := l.w.run(supervisor.Key{ID: "r1", Phase: Activate, N: 1}).spec, l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec
		for _, kv := range []string{
			"PATH=/bin", "LAB=two", "COLOUR=red", "USER=lab", "HOME=/lab", "ACTIVATION_ID=r1", "ACTIVATION_PHASE=activate",
			"ACTIVATION_ATTEMPT=1", "ACTIVATION_FENCE=1", "ACTIVATION_OWNER=group7", "ACTIVATION_DEVICES=sw1 sw2",
			"ACTIVATION_START=2000-01-01T00:00:00Z", "ACTIVATION_END=2000-01-01T01:00:00Z", "ACTIVATIOND_SOCKET=/sock",
		} {
			if !slices.Contains(up.Env, kv) {
				l.t.Errorf("no %s in %q", kv, up.Env)
			}
		}
		if slices.Contains(up.Env, "LAB=one") {
			l.t.Error("LAB is there twice")
		}
		if up.Timeout != 5*minute || down.Timeout != 10*minute || up.UID != 7 || up.Umask != 0o22 {
			l.t.Errorf("timeouts %v, %v, uid %d, umask %o", up.Timeout, down.Timeout, up.UID, up.Umask)
		}
		if !slices.Equal(up.Argv, []string{"up"}) || !slices.Equal(down.Argv, []string{"down"}) {
			l.t.Errorf("commands %q, %q", up.Argv, down.Argv)
		}
	})
}
