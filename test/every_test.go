package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// recurring is the script of recurrences here: it writes one line for each attempt and
// sleeps as long as its argument says.
const recurring = `printf '%s %s %s %s\n' "$ACTIVATION_RECURRENCE" "$ACTIVATION_OCCURRENCE" "$ACTIVATION_ID" "$ACTIVATION_ATTEMPT" >>"$MARKS"
exec sleep "$1"
`

// jitter is one recurrence's.
const jitter = 300 * time.Millisecond

// An everyRule is a recurrence under test, with the outcomes that its occurrences may
// have.
type everyRule struct {
	name     string
	args     []string // of atctl every add; none: it is declared
	period   time.Duration
	outcomes string // that its activations may have
	skips    bool   // some may be skipped though the daemon runs
}

// TestRecurrencesSurviveKills kills the daemon repeatedly while several recurrences are
// due every second. It compares what the daemon reports of each occurrence with what
// the scripts left outside of it: each occurrence has one record, and ran as often as
// the record says.
func TestRecurrencesSurviveKills(t *testing.T) {
	const killed = 40
	random := harness.Random(t)
	d := newDaemon(t, `
jobs: {timeout: 10m, grace: 100ms, environment: {MARKS: DIR/shared/marks}}
recurrences:
  - {name: declared, cron: "* * * * * *", overlap: parallel, command: [DIR/recurring, "0.1"]}
`)
	script := d.script("recurring", recurring)
	d.Start()
	d.must("reload") // kills do not keep the first load from being done
	rules := []everyRule{
		{"declared", nil, time.Second, "succeeded", false},
		{"parallel", []string{"--every", "1s", "--overlap", "parallel", "--jitter", jitter.String(), "--", script, "1.7"}, time.Second, "succeeded", false},
		{"skip", []string{"--cron", "* * * * * *", "--overlap", "skip", "--", script, "1.3"}, time.Second, "succeeded", true},
		{"queue", []string{"--calendar", "*:*:00/2", "--overlap", "queue", "--", script, "1"}, 2 * time.Second, "succeeded", false},
		{"replace", []string{"--every", "1s", "--overlap", "replace", "--", script, "0.95"}, time.Second, "succeeded cancelled", false},
	}
	for _, r := range rules[1:] {
		d.must(append([]string{"every", "add", r.name}, r.args...)...)
	}
	for n := range killed {
		p := d.Newest()
		select {
		case <-p.Gone:
			t.Fatalf("the daemon ended by itself: %v", p.Err)
		case <-time.After(time.Duration(random.Int64N(int64(700 * time.Millisecond)))):
		}
		d.Kill()
		if p = d.Launch(); n < killed-1 && random.IntN(4) == 0 {
			continue // and again, while it starts
		}
		if err := d.Ready(p); err != nil {
			t.Fatalf("after %d kills: %v", n+1, err)
		}
	}
	held := time.Now()
	for _, r := range rules {
		d.must("every", "hold", r.name)
	}
	marks := d.marks()
	for _, r := range rules {
		d.judgeRecurrence(&r, marks, held)
	}
}

// marks counts the attempts that left a line, by "NAME OCCURRENCE ID".
func (d *daemon) marks() map[string]int {
	d.t.Helper()
	for _, a := range d.listed("--state", "waiting,activating") {
		d.wait(a.ID)
	}
	n := make(map[string]int)
	seen := make(map[string]bool)
	for line := range strings.Lines(d.read(d.shared("marks"))) {
		if seen[line] {
			d.t.Errorf("an attempt ran twice: %s", line)
		}
		seen[line] = true
		f := strings.Fields(line)
		at, err := time.Parse(time.RFC3339Nano, f[1])
		if err != nil || len(f) != 4 {
			d.t.Fatalf("a mark that is none: %q, %v", line, err)
		}
		n[f[0]+" "+at.UTC().Format(time.RFC3339Nano)+" "+f[2]]++
	}
	return n
}

// listed returns the output of atctl list.
func (d *daemon) listed(args ...string) (all []control.Activation) {
	d.t.Helper()
	for line := range strings.Lines(d.must(append([]string{"list", "--json"}, args...)...)) {
		all = append(all, parse[control.Activation](d.t, line))
	}
	return all
}

