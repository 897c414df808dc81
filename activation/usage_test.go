package activation_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/activation/announce"
	"activationd/reservation"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
)

// usage returns a report of some months as text, a row a line, and with the total.
func (rig *testRig) usage(by, from, to string) string {
	rig.t.Helper()
	rows, total, err := rig.e.Usage(context.Background(), UsageFilter{By: by, From: month(rig.t, from), To: month(rig.t, to), Who: admin})
	if err != nil {
		rig.t.Fatalf("Usage: %v", err)
	}
	var b strings.Builder
	for _, r := range append(rows, NamedUsage{"total", total}) {
		fmt.Fprintf(&b, "%s:%s\n", r.Name, usageText(&r.Usage))
	}
	return b.String()
}

func month(t testing.TB, text string) Month {
	t.Helper()
	at, err := time.Parse("2006-01", text)
	if err != nil {
		t.Fatal(err)
	}
	return MonthOf(at)
}

// usageText has the fields of u that are not zero.
func usageText(u *Usage) string {
	var b strings.Builder
	for f, v := range reflect.ValueOf(u).Elem().Fields() {
		switch {
		case v.IsZero():
		case f.Type.Kind() == reflect.Int64:
			fmt.Fprintf(&b, " %s=%v", f.Name, time.Duration(v.Int())*time.Millisecond)
		default:
			fmt.Fprintf(&b, " %s=%v", f.Name, v)
		}
	}
	return b.String()
}

