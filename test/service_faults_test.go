package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// until waits until an instance is as wanted.
func (d *daemon) until(id, what string, ok func(control.ServiceInstance) bool) (i control.ServiceInstance) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	found := errors.New("found")
	look := func(e control.Event) error {
		if e.ID != id {
			return nil
		}
		if i = d.instances()[id]; ok(i) {
			return found
		}
		return nil
	}
	err := look(control.Event{ID: id})
	if err == nil {
		err = control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: harness.AllEvents}, look)
	}
	if !errors.Is(err, found) {
		d.t.Fatalf("waiting for %s to be %s: %v; it is %+v", id, what, err, i)
	}
	return i
}

// happened returns the events of an instance from its first one to the first that is wanted.
func (d *daemon) happened(id string, last func(control.Event) bool) (all []control.Event) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	found := errors.New("found")
	err := control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: harness.AllEvents, ID: id}, func(e control.Event) error {
		if all = append(all, e); last(e) {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		d.t.Fatalf("waiting for an event of %s: %v; so far %+v", id, err, all)
	}
	return all
}

// touch makes an empty file, which checks and scripts look for.
func (d *daemon) touch(name string) {
	d.t.Helper()
	if err := os.WriteFile(d.shared(name), nil, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) unlink(name string) {
	d.t.Helper()
	if err := os.Remove(d.shared(name)); err != nil {
		d.t.Fatal(err)
	}
}

// A service that is not ready for a while keeps its process, and so does what needs it. What
// is started meanwhile waits. Only a service that is bound to it runs again when its process
// ends.
func TestServiceUnready(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  db: {command: [DIR/serve], ready: {exec: [test, -e, DIR/shared/up], interval: 30ms, failures: 1}, backoff: {first: 10ms}}
  before: {command: [DIR/serve], after: [db]}
  bound: {command: [DIR/serve], after: [db], bind: true}
  meanwhile: {command: [DIR/serve], after: [db], autostart: false}
`, stay)
	d.begin()
	pids := b.started(1)
	d.runs(pids)
	d.serves("db@1 starting, before@1 waiting, bound@1 waiting, meanwhile@1 down")
	d.touch("up")
	maps.Copy(pids, b.started(2))
	d.runs(pids)
	d.serves("db@1 ready, before@1 ready, bound@1 ready, meanwhile@1 down")
	for round := range 3 {
		d.unlink("up")
		if i := d.serving("db@1", "unready"); !strings.Contains(i.Reason, "status 1") {
			t.Errorf("%+v, want the check's status as the reason", i)
		}
		if round == 1 {
			d.must("service", "start", "meanwhile")
			d.until("meanwhile@1", "waiting for db", func(i control.ServiceInstance) bool {
				return i.State == "waiting" && strings.Contains(i.Reason, "db, which is unready")
			})
		}
		d.runs(pids)
		b.quiet()
		d.touch("up")
		d.serving("db@1", "ready")
		if round == 1 {
			maps.Copy(pids, b.started(1))
		}
		d.runs(pids)
	}
	killPID(t, pids["db@1"])
	again := b.started(2)
	if again["db@1"] == 0 || again["bound@1"] == 0 {
		t.Errorf("started are %v, want db and what is bound to it", again)
	}
	awaitGone(t, pids["bound@1"])
	maps.Copy(pids, again)
	d.runs(pids)
	b.quiet()
	for id, run := range map[string]int{"db@1": 2, "before@1": 1, "bound@1": 2, "meanwhile@1": 1} {
		d.until(id, fmt.Sprintf("ready in run %d", run), func(i control.ServiceInstance) bool { // its process tells of itself before the daemon knows
			return i.State == "ready" && i.Run == run
		})
	}
}

// A service that does not get ready is stopped at its limit with all its processes, and tried
// again after a pause. Others are not delayed by it, nor by checks that hang. What is starting
// can be stopped, and goes on starting under the next daemon.
func TestServiceNeverReady(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  never: {command: [DIR/serve], ready: {exec: ["false"], interval: 50ms}, ready_timeout: 5s, grace: 300ms, backoff: {first: 1h, max: 1h}}
  needs: {command: [DIR/serve], after: [never]}
  silent: {command: [DIR/serve], ready: notify, ready_timeout: 1h}
  hangs: {command: [DIR/serve], ready: {exec: [DIR/check], timeout: 1h}, ready_timeout: 1h}
  many: {command: [DIR/serve], instances: 3, ready: {exec: ["true"]}, after: ["silent:started", "hangs:started"]}
`, `case $ACTIVATION_ID in never*) setsid sh -c 'trap "" TERM; echo "child $$" >TELL; while :; do sleep 1000; done' & ;; esac
`+stay)
	d.script("check", "sleep 1000 & echo $$ $! >>"+d.shared("checks")+"; wait\n")
	d.begin()
	pids, child := make(map[string]int), 0
	for range 7 {
		var id string
		var pid int
		line := b.next()
		if _, err := fmt.Sscanf(line, "child %d", &child); err == nil {
			continue
		}
		if _, err := fmt.Sscanf(line, "start %s %d", &id, &pid); err != nil {
			t.Fatalf("the line %q", line)
		}
		pids[id] = pid
	}
	d.serving("many@1", "ready")
	d.serving("many@2", "ready")
	d.serving("many@3", "ready")
	i := d.serving("never@1", "backoff")
	if !strings.HasPrefix(i.Reason, "not ready after ") || i.Failures != 1 || i.Run != 1 || time.Until(i.Next.Time) < 20*time.Minute {
		t.Errorf("%+v, want one failure and a pause of an hour, because it was not ready in time", i)
	}
	if i.LastExit == nil || !strings.HasPrefix(i.LastExit.Reason, "run 1 was stopped: not ready after ") {
		t.Errorf("%+v, want its last end with the reason", i.LastExit)
	}
	if alive(pids["never@1"]) || alive(child) {
		t.Errorf("of never, process %d lives: %v; its child %d: %v", pids["never@1"], alive(pids["never@1"]), child, alive(child))
	}
	delete(pids, "never@1")
	if o := d.atctl("service", "start", "never", "--wait"); o.status == 0 || !strings.Contains(o.err, "never@1 did not get ready: it is backoff: not ready after ") {
		t.Errorf("start --wait of what never gets ready: %+v", o)
	}
	b.next()
	b.next()
	d.serves("never@1 backoff, needs@1 waiting, silent@1 starting, hangs@1 starting")

	for _, how := range []string{"kill -9", "TERM"} {
		d.await("a check hangs", func() bool { return strings.Contains(d.read(d.shared("checks")), "\n") })
		var checks []int
		for _, pid := range strings.Fields(d.read(d.shared("checks"))) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			checks = append(checks, n)
		}
		d.unlink("checks")
		if how == "TERM" {
			d.stop()
		} else {
			d.Kill()
		}
		d.begin()
		for _, pid := range checks {
			awaitGone(t, pid)
		}
		d.runs(pids)
		d.serves("never@1 backoff, needs@1 waiting, silent@1 starting, hangs@1 starting, many@1 ready")
	}
	d.must("service", "stop", "*")
	d.serves("never@1 down, needs@1 down, silent@1 down, hangs@1 down, many@1 down")
	d.nothingLeft()
	b.quiet()
}

