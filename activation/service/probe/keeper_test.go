package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A bench is a keeper in a bubble, whose checks of kind TCP are answered by functions.
type bench struct {
	*Keeper
	t       *testing.T
	reports chan Report
	began   time.Time
}

// inBubble runs a test with a keeper. Of an instance, answers has a function for its ready
// check and one for its liveness check, which is called with the number of the question.
func inBubble(t *testing.T, answer func(key string, alive bool, n int) func(context.Context) error, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, reports: make(chan Report, 10000), began: time.Now()}
		b.Keeper = New(func(r Report) { b.reports <- r })
		b.asked = func(w *watch) func(context.Context) error {
			if w.Kind != TCP {
				return w.question.ask
			}
			return answer(w.of.key, w.alive, w.asks)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { _ = b.Run(ctx) })
		test(b)
		cancel()
		done.Wait()
	})
}

func (b *bench) start(key string, i Instance) {
	b.t.Helper()
	if i.Started.IsZero() {
		i.Started = time.Now()
	}
	if err := b.Start(key, i); err != nil {
		b.t.Fatalf("Start %s: %v", key, err)
	}
}

// expect takes the next reports: KEY STATE, and a text that the reason has.
func (b *bench) expect(wants ...string) {
	b.t.Helper()
	for _, want := range wants {
		want, reason, _ := strings.Cut(want, ": ")
		r := await(b.t, b.reports)
		if got := r.Key + " " + string(r.State); got != want || !strings.Contains(r.Reason, reason) || (reason == "") != (r.Reason == "") {
			b.t.Fatalf("at %v: %s: %q, want %s: %q", time.Since(b.began), got, r.Reason, want, reason)
		}
	}
}

// await returns the next report. Checks may go on forever, so no deadlock ends a test in vain.
func await(t *testing.T, reports <-chan Report) Report {
	t.Helper()
	select {
	case r := <-reports:
		return r
	case <-time.After(24 * time.Hour):
		t.Fatal("nothing is reported in a day")
		return Report{}
	}
}

// silent checks that nothing is reported for a while.
func (b *bench) silent(d time.Duration) {
	b.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	select {
	case r := <-b.reports:
		b.t.Fatalf("reported: %v", r)
	default:
	}
}

var errRefused = errors.New("connection refused")

func always(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// script answers with a letter for each question: y, n, and h for no answer at all. The last
// letter holds for all later questions.
func script(letters string, n int) func(context.Context) error {
	switch letters[min(n, len(letters))-1] {
	case 'y':
		return always(nil)
	case 'n':
		return always(errRefused)
	}
	return hang
}

func scripts(of map[string]string) func(string, bool, int) func(context.Context) error {
	return func(key string, alive bool, n int) func(context.Context) error {
		if alive {
			key += " alive"
		}
		return script(of[key], n)
	}
}

func tcp() *Check { return &Check{Kind: TCP, Target: "80"} }

// TestReadyAtLast: an instance that is not ready at first is reported when it is, once.
func TestReadyAtLast(t *testing.T) {
	inBubble(t, scripts(map[string]string{"a": "nnny", "b": "nynynyyn", "c": "y"}), func(b *bench) {
		b.start("a", Instance{Ready: tcp(), Within: 30 * time.Second})
		b.expect("a ready")
		b.start("b", Instance{Ready: &Check{Kind: TCP, Target: "80", Successes: 2, Failures: 100}})
		b.expect("b ready")
		b.start("c", Instance{})
		b.expect("c ready")
		b.silent(time.Minute)
	})
}

// TestLate: an instance that does not become ready in time is late, and this is the end; the
// others are not delayed, although more checks hang than can be made at once.
func TestLate(t *testing.T) {
	hung := map[string]string{"refuses": "n", "hangs": "h", "good": "nny"}
	for n := range 3 * Limit {
		hung[fmt.Sprint("hangs", n)] = "h"
	}
	inBubble(t, scripts(hung), func(b *bench) {
		b.start("refuses", Instance{Ready: tcp(), Alive: tcp(), Within: 30 * time.Second})
		b.expect("refuses late: not ready after 30s: tcp 80: connection refused")
		b.start("hangs", Instance{Ready: tcp(), Within: 30 * time.Second})
		b.expect("hangs late: not ready after 30s: tcp 80: no answer within 2s")
		b.start("silent", Instance{Ready: &Check{Kind: Notify}, Within: 30 * time.Second})
		b.Notified("silent", Notice{Status: "loading"})
		b.expect("silent late: not ready after 30s: it has not reported READY=1; its last status: loading")
		b.Notified("silent", Notice{Ready: true})
		b.silent(time.Hour)

		for n := range 3 * Limit {
			b.start(fmt.Sprint("hangs", n), Instance{Ready: tcp()})
		}
		b.start("good", Instance{Ready: tcp(), Within: 30 * time.Second})
		b.expect("good ready")
	})
}

// TestProgressExtendsTheLimit: an instance that reports progress gets more time.
func TestProgressExtendsTheLimit(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		notify := Instance{Ready: &Check{Kind: Notify}, Within: 30 * time.Second}
		b.start("status", notify)
		b.start("extend", notify)
		b.start("repeats", notify)
		b.start("neither", notify)
		for n := range 20 {
			time.Sleep(20 * time.Second)
			b.Notified("status", Notice{Status: fmt.Sprint(n, " of 20")})
			b.Notified("extend", Notice{Extend: 25 * time.Second})
			b.Notified("repeats", Notice{Status: "working"})
			switch n {
			case 1: // 30 seconds
				b.expect("neither late: not ready after 30s")
			case 2: // 20 + 30 seconds
				b.expect("repeats late: not ready after 50s: it has not reported READY=1; its last status: working")
			default:
				b.silent(0)
			}
		}
		b.Notified("status", Notice{Ready: true, Status: "serving"})
		b.expect("status ready")
		b.expect("extend late: not ready after 7m5s")
		b.silent(time.Hour)
	})
}

