package activation_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
)

// serving is an instance with the settings that services have by default.
func serving(service string, n int, needs ...Need) Instance {
	return Instance{
		Order: Order{Owner: "root", Argv: []string{"serve"}},
		AsDeclared: AsDeclared{
			Service: service, N: n, Hash: []byte("1"), Restart: RestartAlways, Needs: needs,
			BackoffFirst: time.Second, BackoffMax: 30 * time.Second, Stable: minute, StartLimit: 5, LimitWindow: 10 * minute,
		},
	}
}

// setInstances declares instances.
func (rig *testRig) setInstances(all ...Instance) {
	rig.t.Helper()
	err := rig.e.Update(context.Background(), func(t *Txn) error {
		for _, i := range all {
			i.Live = fmt.Append(nil, i)
			if _, err := t.SetInstance(i, "declared"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		rig.t.Fatal(err)
	}
	synctest.Wait()
}

// serves checks the states of instances: "web@1 ready, db@1 down".
func (rig *testRig) serves(want string) {
	rig.t.Helper()
	synctest.Wait()
	var got []string
	for one := range strings.SplitSeq(want, ", ") {
		id, _, _ := strings.Cut(one, " ")
		v := rig.get(id)
		got = append(got, id+" "+v.InstanceState())
	}
	if s := strings.Join(got, ", "); s != want {
		rig.t.Errorf("%s: %s, want %s", time.Now().UTC().Format("15:04:05"), s, want)
	}
}

func (rig *testRig) check(id string, run int, on Trigger, why string) {
	rig.t.Helper()
	if err := rig.e.Check(context.Background(), id, run, on, why); err != nil {
		rig.t.Fatal(err)
	}
}

// ask is what a person requests for an instance.
func (rig *testRig) ask(verb func(*Engine, context.Context, Actor, ...string) ([]*Record, error), ids ...string) {
	rig.t.Helper()
	if _, err := verb(rig.e, context.Background(), admin, ids...); err != nil {
		rig.t.Fatal(err)
	}
	synctest.Wait()
}

func stays(remains time.Duration) script { return script{hangs: true, onStop: remains} }

// A run that ends is followed by another one. The pauses double up to the ceiling, and begin
// at the first again after a run that lasted long enough. Each is up to a quarter shorter.
func TestInstanceBackoff(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		i := serving("web", 1)
		i.StartLimit = 0
		rig.script("web@1", Serve, script{}, script{exit: 1}, script{exit: 1}, script{exit: 1}, script{exit: 1}, script{exit: 1}, script{exit: 1}, script{lasts: minute}, script{exit: 1}, stays(0))
		rig.setInstances(i)
		rig.serves("web@1 backoff")
		rig.sleep(5 * minute)
		rig.serves("web@1 ready")
		var pauses []time.Duration
		for n := 2; n <= 10; n++ {
			began, before := rig.beganAt("web@1", Serve, n), rig.beganAt("web@1", Serve, n-1)
			pauses = append(pauses, began.Sub(before))
		}
		s := time.Second
		for i, want := range []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s, s, 2 * s} {
			if i == 7 { // that run lasted so long
				pauses[i] -= minute
			}
			if pauses[i] > want || pauses[i] < want*3/4 {
				t.Errorf("pause %d is %v, want up to a quarter less than %v", i, pauses[i], want)
			}
		}
	})
}

// Too many failures make an instance fatal. It is tried again slowly, and at once by a person,
// for whom the limit begins again.
func TestInstanceFatal(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		i := serving("web", 1)
		i.FatalRetry = 10 * minute
		rig.script("web@1", Serve, script{lasts: 1100 * time.Millisecond, exit: 3}, script{exit: 3})
		rig.setInstances(i)
		rig.sleep(2 * minute)
		rig.serves("web@1 fatal")
		rig.ran("web@1.serve.1 web@1.serve.2 web@1.serve.3 web@1.serve.4 web@1.serve.5")
		if r := rig.get("web@1"); !strings.Contains(r.Reason, "status 3") {
			t.Errorf("the reason is %q", r.Reason)
		}
		rig.sleep(10 * minute)
		rig.serves("web@1 fatal")
		if got := rig.lastRun("web@1"); got != 6 {
			t.Errorf("run %d after ten minutes, want 6", got)
		}
		rig.ask((*Engine).Up, "web@1")
		rig.serves("web@1 backoff")
		rig.sleep(2 * minute)
		rig.serves("web@1 fatal")
		if got := rig.lastRun("web@1"); got != 11 {
			t.Errorf("run %d after a start by a person, want 11", got)
		}
	})
}

