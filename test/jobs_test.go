package test

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
)

// TestAroundAJob checks what add, edit, locks and progress print about jobs that wait
// for each other. The test decides when their scripts end.
func TestAroundAJob(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "history: {count: 1000, size: 1GiB}\n")
	d.Start()
	gates := []string{d.shared("first"), d.shared("second")}
	for _, file := range gates {
		if err := syscall.Mkfifo(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := d.script("gated", `read word <"$1"`+"\n")

	one := d.add("--lock", "net=3/4", "--tag", "lab,x", "--label", "one", "--", script, gates[0])
	d.InState(one, "activating")
	two := d.add("--lock", "net=1/4", "--", script, gates[1])
	d.InState(two, "activating")
	low := d.add("--lock", "net", "--", "true")
	d.InState(low, "waiting")
	high := d.add("--lock", "net", "--priority", "5", "--", "true")
	d.InState(high, "waiting")
	then := d.add("--after", high, "--after", low, "--", "false")
	never := d.add("--after", then, "--", "true")
	instead := d.add("--after", then+":failure", "--", "true")
	d.InState(instead, "waiting")

	picture := strings.Join([]string{
		one + " holds net=3/4", "├─ " + high + " waits for net", "└─ " + low + " waits for net",
		two + " holds net=1/4", "├─ " + high + " waits for net", "└─ " + low + " waits for net",
	}, "\n")
	if got := d.must("locks"); got != picture {
		t.Errorf("locks draws\n%s\nwant\n%s", got, picture)
	}
	var locks []string
	for line := range strings.Lines(d.must("locks", "--json")) {
		var l control.Lock
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		locks = append(locks, l.ID+" "+l.What+" "+l.Want)
	}
	if want := []string{one + " holds net=3/4", two + " holds net=1/4", high + " waits net", low + " waits net"}; !slices.Equal(locks, want) {
		t.Errorf("locks tells %q, want %q", locks, want)
	}

	d.must("progress", "--id", one, "--percent", "40", "half way")
	if got := d.must("list", "--tag", "x,lab"); !strings.Contains(got, "40 % half way") || strings.Count(got, "\n") != 1 {
		t.Errorf("list --tag says\n%s", got)
	}
	d.must("edit", low, "--priority", "9", "--label", "now the first")
	for _, tt := range []struct {
		args   []string
		status int
		words  string
	}{
		{[]string{"edit", one, "--label", "x"}, 4, "cannot edit: it is running"},
		{[]string{"edit", low}, 2, "nothing to change"},
		{[]string{"edit", low, "--clear", "owner"}, 2, "clear: want one of"},
		{[]string{"edit", low, "true"}, 2, "write a new command after --"},
		{[]string{"edit", "99", "--label", "x"}, 3, "there is no job 99"},
		{[]string{"add", "--lock", "net=5/4", "--", "true"}, 2, "net=1/4"},
		{[]string{"add", "--after", "99", "--", "true"}, 3, "there is no job 99"},
		{[]string{"add", "--in", "1h", "--deadline", "nonsense", "--", "true"}, 2, "deadline: want a duration"},
		{[]string{"progress", "--id", low, "x"}, 4, "none of its scripts runs"},
		{[]string{"progress", "x"}, 2, "ACTIVATION_ID"},
		{[]string{"add", "--tag", "x\ny", "--", "true"}, 2, "tag: "},
		{[]string{"add", "--deadline", "@1000000000", "--", "true"}, 2, "in the past"},
	} {
		if out := d.atctl(tt.args...); out.status != tt.status || !strings.Contains(out.err, tt.words) {
			t.Errorf("atctl %q: status %d, %q; want %d, %q", tt.args, out.status, out.err, tt.status, tt.words)
		}
	}
	for _, file := range gates {
		d.open(file, "go")
	}
	d.ended(one, "succeeded", 0)
	d.ended(then, "failed", 1)
	d.ended(instead, "succeeded", 0)
	d.ended(never, "cancelled", 125)
	begun := func(id string) int64 { return d.show(id).Attempts[0].Started.UnixNano() }
	if begun(low) > begun(high) {
		t.Error("the edited priority does not hold")
	}
	if p := d.show(one).Progress; p != nil {
		t.Errorf("what has ended is %+v", p)
	}
}

// TestDeadlineOfAJob checks that a deadline ends a running job and a waiting one.
func TestDeadlineOfAJob(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	b := d.beacon()
	holds := d.add("--lock", "a", "--", "sh", "-c", "echo held >"+b.path+"; exec sleep 86400")
	b.next()
	waits := d.add("--deadline", "1s", "--lock", "a", "--", "true")
	d.ended(waits, "missed", 125)
	d.must("cancel", holds)
	d.ended(holds, "cancelled", 125)
	for deadline := 2 * time.Second; ; deadline *= 2 {
		_, a := d.wait(d.add("--deadline", deadline.String(), "--grace", "100ms", "--", "sleep", "86400"))
		if a.Outcome == "missed" && deadline < patience {
			t.Logf("it did not even begin within %v", deadline)
			continue
		}
		if a.Outcome != "timed_out" || !strings.Contains(a.Reason, "its deadline has come") {
			t.Errorf("it ended as %q, and the reason is %q", a.Outcome, a.Reason)
		}
		break
	}
	d.nothingLeft()
}
