package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/queue"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func three(l *Listener) { l.Window = 3 }

// never is what a listener does that does not answer.
func never(delivery) reply { return reply{after: 1000 * time.Hour} }

// processes returns the stream listeners that live.
func (r *rig) processes() []supervisor.Key {
	synctest.Wait()
	return slices.DeleteFunc(r.w.live(), func(k supervisor.Key) bool { return k.Phase != listenerPhase })
}

// TestTimeoutOfOne checks that a listener that does not answer in time is replaced, and that only
// the message that it did not answer is charged; also if the daemon dies before the listener ends.
func TestTimeoutOfOne(t *testing.T) {
	for _, dies := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{ignores: true} })
			r.replies(never)
			r.create("q")
			hour := func(m *queue.New) { m.Timeout = time.Hour }
			a, b, c := r.push("q", ""), r.push("q", "", hour), r.push("q", "", hour)
			first := r.processes()
			time.Sleep(time.Minute + time.Second/2)
			if dies {
				r.restart()
			}
			time.Sleep(20 * time.Second)
			r.is("q", a, "in work 2")
			r.is("q", b, "in work 1")
			r.is("q", c, "in work 1")
			if now := r.processes(); len(now) != 1 || now[0] == first[0] {
				t.Errorf("listeners: %v, and before %v", now, first)
			}
			last := r.message("q", a).Last
			if last == nil || last.How != queue.HowTimedOut {
				t.Errorf("the last attempt: %+v", last)
			}
			r.check()
		}, fake("q", streams, three, func(l *Listener) { l.Timeout = time.Minute }))
	}
}

// TestLateAnswers checks that answers about earlier attempts, and about messages of others, change
// nothing, and that many of them do not fill the log.
func TestLateAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.replies(func(d delivery) reply {
			if d.Attempt == 1 {
				return reply{crash: true}
			}
			var lines []string
			for range 1000 {
				lines = append(lines, `{"id":%d,"ok":true,"attempt":1}`, `{"id":424242,"ok":true}`)
			}
			return reply{lines: lines}
		})
		r.create("q")
		id := r.push("q", "")
		time.Sleep(time.Minute)
		r.is("q", id, "in work 2")
		if n := strings.Count(r.log.String(), "is ignored"); n != 1 {
			t.Errorf("%d lines:\n%s", n, &r.log)
		}
		r.check()
	}, fake("q", streams))
}

// TestAnswerIsReadOnce checks that a daemon that dies when it has recorded an answer leaves nothing
// that the next one takes for an answer to the next attempt.
func TestAnswerIsReadOnce(t *testing.T) {
	for n := range 25 {
		inBubble(t, func(t *testing.T, r *rig) {
			r.replies(func(d delivery) reply {
				if d.Attempt == 1 {
					return reply{after: time.Second, charge: true, lines: []string{`{"id":%d,"error":"no","again":"0s"}`}}
				}
				return never(d)
			})
			r.create("q")
			id := r.push("q", "")
			r.m.dieAfter(n)
			time.Sleep(2 * time.Second)
			r.restart()
			time.Sleep(time.Hour)
			r.is("q", id, "in work 2")
			if r.w.began(id) != 2 {
				t.Errorf("with a death after %d effects, it began %d times", n, r.w.began(id))
			}
			r.check()
		}, fake("q", streams))
	}
}

// TestDoubtful checks that a message is neither lost nor worked on twice of which a daemon that died
// may have told its listener, or not.
func TestDoubtful(t *testing.T) {
	for n := range 12 {
		inBubble(t, func(t *testing.T, r *rig) {
			r.replies(func(delivery) reply {
				return reply{after: time.Minute, good: true, lines: []string{`{"id":%d,"ok":true}`}}
			})
			r.create("q")
			first := r.push("q", "")
			r.m.dieAfter(n)
			p := r.b.Push(r.ctx, []NewMessage{{"q", queue.New{Keep: 1000 * time.Hour}}})[0]
			synctest.Wait()
			r.restart()
			time.Sleep(time.Hour)
			for _, id := range []uint64{first, p.ID} {
				if p.Err != nil && id == p.ID {
					continue
				}
				r.is("q", id, "done 1")
				if r.w.began(id) != 1 {
					t.Errorf("with a death after %d effects, message %d began %d times", n, id, r.w.began(id))
				}
			}
			r.check()
		}, fake("q", streams, three))
	}
}