// Reports by systemd's own program count if they come from a process of the service, also from
// a grandchild in a session of its own, or from a shell below another one. While a service
// reports progress, it is not too late. What another process reports does not count.
func TestServiceReports(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "systemd-notify", "setsid")
	d, b := services(t, `
services:
  grandchild: {command: [DIR/serve], ready: notify, ready_timeout: 1h}
  shell: {command: [sh, -c, 'sh -c DIR/serve; exit 1'], ready: notify, ready_timeout: 1h, user: nobody}
  extends: {command: [DIR/serve], ready: notify, ready_timeout: 10s}
  progress: {command: [DIR/serve], ready: notify, ready_timeout: 10s}
  stranger: {command: [DIR/serve], ready: notify, ready_timeout: 1h}
  silent: {command: [DIR/serve], ready: notify, ready_timeout: 10s, autostart: false, backoff: {first: 1h, max: 1h}}
`, `
go() { while ! test -e DIR/shared/go; do sleep 0.05; done; systemd-notify --ready; exec sleep 1000; }
case $ACTIVATION_ID in
grandchild*) (setsid sh -c 'systemd-notify --ready --status=deep & wait' &); exec sleep 1000 ;;
shell*) systemd-notify --ready; sleep 1000; exit 1 ;;
extends*) systemd-notify EXTEND_TIMEOUT_USEC=3600000000; echo said >TELL; go ;;
progress*) n=0; echo said >TELL; while ! test -e DIR/shared/go; do n=$((n+1)); systemd-notify --status="step $n"; sleep 0.2; done; go ;;
stranger*) echo "$NOTIFY_SOCKET" >DIR/shared/socket; echo said >TELL; go ;;
esac
exec sleep 1000
`)
	d.begin()
	pids := make(map[string]int)
	for said := 0; said < 3 || len(pids) < 5; {
		var id string
		var pid int
		line := b.next()
		if _, err := fmt.Sscanf(line, "start %s %d", &id, &pid); err == nil {
			pids[id] = pid
		} else {
			said++
		}
	}
	d.serving("grandchild@1", "ready")
	d.serving("shell@1", "ready")

	c, err := net.Dial("unixgram", strings.TrimSpace(d.read(d.shared("socket"))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("READY=1")); err != nil {
		t.Fatal(err)
	}
	d.await("the report is refused", func() bool {
		return strings.Contains(d.read(d.state+"/runs/stranger@1.serve.1/notify"), fmt.Sprintf("process %d of user 0", os.Getpid()))
	})

	d.must("service", "start", "silent")
	b.started(1)
	if i := d.serving("silent@1", "backoff"); !strings.HasPrefix(i.Reason, "not ready after 1") {
		t.Errorf("%+v, want not ready after 10 seconds, or some more on a slow machine", i)
	}
	d.serves("extends@1 starting, progress@1 starting, stranger@1 starting")
	d.touch("go")
	for _, id := range []string{"extends@1", "progress@1", "stranger@1"} {
		if i := d.serving(id, "ready"); i.Run != 1 {
			t.Errorf("%+v, want run 1", i)
		}
	}
	b.quiet()
}

