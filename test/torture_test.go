package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// defaultKills is the least number that means anything for crash safety.
const defaultKills = 200

// tortureConfig makes everything happen often. Its scripts find their files by
// variables.
const tortureConfig = `
sources: [{files: DIR/res}]
max_removal: 100%
reservations:
  activate: [DIR/activate]
  deactivate: [DIR/deactivate]
  timeout: 2s
  grace: 200ms
  retries: 1
  deactivate_retries: 50
  backoff: {first: 20ms, max: 100ms}
  environment: {MARKS: DIR/shared/marks, WRONG: DIR/shared/wrong, DEVICES: DIR/devices}
jobs:
  timeout: 60s
  grace: 100ms
  backoff: {first: 20ms, max: 100ms}
  environment: {MARKS: DIR/shared/marks, WRONG: DIR/shared/wrong, LOCKS: DIR/locks}
services:
  steady: {command: [DIR/serve], instances: 32}
  told: {command: [DIR/serve], instances: 4, ready: notify, ready_timeout: 1h}
  shared: {command: [DIR/serve], instances: 4, surge: 1, listen: [DIR/shared.sock], ready: notify, ready_timeout: 1h, drain: 50ms}
  flapping: {command: [DIR/serve], instances: 6, backoff: {first: 50ms, max: 100ms}, start_limit: {count: 0}}
  turned: {command: [DIR/serve], instances: 4, after: ["steady:started"], grace: 100ms}
runs:
  max_parallel: 24
`

// tortureServe is what services run. That at most one run of an instance goes on is checked
// from the outside, too; a child that is left has the lock as well.
const tortureServe = `
exec 9>>"DIR/serving.$ACTIVATION_ID"
flock -n 9 || echo "$ACTIVATION_ID $ACTIVATION_ATTEMPT runs beside another run" >>DIR/shared/wrong
echo "$ACTIVATION_ID $ACTIVATION_ATTEMPT $$" >>DIR/shared/served
case $ACTIVATION_ID in
turned*) trap '' TERM; setsid sleep 300 & while :; do sleep 300; done ;;
steady*) exec sleep 300 ;;
told*) systemd-notify --ready --status=told; exec sleep 300 ;;
shared*) systemd-notify --ready; exec python3 "DIR/accept" ;;
esac
sleep 0.3 & wait
exit 1
`

// tortureAccept answers each connection of the socket that it gets.
const tortureAccept = `
import socket
s = socket.socket(fileno=3)
while True:
	c, _ = s.accept()
	c.sendall(b"here")
	c.close()
`

// mark is the first thing that every script does: one line, one write.
const mark = `printf '%s %s %s\n' "$ACTIVATION_ID" "$ACTIVATION_PHASE" "$ACTIVATION_ATTEMPT" >>"$MARKS"
`

// tortureJob is what jobs run. A lock is checked from the outside: by a flock
// that ends with the last process that has it, also with those left behind.
const tortureJob = mark + `
case $1 in
ok) ;;
fail) exit 3 ;;
until) [ "$ACTIVATION_ATTEMPT" -ge "$2" ] ;;
stay) exec sleep 300 ;;
stubborn) trap '' TERM; setsid sleep 300 & sleep 300; sleep 300 ;;
tree) setsid sh -c 'sleep 300 & sleep 300' & ;;
lock)
	exec 9>>"$LOCKS.$2"
	flock -n 9 || echo "lock $2 was not free for job $ACTIVATION_ID" >>"$WRONG"
	[ "$3" = leave ] && { setsid sleep 300 & }
	sleep "0.0$4"
	;;
esac
`

// tortureActivate takes its devices with links that only one can make, which
// are there until tortureDeactivate removes them.
const tortureActivate = mark + `
for device in $ACTIVATION_DEVICES; do
	ln -s "$ACTIVATION_ID" "$DEVICES/$device" 2>/dev/null && continue
	holder=$(readlink "$DEVICES/$device")
	[ "$holder" = "$ACTIVATION_ID" ] || echo "device $device is with $holder, and $ACTIVATION_ID got it" >>"$WRONG"
done
n=${ACTIVATION_ID%@*}
case $((n % 7)).$ACTIVATION_ATTEMPT in
3.1) exit 1 ;;
4.*) exit 1 ;;
5.*) setsid sleep 300 & exec sleep 300 ;;
esac
`

