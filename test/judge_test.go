package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"activationd/control"
)

// settle waits until everything that was requested is finished.
func (tt *torture) settle() {
	tt.t.Helper()
	ctx, cancel := context.WithTimeout(tt.t.Context(), 2*patience)
	defer cancel()
	if _, _, err := control.Call[control.ReloadLine](ctx, &tt.Client, "reload", control.ReloadIn{}); err != nil {
		tt.t.Errorf("the last load: %v", err)
	}
	// Also what was added without an answer: it is in the list, or it is not.
	for _, a := range tt.all(ctx) {
		verb := map[string]string{"cancel": "cancel", "held": "release", "run": "run"}[tt.offered[a.Label].kind]
		if verb == "" || a.State == "finished" {
			continue
		}
		_, _, err := control.Call[control.Activation](ctx, &tt.Client, verb, control.IDIn{ID: a.ID})
		if reply, ok := errors.AsType[*control.ReplyError](err); err != nil && (!ok || reply.Code != 409) {
			tt.t.Errorf("%s %s: %v", verb, a.ID, err)
		}
	}
	for _, a := range tt.all(ctx) {
		if _, _, err := control.Call[control.WaitOut](ctx, &tt.Client, "wait", control.IDIn{ID: a.ID}); err != nil {
			d := tt.show(a.ID)
			tt.t.Errorf("%s does not end: %v; it is %s (%s), attempts %+v", a.ID, err, d.State, d.Reason, d.Attempts)
			if ctx.Err() != nil {
				return
			}
		}
	}
}

func (tt *torture) all(ctx context.Context) []control.Activation {
	tt.t.Helper()
	_, list, err := control.Call[control.Activation](ctx, &tt.Client, "list", control.ListIn{State: []string{"all"}})
	if err != nil {
		tt.t.Fatal(err)
	}
	return list
}

// judge compares what the daemon reports with what was promised, and with what the
// scripts left behind.
func (tt *torture) judge() {
	tt.t.Helper()
	ctx, cancel := context.WithTimeout(tt.t.Context(), 2*patience)
	defer cancel()
	known := make(map[string]control.Detail)
	for _, a := range tt.all(ctx) {
		_, lines, err := control.Call[control.Detail](ctx, &tt.Client, "show", control.IDIn{ID: a.ID})
		if err != nil {
			tt.t.Fatal(err)
		}
		known[a.ID] = lines[0]
	}
	labels := make(map[string]string)
	for id, d := range known {
		p, promised := tt.jobs[id]
		if d.Kind != "job" {
			continue
		}
		if !promised { // it was added, and the answer did not come through
			p = tt.offered[d.Label]
		}
		if other, twice := labels[d.Label]; twice {
			tt.t.Errorf("jobs %s and %s are the same one", id, other)
		}
		labels[d.Label] = id
		tt.judgeJob(d, p)
	}
	for id := range tt.jobs {
		if _, ok := known[id]; !ok {
			tt.t.Errorf("job %s was acknowledged and is not there", id)
		}
	}
	for id, b := range tt.booked {
		d, ok := known[id]
		if !ok {
			tt.t.Errorf("reservation %s was acknowledged and is not there", id)
			continue
		}
		tt.judgeReservation(d, b)
	}
	tt.judgeMarks(known)
	for l := range strings.Lines(tt.read(tt.shared("wrong"))) {
		tt.t.Errorf("a script saw: %s", strings.TrimSpace(l))
	}
	for _, device := range tt.names("devices") {
		tt.t.Errorf("device %s was not released", device)
	}
	tt.nothingLeft()
	if running := tt.status().Running; running != 0 {
		tt.t.Errorf("status says that %d run, want none", running)
	}
}

func (tt *torture) judgeJob(d control.Detail, p promise) {
	if !slices.Contains(strings.Split(p.outcomes, ","), d.Outcome) || p.cancelled && d.Outcome != "cancelled" {
		tt.t.Errorf("job %s of kind %s ended as %s (%s), want %s; attempts %+v", d.ID, p.kind, d.Outcome, d.Reason, p.outcomes, d.Attempts)
	}
	ran := 0
	for _, a := range d.Attempts {
		if fewest, _ := marksOf(a); fewest == 1 || a.Reason == "timeout" {
			ran++
		}
	}
	if p.attempts > 0 && ran != p.attempts {
		tt.t.Errorf("job %s of kind %s ran %d times, want %d; attempts %+v", d.ID, p.kind, ran, p.attempts, d.Attempts)
	}
}

