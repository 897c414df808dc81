package ops

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/activation/recurring"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
	"activationd/internal/timetext/timeforms"
	"activationd/queue/broker"
	"activationd/schedule/timespec"
)

// TestTimesOfRequests tries every argument that is a time or a duration with every form, and
// checks that it knows all such arguments.
func TestTimesOfRequests(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	job := func(in control.AddIn) (activation.NewJob, error) {
		in.Arg = []string{"true"}
		return newJob(&in, now)
	}
	edit := func(in control.EditIn) (j activation.NewJob, err error) {
		err = change(&j, &in, now, now)
		return j, err
	}
	rule := func(in control.RuleIn) (recurring.Rule, error) { return ParseRule("x", in, now) }
	changed := func(in control.RuleIn) (r recurring.Rule, err error) {
		err = changeRule(&r, &control.EveryEditIn{RuleIn: in}, now)
		return r, err
	}
	push := func(in control.QueuePushIn) (broker.NewMessage, error) {
		return newMessage(&in, control.Caller{UID: -1}, now)
	}
	opt := func(d *time.Duration, err error) (time.Duration, error) {
		if d == nil {
			return 0, err
		}
		return *d, err
	}
	next := func(in control.NextIn) (time.Time, error) {
		if in.From == "" {
			in.From = "2026-11-21T10:00:00Z"
		}
		if in.Every == "" {
			in.Cron = "* * * * * *"
		}
		in.N, in.TZ = 1, "UTC"
		r, err := Daemon{}.next(context.Background(), control.Caller{}, in)
		if err != nil || len(r.Lines) == 0 {
			return time.Time{}, err
		}
		if in.Cron != "" && r.Lines[0].Occurrence.Equal(timeforms.At.Add(time.Second)) { // the second after a fraction
			return timeforms.At.Add(250 * time.Millisecond), nil
		}
		return r.Lines[0].Occurrence, nil
	}
	instants := map[string]func(string) (time.Time, error){
		"add at":             func(s string) (time.Time, error) { j, err := job(control.AddIn{At: s}); return j.At, err },
		"add deadline":       func(s string) (time.Time, error) { j, err := job(control.AddIn{Deadline: s}); return j.Deadline, err },
		"edit at":            func(s string) (time.Time, error) { j, err := edit(control.EditIn{At: s}); return j.At, err },
		"edit deadline":      func(s string) (time.Time, error) { j, err := edit(control.EditIn{Deadline: s}); return j.Deadline, err },
		"every add start":    func(s string) (time.Time, error) { r, err := rule(control.RuleIn{Start: s}); return r.Start, err },
		"every add end":      func(s string) (time.Time, error) { r, err := rule(control.RuleIn{End: s}); return r.End, err },
		"every edit start":   func(s string) (time.Time, error) { r, err := changed(control.RuleIn{Start: s}); return r.Start, err },
		"every edit end":     func(s string) (time.Time, error) { r, err := changed(control.RuleIn{End: s}); return r.End, err },
		"next start":         func(s string) (time.Time, error) { return next(control.NextIn{Start: s}) },
		"next end":           func(s string) (time.Time, error) { _, err := next(control.NextIn{End: s}); return time.Time{}, err },
		"next from":          func(s string) (time.Time, error) { return next(control.NextIn{From: s}) },
		"pause until":        func(s string) (time.Time, error) { return pauseEnd(s, now) },
		"queue pause until":  nil, // the same
		"queue push at":      func(s string) (time.Time, error) { m, err := push(control.QueuePushIn{At: s}); return m.NotBefore, err },
		"report from":        nil, // a month; TestReport tries it
		"book add from":      func(s string) (time.Time, error) { from, _, err := slot(s, "", "", now, now); return from, err },
		"book add to":        func(s string) (time.Time, error) { _, to, err := slot("", s, "", now, now); return to, err },
		"book extend to":     nil, // as those of add, by the same function
		"book edit from":     nil,
		"book edit to":       nil,
		"list since":         nil, // TestListTimes tries them
		"list until":         nil,
		"calendar from":      nil, // TestAheadForms of timetext tries them
		"calendar to":        nil,
		"free from":          nil,
		"free to":            nil,
		"every add at":       nil, // refused, whatever it is
		"every add deadline": nil,
	}
	durations := map[string]func(string) (time.Duration, error){
		"add in":       func(s string) (time.Duration, error) { j, err := job(control.AddIn{In: s}); return j.At.Sub(now), err },
		"add deadline": nil, // tried below
		"add timeout": func(s string) (time.Duration, error) {
			j, err := job(control.AddIn{Timeout: s})
			d, _ := opt(j.Timeout, nil)
			return d, err
		},
		"add grace": func(s string) (time.Duration, error) {
			j, err := job(control.AddIn{Grace: s})
			d, _ := opt(j.Grace, nil)
			return d, err
		},
		"add backoff": func(s string) (time.Duration, error) {
			j, err := job(control.AddIn{Backoff: s})
			d, _ := opt(j.Backoff, nil)
			return d, err
		},
		"edit in": func(s string) (time.Duration, error) {
			j, err := edit(control.EditIn{In: s})
			return j.At.Sub(now), err
		},
		"edit timeout": func(s string) (time.Duration, error) {
			j, err := edit(control.EditIn{JobEdit: control.JobEdit{Timeout: s}})
			d, _ := opt(j.Timeout, nil)
			return d, err
		},
		"edit grace": func(s string) (time.Duration, error) {
			j, err := edit(control.EditIn{JobEdit: control.JobEdit{Grace: s}})
			d, _ := opt(j.Grace, nil)
			return d, err
		},
		"edit backoff": func(s string) (time.Duration, error) {
			j, err := edit(control.EditIn{JobEdit: control.JobEdit{Backoff: s}})
			d, _ := opt(j.Backoff, nil)
			return d, err
		},
		"pause until": func(s string) (time.Duration, error) {
			if strings.Count(s, ":") == 2 && !strings.Contains(s, " ") || s == "1:30" { // a time of day
				return duration0(s)
			}
			t, err := pauseEnd(s, now)
			return t.Sub(now), err
		},
		"every add every":  func(s string) (time.Duration, error) { r, err := rule(control.RuleIn{Every: s}); return r.Every, err },
		"every add jitter": func(s string) (time.Duration, error) { r, err := rule(control.RuleIn{Jitter: s}); return r.Jitter, err },
		"every edit every": func(s string) (time.Duration, error) {
			r, err := changed(control.RuleIn{Every: s})
			return r.Every, err
		},
		"every edit jitter": func(s string) (time.Duration, error) {
			r, err := changed(control.RuleIn{Jitter: s})
			return r.Jitter, err
		},
		"every add in":       nil,
		"every add timeout":  nil, // as those of add, by the same function
		"every add grace":    nil,
		"every add backoff":  nil,
		"every edit timeout": nil, // as those of edit, by the same function
		"every edit grace":   nil,
		"every edit backoff": nil,
		"next every": func(s string) (time.Duration, error) {
			at, err := next(control.NextIn{Every: s, Start: "2026-11-21T09:59:59.999999999Z"})
			return at.Sub(now) + 1, err
		},
		"queue push delay": func(s string) (time.Duration, error) {
			m, err := push(control.QueuePushIn{Delay: s})
			if m.NotBefore.IsZero() {
				return 0, err
			}
			return m.NotBefore.Sub(now), err
		},
		"queue push unique-for": func(s string) (time.Duration, error) {
			m, err := push(control.QueuePushIn{UniqueFor: s})
			return m.Unique, err
		},
		"queue push timeout": func(s string) (time.Duration, error) {
			m, err := push(control.QueuePushIn{Timeout: s})
			return m.Timeout, err
		},
		"queue push keep": func(s string) (time.Duration, error) {
			m, err := push(control.QueuePushIn{Keep: s})
			return m.Keep, err
		},
		"queue push wait": func(s string) (time.Duration, error) {
			return waitOf(&control.QueuePushIn{Wait: s}, new(broker.NewMessage))
		},
		"queue answer again": func(s string) (time.Duration, error) {
			r, err := answerOf(&control.QueueAnswerIn{Error: "busy", Again: s})
			return r.After, err
		},
		"free for": freeFor,
		"book add for": func(s string) (time.Duration, error) {
			_, to, err := slot("", "", s, now, now)
			return to.Sub(now), err
		},
		"book extend by":    func(s string) (time.Duration, error) { return pause("by", s) },
		"book edit for":     nil,
		"vlan section wait": func(s string) (time.Duration, error) { return bounded("wait", s, 0, 0) },
		"vlan section hold": func(s string) (time.Duration, error) { return bounded("hold", s, 0, 0) },
	}
	times := []string{"at", "in", "deadline", "timeout", "grace", "backoff", "every", "jitter", "start", "end", "from", "wait", "hold", "delay", "unique-for", "keep", "again"}
	others := " arg script title stdin dir env lock retries label missed umask priority after tag id percent text clear state outcome owner kind match sort phase reason resid topology delresid" +
		" domain holder link name device devices user what digest activation said step since until by action topic month to base64 attempt exit lines grep next queue mail mailto spool cron calendar tz overlap catch-up group body header key on-duplicate session signal error result output verb was version reservations "
	for _, op := range Registry(Daemon{}).Ops() {
		for _, a := range op.Args() {
			key := op.Name + " " + a.Name
			_, isInstant := instants[key]
			_, isDuration := durations[key]
			known := false
			for _, n := range times {
				known = known || n == a.Name
			}
			switch {
			case a.Type != "string", isInstant, isDuration, key == "list every", key == "at mail", key == "queue delete keep", key == "events before":
			case known || !strings.Contains(others, " "+a.Name+" "):
				t.Errorf("%s: is it a time or a duration? then try it here", key)
			}
		}
	}
	for key, read := range instants {
		if read == nil {
			continue
		}
		for _, f := range timeforms.Instants() {
			got, err := read(f.Text)
			only := f.Want.Year() < 2000 && key == "next start" || key == "next end" || f.Want.Year() == 2199 && key != "add at" // the other arguments have a range
			if f.Why == "" && (err != nil || !only && !got.Equal(f.Want)) {
				t.Errorf("%s: %s: %q is %v, %v, want %v", key, f.Name, f.Text, got, err, f.Want)
			}
			atToo := strings.HasSuffix(key, " at") || strings.HasPrefix(key, "book ") || key == "pause until"
			if _, atErr := timespec.Typed(f.Text, now, time.Local); f.Why != "" && atErr == nil && atToo {
				continue // one of at's times: the day or the month comes first
			}
			if f.Why != "" && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), f.Why)) {
				t.Errorf("%s: %s: of %q is said %v, want that it %s", key, f.Name, f.Text, err, f.Why)
			}
		}
		for _, f := range timeforms.Local() {
			if _, err := read(f.Text); err != nil {
				t.Errorf("%s: %s: of %q is said %v", key, f.Name, f.Text, err)
			}
		}
	}
	durations["add deadline"] = func(s string) (time.Duration, error) {
		if strings.Count(s, ":") == 2 && !strings.Contains(s, " ") || s == "1:30" { // a time of day
			return duration0(s)
		}
		j, err := job(control.AddIn{Deadline: s})
		return j.Deadline.Sub(now), err
	}
	for key, read := range durations {
		if read == nil {
			continue
		}
		for _, f := range timeforms.Durations() {
			if f.Text == "" { // not given
				continue
			}
			got, err := read(f.Text)
			range_ := err != nil && strings.Contains(err.Error(), "want from 0s to 24h1m0s")
			if f.Why == "" && !range_ && (err != nil || got != f.Want) {
				t.Errorf("%s: %s: %q is %v, %v, want %v", key, f.Name, f.Text, got, err, f.Want)
			}
			if f.Why != "" && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), f.Why)) {
				t.Errorf("%s: %s: of %q is said %v, want that it %s", key, f.Name, f.Text, err, f.Why)
			}
		}
	}
}

