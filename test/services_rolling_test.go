package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"activationd/control"
)

// rolled waits until the rolling restart of a service is in a state, and returns it.
func (d *daemon) rolled(id, state string) *control.ServiceRollout {
	d.t.Helper()
	var r *control.ServiceRollout
	d.awaitTopic("service."+strings.Split(id, "@")[0]+".rolling", func() bool {
		r = d.instances()[id].Rollout
		return r != nil && r.State == state
	})
	return r
}

// awaitTopic waits until done says so; it asks now, and after each event with a topic.
func (d *daemon) awaitTopic(topic string, done func() bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	if done() {
		return
	}
	err := control.Stream(ctx, &d.Client, "events", control.EventsIn{Topic: []string{topic}, Since: "0"}, func(control.Event) error {
		if done() {
			return errFound
		}
		return nil
	})
	if !errors.Is(err, errFound) {
		d.t.Fatalf("waiting for an event of %s: %v", topic, err)
	}
}

var errFound = errors.New("found")

// versioned is a service whose instances say which version they are. Instance 2 of a version
// that is no number fails.
const versioned = `
case $VERSION$ACTIVATION_ID in bad*web@2) echo "the second cannot do this"; exit 3;; esac
echo serving
` + stay

func rollingConfig(version, more string) string {
	return fmt.Sprintf(`
services:
  web: {command: [DIR/serve], instances: 4, environment: {VERSION: %q}, ready: {log: serving}, backoff: {first: 1h, max: 1h}, %s}
`, version, more)
}

// rollingServices makes a daemon with services, whose script is given: it reports its start
// and its version first.
func rollingServices(t *testing.T, config, script string) (*daemon, *beacon) {
	t.Helper()
	d := newDaemon(t, "")
	b := d.beacon()
	d.nowRuns(b, script)
	d.configure(config)
	return d, b
}

// nowRuns makes another script the one that the services run from now on.
func (d *daemon) nowRuns(b *beacon, script string) {
	d.script("serve", `echo "$ACTIVATION_ID $VERSION" >`+b.path+"\n"+script)
}

// ran waits for the starts of instances, and returns them in their order: "web@1 old".
func (b *beacon) ran(n int) (order []string) {
	b.t.Helper()
	for range n {
		order = append(order, b.next())
	}
	return order
}

func (b *beacon) runIn(want string) {
	b.t.Helper()
	if got := strings.Join(b.ran(strings.Count(want, ",")+1), ", "); got != want {
		b.t.Errorf("started were %s, want %s", got, want)
	}
}

// A change of a declaration reaches one instance after the other. It stops at the first one
// that does not get ready: the others keep the declaration that they had, over a restart of
// the daemon, and also if one of them ends. They go on with a corrected declaration, or all go
// back.
func TestRollingChange(t *testing.T) {
	t.Parallel()
	for _, then := range []string{"back", "correct", "continue"} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			d, b := rollingServices(t, rollingConfig("old", "rolling: true"), versioned)
			d.begin()
			b.ran(4)
			for n := 1; n <= 4; n++ {
				d.serving(fmt.Sprintf("web@%d", n), "ready")
			}
			d.configure(rollingConfig("bad", "rolling: true"))
			if out := d.must("reload", "--dry-run"); strings.Count(out, "rolling") != 4 {
				t.Errorf("the dry run says %s", out)
			}
			d.must("reload")
			r := d.rolled("web@1", "stopped")
			b.runIn("web@1 bad, web@2 bad")
			if r.Failed != "web@2" || r.FailedRun != 2 || !strings.Contains(r.Reason, "status 3") || fmt.Sprint(r.Left) != "[3 4]" {
				t.Errorf("%+v, want that web@2 did not get ready", r)
			}
			pid := d.instances()["web@3"].PID
			d.Kill()
			killPID(t, pid)
			awaitGone(t, pid)
			d.begin()
			d.must("service", "restart", "web@3")
			b.runIn("web@3 old")
			d.serving("web@3", "ready")
			d.serves("web@1 ready, web@2 backoff, web@4 ready")
			if out := d.must("service", "status", "web@4"); !strings.Contains(out, "stopped: web@2 did not get ready") {
				t.Errorf("its status says\n%s", out)
			}
			switch then {
			case "back":
				d.must("service", "restart", "--back", "web")
				b.runIn("web@2 old, web@1 old")
				d.must("reload") // what is declared is not what runs
				d.Kill()
				d.begin()
				d.must("service", "scale", "web", "5")
				b.runIn("web@5 old")
				if o := d.atctl("service", "restart", "--back", "web"); o.status == 0 || !strings.Contains(o.err, "has its former declaration already") {
					t.Errorf("back a second time: %+v", o)
				}
			case "correct":
				d.configure(rollingConfig("new", "rolling: true"))
				d.must("reload")
				d.awaitTopic("service.web.rolling", func() bool { return d.instances()["web@1"].Rollout == nil })
				b.runIn("web@2 new, web@1 new, web@3 new, web@4 new")
				d.must("service", "restart", "--back", "web")
				b.runIn("web@1 old, web@2 old, web@3 old, web@4 old")
			case "continue":
				d.nowRuns(b, "echo serving\n"+stay)
				d.must("service", "restart", "--continue", "web")
				b.runIn("web@2 bad, web@3 bad, web@4 bad")
			}
			d.serves("web@1 ready, web@2 ready, web@3 ready, web@4 ready")
			b.quiet()
		})
	}
}

