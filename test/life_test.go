package test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// gate returns a script that reports that it runs, and goes on when the test opens the
// gate.
func (d *daemon) gate(b *beacon) (script, file string) {
	d.t.Helper()
	file = d.shared("gate")
	if err := syscall.Mkfifo(file, 0o666); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		d.t.Fatal(err)
	}
	return d.script("gated", `echo "$1 $ACTIVATION_ID" >`+b.path+"\nread word <"+file+"\necho \"through $word\"\nexit 5\n"), file
}

// open lets one script through.
func (d *daemon) open(file, word string) {
	d.t.Helper()
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(file, []byte(word+"\n"), 0) }()
	select {
	case err := <-done:
		if err != nil {
			d.t.Fatal(err)
		}
	case <-time.After(patience):
		d.t.Fatal("nobody waits at the gate")
	}
}

// TestRunsOutliveTheDaemon ends the daemon in every way while a job runs and a lab is
// up. Runs go on, the results of those that end meanwhile are collected, and nothing
// runs twice.
func TestRunsOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"kill -9", "TERM", "atctl stop", "kill:15"} {
		for _, during := range []bool{false, true} {
			name := how
			if during {
				name += ", the run ends meanwhile"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d, b := lab(t, labConfig+"listen: [{address: '127.0.0.1:0', role: admin}]\n")
				p := d.Start()
				d.announce(resv{id: "1@x", start: time.Now(), end: time.Now().Add(time.Hour), devices: "r1"})
				if got := b.next(); got != "activate 1@x" {
					t.Fatal(got)
				}
				d.InState("1@x", "active")
				script, gate := d.gate(b)
				id := d.add("--", script, "job")
				b.next()
				wrapper := d.wrapperOf(id + ".activate.1")
				switch how {
				case "kill -9":
					d.Kill()
				case "TERM":
					d.stop()
				case "atctl stop":
					d.must("stop")
				case "kill:15":
					if got := ask(t, "tcp", d.tcp(), "kill\nkill:15\n\n"); !strings.HasPrefix(got, "200 ") {
						t.Errorf("kill:15 answers %q", got)
					}
				}
				d.AwaitGone(p)
				if d.wrapperOf(id+".activate.1") != wrapper || wrapper == 0 {
					t.Fatal("the run has not outlived the daemon")
				}
				if o := d.atctl("status"); o.status != 6 {
					t.Errorf("without a daemon, atctl status: %+v, want status 6", o)
				}
				if during {
					d.open(gate, "while it was away")
					awaitGone(t, wrapper)
					d.Start()
				} else {
					d.Start()
					if a := d.show(id); a.State != "activating" || len(a.Attempts) != 1 {
						t.Errorf("taken up again it is %s with %+v, want activating with one attempt", a.State, a.Attempts)
					}
					d.open(gate, "after it")
				}
				a := d.ended(id, "failed", 5)
				if len(a.Attempts) != 1 {
					t.Errorf("attempts %+v, want one", a.Attempts)
				}
				if log := d.must("log", id); !strings.HasPrefix(log, "through ") {
					t.Errorf("its log is %q", log)
				}
				if a := d.show("1@x"); a.State != "active" || len(a.Attempts) != 1 {
					t.Errorf("the lab is %s with %+v, want active with one attempt", a.State, a.Attempts)
				}
				b.quiet()
				d.must("cancel", "1@x")
				if got := b.next(); got != "deactivate 1@x" {
					t.Errorf("then %q, want deactivate 1@x", got)
				}
				d.ended("1@x", "cancelled", 125)
				d.nothingLeft()
			})
		}
	}
}