// A list takes all times with a zone, and durations, which are ago.
func TestListTimes(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	read := func(text string) (since, until time.Time, err error) {
		f, err := filter(&control.ListIn{Since: text}, now)
		if err != nil {
			return since, until, err
		}
		g, err := filter(&control.ListIn{Until: text}, now)
		return f.Since, g.Until, err
	}
	for _, f := range timeforms.Instants() {
		since, until, err := read(f.Text)
		if f.Why == "" && (err != nil || !since.Equal(f.Want) || !until.Equal(f.Want)) {
			t.Errorf("%s: %q is %v, %v, %v, want %v", f.Name, f.Text, since, until, err, f.Want)
		}
	}
	for _, f := range timeforms.Durations() {
		since, until, err := read(f.Text)
		want := now.Add(-f.Want)
		if f.Why == "" && !strings.Contains(f.Text, ":") && (err != nil || !since.Equal(want) || !until.Equal(want)) {
			t.Errorf("%s: %q is %v, %v, %v, want %v", f.Name, f.Text, since, until, err, want)
		}
	}
}

// TestTimesOfDocs: what docs/times.md shows of pauses and bookings is read, and means what it says.
func TestTimesOfDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/times.md")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.Local)
	start := now.Add(30 * time.Hour)
	readers := map[string]map[string]func(string) (time.Time, error){
		"Ends of pauses": {"until": func(s string) (time.Time, error) { return pauseEnd(s, now) }},
		"Slots of bookings": {
			"from": func(s string) (time.Time, error) { from, _, err := slot(s, "", "", now, now); return from, err },
			"to":   func(s string) (time.Time, error) { _, to, err := slot("", s, "", start, now); return to, err },
		},
	}
	form := regexp.MustCompile("`([^`]+)`")
	for title, read := range readers {
		_, section, _ := strings.Cut(string(text), "\n## "+title+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		n := 0
		for line := range strings.Lines(section) {
			cells := strings.Split(line, "|")
			if len(cells) != 4 {
				continue
			}
			for _, m := range form.FindAllStringSubmatch(cells[1], -1) {
				n++
				for name, reader := range read {
					base := now
					if name == "to" && strings.Contains(cells[2], "in `--to`") {
						base = start
					}
					want, err := timespec.Typed(m[1], base, time.Local)
					if d, notDuration := timetext.Duration(m[1]); notDuration == nil {
						want, err = base.Add(d), nil
					}
					got, gotErr := reader(m[1])
					if err != nil || gotErr != nil || !got.Equal(want) {
						t.Errorf("%s: %s: %q is %v, %v, want %v, %v", title, name, m[1], got, gotErr, want, err)
					}
				}
			}
		}
		if n < 8 {
			t.Errorf("%s: the tables have %d forms", title, n)
		}
	}
	for _, text := range []string{"1730", "1h30", "17.30"} {
		if got, err := pauseEnd(text, now); err == nil {
			t.Errorf("pause until: %q, which may be a duration, is %v", text, got)
		}
	}
}

func duration0(text string) (time.Duration, error) {
	d, err := duration("deadline", text)
	if err != nil {
		return 0, err
	}
	return *d, nil
}