// A rolling restart without a change goes on when its client has gone, and when the daemon has
// been killed. It leaves alone what is down, and says what became of it.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	script := `
[ "$ACTIVATION_ATTEMPT$ACTIVATION_ID" = 2web@3 ] && { printf 'one\nthe last line\n'; exit 4; }
[ -e GATE ] && [ "$ACTIVATION_ATTEMPT$ACTIVATION_ID" = 2web@2 ] && read -r line <GATE
echo serving
` + stay
	d, b := rollingServices(t, rollingConfig("same", "drain: 100ms")+"  db: {command: [/bin/sleep, '1000']}\n", "")
	gate := d.dir + "/gate"
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	d.nowRuns(b, strings.ReplaceAll(script, "GATE", gate))
	d.begin()
	b.ran(4)
	for n := 1; n <= 4; n++ {
		d.serving(fmt.Sprintf("web@%d", n), "ready")
	}
	d.must("service", "stop", "web@4")

	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan error, 1)
	go func() {
		_, _, err := control.Call[control.ServiceInstance](ctx, &d.Client, "service restart", control.ServiceRestartIn{ServiceIn: control.ServiceIn{Name: []string{"web"}}, Rolling: true})
		begun <- err
	}()
	b.runIn("web@1 same, web@2 same") // the second waits at the gate
	cancel()
	if err := <-begun; err == nil {
		t.Error("the client's request has ended before the instances were ready")
	}
	if o := d.atctl("service", "restart", "--rolling", "web"); o.status == 0 || !strings.Contains(o.err, "is going on, begun by") {
		t.Errorf("a second rolling restart: %+v", o)
	}
	d.Kill()
	d.begin()
	if r := d.instances()["web@1"].Rollout; r == nil || r.State != "rolling" || fmt.Sprint(r.Done, r.Now, r.Left) != "[1] [2] [3]" {
		t.Errorf("%+v, want that web@2 is being restarted", r)
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	b.runIn("web@3 same")
	d.rolled("web@1", "stopped")
	d.serves("web@1 ready, web@2 ready, web@3 backoff, web@4 down, db@1 ready")
	if o := d.atctl("service", "restart", "--back", "web"); o.status == 0 || !strings.Contains(o.err, "none to go back to") {
		t.Errorf("back without a change: %+v", o)
	}
	if o := d.atctl("service", "restart", "--continue", "db"); o.status == 0 || !strings.Contains(o.err, "none to continue") {
		t.Errorf("to continue what was not begun: %+v", o)
	}
	d.must("service", "restart", "--continue", "web")
	b.runIn("web@3 same")
	d.serves("web@1 ready, web@2 ready, web@3 ready, web@4 down")
	if r := d.instances()["web@1"].Rollout; r != nil {
		t.Errorf("%+v is left of a rolling restart that is over", r)
	}
	b.quiet()
}

// The reply to a rolling restart that was stopped says which instance did not get ready, and
// why, with its last lines, also if it runs and does not become ready. What comes later in the
// order of dependencies is not begun.
func TestRollingRestartSays(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  db: {command: [DIR/serve], ready: {log: serving}, ready_timeout: 10s, drain: 50ms}
  web: {command: [DIR/serve], instances: 2, after: [db]}
`, `
[ "$ACTIVATION_ATTEMPT$ACTIVATION_ID" = 2db@1 ] && { echo "still thinking"; sleep 1000; }
echo serving
`+stay)
	d.begin()
	b.started(3)
	d.serving("web@1", "ready")
	o := d.atctl("service", "restart", "--rolling", "*")
	for _, want := range []string{"db@1 did not get ready", "not ready", "db@1: still thinking", "--continue"} {
		if o.status == 0 || !strings.Contains(o.err, want) {
			t.Errorf("%+v, want %q", o, want)
		}
	}
	if r := d.instances()["web@1"].Rollout; r == nil || r.State != "stopped" || !strings.Contains(r.Reason, "the rolling restart of db") {
		t.Errorf("%+v, want that it was not begun", r)
	}
	b.started(1)
	d.serving("db@1", "ready") // its next run
	d.must("service", "restart", "--continue", "*")
	b.started(1)
	b.started(2)
	d.serves("db@1 ready, web@1 ready, web@2 ready")
	b.quiet()
}

