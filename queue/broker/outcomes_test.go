package broker

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// TestOutcomes checks what becomes of a message after each end of its process, and whether that costs an
// attempt.
func TestOutcomes(t *testing.T) {
	hour := time.Hour
	tests := []struct {
		name  string
		act   act
		after time.Duration // what comes at once, unless it is 0
		want  string        // after the first attempt
		end   string        // when there are no attempts left
	}{
		{"status 0", act{}, 0, "done 1", "done 1"},
		{"status 65", act{status: queue.ExitDataErr}, 0, "dead 1", "dead 1"},
		{"status 75", act{status: queue.ExitTempFail}, 0, "delayed 1", "dead 3"},
		{"status 1", act{status: 1}, 0, "delayed 1", "dead 3"},
		{"status 9, a dead letter by the configuration", act{status: 9}, 0, "dead 1", "dead 1"},
		{"status 8, done by the configuration", act{status: 8}, 0, "done 1", "done 1"},
		{"a signal", act{signal: 9}, 0, "delayed 1", "dead 3"},
		{"the timeout", act{lasts: hour}, time.Minute, "delayed 1", "dead 3"},
		{"the timeout, and it ignores TERM", act{lasts: hour, ignores: true}, time.Minute + time.Second, "delayed 1", "dead 3"},
		{"its wrapper is killed, and again at once", act{reason: wrapper.Lost}, 0, "delayed 2", "dead 3"},
		{"it never began", act{reason: wrapper.Void}, 0, "delayed 0", "delayed 0"},
		{"its wrapper could not begin", act{reason: wrapper.NotStarted}, 0, "delayed 0", "delayed 0"},
		{"status 127", act{status: queue.ExitNotFound}, 0, "ready 0", "ready 0"},
		{"status 126", act{status: queue.ExitCannot}, 0, "ready 0", "ready 0"},
		{"it cannot be started", act{reason: wrapper.Failed}, 0, "ready 0", "ready 0"},
		{"no processes now", act{noStart: fmt.Errorf("no processes: %w", fault.Unavailable)}, 0, "ready 0", "ready 0"},
		{"it can never be started", act{noStart: fmt.Errorf("no such thing: %w", fault.Invalid)}, 0, "ready 0", "ready 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.acts(func(supervisor.Key, *wrapper.Spec) act { return tt.act })
				r.create("q")
				id := r.push("q", "")
				if tt.after > 0 {
					r.is("q", id, "in work 1")
					time.Sleep(tt.after)
				}
				r.is("q", id, tt.want)
				paused := r.status("q").Paused
				if faulty := paused != nil && paused.Fault && paused.Reason != ""; faulty != (tt.act.status > 100 || tt.act.reason == wrapper.Failed || strings.Contains(tt.name, "can never")) {
					t.Errorf("paused: %+v", paused)
				}
				time.Sleep(10 * time.Minute)
				r.check()
				if got := r.fate("q", id); got != tt.end && !(tt.end == "delayed 0" && got == "ready 0") {
					t.Errorf("at the end it is %q, want %q", got, tt.end)
				}
			}, fake("q", func(l *Listener) {
				l.Timeout, l.Policy.Backoff, l.Policy.BackoffMax = time.Minute, 10*time.Second, time.Minute
				l.Policy.Exits = map[int]queue.Verdict{9: queue.VerdictDead, 8: queue.VerdictDone}
			}))
		})
	}
}

// TestAttemptsOfMessage checks that what a message says of its attempts and its result holds in place of what
// its listener says, also for a message that a daemon finds whose listener is not configured any more.
func TestAttemptsOfMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Minute, status: 1} })
		r.create("q")
		two := r.push("q", "", func(m *queue.New) { m.Attempts = 2 })
		time.Sleep(time.Hour)
		r.is("q", two, "dead 2")
		one := r.push("q", "", func(m *queue.New) { m.Attempts = 1 })
		r.die()
		r.set.Listeners = nil
		r.start()
		time.Sleep(time.Hour)
		r.is("q", one, "dead 1")
		r.check()
	}, fake("q"))
}

// TestListenerIsRemoved checks that what is in work is finished when its listener is taken out of the
// configuration, and that the rest waits until there is one again, whose kind may be another.
func TestListenerIsRemoved(t *testing.T) {
	for _, stream := range []bool{false, true} {
		l := fake("q")
		l.Stream = stream
		next := l
		next.Stream, next.Instances = !stream, 2
		inBubble(t, func(t *testing.T, r *rig) {
			r.acts(func(_ supervisor.Key, spec *wrapper.Spec) act {
				if spec.Stream {
					return act{}
				}
				return act{lasts: time.Minute}
			})
			r.replies(func(delivery) reply {
				return reply{after: time.Minute, good: true, lines: []string{`{"id":%d,"ok":true}`}}
			})
			r.create("q")
			first, second := r.push("q", ""), r.push("q", "")
			r.configure()
			r.is("q", first, "in work 1")
			time.Sleep(time.Hour)
			r.is("q", first, "done 1")
			r.is("q", second, "ready 0")
			if s := r.status("q"); s.Listener != "" || s.Why == "" {
				t.Errorf("%+v", s)
			}
			if live := r.w.live(); len(live) != 0 {
				t.Errorf("these live: %v", live)
			}
			r.check()
			r.configure(next)
			time.Sleep(time.Hour)
			r.is("q", second, "done 1")
			r.check()
		}, l)
	}
}

