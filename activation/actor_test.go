package activation_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/event"
	"activationd/internal/fault"
)

// TestWho lets callers of all kinds touch and read a job of ada, whose user id is 1001,
// and a reservation.
func TestWho(t *testing.T) {
	ada := Actor{Name: "ada", UID: 1001, OnlyOwn: true}
	tests := []struct {
		name          string
		by            Actor
		job, reserved bool // the actor may touch them, and see them in full
		rewrite       bool // the actor may change what the job runs
	}{
		{name: "its owner", by: ada, job: true, rewrite: true},
		{name: "another", by: Actor{Name: "eve", UID: 1002, OnlyOwn: true}},
		{name: "a new user of the owner's number", by: Actor{Name: "eve", UID: 1001, OnlyOwn: true}},
		{name: "a new user of the owner's name", by: Actor{Name: "ada", UID: 1002, OnlyOwn: true}},
		{name: "a token of the owner's name", by: Actor{Name: "ada", UID: -1, OnlyOwn: true}},
		{name: "the loopback as operator", by: Actor{Name: "loopback", UID: -1, NoJobs: true}, reserved: true},
		{name: "a listener that is the owner's", by: Actor{Name: "ada", UID: 1001, NoJobs: true}, job: true, reserved: true, rewrite: true},
		{name: "an operator", by: Actor{Name: "olga", UID: 1003}, job: true, reserved: true},
		{name: "an operator by a token", by: Actor{Name: "ops", UID: -1}, job: true, reserved: true},
		{name: "root", by: Actor{Name: "root", UID: 0}, job: true, reserved: true, rewrite: true},
	}
	const secret = "SECRET"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				id := rig.add(NewJob{
					At:   time.Now().Add(hour),
					Hold: true,
					Order: Order{
						Owner: "ada",
						User:  &Identity{UID: 1001, Name: "ada"},
						Argv:  []string{secret},
						Stdin: []byte(secret),
						Dir:   "/" + secret,
						Env:   map[string]string{secret: secret},
						Label: secret,
						Tags:  []string{secret},
						Locks: []string{"sw1"},
					},
				})
				rig.source("s").says(slot("1@x", hour, 2*hour))
				rig.load(announce.LoadOptions{})
				ctx := context.Background()
				can := func(what string, want bool, err error) {
					t.Helper()
					if want && err != nil || !want && !errors.Is(err, fault.Denied) {
						t.Errorf("%s: %v, want allowed: %v", what, err, want)
					}
				}
				_, err := rig.e.Do(ctx, tt.by, id, Release, "")
				can("release the job", tt.job, err)
				_, err = rig.e.Do(ctx, tt.by, "1@x", Hold, "")
				can("hold the reservation", tt.reserved, err)
				_, _, err = rig.e.Logs(ctx, tt.by, id)
				can("the job's log", tt.job, err)
				edit := func(change func(*NewJob)) error {
					_, err := rig.e.Edit(ctx, tt.by, id, func(j *NewJob, _ time.Time) error { change(j); return nil })
					return err
				}
				can("give it a priority", tt.job, edit(func(j *NewJob) { j.Priority = 1 }))
				for what, change := range map[string]func(*NewJob){
					"command":   func(j *NewJob) { j.Argv = []string{"/bin/sh"} },
					"input":     func(j *NewJob) { j.Stdin = nil },
					"directory": func(j *NewJob) { j.Dir = "/" },
					"variables": func(j *NewJob) { j.Env = map[string]string{"LD_PRELOAD": "/tmp/x.so"} },
				} {
					if !tt.rewrite { // an edit that succeeds would spoil the next case
						can("change its "+what, false, edit(change))
					}
				}
				if tt.rewrite {
					can("change its label", true, edit(func(j *NewJob) { j.Label += "!" }))
				}
				if tt.job {
					rig.do(Hold, id)
				}
				var listed []View
				f := Filter{By: tt.by}
				if err := rig.e.List(ctx, f, func(v View) error { listed = append(listed, v); return nil }); err != nil || len(listed) != 2 {
					t.Fatalf("%d activations are listed, %v, want 2", len(listed), err)
				}
				for _, v := range []View{listed[0], rig.get(id).For(tt.by)} {
					data, err := json.Marshal(v)
					if err != nil {
						t.Fatal(err)
					}
					if seen := strings.Contains(string(data), secret); seen != tt.job || v.Hidden == tt.job {
						t.Errorf("the job is shown as %s, hidden = %v", data, v.Hidden)
					}
					if v.Owner != "ada" || v.State != Held || !slices.Equal(v.Locks, []string{"sw1"}) {
						t.Errorf("the text of the job is shown: %s", data)
					}
				}
				for _, f := range []Filter{{By: tt.by, Tags: []string{secret}}, {By: tt.by, Label: secret + "!"}, {By: tt.by, Label: secret}} {
					found := 0
					if err := rig.e.List(ctx, f, func(View) error { found++; return nil }); err != nil || found > 0 && !tt.job {
						t.Errorf("a list by the label %q and the tags %q has %d entries, %v", f.Label, f.Tags, found, err)
					}
				}
				if v := rig.get("1@x").For(tt.by); v.Hidden == tt.reserved || v.Reason == "" && tt.reserved {
					t.Errorf("the reservation is shown as %+v", v)
				}
			})
		})
	}
}

