package activation_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/event"
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
func (r *instantRuns) CloseSockets(func() (_, _ []string, _ error)) ([]string, error) {
	return nil, nil
}
func (r *instantRuns) Stop(supervisor.Key) error                     { return nil }
func (r *instantRuns) Kill(supervisor.Key) error                     { return nil }
func (r *instantRuns) Exits() <-chan supervisor.Exit                 { return r.exits }
func (r *instantRuns) RunDir(supervisor.Key) string                  { return "" }
func (r *instantRuns) Open(supervisor.Key, string) (*os.File, error) { return nil, os.ErrNotExist }
func (r *instantRuns) Files(supervisor.Key) ([]supervisor.File, error) {
	return nil, fs.ErrNotExist
}
func (r *instantRuns) Size(supervisor.Key) int64                    { return 0 }
func (r *instantRuns) Workdir(string, int, int) (string, error)     { return "", nil }
func (r *instantRuns) RemoveWorkdir(context.Context, string) error  { return nil }
func (r *instantRuns) Workdirs() ([]string, error)                  { return nil, nil }
func (r *instantRuns) Remove(context.Context, supervisor.Key) error { return nil }
func (r *instantRuns) Frozen(supervisor.Key) string                 { return "" }
func (r *instantRuns) Guard() (string, string)                      { return "", "" }
func (r *instantRuns) AwaitStart(supervisor.Key) error              { return nil }
func (r *instantRuns) Begins() <-chan supervisor.Key                { return nil }
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
		jobs[i] = NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}, Env: map[string]string{"A": "1", "B": "2"}}, At: at}
	}
	ada := Actor{Kind: "uid", Name: "ada", Role: "submitter"}
	if _, err := b.e.Add(context.Background(), ada, jobs); err != nil {
		tb.Fatal(err)
	}
}

// finished waits until n more activations are finished.
func (b *bench) finished(tb testing.TB, since uint64, n int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = b.e.Follow(ctx, since, func(ev *event.Event) error {
		if ev.What == "state" && ev.State == string(Finished) {
			if n--; n == 0 {
				cancel()
			}
		}
		return nil
	})
	if n > 0 {
		tb.Fatalf("%d activations have not finished", n)
	}
}

// BenchmarkBurst measures 1,000 jobs that are due at one time.
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
				since := newest(b, bench.e)
				bench.addAt(b, n, at)
				bench.finished(b, since, n)
				took += time.Since(at)
			}
			b.ReportMetric(float64(n*b.N)/took.Seconds(), "attempts/s")
		})
	}
}

// BenchmarkPending measures one job at a time, with many pending.
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
						jobs[i] = NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}}, At: far.Add(time.Duration(left+i) * time.Second)}
					}
					if _, err := e.Add(context.Background(), admin, jobs); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ResetTimer()
			for range b.N {
				since := newest(b, bench.e)
				bench.addAt(b, 1, time.Time{})
				bench.finished(b, since, 1)
			}
		})
	}
}