// TestInputIsClosed checks that a daemon that finds a listener whose input an earlier one has closed
// gives it nothing.
func TestInputIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{deaf: true} })
		r.create("q")
		if err := r.b.Restart(r.ctx, "q", ann); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(r.processes()); n != 2 {
			t.Fatalf("%d listeners, want an old and a new one", n)
		}
		r.restart()
		for range 3 {
			r.is("q", r.push("q", ""), "done 1")
		}
		time.Sleep(time.Minute)
		if n := len(r.processes()); n != 1 {
			t.Errorf("%d listeners", n)
		}
		r.check()
	}, fake("q", streams))
}

// TestClosesInput checks that nothing remains with a listener that has closed its input, and that it
// is not started again and again without a pause.
func TestClosesInput(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		starts := 0
		r.acts(func(supervisor.Key, *wrapper.Spec) act { starts++; return act{closes: true} })
		r.create("q")
		id := r.push("q", "")
		time.Sleep(time.Hour)
		r.is("q", id, "ready 0")
		if r.inRun(func() {}); starts < 10 || starts > 100 {
			t.Errorf("it was started %d times in an hour", starts)
		}
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{} })
		time.Sleep(2 * lastPause)
		r.is("q", id, "done 1")
		r.check()
	}, fake("q", streams))
}

// TestCancelOfStream checks that a listener may give a message up, and is replaced after its grace if
// it does not; then its other messages return without a charge.
func TestCancelOfStream(t *testing.T) {
	for _, gives := range []bool{true, false} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.replies(func(d delivery) reply {
				return reply{after: 1000 * time.Hour, gives: gives, lines: []string{`{"id":%d,"extend":"1h"}`}}
			})
			r.create("q")
			id, other := r.push("q", ""), r.push("q", "")
			first := r.processes()
			done := async(func() error { return r.b.Cancel(r.ctx, "q", id, ann) })
			if !gives {
				if err := ended(done); err == nil {
					t.Error("it is cancelled at once")
				}
				time.Sleep(2 * time.Second)
			}
			if err := ended(done); err != nil {
				t.Error(err)
			}
			r.is("q", id, "cancelled 0")
			r.is("q", other, "in work 1")
			if same := first[0] == r.processes()[0]; same != gives {
				t.Errorf("if it gives up is %t: the listener is the same: %t", gives, same)
			}
			r.check()
		}, fake("q", streams, three))
	}
}

// TestExtend checks that a listener can prolong its time, and not shorten it.
func TestExtend(t *testing.T) {
	for extend, want := range map[string]string{"10m": "in work 1", "1s": "in work 1", "": "in work 2"} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.replies(func(d delivery) reply {
				if extend == "" {
					return never(d)
				}
				return reply{after: 30 * time.Second, lines: []string{`{"id":%d,"extend":"` + extend + `"}`, `{"id":%d,"progress":"half"}`}}
			})
			r.create("q")
			id := r.push("q", "")
			time.Sleep(59 * time.Second)
			m, err := r.b.Message(r.ctx, "q", id)
			if err != nil || extend != "" && m.Progress != "half" {
				t.Errorf("%+v, %v", m, err)
			}
			if extend == "10m" || extend == "" {
				time.Sleep(2 * time.Second)
			}
			r.is("q", id, want)
			r.check()
		}, fake("q", streams, func(l *Listener) { l.Timeout = time.Minute }))
	}
}