// An instance starts when what it needs is ready, once, and not before. One that runs is left
// alone when that is not ready any more.
func TestInstanceNeeds(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		db, web := serving("db", 1), serving("web", 1, Need{Service: "db"})
		db.Checked = true
		rig.script("db@1", Serve, script{exit: 1}, script{exit: 1}, stays(0))
		rig.script("web@1", Serve, stays(0))
		rig.setInstances(web, db)
		rig.serves("web@1 waiting, db@1 backoff")
		rig.ask((*Engine).Restart, "web@1") // it waits still, and once
		rig.serves("web@1 waiting")
		rig.sleep(minute)
		rig.serves("web@1 waiting, db@1 starting")
		if r := rig.get("web@1"); r.Reason != "waits for the service db, which is starting" {
			t.Errorf("web %s", r.Reason)
		}
		rig.restart()
		rig.serves("web@1 waiting, db@1 starting")
		rig.check("db@1", 2, Ready, "of an earlier run")
		rig.serves("web@1 waiting, db@1 starting")
		rig.check("db@1", 3, Ready, "")
		rig.serves("web@1 ready, db@1 ready")
		rig.check("db@1", 3, Unready, "does not answer")
		other := serving("other", 1, Need{Service: "db"}, Need{Service: "web", Started: true})
		rig.script("other@1", Serve, stays(0))
		rig.setInstances(other)
		rig.serves("web@1 ready, db@1 unready, other@1 waiting")
		rig.check("db@1", 3, Ready, "")
		rig.serves("web@1 ready, db@1 ready, other@1 ready")
		rig.ran("db@1.serve.1 db@1.serve.2 db@1.serve.3 web@1.serve.1 other@1.serve.1")
	})
}

// A check that fails for good replaces the run, with a pause, and counts as a failure.
func TestInstanceDoesNotAnswer(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		i := serving("web", 1)
		i.StartLimit = 4
		rig.script("web@1", Serve, stays(2*time.Second))
		rig.setInstances(i)
		for n := 1; n <= 4; n++ {
			rig.serves("web@1 ready")
			rig.check("web@1", n, Restart, "does not answer")
			rig.serves("web@1 stopping")
			rig.sleep(2 * time.Second)
			if n < 4 {
				rig.serves("web@1 backoff")
				rig.sleep(20 * time.Second)
			}
		}
		rig.serves("web@1 fatal")
		rig.because("web@1", "does not answer")
	})
}

// What a person stopped stays stopped: over a new declaration, and over a restart of the
// daemon and of the machine. Its id does not change what runs.
func TestInstanceDown(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("web@1", Serve, stays(3*time.Second))
		rig.setInstances(serving("web", 1))
		rig.serves("web@1 ready")
		rig.restart()
		rig.serves("web@1 ready")
		rig.ask((*Engine).Down, "web@1")
		rig.serves("web@1 stopping")
		rig.sleep(3 * time.Second)
		rig.serves("web@1 down")
		rig.because("web@1", "stopped by root")
		rig.restart()
		changed := serving("web", 1)
		changed.Hash, changed.Argv = []byte("2"), []string{"serve", "more"}
		rig.setInstances(changed)
		rig.sleep(hour)
		rig.serves("web@1 down")
		rig.because("web@1", "stopped by root") // who wanted that is not forgotten
		rig.ran("web@1.serve.1")
		rig.ask((*Engine).Up, "web@1")
		rig.serves("web@1 ready")
		rig.ran("web@1.serve.1 web@1.serve.2")
		rig.ask((*Engine).Down, "web@1")
		rig.ask((*Engine).Up, "web@1") // while it is being stopped
		rig.sleep(3 * time.Second)
		rig.serves("web@1 ready")
		rig.ran("web@1.serve.1 web@1.serve.2 web@1.serve.3")
	})
}

