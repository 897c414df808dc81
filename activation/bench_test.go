package activation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"activationd/reservation"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// instantRuns end at once.
type instantRuns struct {
	exits chan supervisor.Exit
	mu    sync.Mutex
	begun []time.Time
}

func (r *instantRuns) Start(k supervisor.Key, _ wrapper.Spec) error {
	r.mu.Lock()
	r.begun = append(r.begun, time.Now())
	r.mu.Unlock()
	r.exits <- supervisor.Exit{Key: k, Result: wrapper.Result{Reason: wrapper.Exited}}
	return nil
}

func (r *instantRuns) Adopt(supervisor.Key) (supervisor.Found, error) { return supervisor.Found{}, nil }
func (r *instantRuns) Stop(supervisor.Key) error                      { return nil }
func (r *instantRuns) Exits() <-chan supervisor.Exit                  { return r.exits }
func (r *instantRuns) RunDir(supervisor.Key) string                   { return "" }
func (r *instantRuns) Size(supervisor.Key) int64                      { return 0 }
func (r *instantRuns) Keep(string, int, int) (string, error)          { return "", nil }
func (r *instantRuns) Unkeep(context.Context, string) error           { return nil }
func (r *instantRuns) Kept() ([]string, error)                        { return nil, nil }
func (r *instantRuns) Remove(context.Context, supervisor.Key) error   { return nil }
func (r *instantRuns) Frozen(supervisor.Key) string                   { return "" }
func (r *instantRuns) Guard() (string, string)                        { return "", "" }
func (r *instantRuns) Started(supervisor.Key) (pid int, at time.Time, ok bool) {
	return 0, time.Time{}, false
}

// A bench is an engine on a real store whose runs cost nothing.
type bench struct {
	e    *Engine
	runs *instantRuns
	db   store.Store
}

func newBench(b *testing.B, set Settings, prepare func(db store.Store, e *Engine)) *bench {
	b.Helper()
	db, err := bolt.Open(b.TempDir() + "/state.db")
	if err != nil {
		b.Fatal(err)
	}
	runs := &instantRuns{exits: make(chan supervisor.Exit, 1<<16)}
	e := New(Parts{
		DB: db, Runs: runs, Alarm: newFakeAlarm(&fakeClock{started: time.Now()}), Boot: "boot", Nodes: fakeNodes, Log: slog.New(slog.DiscardHandler),
	}, set)
	if prepare != nil {
		prepare(db, e)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	wg.Go(func() { _ = e.RunLoads(ctx) })
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return &bench{e: e, runs: runs, db: db}
}

func (b *bench) addAt(tb testing.TB, n int, at time.Time) {
	tb.Helper()
	jobs := make([]NewJob, n)
	for i := range jobs {
		jobs[i] = NewJob{Owner: "ada", Argv: []string{"true"}, At: at, Env: map[string]string{"A": "1", "B": "2"}}
	}
	if _, err := b.e.Add(context.Background(), jobs); err != nil {
		tb.Fatal(err)
	}
}

// finished waits until n more are.
func (b *bench) finished(tb testing.TB, since uint64, n int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = b.e.Follow(ctx, since, func(h Happening) error {
		if h.What == "state" && h.State == string(Finished) {
			if n--; n == 0 {
				cancel()
			}
		}
		return nil
	})
	if n > 0 {
		tb.Fatalf("%d have not finished", n)
	}
}

// BenchmarkBurst is 1,000 due at one instant.
func BenchmarkBurst(b *testing.B) {
	for _, parallel := range []int{1000, 16} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			const n = 1000
			set := testSettings()
			set.MaxParallel = parallel
			bench := newBench(b, set, nil)
			var took time.Duration
			for range b.N {
				at := time.Now().Add(200 * time.Millisecond)
				since := bench.e.Newest()
				bench.addAt(b, n, at)
				bench.finished(b, since, n)
				took += time.Since(at)
			}
			b.ReportMetric(float64(n*b.N)/took.Seconds(), "attempts/s")
		})
	}
}

// BenchmarkPending is one job at a time, with many pending.
func BenchmarkPending(b *testing.B) {
	for _, pending := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("pending=%d", pending), func(b *testing.B) {
			if pending > 0 && testing.Short() {
				b.Skip("takes a minute")
			}
			bench := newBench(b, testSettings(), func(db store.Store, e *Engine) {
				far := time.Now().Add(1000 * hour)
				for left := pending; left > 0; left -= 10_000 {
					jobs := make([]NewJob, 10_000)
					for i := range jobs {
						jobs[i] = NewJob{Owner: "ada", Argv: []string{"true"}, At: far.Add(time.Duration(left+i) * time.Second)}
					}
					if _, err := e.Add(context.Background(), jobs); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ResetTimer()
			for range b.N {
				since := bench.e.Newest()
				bench.addAt(b, 1, time.Time{})
				bench.finished(b, since, 1)
			}
		})
	}
}

// BenchmarkReload is a source of many reservations, new and then unchanged.
func BenchmarkReload(b *testing.B) {
	const n = 100_000
	rs := make([]reservation.Reservation, n)
	for i := range rs {
		rs[i] = slot(fmt.Sprintf("r%d@lab", i), time.Duration(i+1000)*minute, time.Duration(i+1060)*minute, fmt.Sprintf("sw%d", i%100))
	}
	for range b.N {
		bench := newBench(b, testSettings(), nil)
		src := &fakeSource{name: "lab"}
		src.set = reservation.Set{Reservations: rs, Fingerprint: "1"}
		bench.e.SetSources([]Source{{Source: src}})
		for i, name := range []string{"new-s", "unchanged-s", "same-s"} {
			if i == 2 {
				src.set.Fingerprint = "2" // read again, and nothing is another
			}
			began := time.Now()
			rep, err := bench.e.Load(context.Background(), LoadOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(began).Seconds(), name)
			if want := map[int]int{0: n}[i]; rep.Added != want {
				b.Fatalf("%s: %s", name, rep.Summary())
			}
		}
	}
}