// TestExtendIsNoLess: an extension never makes the limit earlier, and it does not give an
// instance a limit that has none.
func TestExtendIsNoLess(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.start("a", Instance{Ready: &Check{Kind: Notify}, Within: 30 * time.Second})
		b.start("b", Instance{Ready: &Check{Kind: Notify}})
		b.Notified("a", Notice{Extend: time.Second})
		b.Notified("b", Notice{Extend: time.Second, Status: "x"})
		b.silent(29 * time.Second)
		b.expect("a late: not ready after 30s")
		b.silent(time.Hour)
	})
}

// TestDead: a liveness check that fails so many times in a row ends an instance, however
// often that happened before, and not before the instance was ready.
func TestDead(t *testing.T) {
	answers := func(key string, alive bool, n int) func(context.Context) error {
		if !alive {
			return script("nnnnnnnny", n)
		}
		return script("ynnynyhhnyyynhn", n)
	}
	inBubble(t, answers, func(b *bench) {
		for n := range 10 {
			key := fmt.Sprintf("web@1.%d", n)
			b.start(key, Instance{Ready: tcp(), Alive: tcp()})
			b.expect(key + " ready")
			b.expect(key + " dead: tcp 80: connection refused (3 times in a row)")
			b.Stop(key)
		}
		b.silent(time.Hour)
	})
}

// TestDeadInOneRow: no success between, no two failures of different rows.
func TestDeadInOneRow(t *testing.T) {
	inBubble(t, scripts(map[string]string{"a alive": "nnynnynnynny", "b alive": "hn"}), func(b *bench) {
		b.start("a", Instance{Alive: tcp()})
		b.expect("a ready")
		b.silent(time.Hour)
		b.start("b", Instance{Alive: &Check{Kind: TCP, Target: "80", Failures: 1}})
		b.expect("b ready", "b dead: no answer within 5s")
	})
}

// TestUnready: if the ready check fails later, the instance is unready and stays alive, for as
// long as that takes; it becomes ready again and again.
func TestUnready(t *testing.T) {
	inBubble(t, scripts(map[string]string{"a": "yynnynnnnnnnnnnyyhhhy", "a alive": "y"}), func(b *bench) {
		b.start("a", Instance{Ready: tcp(), Alive: tcp(), Within: 5 * time.Second})
		b.expect("a ready",
			"a unready: tcp 80: connection refused (3 times in a row)", "a ready",
			"a unready: tcp 80: no answer within 2s (3 times in a row)", "a ready")
		b.silent(time.Hour)
	})
}

