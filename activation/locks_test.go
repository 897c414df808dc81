package activation

import (
	"testing"
	"time"

	"activationd/supervisor"
)

func TestWaitLimit(t *testing.T) {
	bubble(t, func(s *Settings) { s.Jobs.WaitLimit = 10 * minute }, func(l *lab) {
		l.script("1", Activate, long)
		l.add(NewJob{Locks: []string{"a"}})
		id := l.add(NewJob{Locks: []string{"a"}})
		l.sleep(10*minute - 1)
		l.is(id, "waiting")
		l.sleep(1)
		l.is(id, "failed")
		l.because(id, "it waited longer than it may: waits for lock a, held by 1")
	})
}

func TestMaxParallel(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 2 }, func(l *lab) {
		for range 6 {
			l.add(NewJob{})
			l.sleep(time.Millisecond)
		}
		l.is("2", "activating")
		l.is("3", "waiting")
		l.because("3", "waits for a free slot: 2 run")
		l.sleep(minute)
		l.ran("1.activate.1 2.activate.1 3.activate.1 4.activate.1 5.activate.1 6.activate.1")
		for n := 2; n < 6; n++ {
			first, next := l.beganAt("1", Activate, 1), l.beganAt(string(rune('1'+n)), Activate, 1)
			if next.Sub(first) < time.Duration(n/2)*time.Second {
				l.t.Errorf("%d began at %v: more than two at once", n+1, next.Sub(first))
			}
		}
	})
}

// Who becomes due at the instant at which a slot becomes free is behind those in
// line.
func TestNobodyOvertakes(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1 }, func(l *lab) {
		l.add(NewJob{})
		l.add(NewJob{At: time.Now().Add(time.Second)})
		l.add(NewJob{})
		l.sleep(minute)
		l.ran("1.activate.1 3.activate.1 2.activate.1")
	})
}

// Who is in line for a slot may go away without having it: the next one's turn
// has come then.
func TestFirstInLineGoes(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1; s.Jobs.WaitLimit = time.Second }, func(l *lab) {
		l.script("1", Activate, quick)
		l.add(NewJob{})
		second := l.add(NewJob{Locks: []string{"a"}})
		l.sleep(500 * time.Millisecond)
		third := l.add(NewJob{Locks: []string{"a"}})
		l.sleep(500 * time.Millisecond) // the slot is free at the instant at which the second expires
		l.is(third, "activating")
		l.is(second, "failed")
	})
}

func TestLocksAreFirstComeFirstServed(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		for range 5 { // each wants what the others want, in all orders
			l.add(NewJob{Locks: []string{"a", "b", "c"}})
			l.add(NewJob{Locks: []string{"c", "a"}})
			l.add(NewJob{Locks: []string{"b", "c"}})
		}
		l.sleep(minute)
		want := "1.activate.1"
		for n := 2; n <= 15; n++ {
			want += " " + supervisor.Key{ID: l.get(itoa(n)).ID, Phase: Activate, N: 1}.String()
		}
		l.ran(want)
	})
}

func TestBigJobDoesNotStarve(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.w.scripts = func(supervisor.Key) script { return script{lasts: 10 * time.Second} }
		l.add(NewJob{Locks: []string{"a"}})
		l.sleep(5 * time.Second)
		l.add(NewJob{Locks: []string{"b"}})
		big := l.add(NewJob{Locks: []string{"a", "b"}})
		for range 20 { // they come and come
			l.add(NewJob{Locks: []string{"a"}})
			l.add(NewJob{Locks: []string{"b"}})
			l.sleep(time.Second)
		}
		if began := l.beganAt(big, Activate, 1).Sub(l.beganAt("1", Activate, 1)); began != 15*time.Second {
			l.t.Errorf("it began after %v, want 15 s", began)
		}
		l.sleep(1000 * time.Second)
	})
}
