package activation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/event"
)

// actText is an act in one line: "ada edit priority:0>5".
func actText(action string, by *event.Actor, load uint64, changes []event.Change) string {
	text := by.Name + " " + action
	if load > 0 {
		text += fmt.Sprintf(" %d", load)
	}
	for _, c := range changes {
		text += " " + c.Field + ":" + c.From + ">" + c.To
	}
	return text
}

// actsOf lists the acts in a record.
func (rig *testRig) actsOf(id string) (all []string) {
	rig.t.Helper()
	for _, a := range rig.get(id).Acts {
		all = append(all, actText(a.Action, &a.By, a.Load, a.Changes))
	}
	return all
}

// audit lists the acts in the log that a client may see.
func (rig *testRig) audit(by Actor, q event.Query) (all []string) {
	rig.t.Helper()
	err := rig.e.Acts(context.Background(), by, q, func(ev *event.Event) error {
		all = append(all, actText(ev.Action+" "+ev.ID, ev.Actor, ev.Load, ev.Changes))
		return nil
	})
	if err != nil {
		rig.t.Fatal(err)
	}
	return all
}

func (rig *testRig) edit(by Actor, id string, change func(j *NewJob)) {
	rig.t.Helper()
	if _, err := rig.e.Edit(context.Background(), by, id, func(j *NewJob, _ time.Time) error { change(j); return nil }); err != nil {
		rig.t.Fatal(err)
	}
	synctest.Wait()
}

var (
	adaHerself = Actor{Kind: "uid", Name: "ada", Role: "submitter", UID: 1001, OnlyOwn: true}
	eveHerself = Actor{Kind: "uid", Name: "eve", Role: "submitter", UID: 1002, OnlyOwn: true}
	olga       = Actor{Kind: "token", Name: "olga", Role: "operator", UID: -1}
)

func is(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q\nwant: %q", what, got, want)
	}
}

// Each change of a job that somebody requested is in its record and in the log.
func TestActsOfAJob(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx := context.Background()
		add := func(by Actor) string {
			j := NewJob{At: time.Now().Add(2 * hour), Order: Order{
				Owner: "ada", User: &Identity{UID: 1001, Name: "ada"}, Argv: []string{"sh", "-c", "a b"}, Env: map[string]string{"A": "secret1", "B": "secret2"},
			}}
			added, err := rig.e.Add(ctx, by, []NewJob{j})
			if err != nil || added[0].Err != nil {
				t.Fatal(err, added)
			}
			return added[0].ID
		}
		began := time.Now()
		id := add(adaHerself)
		rig.sleep(minute)
		rig.edit(olga, id, func(j *NewJob) {
			j.At, j.Priority, j.Label = began.Add(3*hour), 5, "report"
		})
		rig.edit(adaHerself, id, func(j *NewJob) {
			j.Env = map[string]string{"A": "secret3", "C": "secret4"}
			j.Argv, j.Stdin, j.Timeout, j.Locks = []string{"true"}, []byte("x"), new(minute), []string{"sw1"}
		})
		for _, on := range []Trigger{Hold, Release, RunNow} {
			if _, err := rig.e.Do(ctx, olga, id, on, ""); err != nil {
				t.Fatal(err)
			}
		}
		rig.sleep(minute)
		want := []string{
			"olga edit start:2000-01-01T02:00:00Z>2000-01-01T03:00:00Z label:>report priority:0>5",
			`ada edit command:sh -c "a b">true input:> env:>A changed, C added, B removed timeout:>1m0s lock:>sw1`,
			"olga hold", "olga release", "olga run",
		}
		is(t, "the record", rig.actsOf(id), want...)
		v := rig.get(id)
		made, start, _, planned := v.Submitted()
		if made.Action != "add" || made.By.Name != "ada" || !made.At.Equal(began) || !planned || !start.Equal(began.Add(2*hour)) {
			t.Errorf("submitted: %+v for %v, %v", made, start, planned)
		}
		logged := []string{"ada add " + id}
		for _, w := range want {
			by, rest, _ := strings.Cut(w, " ")
			action, rest, more := strings.Cut(rest, " ")
			if w = by + " " + action + " " + id; more {
				w += " " + rest
			}
			logged = append(logged, w)
		}
		is(t, "the log", rig.audit(olga, event.Query{}), logged...)
		is(t, "the log for its owner", rig.audit(adaHerself, event.Query{IDs: []string{id}}), logged...)
		is(t, "the log for another", rig.audit(eveHerself, event.Query{}))
		if hidden := v.For(eveHerself); hidden.Acts != nil {
			t.Errorf("another sees %+v", hidden.Acts)
		}

		// One that somebody else submitted, and one that was cancelled.
		other := add(olga)
		if _, err := rig.e.Do(ctx, adaHerself, other, Cancel, "cancelled by ada: not today"); err != nil {
			t.Fatal(err)
		}
		rig.sleep(minute)
		is(t, "the record", rig.actsOf(other), "olga add", "ada cancel")
		if v := rig.get(other); v.Acts[1].Reason != "cancelled by ada: not today" {
			t.Errorf("the reason of the cancel is %q", v.Acts[1].Reason)
		}
	})
}