// A service whose check fails for good is restarted with growing pauses, each time, and this
// counts like an exit: with exits, too, it adds up to the limit.
func TestServiceDies(t *testing.T) {
	t.Parallel()
	d, _ := services(t, `
services:
  dies: {command: [DIR/serve], alive: {exec: [test, -e, DIR/shared/alive], interval: 10ms, failures: 2}, start_limit: {count: 10}, fatal_retry: 0, backoff: {first: 20ms, max: 80ms}}
  mixed: {command: [DIR/serve], alive: {exec: [test, -e, DIR/shared/alive], interval: 10ms}, start_limit: {count: 4}, fatal_retry: 0, backoff: {first: 10ms, max: 10ms}}
  fine: {command: [DIR/serve], alive: {exec: [test, -d, DIR/shared], interval: 10ms}}
`, `case $ACTIVATION_ID.$ACTIVATION_ATTEMPT in mixed@1.[13]) exit 3 ;; esac
`+stay)
	d.begin()
	if i := d.serving("dies@1", "fatal"); i.Run != 10 || !strings.Contains(i.Reason, "status 1") || i.LastExit == nil {
		t.Errorf("%+v, want fatal after run 10, because of the check", i)
	}
	if i := d.serving("mixed@1", "fatal"); i.Run != 4 {
		t.Errorf("%+v, want fatal after run 4", i)
	}
	fine := d.serving("fine@1", "ready")
	ended := make(map[int]time.Time)
	runs := 0
	for _, e := range d.happened("dies@1", func(e control.Event) bool { return e.What == "attempt.ended" && e.Attempt == 10 }) {
		switch e.What {
		case "attempt.ended":
			ended[e.Attempt] = e.Time
		case "attempt.started":
			runs++
			least := 10 * time.Millisecond // a half: pauses differ by chance
			if e.Attempt > 3 {
				least = 40 * time.Millisecond
			}
			if pause := e.Time.Sub(ended[e.Attempt-1]); e.Attempt > 1 && pause < least {
				t.Errorf("run %d began %v after the end of the one before it, want at least %v", e.Attempt, pause, least)
			}
		}
	}
	if runs != 10 {
		t.Errorf("%d runs, want 10", runs)
	}
	d.touch("alive")
	d.must("service", "start", "dies", "--wait")
	if i := d.instances()["dies@1"]; i.State != "ready" || i.Run != 11 || i.Failures != 0 {
		t.Errorf("%+v, want ready in run 11", i)
	}
	d.unlink("alive")
	d.until("dies@1", "in its tenth run after the start", func(i control.ServiceInstance) bool { return i.State == "fatal" && i.Run == 20 })
	if i := d.instances()["fine@1"]; i.Run != 1 || i.PID != fine.PID || !alive(i.PID) {
		t.Errorf("%+v, want the process %d", i, fine.PID)
	}
	d.must("service", "stop", "*")
	d.nothingLeft()
}