// usages checks reports: by what, a colon, and the rows.
func (rig *testRig) usages(from, to string, want map[string]string) {
	rig.t.Helper()
	for by, want := range want {
		want := strings.TrimLeft(strings.ReplaceAll(want, "\t", ""), "\n")
		if got := rig.usage(by, from, to); got != want {
			rig.t.Errorf("%s: the report of %s to %s by %s is\n%swant\n%s", rig.now().UTC().Format(time.DateTime), from, to, by, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Run("reservations", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) { // time begins at 2000-01-01
			src := rig.source("lab")
			two, bare := slot("r1", hour, 3*hour, "sw1", "sw2"), slot("r2", hour, 2*hour)
			bare.Owner = ""
			gone, future := slot("r3", 5*hour, 6*hour, "sw1"), slot("r4", 800*hour, 801*hour, "sw1")
			src.says(two, bare, gone, future)
			rig.loads(4, 0, 0, 0)
			rig.usages("2000-01", "2000-02", map[string]string{ByOwner: "total:\n"}) // nothing has begun
			rig.sleep(90 * minute)
			src.says(two, bare, future)
			rig.loads(0, 0, 1, 0)
			rig.usages("2000-01", "2000-01", map[string]string{ByDevice: `
				: Slots=1 Runs=1
				sw1: Slots=1 NotBegun=1 Runs=1 Used=30m0s Booked=30m0s
				sw2: Slots=1 Runs=1 Used=30m0s Booked=30m0s
				total: Slots=2 NotBegun=1 Runs=2 Used=1h0m0s Booked=1h0m0s
				`})
			rig.do(Cancel, "r1")
			rig.sleep(hour)
			rig.usages("2000-01", "2000-01", map[string]string{ByOwner: `
				: Slots=1 Runs=2 Succeeded=1
				group7: Slots=1 NotBegun=1 Runs=2 Cancelled=1 Used=1h0m2s Booked=4h0m0s
				total: Slots=2 NotBegun=1 Runs=4 Succeeded=1 Cancelled=1 Used=1h0m2s Booked=4h0m0s
				`, ByTag: `
				: Slots=2 NotBegun=1 Runs=4 Succeeded=1 Cancelled=1 Used=1h0m2s Booked=4h0m0s
				total: Slots=2 NotBegun=1 Runs=4 Succeeded=1 Cancelled=1 Used=1h0m2s Booked=4h0m0s
				`})
		})
	})
	t.Run("jobs", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, fails, script{lasts: 10 * minute})
			rig.script("2", Activate, script{hangs: true})
			rig.script("3", Activate, fails)
			rig.add(NewJob{Order: Order{Tags: []string{"a", "b"}, Retries: new(1)}})
			rig.add(NewJob{Order: Order{Tags: []string{"b"}, Timeout: new(hour)}})
			rig.add(NewJob{Order: Order{Owner: "eve"}})
			rig.add(NewJob{Order: Order{Owner: "eve"}, At: time.Now().Add(hour)})
			rig.do(Cancel, "4")
			rig.sleep(2 * hour)
			rig.usages("2000-01", "2000-01", map[string]string{ByTag: `
				: Jobs=1 NotBegun=1 Runs=1 Failed=1 Ran=1s
				a: Jobs=1 Runs=2 Succeeded=1 Ran=10m1s
				b: Jobs=2 Runs=3 Succeeded=1 TimedOut=1 Ran=1h10m1s
				total: Jobs=3 NotBegun=1 Runs=4 Succeeded=1 Failed=1 TimedOut=1 Ran=1h10m2s
				`, ByOwner: `
				ada: Jobs=2 Runs=3 Succeeded=1 TimedOut=1 Ran=1h10m1s
				eve: Jobs=1 NotBegun=1 Runs=1 Failed=1 Ran=1s
				total: Jobs=3 NotBegun=1 Runs=4 Succeeded=1 Failed=1 TimedOut=1 Ran=1h10m2s
				`})
		})
	})
	t.Run("attempts that could not start do not count", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, script{noStart: errors.New("no more processes")}, script{noStart: errors.New("no more processes")}, script{lasts: minute})
			rig.add(NewJob{})
			rig.sleep(hour)
			rig.usages("2000-01", "2000-01", map[string]string{ByOwner: "ada: Jobs=1 Runs=1 Succeeded=1 Ran=1m0s\ntotal: Jobs=1 Runs=1 Succeeded=1 Ran=1m0s\n"})
		})
	})
	t.Run("served twice", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			src := rig.source("lab")
			src.says(slot("r1", hour, 3*hour, "sw1"))
			rig.loads(1, 0, 0, 0)
			rig.sleep(2 * hour)
			src.says(slot("r1", 2*hour, 3*hour, "sw1"))
			rig.loads(0, 1, 0, 0)
			rig.sleep(hour)
			const between = "sw1: Slots=1 Runs=2 Used=1h0m1s\ntotal: Slots=1 Runs=2 Used=1h0m1s\n"
			rig.usages("2000-01", "2000-01", map[string]string{ByDevice: between})
			rig.sleep(3 * hour)
			const both = "sw1: Slots=1 Runs=4 Succeeded=1 Used=2h0m2s Booked=1h0m0s\ntotal: Slots=1 Runs=4 Succeeded=1 Used=2h0m2s Booked=1h0m0s\n"
			rig.usages("2000-01", "2000-01", map[string]string{ByDevice: both})
		})
	})
	t.Run("missed", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.add(NewJob{Order: Order{Missed: MissedSkip}, At: time.Now().Add(hour)})
			rig.shutDown()
			time.Sleep(5 * hour)
			rig.start()
			rig.usages("2000-01", "2000-01", map[string]string{ByOwner: "ada: Jobs=1 Missed=1\ntotal: Jobs=1 Missed=1\n"})
		})
	})
}

