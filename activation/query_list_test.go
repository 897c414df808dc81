package activation_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	. "activationd/activation"
)

// A list has every record once, also when they fill its pages to the last place.
func TestListPages(t *testing.T) {
	for _, n := range []int{0, 1, PageSize - 1, PageSize, PageSize + 1, 2 * PageSize} {
		bubble(t, nil, func(rig *testRig) {
			jobs := make([]NewJob, n)
			for i := range jobs {
				jobs[i] = NewJob{Order: Order{Owner: "alice", Argv: []string{"true"}}, At: time.Now().Add(time.Hour)}
			}
			if _, err := rig.e.Add(context.Background(), admin, jobs); err != nil {
				t.Fatal(err)
			}
			seen := make(map[string]bool)
			err := rig.e.List(context.Background(), Filter{}, func(v View) error {
				if seen[v.ID] {
					return errors.New(v.ID + " is listed twice")
				}
				seen[v.ID] = true
				return nil
			})
			if err != nil || len(seen) != n {
				t.Errorf("of %d jobs %d are listed, %v", n, len(seen), err)
			}
		})
	}
}

// A list skips records by their state alone, whatever texts they have.
func TestStateIn(t *testing.T) {
	for _, label := range []string{"", `"state":"finished"`, `\"state":"finished"`, `x","state":"finished`, "\\"} {
		for _, state := range States {
			r := &Record{V: RecordVersion, ID: "1", Kind: Job, Order: Order{Owner: label, Label: label, Env: map[string]string{"state": "finished"}}, Life: Life{State: state, Reason: label}}
			data, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := StateIn(data); got != state {
				t.Errorf("%s: the state is %q, want %q", data, got, state)
			}
		}
	}
	bubble(t, nil, func(rig *testRig) {
		rig.add(NewJob{Order: Order{Label: `"state":"finished"`}, Hold: true})
		done := rig.add(NewJob{Order: Order{Label: `"state":"held"`}})
		rig.add(NewJob{Order: Order{Stdin: []byte("true"), Env: map[string]string{"A": "b"}}, Hold: true})
		rig.sleep(time.Second)
		rig.is(done, "succeeded")
		for want, f := range map[string]Filter{
			"1 3 ": {}, "1 3 2 ": {Finished: true}, "2 ": {In: [][]Condition{{{State: Finished}}}}, "": {In: [][]Condition{{{State: Active}}}},
		} {
			got := ""
			err := rig.e.List(context.Background(), f, func(v View) error {
				if v.Stdin != nil || v.Env != nil {
					t.Errorf("%s has its script in the list", v.ID)
				}
				got += v.ID + " "
				return nil
			})
			if err != nil || got != want {
				t.Errorf("%+v lists %q, %v, want %q", f, got, err, want)
			}
		}
	})
}
