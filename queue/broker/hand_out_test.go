package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// TestPastDelay checks that a message is handed out whose delay was over when it was pushed.
func TestPastDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("q")
		r.push("q", "first")
		id := r.push("q", "", func(m *queue.New) { m.NotBefore = time.Now().Add(-time.Minute) })
		r.check()
		r.is("q", id, "done 1")
	}, fake("q"))
}

// TestOrderedRetry checks that a message of an ordered queue that is to be tried again later
// blocks those behind it, of whatever priority, and is tried again in time.
func TestOrderedRetry(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(k supervisor.Key, spec *wrapper.Spec) act {
			if string(spec.Stdin) == "fails" && k.N == 1 {
				return act{status: 75}
			}
			return act{}
		})
		r.create("q", ordered)
		id := r.push("q", "fails", priority(5))
		second, third, first := r.push("q", "", priority(5)), r.push("q", "", priority(1)), r.push("q", "", priority(9))
		r.check()
		if want := []uint64{id, first}; !equal(r.w.order(), want) {
			t.Errorf("began %v, want %v", r.w.order(), want)
		}
		time.Sleep(time.Minute)
		r.check()
		if want := []uint64{id, first, id, second, third}; !equal(r.w.order(), want) {
			t.Errorf("began %v, want %v", r.w.order(), want)
		}
	}, fake("q", func(l *Listener) { l.Policy.Backoff = 30 * time.Second }))
}

// TestOrderedRetryBesideOthers checks that a message of an ordered queue is tried again in time
// although something else happens at that instant: the alarm may then go off unheard.
func TestOrderedRetryBesideOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(k supervisor.Key, _ *wrapper.Spec) act {
			if k.N == 1 {
				return act{status: 75}
			}
			return act{}
		})
		r.alarm.late = time.Millisecond // set before anything sets the alarm
		r.create("q", ordered)
		id := r.push("q", "")
		r.alarm.mu.Lock()
		at := r.alarm.at
		r.alarm.mu.Unlock()
		time.Sleep(time.Until(at))
		r.b.poke()
		r.check()
		r.is("q", id, "done 2")
	}, fake("q", func(l *Listener) { l.Policy.Backoff = 30 * time.Second }))
}

// TestReadFailure checks that no message is forgotten when the store cannot be read for a while.
func TestReadFailure(t *testing.T) {
	for n := 1; n <= 60; n++ {
		inBubble(t, func(t *testing.T, r *rig) {
			r.create("q")
			r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Second} })
			for range 3 {
				r.pushNoWait("q", "")
			}
			r.mem.FailRead(n)
			time.Sleep(time.Minute)
			r.mem.FailRead(0)
			r.check()
			if len(r.w.order()) != 3 {
				t.Errorf("with read %d that fails, %v began", n, r.w.order())
			}
		}, fake("q", instances(2)))
	}
}

// TestShares checks the shares of queues that are served together, also after one of them had
// nothing for long.
func TestShares(t *testing.T) {
	l := fake("all", func(l *Listener) {
		l.Queues, l.Together, l.Weights = []string{"*"}, Weighted, map[string]int{"a": 3}
	})
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Second} })
		r.create("a")
		r.create("b")
		for range 100 {
			r.push("b", "")
			time.Sleep(2 * time.Second)
		}
		of := make(map[uint64]string)
		for range 40 {
			of[r.pushNoWait("a", "")] = "a"
			of[r.pushNoWait("b", "")] = "b"
		}
		time.Sleep(41 * time.Second)
		r.check()
		got := ""
		for _, id := range r.w.order()[100:140] {
			got += of[id]
		}
		if strings.Count(got, "a") != 30 {
			t.Errorf("by their weights of 3 and 1, they had %s", got)
		}
		for i := range len(got) - 8 {
			if n := strings.Count(got[i:i+8], "a"); n < 5 || n > 7 {
				t.Errorf("of eight in sequence, %d were of a: %s", n, got)
			}
		}
	}, l)
}

