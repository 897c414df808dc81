package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// fakeLoad gives the daemon a load average of the test's own, by a mount namespace, and
// returns a function that sets it.
func (d *daemon) fakeLoad() func(load string) {
	d.t.Helper()
	needRoot(d.t)
	needProgram(d.t, "unshare")
	file := d.dir + "/loadavg"
	set := func(load string) {
		d.t.Helper()
		if err := os.WriteFile(file, []byte(load+" 9.00 9.00 1/1 1\n"), 0o644); err != nil { // in place: it is mounted
			d.t.Fatal(err)
		}
	}
	set("9.00")
	d.Prefix = []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /proc/loadavg && exec "$@"`, file}
	return set
}

// decided returns when an activation came into a state, as the daemon recorded it.
func (d *daemon) decided(id, state string) (at time.Time) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	found := errors.New("found")
	err := control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: harness.AllEvents}, func(e control.Event) error {
		if e.ID == id && e.What == "state" && e.State == state {
			at = e.Time
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		d.t.Fatalf("no event says that %s is %s: %v", id, state, err)
	}
	return at
}

// TestBatch checks that batch jobs, and jobs of queues with an uppercase letter once
// they are due, wait for a low load average and start one after the other.
func TestBatch(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "at: {load: 1.5, interval: 1s, deny: /dev/null, sendmail: DIR/none}\n")
	bin, b, load := d.installAt(), d.beacon(), d.fakeLoad()
	d.Start()
	tell := func(word string) string { return fmt.Sprintf("echo %s >%s\n", word, b.path) }
	o := d.run(tell("first"), bin+"/batch")
	first := jobLine.FindStringSubmatch(o.err)[1]
	second := d.at(bin, tell("second"), "-q", "C", "now")
	other := d.at(bin, tell("other"), "now")
	if got := b.next(); got != "other" {
		t.Fatalf("%q runs while the load average is high", got)
	}
	d.ended(other, "succeeded", 0)
	d.Until(first, "waiting for the load average", func(a control.Detail) bool {
		return a.State == "waiting" && len(a.WaitsFor) == 1 && strings.Contains(a.WaitsFor[0], "a load average below 1.5 (it is 9.00)")
	})
	if why := d.must("why", second); !strings.Contains(why, "a load average below 1.5") {
		t.Errorf("atctl why says\n%s, want the load average", why)
	}
	if list := d.run("", bin+"/atq").out; strings.Count(list, " b ") != 1 || strings.Count(list, " C ") != 1 {
		t.Errorf("atq says\n%s, want a job in b and one in C", list)
	}
	d.Kill()
	d.Start()
	load("1.49")
	if told := map[string]bool{b.next(): true, b.next(): true}; !told["first"] || !told["second"] { // their order is seen below
		t.Errorf("there run %v, want first and second", told)
	}
	d.ended(first, "succeeded", 0)
	d.ended(second, "succeeded", 0)
	if pause := d.decided(second, "activating").Sub(d.decided(first, "activating")); pause < time.Second {
		t.Errorf("the second was let go %v after the first, want an interval between them", pause)
	}

	load("1.50")
	third := d.at(bin, tell("third"), "-q", "b", "now")
	fourth := d.at(bin, tell("fourth"), "-b")
	d.InState(third, "waiting")
	d.InState(fourth, "waiting")
	if o := d.run("", bin+"/atrm", third); o.status != 0 || o.err != "" {
		t.Errorf("atrm of one that waits: %+v", o)
	}
	d.must("run", fourth)
	if got := b.next(); got != "fourth" {
		t.Errorf("%q runs, want the one that atctl run was asked for", got)
	}
	d.ended(fourth, "succeeded", 0)
	d.ended(third, "cancelled", 125)
	b.quiet()
}
