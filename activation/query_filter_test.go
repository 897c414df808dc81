package activation_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "activationd/activation"
	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor/wrapper"
)

// TestListIsTheNaiveList compares lists, which are made from the heads of records, with
// lists that are made from whole ones: decoded, shown as to the client, filtered by rules that are
// written down here once more, sorted, cut. The records are random, and so are the filters.
func TestListIsTheNaiveList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := memstore.New()
		if rapid.Bool().Draw(t, "strict") {
			db = memstore.Strict(rapid.Uint64Range(1, 1e6).Draw(t, "seed"))
		}
		e := listEngine(db)
		now := time.Now()
		ids, indexes := make(map[string]bool), make(map[string]map[string]string)
		for range rapid.IntRange(0, 40).Draw(t, "records") {
			r := randomRecord(t, now)
			encode := r.Encode
			if rapid.IntRange(0, 4).Draw(t, "format") == 0 {
				encode = r.EncodeAsBefore
			}
			data, err := encode()
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(context.Background(), func(tx store.Tx) error {
				return errors.Join(replaceIndex(tx, indexes[r.ID], r), tx.Put(StdinKey+r.ID+"/0000", []byte(largeInput)), tx.Put(Key(r.ID), data)) // the second for those with a StdinSize
			})
			if err != nil {
				t.Fatal(err)
			}
			ids[r.ID], indexes[r.ID] = true, r.Index()
		}
		var all []View
		for id := range ids {
			v, err := e.Get(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		for range 10 {
			f := randomFilter(t, now)
			want := naiveList(f, all, now)
			var got []string
			err := e.ListBy(context.Background(), f, rapid.IntRange(1, 50).Draw(t, "most"), func(v View) error {
				if v.Stdin != nil || v.Env != nil {
					t.Errorf("%s has its standard input or environment", v.ID)
				}
				got = append(got, v.ID)
				return nil
			})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%+v\nlists %v, %v\nwant  %v", f, got, err, want)
			}
		}
	})
}

// replaceIndex replaces the index entries of a record.
func replaceIndex(tx store.Tx, was map[string]string, r *Record) (err error) {
	for k := range was {
		err = errors.Join(err, tx.Delete(k))
	}
	for k, v := range r.Index() {
		err = errors.Join(err, tx.Put(k, []byte(v)))
	}
	return err
}

// listEngine returns an engine that does nothing but read.
func listEngine(db store.Store) *Engine {
	return New(Parts{
		DB: db, Runs: &instantRuns{}, Alarm: newFakeAlarm(&fakeClock{started: time.Now()}), Boot: "boot", Nodes: fakeNodes,
		Log: slog.New(slog.DiscardHandler),
	}, testSettings())
}