// TestReplace checks that a listener is replaced between two messages, when its replacement has
// begun, and that no message waits or fails for that.
func TestReplace(t *testing.T) {
	tests := []struct {
		name    string
		replace Replace
		least   int
	}{
		{"after messages", Replace{Messages: 10}, 5},
		{"by age", Replace{Age: time.Minute}, 3},
		{"by memory", Replace{Memory: 1}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				starts := make(map[supervisor.Key]bool)
				r.acts(func(k supervisor.Key, _ *wrapper.Spec) act { starts[k] = true; return act{birth: 5 * time.Second} })
				r.create("q")
				time.Sleep(6 * time.Second)
				for range 200 {
					r.is("q", r.push("q", ""), "done 1")
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				if r.inRun(func() {}); len(starts) < tt.least {
					t.Errorf("%d were started", len(starts))
				}
				if n := len(r.processes()); n != 1 {
					t.Errorf("%d live", n)
				}
				r.check()
			}, fake("q", streams, func(l *Listener) { l.Replace = tt.replace }))
		})
	}
}

// TestRestart checks that a restart, and another version in the configuration, lets listeners finish
// what they have, and that the next messages go to new ones.
func TestRestart(t *testing.T) {
	l := fake("q", streams, three)
	for name, do := range map[string]func(r *rig){
		"restart": func(r *rig) {
			if err := r.b.Restart(r.ctx, "q", ann); err != nil {
				r.t.Error(err)
			}
		},
		"version": func(r *rig) { r.configure(fake("q", streams, three, func(l *Listener) { l.Version = "2" })) },
		"version while the daemon is down": func(r *rig) {
			r.die()
			r.set.Listeners = []Listener{fake("q", streams, three, func(l *Listener) { l.Version = "2" })}
			r.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.replies(func(d delivery) reply {
					return reply{after: time.Hour, good: true, lines: []string{`{"id":%d,"ok":true}`}}
				})
				r.create("q")
				old := r.push("q", "")
				first := r.processes()
				do(r)
				time.Sleep(time.Second)
				next := r.push("q", "")
				r.is("q", next, "in work 1")
				time.Sleep(2 * time.Hour)
				r.is("q", old, "done 1")
				r.is("q", next, "done 1")
				by := make(map[uint64]supervisor.Key)
				for _, d := range r.w.begun {
					by[d.ID] = d.run
				}
				if by[old] != first[0] || by[next] == first[0] {
					t.Errorf("the old listener is %v; the messages were worked off by %v", first, by)
				}
				if now := r.processes(); len(now) != 1 || now[0] == first[0] {
					t.Errorf("listeners %v", now)
				}
				r.check()
			}, l)
		})
	}
}

// TestCannotRun checks that a queue is paused whose listener cannot run, with the reason and without
// a charge for messages; that a resume tries again, and another version of the listener ends the pause.
func TestCannotRun(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for name, do := range map[string]func(r *rig, next Listener){
			"resume": func(r *rig, _ Listener) {
				if err := r.b.Pause(r.ctx, "q", nil, ann); err != nil {
					r.t.Error(err)
				}
			},
			"restart": func(r *rig, _ Listener) {
				if err := r.b.Restart(r.ctx, "q", ann); err != nil {
					r.t.Error(err)
				}
			},
			"another version": func(r *rig, next Listener) { r.configure(next) },
			"another version while the daemon is down": func(r *rig, next Listener) {
				r.die()
				r.set.Listeners = []Listener{next}
				r.start()
			},
		} {
			t.Run(fmt.Sprint(name, stream), func(t *testing.T) {
				l := fake("q")
				l.Stream = stream
				next := l
				next.Version = "2"
				inBubble(t, func(t *testing.T, r *rig) {
					starts := 0
					r.acts(func(supervisor.Key, *wrapper.Spec) act { starts++; return act{reason: wrapper.Failed} })
					r.create("q")
					id := r.push("q", "")
					time.Sleep(time.Hour)
					s := r.status("q")
					if s.Paused == nil || !s.Paused.Fault || !strings.Contains(s.Paused.Reason, "no such program") {
						t.Errorf("paused: %+v", s.Paused)
					}
					if starts > 2 {
						t.Errorf("it was started %d times", starts)
					}
					r.is("q", id, "ready 0")
					r.restart()
					r.is("q", id, "ready 0")
					r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{} })
					do(r, next)
					time.Sleep(2 * lastPause)
					r.is("q", id, "done 1")
					r.check()
				}, l)
			})
		}
	}
}

