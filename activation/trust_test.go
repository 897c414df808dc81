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

// Each row is a clock as it is read again and again: seconds of uptime, what the wall
// clock shows in minutes after midnight, and whether the kernel says that it is
// synchronised. What is known at first is that it was midnight at uptime 0.
func TestTrust(t *testing.T) {
	midnight := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	type read struct {
		up     float64
		wall   float64
		synced bool
	}
	tests := []struct {
		name  string
		reads []read
		doubt string // after each: d is in doubt, . is trusted
	}{
		{"time goes on", []read{{60, 1, false}, {3600, 60, false}, {36000, 600, false}}, "..."},
		{"it sleeps for hours, and the uptime with it", []read{{36000, 600, false}}, "."},
		{"a step of an hour", []read{{60, 61, false}, {120, 122, false}}, ".."},
		{"a step of more than an hour", []read{{60, 62, false}}, "d"},
		{"a step back of more than an hour", []read{{60, -60, false}}, "d"},
		{"a step that is synchronised", []read{{60, 6000, true}}, "."},
		{"synchronised after a while", []read{{60, 6000, false}, {65, 6000, false}, {70, 6000, true}, {75, 6000, false}}, "dd.."},
		{"ten minutes", []read{{60, 6000, false}, {659, 6010, false}, {660, 6010, false}, {720, 6011, false}}, "dd.."},
		{"back within ten minutes", []read{{60, 6000, false}, {90, 1.5, false}, {120, 2, false}}, "d.."},
		{"about back", []read{{60, 6000, false}, {90, 50, false}}, "d."},
		{"yet another step begins the ten minutes anew", []read{{60, 6000, false}, {600, 9000, false}, {1199, 9010, false}, {1200, 9010, false}}, "ddd."},
		{"a small step more does not", []read{{60, 6000, false}, {600, 6020, false}, {661, 6021, false}}, "dd."},
		{"back by a part only", []read{{60, 6000, false}, {600, 120, false}, {661, 121, false}, {1201, 130, false}}, "ddd."},
		{"1970, and the time again", []read{{60, -29000000, false}, {120, 2, false}}, "d."},
		{"1970 for long, and the time again", []read{{60, -29000000, false}, {660, -28999990, false}, {720, 12, false}, {1319, 22, false}, {1320, 22, false}}, "d.dd."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := trust{}.next(mark{Wall: midnight}, func() bool { return false })
			var doubt strings.Builder
			for _, r := range tt.reads {
				k = k.next(mark{
					Wall: midnight.Add(time.Duration(r.wall * float64(minute))), Up: time.Duration(r.up * float64(time.Second)),
				}, func() bool { return r.synced })
				if k.doubt {
					doubt.WriteByte('d')
				} else {
					doubt.WriteByte('.')
				}
			}
			if doubt.String() != tt.doubt {
				t.Errorf("in doubt after each: %s, want %s", doubt.String(), tt.doubt)
			}
		})
	}
}

// What the clock passed over is undecided, what comes as it goes on is not.
func TestMoment(t *testing.T) {
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	never := func() bool { return false }
	k := trust{}.next(mark{Wall: noon}, never)
	read := mark{Wall: noon.Add(3 * hour), Up: minute} // at 12:01 it was set to 15:00
	k = k.next(read, never)
	read = mark{Wall: read.Wall.Add(2 * minute), Up: read.Up + 2*minute}
	k = k.next(read, never)
	m := k.moment(read) // 15:02, or 12:03
	for _, tt := range []struct {
		name string
		at   time.Duration // after noon
		come bool
		late time.Duration
	}{
		{"before it was set", 0, true, 3 * minute},
		{"by the old clock, too", 3 * minute, true, 0},
		{"passed over", 3*minute + 1, false, 0},
		{"passed over, long before", 2 * hour, false, 0},
		{"passed over at last", 3*hour - 1, false, 0},
		{"to which it was set", 3 * hour, true, 2 * minute},
		{"as time goes on", 3*hour + minute, true, minute},
		{"still to come", 3*hour + 3*minute, false, 0},
	} {
		at := noon.Add(tt.at)
		if come := m.come(at); come != tt.come {
			t.Errorf("%s: come = %v, want %v", tt.name, come, tt.come)
		} else if late := m.late(at); come && late != tt.late {
			t.Errorf("%s: late by %v, want %v", tt.name, late, tt.late)
		}
	}
	read = mark{Wall: read.Wall.Add(8 * minute), Up: read.Up + 8*minute}
	m = k.next(read, never).moment(read)
	if at := noon.Add(hour); !m.come(at) || m.late(at) != 2*hour {
		t.Errorf("when it is believed, what was passed over has come: %v, and is late by %v, want no more than when the clock was set", m.come(at), m.late(at))
	}
}