// A declaration that changes what only another run can have replaces the run. Any other change
// leaves it alone. What is removed is stopped, and may come back.
func TestInstanceChanges(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("web@1", Serve, stays(time.Second))
		i := serving("web", 1)
		rig.setInstances(i)
		newest := rig.newest()
		rig.setInstances(i)
		if rig.newest() != newest {
			t.Error("a declaration that has not changed writes something")
		}
		i.BackoffMax = hour
		rig.setInstances(i)
		rig.serves("web@1 ready")
		rig.ran("web@1.serve.1")
		i.Hash, i.Argv = []byte("2"), []string{"other"}
		rig.setInstances(i)
		rig.serves("web@1 stopping")
		rig.sleep(2 * time.Second)
		rig.serves("web@1 ready")
		rig.ran("web@1.serve.1 web@1.serve.2")
		remove := func() {
			t.Helper()
			if err := rig.e.Update(t.Context(), func(t *Txn) error { return t.RemoveInstance("web@1", "it is no longer declared") }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		remove()
		rig.serves("web@1 stopping")
		rig.sleep(2 * time.Second)
		rig.serves("web@1 removed")
		rig.setInstances(i)
		rig.serves("web@1 ready")
		rig.ran("web@1.serve.1 web@1.serve.2 web@1.serve.3")
		i.Hash = []byte("3") // it was removed once, which counts no more
		rig.setInstances(i)
		rig.sleep(2 * time.Second)
		rig.serves("web@1 ready")
		rig.ran("web@1.serve.1 web@1.serve.2 web@1.serve.3 web@1.serve.4")
		remove()
		rig.setInstances(i) // while it is being stopped
		rig.sleep(2 * time.Second)
		rig.serves("web@1 ready")
		rig.ran("web@1.serve.1 web@1.serve.2 web@1.serve.3 web@1.serve.4 web@1.serve.5")
	})
}

// Without a restart policy an instance that ends is down. A run that the power took counts as
// no failure.
func TestInstanceEnds(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		once, failing := serving("once", 1), serving("failing", 1)
		once.Restart, failing.Restart = RestartOnFailure, RestartOnFailure
		rig.script("once@1", Serve, script{lasts: time.Second})
		rig.script("failing@1", Serve, script{lasts: time.Second, exit: 1}, stays(0))
		rig.setInstances(once, failing)
		rig.sleep(10 * time.Second)
		rig.serves("once@1 down, failing@1 ready")
		rig.because("once@1", "run 1 exited with status 0")
		rig.shutDown()
		rig.w.powerLoss()
		rig.boot = "another boot"
		rig.start()
		rig.serves("once@1 down, failing@1 ready")
		if r := rig.get("failing@1"); len(r.Serving.Failed) != 1 {
			t.Errorf("%d failures, want 1", len(r.Serving.Failed))
		}
	})
}

// Verbs for jobs and reservations do not end an instance, and an id that is taken is refused.
func TestInstanceRefusals(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("web@1", Serve, stays(0))
		rig.setInstances(serving("web", 1))
		for _, on := range []Trigger{Cancel, Retry, Forgive} {
			if _, err := rig.e.Do(t.Context(), admin, "web@1", on, ""); fault.Of(err) != fault.Conflict {
				t.Errorf("%s: %v", on, err)
			}
		}
		rig.serves("web@1 ready")
		if _, err := rig.e.Up(t.Context(), admin, rig.add(NewJob{})); fault.Of(err) != fault.NotFound {
			t.Errorf("start of a job: %v", err)
		}
	})
}

// lastRun is the number of the newest run of an instance.
func (rig *testRig) lastRun(id string) int {
	r := rig.get(id).Record
	return r.LastAttempt("").N
}