// TestDrain checks that a daemon which is drained starts nothing more, waits for its
// runs, and then ends; the next daemon does what is left.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"USR2", "atctl stop --drain", "TERM with --drain"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "")
			b := d.beacon()
			script, gate := d.gate(b)
			if how == "TERM with --drain" {
				d.Args = []string{"--drain"}
			}
			p := d.Start()
			id := d.add("--", script, "job")
			b.next()
			// Longer than it takes to ask for the draining, also on a slow machine.
			later := d.add("--in", "10s", "--", "sh", "-c", "echo later >"+b.path)
			switch how {
			case "USR2":
				d.signal(syscall.SIGUSR2)
			case "TERM with --drain":
				d.signal(syscall.SIGTERM)
			default:
				d.must("stop", "--drain")
			}
			// It says so before it has done anything else.
			for !d.status().Draining {
				if p.Exited() {
					t.Fatal("the daemon did not wait")
				}
			}
			if o := d.atctl("add", "--", "true"); o.status != 6 {
				t.Errorf("atctl add while draining: %+v, want status 6", o)
			}
			d.InState(later, "waiting")
			if p.Exited() {
				t.Fatal("the daemon did not wait")
			}
			b.quiet()
			d.open(gate, "now")
			d.AwaitGone(p)
			if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("drained, the daemon ended with status %d", code)
			}
			d.Args = nil
			d.Start()
			d.ended(later, "succeeded", 0)
			if got := b.next(); got != "later" {
				t.Error(got)
			}
			d.ended(id, "failed", 5)
			d.nothingLeft()
		})
	}
}

// TestDrainIsCutShort requests the stop a second time, and the daemon ends at once.
func TestDrainIsCutShort(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	b := d.beacon()
	script, gate := d.gate(b)
	d.Args = []string{"--drain"}
	p := d.Start()
	id := d.add("--", script, "job")
	b.next()
	d.signal(syscall.SIGTERM)
	for !d.status().Draining {
		if p.Exited() {
			t.Fatal("the daemon did not wait")
		}
	}
	d.signal(syscall.SIGTERM)
	d.AwaitGone(p)
	d.Start()
	d.open(gate, "now")
	d.ended(id, "failed", 5)
}

// TestUpgrade replaces the programs by another build while a job runs and a lab
// is up, and goes back again.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	d, b := lab(t, labConfig)
	next := d.dir + "/next"
	if err := os.Mkdir(next, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := harness.Build(next, "-ldflags", "-X main.buildVersion=upgraded"); err != nil {
		t.Fatal(err)
	}
	d.Start()
	before := d.status().Version
	d.announce(resv{id: "1@x", start: time.Now(), end: time.Now().Add(time.Hour), devices: "r1"})
	b.next()
	d.InState("1@x", "active")
	script, gate := d.gate(b)
	first := d.add("--", script, "job")
	b.next()
	d.stop()
	d.Bin = next
	d.Start()
	if v := d.status().Version; v != "upgraded" || v == before {
		t.Errorf("the version is %q after %q, want upgraded", v, before)
	}
	d.open(gate, "upgraded") // an old wrapper under a new daemon
	d.ended(first, "failed", 5)
	second := d.add("--", script, "job")
	b.next()
	d.Kill()
	d.Bin = harness.Bin
	d.Start()
	d.open(gate, "downgraded") // and the reverse
	d.ended(second, "failed", 5)
	d.must("cancel", "1@x")
	if got := b.next(); got != "deactivate 1@x" {
		t.Error(got)
	}
	d.ended("1@x", "cancelled", 125)
	d.nothingLeft()
}