// TestPausedAndCannotRun checks that a listener that cannot run is not started again and again for a
// queue that somebody has paused, and that the pause stays.
func TestPausedAndCannotRun(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		starts := 0
		r.create("q")
		if err := r.b.Pause(r.ctx, "q", &queue.Paused{Reason: "maintenance"}, ann); err != nil {
			t.Fatal(err)
		}
		r.acts(func(supervisor.Key, *wrapper.Spec) act { starts++; return act{reason: wrapper.Failed} })
		for _, k := range r.processes() {
			r.w.kill(k)
		}
		time.Sleep(time.Hour)
		if s := r.status("q"); s.Paused == nil || s.Paused.Reason != "maintenance" || s.Fault == "" {
			t.Errorf("paused %+v, fault %q", s.Paused, s.Fault)
		}
		if starts < 10 || starts > 100 {
			t.Errorf("it was started %d times in an hour", starts)
		}
		r.check()
	}, fake("q", streams))
}

// TestEndsAtOnce checks that a listener that ends again and again is started with growing pauses,
// which its status shows, whether it gets messages or not.
func TestEndsAtOnce(t *testing.T) {
	for _, messages := range []int{0, 1000} {
		inBubble(t, func(t *testing.T, r *rig) {
			starts := 0
			r.acts(func(supervisor.Key, *wrapper.Spec) act { starts++; return act{lasts: time.Second, status: 1} })
			r.replies(never)
			r.create("q")
			for range messages {
				r.pushNoWait("q", "")
			}
			time.Sleep(time.Hour)
			if s := r.status("q"); !strings.Contains(s.Fault, "status 1") {
				t.Errorf("fault %q", s.Fault)
			}
			if starts < 10 || starts > 100 {
				t.Errorf("with %d messages, it was started %d times in an hour", messages, starts)
			}
			r.check()
		}, fake("q", streams))
	}
}

// TestBodyFile checks who can read a body that is in a file, that no link is followed, and that the
// file goes with its message.
func TestBodyFile(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		large, victim := strings.Repeat("x", 10_000), filepath.Join(r.dir, "victim")
		if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		var files []string
		r.replies(func(d delivery) reply {
			if data, err := os.ReadFile(d.BodyFile); err != nil || string(data) != large {
				t.Errorf("message %d: %d bytes, %v", d.ID, len(data), err)
			}
			info, err := os.Stat(filepath.Dir(d.BodyFile))
			if err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("its directory: %v, %v", info, err)
			}
			files = append(files, d.BodyFile)
			for id := d.ID + 1; id < d.ID+10; id++ { // the listener's user can
				_ = os.Symlink(victim, filepath.Join(filepath.Dir(d.BodyFile), fmt.Sprint(id)))
			}
			return reply{lines: []string{`{"id":%d,"ok":true}`}, good: true}
		})
		r.create("q")
		for range 3 {
			r.is("q", r.push("q", large), "done 1")
		}
		if data, _ := os.ReadFile(victim); string(data) != "precious" {
			t.Errorf("a link was followed: %.20q", data)
		}
		for _, f := range files {
			if info, err := os.Lstat(f); err == nil && info.Mode().IsRegular() {
				t.Errorf("%s is left", f)
			}
		}
		r.check()
	}, fake("q", streams))
}

// TestHeadersTooLong checks that a message that no line can hold is a dead letter, and keeps nobody else
// waiting.
func TestHeadersTooLong(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("q")
		id := r.push("q", "", func(m *queue.New) {
			m.Headers = make(map[string]string)
			for i := range 60 {
				m.Headers[fmt.Sprint("h", i)] = strings.Repeat("x", 100)
			}
		})
		r.is("q", id, "dead 1")
		r.is("q", r.push("q", ""), "done 1")
		if last := r.message("q", id).Last; last == nil || !strings.Contains(last.Reason, "headers") {
			t.Errorf("%+v", last)
		}
		r.check()
	}, fake("q", streams))
}

