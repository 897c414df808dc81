package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// instances returns the instances of services, by id.
func (d *daemon) instances() map[string]control.ServiceInstance {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	_, lines, err := control.Call[control.ServiceInstance](ctx, &d.Client, "service list", control.ServiceIn{})
	if err != nil {
		d.t.Fatal(err)
	}
	all := make(map[string]control.ServiceInstance)
	for _, i := range lines {
		all[i.ID] = i
	}
	return all
}

// serving waits until an instance is in one of some states.
func (d *daemon) serving(id string, states ...string) control.ServiceInstance {
	d.t.Helper()
	return d.until(id, strings.Join(states, " or "), func(i control.ServiceInstance) bool { return slices.Contains(states, i.State) })
}

// serves checks the states of instances: "web@1 ready, db@1 down". It waits for those that are
// to be ready, because their processes may have said that they run before the daemon knows it.
func (d *daemon) serves(want string) {
	d.t.Helper()
	for one := range strings.SplitSeq(want, ", ") {
		if id, ok := strings.CutSuffix(one, " ready"); ok {
			d.serving(id, "ready")
		}
	}
	all := d.instances()
	var got []string
	for one := range strings.SplitSeq(want, ", ") {
		id, _, _ := strings.Cut(one, " ")
		got = append(got, id+" "+all[id].State)
	}
	if s := strings.Join(got, ", "); s != want {
		d.t.Errorf("%s, want %s", s, want)
	}
}

// services makes a daemon with services, whose script is given: it reports its start with its
// process id first. In texts, TELL is the beacon.
func services(t *testing.T, config, script string) (*daemon, *beacon) {
	t.Helper()
	d := newDaemon(t, "")
	b := d.beacon()
	d.script("serve", strings.NewReplacer("TELL", b.path, "DIR", d.dir).Replace(`echo "start $ACTIVATION_ID $$" >TELL`+"\n"+script))
	d.configure(strings.ReplaceAll(config, "TELL", b.path))
	return d, b
}

// started waits for the starts of so many instances, and returns their processes.
func (b *beacon) started(n int) map[string]int {
	b.t.Helper()
	pids := make(map[string]int)
	for range n {
		var id string
		var pid int
		line := b.next()
		if _, err := fmt.Sscanf(line, "start %s %d", &id, &pid); err != nil || pids[id] != 0 {
			b.t.Fatalf("the line %q, want a start; so far %v", line, pids)
		}
		pids[id] = pid
	}
	return pids
}

// runs waits until it is known which instances have a process, and checks that these are the processes, and that they live.
func (d *daemon) runs(want map[string]int) {
	d.t.Helper()
	var got map[string]int
	unsure := true
	deadline := time.Now().Add(patience)
	for ; unsure && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) { // no event reports when a process id is known
		got, unsure = make(map[string]int), false
		for id, i := range d.instances() {
			running := i.State == "ready" || i.State == "unready" || i.State == "starting"
			if running {
				got[id] = i.PID
			}
			unsure = unsure || running == (i.PID == 0)
		}
	}
	if !maps.Equal(got, want) {
		d.t.Fatalf("the processes are %v, want %v", got, want)
	}
	for id, pid := range want {
		if !alive(pid) {
			d.t.Errorf("process %d of %s is gone", pid, id)
		}
	}
}

// begin starts the daemon and waits until it has read what is declared.
func (d *daemon) begin() {
	d.t.Helper()
	d.Start()
	d.must("reload")
}

const stay = "exec sleep 1000\n"