// TestBackup makes a backup under load, goes on, loses the state file, and
// restores it as the documentation says.
func TestBackup(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "jobs: {environment: {MARKS: DIR/shared/marks}, backoff: {first: 100ms, max: 1s}}\n")
	d.Start()
	kept := make(map[string]bool)
	for range 50 {
		kept[d.add("--in", "1h", "--label", "kept", "--", "true")] = true
	}
	ran := d.add("--", "sh", "-c", mark)
	d.ended(ran, "succeeded", 0)

	enough := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			c := control.Client{Address: d.socket}
			defer func() { _ = c.Close() }()
			for {
				select {
				case <-enough:
					return
				default:
				}
				in := control.AddIn{Arg: []string{"sh", "-c", mark}, Label: "load"}
				if _, _, err := control.Call[control.AddOut](t.Context(), &c, "add", in); err != nil {
					t.Errorf("add while a backup is made: %v", err)
					return
				}
			}
		})
	}
	file := d.dir + "/backup.db"
	for i := range 3 {
		d.must("backup", fmt.Sprintf("%s.%d", file, i))
	}
	d.must("backup", file)
	close(enough)
	load.Wait()
	after := d.add("--in", "1h", "--", "true")
	d.must("cancel", after)

	d.stop()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.state + "/state.db"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.state+"/state.db", data, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Start()
	for id := range kept {
		if a := d.show(id); a.State != "scheduled" || a.Label != "kept" {
			t.Errorf("%s is %s %q after the restore, want scheduled", id, a.State, a.Label)
		}
	}
	if a := d.show(ran); a.Outcome != "succeeded" || len(a.Attempts) != 1 {
		t.Errorf("%s is %s with %+v after the restore, want succeeded with its one attempt", ran, a.Outcome, a.Attempts)
	}
	if o := d.atctl("show", after); o.status != 3 {
		t.Errorf("%s, of after the backup: %+v, want that it is not known", after, o)
	}
	// Numbers are given again. What their namesakes left is not in the way.
	for range 20 {
		id := d.add("--", "true")
		if kept[id] {
			t.Errorf("the number %s is given again", id)
		}
		d.ended(id, "succeeded", 0)
	}
	for l := range strings.Lines(d.must("list", "--all", "--json") + "\n") {
		if strings.TrimSpace(l) == "" {
			continue
		}
		if a := parse[control.Activation](t, l); a.State != "finished" && !kept[a.ID] {
			d.wait(a.ID)
		}
	}
	d.nothingLeft()
}

// TestMissed is about activations that become due while no daemon runs.
func TestMissed(t *testing.T) {
	t.Parallel()
	var d *daemon
	var b *beacon
	var at, hour time.Time
	var soon, skip string
	// The daemon is to be away by the instants. A slow machine gets more time for that.
	for lead := 2 * time.Second; time.Now().After(at); lead *= 2 {
		d, b = lab(t, labConfig)
		d.Start()
		at, hour = time.Now().Add(lead), time.Now().Add(time.Hour)
		soon = d.add("--at", at.Format(time.RFC3339Nano), "--", "sh", "-c", "echo soon >"+b.path)
		skip = d.add("--missed", "skip", "--at", at.Format(time.RFC3339Nano), "--", "sh", "-c", "echo skip >"+b.path)
		d.announce(
			resv{id: "1@x", start: at, end: at.Add(100 * time.Millisecond), devices: "r1"},
			resv{id: "2@x", start: at, end: hour, devices: "r2"},
		)
		d.stop()
	}
	time.Sleep(time.Until(at.Add(200 * time.Millisecond))) // the instants have to pass, whatever happens
	d.Start()
	d.ended(soon, "succeeded", 0)
	d.ended(skip, "succeeded", 0) // so little late is on time
	a := d.ended("1@x", "missed", 125)
	if len(a.Attempts) != 0 || !strings.Contains(a.Reason, "slot") {
		t.Errorf("a slot that passed: %+v (%s), want no attempt and why", a.Attempts, a.Reason)
	}
	d.InState("2@x", "active")
	told := map[string]bool{b.next(): true, b.next(): true, b.next(): true}
	for _, want := range []string{"soon", "skip", "activate 2@x"} {
		if !told[want] {
			t.Errorf("the scripts told %v, want %q among them", told, want)
		}
	}
	b.quiet()

	ago := time.Now().Add(-5 * time.Minute)
	d.announce(
		resv{id: "2@x", start: at, end: hour, devices: "r2"},
		resv{id: "3@x", start: ago, end: hour, devices: "r3", more: "  missed: skip\n"},
		resv{id: "4@x", start: ago, end: hour, devices: "r4", more: "  missed: run\n"},
		resv{id: "5@x", start: ago, end: ago.Add(time.Minute), devices: "r5"},
	)
	d.ended("3@x", "missed", 125)
	d.InState("4@x", "active")
	if got := b.next(); got != "activate 4@x" {
		t.Errorf("%q, want activate 4@x", got)
	}
	if o := d.atctl("show", "5@x"); o.status != 3 {
		t.Errorf("a slot that was over when it was announced: %+v, want that nothing is known of it", o)
	}
	b.quiet()
}