// A service that failed too often is tried again slowly, and becomes fatal at once if it fails
// again. A person's start tries it at once and begins to count from the first. A run that lasts
// a second counts like one that ends at once. The status has the exit and the last lines.
func TestServiceFatal(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  slow: {command: [DIR/serve], start_limit: {count: 2}, fatal_retry: 500ms, backoff: {first: 10ms, max: 10ms}}
  tried: {command: [DIR/serve], ready: {delay: 1h}, start_limit: {count: 2}, fatal_retry: 1h, backoff: {first: 10ms, max: 10ms}}
  late: {command: [DIR/serve], start_limit: {count: 3}, fatal_retry: 0, backoff: {first: 10ms, max: 10ms}}
`, `case $ACTIVATION_ID.$ACTIVATION_ATTEMPT in late@1.2) sleep 1.1 ;; slow@1.4) exec sleep 1000 ;; esac
seq 1 30
exit 3
`)
	d.begin()
	fatal := 0
	all := d.happened("slow@1", func(e control.Event) bool { return e.What == "attempt.started" && e.Attempt == 4 })
	for n, e := range all {
		if e.What == "state" && e.State == "stuck" {
			fatal++
			for _, next := range all[n:] {
				if next.What == "attempt.started" {
					if pause := next.Time.Sub(e.Time); pause < 375*time.Millisecond {
						t.Errorf("run %d began %v after it was fatal, want half a second, or up to a quarter less", next.Attempt, pause)
					}
					break
				}
			}
		}
	}
	if fatal != 2 {
		t.Errorf("it was fatal %d times, want after run 2 and after run 3", fatal)
	}
	d.serving("slow@1", "ready")
	if i := d.serving("tried@1", "fatal"); i.Run != 2 || time.Until(i.Next.Time) < 20*time.Minute {
		t.Errorf("%+v, want fatal after run 2, and a try in an hour", i)
	}
	if o := d.atctl("service", "start", "tried", "--wait"); o.status == 0 || !strings.Contains(o.err, "run 3 exited with status 3") {
		t.Errorf("start --wait of what fails: %+v", o)
	}
	if i := d.until("tried@1", "fatal after four runs", func(i control.ServiceInstance) bool { return i.State == "fatal" && i.Run == 4 }); i.LastExit == nil || *i.LastExit.Exit != 3 {
		t.Errorf("%+v, want the exit of run 4", i)
	}
	status := d.must("service", "status", "tried")
	want := ""
	for n := 11; n <= 30; n++ {
		want += fmt.Sprintf("\n  %d", n)
	}
	if !strings.Contains(status, "run 4 exited with status 3") || !strings.HasSuffix(status, want) || strings.Contains(status, "  10\n") {
		t.Errorf("the status is\n%s\nwant the exit and the last 20 lines", status)
	}
	if i := d.serving("late@1", "fatal"); i.Run != 3 {
		t.Errorf("%+v, want fatal after run 3", i)
	}
	d.must("service", "stop", "*")
	for range 11 {
		b.next()
	}
	b.quiet()
	d.nothingLeft()
}

// The pause before the signal is kept for whatever reason a service is stopped, and an event
// says so before.
func TestServiceDrains(t *testing.T) {
	t.Parallel()
	const config = `