// Instances that are stopped for good stop in the order of what they need, all others at once,
// also if they drain. What has not ended within the limit is killed, and so is what still waits
// for its turn then.
func TestInstancesStopInOrder(t *testing.T) {
	bubble(t, func(s *Settings) { s.StopLimit = minute }, func(rig *testRig) {
		db, web, edge := serving("db", 1), serving("web", 1, Need{Service: "db"}), serving("edge", 1, Need{Service: "web"})
		other := serving("other", 1)
		web.Drain = 5 * time.Second
		rig.script("db@1", Serve, stays(10*time.Second))
		rig.script("web@1", Serve, stays(10*time.Second))
		rig.script("edge@1", Serve, stays(10*time.Second))
		rig.script("other@1", Serve, stays(10*time.Second))
		rig.setInstances(db, web, edge, other)
		rig.serves("db@1 ready, web@1 ready, edge@1 ready, other@1 ready")
		rig.ask((*Engine).Down, "edge@1", "web@1", "db@1", "other@1")
		rig.restart()
		rig.sleep(10*time.Second + time.Millisecond)
		rig.serves("edge@1 down, web@1 draining, db@1 stopping, other@1 down")
		rig.sleep(15 * time.Second)
		rig.serves("web@1 down, db@1 stopping")
		rig.sleep(10 * time.Second)
		rig.serves("db@1 down")
		rig.because("db@1", "stopped by root")

		rig.script("edge@1", Serve, script{hangs: true, ignores: true})
		for _, id := range []string{"db@1", "web@1", "edge@1"} {
			rig.ask((*Engine).Up, id)
		}
		rig.serves("db@1 ready, web@1 ready, edge@1 ready")
		rig.ask((*Engine).Down, "edge@1", "web@1", "db@1")
		rig.sleep(59 * time.Second)
		rig.serves("edge@1 stopping, web@1 stopping, db@1 stopping")
		rig.sleep(2 * time.Second)
		rig.serves("edge@1 down, web@1 down, db@1 down")
		for _, id := range []string{"edge@1", "web@1", "db@1"} {
			rig.because(id, "stopped by root; killed, because it had not ended 1m0s after that")
		}

		// Somebody starts again what the other one waits for.
		for _, id := range []string{"db@1", "web@1"} {
			rig.ask((*Engine).Up, id)
		}
		rig.ask((*Engine).Down, "web@1", "db@1")
		rig.ask((*Engine).Up, "web@1")
		rig.serves("web@1 draining, db@1 stopping")
		rig.sleep(11 * time.Second)
		rig.serves("web@1 stopping, db@1 down")
		rig.sleep(hour)
		rig.serves("web@1 waiting, db@1 down")
	})
}

// What was not started because the daemon was drained is started by the next one.
func TestInstanceAfterDrain(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("web@1", Serve, stays(0))
		rig.e.Drain()
		rig.setInstances(serving("web", 1))
		rig.serves("web@1 waiting")
		rig.because("web@1", "waits for the daemon's next start: it is being drained")
		rig.restart()
		rig.serves("web@1 ready")
	})
}

// An instance that is ready drains before the signal comes that stops it, whatever the reason:
// a stop, a restart, another declaration, a check that failed. It is not ready meanwhile. One
// that is not ready yet has nothing to drain.
func TestInstanceDrains(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		web, user := serving("web", 1), serving("user", 1, Need{Service: "web"})
		web.Drain = 5 * time.Second
		rig.script("web@1", Serve, stays(time.Second))
		rig.setInstances(web)
		run := 0
		ends := func(what string, leave func()) {
			t.Helper()
			run++
			rig.serves("web@1 ready")
			leave()
			rig.serves("web@1 draining")
			rig.sleep(4 * time.Second)
			rig.serves("web@1 draining")
			if n := rig.lastRun("web@1"); n != run {
				t.Errorf("%s: run %d, want %d", what, n, run)
			}
			rig.restart()
			rig.sleep(time.Second + time.Millisecond)
			rig.serves("web@1 stopping")
			rig.sleep(time.Second)
		}
		ends("restart", func() { rig.ask((*Engine).Restart, "web@1") })
		ends("another declaration", func() { web.Hash = []byte("2"); rig.setInstances(web) })
		ends("a check", func() { rig.check("web@1", 3, Restart, "does not answer") })
		rig.sleep(2 * time.Second)
		ends("stop", func() {
			rig.ask((*Engine).Down, "web@1")
			rig.script("user@1", Serve, stays(0))
			rig.setInstances(user)
			rig.serves("user@1 waiting")
		})
		rig.serves("web@1 down")

		web.Checked = true
		rig.setInstances(web)
		rig.ask((*Engine).Up, "web@1")
		rig.serves("web@1 starting")
		rig.ask((*Engine).Down, "web@1")
		rig.serves("web@1 stopping")
	})
}

