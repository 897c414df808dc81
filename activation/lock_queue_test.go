package activation_test

import (
	"testing"
	"time"

	. "activationd/activation"

	"activationd/supervisor"
)

func TestWaitLimit(t *testing.T) {
	bubble(t, func(s *Settings) { s.Jobs.WaitLimit = 10 * minute }, func(rig *testRig) {
		rig.script("1", Activate, long)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		id := rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(10*minute - 1)
		rig.is(id, "waiting")
		rig.sleep(1)
		rig.is(id, "failed")
		rig.because(id, "it waited longer than allowed: waits for lock a, held by 1")
	})
}

func TestMaxParallel(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 2 }, func(rig *testRig) {
		for range 6 {
			rig.add(NewJob{})
			rig.sleep(time.Millisecond)
		}
		rig.is("2", "activating")
		rig.is("3", "waiting")
		rig.because("3", "waits for a free slot: 2 run")
		rig.sleep(minute)
		rig.ran("1.activate.1 2.activate.1 3.activate.1 4.activate.1 5.activate.1 6.activate.1")
		for n := 2; n < 6; n++ {
			first, next := rig.beganAt("1", Activate, 1), rig.beganAt(string(rune('1'+n)), Activate, 1)
			if next.Sub(first) < time.Duration(n/2)*time.Second {
				rig.t.Errorf("%d began at %v: more than two at once", n+1, next.Sub(first))
			}
		}
	})
}

// An activation that becomes due just when a slot becomes free is queued behind those
// that already wait.
func TestNobodyOvertakes(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1 }, func(rig *testRig) {
		rig.add(NewJob{})
		rig.add(NewJob{At: time.Now().Add(time.Second)})
		rig.add(NewJob{})
		rig.sleep(minute)
		rig.ran("1.activate.1 3.activate.1 2.activate.1")
	})
}

// An activation that is queued for a slot may end without getting it. Then the next one
// starts.
func TestFirstInLineGoes(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1; s.Jobs.WaitLimit = time.Second }, func(rig *testRig) {
		rig.script("1", Activate, quick)
		rig.add(NewJob{})
		second := rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(500 * time.Millisecond)
		third := rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(500 * time.Millisecond) // the slot is free just when the second expires
		rig.is(third, "activating")
		rig.is(second, "failed")
	})
}

func TestLocksAreFirstComeFirstServed(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		for range 5 { // each requests the locks of the others, in all orders
			rig.add(NewJob{Order: Order{Locks: []string{"a", "b", "c"}}})
			rig.add(NewJob{Order: Order{Locks: []string{"c", "a"}}})
			rig.add(NewJob{Order: Order{Locks: []string{"b", "c"}}})
		}
		rig.sleep(minute)
		want := "1.activate.1"
		for n := 2; n <= 15; n++ {
			want += " " + supervisor.Key{ID: rig.get(itoa(n)).ID, Phase: Activate, N: 1}.String()
		}
		rig.ran(want)
	})
}

func TestBigJobDoesNotStarve(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.w.scripts = func(supervisor.Key) script { return script{lasts: 10 * time.Second} }
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(5 * time.Second)
		rig.add(NewJob{Order: Order{Locks: []string{"b"}}})
		big := rig.add(NewJob{Order: Order{Locks: []string{"a", "b"}}})
		for range 20 { // a steady stream of jobs
			rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			rig.add(NewJob{Order: Order{Locks: []string{"b"}}})
			rig.sleep(time.Second)
		}
		if began := rig.beganAt(big, Activate, 1).Sub(rig.beganAt("1", Activate, 1)); began != 15*time.Second {
			rig.t.Errorf("it began after %v, want 15 s", began)
		}
		rig.sleep(1000 * time.Second)
	})
}