// judgeRecurrence compares the marks with what the daemon reports about the occurrences
// of a recurrence, which was held at the given time.
func (d *daemon) judgeRecurrence(r *everyRule, marks map[string]int, held time.Time) {
	d.t.Helper()
	v := parse[control.RecurrenceDetail](d.t, d.must("every", "show", r.name, "--json"))
	records := make(map[time.Time]int)
	var first, last time.Time
	note := func(at time.Time) {
		at = at.UTC()
		records[at]++
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	jobs := d.listed("--all", "--every", r.name)
	for _, a := range jobs {
		note(a.Occurrence)
		if a.State != "finished" || !strings.Contains(r.outcomes, a.Outcome) {
			d.t.Errorf("%s: %s of %v is %s %s: %s", r.name, a.ID, a.Occurrence, a.State, a.Outcome, a.Reason)
		}
		attempts := 0
		for _, at := range d.show(a.ID).Attempts {
			if !at.Started.IsZero() {
				attempts++
			}
		}
		key := r.name + " " + a.Occurrence.UTC().Format(time.RFC3339Nano) + " " + a.ID
		if marks[key] != attempts && (a.Outcome == "succeeded" || marks[key] > attempts) { // one that is stopped may not come to its mark
			d.t.Errorf("%s: %s left %d marks, and had %d attempts", r.name, a.ID, marks[key], attempts)
		}
		delete(marks, key)
	}
	for _, s := range v.Skips {
		// On a slow machine a restart may take longer than from one to the next.
		if !r.skips && !strings.HasPrefix(s.Reason, "nothing could run at its time: the daemon was down") {
			d.t.Errorf("%s: skipped %+v", r.name, s)
		}
		n := uint64(0)
		for at := s.From; !at.After(s.To); at = at.Add(r.period) {
			note(at)
			n++
		}
		if n != s.Count {
			d.t.Errorf("%s: %+v has %d occurrences", r.name, s, n)
		}
	}
	if first.Sub(v.Created) > r.period || held.Sub(last) > r.period+jitter {
		d.t.Errorf("%s: added at %v and held at %v, it has records from %v to %v", r.name, v.Created, held, first, last)
	}
	for at := first; !at.After(last); at = at.Add(r.period) {
		if records[at] != 1 {
			d.t.Errorf("%s: the occurrence %v has %d records", r.name, at, records[at])
		}
		delete(records, at)
	}
	for at := range records {
		d.t.Errorf("%s: there is no occurrence %v", r.name, at)
	}
	if v.Begun != uint64(len(jobs)) || len(jobs) < 5 {
		d.t.Errorf("%s: %d activations, counted %d", r.name, len(jobs), v.Begun)
	}
	for key := range marks {
		if strings.HasPrefix(key, r.name+" ") {
			d.t.Errorf("a mark without a record: %s", key)
		}
	}
	d.t.Logf("%s: %d ran, %d were skipped", r.name, v.Begun, v.Skipped)
}

// TestDeclaredRecurrences changes what the configuration declares, and reloads.
func TestDeclaredRecurrences(t *testing.T) {
	t.Parallel()
	const head = "jobs: {timeout: 10m}\nrecurrences:\n"
	d := newDaemon(t, head+"  - {name: a, every: 1h, command: [DIR/tell]}\n  - {name: b, cron: '@daily', script: 'exit 1'}\n")
	b := d.beacon()
	d.script("tell", "echo $ACTIVATION_RECURRENCE $PWD >"+b.path+"\n")
	d.Start()
	d.must("reload") // a daemon that is ready may still read its configuration
	reload := func(config, want string) {
		t.Helper()
		d.configure(head + config)
		if o := d.atctl("reload"); !strings.Contains(o.out+o.err, want) {
			t.Errorf("reload says %q, want %q", o.out+o.err, want)
		}
	}
	reload("  - {name: a, every: 1h, command: [DIR/tell]}\n  - {name: b, cron: '@daily', script: 'exit 1'}\n", "added=0 changed=0 removed=0")
	d.must("every", "hold", "b")
	d.ended(d.must("every", "run", "a"), "succeeded", 0)
	if got := b.next(); !strings.HasPrefix(got, "a /") {
		t.Errorf("it told %q", got)
	}
	reload("  - {name: a, every: 2h, command: [DIR/tell], directory: DIR/shared}\n  - {name: b, cron: '@weekly', script: 'exit 1'}\n", "added=0 changed=2 removed=0")
	if v := parse[control.Recurrence](t, d.must("every", "show", "b", "--json")); v.State != "held" || v.When != "cron @weekly" {
		t.Errorf("after the reload it is %+v", v)
	}
	d.ended(d.must("every", "run", "a"), "succeeded", 0)
	if got := b.next(); got != "a "+d.dir+"/shared" {
		t.Errorf("it told %q", got)
	}
	if o := d.atctl("every", "remove", "a"); o.status != 4 {
		t.Errorf("removing what is declared: %+v", o)
	}
	reload("  - {name: b, cron: '61 * * * *', script: 'exit 1'}\n", "minute: want 0 to 59") // and nothing changes
	reload("  - {name: b, cron: '@weekly', script: 'exit 1'}\n", "removed=1")
	if o := d.atctl("every", "show", "a"); o.status != 3 {
		t.Errorf("what was removed: %+v", o)
	}
}

// TestWhoRecurs has another user add a recurrence to root's daemon.
func TestWhoRecurs(t *testing.T) {
	needRoot(t)
	needProgram(t, "setpriv")
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	as := func(args ...string) output {
		t.Helper()
		return d.run("", append([]string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups", d.Bin + "/atctl"}, args...)...)
	}
	out := d.shared("id")
	d.must("every", "add", "roots", "--every", "1h", "--", "true")
	if o := as("every", "add", "mine", "--every", "1h", "--dir", "/", "--", "sh", "-c", "id -u >"+out); o.status != 0 {
		t.Fatalf("adding: %+v", o)
	}
	o := as("every", "run", "mine")
	if o.status != 0 {
		t.Fatalf("running: %+v", o)
	}
	d.ended(strings.TrimSpace(o.out), "succeeded", 0)
	if got := strings.TrimSpace(d.read(out)); got != fmt.Sprint(nobody) {
		t.Errorf("it ran as %s", got)
	}
	for _, verb := range []string{"hold", "release", "run", "remove"} {
		if o := as("every", verb, "roots"); o.status != 5 {
			t.Errorf("%s of root's as nobody: %+v, want status 5", verb, o)
		}
	}
	if o := as("every", "remove", "mine"); o.status != 0 {
		t.Errorf("removing: %+v", o)
	}
}