const tortureDeactivate = mark + `
n=${ACTIVATION_ID%@*}
[ $((n % 5)).$ACTIVATION_ATTEMPT = 2.1 ] && exit 1
for device in $ACTIVATION_DEVICES; do
	holder=$(readlink "$DEVICES/$device") || continue
	if [ "$holder" = "$ACTIVATION_ID" ]; then rm "$DEVICES/$device"
	else echo "device $device is with $holder, and $ACTIVATION_ID gave it back" >>"$WRONG"; fi
done
`

// TestTorture kills the daemon repeatedly at random times while clients give it work.
// Then it compares what the daemon reports with what the scripts left outside of it.
func TestTorture(t *testing.T) {
	n := *kills
	switch {
	case n == 0 && testing.Short():
		n = 20
	case n == 0:
		n = defaultKills
	}
	// A fifth of them as it is where there is no cgroup v2.
	t.Run("best", func(t *testing.T) { tortureDaemon(t, tortureConfig, n-n/5) })
	t.Run("subreaper", func(t *testing.T) { tortureDaemon(t, tortureConfig+"  guard: subreaper\n", n/5) })
}

func tortureDaemon(t *testing.T, config string, n int) {
	tt := newTorture(t, config)
	tt.daemon.Start()
	var load sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(tt.enough)
		load.Wait()
	})
	defer end() // also when the test gives up
	for i := range 6 {
		load.Go(func() { tt.client(i) })
	}
	load.Go(tt.reservations)
	load.Go(tt.turnServices)
	load.Go(tt.rollServices)
	load.Go(tt.connect)
	load.Go(tt.pauses)
	tt.killLoop(n)
	end()
	tt.settle()
	tt.endServices()
	tt.judge()
}

// A torture is a daemon under load, and what it promised to its clients.
type torture struct {
	*daemon
	seed    uint64
	random  *rand.Rand    // the killer's
	enough  chan struct{} // closed when the load is to end
	between time.Duration // the longest pause between two kills

	mu       sync.Mutex
	up       chan struct{}      // closed when the daemon is ready after its newest start
	offered  map[string]promise // by label
	jobs     map[string]promise // what was acknowledged, by id
	booked   map[string]booking
	unsure   int // requests that got no answer
	kills    int
	starting int // of these, while it started
}

// A promise is what was acknowledged about a job, and the outcomes that the job may
// have.
type promise struct {
	kind      string
	outcomes  string // comma-separated
	attempts  int    // that are to have run; 0: any number
	cancelled bool   // the cancel was acknowledged
}

// A booking is a reservation that a load has acknowledged.
type booking struct {
	moved, removed bool
	start, end     time.Time
}