var (
	someTexts = rapid.SampledFrom([]string{
		"", "a", "backup", "Nightly BACKUP", "*", "b?", `a"b\c`, `"state":"finished"`, `{"owner":"ada"}`, "x<y>&z", "ÄÖ é", "äö", "a\xffb", "\u2028", "İ",
	})
	someNames   = rapid.SampledFrom([]string{"", "ada", "bob", `o"\`, "ädä"})
	someDevices = rapid.SampledFrom([]string{"r1", "sw1", "net"})
	someLocks   = rapid.SampledFrom([]string{"r1", "sw1:shared", "net=1/4", "every.x"})
	someTags    = rapid.SampledFrom([]string{"a", "b", "c"})
)

// hours draws a time that is so many hours and a half from now, so that the duration of the
// test does not matter.
func hours(t *rapid.T, now time.Time, what string) time.Time {
	return now.Add(time.Duration(rapid.IntRange(-9, 9).Draw(t, what))*hour + 30*minute).In(rapid.SampledFrom([]*time.Location{time.UTC, time.Local, time.FixedZone("", 5400)}).Draw(t, "zone"))
}

// largeInput stands for a standard input that is not in the record.
const largeInput = "the Backup of a large disk\n"

func randomRecord(t *rapid.T, now time.Time) *Record {
	r := &Record{
		Kind: rapid.SampledFrom([]Kind{Job, Reservation}).Draw(t, "kind"),
		Life: Life{
			State: rapid.SampledFrom(States[:]).Draw(t, "state"), Reason: someTexts.Draw(t, "reason"), Created: hours(t, now, "created"), Since: hours(t, now, "since"),
		},
		Order: Order{
			Owner: someNames.Draw(t, "owner"), Label: someTexts.Draw(t, "label"), Argv: rapid.SliceOfN(someTexts, 0, 3).Draw(t, "argv"),
			Undo: rapid.SliceOfN(someTexts, 0, 2).Draw(t, "undo"), Tags: rapid.SliceOfN(someTags, 0, 2).Draw(t, "tags"),
			Env: map[string]string{"owner": "ada", "state": "held", "label": "backup"}, Dir: "/backup",
		},
		From:  rapid.SampledFrom([]string{"", "nightly"}).Draw(t, "from"),
		Start: hours(t, now, "start"),
	}
	r.ID = fmt.Sprint(rapid.IntRange(1, 200).Draw(t, "id"))
	if r.Kind == Reservation {
		r.ID += "@x"
		r.Slot = Slot{
			End: hours(t, now, "end"), Lead: time.Duration(rapid.IntRange(0, 2).Draw(t, "lead")) * hour, Devices: rapid.SliceOfN(someDevices, 0, 2).Draw(t, "devices"),
			Source: "file", Hash: []byte("hash"),
		}
	} else {
		r.Locks = rapid.SliceOfN(someLocks, 0, 2).Draw(t, "locks")
		r.Script = rapid.SampledFrom([]string{"", "backup.sh"}).Draw(t, "script")
		r.StdinSize = rapid.SampledFrom([]int{0, 0, 0, len(largeInput)}).Draw(t, "stdin size")
	}
	if r.Kind == Job && r.StdinSize == 0 {
		r.Stdin = []byte(rapid.SampledFrom([]string{"", "echo Backup\n", "a\xffb", strings.Repeat("x", 1000) + " backup"}).Draw(t, "stdin"))
	}
	if r.State == Finished {
		r.Outcome = rapid.SampledFrom(Outcomes[:]).Draw(t, "outcome")
	}
	if uid := rapid.IntRange(-1, 1).Draw(t, "uid"); uid >= 0 {
		r.User = &Identity{UID: 1000 + uid, GID: 7, Name: "owner"}
	}
	if r.State == Waiting && rapid.Bool().Draw(t, "pauses") {
		r.RetryAt = hours(t, now, "retry")
	}
	for n := range rapid.IntRange(0, 3).Draw(t, "attempts") {
		a := Attempt{Phase: rapid.SampledFrom([]string{Activate, Deactivate}).Draw(t, "phase"), N: n + 1, Claimed: hours(t, now, "claimed")}
		if rapid.Bool().Draw(t, "began") {
			a.Result = wrapper.Result{Reason: wrapper.Exited, Text: "backup", Started: hours(t, now, "started"), Ended: hours(t, now, "ended")}
		}
		a.Past, a.Final = rapid.IntRange(0, 5).Draw(t, "past") == 0, rapid.Bool().Draw(t, "final") && !a.Result.Ended.IsZero()
		r.Attempts = append(r.Attempts, a)
	}
	if (r.State == Activating || r.State == Deactivating) && len(r.Attempts) > 0 {
		a := &r.Attempts[len(r.Attempts)-1]
		a.Open, a.Result = true, wrapper.Result{}
	}
	return r
}

func randomFilter(t *rapid.T, now time.Time) Filter {
	f := Filter{Finished: rapid.Bool().Draw(t, "finished")}
	rare := func(what string) bool { return rapid.IntRange(0, 5).Draw(t, what) == 0 }
	if rare("by states") {
		f.In = append(f.In, []Condition{
			{State: rapid.SampledFrom(States[:]).Draw(t, "a state")},
			{State: Activating, Kind: Job},
			{State: Finished, Outcome: rapid.SampledFrom(Outcomes[:]).Draw(t, "an outcome")},
		})
	}
	if rare("by outcome") {
		f.In = append(f.In, []Condition{{State: Finished, Outcome: rapid.SampledFrom(Outcomes[:]).Draw(t, "the outcome")}})
	}
	if rare("by owner") {
		f.Owner = someNames.Draw(t, "the owner")
	}
	if rare("by kind") {
		f.Kind = rapid.SampledFrom([]Kind{Job, Reservation}).Draw(t, "the kind")
	}
	if rare("by label") {
		f.Label = rapid.SampledFrom([]string{"a", "*a*", "b?", "*BACKUP", "*\\*", "?"}).Draw(t, "the label")
	}
	if rare("by id") {
		f.ID = rapid.SampledFrom([]string{"1*", "*@x", "??", "7"}).Draw(t, "the id")
	}
	if rare("by recurrence") {
		f.From = "nightly"
	}
	if rare("by tag") {
		f.Tags = rapid.SliceOfN(someTags, 1, 2).Draw(t, "the tags")
	}
	if rare("by device") {
		f.Devices = rapid.SliceOfN(someDevices, 1, 2).Draw(t, "the devices")
	}
	if rare("since") {
		f.Since = hours(t, now, "the beginning")
	}
	if rare("until") {
		f.Until = hours(t, now, "the end")
	}
	if rare("by the slot's end") {
		f.EndsAfter = hours(t, now, "the slot's end")
	}
	if rare("by text") {
		f.Text = rapid.SampledFrom([]string{"backup", "BACK", "ada", "1", "x<y", "äÖ", "a b", "\"", "held", "next try", "z"}).Draw(t, "the text")
	}
	f.By = rapid.SampledFrom([]Actor{
		admin,
		{Name: "ada", UID: 1000, NoInputs: true},
		{Name: "ada", UID: 1000, OnlyOwn: true, NoInputs: true},
		{Name: "bob", UID: 1001, OnlyOwn: true, NoInputs: true},
		{Name: "loopback", UID: -1, NoJobs: true, NoInputs: true},
	}).Draw(t, "by")
	f.Sort = rapid.SampledFrom(append(SortWords(), "", "")).Draw(t, "sort")
	f.Reverse = rapid.Bool().Draw(t, "reverse")
	f.Limit = rapid.IntRange(0, 6).Draw(t, "limit")
	return f
}

// naiveList returns the ids of a list, made from whole records.
func naiveList(f Filter, all []View, now time.Time) (ids []string) {
	var chosen []View
	for _, v := range all {
		if v = v.For(f.By); naiveMatch(f, v, now) {
			chosen = append(chosen, v)
		}
	}
	slices.SortFunc(chosen, func(a, b View) int {
		x, y := naivePlace(f, a), naivePlace(f, b)
		if x.none != y.none {
			return cmp.Compare(fmt.Sprint(x.none), fmt.Sprint(y.none)) // false, then true
		}
		c := slices.Compare(x.numbers, y.numbers)
		if c == 0 {
			c = cmp.Compare(x.text, y.text)
		}
		if f.Reverse {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(Key(a.ID), Key(b.ID)))
	})
	for _, v := range chosen {
		if f.Limit == 0 || len(ids) < f.Limit {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// beganAt is when an activation began, or its open attempt was claimed.
func beganAt(v View) time.Time {
	if began := v.Started(); !began.IsZero() {
		return began
	}
	if n := len(v.Attempts); n > 0 && v.Attempts[n-1].Open {
		return v.Attempts[n-1].Claimed
	}
	return time.Time{}
}

func naiveMatch(f Filter, v View, now time.Time) bool {
	if !f.EndsAfter.IsZero() && !f.EndsAfter.Before(v.End) {
		return false
	}
	if len(f.In) == 0 && !f.Finished && v.State == Finished {
		return false
	}
	for _, list := range f.In {
		ok := false
		for _, c := range list {
			ok = ok || (c.State == "" || c.State == v.State) && (c.Kind == "" || c.Kind == v.Kind) && (c.Outcome == "" || c.Outcome == v.Outcome)
		}
		if !ok {
			return false
		}
	}
	like := func(pattern, text string) bool {
		pattern = regexp.QuoteMeta(pattern)
		pattern = strings.ReplaceAll(strings.ReplaceAll(pattern, `\*`, `.*`), `\?`, `.`)
		return regexp.MustCompile(`(?s)\A` + pattern + `\z`).MatchString(text)
	}
	for _, tag := range f.Tags {
		if !strings.Contains(" "+strings.Join(v.Tags, " ")+" ", " "+tag+" ") {
			return false
		}
	}
	locks := "," + strings.Join(slices.Concat(v.Locks, v.Devices, v.LocksHeld), ",") + ","
	texts := []string{v.ID, v.Owner, v.Label, v.Reason, v.Record.Script, strings.Join(v.Argv, " "), strings.Join(v.Undo, " "), string(v.Stdin)}
	from, to := v.Start, v.Ended()
	if began := beganAt(v); !began.IsZero() && began.Before(from) {
		from = began
	}
	switch {
	case v.State == Finished && to.Before(from):
		from = to
	case v.State != Finished:
		to = slices.MaxFunc([]time.Time{now, from, v.End}, time.Time.Compare)
	}
	return (f.Owner == "" || f.Owner == v.Owner) &&
		(f.Kind == "" || f.Kind == v.Kind) &&
		(f.Label == "" || like(f.Label, v.Label)) &&
		(f.ID == "" || like(f.ID, v.ID)) &&
		(f.From == "" || f.From == v.From) &&
		(len(f.Devices) == 0 || regexp.MustCompile(",("+strings.Join(f.Devices, "|")+")(:shared|=1/4)?,").MatchString(locks)) &&
		(f.Since.IsZero() || !to.Before(f.Since)) &&
		(f.Until.IsZero() || !from.After(f.Until)) &&
		(f.Text == "" || slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(f.Text)) }))
}

type place struct {
	none    bool
	numbers []int64
	text    string
}

func naivePlace(f Filter, v View) place {
	at := func(t time.Time) place { return place{none: t.IsZero(), numbers: []int64{t.UnixNano()}} }
	switch f.Sort {
	case "":
		if v.State == Finished {
			return place{numbers: []int64{1, -v.Ended().UnixNano()}}
		}
		if v.NextDue().IsZero() {
			return place{numbers: []int64{0, v.Start.Add(-v.Lead).UnixNano()}}
		}
		return place{numbers: []int64{0, v.NextDue().UnixNano()}}
	case "id":
		return place{text: Key(v.ID)}
	case "owner":
		return place{text: v.Owner}
	case "state":
		return place{numbers: []int64{int64(slices.Index(States[:], v.State))}, text: string(v.Outcome)}
	case "planned":
		return at(v.Start)
	case "started":
		return at(beganAt(v))
	case "ended":
		return at(v.Ended())
	case "took":
		if beganAt(v).IsZero() || v.Ended().IsZero() {
			return place{none: true}
		}
		return place{numbers: []int64{int64(v.Ended().Sub(beganAt(v)))}}
	case "due":
		return at(v.NextDue())
	}
	panic(f.Sort)
}

// A list of records that all match one filter, in more pages than one, is complete.
func TestLongList(t *testing.T) {
	db := memstore.New()
	e := listEngine(db)
	const n = PagePast + 10
	err := db.Update(t.Context(), func(tx store.Tx) error {
		for i := range n {
			r := &Record{ID: fmt.Sprint(i + 1), Kind: Job, Life: Life{State: Finished, Outcome: Succeeded, Since: time.Unix(int64(1e9+i), 0)}}
			data, err := r.Encode()
			if err != nil {
				return err
			}
			if !Head(data) {
				t.Fatalf("%s has no head", data)
			}
			if err := tx.Put(Key(r.ID), data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ limit, most, want int }{{0, n / 2, n}, {100, n, 100}} {
		next := n // the newest end is first
		err := e.ListBy(t.Context(), Filter{Finished: true, Limit: tt.limit}, tt.most, func(v View) error {
			if want := fmt.Sprint(next); v.ID != want {
				return fmt.Errorf("%s is listed instead of %s", v.ID, want)
			}
			next--
			return nil
		})
		if err != nil || n-next != tt.want {
			t.Errorf("limit %d, %d keys at once: %d are listed, %v, want %d", tt.limit, tt.most, n-next, err, tt.want)
		}
	}
}

// Whatever bytes a record has, reading its head does not panic, and a record that is cut off has none.
func TestHeadOfGarbage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := randomRecord(t, time.Now())
		data, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		data = data[:rapid.IntRange(0, len(data)).Draw(t, "length")]
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			if len(data) > 0 {
				data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] = rapid.SampledFrom([]byte("\"\\{}[],:0a")).Draw(t, "byte")
			}
		}
		Head(data)
	})
}

func TestListSort(t *testing.T) {
	err := listEngine(memstore.New()).List(t.Context(), Filter{Sort: "color"}, nil)
	if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "due, ended, id, owner, planned, started, state, took") {
		t.Errorf("%v, want the words", err)
	}
}