// What is counted belongs to the month in which the slot begins, in the daemon's zone, and
// times are divided between months. In Prague, October 2000 has an hour more than 31 days, and
// March an hour less.
func TestUsageOfMonths(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		at, err := time.ParseInLocation(time.DateTime, text, prague)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	bubble(t, nil, func(rig *testRig) {
		rig.zone = prague
		rig.restart()
		src := rig.source("lab")
		whole := func(id, from, to string, lead time.Duration) reservation.Reservation {
			r := slot(id, time.Until(at(from)), time.Until(at(to)), "sw"+id)
			r.Lead = new(lead)
			return r
		}
		src.says(
			whole("1", "2000-10-01 00:00:00", "2000-11-01 00:00:00", 0),
			whole("2", "2000-03-01 00:00:00", "2000-04-01 00:00:00", hour),
			whole("3", "2000-12-31 23:00:00", "2001-01-01 01:00:00", 0),
			whole("4", "2000-05-31 22:00:00", "2000-08-01 00:00:00", 0),
		)
		rig.loads(4, 0, 0, 0)
		rig.script("1", Activate, script{lasts: 5 * minute})
		rig.sleep(time.Until(at("2000-07-01 00:00:00")))
		reports := map[string]string{
			"2000-02": "sw2: Used=1h0m0s\ntotal: Used=1h0m0s\n",
			"2000-03": "sw2: Slots=1 Runs=2 Succeeded=1 Used=743h0m0s Booked=743h0m0s\ntotal: Slots=1 Runs=2 Succeeded=1 Used=743h0m0s Booked=743h0m0s\n",
			"2000-04": "sw2: Used=1s\ntotal: Used=1s\n",
			"2000-05": "sw4: Slots=1 Runs=1 Used=2h0m0s Booked=2h0m0s\ntotal: Slots=1 Runs=1 Used=2h0m0s Booked=2h0m0s\n",
			"2000-06": "sw4: Used=720h0m0s Booked=720h0m0s\ntotal: Used=720h0m0s Booked=720h0m0s\n",
			"2000-07": "total:\n", // it goes on
		}
		check := func() {
			t.Helper()
			for m, want := range reports {
				rig.usages(m, m, map[string]string{ByDevice: want})
			}
		}
		check()
		rig.sleep(time.Until(at("2001-01-02 00:00:00")))
		maps.Copy(reports, map[string]string{
			"2000-05": "sw4: Slots=1 Runs=2 Succeeded=1 Used=2h0m0s Booked=2h0m0s\ntotal: Slots=1 Runs=2 Succeeded=1 Used=2h0m0s Booked=2h0m0s\n",
			"2000-07": "sw4: Used=744h0m0s Booked=744h0m0s\ntotal: Used=744h0m0s Booked=744h0m0s\n",
			"2000-10": "sw1: Slots=1 Runs=2 Succeeded=1 Used=745h0m0s Booked=745h0m0s\ntotal: Slots=1 Runs=2 Succeeded=1 Used=745h0m0s Booked=745h0m0s\n",
			"2000-12": "sw3: Slots=1 Runs=2 Succeeded=1 Used=1h0m0s Booked=1h0m0s\ntotal: Slots=1 Runs=2 Succeeded=1 Used=1h0m0s Booked=1h0m0s\n",
			"2001-01": "sw3: Used=1h0m1s Booked=1h0m0s\ntotal: Used=1h0m1s Booked=1h0m0s\n",
		})
		check()
		rig.sleep(2000 * hour) // all is forgotten
		if left := rig.mem.Keys(RecordKey); len(left) > 0 {
			t.Fatalf("left: %v", left)
		}
		check()
		rig.usages("2000-11", "2001-01", map[string]string{ByDevice: `
			sw1: Used=1s
			sw3: Slots=1 Runs=2 Succeeded=1 Used=2h0m1s Booked=2h0m0s
			total: Slots=1 Runs=2 Succeeded=1 Used=2h0m2s Booked=2h0m0s
			`})
	})
}

