package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// async calls fn, and returns where its error will be.
func async(fn func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	synctest.Wait()
	return done
}

// ended returns the error of what was called, or an error of the test's if it has not ended.
var errGoesOn = errors.New("it goes on")

func ended(done <-chan error) error {
	synctest.Wait()
	select {
	case err := <-done:
		return err
	default:
		return errGoesOn
	}
}

func holds(r *rig) {
	r.acts(func(_ supervisor.Key, spec *wrapper.Spec) act {
		if spec.Stream {
			return act{}
		}
		return act{lasts: time.Hour}
	})
}

// TestAwait checks that whoever waits for a message learns that it is over, however it ends, and
// not before.
func TestAwait(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *rig, id uint64)
	}{
		{"it is cancelled in the queue", func(r *rig, id uint64) {
			if err := r.b.Cancel(r.ctx, "q", id, ann); err != nil {
				r.t.Error(err)
			}
		}},
		{"the queue is purged", func(r *rig, _ uint64) {
			if n, err := r.b.Purge(r.ctx, "q", ann); n != 1 || err != nil {
				r.t.Error(n, err)
			}
		}},
		{"another one takes its place", func(r *rig, _ uint64) {
			r.push("q", "", func(m *queue.New) { m.Key, m.OnDuplicate = "k", queue.DuplicateReplace })
		}},
		{"it is dropped to make room", func(r *rig, _ uint64) { r.push("q", "") }},
		{"the queue is deleted", func(r *rig, _ uint64) {
			if err := r.b.Delete(r.ctx, "q", queue.Deleting{Now: true}, true, ann); err != nil {
				r.t.Error(err)
			}
			time.Sleep(time.Minute)
		}},
		{"it is moved", func(r *rig, _ uint64) {
			if err := r.b.Delete(r.ctx, "q", queue.Deleting{Now: true, MoveTo: "other"}, false, ann); err != nil {
				r.t.Error(err)
			}
			time.Sleep(time.Minute)
		}},
		{"it is worked off", func(*rig, uint64) { time.Sleep(3 * time.Hour) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				holds(r)
				r.create("q")
				r.create("other")
				r.push("q", "in work")
				other := r.push("other", "")
				id := r.push("q", "", func(m *queue.New) { m.Key = "k" })
				done := async(func() error { return r.b.Await(r.ctx, "q", id) })
				otherDone := async(func() error { return r.b.Await(r.ctx, "other", other) })
				if err := ended(done); !errors.Is(err, errGoesOn) {
					t.Errorf("before it ends: %v", err)
				}
				tt.do(r, id)
				if err := ended(done); err != nil {
					t.Errorf("after it ended: %v", err)
				}
				if err := ended(otherDone); !errors.Is(err, errGoesOn) && tt.name != "it is worked off" {
					t.Errorf("a message of another queue: %v", err)
				}
				r.check()
			}, fake("q", func(l *Listener) { l.Limits = queue.Limits{Messages: 2, DropOldest: true} }), fake("other", instances(1)))
		})
	}
}

// TestAwaitIsLeft checks that nothing remains of a caller that waits no longer.
func TestAwaitIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		holds(r)
		r.create("q")
		id := r.push("q", "")
		ctx, cancel := context.WithCancel(r.ctx)
		done := async(func() error { return r.b.Await(ctx, "q", id) })
		cancel()
		if err := ended(done); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.b.mu.Lock()
		defer r.b.mu.Unlock()
		if n := len(r.b.waiters); n != 0 {
			t.Errorf("%d waiters are left", n)
		}
	}, fake("q"))
}

// TestAfterTheEnd checks that nobody waits for a broker that has ended.
func TestAfterTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("q")
		r.die()
		done := async(func() error { return r.b.Restart(t.Context(), "q", queue.Actor{}) })
		if err := ended(done); !errors.Is(err, fault.Unavailable) {
			t.Errorf("%v, want one of kind %v", err, fault.Unavailable)
		}
	}, fake("q"))
}