// BenchmarkAttention measures how long it takes to find what needs attention among many jobs
// that have finished in the last hours, of which one in a hundred failed.
func BenchmarkAttention(b *testing.B) {
	const n = 200_000
	bench := newBench(b, testSettings(), func(db store.Store, _ *Engine) {
		for done := 0; done < n; {
			err := db.Update(context.Background(), func(tx store.Tx) error {
				for range 10_000 {
					done++
					r := &Record{V: RecordVersion, ID: strconv.Itoa(done), Kind: Job, Life: Life{State: Finished, Outcome: Succeeded, Since: time.Now()}}
					if done%100 == 0 {
						r.Outcome = Failed
					}
					if err := PutRecord(tx, r); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	for b.Loop() {
		a, err := bench.e.Attention(context.Background(), admin, 5)
		if err != nil || a.Failed.All != n/100 || len(a.Failed.Views) != 5 {
			b.Fatalf("%+v, %v", a, err)
		}
	}
}

// BenchmarkReload measures loads of a source with many reservations, first new and then
// unchanged.
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
		conf := announce.Configuration{Settings: testSettings(), Sources: []announce.Source{{Source: src}}}
		loader := announce.NewLoader(bench.e, conf, fakeNodes, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		go func() {
			_ = loader.Run(ctx, func(context.Context) (announce.Configuration, error) { return conf, nil })
		}()
		for i, name := range []string{"new-s", "unchanged-s", "same-s"} {
			if i == 2 {
				src.set.Fingerprint = "2" // read again, but nothing has changed
			}
			began := time.Now()
			rep, err := loader.Load(ctx, announce.LoadOptions{})
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

// BenchmarkAdd measures what a submission costs, in batches such as a pipelined client makes.
func BenchmarkAdd(b *testing.B) {
	const batch = 512
	bench := newBench(b, testSettings(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = bench.e.Follow(ctx, 0, func(*event.Event) error { return nil }) }() // as the daemon's log
	far := time.Now().Add(1000 * hour)
	before := cpuTime()
	b.ResetTimer()
	for range b.N {
		bench.addAt(b, batch, far)
		far = far.Add(time.Minute)
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N)/batch, "cpu-ns/job")
}

// cpuTime is the processor time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkList measures lists of 100 among 100,000 finished jobs, by each kind of filter.
// Few jobs match, half of them, or all.
func BenchmarkList(b *testing.B) {
	const n, limit = 100_000, 100
	bench := newBench(b, testSettings(), func(db store.Store, _ *Engine) { fillHistory(b, db, n) })
	began := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	is := func(cs ...Condition) [][]Condition { return [][]Condition{cs} }
	for _, f := range []struct {
		name string
		Filter
	}{
		{"unfiltered", Filter{}},
		{"state", Filter{In: is(Condition{State: Finished})}},
		{"outcome", Filter{In: is(Condition{State: Finished, Outcome: Failed})}},
		{"owner", Filter{Owner: "ada"}},
		{"owner/few", Filter{Owner: "eve"}},
		{"kind", Filter{Kind: Job}},
		{"label", Filter{Label: "*backup*"}},
		{"label/none", Filter{Label: "none"}},
		{"tag", Filter{Tags: []string{"nightly"}}},
		{"device", Filter{Devices: []string{"sw1"}}},
		{"recurrence", Filter{From: "nightly"}},
		{"since", Filter{Since: began.Add(n / 2 * time.Second)}},
		{"until", Filter{Until: began.Add(n / 2 * time.Second)}},
		{"sort=took", Filter{Sort: "took", Reverse: true}},
		{"sort=owner", Filter{Sort: "owner"}},
		{"match", Filter{Text: "Backup"}},
		{"match/none", Filter{Text: "not there"}},
		{"another/user", Filter{By: Actor{Name: "eve", UID: 1, OnlyOwn: true}}},
	} {
		b.Run(f.name, func(b *testing.B) {
			f.Finished, f.Limit = true, limit
			for range b.N {
				if err := bench.e.List(context.Background(), f.Filter, func(View) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUsage measures reports of 100,000 finished jobs.
func BenchmarkUsage(b *testing.B) {
	bench := newBench(b, testSettings(), func(db store.Store, _ *Engine) { fillHistory(b, db, 100_000) })
	m := MonthOf(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	for _, by := range []string{ByOwner, ByTag} {
		b.Run(by, func(b *testing.B) {
			for range b.N {
				_, total, err := bench.e.Usage(context.Background(), UsageFilter{By: by, From: m, To: m + 1, Who: admin})
				if err != nil || total.Jobs != 100_000 {
					b.Fatalf("%+v, %v", total, err)
				}
			}
		})
	}
}

// BenchmarkForget measures how long it takes to forget 10,000 jobs of twenty owners.
func BenchmarkForget(b *testing.B) {
	const n = 10_000
	was := time.Now().Add(-100 * hour)
	var took time.Duration
	for b.Loop() {
		bench := newBench(b, testSettings(), func(db store.Store, _ *Engine) {
			b.StopTimer()
			err := db.Update(context.Background(), func(tx store.Tx) error {
				for i := range n {
					r := &Record{
						ID: strconv.Itoa(i + 1), Kind: Job, Start: was, Order: Order{Owner: fmt.Sprint("ada", i%20), Tags: []string{"nightly", fmt.Sprint("host", i%100)}},
						Life: Life{State: Finished, Outcome: Succeeded, Created: was, Since: was, Until: was.Add(hour), LastN: [2]int{1, 0}, Attempts: []Attempt{{
							Phase: Activate, N: 1, Claimed: was, Final: true, First: true, Host: "local",
							Result: wrapper.Result{Reason: wrapper.Exited, Started: was, Ended: was.Add(time.Second)},
						}}},
					}
					if err := PutRecord(tx, r); err != nil {
						return err
					}
				}
				return tx.Put("n/state/local/finished", binary.BigEndian.AppendUint64(nil, n))
			})
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		})
		before := cpuTime()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		left := n
		_ = bench.e.Follow(ctx, 0, func(ev *event.Event) error {
			if ev.What == "pruned" {
				if left--; left == 0 {
					cancel()
				}
			}
			return nil
		})
		cancel()
		if left > 0 {
			b.Fatalf("%d are left", left)
		}
		took += cpuTime() - before
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/n, "cpu-ns/job")
}

// fillHistory stores n finished jobs, as they are a month after they were submitted.
func fillHistory(b *testing.B, db store.Store, n int) {
	b.Helper()
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for left := n; left > 0; {
		err := db.Update(context.Background(), func(tx store.Tx) error {
			for range min(left, 10_000) {
				i := n - left + 1
				left--
				start := at.Add(time.Duration(i) * time.Second)
				r := &Record{
					ID: fmt.Sprint(i), Kind: Job, Start: start, From: []string{"", "nightly"}[i%2],
					Life: Life{
						State: Finished, Outcome: []Outcome{Succeeded, Failed}[i%2], Reason: "activate attempt 1 exited with status 0",
						Created: start.Add(-time.Hour), Since: start.Add(time.Second), Until: start.Add(30 * 24 * time.Hour), LastN: [2]int{1, 0},
						Attempts: []Attempt{{
							Phase: Activate, N: 1, Claimed: start, Final: true, First: true, Bytes: 4096, Output: true, Host: "lab1",
							Boot: "5bf0c9b0-6df4-4f0c-8f3e-1f3f1b0d6d0d", Fence: uint64(i),
							Result: wrapper.Result{
								Reason: wrapper.Exited, PID: 100, WrapperPID: 99, Started: start.Add(time.Millisecond), Contained: "cgroup",
								Ended: start.Add(time.Duration(i%1000) * time.Millisecond), User: time.Millisecond, System: time.Millisecond, MaxRSS: 4096,
							},
						}},
					},
					Order: Order{
						Owner: "ada", Label: fmt.Sprintf("nightly backup of host%d", i%100), Tags: []string{"nightly", "backup"}, Locks: []string{"sw1:shared"},
						User: &Identity{UID: 1000, GID: 1000, Groups: []int{27, 100}, Name: "ada", Home: "/home/ada", Shell: "/bin/bash"},
						Argv: []string{"/bin/sh"}, Dir: "/home/ada", Env: map[string]string{"HOME": "/home/ada", "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
						Stdin: []byte("set -e\ncd /srv\ntar c . | gzip >/var/backups/srv.tar.gz && echo done\n"), Script: "set -e",
					},
				}
				data, err := r.Encode()
				if err != nil {
					return err
				}
				if err := tx.Put(Key(r.ID), data); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