services:
  restart: {command: [DIR/serve], drain: 500ms}
  rolling: {command: [DIR/serve], drain: 500ms}
  down: {command: [DIR/serve], drain: 500ms}
  scaled: {command: [DIR/serve], drain: 500ms, instances: 2}
  dead: {command: [DIR/serve], drain: 500ms, alive: {exec: [test, -e, DIR/shared/alive], interval: 50ms}}
`
	d, b := services(t, config+`
  changed: {command: [DIR/serve], drain: 500ms}
  removed: {command: [DIR/serve], drain: 500ms}
`, `trap 'echo "asked $ACTIVATION_ID $(date +%s%N)" >TELL; kill $!; exit' TERM
sleep 1000 &
echo "trap $ACTIVATION_ID" >TELL
wait
`)
	d.touch("alive")
	d.begin()
	for range 16 {
		b.next()
	}
	for id := range d.instances() { // what the daemon does not know to have started is not drained
		d.serving(id, "ready")
	}
	d.must("service", "restart", "restart")
	d.must("service", "scale", "scaled", "1")
	d.unlink("alive")
	d.configure(strings.ReplaceAll(config, "TELL", b.path) + "  changed: {command: [DIR/serve, more], drain: 500ms}\n")
	d.must("reload")
	d.must("service", "restart", "rolling", "--rolling")
	d.must("service", "stop", "down")
	for asked := 0; asked < 7; {
		var id string
		var at int64
		if _, err := fmt.Sscanf(b.next(), "asked %s %d", &id, &at); err != nil {
			continue
		}
		asked++
		all := d.happened(id, func(e control.Event) bool { return e.What == "draining" })
		if early := all[len(all)-1].Time.Add(500 * time.Millisecond).Sub(time.Unix(0, at)); early > 0 {
			t.Errorf("%s was asked to end %v too early", id, early)
		}
	}
	d.must("service", "stop", "*")
	d.nothingLeft()
}

// On a full disk services go on, and are not blocked by what they write. One whose process ends
// is started again, without a further failure, when there is space.
func TestServicesOnAFullDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d, b := services(t, `
services:
  writes: {command: [DIR/serve], log: {size: 100KiB, keep: 2}}
  ends: {command: [DIR/serve], backoff: {first: 10ms, max: 10ms}}
  stays: {command: [DIR/serve]}
  stopped: {command: [DIR/serve]}
`, `case $ACTIVATION_ID in writes*)
	while ! test -e DIR/shared/full; do sleep 0.05; done
	seq 1 100000; echo wrote >TELL
	while test -e DIR/shared/full; do sleep 0.05; done
	echo end; echo wrote >TELL ;;