// TestOneDevice checks that the second reservation of a device waits, reports for whom,
// and starts only when the deactivation of the first one has been verified.
func TestOneDevice(t *testing.T) {
	t.Parallel()
	d, b := lab(t, labConfig)
	_, gate := d.gate(b)
	d.script("deactivate", `echo "deactivate $ACTIVATION_ID $ACTIVATION_ATTEMPT" >`+b.path+"\nread word <"+gate+"\n[ $word = ok ]\n")
	d.Start()
	now := time.Now()
	hour := now.Add(time.Hour)
	first, fourth := resv{id: "1@x", start: now, end: hour, devices: "r1, r2"}, resv{id: "4@x", start: now, end: hour, devices: "r4"}
	d.announce(first, fourth)
	told := map[string]bool{b.next(): true, b.next(): true}
	if !told["activate 1@x"] || !told["activate 4@x"] {
		t.Fatalf("first came %v", told)
	}
	end := time.Now().Add(500 * time.Millisecond)
	first.end = end
	second, third := resv{id: "2@x", start: end, end: hour, devices: "r2, r3"}, resv{id: "3@x", start: end, end: hour, devices: "r2"}
	d.announce(first, second, third, fourth)
	if got := b.next(); got != "deactivate 1@x 1" {
		t.Fatalf("then %q", got)
	}
	a := d.InState("2@x", "waiting")
	if text := strings.Join(a.WaitsFor, "; "); !strings.Contains(text, "r2") || !strings.Contains(text, "1@x") {
		t.Errorf("2@x waits for %q, want that it names the device and its holder", text)
	}
	if why := d.must("why", "2@x"); !strings.Contains(why, "1@x") {
		t.Errorf("atctl why says\n%s\nwant the holder in it", why)
	}
	d.Kill() // locks are not lost
	d.Start()
	d.open(gate, "bad") // not proved yet
	if got := b.next(); got != "deactivate 1@x 2" {
		t.Fatalf("then %q, want the next attempt", got)
	}
	b.quiet()
	d.InState("3@x", "waiting")
	third.end = time.Now().Add(500 * time.Millisecond)
	d.announce(first, second, third, fourth)
	if a := d.ended("3@x", "missed", 125); len(a.Attempts) != 0 || !strings.Contains(a.Reason, "r2") {
		t.Errorf("3@x, whose slot ended while it waited: %s, %+v", a.Reason, a.Attempts)
	}
	d.open(gate, "ok")
	if got := b.next(); got != "activate 2@x" {
		t.Fatalf("then %q, want activate 2@x", got)
	}
	d.ended("1@x", "succeeded", 0)
	d.InState("2@x", "active")
	one, two := d.show("1@x"), d.show("2@x")
	if last := one.Attempts[len(one.Attempts)-1]; two.Attempts[0].Started.Before(last.Ended) {
		t.Errorf("2@x started at %v, before 1@x was down at %v", two.Attempts[0].Started, last.Ended)
	}
	for _, id := range []string{"2@x", "4@x"} { // one at a time: bytes go to anybody who reads
		d.must("cancel", id)
		d.open(gate, "ok")
		d.ended(id, "cancelled", 125)
	}
	d.nothingLeft()
}