// TestAllowed checks that a queue is served only while it may be, and that its status says why it is not.
func TestAllowed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		denied := func(string) (bool, string) { return false, "denied by pools.json line 3" }
		r.create("q")
		r.b.Configure(Settings{Listeners: r.set.Listeners, Allowed: denied})
		synctest.Wait()
		id := r.push("q", "")
		time.Sleep(time.Minute)
		r.is("q", id, "ready 0")
		if s := r.status("q"); s.Why != "denied by pools.json line 3" || s.Processes != 0 {
			t.Errorf("%+v", s)
		}
		if live := r.w.live(); len(live) != 0 {
			t.Errorf("these live: %v", live)
		}
		r.check()
		r.b.Configure(r.set)
		time.Sleep(time.Second)
		r.is("q", id, "done 1")
		r.check()
	}, fake("q", streams))
}

// TestDieAnywhere lets the daemon die after each number of effects while messages are started, and checks that
// each is worked off once.
func TestDieAnywhere(t *testing.T) {
	for _, l := range []Listener{fake("q", instances(3)), fake("q", streams, three)} {
		for n := range 40 {
			inBubble(t, func(t *testing.T, r *rig) {
				r.acts(func(_ supervisor.Key, spec *wrapper.Spec) act {
					if spec.Stream {
						return act{}
					}
					return act{lasts: time.Second}
				})
				r.replies(func(delivery) reply {
					return reply{after: time.Second, good: true, lines: []string{`{"id":%d,"ok":true}`}}
				})
				q := r.create("q")
				r.m.dieAfter(n)
				var ids []uint64
				for range 5 {
					p := r.b.Push(r.ctx, []NewMessage{{"q", queue.New{Keep: 1000 * time.Hour}}})[0]
					if p.Err == nil {
						ids = append(ids, p.ID)
					}
				}
				time.Sleep(1500 * time.Millisecond)
				r.restart()
				time.Sleep(time.Hour)
				for _, id := range ids {
					r.is("q", id, "done 1")
					if r.w.began(id) != 1 {
						t.Errorf("after %d effects, message %d of queue %d began %d times", n, id, q.N, r.w.began(id))
					}
				}
				r.check()
			}, l)
		}
	}
}

// TestKilled checks with real processes that a message whose process is killed, or whose wrapper is, returns at
// once, with another attempt.
func TestKilled(t *testing.T) {
	for _, what := range []string{"$$", "$PPID"} {
		file := t.TempDir() + "/pid"
		l := per("pool", "sh", "-c", `if test $MESSAGE_ATTEMPT = 1; then echo `+what+` >$F.new; mv $F.new $F; sleep 1000; fi; echo $MESSAGE_ATTEMPT`)
		l.Prepare = withEnv(l.Prepare, "F="+file)
		p := newPlace(t, l)
		r := p.start()
		r.create("pool")
		id := r.push("pool", "")
		awaitFile(t, file)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if res := r.result("pool", id); res == nil || res.Outcome != "done" || res.Attempt != 2 || string(res.Body) != "2\n" {
			t.Errorf("the result: %+v", res)
		}
	}
}

// TestMemory checks with a real process that a listener is replaced that takes too much memory, and that no
// message fails for that.
func TestMemory(t *testing.T) {
	l := per("io", "python3", "-uc", `
import sys, json, os
held = []
for line in sys.stdin:
    m = json.loads(line)
    held.append(bytearray(b"x") * (30 << 20))
    print(json.dumps({"id": m["id"], "ok": True, "result": str(os.getpid())}))
`)
	l.Stream, l.Instances, l.Replace = true, 1, Replace{Memory: 100 << 20}
	r := newPlace(t, l).start()
	r.create("io")
	pids := make(map[string]bool)
	for range 1000 {
		res := r.result("io", r.push("io", ""))
		if res == nil || res.Outcome != "done" || res.Attempt != 1 {
			t.Fatalf("%+v", res)
		}
		if pids[string(res.Body)] = true; len(pids) == 3 {
			return
		}
	}
	t.Errorf("it was not replaced: %v", pids)
}

// TestPauseStays checks that the pause of somebody is not replaced by that for a listener that cannot run:
// another version of the listener would end it.
func TestPauseStays(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Second, status: queue.ExitNotFound} })
		r.create("q")
		id := r.push("q", "")
		if err := r.b.Pause(r.ctx, "q", &queue.Paused{Reason: "maintenance"}, ann); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.is("q", id, "ready 0")
		if p := r.status("q").Paused; p == nil || p.Fault || p.Reason != "maintenance" {
			t.Errorf("%+v", p)
		}
		r.check()
	}, fake("q"))
}
