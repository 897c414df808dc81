package activation_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/calendar"
	"activationd/reservation"
	"activationd/store"
)

// free returns when a device is free in the next ten hours, in hours from now, and why it is
// never free.
func (rig *testRig) free(device string) string {
	rig.t.Helper()
	now := rig.now()
	v, err := rig.e.Free(context.Background(), []calendar.Need{{Devices: []string{device}}}, time.Second, now, now.Add(10*hour), 0)
	if err != nil {
		rig.t.Fatal(err)
	}
	var all []string
	for _, s := range v.Slots {
		all = append(all, fmt.Sprintf("%.3g-%.3g", s.From.Sub(now).Hours(), s.To.Sub(now).Hours()))
	}
	return strings.TrimSpace(strings.Join(all, " ") + " " + v.Never[device])
}

// calendar returns the entries of a device in the next ten hours, in hours from now.
func (rig *testRig) calendar(device string) string {
	rig.t.Helper()
	now := rig.now()
	var all []string
	f := CalendarFilter{Devices: []string{device}, From: now, To: now.Add(10 * hour)}
	if err := rig.e.Calendar(context.Background(), f, func(e CalendarEntry) error {
		all = append(all, fmt.Sprintf("%s %.3g-%.3g", e.View.ID, e.From.Sub(now).Hours(), e.To.Sub(now).Hours()))
		return nil
	}); err != nil {
		rig.t.Fatal(err)
	}
	return strings.Join(all, ", ")
}

func TestFree(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		check := func(device, free, calendar string) {
			t.Helper()
			if got := rig.free(device); got != free {
				t.Errorf("%s is free %q, want %q", device, got, free)
			}
			if got := rig.calendar(device); got != calendar {
				t.Errorf("the calendar of %s is %q, want %q", device, got, calendar)
			}
		}
		src := rig.source("lab")
		src.says(slot("first", hour, 2*hour, "r1"), slot("loser", hour, 3*hour, "r1"), slot("late", 20*hour, 21*hour, "r1"), slot("other", hour, 9*hour, "r2"))
		rig.loads(4, 0, 0, 0)
		check("r1", "0-1 3-10", "first 1-2, loser 1-3")
		check("r2", "0-1 9-10", "other 1-9")
		check("r3", "0-10", "")

		// A job that has the device may end at any time.
		rig.script("1", Activate, script{lasts: 2 * hour})
		rig.add(NewJob{Order: Order{Owner: "ada", Argv: []string{"x"}, Locks: []string{"r3"}}})
		rig.sleep(time.Second)
		check("r3", "0.0167-10", "")

		// What should be over goes on, until somebody intervenes if it is stuck.
		rig.script("first", Deactivate, script{exit: 1})
		rig.sleep(2*hour + 30*time.Minute)
		rig.is("first", "stuck")
		check("r1", "first has r1 and is stuck", "first -1.5-0.0167, loser -1.5-0.5")
		rig.do(Forgive, "first")
		rig.sleep(time.Minute)
		rig.is("loser", "active")
		check("r1", "0.483-10", "loser -1.52-0.483")
	})
}

