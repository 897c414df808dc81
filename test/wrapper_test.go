package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// wrapperConfig has runs that are lost tried again soon, and often.
const wrapperConfig = `
sources: [{files: DIR/res.yaml}]
max_removal: 100%
reservations:
  activate: [DIR/activate]
  deactivate: [DIR/deactivate]
  grace: 200ms
  retries: 0
  deactivate_retries: 1000
  backoff: {first: 10ms, max: 20ms}
  environment: {MARKS: DIR/shared/marks}
jobs:
  grace: 200ms
  backoff: {first: 10ms, max: 20ms}
  environment: {MARKS: DIR/shared/marks, ENOUGH: DIR/shared/enough}
`

// wrapperJob leaves processes in places where they are hard to find: in another
// session, and without any environment, which is only found by what contains it. The
// jobs that stay do so until they are killed or enough are, so that there is always a
// script to kill: on a slow machine the others may be over before they are found.
const wrapperJob = mark + `
setsid sleep 300 &
[ "$1" = bare ] && { setsid env -i sleep 301 & }
[ "$3 $ACTIVATION_ATTEMPT" = "stays 1" ] && while ! [ -e "$ENOUGH" ]; do sleep 0.1; done
sleep "0.$2"
`

// TestWrappersAreKilled kills wrappers at random times. Their runs are lost, nothing of
// them is left, and the policy decides what follows.
func TestWrappersAreKilled(t *testing.T) {
	t.Parallel()
	for _, guard := range []string{"auto", "subreaper"} {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			killWrappers(t, guard, false)
		})
	}
}

// TestWrappersAndDaemonAreKilled kills both, so that no process is left that knows how
// a run ended.
func TestWrappersAndDaemonAreKilled(t *testing.T) {
	t.Parallel()
	killWrappers(t, "auto", true)
}

func killWrappers(t *testing.T, guard string, daemonToo bool) {
	needProgram(t, "setsid")
	want := harness.Size(20, 60)
	if testing.Short() {
		want = 10
	}
	tt := newTorture(t, wrapperConfig+"runs: {guard: "+guard+"}\n")
	d := tt.daemon
	d.script("job", wrapperJob)
	d.script("activate", mark+"setsid sleep 300 &\nsleep 0.0$((${ACTIVATION_ID%@*} % 10))\n")
	d.script("deactivate", mark+"sleep 0.0$((${ACTIVATION_ID%@*} % 10))\n")
	p := d.Start()
	bare := d.status().Guard == "cgroup"
	var ids, booked []string
	killed := make(map[string]bool)
	for round := 0; len(killed) < want; round++ {
		if round > 100*want {
			t.Fatalf("only %d wrappers could be killed", len(killed))
		}
		if round%4 == 0 && len(ids) < 4*want {
			for i := range 4 {
				stays := "no"
				if i == 0 || len(ids) >= 2*want {
					stays = "stays"
				}
				kind := "plain"
				if bare && tt.random.IntN(2) == 0 {
					kind = "bare"
				}
				ids = append(ids, d.add("--retries", "20", "--label", "wrapped", "--", d.dir+"/job", kind, fmt.Sprintf("%02d", tt.random.IntN(20)), stays))
			}
			booked = d.bookSome(tt.random, booked)
		}
		tt.pause(p, time.Duration(tt.random.IntN(30))*time.Millisecond)
		runs := d.liveRuns()
		tt.random.Shuffle(len(runs), func(i, j int) { runs[i], runs[j] = runs[j], runs[i] })
		for _, r := range runs[:min(len(runs), 3)] {
			killed[r.name] = true
			killPID(t, r.pid)
		}
		if daemonToo && len(runs) > 0 {
			d.Kill()
			p = d.Start()
		}
	}
	if err := os.WriteFile(d.shared("enough"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d.bookNothing()
	known := make(map[string]control.Detail)
	for _, id := range append(ids, booked...) {
		if o := d.atctl("wait", id); o.status == 3 {
			t.Fatalf("%s is not known any more: %s", id, o.err)
		}
		known[id] = d.show(id)
	}
	lost := 0
	for id, a := range known {
		if a.State != "finished" {
			t.Errorf("%s is %s", id, a.State)
		}
		if a.Kind == "job" && a.Outcome != "succeeded" {
			t.Errorf("%s ended as %s (%s), want succeeded in the end; attempts %+v", id, a.Outcome, a.Reason, a.Attempts)
		}
		for _, at := range a.Attempts {
			name := fmt.Sprintf("%s.%s.%d", id, at.Phase, at.N)
			reason, _, _ := strings.Cut(at.Reason, ":")
			switch {
			case reason == "lost" && killed[name]:
				lost++
			case reason == "lost":
				t.Errorf("%s is said to be lost, and nobody killed its wrapper: %s", name, at.Reason)
			}
		}
		if unproved(a) {
			t.Errorf("%s: its deactivation was not proved; attempts %+v", id, a.Attempts)
		}
	}
	tt.judgeMarks(known)
	t.Logf("killed %d wrappers, %d of them with a script that had started", len(killed), lost)
	if lost == 0 {
		t.Error("no run was lost: this tried nothing")
	}
	d.nothingLeft()
}

// bookSome announces two reservations whose slots begin now, and then moves their ends
// to about a second later.
func (d *daemon) bookSome(random *rand.Rand, booked []string) []string {
	d.t.Helper()
	for range 2 {
		booked = append(booked, fmt.Sprintf("%d@wrapped", len(booked)+1))
	}
	var two []resv
	now := time.Now()
	for _, id := range slices.Backward(booked[len(booked)-2:]) {
		two = append(two, resv{id: id, start: now, end: now.Add(time.Hour), devices: "dev-" + strings.TrimSuffix(id, "@wrapped")})
	}
	d.announce(two...)
	for i := range two {
		two[i].end = time.Now().Add(time.Duration(1000+random.IntN(500)) * time.Millisecond)
	}
	d.announce(two...)
	return booked
}

// bookNothing removes all reservations.
func (d *daemon) bookNothing() {
	d.t.Helper()
	d.announce()
}