// Services run on, with the same processes, however the daemon ends, and under the next one,
// which may be another program. What died meanwhile is started again, once; what was stopped
// stays stopped.
func TestServicesOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"kill -9", "TERM", "atctl stop", "upgrade"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d, b := services(t, `
services:
  db: {command: [DIR/serve]}
  shop/web: {command: [DIR/serve], instances: 3, after: ["db:started"], backoff: {first: 1s}}
  idle: {command: [DIR/serve]}
`, stay)
			d.begin()
			pids := b.started(5)
			d.runs(pids)
			d.must("service", "stop", "idle")
			awaitGone(t, pids["idle@1"])
			delete(pids, "idle@1")
			switch how {
			case "kill -9":
				d.Kill()
			case "TERM":
				d.stop()
			case "atctl stop":
				p := d.Newest()
				d.must("stop")
				d.AwaitGone(p)
			case "upgrade":
				d.stop()
				d.Bin = d.copyPrograms()
			}
			d.begin()
			d.runs(pids)
			d.Kill()
			killPID(t, pids["shop_web@2"])
			awaitGone(t, pids["shop_web@2"])
			d.begin()
			again := b.started(1)
			pids["shop_web@2"] = again["shop_web@2"]
			d.runs(pids)
			d.serves("db@1 ready, shop_web@1 ready, shop_web@2 ready, shop_web@3 ready, idle@1 down")
			b.quiet()
			d.must("service", "stop", "*")
			d.nothingLeft()
			d.stop()
			d.begin()
			d.serves("db@1 down, shop_web@1 down, shop_web@2 down, shop_web@3 down, idle@1 down")
			d.nothingLeft()
			b.quiet()
		})
	}
}