// TestCancel checks the cancel of a message in each place, and what is kept of it.
func TestCancel(t *testing.T) {
	ignores := act{lasts: time.Hour, ignores: true}
	tests := []struct {
		name    string
		act     act
		prepare func(r *rig)
		by      string
		after   time.Duration // until it is true
		want    string
		err     error
	}{
		{"queued", act{}, func(r *rig) {
			if err := r.b.Pause(r.ctx, "q", &queue.Paused{}, ann); err != nil {
				r.t.Error(err)
			}
		}, "ann", 0, "cancelled 0", nil},
		{"in work", act{lasts: time.Hour}, nil, "ann", 0, "cancelled 0", nil},
		{"in work, by nobody", act{lasts: time.Hour}, nil, "", 0, "cancelled 0", nil},
		{"in work, and ignores the signal", ignores, nil, "ann", time.Second, "cancelled 0", nil},
		{"in work, and finishes first", act{lasts: time.Second / 2, ignores: true}, nil, "ann", time.Second / 2, "done 1", fault.Conflict},
		{"in work, and the daemon dies", ignores, nil, "ann", -1, "cancelled 0", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.acts(func(supervisor.Key, *wrapper.Spec) act { return tt.act })
				r.create("q")
				if tt.prepare != nil {
					tt.prepare(r)
				}
				id := r.push("q", "")
				done := async(func() error { return r.b.Cancel(r.ctx, "q", id, queue.Actor{Name: tt.by}) })
				if tt.after != 0 {
					if err := ended(done); !errors.Is(err, errGoesOn) {
						t.Errorf("at first: %v", err)
					}
					if tt.after < 0 {
						r.restart()
					}
					time.Sleep(time.Second)
				}
				if err := ended(done); tt.after >= 0 && !errors.Is(err, tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
				r.is("q", id, tt.want)
				r.check()
				res, _, err := r.b.Result(r.ctx, "q", id)
				if err != nil || res == nil || tt.by != "" && tt.err == nil && res.Reason != "cancelled by "+tt.by {
					t.Errorf("result %+v, %v", res, err)
				}
				if n := r.w.began(id); n > 1 {
					t.Errorf("it began %d times", n)
				}
			}, fake("q"))
		})
	}
}

// TestCancelOfPaused checks that a cancel that a daemon did not finish is finished by the next one
// though the queue is paused.
func TestCancelOfPaused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.replies(func(delivery) reply { return reply{after: time.Hour} })
		r.create("q")
		id := r.push("q", "")
		done := async(func() error { return r.b.Cancel(r.ctx, "q", id, ann) })
		if err := r.b.Pause(r.ctx, "q", &queue.Paused{}, ann); err != nil {
			t.Error(err)
		}
		r.die()
		for _, k := range r.w.live() {
			r.w.kill(k)
		}
		synctest.Wait()
		for _, k := range r.w.dirs() {
			delete(r.w.runs, k) // the machine was started again
		}
		r.start()
		r.is("q", id, "cancelled 0")
		<-done
		r.check()
	}, fake("q", streams))
}

// TestRetryDead checks that a dead letter that is retried is worked on again, whatever is left of
// its earlier attempts, also if daemons die in between.
func TestRetryDead(t *testing.T) {
	for _, dies := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.prep = func(f *failures) {
				f.remove = func(supervisor.Key) error { return errors.New("a file system that does not answer") }
			}
			r.restart()
			r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{status: 1} })
			r.create("q")
			id := r.push("q", "")
			r.is("q", id, "dead 3")
			r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{} })
			_, err := r.b.RetryDead(r.ctx, "q", ann)
			if err == nil {
				t.Error("it was retried while directories of its attempts are there")
			}
			if dies {
				r.prep = nil
				r.restart()
			} else {
				r.fails(func(f *failures) { f.remove = nil })
			}
			r.w.forgive(id)
			if n, err := r.b.RetryDead(r.ctx, "q", ann); n != 1 || err != nil {
				t.Errorf("%d are retried, %v", n, err)
			}
			r.is("q", id, "done 1")
			r.check()
			if len(r.w.dirs()) != 0 && dies {
				t.Errorf("left: %v", r.w.dirs())
			}
		}, fake("q"))
	}
}