esac
`+stay)
	d.smallDisk("6m")
	d.begin()
	pids := b.started(4)
	d.runs(pids)
	filler := d.fill()
	d.touch("full")
	if line := b.next(); line != "wrote" {
		t.Errorf("%q, want that it wrote", line)
	}
	killPID(t, pids["ends@1"])
	awaitGone(t, pids["ends@1"])
	stop := make(chan output, 1)
	go func() { stop <- d.atctl("service", "stop", "stopped") }() // it ends when the end of the run is on disk
	if !alive(pids["writes@1"]) || !alive(pids["stays@1"]) {
		t.Error("a service has ended because the disk is full")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	d.unlink("full")
	switch o := <-stop; {
	case o.status == 6 && strings.Contains(o.err, "make space"):
		d.must("service", "stop", "stopped")
	case o.status != 0:
		t.Errorf("stop on a full disk: %+v", o)
	}
	if alive(pids["stopped@1"]) {
		t.Error("what was stopped lives")
	}
	for range 2 {
		if line := b.next(); line != "wrote" {
			if _, err := fmt.Sscanf(line, "start ends@1 %d", new(int)); err != nil {
				t.Errorf("%q, want a start of ends", line)
			}
		}
	}
	if i := d.serving("ends@1", "ready"); i.Failures != 1 {
		t.Errorf("%+v, want one failure", i)
	}
	if log := d.must("log", "writes@1"); !strings.Contains(log, "bytes of output are missing here: no space left on device]") || !strings.HasSuffix(log, "\nend") {
		t.Errorf("the log ends with %q", harness.Tail(log, 5))
	}
	d.must("service", "stop", "*")
	d.nothingLeft()
}

// A service writes a gigabyte in two runs, while its log is removed. It is not blocked, other
// services go on, and of each run that has ended the last lines can be read.
func TestServiceWritesAGigabyte(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  writes: {command: [DIR/serve], log: {size: 1MiB, keep: 2}, backoff: {first: 10ms, max: 10ms}}
  other: {command: [DIR/serve]}
`, `case $ACTIVATION_ID.$ACTIVATION_ATTEMPT in writes@1.[12])
	line=$(printf %099d 7)
	yes "$line" | head -c 250000000
	echo half >TELL
	while ! test -e DIR/shared/go.$ACTIVATION_ATTEMPT; do sleep 0.05; done
	yes "$line" | head -c 250000000
	echo "the end of run $ACTIVATION_ATTEMPT"
	exit 3 ;;
esac
`+stay)
	d.begin()
	pids := b.started(2)
	const runs = 2
	for run := 1; run <= runs; run++ {
		if line := b.next(); line != "half" {
			t.Fatalf("%q, want half", line)
		}
		if run == 1 {
			if err := os.Remove(d.state + "/runs/writes@1.serve.1/log"); err != nil {
				t.Error(err)
			}
		}
		d.must("service", "status", "other")
		d.touch(fmt.Sprint("go.", run))
		pids["writes@1"] = b.started(1)["writes@1"]
	}
	d.runs(pids)
	for run := 1; run <= runs; run++ {
		log := d.must("service", "log", "writes", "--exit", strconv.Itoa(run-runs-1))
		if !strings.HasSuffix(log, fmt.Sprintf("7\nthe end of run %d", run)) || len(log) > 3<<20 {
			t.Errorf("the log of run %d has %d bytes and ends with %q", run, len(log), harness.Tail(log, 2))
		}
	}
	d.must("service", "stop", "*")
	b.quiet()
	d.nothingLeft()
}

// A service whose wrapper is killed is started again when nothing of the lost run is left, also
// if the daemon is killed with it.
func TestServiceWrapperIsKilled(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  web: {command: [DIR/serve], ready: notify, listen: [DIR/web.sock], backoff: {first: 10ms, max: 10ms}}
  other: {command: [DIR/serve]}
`, `case $ACTIVATION_ID in web*)
	exec 8>>DIR/shared/one
	flock -n 8 || echo overlap >TELL
	setsid sh -c 'trap "" TERM; echo "child $$" >TELL; while :; do sleep 1000; done' &
	systemd-notify --ready ;;
esac
`+stay)
	needProgram(t, "flock", "setsid", "systemd-notify")
	d.begin()
	for run := 1; run <= 4; run++ {
		for told := 0; told < 2 || run == 1 && told < 3; told++ {
			if line := b.next(); line == "overlap" {
				t.Errorf("run %d begins while something of run %d lives", run, run-1)
				told--
			}
		}
		i := d.until("web@1", "ready", func(i control.ServiceInstance) bool { return i.State == "ready" && i.Run == run })
		if i.Failures != run-1 || run > 1 && !strings.Contains(i.LastExit.Reason, "was lost: its wrapper is gone") {
			t.Errorf("%+v, want %d failures, and the last run lost", i, run-1)
		}
		wrapper := d.wrapperOf(fmt.Sprintf("web@1.serve.%d", run))
		if run < 4 {
			if run%2 == 0 {
				d.Kill()
			}
			killPID(t, wrapper)
			if run%2 == 0 {
				d.begin()
			}
		}
	}
	d.must("service", "stop", "*")
	d.serves("web@1 down, other@1 down")
	d.await("the socket is gone", func() bool { _, err := os.Lstat(d.dir + "/web.sock"); return errors.Is(err, os.ErrNotExist) })
	d.nothingLeft()
	b.quiet()
}