// doubtful makes a lab whose clock nobody vouches for.
func doubtful(t *testing.T, set func(*Settings), fn func(l *lab)) {
	bubble(t, set, func(l *lab) {
		l.clock.mu.Lock()
		l.clock.synced = false
		l.clock.mu.Unlock()
		fn(l)
	})
}

// A clock that was far ahead for a moment had the whole history pruned, made of all
// jobs, occurrences and reservations to come missed ones, and took labs down.
func TestClockFarAheadForAMoment(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"hours": 90 * minute, "years": 30000 * hour} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, nil, func(l *lab) {
				src := l.source("src")
				up, later, added := slot("up@x", -minute, hour, "r1"), slot("later@x", 40*minute, hour, "r2"), slot("new@x", 50*minute, hour, "r3")
				src.says(up, later)
				l.loads(2, 0, 0, 0)
				old := l.add(NewJob{})
				soon := l.add(NewJob{At: time.Now().Add(hour)})
				late := l.add(NewJob{At: time.Now().Add(hour), Deadline: time.Now().Add(80 * minute)})
				l.every(Rule{Name: "m", Cron: "*/20 * * * *", Zone: "UTC"})
				l.sleep(30 * minute)
				l.script("w", Activate, long)
				before := l.view("m")
				l.tallied("m", 1, 0)
				l.setClock(ahead)
				l.sleep(5 * minute)
				src.says(up, later, added)
				l.loads(1, 0, 0, 0)
				l.setClock(-ahead)
				l.sleep(time.Second)
				l.is(old, "succeeded") // and is there
				l.is(soon, "scheduled")
				l.is(late, "scheduled")
				l.is("up@x", "active")
				l.is("later@x", "scheduled")
				l.is("new@x", "scheduled")
				if after := l.view("m"); !after.Next.Equal(before.Next) || !after.Passed.IsZero() {
					t.Errorf("the next occurrence is %v, and was %v", after.Next, before.Next)
				}
				l.sleep(25 * minute) // to 01:00:01
				l.is(soon, "succeeded")
				l.is(late, "succeeded")
				l.is("up@x", "succeeded")
				l.sleep(hour)
				l.is("later@x", "succeeded")
			})
		})
	}
}