// An instance that is bound to what it needs runs again when a run of that has ended, once that
// is ready. Others are left alone.
func TestInstanceBound(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		db, bound, other := serving("db", 1), serving("bound", 1, Need{Service: "db"}), serving("other", 1, Need{Service: "db"})
		bound.Bind, db.Checked = true, true
		rig.script("db@1", Serve, script{lasts: 10 * time.Second, exit: 1}, stays(0))
		rig.script("bound@1", Serve, stays(time.Second))
		rig.script("other@1", Serve, stays(0))
		rig.setInstances(db, bound, other)
		rig.check("db@1", 1, Ready, "")
		rig.serves("db@1 ready, bound@1 ready, other@1 ready")
		rig.sleep(10 * time.Second)
		rig.serves("db@1 backoff, bound@1 stopping, other@1 ready")
		rig.sleep(2 * time.Second)
		rig.serves("db@1 starting, bound@1 waiting, other@1 ready")
		rig.restart()
		rig.check("db@1", 2, Ready, "")
		rig.serves("db@1 ready, bound@1 ready, other@1 ready")
		rig.ranInAnyOrder("bound@1.serve.1 bound@1.serve.2 db@1.serve.1 db@1.serve.2 other@1.serve.1")
	})
}

// A verb takes many instances, and several transactions if the store takes few writes in one.
// If an instance cannot be changed, the others in its transaction are not changed either.
func TestInstanceVerbTogether(t *testing.T) {
	inSlices(t, func(rig *testRig) {
		const n = 50
		ids := make([]string, n)
		for i := range ids {
			ids[i] = InstanceID("web", i+1)
			rig.script(ids[i], Serve, stays(0))
			rig.setInstances(serving("web", i+1))
		}
		rig.ask((*Engine).Down, ids...)
		for _, id := range ids {
			rig.serves(id + " down")
		}
		if _, err := rig.e.Up(t.Context(), admin, "web@1", "none@1"); fault.Of(err) != fault.NotFound {
			t.Errorf("start of one that is there and one that is not: %v", err)
		}
		rig.serves("web@1 down")
		rig.ask((*Engine).Up, ids...)
		for _, id := range ids {
			rig.serves(id + " ready")
		}
	})
}

// Instances that are ready give the engine nothing to do: it does not wake up for them, and
// writes nothing.
func TestInstancesIdle(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		for n := range 100 {
			i := serving("web", n+1)
			i.Notify, i.Checked = n%2 == 0, n%2 == 0
			id := InstanceID("web", n+1)
			rig.script(id, Serve, stays(0))
			rig.setInstances(i)
			if i.Checked {
				rig.check(id, 1, Ready, "")
			}
		}
		rig.serves("web@1 ready, web@2 ready, web@99 ready, web@100 ready")
		if at := rig.alarm.wanted(); !at.IsZero() {
			t.Errorf("the alarm is set for %s", at)
		}
		commits := rig.mem.Commits()
		rig.sleep(12 * hour) // events are looked through once a day
		if n := rig.mem.Commits() - commits; n > 0 {
			t.Errorf("%d transactions in twelve idle hours", n)
		}
		rig.serves("web@1 ready, web@2 ready, web@99 ready, web@100 ready")
	})
}

// A run keeps its sockets until it has ended, also when its declaration has other addresses by
// then and others close theirs. What is down needs none.
func TestSocketsOfAnEarlierDeclaration(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		open := func(want string) {
			rig.t.Helper()
			synctest.Wait()
			rig.w.mu.Lock()
			defer rig.w.mu.Unlock()
			if got := strings.Join(slices.Sorted(maps.Keys(rig.w.sockets)), " "); got != want {
				rig.t.Errorf("open are %s, want %s", got, want)
			}
		}
		rig.script("web@1", Serve, stays(minute), stays(0), script{exit: 1})
		rig.script("other@1", Serve, stays(0))
		web, other := serving("web", 1), serving("other", 1)
		web.Listen, other.Listen = []string{"a", "b"}, []string{"c"}
		rig.setInstances(web, other)
		open("a b c")
		web.Hash, web.Listen = []byte("2"), []string{"b", "d"}
		rig.setInstances(web)
		web.Hash, web.Listen = []byte("3"), []string{"b", "e"}
		rig.setInstances(web)
		rig.ask((*Engine).Down, "other@1")
		open("a b")
		rig.restart()
		open("a b")
		rig.sleep(2 * minute)
		rig.serves("web@1 ready, other@1 down")
		open("b e")
		rig.ask((*Engine).Down, "web@1")
		open("")
		rig.ask((*Engine).Up, "web@1") // it fails at once, and its clients wait with it
		rig.e.Drain()
		open("b e")
		web.Hash, web.Listen = []byte("4"), nil
		rig.setInstances(web)
		open("")
	})
}