// copyPrograms copies the programs, as an upgrade to the same build would.
func (d *daemon) copyPrograms() string {
	d.t.Helper()
	dir := d.dir + "/next"
	names, err := readNames(d.Bin)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(d.Bin + "/" + name)
		if err == nil {
			err = writeAlone(dir+"/"+name, data, 0o755)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	return dir
}

// A restart that falls due while the daemon is down happens once, when it is there again, and
// the failures are still counted.
func TestServiceRestartFallsDue(t *testing.T) {
	t.Parallel()
	d, b := services(t, `services: {once: {command: [DIR/serve], backoff: {first: 8s}}}`, `
[ "$ACTIVATION_ATTEMPT" = 1 ] && exit 3
`+stay)
	d.begin()
	b.started(1)
	i := d.serving("once@1", "backoff")
	d.Kill()
	if i.Next.IsZero() || i.Failures != 1 {
		t.Fatalf("%+v, want one failure and a time", i)
	}
	time.Sleep(time.Until(i.Next.Time)) // the time is what this is about
	b.quiet()
	d.begin()
	pids := b.started(1)
	if i = d.serving("once@1", "ready"); i.Run != 2 || i.Failures != 1 || i.LastExit == nil || *i.LastExit.Exit != 3 {
		t.Errorf("%+v, want run 2 after a failure", i)
	}
	d.runs(pids)
	b.quiet()
}

// Stop goes from rank to rank, and waits for each until nothing of it is left. Start brings
// what is needed.
func TestServicesStopInOrder(t *testing.T) {
	t.Parallel()
	const config = `
services:
  db: {command: [DIR/serve], autostart: false}
  web: {command: [DIR/serve], autostart: false, instances: 2, after: ["db:started"]}
  edge: {command: [DIR/serve], autostart: false, after: ["web:started"]}
  other: {command: [DIR/serve], autostart: false}
`
	script := `
trap 'echo "asked $ACTIVATION_ID" >TELL; kill $!; wait $!; echo "ended $ACTIVATION_ID" >TELL; exit' TERM
sleep 1000 &
echo "waits $ACTIVATION_ID" >TELL
wait
`
	d, b := services(t, config, script)
	d.begin()
	d.serves("db@1 down, web@1 down, web@2 down, edge@1 down, other@1 down")
	d.must("service", "start", "edge")
	seen := make(map[string]bool)
	for range 8 {
		line := b.next()
		seen[strings.Join(strings.Fields(line)[:2], " ")] = true
	}
	for _, id := range []string{"db@1", "web@1", "web@2", "edge@1"} {
		if !seen["start "+id] || !seen["waits "+id] {
			t.Errorf("%s has not been started: %v", id, seen)
		}
	}
	d.serves("db@1 ready, web@1 ready, web@2 ready, edge@1 ready, other@1 down")
	if order := d.startsOf("db@1", "web@1", "web@2", "edge@1"); order[0] != "db@1" || order[3] != "edge@1" {
		t.Errorf("they were started in the order %v", order)
	}
	if o := d.atctl("service", "stop", "web"); o.status == 0 || !strings.Contains(o.err, "edge@1") {
		t.Errorf("stop of what another one needs: %+v", o)
	}
	b.quiet()

	// The order is known before the next daemon has read the configuration's declarations: that
	// comes after the sources, of which one does not answer.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	d.stop()
	d.configure(config + "sources: [{sql: {driver: postgres, dsn: 'postgres://lab@" + silent.Addr().String() + "/lab?sslmode=disable'}}]\n")
	d.Start()
	if o := d.atctl("service", "stop", "web"); o.status == 0 || !strings.Contains(o.err, "edge@1") {
		t.Errorf("stop of what another one needs, before the first load has ended: %+v", o)
	}
	d.must("service", "stop", "*")
	var order []string
	for range 8 {
		order = append(order, b.next())
	}
	want := []string{"asked edge@1", "ended edge@1", "asked web@1", "asked web@2", "ended web@1", "ended web@2", "asked db@1", "ended db@1"}
	slices.Sort(order[2:6]) // these two end together
	if !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	b.quiet()
	d.nothingLeft()
}

// Requests that come before the daemon has read what is declared wait for that, except a stop of
// what runs.
func TestServicesBeforeTheFirstLoad(t *testing.T) {
	t.Parallel()
	d, b := services(t, "services: {web: {command: [DIR/serve]}}\n", stay)
	d.begin()
	b.started(1)
	d.stop()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.configure("services: {web: {command: [DIR/serve], instances: 2}, other: {command: [DIR/serve], autostart: false}}\n" +
		"sources: [{sql: {driver: postgres, dsn: 'postgres://lab@" + silent.Addr().String() + "/lab?sslmode=disable'}}]\n")
	d.Start()
	source, err := silent.Accept() // the load has begun, and goes on until the source ends
	if err != nil {
		t.Fatal(err)
	}
	d.must("service", "stop", "web")
	requests := [][]string{
		{"list", "other"}, {"status", "other"}, {"restart", "other"}, {"start", "other"}, {"log", "web@1"}, {"env", "web@2"}, {"scale", "web", "3"},
	}
	replies := make(chan output, len(requests))
	for _, r := range requests {
		go func() { replies <- d.run("", append([]string{d.Bin + "/atctl", "service"}, r...)...) }()
	}
	select {
	case o := <-replies:
		t.Errorf("a reply before the load has ended: %+v", o)
	case <-time.After(2 * time.Second): // in which a daemon that does not wait would reply
	}
	if err := errors.Join(silent.Close(), source.Close()); err != nil {
		t.Fatal(err)
	}
	for range requests {
		if o := <-replies; o.status != 0 {
			t.Errorf("%+v", o)
		}
	}
	d.serves("web@1 down, web@2 down, web@3 down, other@1 ready")
}

// startsOf returns instances in the order in which their first runs were started.
func (d *daemon) startsOf(ids ...string) (order []string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	found := errors.New("found")
	err := control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: harness.AllEvents}, func(e control.Event) error {
		if e.What == "attempt.started" && slices.Contains(ids, e.ID) {
			order = append(order, e.ID)
		}
		if len(order) == len(ids) {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		d.t.Fatal(err)
	}
	return order
}

// What waits for another service waits after a restart, too, and can be stopped.
func TestServiceWaits(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  db: {command: [DIR/serve], autostart: false}
  web: {command: [DIR/serve], after: ["db:started"]}
`, stay)
	d.begin()
	for range 2 {
		d.until("web@1", "waiting for db", func(i control.ServiceInstance) bool {
			return i.State == "waiting" && strings.Contains(i.Reason, "db")
		})
		d.must("service", "restart", "web")
		d.Kill()
		d.begin()
	}
	d.must("service", "stop", "web")
	d.serves("web@1 down")
	d.must("service", "start", "db")
	pids := b.started(1)
	d.runs(pids)
	d.must("service", "start", "web")
	maps.Copy(pids, b.started(1))
	d.runs(pids)
	b.quiet()
}

// A backup has what a person wanted of services. What was changed after it is as it was before,
// and what runs all the time goes on.
func TestServicesOfABackup(t *testing.T) {
	t.Parallel()
	d, b := services(t, `
services:
  web: {command: [DIR/serve], instances: 2}
  queue: {command: [DIR/serve]}
  spare: {command: [DIR/serve]}
`, stay)
	d.begin()
	pids := b.started(4)
	d.must("service", "stop", "spare")
	delete(pids, "spare@1")
	d.must("service", "scale", "web", "3")
	maps.Copy(pids, b.started(1))
	d.runs(pids)
	file := d.dir + "/backup.db"
	d.must("backup", file)
	d.must("service", "stop", "queue")
	d.must("service", "scale", "web", "declared")
	d.serves("queue@1 down")
	d.stop()
	if err := os.Rename(file, d.state+"/state.db"); err != nil {
		t.Fatal(err)
	}
	delete(pids, "queue@1")
	delete(pids, "web@3")
	d.begin()
	maps.Copy(pids, b.started(2)) // their runs had ended: they have others
	d.runs(pids)
	d.serves("spare@1 down, queue@1 ready, web@3 ready")
	b.quiet()
}

// Stop returns when nothing of the tree is left, whatever the service does with the signal.
func TestServiceTrees(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, script, killed string }{
		{"the leader exits on TERM, a child stays", `(trap '' TERM; echo "child" >TELL; while :; do sleep 1000; done) & trap 'exit 0' TERM; while :; do wait; done`, "left behind were killed: "},
		{"TERM is ignored", `trap '' TERM; echo child >TELL; while :; do sleep 1000; done`, "by KILL"},
		{"a child in a session of its own ignores TERM", `setsid sh -c 'trap "" TERM; echo child >TELL; while :; do sleep 1000; done' & trap 'exit 0' TERM; while :; do wait; done`, "left behind were killed: "},
		{"a child without environment in a session of its own", `setsid env -i sh -c 'trap "" TERM; echo child >TELL; while :; do sleep 1000; done' & trap 'exit 0' TERM; while :; do wait; done`, "left behind were killed: "},
		{"it is stopped by SIGSTOP", `echo child >TELL; kill -STOP $$`, "was stopped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, b := services(t, `services: {tree: {command: [DIR/serve], grace: 300ms}}`, tt.script+"\n")
			d.begin()
			b.started(1)
			if got := b.next(); got != "child" {
				t.Fatalf("%q, want child", got)
			}
			d.must("service", "restart", "tree")
			b.started(1)
			b.next()
			d.must("service", "stop", "tree")
			d.nothingLeft()
			i := d.instances()["tree@1"]
			if i.State != "down" || i.Run != 2 {
				t.Errorf("%+v, want down after run 2", i)
			}
			if !strings.Contains(i.LastExit.Reason, tt.killed) {
				t.Errorf("the reason is %q, want %q", i.LastExit.Reason, tt.killed)
			}
			b.quiet()
		})
	}
}

// What a service leaves behind when it ends has ended before its next run starts. A service
// that puts itself into the background fails in this way.
func TestServiceLeaves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, script, why string }{
		{"it leaks a child and fails", `setsid sleep 1000 & exit 3`, "status 3"},
		{"it leaks a child that ignores TERM", `trap '' TERM; setsid sleep 1000 & exit 3`, "status 3"},
		{"it daemonises", `setsid sh -c 'setsid sleep 1000 & exit 0' & exit 0`, "status 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, b := services(t, `services: {leaves: {command: [DIR/serve], grace: 300ms, backoff: {first: 10ms, max: 10ms}, start_limit: {count: 3}}}`, tt.script+"\n")
			d.begin()
			i := d.serving("leaves@1", "fatal")
			if i.Run != 3 || !strings.Contains(i.Reason, tt.why) || !strings.Contains(i.Reason, "processes that it left behind were killed: ") {
				t.Errorf("%+v, want run 3, the reason %s, and a word on what was killed", i, tt.why)
			}
			for range 3 {
				b.started(1)
			}
			b.quiet()
			d.nothingLeft()
		})
	}
}

// A service that ends at once becomes fatal after as many failures as its limit says, over
// deaths of the daemon, and a person's start tries it again.
func TestServiceFails(t *testing.T) {
	t.Parallel()
	d, b := services(t, `services: {flaps: {command: [DIR/serve], backoff: {first: 20ms, max: 40ms}, start_limit: {count: 4}, fatal_retry: 0}}`, "echo why it died\nexit 3\n")
	d.begin()
	for run := range 8 {
		if run == 4 {
			if i := d.serving("flaps@1", "fatal"); i.Run != 4 || !strings.Contains(i.Reason, "3") {
				t.Errorf("%+v, want fatal after run 4, because of status 3", i)
			}
			b.quiet()
			d.Kill()
			d.begin()
			d.serves("flaps@1 fatal")
			d.must("service", "start", "flaps")
		}
		b.started(1)
		if run%2 == 1 {
			d.Kill()
			d.begin()
		}
	}
	if i := d.serving("flaps@1", "fatal"); i.Run != 8 {
		t.Errorf("%+v, want fatal after run 8", i)
	}
	b.quiet()
	if log := d.must("log", "flaps@1"); !strings.Contains(log, "why it died") {
		t.Errorf("the log of its last run is %q", log)
	}
	d.must("service", "stop", "flaps")
	d.serves("flaps@1 down")
	d.nothingLeft()
}

// A reload changes what the configuration changes, and no more.
func TestServicesReload(t *testing.T) {
	t.Parallel()
	d, b := services(t, "", stay)
	config := func(text string) { d.configure("services:\n" + text) }
	const one, two, gone, down = "  one: {command: [DIR/serve]}\n", "  two: {command: [DIR/serve], instances: 2}\n", "  gone: {command: [DIR/serve]}\n", "  down: {command: [DIR/serve]}\n"
	config(one + two + gone + down)
	d.begin()
	pids := b.started(5)
	d.must("service", "stop", "down")
	delete(pids, "down@1")
	d.runs(pids) // then all that is to be compared is known

	before := d.instances()
	config("  # a comment\n" + two + gone + one + down)
	if out := d.must("reload"); strings.Contains(out, "@") {
		t.Errorf("a comment changes something: %s", out)
	}
	if after := d.instances(); !reflect.DeepEqual(after, before) {
		t.Errorf("%+v after a comment, and before %+v", after, before)
	}
	d.runs(pids)

	config("  one: {command: [DIR/serve], restart: \"no\", grace: 1s}\n" + two + gone + down)
	d.must("reload")
	d.runs(pids)
	config("  one: {command: [DIR/serve, more], restart: \"no\"}\n" + two + gone + down)
	d.must("reload")
	maps.Copy(pids, b.started(1))
	d.runs(pids)

	// A cycle is refused as a whole: what ran goes on, and nothing is stopped.
	config("  one: {command: [DIR/serve], after: [\"two:started\"]}\n  two: {command: [DIR/serve], after: [\"one:started\"]}\n")
	if o := d.atctl("reload"); o.status == 0 || !strings.Contains(o.out+o.err, "one -> two -> one") {
		t.Errorf("a cycle: %+v", o)
	}
	config("  one: {command: [DIR/serve]}\n  two:\n    command: [DIR/serve]\n    after:\n    - one\n")
	if o := d.atctl("reload"); o.status == 0 || !strings.Contains(o.out+o.err, "config.yaml:6: services.two.after: one (") || !strings.Contains(o.out+o.err, "write one:started") {
		t.Errorf("a service waits for the readiness of one that has no check of it: %+v", o)
	}
	d.runs(pids)

	config("  one: {command: [DIR/serve, more], restart: \"no\"}\n  two: {command: [DIR/serve]}\n" + down)
	d.must("reload")
	awaitGone(t, pids["gone@1"])
	awaitGone(t, pids["two@2"])
	delete(pids, "gone@1")
	delete(pids, "two@2")
	d.runs(pids)

	// The policy that was applied live is in force.
	if err := syscall.Kill(pids["one@1"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.serving("one@1", "down")
	d.serves("one@1 down, two@1 ready, down@1 down")
	b.quiet()
	d.Kill()
	d.begin()
	d.serves("one@1 down, two@1 ready, down@1 down")
	b.quiet()
}