// A clock that stays where it was set is believed after ten minutes, or at once if
// the kernel vouches for it. Then what it passed over is decided.
func TestClockSetForward(t *testing.T) {
	for name, wait := range map[string]time.Duration{"synchronised": askKernel, "ten minutes": patience} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, func(s *Settings) { s.Keep = 100 * hour; s.MissedGrace = 3 * hour }, func(l *lab) {
				src := l.source("src")
				src.says(slot("up@x", -minute, hour, "r1"), slot("over@x", hour, 90*minute, "r2"), slot("on@x", hour, 300*hour, "r3"))
				l.loads(3, 0, 0, 0)
				old := l.add(NewJob{})
				missed := l.add(NewJob{At: time.Now().Add(hour)})
				run := l.add(NewJob{At: time.Now().Add(198 * hour)})                               // two hours late, then
				ontime := l.add(NewJob{At: time.Now().Add(200*hour + minute), Missed: MissedSkip}) // half a minute late, then
				soon := l.add(NewJob{At: time.Now().Add(200*hour + 2*minute)})
				l.every(Rule{Name: "m", Cron: "*/10 * * * *", Zone: "UTC", CatchUp: 3})
				l.sleep(90 * time.Second)
				l.setClock(200 * hour) // and it is 00:01:30 again
				l.sleep(time.Second)
				l.is(ontime, "scheduled")
				l.is(missed, "scheduled")
				l.is(run, "scheduled")
				if why := l.get(run).Reason; !strings.HasPrefix(why, "its time was passed over when the clock was set") {
					t.Errorf("reason %q", why)
				}
				l.is("up@x", "active")
				if s, err := l.e.Status(context.Background()); err != nil || !strings.Contains(s.Doubt, "went forward by 200h0m0s") {
					t.Errorf("status: %q, %v", s.Doubt, err)
				}
				now := l.add(NewJob{})
				l.is(now, "activating")
				if name == "synchronised" {
					l.clock.mu.Lock()
					l.clock.synced = true
					l.clock.mu.Unlock()
				} else {
					l.sleep(wait - 2*time.Second)
					l.is(now, "succeeded")
					l.is(soon, "succeeded")
					l.tallied("m", 1, 0) // at 00:10
					l.is(missed, "scheduled")
					l.is("over@x", "scheduled")
					l.is(old, "succeeded")
				}
				l.sleep(minute)
				l.is(missed, "missed")
				l.is(run, "succeeded")
				l.is(ontime, "succeeded")
				l.is("up@x", "succeeded")
				l.is("over@x", "missed")
				l.is("on@x", "active")
				if _, err := l.e.Get(context.Background(), old); !errors.Is(err, fault.NotFound) {
					t.Errorf("the history is still there: %v", err)
				}
				l.tallied("m", 3+uint64(wait/patience), 200*6-3)
				if s, err := l.e.Status(context.Background()); err != nil || s.Doubt != "" {
					t.Errorf("status: %q, %v", s.Doubt, err)
				}
			})
		})
	}
}

// What has to be over by the clock that is in doubt neither ends nor starts.
func TestWaitingPastItsEnd(t *testing.T) {
	doubtful(t, nil, func(l *lab) {
		l.script("1", Activate, script{lasts: 5 * minute})
		l.add(NewJob{Locks: []string{"a"}})
		dead := l.add(NewJob{Locks: []string{"a"}, Deadline: time.Now().Add(hour)})
		behind := l.add(NewJob{Locks: []string{"a"}})
		l.setClock(2 * hour)
		l.sleep(5 * minute)
		l.is("1", "succeeded")
		l.is(dead, "waiting")
		if why := l.get(dead).Reason; why != waitsFor+trustedClock {
			t.Errorf("reason %q", why)
		}
		l.is(behind, "waiting")
		l.sleep(6 * minute)
		l.is(dead, "missed")
		l.is(behind, "succeeded")
	})
}

// Who waits for the clock to be trusted keeps nobody from a slot. It keeps out that
// one who is first in line for a slot, and must not have it, has all others wait.
func TestWaitingPastItsEndForASlot(t *testing.T) {
	doubtful(t, func(s *Settings) { s.MaxParallel = 1 }, func(l *lab) {
		l.script("1", Activate, script{lasts: minute})
		l.add(NewJob{})
		dead := l.add(NewJob{Deadline: time.Now().Add(hour)})
		behind := l.add(NewJob{})
		l.setClock(2 * hour)
		l.sleep(2 * minute)
		l.is(dead, "waiting")
		l.is(behind, "succeeded")
		l.setClock(-2 * hour)
		l.sleep(2 * time.Second)
		l.is(dead, "succeeded")
	})
}