// TestUncountedAttempt checks that an attempt that did not count is repeated when the directory of
// the first one is removed, and not before; the queue is not paused for that.
func TestUncountedAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		n := 0
		r.acts(func(supervisor.Key, *wrapper.Spec) act {
			if n++; n == 1 {
				return act{reason: wrapper.Void}
			}
			return act{}
		})
		r.fails(func(f *failures) {
			f.remove = func(supervisor.Key) error { return errors.New("a file system that does not answer") }
		})
		r.create("q")
		id := r.push("q", "")
		if p := r.status("q").Paused; p != nil {
			t.Errorf("paused: %+v", p)
		}
		r.is("q", id, "ready 0")
		r.fails(func(f *failures) { f.remove = nil })
		time.Sleep(lastPause)
		r.is("q", id, "done 1")
		r.check()
	}, fake("q"))
}

// TestManyRemovals checks that a broker ends, and loses no time, if many directories are to be
// removed and that takes long.
func TestManyRemovals(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		block := make(chan struct{})
		r.fails(func(f *failures) { f.remove = func(supervisor.Key) error { <-block; return nil } })
		r.create("q")
		for range 3000 {
			r.pushNoWait("q", "")
		}
		synctest.Wait()
		if n := len(r.w.order()); n != 3000 {
			t.Errorf("%d began", n)
		}
		done := async(func() error { r.m.dieAfter(0); r.m.lives(); return nil })
		<-done
		close(block)
	}, fake("q", instances(100)))
}

// TestForeignRuns checks that directories that are not the broker's own are left alone, and that a
// run whose message is gone is ended and removed.
func TestForeignRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Hour} })
		q := r.create("q")
		foreign := []supervisor.Key{{ID: "job", Phase: "activate", N: 1}, {ID: "7", Phase: messagePhase, N: 1}, {ID: fmt.Sprintf("%d-x", q.N), Phase: messagePhase, N: 1}}
		gone := messageKey(q.N, 999, 1)
		for _, k := range append(foreign, gone) {
			if err := r.runs.Start(k, wrapper.Spec{Grace: time.Second}); err != nil {
				t.Fatal(err)
			}
		}
		r.restart()
		id := r.push("q", "")
		r.is("q", id, "in work 1")
		for _, k := range foreign {
			if run := r.w.runs[k]; run == nil || run.isOver() {
				t.Errorf("%v does not go on", k)
			}
		}
		if r.w.runs[gone] != nil {
			t.Errorf("%v is left", gone)
		}
		if strings.Contains(r.log.String(), "unknown run") {
			t.Errorf("%s", &r.log)
		}
		r.check()
	}, fake("q"))
}

// TestAdoptFails checks that runs of which nothing can be found out now keep their messages, and
// nothing else waits for them.
func TestAdoptFails(t *testing.T) {
	for _, l := range []Listener{fake("q", instances(2)), fake("q", instances(2), streams)} {
		inBubble(t, func(t *testing.T, r *rig) {
			holds(r)
			r.replies(func(delivery) reply {
				return reply{after: time.Hour, lines: []string{`{"id":%d,"ok":true}`}, good: true}
			})
			r.create("q")
			id := r.push("q", "")
			var run supervisor.Key
			r.inRun(func() {
				for _, w := range r.b.work {
					if run = w.run; w.process != nil {
						run = w.process.key
					}
				}
			})
			r.prep = func(f *failures) {
				f.adopt = func(k supervisor.Key) error {
					if k == run {
						return errors.New("its lock cannot be read")
					}
					return nil
				}
			}
			r.restart()
			time.Sleep(time.Minute)
			r.is("q", id, "in work 1")
			other := r.push("q", "")
			r.is("q", other, "in work 1")
			r.fails(func(f *failures) { f.adopt = nil })
			time.Sleep(2 * time.Hour)
			r.is("q", id, "done 1")
			r.is("q", other, "done 1")
			r.check()
			if n := r.w.began(id); n != 1 {
				t.Errorf("it began %d times", n)
			}
		}, l)
	}
}