// TestNotify: an instance that speaks for itself is ready, reloads, is ready again.
func TestNotify(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.Notified("a", Notice{Ready: true}) // before it is known
		b.start("a", Instance{Ready: &Check{Kind: Notify}, Within: 30 * time.Second})
		b.silent(time.Second)
		b.Notified("a", Notice{Ready: true})
		b.Notified("a", Notice{Ready: true})
		b.expect("a ready")
		b.Notified("a", Notice{Unready: "reloading"})
		b.expect("a unready: reloading")
		b.silent(time.Hour)
		b.Notified("a", Notice{Ready: true})
		b.expect("a ready")
		b.Notified("a", Notice{Trigger: true})
		b.expect("a dead: it sent WATCHDOG=trigger")
		b.Notified("a", Notice{Ready: true})
		b.silent(time.Hour)

		b.start("other", Instance{Ready: &Check{Kind: Delay, Delay: time.Hour}})
		b.Notified("other", Notice{Ready: true}) // its rule is another one
		b.silent(59 * time.Minute)
		b.expect("other ready")
	})
}

// TestWatchdog: an instance is dead if it does not say in time that it is alive.
func TestWatchdog(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.start("a", Instance{Ready: &Check{Kind: Notify}, Alive: &Check{Kind: Notify, Timeout: 10 * time.Second}})
		b.silent(time.Hour)
		b.Notified("a", Notice{Ready: true})
		b.expect("a ready")
		for range 20 {
			b.silent(9 * time.Second)
			b.Notified("a", Notice{Watchdog: true})
		}
		b.silent(9 * time.Second)
		b.expect("a dead: notify: no WATCHDOG=1 for 10s")
	})
}

// TestDelay: the delay counts from the start of the run, also if the keeper learns of it
// later.
func TestDelay(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		delay := Instance{Ready: &Check{Kind: Delay, Delay: time.Minute}, Within: time.Second}
		b.start("a", delay)
		delay.Started = time.Now().Add(-50 * time.Second)
		b.start("b", delay)
		delay.Started = time.Now().Add(-time.Hour)
		b.start("c", delay)
		b.expect("c ready")
		delay.Started = time.Now().Add(time.Hour) // the clock was set back since
		b.start("a2", delay)
		b.silent(9 * time.Second)
		b.expect("b ready")
		b.silent(49 * time.Second)
		b.expect("a ready", "a2 ready")
	})
}

// TestKnownBefore: a keeper that takes over a run goes on from what was known.
func TestKnownBefore(t *testing.T) {
	inBubble(t, scripts(map[string]string{
		"ready": "y", "failing": "n", "unready": "nnnny", "starting": "nny", "dying alive": "n", "dying": "n",
	}), func(b *bench) {
		b.start("ready", Instance{Ready: tcp(), Was: Ready})
		b.start("notify", Instance{Ready: &Check{Kind: Notify}, Was: Ready, Within: time.Second})
		b.start("dead", Instance{Ready: tcp(), Alive: tcp(), Was: Dead})
		b.silent(time.Hour)
		b.start("failing", Instance{Ready: tcp(), Was: Ready})
		b.expect("failing unready: connection refused")
		b.start("unready", Instance{Ready: tcp(), Was: Unready, Within: time.Second})
		b.expect("unready ready")
		b.start("starting", Instance{Ready: tcp(), Started: time.Now().Add(-time.Hour), Within: time.Second})
		b.expect("starting ready")
		b.start("dying", Instance{Ready: &Check{Kind: TCP, Target: "80", Failures: 1000}, Alive: tcp(), Was: Unready})
		b.expect("dying dead: connection refused")
	})
}