// TestStuck uses up a deactivation's attempts, and tries the ways out.
func TestStuck(t *testing.T) {
	t.Parallel()
	d, b := lab(t, strings.Replace(labConfig, "retries: 0,", "retries: 0, deactivate_retries: 1,", 1))
	d.script("deactivate", `echo "deactivate $ACTIVATION_ID $ACTIVATION_ATTEMPT" >`+b.path+"\n[ -e "+d.shared("healed")+" ]\n")
	d.Start()
	now := time.Now()
	one := resv{id: "1@x", start: now, end: now.Add(time.Hour), devices: "r1"}
	two := resv{id: "2@x", start: now, end: now.Add(time.Hour), devices: "r2"}
	d.announce(one, two)
	d.InState("1@x", "active")
	d.InState("2@x", "active")
	one.end, two.end = time.Now(), time.Now()
	d.announce(one, two)
	for _, id := range []string{"1@x", "2@x"} {
		if a := d.InState(id, "stuck"); len(a.Attempts) != 3 {
			t.Errorf("%s is stuck after %+v, want activate and two of deactivate", id, a.Attempts)
		}
	}
	d.Kill()
	d.Start()
	d.must("forgive", "1@x")
	if a := d.ended("1@x", "succeeded", 0); !strings.Contains(a.Reason, "forgiven") {
		t.Errorf("forgiven, its reason is %q", a.Reason)
	}
	if err := os.WriteFile(d.shared("healed"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d.must("retry", "2@x")
	d.ended("2@x", "succeeded", 0)
	d.nothingLeft()
}

// TestPowerLoss gives the daemon another boot id, as after a loss of power: runs are
// lost, and a lab whose slot lasts is undone and activated again.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "unshare", "mount")
	d, b := lab(t, labConfig)
	d.Start()
	d.announce(resv{id: "1@x", start: time.Now(), end: time.Now().Add(time.Hour), devices: "r1"})
	b.next()
	d.InState("1@x", "active")
	script, _ := d.gate(b)
	id := d.add("--", script, "job")
	b.next()
	// The power goes: everything ends at once.
	d.Kill()
	for _, pid := range append(d.wrappers(), d.marked()...) {
		killPID(t, pid)
		awaitGone(t, pid)
	}
	d.removeCgroup()
	if err := os.WriteFile(d.dir+"/boot_id", []byte("11111111-2222-3333-4444-555555555555\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.Prefix = []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, d.dir + "/boot_id"}
	d.Start()
	d.ended(id, "lost", 125)
	for _, want := range []string{"deactivate 1@x", "activate 1@x"} {
		if got := b.next(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	d.InState("1@x", "active")
	d.must("cancel", "1@x")
	d.ended("1@x", "cancelled", 125)
	d.nothingLeft()
}

// connected counts the connections to the control socket.
func (d *daemon) connected() (n int) {
	d.t.Helper()
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		d.t.Fatal(err)
	}
	for l := range strings.Lines(string(data)) {
		// Num RefCount Protocol Flags Type St Inode Path; the client's end has no path
		if f := strings.Fields(l); len(f) == 8 && f[5] == "03" && f[7] == d.socket {
			n++
		}
	}
	return n
}

// TestWaitersOutliveTheDaemon ends the daemon in every way while one client waits for a
// job and others follow its output and the events. The client that waits gets the job's
// exit status from the next daemon, and the one that follows the output all of it. The
// one that follows the events reports that the daemon has ended, and no other error.
func TestWaitersOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"kill -9", "TERM", "atctl stop"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "")
			b := d.beacon()
			script, file := d.gate(b)
			p := d.Start()
			id := d.add("--", script)
			if got := b.next(); got != " "+id {
				t.Fatalf("the script says %q", got)
			}
			var asked sync.WaitGroup
			var waiter, follower, listener output
			asked.Go(func() { waiter = d.atctl("wait", id) })
			asked.Go(func() { follower = d.atctl("log", "-f", id) })
			asked.Go(func() { listener = d.atctl("events") })
			for end := time.Now().Add(patience); d.connected() < 3; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("they do not ask")
				}
			}
			switch how {
			case "kill -9":
				d.Kill()
			case "TERM":
				d.signal(syscall.SIGTERM)
			case "atctl stop":
				d.must("stop")
			}
			if how != "kill -9" {
				d.AwaitGone(p)
			}
			d.Start()
			d.open(file, "a word")
			asked.Wait()
			if waiter.status != 5 {
				t.Errorf("wait exits with %d: %s", waiter.status, waiter.err)
			}
			if follower.status != 0 || follower.out != "through a word\n" {
				t.Errorf("log -f exits with %d and prints %q: %s", follower.status, follower.out, follower.err)
			}
			if listener.status != 6 || strings.Contains(listener.err, "fault") {
				t.Errorf("events exits with %d: %s", listener.status, listener.err)
			}
		})
	}
}