// An instance is ready, or started for those that wait for that, when its process exists, and
// not when its run was claimed: also if its check succeeds before, which only another program at
// its address can cause, and over a restart of the daemon.
func TestInstanceProcess(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		db, asked := serving("db", 1), serving("asked", 1)
		asked.Checked = true
		after := serving("after", 1, Need{Service: "db", Started: true}, Need{Service: "asked", Started: true})
		for _, id := range []string{"db@1", "asked@1", "after@1"} {
			s := stays(time.Second)
			s.birth = 5 * time.Second
			rig.script(id, Serve, s)
		}
		rig.setInstances(db, asked, after)
		rig.serves("db@1 starting, asked@1 starting, after@1 waiting")
		rig.because("after@1", "waits for the service db, which is starting")
		rig.check("asked@1", 1, Ready, "")
		rig.serves("asked@1 starting")
		rig.restart()
		rig.sleep(5*time.Second - 1)
		rig.serves("db@1 starting, asked@1 starting, after@1 waiting")
		rig.sleep(1)
		rig.serves("db@1 ready, asked@1 ready, after@1 starting")

		rig.ask((*Engine).Restart, "asked@1")
		rig.sleep(6 * time.Second)
		rig.serves("asked@1 starting") // what the check said of the earlier run does not count
		rig.check("asked@1", 2, Ready, "")
		rig.serves("asked@1 ready")

		rig.ask((*Engine).Restart, "asked@1")
		rig.sleep(6 * time.Second)
		asked.Checked = false // while it is starting
		rig.setInstances(asked)
		rig.serves("asked@1 ready")
	})
}

// Instances that end at one instant do not start again at one instant, and the next daemon
// makes the same pauses.
func TestInstancesSpread(t *testing.T) {
	var first []time.Duration
	for range 2 {
		bubble(t, nil, func(rig *testRig) {
			for n := range 100 {
				rig.script(InstanceID("web", n+1), Serve, script{lasts: time.Second, exit: 1}, stays(0))
				rig.setInstances(serving("web", n+1))
			}
			rig.sleep(10 * time.Second)
			pauses := make(map[time.Duration]bool)
			var these []time.Duration
			for n := range 100 {
				pause := rig.beganAt(InstanceID("web", n+1), Serve, 2).Sub(rig.beganAt(InstanceID("web", n+1), Serve, 1)) - time.Second
				if pause > time.Second || pause < time.Second*3/4 {
					t.Errorf("web@%d: a pause of %v", n+1, pause)
				}
				pauses[pause.Truncate(time.Millisecond)] = true
				these = append(these, pause)
			}
			if len(pauses) < 50 {
				t.Errorf("100 instances make only %d different pauses", len(pauses))
			}
			if first == nil {
				first = these
			} else if !slices.Equal(first, these) {
				t.Error("the pauses differ from those of the first time")
			}
		})
	}
}