// TestReplacedChecks: other checks for a run that goes on. What is known of it stays, although
// whoever starts it again may not know that yet.
func TestReplacedChecks(t *testing.T) {
	inBubble(t, scripts(map[string]string{"a": "h"}), func(b *bench) {
		b.start("a", Instance{Ready: tcp(), Within: 30 * time.Second})
		b.silent(time.Second)
		b.start("a", Instance{Ready: &Check{Kind: Delay, Delay: time.Minute}, Started: b.began})
		b.silent(58 * time.Second)
		b.expect("a ready")
		b.start("a", Instance{Ready: tcp()})
		b.expect("a unready: no answer within 2s")
		b.start("a", Instance{})
		b.expect("a ready")
		b.silent(time.Hour)

		notify := func(within time.Duration) Instance {
			return Instance{Ready: &Check{Kind: Notify}, Within: within}
		}
		b.start("ready", notify(30*time.Second))
		b.start("late", notify(30*time.Second))
		b.start("extended", notify(30*time.Second))
		b.Notified("ready", Notice{Ready: true})
		b.Notified("extended", Notice{Extend: time.Minute})
		b.expect("ready ready")
		for range 20 { // the limit stays where it was
			b.silent(time.Second)
			for _, key := range []string{"ready", "late", "extended"} {
				b.start(key, notify(40*time.Second))
			}
		}
		b.silent(19 * time.Second)
		b.expect("late late: not ready after 40s")
		b.silent(19 * time.Second)
		b.expect("extended late: not ready after 1m0s")
		b.start("late", Instance{})
		b.silent(time.Hour)
	})
}

// TestSameChecks: checks that are not other ones go on as they were.
func TestSameChecks(t *testing.T) {
	inBubble(t, scripts(map[string]string{"a": "y", "a alive": "n"}), func(b *bench) {
		same := func() Instance { return Instance{Ready: tcp(), Alive: tcp()} }
		b.start("a", same())
		b.expect("a ready")
		for range 29 {
			time.Sleep(time.Second)
			b.start("a", same())
		}
		b.expect("a dead: 3 times in a row")
		if d := time.Since(b.began); d > 33*time.Second {
			t.Errorf("dead after %v, want three pauses of 10s", d)
		}
	})
}

// TestStop: of a run that has ended, nothing is heard, and its check is canceled.
func TestStop(t *testing.T) {
	canceled := make(chan string, 10)
	answers := func(key string, _ bool, _ int) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			canceled <- key
			return nil // too late
		}
	}
	inBubble(t, answers, func(b *bench) {
		b.start("a", Instance{Ready: tcp(), Within: 30 * time.Second})
		synctest.Wait()
		b.Stop("a")
		b.Stop("nobody")
		if key := <-canceled; key != "a" || time.Since(b.began) != 0 {
			t.Errorf("canceled %s after %v", key, time.Since(b.began))
		}
		b.silent(time.Hour)
		if b.running != 0 || len(b.instances) != 0 {
			t.Errorf("%d checks and %d instances are left", b.running, len(b.instances))
		}
	})
}

// TestStopWhileTheLogIsRead: the file is closed all the same.
func TestStopWhileTheLogIsRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/log", []byte("up\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *os.File, 10)
	open := func(back int) (*os.File, error) {
		time.Sleep(time.Second)
		f, err := logIn(dir)(back)
		if err == nil {
			opened <- f
		}
		return f, err
	}
	inBubble(t, nil, func(b *bench) {
		b.start("a", Instance{Ready: &Check{Kind: Log, Target: "never"}, Log: open})
		time.Sleep(500 * time.Millisecond)
		b.Stop("a")
		b.silent(time.Minute)
		if f := <-opened; !errors.Is(f.Close(), os.ErrClosed) {
			t.Error("the log was left open")
		}
	})
}

// TestReportMayCall: who gets a report can call the keeper.
func TestReportMayCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		reports := make(chan Report, 100)
		var k *Keeper
		k = New(func(r Report) {
			if r.Key == "db" {
				k.Stop("db")
				k.Notified("web", Notice{Ready: true})
				if err := k.Start("web", Instance{Ready: &Check{Kind: Notify}}); err != nil {
					t.Error(err)
				}
				k.Notified("web", Notice{Ready: true})
			}
			reports <- r
		})
		var done sync.WaitGroup
		done.Go(func() { _ = k.Run(ctx) })
		if err := k.Start("db", Instance{}); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"db", "web"} {
			if r := await(t, reports); r.Key != want || r.State != Ready {
				t.Errorf("reported %v, want that %s is ready", r, want)
			}
		}
		cancel()
		done.Wait()
	})
}

