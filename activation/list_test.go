package activation

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"
)

// A list has every record once, also when they fill its pages to the last place.
func TestListPages(t *testing.T) {
	for _, n := range []int{0, 1, pageSize - 1, pageSize, pageSize + 1, 2 * pageSize} {
		bubble(t, nil, func(l *lab) {
			jobs := make([]NewJob, n)
			for i := range jobs {
				jobs[i] = NewJob{Owner: "alice", At: time.Now().Add(time.Hour), Argv: []string{"true"}}
			}
			if _, err := l.e.Add(context.Background(), jobs); err != nil {
				t.Fatal(err)
			}
			seen := make(map[string]bool)
			err := l.e.List(context.Background(), Filter{}, func(v View) error {
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

// What is passed over in a list is told from what is read, whatever texts a record has.
func TestStateIn(t *testing.T) {
	for _, label := range []string{"", `"state":"finished"`, `\"state":"finished"`, `x","state":"finished`, "\\"} {
		for _, state := range States {
			r := &Record{V: recordVersion, ID: "1", Kind: Job, Owner: label, Label: label, State: state, Reason: label,
				Env: map[string]string{"state": "finished"}}
			data, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := stateIn(data); got != state {
				t.Errorf("%s: the state is %q, want %q", data, got, state)
			}
		}
	}
	bubble(t, nil, func(l *lab) {
		l.add(NewJob{Label: `"state":"finished"`, Hold: true})
		done := l.add(NewJob{Label: `"state":"held"`})
		l.add(NewJob{Stdin: []byte("true"), Env: map[string]string{"A": "b"}, Hold: true})
		l.sleep(time.Second)
		l.is(done, "succeeded")
		for want, f := range map[string]Filter{
			"1 3 ": {}, "1 2 3 ": {Finished: true}, "2 ": {States: []State{Finished}}, "": {States: []State{Active}},
		} {
			got := ""
			err := l.e.List(context.Background(), f, func(v View) error {
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