// TestRevision checks that what others can see of a reservation has another revision
// after a change, and the same without one.
func TestRevision(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		last, at := uint64(0), time.Time{}
		check := func(what string, changes bool) {
			t.Helper()
			v := rig.get("it")
			n, changed := v.Revision()
			if changes != (n > last) || n < last || changed.Before(at) || changes && !changed.After(at) {
				t.Errorf("%s: revision %d at %v after %d at %v; a change: %v", what, n, changed, last, at, changes)
			}
			last, at = n, changed
			rig.sleep(time.Minute)
		}
		it, other := slot("it", 5*hour, 9*hour, "r1"), slot("other", 5*hour, 6*hour, "r1")
		src.says(it)
		rig.loads(1, 0, 0, 0)
		check("announced", true)
		rig.loads(0, 0, 0, 0)
		check("another load", false)
		it.Devices = []string{"r1", "r2"}
		src.says(it)
		rig.loads(0, 1, 0, 0)
		check("other devices", true)
		it.Devices = []string{"r1"}
		it.Start = it.Start.Add(-time.Minute)
		src.says(it, other)
		rig.loads(1, 1, 0, 0)
		check("another slot, and it loses", true)
		other.Start, other.End = it.Start.Add(-2*hour), it.Start.Add(2*hour)
		src.says(it, other)
		rig.loads(0, 1, 0, 0)
		check("it has the device again", true)
		rig.loads(0, 0, 0, 0)
		check("nothing is new", false)
		rig.do(RunNow, "other")
		rig.sleep(time.Minute)
		check("it has lost", true)
		rig.do(Cancel, "other")
		rig.sleep(time.Minute)
		check("nobody has the device any more", true)
		rig.do(Cancel, "it")
		check("cancelled", true)
		rig.do(Retry, "it")
		check("retried", true)
	})
}

// countingStore counts the keys that are read, by many goroutines.
type countingStore struct {
	store.Store
	read *atomic.Int64
}

// Limits implements [store.Limiter].
func (s countingStore) Limits() (ops, bytes int) { return store.Limits(s.Store) }

func (s countingStore) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.View(ctx, func(tx store.Tx) error { return fn(countingTx{tx, s.read}) })
}

func (s countingStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return fn(countingTx{tx, s.read}) })
}

type countingTx struct {
	store.Tx
	read *atomic.Int64
}

func (tx countingTx) Get(key string) []byte {
	tx.read.Add(1)
	return tx.Tx.Get(key)
}

func (tx countingTx) Scan(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for k, v := range tx.Tx.Scan(prefix, from) {
			if tx.read.Add(1); !yield(k, v) {
				return
			}
		}
	}
}

// TestCalendarReadsLittle checks that the calendar of one device costs what that device has, and
// not what all others have.
func TestCalendarReadsLittle(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		const devices, each = 100, 20
		var all []reservation.Reservation
		for i := range devices * each {
			from := time.Duration(1+i/devices) * hour
			all = append(all, slot(fmt.Sprintf("%d@x", i), from, from+30*minute, fmt.Sprintf("r%d", i%devices)))
		}
		rig.source("lab").says(all...)
		rig.loads(devices*each, 0, 0, 0)

		var read atomic.Int64
		e := New(Parts{
			DB: countingStore{rig.db, &read}, Runs: rig.runs, Alarm: rig.alarm, Clock: rig.clock, Host: "lab1", Boot: rig.boot, Nodes: fakeNodes, Log: slog.New(outside{}),
		}, rig.set)
		check := func(what string, most int, do func() (int, error), want int) {
			t.Helper()
			read.Store(0)
			if got, err := do(); err != nil || got != want {
				t.Errorf("%s: %d, %v, want %d", what, got, err, want)
			}
			if n := read.Load(); n > int64(most) {
				t.Errorf("%s: %d keys were read, want at most %d", what, n, most)
			}
		}
		entries := func(f CalendarFilter) func() (int, error) {
			return func() (n int, err error) {
				err = e.Calendar(t.Context(), f, func(CalendarEntry) error {
					n++
					return nil
				})
				return n, err
			}
		}
		now := rig.now()
		check("one device", 20+5*each, entries(CalendarFilter{Devices: []string{"r7"}, From: now, To: now.Add(100 * hour)}), each)
		check("two hours of it", 20+5*4, entries(CalendarFilter{Devices: []string{"r7"}, From: now.Add(18 * hour), To: now.Add(20 * hour)}), 2)
		check("all devices", 20+5*devices*each, entries(CalendarFilter{From: now, To: now.Add(100 * hour)}), devices*each)
		check("free", 20+2*each, func() (int, error) {
			v, err := e.Free(t.Context(), []calendar.Need{{Devices: []string{"r7"}}}, hour/2, now, now.Add(100*hour), 0)
			return len(v.Slots), err
		}, each+1)
	})
}