// The history of a machine is forgotten in random portions, by daemons that die at any moment,
// and each report stays the same.
func TestUsageOutlivesHistory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	synctest.Test(t, func(t *testing.T) {
		rig := &testRig{t: t, mem: memstore.Strict(seed), w: newWorld(), boot: "boot1", set: testSettings()}
		rig.db = rig.mem
		rig.start()
		defer func() { rig.shutDown() }()
		rig.w.scripts = func(k supervisor.Key) script {
			h := fnv.New64() // the engine's goroutines ask
			_, _ = h.Write([]byte(k.String()))
			own := rand.New(rand.NewPCG(seed, h.Sum64()))
			return script{lasts: time.Duration(own.Int64N(int64(3 * hour))), exit: max(0, own.IntN(20)-16)}
		}
		some := func(all ...string) (out []string) {
			for _, s := range all {
				if rnd.IntN(2) > 0 {
					out = append(out, s)
				}
			}
			return out
		}
		src := rig.source("lab")
		var rs []reservation.Reservation
		for i := range 40 {
			from := time.Duration(rnd.Int64N(int64(1500 * hour)))
			r := slot(fmt.Sprint("r", i), from, from+time.Duration(rnd.Int64N(int64(30*hour))), some("sw1", "sw2", "sw3")...)
			r.Owner = []string{"", "ada", "eve"}[rnd.IntN(3)]
			rs = append(rs, r)
		}
		src.says(rs...)
		rig.loads(len(rs), 0, 0, 0)
		for range 60 {
			rig.add(NewJob{
				Order: Order{Owner: []string{"ada", "eve", "group7"}[rnd.IntN(3)], Tags: some("a", "b", "c"), Retries: new(rnd.IntN(3))},
				At:    time.Now().Add(time.Duration(rnd.Int64N(int64(1500 * hour)))),
			})
		}
		src.says(rs[3:]...)
		for n := range 30 {
			rig.sleep(time.Duration(rnd.Int64N(int64(100 * hour))))
			if n == 0 {
				rig.load(announce.LoadOptions{Force: true})
			}
			if v, err := rig.e.Get(context.Background(), fmt.Sprint(1+rnd.IntN(60))); err == nil && v.State != Finished {
				_, _ = rig.e.Do(context.Background(), admin, v.ID, Cancel, "")
			}
		}
		for left := true; left; rig.sleep(10 * hour) { // until all is finished: what is stuck would be used on
			left = false
			if err := rig.e.List(context.Background(), Filter{}, func(v View) error {
				if left = true; v.State == Stuck {
					defer rig.do(Forgive, v.ID)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		report := func() (all string) {
			for _, by := range []string{ByOwner, ByDevice, ByTag} {
				for m := month(t, "2000-01"); m <= month(t, "2000-05"); m++ {
					all += fmt.Sprintf("%s by %s\n%s", m, by, rig.usage(by, m.String(), m.String()))
				}
			}
			return all
		}
		want, kept := report(), len(rig.mem.Keys(RecordKey))
		for kept > 0 {
			rig.m.dieAfter(1 + rnd.IntN(5))
			rig.set.HistoryCount = max(1, kept-1-rnd.IntN(30))
			if kept < 10 {
				rig.set.HistoryAge = minute
			}
			rig.e.Configure(rig.set)
			synctest.Wait()
			rig.restart()
			rig.sleep(minute)
			if got := report(); got != want {
				t.Fatalf("%d of %d have been forgotten; the difference is\n%s", kept-len(rig.mem.Keys(RecordKey)), kept, differ(want, got))
			}
			left := len(rig.mem.Keys(RecordKey))
			if left < kept {
				t.Logf("%d are left", left)
			}
			if kept = left; kept < 10 {
				rig.sleep(3000 * hour)
				kept = len(rig.mem.Keys(RecordKey))
			}
		}
		if got := report(); got != want {
			t.Errorf("all have been forgotten; the difference is\n%s", differ(want, got))
		}
	})
}

// differ returns the lines of which only one text has them.
func differ(want, got string) string {
	var b strings.Builder
	was, is := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(was), len(is)) {
		if i >= len(was) || i >= len(is) || was[i] != is[i] {
			fmt.Fprintf(&b, "- %q\n+ %q\n", was[min(i, len(was)-1)], is[min(i, len(is)-1)])
		}
	}
	return b.String()
}

// Sums are kept for UsageAge after the end of their month, or forever, and never shorter than
// the history.
func TestUsageIsKept(t *testing.T) {
	const used = "ada: Jobs=1 Runs=1 Succeeded=1 Ran=1s\ntotal: Jobs=1 Runs=1 Succeeded=1 Ran=1s\n"
	const day = 24 * hour
	for _, tt := range []struct {
		name          string
		history, sums time.Duration
		there, gone   time.Duration // after the end of the month; gone: 0: never
	}{
		{"for a while", hour, 30 * day, 30 * day, 31*day + hour},
		{"forever", hour, 0, 4000 * day, 0},
		{"as long as the history", 90 * day, hour, 90 * day, 92 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(s *Settings) { s.HistoryAge, s.UsageAge = tt.history, tt.sums }, func(rig *testRig) { // from 2000-01-01 on
				rig.add(NewJob{At: time.Now().Add(31*day - hour)})
				rig.sleep(31 * day)
				rig.sleep(tt.there)
				rig.usages("2000-01", "2000-01", map[string]string{ByOwner: used})
				if tt.gone > 0 {
					rig.sleep(tt.gone - tt.there)
					rig.usages("2000-01", "2000-01", map[string]string{ByOwner: "total:\n"})
					if left := rig.mem.Keys(UsageKey); len(left) > 0 {
						t.Errorf("%v is left", left)
					}
				}
			})
		})
	}
}