// However the clock is set, and whether or not it is trusted then, no pause of an instance
// becomes longer, and failures that seem to come later than now do not count.
func TestInstanceClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{-3 * hour, -time.Minute, time.Minute, 3 * hour} {
		for _, synced := range []bool{true, false} {
			t.Run(fmt.Sprint(by, " synchronised ", synced), func(t *testing.T) {
				bubble(t, func(s *Settings) { s.StopLimit = 20 * time.Second }, func(rig *testRig) {
					rig.clock.synced = synced
					drains, pauses, fatal, lasts := serving("drains", 1), serving("pauses", 1), serving("fatal", 1), serving("lasts", 1)
					stops := serving("stops", 1)
					rig.script("stops@1", Serve, stays(1000*hour))
					drains.Drain = 20 * time.Second
					pauses.BackoffFirst, pauses.StartLimit = 20*time.Second, 0
					fatal.StartLimit, fatal.FatalRetry = 1, 20*time.Second
					lasts.StartLimit = 2
					rig.script("drains@1", Serve, stays(0))
					rig.script("pauses@1", Serve, script{exit: 1}, stays(0))
					rig.script("fatal@1", Serve, script{exit: 1}, stays(0))
					rig.script("lasts@1", Serve, script{exit: 1}, script{lasts: hour, exit: 1}, stays(0))
					rig.setInstances(drains, pauses, fatal, lasts, stops)
					rig.ask((*Engine).Restart, "drains@1")
					rig.ask((*Engine).Down, "stops@1")
					rig.serves("drains@1 draining, pauses@1 backoff, fatal@1 fatal, lasts@1 backoff")
					rig.sleep(2 * time.Second)
					rig.setClock(by)
					rig.sleep(20*time.Second + time.Millisecond)
					rig.serves("drains@1 ready, pauses@1 ready, fatal@1 ready, lasts@1 ready, stops@1 down")
					rig.sleep(hour + minute)
					rig.serves("lasts@1 ready")
				})
			})
		}
	}
}

// Who restarts an instance that is being stopped gets another run when that one has ended, and
// can still stop it; never do two run.
func TestInstanceRestartWhileStopping(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		web := serving("web", 1)
		rig.script("web@1", Serve, stays(3*time.Second))
		rig.setInstances(web)
		run := 1
		restarts := func(state string, takes time.Duration) {
			t.Helper()
			rig.ask((*Engine).Restart, "web@1")
			rig.serves("web@1 " + state)
			rig.because("web@1", "restarted by root")
			rig.sleep(takes)
			run++
			rig.serves("web@1 ready")
			if n := rig.lastRun("web@1"); n != run {
				t.Errorf("run %d, want %d", n, run)
			}
		}
		rig.ask((*Engine).Down, "web@1")
		rig.serves("web@1 stopping")
		restarts("stopping", 3*time.Second)
		rig.ask((*Engine).Restart, "web@1")
		restarts("stopping", 3*time.Second)

		web.Drain = 5 * time.Second
		rig.setInstances(web)
		rig.ask((*Engine).Down, "web@1")
		rig.sleep(4 * time.Second)
		restarts("draining", 4*time.Second)

		rig.ask((*Engine).Restart, "web@1")
		rig.ask((*Engine).Down, "web@1")
		rig.ask((*Engine).Restart, "web@1")
		rig.ask((*Engine).Down, "web@1")
		rig.serves("web@1 draining")
		rig.sleep(8 * time.Second)
		rig.serves("web@1 down")

		rig.ask((*Engine).Up, "web@1")
		if err := rig.e.Update(t.Context(), func(t *Txn) error { return t.RemoveInstance("web@1", "it is no longer declared") }); err != nil {
			t.Fatal(err)
		}
		if _, err := rig.e.Restart(t.Context(), admin, "web@1"); fault.Of(err) != fault.Conflict {
			t.Errorf("restart of what is being removed: %v", err)
		}
	})
}

// Who starts or restarts an instance that pauses after a failure does not wait, and its failures
// are forgotten; also who declares it with another command.
func TestInstanceBeginsAgain(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("web@1", Serve, script{exit: 1})
		web := serving("web", 1)
		rig.setInstances(web)
		for what, again := range map[string]func(){
			"start":   func() { rig.ask((*Engine).Up, "web@1") },
			"restart": func() { rig.ask((*Engine).Restart, "web@1") },
			"declare": func() { web.Hash = append(web.Hash, '2'); rig.setInstances(web) },
		} {
			rig.sleep(4 * time.Second)
			before := rig.lastRun("web@1")
			again()
			r := rig.get("web@1")
			if n := rig.lastRun("web@1"); n != before+1 || r.Tries != 1 || len(r.Serving.Failed) != 1 {
				t.Errorf("%s: run %d with %d failures in a row, %d in all; want run %d with 1", what, n, r.Tries, len(r.Serving.Failed), before+1)
			}
		}
	})
}