// TestNoWakeups: if no instance needs a check, the keeper sleeps. A hundred instances that are
// ready by what they said, by their log, by a delay, or without any check cause none.
func TestNoWakeups(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/log", []byte("up\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inBubble(t, scripts(map[string]string{"busy": "y"}), func(b *bench) {
		b.silent(time.Hour)
		for n := range 100 {
			i := Instance{Log: logIn(dir), Within: time.Minute}
			i.Ready = []*Check{{Kind: Notify}, {Kind: Log, Target: "^up$"}, {Kind: Delay, Delay: time.Second}, nil}[n%4]
			key := fmt.Sprint(n)
			b.start(key, i)
			b.Notified(key, Notice{Ready: true})
			if r := await(t, b.reports); r.Key != key || r.State != Ready {
				t.Fatal(r)
			}
		}
		// How often it wakes up in a week.
		read := func() int {
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.Keeper.turns
		}
		turns := func() int {
			before := read()
			b.silent(7 * 24 * time.Hour)
			return read() - before
		}
		if n := turns(); n != 0 {
			t.Errorf("woken up %d times, for nothing", n)
		}
		b.start("busy", Instance{Ready: &Check{Kind: TCP, Target: "80", Interval: time.Hour}})
		b.expect("busy ready")
		if n := turns(); n < 150 {
			t.Errorf("woken up %d times, with a check each hour", n)
		}
		b.Stop("busy")
		if n := turns(); n != 0 {
			t.Errorf("woken up %d times, after the only check was stopped", n)
		}
	})
}

// TestAtMostSoMany: checks that take their time are made by turns, and never more at once than
// allowed; a check that does not end even when it is canceled does not keep its place.
func TestAtMostSoMany(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	answers := func(key string, _ bool, _ int) func(context.Context) error {
		return func(ctx context.Context) error {
			if strings.HasPrefix(key, "stuck") {
				<-ctx.Done()
				time.Sleep(time.Hour)
				return nil
			}
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
	}
	inBubble(t, answers, func(b *bench) {
		for n := range 2 * Limit {
			b.start(fmt.Sprint("stuck", n), Instance{Ready: tcp()})
		}
		time.Sleep(10 * time.Second)
		for n := range 10 * Limit {
			b.start(fmt.Sprint(n), Instance{Ready: tcp()})
		}
		began := time.Now()
		for range 10 * Limit {
			if r := await(t, b.reports); r.State != Ready {
				t.Fatal(r)
			}
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("%d checks of a second took %v, want 10s", 10*Limit, took)
		}
	})
	if most != Limit {
		t.Errorf("%d checks at once, want %d", most, Limit)
	}
}

// TestStoppedDaemon: while the daemon does not run, nothing is held against the instances.
func TestStoppedDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		reports := make(chan Report, 100)
		k := New(func(r Report) {
			if r.Key == "stop" {
				time.Sleep(time.Hour) // the daemon is stopped
			}
			reports <- r
		})
		k.asked = func(*watch) func(context.Context) error {
			return func(context.Context) error { time.Sleep(1500 * time.Millisecond); return nil }
		}
		var done sync.WaitGroup
		done.Go(func() { _ = k.Run(ctx) })
		start := func(key string, i Instance) {
			if err := k.Start(key, i); err != nil {
				t.Error(err)
			}
		}
		start("starts", Instance{Ready: &Check{Kind: Notify}, Within: 30 * time.Second})
		start("watched", Instance{Alive: &Check{Kind: Notify, Timeout: 10 * time.Second}})
		start("checked", Instance{Ready: &Check{Kind: TCP, Target: "80", Failures: 1}})
		if r := await(t, reports); r.Key != "watched" || r.State != Ready {
			t.Error(r)
		}
		time.Sleep(time.Second)
		start("stop", Instance{})
		time.Sleep(time.Hour + 500*time.Millisecond)
		// What they said meanwhile arrives only now.
		k.Notified("starts", Notice{Ready: true})
		k.Notified("watched", Notice{Watchdog: true})
		for range 3 {
			if r := await(t, reports); r.State != Ready {
				t.Errorf("%v", r)
			}
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if len(reports) > 0 {
			t.Errorf("%v", <-reports)
		}
		if r := await(t, reports); r.Key != "watched" || r.State != Dead {
			t.Errorf("%v, want that watched is dead", r)
		}
		cancel()
		done.Wait()
	})
}