func newTorture(t *testing.T, config string) *torture {
	t.Helper()
	needProgram(t, "flock", "setsid", "systemd-notify", "python3")
	random := harness.Random(t) // which repeats the choices, though not the scheduling
	d := newDaemon(t, config)
	for _, dir := range []string{"/res", "/devices"} {
		if err := os.Mkdir(d.dir+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.script("job", tortureJob)
	d.script("activate", tortureActivate)
	d.script("deactivate", tortureDeactivate)
	d.script("serve", strings.ReplaceAll(tortureServe, "DIR", d.dir))
	d.write("accept", tortureAccept, 0o644)
	return tortureOf(d, random)
}

// tortureOf is a torture of a daemon, which has not begun.
func tortureOf(d *daemon, random *rand.Rand) *torture {
	tt := &torture{
		daemon: d, seed: random.Uint64(), random: random, enough: make(chan struct{}), between: 300 * time.Millisecond,
		up: make(chan struct{}), jobs: make(map[string]promise),
		offered: make(map[string]promise), booked: make(map[string]booking),
	}
	close(tt.up)
	return tt
}

// killLoop kills the daemon n times and leaves it running.
func (tt *torture) killLoop(n int) {
	tt.t.Helper()
	began := time.Now()
	p, starting := tt.daemon.Newest(), false
	ready := 50 * time.Millisecond // how long a start takes, about
	for tt.kills < n {
		if starting {
			tt.starting++
			tt.pause(p, time.Duration(tt.random.Int64N(int64(ready))))
		} else {
			tt.pause(p, time.Duration(tt.random.Int64N(int64(tt.between))))
			tt.mu.Lock()
			tt.up = make(chan struct{})
			tt.mu.Unlock()
		}
		tt.Kill()
		tt.kills++
		launched := time.Now()
		p = tt.Launch()
		if starting = tt.kills < n && tt.random.IntN(4) == 0; starting {
			continue // the next one comes before it is ready
		}
		if err := tt.Ready(p); err != nil {
			tt.t.Fatalf("after %d kills: %v", tt.kills, err)
		}
		ready = time.Since(launched)
		tt.mu.Lock()
		close(tt.up)
		tt.mu.Unlock()
	}
	tt.t.Logf("killed %d times, %d of them while it started, in %v", tt.kills, tt.starting, time.Since(began).Round(time.Second))
}

// pause waits for a while, in which the daemon must not end.
func (tt *torture) pause(p *harness.Process, d time.Duration) {
	tt.t.Helper()
	select {
	case <-p.Gone:
		tt.t.Fatalf("the daemon ended by itself: %v", p.Err)
	case <-time.After(d):
	}
}

// over reports whether the load is to end.
func (tt *torture) over() bool {
	select {
	case <-tt.enough:
		return true
	default:
		return false
	}
}

// idle pauses a client.
func (tt *torture) idle(d time.Duration) {
	select {
	case <-tt.enough:
	case <-time.After(d):
	}
}

// call sends a request, and reports whether there was an answer. Without one the
// request may have been carried out or not. An answer is a promise, or a refusal that
// the caller has to allow.
func call[Out any](tt *torture, c *control.Client, verb string, in any, allowed ...int) (out []Out, answered bool) {
	out, code := request[Out](tt, c, verb, in, append(allowed, 503)...)
	return out, code == 200
}

// request is call, and returns the code of the reply: 200, one of those that are allowed, or
// 0 if there was no answer.
func request[Out any](tt *torture, c *control.Client, verb string, in any, allowed ...int) (out []Out, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, out, err := control.Call[Out](ctx, c, verb, in)
	if err == nil {
		return out, 200
	}
	if ctx.Err() != nil {
		tt.t.Errorf("%s %+v: no answer for %v", verb, in, patience)
		return nil, 0
	}
	if reply, ok := errors.AsType[*control.ReplyError](err); ok {
		if !slices.Contains(allowed, reply.Code) {
			tt.t.Errorf("%s %+v: %v", verb, in, err)
		}
		return nil, reply.Code
	}
	tt.mu.Lock()
	tt.unsure++
	up := tt.up
	tt.mu.Unlock()
	select { // until it is there again
	case <-up:
	case <-tt.enough:
	}
	return nil, 0
}

// client adds jobs and changes them until the load ends.
func (tt *torture) client(i int) {
	random := rand.New(rand.NewPCG(tt.seed, uint64(i)+1))
	c := &control.Client{Address: tt.socket}
	defer func() { _ = c.Close() }()
	var open []string
	for n := 0; !tt.over(); n++ {
		in, p := tt.randomJob(random)
		in.Label = fmt.Sprintf("client-%d-%d", i, n)
		tt.offer(in.Label, p)
		added, ok := call[control.AddOut](tt, c, "add", in)
		if !ok {
			continue
		}
		id := added[0].ID
		tt.promise(id, p)
		switch p.kind {
		case "cancel":
			tt.idle(time.Duration(random.IntN(60)) * time.Millisecond)
			if _, ok := call[control.Activation](tt, c, "cancel", control.CancelIn{ID: id}, 409); ok {
				p.cancelled = true
				tt.promise(id, p)
				break
			}
			// Unanswered, it goes on until its timeout or another cancel ends it.
			_, _ = call[control.Activation](tt, c, "cancel", control.CancelIn{ID: id}, 409)
			continue
		case "held":
			_, _ = call[control.Activation](tt, c, "hold", control.IDIn{ID: id}, 409)
			tt.idle(time.Duration(random.IntN(30)) * time.Millisecond)
			// Unanswered, it is released in the end, and nobody waits for it before.
			if _, ok := call[control.Activation](tt, c, "release", control.IDIn{ID: id}, 409); !ok {
				continue
			}
		case "run":
			if _, ok := call[control.Activation](tt, c, "run", control.IDIn{ID: id}, 409); !ok {
				continue
			}
		}
		if open = append(open, id); len(open) < 8 {
			continue
		}
		if out, ok := call[control.WaitOut](tt, c, "wait", control.IDIn{ID: open[0]}); ok && out[0].State != "finished" {
			tt.t.Errorf("a wait for %s ended while it was %s", open[0], out[0].State)
		}
		open = open[1:]
	}
}

// pauses pauses and resumes until the load ends. Then nothing is paused.
func (tt *torture) pauses() {
	random := rand.New(rand.NewPCG(tt.seed, 2000))
	c := &control.Client{Address: tt.socket}
	defer func() { _ = c.Close() }()
	all := []control.ResumeIn{{What: "daemon"}, {What: "source", Name: tt.dir + "/res"}, {What: "device", Name: "a"}, {What: "device", Name: "d3"}}
	for !tt.over() {
		p := all[random.IntN(len(all))]
		until := "" // it is resumed
		if random.IntN(2) == 0 {
			until = fmt.Sprintf("%dms", 1+random.IntN(60))
		}
		_, _ = call[control.Pause](tt, c, "pause", control.PauseIn{What: p.What, Name: p.Name, Until: until}, 404, 400) // before the first load there is no source; it may be over when the daemon gets to it
		tt.idle(time.Duration(random.IntN(60)) * time.Millisecond)
		_, _ = call[control.Pause](tt, c, "resume", p, 409, 404)
		tt.idle(time.Duration(100+random.IntN(400)) * time.Millisecond)
	}
	for _, p := range all {
		for code := 0; code == 0 || code == 503; {
			_, code = request[control.Pause](tt, c, "resume", p, 409, 404, 503)
		}
	}
}

// offer records the outcomes that a job may have if it is added.
func (tt *torture) offer(label string, p promise) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	tt.offered[label] = p
}

func (tt *torture) promise(id string, p promise) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if old, ok := tt.jobs[id]; ok && old.kind != p.kind {
		tt.t.Errorf("the id %s was given twice, for a job of kind %s and one of kind %s", id, old.kind, p.kind)
	}
	tt.jobs[id] = p
}