// TestInvalidAnswers checks that a listener that answers nonsense is replaced, and that its valid answers
// count.
func TestInvalidAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.replies(func(d delivery) reply {
			if d.Body == "bad" && d.Attempt == 1 {
				return reply{after: time.Second, lines: []string{"what?", `{"id":1}`, strings.Repeat("x", 100_000)}}
			}
			return reply{after: time.Second, good: true, lines: []string{`{"id":%d,"ok":true}`}}
		})
		r.create("q")
		var ids []uint64
		for _, body := range []string{"good", "bad", "good"} {
			ids = append(ids, r.pushNoWait("q", body))
		}
		time.Sleep(time.Minute)
		for i, want := range []string{"done 1", "done 2", "done 1"} {
			if got := r.fate("q", ids[i]); got != want && got != "done 2" {
				t.Errorf("message %d is %q, want %q", i, got, want)
			}
		}
		if n := strings.Count(r.log.String(), "not valid"); n != 1 {
			t.Errorf("%d lines:\n%s", n, &r.log)
		}
		r.check()
	}, fake("q", streams, three))
}

// TestNoStream checks that a listener is ended that a new daemon cannot write to, and that its messages
// return.
func TestNoStream(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.replies(never)
		r.create("q")
		id := r.push("q", "")
		first := r.processes()
		r.prep = func(f *failures) {
			f.stream = func(k supervisor.Key) error {
				if k == first[0] {
					return os.ErrPermission
				}
				return nil
			}
			f.await = func(supervisor.Key) error { return os.ErrPermission }
		}
		r.restart()
		time.Sleep(time.Minute)
		r.is("q", id, "in work 1")
		if now := r.processes(); len(now) != 1 || now[0] == first[0] {
			t.Errorf("listeners %v", now)
		}
		r.check()
	}, fake("q", streams))
}

// TestDamagedJournal checks that a journal that has anything in it keeps no broker from starting.
func TestDamagedJournal(t *testing.T) {
	for _, text := range []string{"\x00\x00\x00\n+ x\n= \n", "+ a.listener.1 x 1 1\n- \n! a.listener.1 x\n", "\xff", "+ a.listener.1 1 1"} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.create("q")
			r.die()
			if err := os.WriteFile(filepath.Join(r.dir, "journal"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r.start()
			r.is("q", r.push("q", ""), "done 1")
			r.check()
		}, fake("q", streams))
	}
}

// TestJournalOfTwo checks that a daemon that ends a listener while it takes over the others, and dies then,
// loses nothing of what the others have.
func TestJournalOfTwo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{ignores: true} })
		r.replies(func(delivery) reply {
			return reply{after: time.Hour, good: true, lines: []string{`{"id":%d,"ok":true}`}}
		})
		r.create("q")
		for range 3 {
			r.push("q", "", func(m *queue.New) { m.Timeout = time.Minute })
		}
		var ids []uint64
		for range 3 {
			ids = append(ids, r.push("q", ""))
		}
		time.Sleep(time.Minute + time.Second/2)
		for range 3 {
			r.restart()
		}
		time.Sleep(2 * time.Hour)
		for _, id := range ids {
			r.is("q", id, "done 1")
		}
		r.check()
	}, fake("q", streams, instances(2), three, func(l *Listener) { l.Grace = time.Minute }))
}

// TestDeleteEndsListener checks that a queue is gone only when its listener is.
func TestDeleteEndsListener(t *testing.T) {
	for _, now := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{deaf: true} })
			r.replies(func(delivery) reply {
				return reply{after: time.Minute, good: true, lines: []string{`{"id":%d,"ok":true}`}}
			})
			q := r.create("q")
			r.push("q", "")
			gone := async(func() error { return r.b.Gone(r.ctx, q.N) })
			if err := r.b.Delete(r.ctx, "q", queue.Deleting{Now: now}, false, ann); err != nil {
				t.Fatal(err)
			}
			for range 90 {
				if err := ended(gone); err == nil && len(r.processes()) > 0 {
					t.Fatalf("it is gone, and these live: %v", r.processes())
				} else if err == nil {
					return
				}
				r.check()
				time.Sleep(time.Second)
			}
			t.Error("it is not gone")
		}, fake("q", streams))
	}
}