// A daemon that starts sees that the clock was set while it was down, and one that
// starts on a machine with a flat battery, or with a wrong clock, does.
func TestClockIsWrongAtTheStart(t *testing.T) {
	for name, tt := range map[string]struct {
		down, set time.Duration
		boot      bool
		doubt     bool
	}{
		"the daemon was down for long":                {10 * hour, 0, false, false},
		"the clock was set meanwhile":                 {minute, 2 * hour, false, true},
		"the clock was set back meanwhile":            {10 * hour, -2 * hour, false, true},
		"the machine was off for an hour":             {20 * minute, 0, true, false},
		"it was off for a day, or its clock is wrong": {24 * hour, 0, true, true},
		"its clock is years ahead":                    {minute, 20000 * hour, true, true},
		"its clock begins anew":                       {minute, -20000 * hour, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, func(s *Settings) { s.Keep = hour }, func(l *lab) {
				old := l.add(NewJob{})
				l.sleep(10 * minute)
				l.shutDown()
				time.Sleep(tt.down)
				l.setClock(tt.set)
				if tt.boot {
					l.boot = "boot2"
					l.clock.mu.Lock()
					l.clock.started = time.Now()
					l.clock.mu.Unlock()
				}
				l.start()
				s, err := l.e.Status(context.Background())
				if doubt := s.Doubt != ""; err != nil || doubt != tt.doubt {
					t.Errorf("in doubt: %q, %v, want %v", s.Doubt, err, tt.doubt)
				}
				_, err = l.e.Get(context.Background(), old)
				if pruned := errors.Is(err, fault.NotFound); pruned != (!tt.doubt && tt.down > hour) {
					t.Errorf("the history is pruned: %v", pruned)
				}
				l.sleep(patience)
				if s, err := l.e.Status(context.Background()); err != nil || s.Doubt != "" {
					t.Errorf("in doubt after ten minutes: %q, %v", s.Doubt, err)
				}
			})
		})
	}
}

// On a machine with a flat battery time begins in 1970 at each start. What recurs
// neither begins anew there, nor comes again when the clock is set: it goes on.
func TestClockBeginsAnew(t *testing.T) {
	for name, long := range map[string]time.Duration{"for a minute": minute, "for an hour": hour} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, func(s *Settings) { s.MaxParallel = 1 }, func(l *lab) {
				l.every(Rule{Name: "m", Cron: "*/10 * * * *", Zone: "UTC", CatchUp: MaxCatchUp, Overlap: OverlapParallel})
				soon := l.add(NewJob{At: time.Now().Add(35 * minute)})
				l.sleep(25 * minute)
				l.shutDown()
				l.boot = "boot2"
				years := l.now().Sub(time.Unix(0, 0))
				l.setClock(-years)
				l.clock.mu.Lock()
				l.clock.started = time.Now()
				l.clock.mu.Unlock()
				l.start()
				l.sleep(long)
				begun := l.view("m").Tally.Begun
				if long < patience && begun != 2 {
					t.Errorf("%d occurrences before the clock was set, want those 2 of before", begun)
				}
				l.is(soon, "scheduled")
				l.setClock(years + 10*minute)
				l.sleep(patience + minute)
				l.is(soon, "succeeded")
				now := uint64(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))+10*minute) / uint64(10*minute)
				if y := l.view("m").Tally; y.Begun != now+begun-2 || y.Skipped != 0 {
					t.Errorf("begun %d, %d of them in 1970, skipped %d; want %d, each once", y.Begun, begun-2, y.Skipped, now+begun-2)
				}
			})
		})
	}
}

// A machine that sleeps wakes to a later time, of which there is no doubt.
func TestSleepIsNoStep(t *testing.T) {
	doubtful(t, nil, func(l *lab) {
		missed := l.add(NewJob{At: time.Now().Add(hour)})
		run := l.add(NewJob{At: time.Now().Add(7*hour + 30*minute)})
		l.clock.mu.Lock()
		l.clock.shift += 8 * hour // the bubble's own time stands still in it
		l.clock.started = l.clock.started.Add(-8 * hour)
		l.clock.mu.Unlock()
		l.alarm.stepped()
		synctest.Wait()
		l.sleep(2 * time.Second)
		l.is(missed, "missed")
		l.is(run, "succeeded")
	})
}
