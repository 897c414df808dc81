package event

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"activationd/store"
	"activationd/store/bolt"
)

// BenchmarkEncode measures the cost of an event for its writer, without the write itself,
// and the cost of reading one.
func BenchmarkEncode(b *testing.B) {
	e := Event{
		Time: time.Now(), Topic: Topic("activation", "1042@ostrava", "attempt", "ended"), What: "attempt.ended", ID: "1042@ostrava",
		Kind: "reservation", Host: "lab1", Owner: "ada", State: "activating", Phase: "activate", Attempt: 1, Result: "exited", Exit: new(1),
		Failed: true, Reason: "activate attempt 1 exited with status 1",
	}
	for _, n := range []int{1, entryEvents} { // how many share an entry
		events := slices.Repeat([]*Event{&e}, n)
		data, _ := encode(events)
		b.Run(fmt.Sprintf("encode/%d", n), func(b *testing.B) {
			for b.Loop() {
				_, _ = encode(events)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
			b.ReportMetric(float64(len(data))/float64(n), "bytes/event")
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			for b.Loop() {
				_, _ = entry{uint64(n), data}.decode(0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
		})
	}
}

// BenchmarkActs measures a search of 100,000 events of which every sixth is an act, and of
// 100,000 acts before them that followers cannot read any more.
func BenchmarkActs(b *testing.B) {
	db, err := bolt.Open(b.TempDir() + "/state.db")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	l := New(db)
	const n = 100_000
	for i := 0; i < 2*n; i += 1000 {
		if err := db.Update(b.Context(), func(tx store.Tx) error {
			for j := i; j < i+1000; j++ {
				e := &Event{Time: start.Add(time.Duration(j) * time.Second), What: State, ID: fmt.Sprint(j), Kind: "job", Host: "lab1", Owner: "ada", OwnerUID: new(1000), State: "scheduled"}
				if j < n || j%6 == 0 {
					e.Actor, e.Action = &Actor{Kind: "uid", Name: "ada", Role: "submitter"}, "add"
				}
				if _, err := Append(tx, e); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := l.Prune(b.Context(), Retention{Count: n}); err != nil {
		b.Fatal(err)
	}
	for name, q := range map[string]Query{
		"all": {}, "by": {By: "olga"}, "id": {IDs: []string{"150000"}}, "since": {Since: start.Add((2*n - 100) * time.Second)}, "action": {Action: "cancel"},
	} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime()
			for b.Loop() {
				if err := l.Acts(b.Context(), q, func(*Event) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
	b.Run("count", func(b *testing.B) { // as Prune does
		before := cpuTime()
		for b.Loop() {
			if n, _, err := l.walk(b.Context(), rule{}, n*2); err != nil || n == 0 {
				b.Fatal(n, err)
			}
		}
		b.ReportMetric(float64((cpuTime()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
	})
}

// cpuTime is the processor time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
