package activation_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
)

// TestLargeStdin: a large standard input is not in the record, gets to the script in
// full, and is removed with the record.
func TestLargeStdin(t *testing.T) {
	bubble(t, func(s *Settings) { s.HistoryAge = hour }, func(rig *testRig) {
		stdin := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
		id := rig.add(NewJob{Order: Order{Stdin: stdin}})
		if n := len(rig.mem.Value(Key(id))); n > 2000 {
			rig.t.Errorf("the record has %d bytes", n)
		}
		if n := len(rig.mem.Keys("b/")); n != 12 {
			rig.t.Errorf("its standard input has %d parts, want 12", n)
		}
		if v := rig.get(id); !bytes.Equal(v.Stdin, stdin) {
			rig.t.Errorf("its standard input has %d bytes, want %d", len(v.Stdin), len(stdin))
		}
		rig.sleep(minute)
		rig.is(id, "succeeded")
		if got := rig.w.run(supervisor.Key{ID: id, Phase: Activate, N: 1}).spec.Stdin; !bytes.Equal(got, stdin) {
			rig.t.Errorf("the script got %d bytes, want %d", len(got), len(stdin))
		}
		rig.sleep(2 * hour)
		if keys := rig.mem.Keys("b/"); len(keys) > 0 {
			rig.t.Errorf("left: %q", keys)
		}
		if next := rig.add(NewJob{}); next != "2" {
			rig.t.Errorf("the next job is %s, want 2", next)
		}
	})
}

// TestOrphans: the stored input of a job that was not added is removed at the next start.
func TestOrphans(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		kept := rig.add(NewJob{Order: Order{Stdin: make([]byte, 100_000)}})
		put(rig.t, rig.db, [][2]string{{"b/17/0000", "x"}, {"b/17/0001", "y"}})
		rig.restart()
		if keys := rig.mem.Keys("b/"); len(keys) != 1 || keys[0] != "b/"+kept+"/0000" {
			rig.t.Errorf("left: %q", keys)
		}
	})
}

// TestTooLargeForTheStore: a job that a store with limits cannot take is refused, and the
// others are added.
func TestTooLargeForTheStore(t *testing.T) {
	if ops, _ := store.Limits(memstore.Strict(1)); ops != memstore.StrictOps {
		t.Fatal("the store has other limits")
	}
	bubble(t, nil, func(rig *testRig) {
		if ops, _ := store.Limits(rig.mem); ops == store.NoLimit {
			return
		}
		env := map[string]string{}
		for i := range 9 {
			env["V"+itoa(i)] = string(bytes.Repeat([]byte("x"), 100_000))
		}
		var locks []string
		for i := range 100 {
			locks = append(locks, "sw"+itoa(i))
		}
		job := func(o Order) NewJob { o.Argv, o.Owner = []string{"true"}, "ada"; return NewJob{Order: o} }
		added, err := rig.e.Add(context.Background(), admin, []NewJob{job(Order{}), job(Order{Env: env}), job(Order{Locks: locks}), job(Order{})})
		if err != nil {
			rig.t.Fatal(err)
		}
		for i, bad := range []bool{false, true, true, false} {
			if bad != errors.Is(added[i].Err, fault.Invalid) {
				rig.t.Errorf("job %d: %v", i, added[i].Err)
			}
		}
	})
}