func (tt *torture) randomJob(random *rand.Rand) (control.AddIn, promise) {
	job := func(args ...string) control.AddIn {
		return control.AddIn{Arg: append([]string{tt.dir + "/job"}, args...)}
	}
	soon := fmt.Sprintf("%dms", 1+random.IntN(600))
	var in control.AddIn
	switch k := random.IntN(20); k {
	case 0, 1, 2:
		return job("ok"), promise{kind: "now", outcomes: "succeeded", attempts: 1}
	case 3, 4, 5, 6:
		in = job("ok")
		in.In = soon
		return in, promise{kind: "soon", outcomes: "succeeded", attempts: 1}
	case 7, 8:
		in = job("until", "3")
		in.Retries = "5"
		return in, promise{kind: "retried", outcomes: "succeeded"}
	case 9:
		in = job("fail")
		in.Retries = "1"
		return in, promise{kind: "hopeless", outcomes: "failed", attempts: 2}
	case 10, 11, 12:
		in = job("lock", string(rune('a'+random.IntN(3))), []string{"leave", "go"}[random.IntN(2)], fmt.Sprint(random.IntN(4)))
		in.Lock = []string{in.Arg[2]}
		if random.IntN(2) == 0 {
			in.In = soon
		}
		return in, promise{kind: "locked", outcomes: "succeeded", attempts: 1}
	case 13, 14:
		in = job("stay")
		if random.IntN(3) == 0 {
			in.In = soon
		}
		return in, promise{kind: "cancel", outcomes: "cancelled,timed_out"}
	case 15:
		in = job("stubborn")
		in.Timeout = "100ms"
		return in, promise{kind: "timeout", outcomes: "timed_out", attempts: 1}
	case 16, 17:
		return job("tree"), promise{kind: "leftovers", outcomes: "succeeded", attempts: 1}
	case 18:
		in = job("ok")
		in.In = soon
		return in, promise{kind: "held", outcomes: "succeeded", attempts: 1}
	default:
		in = job("ok")
		in.In = "1h"
		return in, promise{kind: "run", outcomes: "succeeded", attempts: 1}
	}
}

