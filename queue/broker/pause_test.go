package broker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/queue"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// TestPauseUntil checks that a pause ends by itself, also if no daemon ran at its end, and that
// another one replaces it.
func TestPauseUntil(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("q")
		pause := func(until time.Duration) {
			t.Helper()
			if err := r.b.Pause(r.ctx, "q", &queue.Paused{Reason: "maintenance", Until: r.now().Add(until)}, ann); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		pause(time.Hour)
		id := r.push("q", "")
		time.Sleep(30 * time.Minute)
		pause(time.Hour) // an hour and a half in all
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		r.is("q", id, "ready 0")
		r.check()
		time.Sleep(time.Second)
		synctest.Wait()
		r.is("q", id, "done 1")
		if p := r.status("q").Paused; p != nil {
			t.Errorf("it is still paused: %+v", p)
		}
		pause(time.Hour)
		id = r.push("q", "")
		r.stop()
		time.Sleep(2 * time.Hour)
		r.start()
		time.Sleep(time.Minute)
		r.is("q", id, "done 1")
		r.check()
		var said []string
		_ = r.mem.View(r.ctx, func(tx store.Tx) error {
			said = nil
			list, _ := queue.Notices(tx, 0, 100)
			for _, n := range list {
				by := "-"
				if n.Actor != nil {
					by = n.Actor.Name
				}
				said = append(said, strings.TrimSpace(n.What+" "+by+" "+n.Reason))
			}
			return nil
		})
		want := "created ann; paused ann maintenance; paused ann maintenance; resumed - its pause has ended; paused ann maintenance; resumed - its pause has ended"
		if got := strings.Join(said, "; "); got != want {
			t.Errorf("notices: %s, want %s", got, want)
		}
	}, fake("q"))
}

// TestPauseAll checks that nothing is handed out while all is paused, except what the daemon
// itself has to tell, and that what is in work is finished.
func TestPauseAll(t *testing.T) {
	for _, stream := range []bool{false, true} {
		kind := func(l *Listener) { l.Stream = stream }
		inBubble(t, func(t *testing.T, r *rig) {
			r.acts(func(supervisor.Key, *wrapper.Spec) act { return act{lasts: time.Minute} })
			r.create("q")
			r.create("hook/x", func(q *queue.Queue) { q.Builtin = true })
			first := r.push("q", "")
			r.b.PauseAll(true)
			second := r.push("q", "")
			err := r.b.Feed(r.ctx, "hook/x", func(store.Tx) ([]queue.New, error) { return []queue.New{{}}, nil })
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			r.is("q", first, "done 1")
			r.is("q", second, "ready 0")
			if c := r.status("hook/x").Counts; c.Pushed != 1 || c.Done != 1 {
				t.Errorf("of the daemon's own: %+v", c)
			}
			if !r.status("q").AllPaused || r.status("hook/x").AllPaused {
				t.Errorf("paused: %v, and the daemon's own: %v", r.status("q").AllPaused, r.status("hook/x").AllPaused)
			}
			r.check()
			r.b.PauseAll(false)
			time.Sleep(time.Hour)
			synctest.Wait()
			r.is("q", second, "done 1")
			r.check()
		}, fake("q", kind), fake("hook/x", kind))
	}
}