// The record of a reservation says which load made, changed and removed it, and who
// requested that load; without a client it is the source.
func TestActsOfAReservation(t *testing.T) {
	announced(t, nil, one(hour, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
		is(t, "announced", rig.actsOf("r1"), "lab announce 1")
		if a := rig.get("r1").Acts[0]; a.By.Kind != event.BySource || a.Source != "lab" {
			t.Errorf("the act is %+v", a)
		}
		moved := slot("r1", 3*hour, 4*hour, "sw1", "sw2")
		moved.Activate, moved.Env = []string{"SECRET"}, map[string]string{"A": "SECRET"}
		src.says(moved)
		rig.load(announce.LoadOptions{By: olga})
		is(t, "moved", rig.actsOf("r1")[1:], "olga change 2 start:2000-01-01T01:00:00Z>2000-01-01T03:00:00Z "+
			"end:2000-01-01T02:00:00Z>2000-01-01T04:00:00Z devices:sw1>sw1 sw2 activate:> env:>A added")
		v := rig.get("r1")
		_, start, end, _ := v.Submitted()
		if !start.Equal(rig.now().Add(hour)) || !end.Equal(rig.now().Add(2*hour)) {
			t.Errorf("it was announced for %v to %v", start, end)
		}
		src.says(slot("r2", hour, 2*hour))
		rig.load(announce.LoadOptions{By: olga, Force: true})
		is(t, "removed", rig.actsOf("r1")[2:], "olga remove 3")
		src.says(slot("r1", hour, 2*hour))
		rig.load(announce.LoadOptions{Force: true})
		is(t, "announced again", rig.actsOf("r1")[3:], "lab announce 4 start:2000-01-01T03:00:00Z>2000-01-01T01:00:00Z "+
			"end:2000-01-01T04:00:00Z>2000-01-01T02:00:00Z devices:sw1 sw2> activate:> env:>A removed")
		is(t, "the log", rig.audit(adaHerself, event.Query{By: "olga"}), rig.audit(olga, event.Query{By: "olga"})...)
		is(t, "the reloads", rig.audit(olga, event.Query{Action: "reload"}), "olga reload  2", "olga reload  3")
	})
}

// A record keeps its first act and the newest ones.
func TestManyActsOfAJob(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		id := rig.add(NewJob{At: time.Now().Add(hour)})
		for i := range 50 {
			rig.do(Hold, id)
			rig.do(Release, id)
			if i == 0 {
				rig.sleep(minute)
			}
		}
		v := rig.get(id)
		if _, _, _, planned := v.Submitted(); len(v.Acts) != KeepActs || v.ActsDropped != 1+100-KeepActs || planned {
			t.Errorf("%d acts are kept, %d are not", len(v.Acts), v.ActsDropped)
		}
		if v.Acts[0].Action != "add" || v.Acts[1].Action != "release" {
			t.Errorf("the first acts are %+v", v.Acts[:2])
		}
	})
}

// Acts are kept for as long as the history, however few events are kept.
func TestActsAreKept(t *testing.T) {
	bubble(t, func(s *Settings) { s.EventsCount, s.HistoryAge = 20, 100*hour }, func(rig *testRig) {
		rig.add(NewJob{})
		for range 10 {
			rig.add(NewJob{At: time.Now().Add(hour)})
			rig.sleep(2 * hour)
		}
		rig.restart()
		if n := rig.kept(); n > 25 {
			t.Errorf("%d events are kept, want about 20", n)
		}
		if got := rig.audit(olga, event.Query{}); len(got) != 11 {
			t.Errorf("the acts are %q, want all", got)
		}
		rig.sleep(200 * hour)
		if got := rig.audit(olga, event.Query{}); len(got) >= 11 {
			t.Errorf("the acts are %q, want fewer", got)
		}
	})
}