// With surge, an extra instance is ready before another one is stopped, and is removed at the
// end, whatever happens meanwhile. If it does not get ready itself, nothing else is touched.
func TestRollingSurge(t *testing.T) {
	t.Parallel()
	d, b := rollingServices(t, rollingConfig("old", "rolling: true, surge: 2"), versioned)
	d.begin()
	b.ran(4)
	for n := 1; n <= 4; n++ {
		d.serving(fmt.Sprintf("web@%d", n), "ready")
	}
	d.configure(rollingConfig("bad", "rolling: true, surge: 1"))
	d.must("reload")
	r := d.rolled("web@1", "stopped")
	b.runIn("web@5 bad, web@1 bad, web@2 bad")
	if i := d.instances()["web@5"]; i.State != "ready" || !i.Extra || r.Failed != "web@2" {
		t.Errorf("%+v %+v, want an extra instance while web@2 is not ready", r, i)
	}
	d.Kill()
	d.begin()
	d.serves("web@1 ready, web@2 backoff, web@3 ready, web@4 ready, web@5 ready")
	d.must("service", "restart", "--back", "web")
	for _, one := range b.ran(4) { // web@5, and web@6 by the former surge
		if !strings.HasSuffix(one, " old") {
			t.Errorf("%s was started", one)
		}
	}
	d.serving("web@5", "removed", "")
	d.serves("web@1 ready, web@2 ready, web@3 ready, web@4 ready")

	// An instance that the service gets meanwhile stays.
	d.nowRuns(b, `
case $VERSION$ACTIVATION_ID in badweb@5|goodweb@2) exit 3;; esac
echo serving
`+stay)
	d.must("service", "scale", "web", "4")
	o := d.atctl("service", "restart", "--rolling", "web")
	if b.runIn("web@5 bad"); o.status == 0 || !strings.Contains(o.err, "web@5 did not get ready") {
		t.Errorf("an extra instance that fails: %+v", o)
	}
	d.serving("web@5", "removed", "")
	d.configure(rollingConfig("good", "rolling: true, surge: 1"))
	d.must("reload")
	d.rolled("web@1", "stopped")
	b.runIn("web@5 good, web@1 good, web@2 good")
	d.must("service", "scale", "web", "5")
	d.nowRuns(b, "echo serving\n"+stay)
	d.must("service", "restart", "--continue", "web")
	b.runIn("web@2 good, web@3 good, web@4 good")
	d.serves("web@1 ready, web@2 ready, web@3 ready, web@4 ready, web@5 ready")
	b.quiet()
}

// What is stopped for good has ended within stop_limit: what has not is killed, and the client
// learns which. What it needs is not stopped before, also if the client and the daemon have gone.
func TestServicesStopLimit(t *testing.T) {
	t.Parallel()
	for _, guard := range []string{"cgroup", "subreaper"} {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			if guard == "cgroup" {
				needRoot(t)
			}
			d, b := services(t, `
stop_limit: 10s
runs: {guard: `+guard+`}
services:
  db: {command: [DIR/serve], grace: 1h}
  web: {command: [DIR/serve], grace: 1h, after: ["db:started"]}
  other: {command: [DIR/serve], grace: 1h}
`, `
trap 'echo "asked $ACTIVATION_ID" >TELL; [ $ACTIVATION_ID = web@1 ] || exit 0' TERM
echo "waits $ACTIVATION_ID" >TELL
setsid sh -c 'trap "" TERM; while :; do sleep 1000; done' &
while :; do wait; done
`)
			d.begin()
			var starts []string
			for range 6 {
				starts = append(starts, b.next())
			}
			ctx, cancel := context.WithCancel(t.Context())
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, _, _ = control.Call[control.ServiceInstance](ctx, &d.Client, "service stop", control.ServiceStopIn{ServiceIn: control.ServiceIn{Name: []string{"*"}}})
			}()
			asked := []string{b.next(), b.next()}
			slices.Sort(asked)
			if fmt.Sprint(asked) != "[asked other@1 asked web@1]" {
				t.Errorf("%v after %v, want that db@1 is not asked yet", asked, starts)
			}
			cancel()
			<-gone
			d.Kill()
			d.begin()
			o := d.atctl("service", "stop", "*")
			if o.status != 0 || !strings.Contains(o.err, "web@1 was killed, because it had not ended within stop_limit") || strings.Contains(o.err, "other@1") {
				t.Errorf("%+v, want that web@1 was killed", o)
			}
			d.serves("db@1 down, web@1 down, other@1 down")
			if guard == "cgroup" {
				d.nothingLeft()
			} else if pids := d.marked(); len(pids) > 0 || len(d.wrappers()) > 0 { // a killed wrapper may leave the result that it was writing
				t.Errorf("the processes %v are left", pids)
			}
			d.must("service", "start", "--wait", "other")
			d.serves("db@1 down, web@1 down, other@1 ready")
			d.must("service", "stop", "other") // it would wait for a reader of the beacon, and has an hour for that
		})
	}
}