// TestEventsOfOthers checks that the reason in an event about a job is for the job's
// owner and for operators, but that all may see what the job waits for. Both follow from
// the event's fields, also after the job was removed.
func TestEventsOfOthers(t *testing.T) {
	mine := func(name string, uid int) Actor { return Actor{Name: name, UID: uid, OnlyOwn: true} }
	for _, tt := range []struct {
		by  Actor
		all bool
	}{
		{mine("ada", 1001), true},
		{Actor{Name: "olga", UID: 1003}, true},
		{mine("eve", 1002), false},
		{mine("ada", 1002), false}, // another user of that name
		{Actor{Name: "loopback", UID: -1, NoJobs: true}, false},
	} {
		bubble(t, func(s *Settings) { s.HistoryAge = MinHistoryAge }, func(rig *testRig) {
			since := rig.newest()
			rig.script("1", Activate, script{lasts: minute})
			ctx := context.Background()
			ada := &Identity{UID: 1001}
			rig.add(NewJob{Order: Order{Owner: "bob", User: &Identity{UID: 1004}, Locks: []string{"sw1"}}})
			id := rig.add(NewJob{Order: Order{Owner: "ada", User: ada, Locks: []string{"sw1"}}})
			_, err := rig.e.Edit(ctx, admin, id, func(j *NewJob, _ time.Time) error { j.Label = "x"; return nil })
			if err != nil {
				t.Fatal(err)
			}
			rig.do(Hold, id)
			rig.do(Cancel, id)
			rig.sleep(hour)
			if _, err := rig.e.Get(ctx, id); !errors.Is(err, fault.NotFound) {
				t.Errorf("Get of a pruned job: %v", err)
			}
			enough := errors.New("enough")
			var got []string
			err = rig.e.FollowFor(ctx, tt.by, since, event.Wish{Want: func(*event.Event) bool { return true }}, func(ev *event.Event) error {
				if ev.ID == id && ev.What != "attempt.ended" {
					said := ev.What + ev.State + "|" + ev.Reason
					if ev.Actor != nil {
						said += "|" + ev.Actor.Name
					}
					got = append(got, said)
				}
				if ev.ID == id && ev.What == "pruned" {
					return enough
				}
				return nil
			})
			want := []string{"statescheduled|", "statewaiting|", "waitswaiting|waits for lock sw1, held by 1", "editedwaiting|", "stateheld|", "statefinished|", "pruned|"}
			if tt.all {
				want = []string{"statescheduled||root", "statewaiting|", want[2], "editedwaiting|by root|root", "stateheld|held by root|root", "statefinished|cancelled by root|root", "pruned|"}
			}
			if !errors.Is(err, enough) || !slices.Equal(got, want) {
				t.Errorf("%s reads %q, %v; want %q", tt.by.Name, got, err, want)
			}
		})
	}
}