// TestStrict checks that one listener serves several queues in their order, and wakes for each.
func TestStrict(t *testing.T) {
	l := fake("all", func(l *Listener) { l.Queues, l.Together = []string{"first", "b", "*"}, Strict })
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Second} })
		var want []uint64
		for _, name := range []string{"z", "b", "a", "first"} {
			r.create(name)
			id := r.push(name, "")
			r.is(name, id, "in work 1")
			time.Sleep(2 * time.Second)
			want = append(want, id)
		}
		busy := r.push("z", "")
		z, a, b, first := r.push("z", "", priority(9)), r.push("a", ""), r.push("b", ""), r.push("first", "")
		time.Sleep(time.Minute)
		r.check()
		if want = append(want, busy, first, b, a, z); !equal(r.w.order(), want) {
			t.Errorf("began %v, want %v", r.w.order(), want)
		}
	}, l)
}

// TestOrder checks that messages go by priority, then by the order of their pushes, and that
// under a flood of urgent ones none waits for more than its listener's longest wait.
func TestOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Second} })
		r.create("q")
		want := []uint64{r.push("q", "")}
		var by [queue.Priorities][]uint64
		for i := range 40 {
			p := i * 7 % queue.Priorities
			by[p] = append(by[p], r.pushNoWait("q", "", priority(p)))
		}
		for p := queue.MaxPriority; p >= 0; p-- {
			want = append(want, by[p]...)
		}
		time.Sleep(time.Minute)
		r.check()
		if !equal(r.w.order(), want) {
			t.Errorf("began %v, want %v", r.w.order(), want)
		}
		low := r.push("q", "")
		r.is("q", low, "in work 1")
		low = r.push("q", "")
		for range 200 {
			r.pushNoWait("q", "", priority(9))
		}
		pushed := time.Now()
		for r.w.began(low) == 0 && time.Since(pushed) < time.Hour {
			r.push("q", "", priority(9))
			time.Sleep(time.Second)
		}
		if waited := time.Since(pushed); waited < 100*time.Second || waited > 102*time.Second {
			t.Errorf("it waited for %v", waited)
		}
	}, fake("q", func(l *Listener) { l.MaxWait = 100 * time.Second }))
}

// TestNothingIsReserved checks that a short message behind a long one begins at once if a
// listener is free.
func TestNothingIsReserved(t *testing.T) {
	for _, l := range []Listener{fake("q", instances(2)), fake("q", instances(2), streams)} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.acts(func(_ supervisor.Key, spec *wrapper.Spec) act {
				if string(spec.Stdin) == "long" {
					return act{lasts: time.Hour}
				}
				return act{}
			})
			r.replies(func(d delivery) reply {
				rep := reply{lines: []string{`{"id":%d,"ok":true}`}, good: true}
				if d.Body == "long" {
					rep.after = time.Hour
				}
				return rep
			})
			r.create("q")
			long := r.push("q", "long")
			for range 10 {
				r.is("q", r.push("q", "short"), "done 1")
			}
			r.is("q", long, "in work 1")
			r.check()
		}, l)
	}
}

// TestSteppedClock checks that a clock that is set makes no attempt longer or shorter, and no
// pause of a listener.
func TestSteppedClock(t *testing.T) {
	for _, step := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.replies(func(delivery) reply { return reply{after: time.Hour} })
			r.create("q")
			id := r.push("q", "")
			r.setClock(step)
			r.is("q", id, "in work 1")
			time.Sleep(61 * time.Second)
			r.is("q", id, "in work 2")
			r.check()
			r.acts(func(supervisor.Key, *wrapper.Spec) act {
				return act{noStart: fmt.Errorf("no processes: %w", fault.Unavailable)}
			})
			for _, k := range r.w.live() {
				r.w.kill(k)
			}
			time.Sleep(11 * time.Second)
			r.setClock(step)
			r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{} })
			time.Sleep(lastPause)
			r.check()
			if len(r.w.live()) != 1 {
				t.Errorf("with a step of %v, these listeners are there: %v", step, r.w.live())
			}
		}, fake("q", streams, func(l *Listener) { l.Timeout = time.Minute }))
	}
}

// TestWindow checks that no stream listener has more messages at once than its window, and that all
// room is used, whatever each has when several more come.
func TestWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		lasts := func(d delivery) time.Duration { return time.Duration(d.ID%7) * time.Second }
		r.replies(func(d delivery) reply {
			return reply{after: lasts(d), lines: []string{`{"id":%d,"ok":true}`}, good: true}
		})
		r.create("q")
		for range 30 {
			for range 4 {
				r.pushNoWait("q", "")
			}
			time.Sleep(time.Second)
			r.check()
		}
	}, fake("q", streams, instances(3), func(l *Listener) { l.Window = 3 }))
}
