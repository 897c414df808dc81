package activation

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// TestWho has callers of all kinds touch and look at a job of ada's, who is 1001,
// and at a reservation.
func TestWho(t *testing.T) {
	ada := By{Name: "ada", UID: 1001, OnlyOwn: true}
	tests := []struct {
		name          string
		by            By
		job, reserved bool // are his to touch, and to see in full
		rewrite       bool // he may say what the job runs
	}{
		{name: "its owner", by: ada, job: true, rewrite: true},
		{name: "another", by: By{Name: "eve", UID: 1002, OnlyOwn: true}},
		{name: "a new user of the owner's number", by: By{Name: "eve", UID: 1001, OnlyOwn: true}},
		{name: "a new user of the owner's name", by: By{Name: "ada", UID: 1002, OnlyOwn: true}},
		{name: "a token of the owner's name", by: By{Name: "ada", UID: -1, OnlyOwn: true}},
		{name: "the loopback as operator", by: By{Name: "loopback", UID: -1, NoJobs: true}, reserved: true},
		{name: "a listener that is the owner's", by: By{Name: "ada", UID: 1001, NoJobs: true}, job: true, reserved: true, rewrite: true},
		{name: "an operator", by: By{Name: "olga", UID: 1003}, job: true, reserved: true},
		{name: "an operator by a token", by: By{Name: "ops", UID: -1}, job: true, reserved: true},
		{name: "root", by: By{Name: "root", UID: 0}, job: true, reserved: true, rewrite: true},
	}
	const secret = "SECRET"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				id := l.add(NewJob{
					At: time.Now().Add(hour), Owner: "ada", User: &Identity{UID: 1001, Name: "ada"}, Hold: true,
					Argv: []string{secret}, Stdin: []byte(secret), Dir: "/" + secret, Env: map[string]string{secret: secret},
					Label: secret, Tags: []string{secret}, Locks: []string{"sw1"},
				})
				l.source("s").says(slot("1@x", hour, 2*hour))
				l.load(LoadOptions{})
				ctx := context.Background()
				can := func(what string, want bool, err error) {
					t.Helper()
					if want && err != nil || !want && !errors.Is(err, fault.Denied) {
						t.Errorf("%s: %v, want allowed: %v", what, err, want)
					}
				}
				_, err := l.e.Do(ctx, tt.by, id, Release, "")
				can("release the job", tt.job, err)
				_, err = l.e.Do(ctx, tt.by, "1@x", Hold, "")
				can("hold the reservation", tt.reserved, err)
				if _, err = l.e.LogFile(ctx, tt.by, id, "", 0); tt.job && errors.Is(err, fault.NotFound) {
					err = nil // it has none yet
				}
				can("the job's log", tt.job, err)
				edit := func(change func(*NewJob)) error {
					_, err := l.e.Edit(ctx, tt.by, id, func(j *NewJob, _ time.Time) error { change(j); return nil })
					return err
				}
				can("give it a priority", tt.job, edit(func(j *NewJob) { j.Priority = 1 }))
				for what, change := range map[string]func(*NewJob){
					"command":   func(j *NewJob) { j.Argv = []string{"/bin/sh"} },
					"input":     func(j *NewJob) { j.Stdin = nil },
					"directory": func(j *NewJob) { j.Dir = "/" },
					"variables": func(j *NewJob) { j.Env = map[string]string{"LD_PRELOAD": "/tmp/x.so"} },
				} {
					if !tt.rewrite { // who may would spoil the next
						can("change its "+what, false, edit(change))
					}
				}
				if tt.rewrite {
					can("change its label", true, edit(func(j *NewJob) { j.Label += "!" }))
				}
				if tt.job {
					l.do(Hold, id)
				}
				var listed []View
				f := Filter{By: tt.by}
				if err := l.e.List(ctx, f, func(v View) error { listed = append(listed, v); return nil }); err != nil || len(listed) != 2 {
					t.Fatalf("%d are listed, %v; all see that there are 2", len(listed), err)
				}
				for _, v := range []View{listed[0], l.get(id).For(tt.by)} {
					data, err := json.Marshal(v)
					if err != nil {
						t.Fatal(err)
					}
					if seen := strings.Contains(string(data), secret); seen != tt.job || v.Hidden == tt.job {
						t.Errorf("the job is shown as %s, hidden: %v", data, v.Hidden)
					}
					if v.Owner != "ada" || v.State != Held || !slices.Equal(v.Locks, []string{"sw1"}) {
						t.Errorf("of the job is shown %s", data)
					}
				}
				for _, f := range []Filter{{By: tt.by, Tags: []string{secret}}, {By: tt.by, Label: secret + "!"}, {By: tt.by, Label: secret}} {
					found := 0
					if err := l.e.List(ctx, f, func(View) error { found++; return nil }); err != nil || found > 0 && !tt.job {
						t.Errorf("a list of what has the label %q and the tags %q has %d, %v", f.Label, f.Tags, found, err)
					}
				}
				if v := l.get("1@x").For(tt.by); v.Hidden == tt.reserved || v.Reason == "" && tt.reserved {
					t.Errorf("the reservation is shown as %+v", v)
				}
			})
		})
	}
}

// TestEventsOfOthers wants that what somebody says of his job is told to himself
// and to operators only.
func TestEventsOfOthers(t *testing.T) {
	for _, tt := range []struct {
		by   By
		want string
	}{
		{By{Name: "ada", UID: 1001, OnlyOwn: true}, "SECRET"},
		{By{Name: "olga", UID: 1003}, "SECRET"},
		{By{Name: "eve", UID: 1002, OnlyOwn: true}, ""},
		{By{Name: "loopback", UID: -1, NoJobs: true}, ""},
	} {
		bubble(t, nil, func(l *lab) {
			since := l.e.Newest()
			id := l.add(NewJob{At: time.Now().Add(hour), Owner: "ada", User: &Identity{UID: 1001}})
			if _, err := l.e.Do(context.Background(), admin, id, Hold, "SECRET"); err != nil {
				t.Fatal(err)
			}
			enough := errors.New("enough")
			var got Happening
			err := l.e.FollowFor(context.Background(), tt.by, since, func(h Happening) error {
				if got = h; h.State == string(Held) {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) || got.ID != id || got.Reason != tt.want {
				t.Errorf("%s is told %+v, %v; want the reason %q", tt.by.Name, got, err, tt.want)
			}
		})
	}
}
