package test

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

var oldBuild = flag.String("old", "", "TestOldState: the directory with the programs of an older build, whose state is opened; none: this build's own")

// TestOldState makes a state with an older build, in which there is something of every
// kind and state, and runs go on; the daemon is killed, and this build's goes on with
// it. What users see of each activation is what it was, and all of it comes to the end
// that it would have come to.
func TestOldState(t *testing.T) {
	t.Parallel()
	d, b := lab(t, labConfig)
	if *oldBuild != "" {
		d.Bin = *oldBuild
	}
	d.Start()
	oldVersion := d.status().Version
	fails := d.script("fails", "exit 3\n")

	// Reservations: one is up, one failed to come up, one is to be.
	hour := time.Now().Add(time.Hour)
	up := resv{id: "up@x", start: time.Now(), end: hour, devices: "r1, r2"}
	failed := resv{id: "failed@x", start: time.Now(), end: hour, devices: "r3", more: "  activate: [" + fails + "]\n  retries: 0\n"}
	coming := resv{id: "coming@x", start: hour, end: hour.Add(time.Hour), devices: "r1"}
	d.announce(up, failed, coming)
	if got, want := slices.Sorted(slices.Values([]string{b.next(), b.next()})), []string{"activate up@x", "deactivate failed@x"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	d.InState("up@x", "active")
	d.InState("failed@x", "finished")

	// Jobs: over, running, waiting for a lock, for another job, held, to come.
	script, gate := d.gate(b)
	succeeded := d.add("--label", "over", "--tag", "a,b", "--", "true")
	d.ended(succeeded, "succeeded", 0)
	broken := d.add("--retries", "0", "--", fails)
	d.ended(broken, "failed", 3)
	running := d.add("--lock", "disk", "--", script, "job")
	if got, want := b.next(), "job "+running; got != want {
		t.Fatalf("%q, want %q", got, want)
	}
	shared := d.add("--lock", "disk", "--priority", "5", "--", "true")
	d.InState(shared, "waiting")
	after := d.add("--after", running+":failure", "--", "true")
	d.InState(after, "waiting")
	held := d.add("--hold", "--", "true")
	d.InState(held, "held")
	later := d.add("--in", "30m", "--stdin", d.write("input", "some input\n", 0o644), "--env", "A=b", "--", "cat")
	again := d.add("--retries", "1", "--backoff", "1h", "--", fails)
	d.Until(again, "waiting for another attempt", func(a control.Detail) bool { return a.State == "waiting" && len(a.Attempts) == 1 })

	// What recurs, and VLANs.
	d.must("every", "add", "nightly", "--cron", "30 3 * * *", "--lock", "tape:shared", "--", "true")
	d.must("every", "add", "held", "--every", "1h", "--", "true")
	d.must("every", "hold", "held")
	d.ended(strings.TrimSpace(d.must("every", "run", "nightly")), "succeeded", 0)

	ids := []string{"up@x", "failed@x", "coming@x", succeeded, broken, running, shared, after, held, later, again}
	views := func() (lines []string) {
		for _, args := range [][]string{{"list", "--all", "--json"}, {"locks", "--json"}, {"every", "list", "--json"}, {"every", "show", "nightly", "--json"}} {
			lines = append(lines, strings.Split(strings.TrimSpace(d.must(args...)), "\n")...)
		}
		for _, id := range ids {
			lines = append(lines, d.must("show", id, "--json"), history(d.must("why", id)))
		}
		return lines
	}
	// An older build's fields must be there, with their values; further ones may be.
	was := views()
	d.Kill()
	d.Bin = harness.Bin
	d.Start()
	if v := d.status().Version; *oldBuild != "" && v == oldVersion {
		t.Errorf("the version is %q, as it was", v)
	}
	is := views()
	if len(was) != len(is) {
		t.Fatalf("%d lines, and %d before", len(is), len(was))
	}
	for i := range was {
		if missing := fieldsLost(was[i], is[i]); len(missing) > 0 {
			t.Errorf("it was\n%s\nand is\n%s\nlost: %v", was[i], is[i], missing)
		}
	}

	// All goes on.
	d.open(gate, "the gate")
	d.ended(running, "failed", 5)
	d.ended(shared, "succeeded", 0)
	d.ended(after, "succeeded", 0)
	d.must("release", held)
	d.ended(held, "succeeded", 0)
	d.must("run", later)
	d.ended(later, "succeeded", 0)
	d.must("cancel", again)
	d.ended(again, "cancelled", 125)
	d.must("retry", broken)
	d.ended(broken, "failed", 3)
	d.must("cancel", "up@x")
	d.ended("up@x", "cancelled", 125)
	d.must("cancel", "coming@x")
	d.must("every", "release", "held")
	d.must("every", "remove", "held", "nightly")
	next := d.add("--", "true")
	d.ended(next, "succeeded", 0)
	if slices.Contains(ids, next) {
		t.Errorf("the number %s was given again", next)
	}
	d.nothingLeft()
	_ = os.Remove(gate)
}

// history returns the lines of an explanation that have a time, as what has happened
// has. In which words the others say what comes next may change.
func history(why string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(why, "\n"), func(line string) bool {
		return !strings.HasPrefix(line, "20")
	}), "\n")
}

// fieldsLost lists the fields of the JSON object was that is has not, or with another
// value. What is no JSON is compared as text.
func fieldsLost(was, is string) (lost []string) {
	var a, b map[string]any
	if json.Unmarshal([]byte(was), &a) != nil || json.Unmarshal([]byte(is), &b) != nil {
		if was != is {
			lost = append(lost, "the text")
		}
		return lost
	}
	for name, value := range a {
		if !holds(b[name], value) {
			lost = append(lost, name)
		}
	}
	return lost
}

// holds reports whether is has all of was: objects may have further fields.
func holds(is, was any) bool {
	switch was := was.(type) {
	case map[string]any:
		is, ok := is.(map[string]any)
		for name, value := range was {
			ok = ok && holds(is[name], value)
		}
		return ok
	case []any:
		is, ok := is.([]any)
		if !ok || len(is) != len(was) {
			return false
		}
		for i := range was {
			if !holds(is[i], was[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(is, was)
}
