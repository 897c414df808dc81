package test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// TestFacts runs jobs earlier than planned, cancels them, lets them fail and retries them.
// JSON, list and show distinguish what happened from the plan.
func TestFacts(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Prefix = []string{"env", "TZ=Asia/Kathmandu"} // 5:45 ahead of UTC
	d.Start()
	at := d.installAt()
	file := d.script("report.sh", "# the monthly report\nexit 0\n")

	early := d.add("--in", "1h", "--", "true")
	d.must("run", early)
	d.ended(early, "succeeded", 0)
	never := d.add("--in", "1h", "--", "true")
	d.must("cancel", never)
	failed := d.add("--", "sh", "-c", `echo "$FOO"; exit 3`)
	d.ended(failed, "failed", 3)
	first := d.show(failed)
	d.must("retry", failed)
	d.ended(failed, "failed", 3)
	missing := d.add("--", "/no/such/program")
	d.ended(missing, "failed", 127)
	b := d.beacon()
	sleeper := d.script("sleeper", "echo up >"+b.path+"\nexec sleep 1000\n")
	runs := d.add("--", sleeper)
	b.next()
	d.await("that it is known to run", func() bool { return !d.show(runs).Started.IsZero() }) // it tells of itself before that
	held := d.add("--in", "1h", "--hold", "--", "true")
	planned := d.add("--in", "1h", "--file", file)
	piped := strings.TrimSpace(d.run("\n#!/bin/sh\n\ncd /srv && ./nightly\n", d.Bin+"/atctl", "add", "--in", "1h").out)
	typed := d.at(at, "echo from at\n", "now + 1 hour")

	jobs := make(map[string]control.Activation)
	for line := range strings.Lines(d.must("--json", "list", "--all")) {
		a := parse[control.Activation](t, line)
		jobs[a.ID] = a
		if !a.Ended.IsZero() && (a.Ended.Before(a.Started.Time) || a.End.Before(a.Start.Time) || !a.Due.IsZero()) {
			t.Errorf("%s ended before it began, or is due: %s", a.ID, line)
		}
		for _, at := range regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`).FindAllString(line, -1) {
			if !strings.HasSuffix(at, `Z"`) {
				t.Errorf("a time that is not in UTC: %s", line)
			}
		}
	}
	// What a job is, in the order of the fields; * stands for any value.
	for _, tt := range []struct{ id, want string }{
		{early, `succeeded planned started ended - took 0 "" true`},
		{never, `cancelled planned - ended - - - "" true`},
		{failed, `failed planned started ended - took 3 "" sh -c 'echo "$FOO"; exit 3'`},
		{missing, `failed planned - ended - - 127 "" /no/such/program`},
		{runs, `running planned started - - - - "" ` + sleeper},
		{held, `held planned - - - - - "" true`},
		{planned, `scheduled planned - - due - - "report.sh" /bin/sh`},
		{piped, `scheduled planned - - due - - "cd /srv && ./nightly" /bin/sh`},
		{typed, `scheduled planned - - due - - "echo from at" /bin/sh`},
	} {
		a := jobs[tt.id]
		is := func(word string, known bool) string {
			if known {
				return word
			}
			return "-"
		}
		exit := "-"
		if a.Exit != nil {
			exit = fmt.Sprint(*a.Exit)
		}
		got := fmt.Sprintf("%s %s %s %s %s %s %s %q %s", a.Status, is("planned", !a.Planned.IsZero()), is("started", !a.Started.IsZero()),
			is("ended", !a.Ended.IsZero()), is("due", !a.Due.IsZero()), is("took", a.Took != nil), exit, a.Script, a.Command)
		if got != tt.want {
			t.Errorf("%s is\n%s, want\n%s", tt.id, got, tt.want)
		}
	}
	if a := jobs[early]; a.Planned.Sub(a.Started.Time) < 30*time.Minute || !a.Start.Equal(a.Started.Time) || !a.End.Equal(a.Ended.Time) {
		t.Errorf("the job that ran earlier than planned: %+v", a)
	}
	if a := jobs[failed]; !a.Started.After(first.Ended.Time) || a.Planned != first.Planned {
		t.Errorf("the job that was retried began at %v, its first run ended at %v", a.Started, first.Ended)
	}

	kathmandu := time.FixedZone("", (5*60+45)*60)
	list := d.must("list", "--all")
	for _, want := range []string{
		`^ID +STATE +START \(Asia/Kathmandu\) +END +TOOK +EXIT +OWNER +LABEL OR COMMAND +REASON\n`,
		`\n` + early + ` +succeeded +` + jobs[early].Started.In(kathmandu).Format(time.DateTime) + ` +` + jobs[early].Ended.In(kathmandu).Format(time.DateTime) + ` +\d.* 0 +root +true\n`,
		`\n` + never + ` +cancelled +` + jobs[never].Ended.In(kathmandu).Format(time.DateTime) + ` +root +true +cancelled by root\n`,
		`\n` + planned + ` +scheduled +` + jobs[planned].Planned.In(kathmandu).Format(time.DateTime) + ` +root +report.sh\n`,
	} {
		if !regexp.MustCompile(want).MatchString(list + "\n") {
			t.Errorf("atctl list has no %s\n%s", want, list)
		}
	}
	show := d.must("show", early)
	for _, want := range []string{
		`\ntimes in +Asia/Kathmandu\n`, `\nplanned +\S+ \S+ \(in (1h|59m.*)\)\n`, `\nstarted +\S+ \S+ \((now|.* ago)\)\n`, `\nended +\S+ \S+ \((now|.* ago)\)\n`, `\nexit +0\n`,
	} {
		if !regexp.MustCompile(want).MatchString(show) {
			t.Errorf("atctl show has no %s\n%s", want, show)
		}
	}
	var status struct{ Zone, Offset string }
	if err := json.Unmarshal([]byte(d.must("--json", "status")), &status); err != nil || status.Zone != "Asia/Kathmandu" || status.Offset != "+05:45" {
		t.Errorf("status says %+v, %v", status, err)
	}
	d.must("cancel", runs)
}
