package ops

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

func TestListFilter(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.Local)
	at := func(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 0, 0, 0, time.Local) }
	type (
		filterOf  = activation.Filter
		condition = activation.Condition
	)
	in := func(lists ...[]condition) [][]condition { return lists }
	lost := condition{State: activation.Finished, Outcome: activation.Lost}
	held := condition{State: activation.Held}
	for _, tt := range []struct {
		name string
		in   control.ListIn
		want filterOf
	}{
		{"nothing", control.ListIn{}, filterOf{}},
		{"all", control.ListIn{State: []string{"all"}}, filterOf{Finished: true}},
		{"all, and a state", control.ListIn{State: []string{"held", "all"}}, filterOf{Finished: true, In: in([]condition{held})}},
		{"states and a status", control.ListIn{State: []string{"held,running", "LOST"}}, filterOf{In: in([]condition{
			held, {State: activation.Activating, Kind: activation.Job}, lost,
		})}},
		{"an outcome", control.ListIn{Outcome: []string{"lost"}}, filterOf{In: in([]condition{lost})}},
		{"states and an outcome", control.ListIn{State: []string{"held"}, Outcome: []string{"lost"}}, filterOf{In: in([]condition{held}, []condition{lost})}},
		{"failed", control.ListIn{Failed: true}, filterOf{In: in(failures)}},
		{"a duration is ago", control.ListIn{Since: "2h"}, filterOf{Finished: true, Since: at(21, 7)}},
		{"last night", control.ListIn{Since: "22:00", Until: "06:00"}, filterOf{Finished: true, Since: at(20, 22), Until: at(21, 6)}},
		{"the rest", control.ListIn{
			Owner: "ada", Kind: "job", Label: "a*", ID: "1*", Every: "x", Tag: []string{"a,b", "c"}, Device: []string{"sw1,r2", "r3"}, Match: "text", Sort: "took", Reverse: true, Limit: 3,
		}, filterOf{
			Owner: "ada", Kind: activation.Job, Label: "a*", ID: "1*", From: "x", Tags: []string{"a", "b", "c"}, Devices: []string{"sw1", "r2", "r3"}, Text: "text", Sort: "took",
			Reverse: true, Limit: 3,
		}},
	} {
		if got, err := filter(&tt.in, now); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", tt.name, got, err, tt.want)
		}
	}
	for want, in := range map[string]control.ListIn{
		"state: want all, scheduled, held, waiting, running, activating, active, deactivating, stuck, conflicting, finished, succeeded, failed, timed_out, cancelled, missed, lost, rejected or over, have \"done\"": {State: []string{"held,done"}},
		"outcome: want succeeded, failed, timed_out, cancelled, missed or lost, have \"held\"":                                                                                                                       {Outcome: []string{"held"}},
		"kind: want job, reservation or service":                                            {Kind: "box"},
		"sort: want due, ended, id, owner, planned, started, state or took, have \"color\"": {Sort: "color"},
		"limit: want 0 or more":         {Limit: -1},
		"since: \"soon\" is not a time": {Since: "soon"},
		"until: \"soon\" is not a time": {Until: "soon"},
		"until: 2026-11-20 00:00:00":    {Since: "1h", Until: "2026-11-20"},
	} {
		if _, err := filter(&in, now); !errors.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", in, err, want)
		}
	}
}

// A word for a state chooses exactly what is shown with that word, or is in that state.
func TestStatusWords(t *testing.T) {
	for _, c := range conditions {
		if c.Conflicting { // a mark beside the state
			continue
		}
		for _, kind := range []activation.Kind{activation.Job, activation.Reservation} {
			for _, state := range activation.States {
				outcomes := []activation.Outcome{""}
				if state == activation.Finished {
					outcomes = []activation.Outcome{
						activation.Succeeded, activation.Failed, activation.TimedOut, activation.Cancelled, activation.Missed, activation.Lost,
					}
				}
				for _, o := range outcomes {
					met := (c.State == "" || c.State == state) && (c.Outcome == "" || c.Outcome == o) && (c.Kind == "" || c.Kind == kind)
					if want := c.word == string(state) || c.word == control.Status(string(kind), string(state), string(o)); met != want {
						t.Errorf("%s chooses a %s %s %s: %v, want %v", c.word, kind, state, o, met, want)
					}
				}
			}
		}
	}
}