// TestLastCheckBeforeTheLimit: a check that has begun when the limit passes still counts.
func TestLastCheckBeforeTheLimit(t *testing.T) {
	answers := func(string, bool, int) func(context.Context) error {
		return func(context.Context) error { time.Sleep(1500 * time.Millisecond); return nil }
	}
	inBubble(t, answers, func(b *bench) {
		b.start("a", Instance{Ready: tcp(), Within: time.Second})
		b.expect("a ready")
	})
}

// TestLateAlthoughACheckIsAlwaysDue: checks that follow each other without a pause do not keep
// the limit from passing.
func TestLateAlthoughACheckIsAlwaysDue(t *testing.T) {
	inBubble(t, scripts(map[string]string{"a": "n"}), func(b *bench) {
		b.start("a", Instance{Ready: &Check{Kind: TCP, Target: "80", Interval: 1}, Within: time.Second})
		b.expect("a late: not ready after 1s: tcp 80: connection refused")
	})
}

// TestRandomHistories gives random answers, notices, starts and stops to a keeper, and compares
// its reports with what the answers say.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type plan struct {
			i      Instance
			answer string // y, n, h
			alive  string
		}
		plans := map[string]plan{}
		for n := range rapid.IntRange(1, 20).Draw(rt, "instances") {
			check := func(label string) *Check {
				return &Check{
					Kind: TCP, Target: "80",
					Failures:  rapid.IntRange(1, 3).Draw(rt, label+" failures"),
					Successes: rapid.IntRange(1, 3).Draw(rt, label+" successes"),
				}
			}
			plans[fmt.Sprint(n)] = plan{
				Instance{Ready: check("ready"), Alive: check("alive"), Within: time.Duration(rapid.IntRange(1, 30).Draw(rt, "within")) * time.Second},
				rapid.StringMatching(`[ynh]{1,30}`).Draw(rt, "answers"),
				rapid.StringMatching(`y{0,20}[ynh]{1,30}`).Draw(rt, "alive"),
			}
		}
		var wrong string
		inBubble(t, func(key string, alive bool, n int) func(context.Context) error {
			if alive {
				return script(plans[key].alive, n)
			}
			return script(plans[key].answer, n)
		}, func(b *bench) {
			for key, p := range plans {
				b.start(key, p.i)
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			history := map[string][]State{}
			for len(b.reports) > 0 {
				r := <-b.reports
				history[r.Key] = append(history[r.Key], r.State)
			}
			for key, p := range plans {
				in := b.instances[key]
				// As the checks were made, so the state must be; only the limit depends on the time.
				ready := strings.NewReplacer("y", "r", "n", "f", "h", "f").Replace(p.answer)
				ready = extended(ready, in.ready.answers())
				alive := strings.NewReplacer("y", "a", "n", "d", "h", "d").Replace(p.alive)
				alive = extended(alive, in.alive.answers())
				want := reference(ready, p.i.Ready)
				if strings.Contains(alive, strings.Repeat("d", p.i.Alive.Failures)) {
					want = Dead
				}
				if want == Starting {
					want = Late
				}
				if in.state != want {
					wrong = fmt.Sprintf("%s is %s, want %s: answered %s and %s; reported %v", key, in.state, want, ready, alive, history[key])
				}
				last := Starting
				for _, s := range history[key] {
					if last.final() || s == last || last == Starting && s == Unready {
						wrong = fmt.Sprintf("%s: reported %v", key, history[key])
					}
					last = s
				}
				if last != in.state {
					wrong = fmt.Sprintf("%s is %s, reported %v", key, in.state, history[key])
				}
			}
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// answers returns how often the check was made and has a result.
func (w *watch) answers() int {
	if !w.deadline.IsZero() {
		return w.asks - 1
	}
	return w.asks
}

func extended(script string, n int) string {
	for len(script) < n {
		script += script[len(script)-1:]
	}
	return script[:n]
}