// reservations announces, moves and removes reservations until the load ends.
func (tt *torture) reservations() {
	random := rand.New(rand.NewPCG(tt.seed, 1000))
	c := &control.Client{Address: tt.socket}
	defer func() { _ = c.Close() }()
	live := make(map[string]booking)
	for n := 1; !tt.over(); n++ {
		id := fmt.Sprintf("%d@torture", n)
		start := time.Now().Add(time.Duration(random.IntN(700)) * time.Millisecond)
		live[id] = booking{start: start, end: start.Add(time.Duration(200+random.IntN(1200)) * time.Millisecond)}
		tt.book(random, id, live[id])
		for other, b := range live {
			switch {
			case other == id:
			case time.Now().After(b.end.Add(2 * time.Second)):
				delete(live, other) // it stays in its file, as it was
			case random.IntN(20) == 0:
				b.moved = true
				b.end = b.end.Add(time.Duration(random.IntN(600)-200) * time.Millisecond)
				if !b.end.After(b.start) {
					b.end = b.start.Add(10 * time.Millisecond)
				}
				live[other] = b
				tt.book(random, other, b)
			case random.IntN(30) == 0:
				b.removed = true
				if err := os.Remove(tt.resFile(other)); err != nil {
					tt.t.Error(err)
				}
				tt.noteBooking(other, b)
				delete(live, other)
			}
		}
		if random.IntN(2) == 0 { // else the watch sees it
			if _, ok := call[control.ReloadLine](tt, c, "reload", control.ReloadIn{}); ok {
				answered := time.Now() // a slot that is over when it is first read is none
				for id, b := range live {
					if answered.Before(b.end) {
						tt.noteBooking(id, b)
					}
				}
			}
		}
		tt.idle(time.Duration(random.IntN(120)) * time.Millisecond)
	}
}

func (tt *torture) noteBooking(id string, b booking) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if _, known := tt.booked[id]; known || !b.removed {
		tt.booked[id] = b
	}
}

func (tt *torture) resFile(id string) string {
	return tt.dir + "/res/" + strings.TrimSuffix(id, "@torture") + ".yaml"
}

// book writes a reservation's file. Its devices never change.
func (tt *torture) book(random *rand.Rand, id string, b booking) {
	var n int
	if _, err := fmt.Sscan(strings.TrimSuffix(id, "@torture"), &n); err != nil {
		tt.t.Error(err)
	}
	devices := fmt.Sprintf("d%d", n%8)
	if n%9 == 0 {
		devices += fmt.Sprintf(", d%d", (n+1)%8)
	}
	text := fmt.Sprintf("reservations:\n- id: %s\n  start: %s\n  end: %s\n  devices: [%s]\n",
		id, b.start.Format(time.RFC3339Nano), b.end.Format(time.RFC3339Nano), devices)
	if random.IntN(4) == 0 { // an editor that writes in place: for a moment the file is half of itself
		if err := os.WriteFile(tt.resFile(id), []byte(text), 0o644); err != nil {
			tt.t.Error(err)
		}
	} else if err := writeFile(tt.resFile(id), text, 0o644); err != nil {
		tt.t.Error(err)
	}
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if _, known := tt.booked[id]; known {
		tt.booked[id] = b
	}
}