func (tt *torture) judgeReservation(d control.Detail, b booking) {
	if d.State != "finished" {
		tt.t.Errorf("reservation %s is %s (%s)", d.ID, d.State, d.Reason)
	}
	for i, a := range d.Attempts {
		// A lab must not come up after its slot. Its claim may be the last thing
		// that a daemon did before it was killed, so this is no sharp limit.
		if a.Phase == "activate" && !b.moved && a.Started.After(b.end.Add(time.Minute)) {
			tt.t.Errorf("%s: activate started at %v, its slot had ended at %v", d.ID, a.Started, b.end)
		}
		if a.Phase == "deactivate" && d.Outcome == "succeeded" && !b.moved && !b.removed && !a.Started.IsZero() && a.Started.Before(b.end) {
			tt.t.Errorf("%s: deactivate started at %v, its slot ends at %v", d.ID, a.Started, b.end)
		}
		if a.Phase == "deactivate" && i == 0 {
			tt.t.Errorf("%s: was deactivated and never activated", d.ID)
		}
	}
	if unproved(d) {
		tt.t.Errorf("%s ran and its deactivation was not proved; attempts %+v", d.ID, d.Attempts)
	}
}

// unproved reports whether a reservation's activation may have run and was not
// undone since.
func unproved(d control.Detail) bool {
	dirty := false
	for _, a := range d.Attempts {
		switch _, most := marksOf(a); {
		case a.Phase == "activate" && most > 0:
			dirty = true
		case a.Phase == "deactivate" && a.Exit != nil && *a.Exit == 0:
			dirty = false
		}
	}
	return d.Kind == "reservation" && dirty
}

// marksOf returns how many marks an attempt may have left: a script that was ended from
// outside may have left its mark or not.
func marksOf(a control.Attempt) (fewest, most int) {
	reason, _, _ := strings.Cut(a.Reason, ":")
	switch reason {
	case "exited":
		if a.Exit != nil {
			return 1, 1
		}
		return 0, 1
	case "timeout", "stopped", "lost":
		return 0, 1
	}
	return 0, 0
}

// judgeMarks checks that each attempt that ran left exactly one mark.
func (tt *torture) judgeMarks(known map[string]control.Detail) {
	marks := make(map[string]int)
	for l := range strings.Lines(tt.read(tt.shared("marks"))) {
		marks[strings.TrimSpace(l)]++
	}
	outcomes := make(map[string]int)
	reasons := make(map[string]int)
	ran := 0
	for _, d := range known {
		outcomes[d.Kind+" "+d.Outcome]++
		seen := make(map[string]bool)
		for _, a := range d.Attempts {
			name := fmt.Sprintf("%s %s %d", d.ID, a.Phase, a.N)
			reason, _, _ := strings.Cut(a.Reason, ":")
			reasons[reason]++
			if seen[name] {
				tt.t.Errorf("%s is there twice", name)
			}
			seen[name] = true
			fewest, most := marksOf(a)
			if n := marks[name]; n < fewest || n > most {
				tt.t.Errorf("%s has left %d marks, and is said to be %s (exit %v, signal %q)", name, n, a.Reason, a.Exit, a.Signal)
			}
			ran += marks[name]
			delete(marks, name)
		}
	}
	for name, n := range marks {
		tt.t.Errorf("%d marks of %s, which is not known", n, name)
	}
	tt.t.Logf("%d activations (%v), %d marks, attempts %v; %d jobs and %d reservations were acknowledged, %d requests got no answer",
		len(known), outcomes, ran, reasons, len(tt.jobs), len(tt.booked), tt.unsure)
}

// names lists a directory of the daemon's place.
func (d *daemon) names(dir string) []string {
	d.t.Helper()
	names, err := readNames(d.dir + "/" + dir)
	if err != nil {
		d.t.Fatal(err)
	}
	return names
}