// An earlier release has stored records without a head, or with one that says nothing of use.
func TestUsageOfEarlierRecords(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, fails, script{lasts: minute})
		rig.add(NewJob{Order: Order{Tags: []string{"a"}, Retries: new(1)}})
		rig.sleep(hour)
		want := rig.usage(ByTag, "2000-01", "2000-01")
		rig.shutDown()
		for _, older := range []func(*Record, []byte) ([]byte, error){
			func(r *Record, _ []byte) ([]byte, error) { return r.EncodeAsBefore() },
			func(_ *Record, data []byte) ([]byte, error) {
				head, rest, ok := strings.Cut(string(data), `"use":[2,`)
				_, rest, ok2 := strings.Cut(rest, `],`)
				if !ok || !ok2 {
					t.Fatalf("the head says nothing of use: %s", data)
				}
				return []byte(head + rest), nil
			},
		} {
			err := rig.db.Update(context.Background(), func(tx store.Tx) error {
				data := tx.Get(Key("1"))
				r, err := Decode("1", data)
				if err != nil {
					return err
				}
				if data, err = older(r, data); err != nil {
					return err
				}
				return tx.Put(Key("1"), data)
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := rig.usage(ByTag, "2000-01", "2000-01"); got != want {
				t.Errorf("%s: the report is\n%swant\n%s", rig.mem.Value(Key("1")), got, want)
			}
			err = rig.db.Update(context.Background(), func(tx store.Tx) error {
				r, err := Decode("1", tx.Get(Key("1")))
				if err != nil {
					return err
				}
				return PutRecord(tx, r)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		rig.start()
	})
}

// Tags without end do not make a sum of any size.
func TestUsageOfManyTags(t *testing.T) {
	bubble(t, func(s *Settings) { s.HistoryAge = minute }, func(rig *testRig) {
		jobs := make([]NewJob, MostTags+50)
		for i := range jobs {
			jobs[i] = NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}, Tags: []string{fmt.Sprint("t", i)}}}
		}
		if _, err := rig.e.Add(context.Background(), admin, jobs); err != nil {
			t.Fatal(err)
		}
		rig.sleep(hour)
		if left := rig.mem.Keys(RecordKey); len(left) > 0 {
			t.Fatalf("left: %v", left)
		}
		rows, total, err := rig.e.Usage(context.Background(), UsageFilter{By: ByTag, From: month(t, "2000-01"), To: month(t, "2000-01"), Who: admin})
		if err != nil || len(rows) != MostTags+1 || rows[0].Name != "(others)" || rows[0].Jobs != 50 || total.Jobs != len(jobs) {
			t.Errorf("%d rows, %+v, %+v, %v", len(rows), rows[0], total, err)
		}
	})
}

// Each host sums up what it forgets, and a report adds up all hosts.
func TestUsageOfTwoHosts(t *testing.T) {
	twoHosts(t, func(a, b *testRig) {
		for range 4 {
			a.add(NewJob{})
		}
		a.sleep(hour)
		want := a.usage(ByOwner, "2000-01", "2000-01")
		for _, rig := range []*testRig{a, b} {
			if rig.stop == nil {
				rig.start()
			}
			rig.set.HistoryCount = 3
			if rig == b {
				rig.set.HistoryCount = 1
			}
			rig.e.Configure(rig.set)
			rig.sleep(minute)
		}
		if got := b.usage(ByOwner, "2000-01", "2000-01"); got != want || !strings.HasPrefix(got, "ada: Jobs=4 Runs=4") {
			t.Errorf("the report is\n%swant\n%s", got, want)
		}
		_ = b.db.View(context.Background(), func(tx store.Tx) error {
			var keys []string
			for k := range tx.Scan(UsageKey, "") {
				keys = append(keys, k)
			}
			if fmt.Sprint(keys) != "[u/2000-01/a/ada u/2000-01/b/ada]" {
				t.Errorf("the sums are %v", keys)
			}
			return nil
		})
	})
}