// turnServices stops and starts services until the load ends. Of what is stopped, nothing is
// left.
func (tt *torture) turnServices() {
	c := &control.Client{Address: tt.socket}
	defer func() { _ = c.Close() }()
	for n := 0; !tt.over(); n++ {
		id := fmt.Sprintf("turned@%d", n%4+1)
		in := control.ServiceIn{Name: []string{id}}
		if _, ok := call[control.ServiceInstance](tt, c, "service stop", control.ServiceStopIn{ServiceIn: in}, 404); ok && locked(tt.dir+"/serving."+id) {
			tt.t.Errorf("%s was stopped, and something of it is left", id)
		}
		tt.idle(20 * time.Millisecond)
		_, _ = call[control.ServiceInstance](tt, c, "service start", in, 404)
		tt.idle(20 * time.Millisecond)
	}
}

// rollServices restarts a service, one instance after the other, until the load ends.
func (tt *torture) rollServices() {
	c := &control.Client{Address: tt.socket}
	defer func() { _ = c.Close() }()
	for !tt.over() {
		in := control.ServiceRestartIn{ServiceIn: control.ServiceIn{Name: []string{"shared"}}, Rolling: true}
		_, _ = call[control.ServiceInstance](tt, c, "service restart", in, 404, 409)
		tt.idle(50 * time.Millisecond)
	}
}

// connect connects to a service until the load ends. From the first time on, it is never refused.
func (tt *torture) connect() {
	n := 0
	var last error
	for !tt.over() {
		c, err := net.Dial("unix", tt.dir+"/shared.sock")
		if last = err; err == nil {
			n++
			_, _ = io.ReadAll(c) // its process may end just now
			_ = c.Close()
		} else if n > 0 {
			tt.t.Errorf("after %d connections: %v", n, err)
			return
		}
		tt.idle(5 * time.Millisecond)
	}
	tt.t.Logf("%d connections to a service, none refused; the last error is %v", n, last) // it may never have lived long enough to start it
}

// endServices stops all services, and checks that they have run as they should.
func (tt *torture) endServices() {
	tt.t.Helper()
	tt.await("the rolling restart is over", func() bool {
		all := tt.instances()
		_, extra := all["shared@5"]
		over := !extra
		for _, i := range all {
			if r := i.Rollout; r != nil && r.State == "stopped" {
				tt.must("service", "restart", "--continue", i.Service)
				return false
			} else if r != nil && r.State == "rolling" {
				over = false
			}
		}
		return over
	})
	runs, ran, pids := make(map[string]int), make(map[string]int), make(map[string]int)
	for id, i := range tt.instances() {
		if i.Service != "flapping" && i.State != "down" {
			tt.serving(id, "ready", "down") // down: its stop was the last thing that happened
		}
	}
	tt.await("all processes are known", func() bool {
		for id, i := range tt.instances() {
			if pids[id] = i.PID; i.PID == 0 && i.State == "ready" {
				return false
			}
		}
		return true
	})
	tt.must("service", "stop", "*")
	tt.await("the socket is gone", func() bool {
		_, err := os.Lstat(tt.dir + "/shared.sock")
		return errors.Is(err, os.ErrNotExist)
	})
	total := 0
	for id, i := range tt.instances() {
		if i.State != "down" {
			tt.t.Errorf("%+v after stop, want down", i)
		}
		runs[id], total = i.Run, total+i.Run
	}
	seen := make(map[string]bool)
	for l := range strings.Lines(tt.read(tt.shared("served"))) {
		var id string
		var run, pid int
		if _, err := fmt.Sscan(l, &id, &run, &pid); err != nil || run > runs[id] && id != "shared@5" || // which was an extra instance
			seen[fmt.Sprint(id, run)] {
			tt.t.Errorf("%q was written, by a run that is not known or ran before: %v", l, err)
		}
		seen[fmt.Sprint(id, run)] = true
		if ran[id]++; stays(id) && pid != pids[id] {
			tt.t.Errorf("%s had process %d, and in the end %d", id, pid, pids[id])
		}
	}
	// A start that the kill of the daemon cut short did nothing. What has begun goes on.
	for id := range runs {
		if stays(id) && ran[id] != 1 {
			tt.t.Errorf("%s ran %d times, want once", id, ran[id])
		}
	}
	if len(runs) != 50 {
		tt.t.Errorf("%d instances, want 50", len(runs))
	}
	tt.t.Logf("%d runs of %d services, of which %d told so", total, len(runs), len(seen))
}

// stays reports whether an instance is to keep its process.
func stays(id string) bool { return strings.HasPrefix(id, "steady") || strings.HasPrefix(id, "told") }
