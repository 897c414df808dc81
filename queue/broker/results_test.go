package broker

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/queue"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// TestResultFile checks the results that a program writes into a file: small ones are stored, and a
// large one is kept as the file that it is, also by the next daemon.
func TestResultFile(t *testing.T) {
	p := newPlace(t, per("pool", "sh", "-c", `echo output; read n; head -c $n /dev/zero | tr '\0' x >$ACTIVATION_CONFIG_DIR/result`))
	r := p.start()
	r.create("pool")
	small, large := r.push("pool", "10\n"), r.push("pool", "100000\n")
	if res := r.result("pool", small); res == nil || string(res.Body) != "xxxxxxxxxx" || res.File != "" {
		t.Errorf("a small result: %+v", res)
	}
	read := func() {
		t.Helper()
		res := r.result("pool", large)
		if res == nil || res.File == "" {
			t.Fatalf("a large result: %+v", res)
		}
		f, err := r.OpenResult(res)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if data, err := io.ReadAll(f); err != nil || len(data) != 100_000 {
			t.Errorf("%d bytes, %v", len(data), err)
		}
		if _, err := os.Stat(res.File); err != nil {
			t.Error(err)
		}
	}
	read()
	r.stop()
	r = p.start()
	read()
}

// TestResultExpires checks that a large result is removed when its time is over, or its queue is gone,
// and that it is not removed before, whoever dies.
func TestResultExpires(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		for _, dies := range []bool{false, true} {
			inBubble(t, func(t *testing.T, r *rig) {
				r.acts(func(supervisor.Key, *wrapper.Spec) act {
					return act{files: map[string]string{resultFile: strings.Repeat("x", queue.MaxResult+1)}}
				})
				q := r.create("q")
				id := r.push("q", "", func(m *queue.New) { m.Keep = time.Hour })
				if r.is("q", id, "done 1"); dies {
					r.restart()
				}
				time.Sleep(time.Hour - time.Second)
				if !slices.Contains(r.w.dirs(), messageKey(q.N, id, 1)) {
					t.Error("it is gone before its time")
				}
				if deleted {
					if err := r.b.Delete(r.ctx, "q", queue.Deleting{}, false, ann); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(2 * time.Second)
				if n := len(r.w.dirs()); n != 0 {
					t.Errorf("%v are left", r.w.dirs())
				}
				r.check()
			}, fake("q"))
		}
	}
}

// TestExpiry checks that results, and windows of keys, are removed from the store when their time is over,
// though nothing else happens then.
func TestExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("q")
		hour := func(m *queue.New) { m.Keep = time.Hour }
		r.is("q", r.push("q", "", hour), "done 1")
		if err := r.b.Pause(r.ctx, "q", &queue.Paused{}, ann); err != nil {
			t.Fatal(err)
		}
		id := r.push("q", "", hour)
		if err := r.b.Cancel(r.ctx, "q", id, ann); err != nil {
			t.Fatal(err)
		}
		id = r.push("q", "", func(m *queue.New) { m.Keep, m.Key, m.Unique = 0, "k", 2*time.Hour })
		if err := r.b.Cancel(r.ctx, "q", id, ann); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.check()
		if keys := r.mem.Keys("mq/k/"); len(keys) != 0 {
			t.Errorf("results: %v", keys)
		}
		time.Sleep(time.Hour)
		r.check()
		if keys := append(r.mem.Keys("mq/u/"), r.mem.Keys("mq/e/")...); len(keys) != 0 {
			t.Errorf("keys: %v", keys)
		}
	}, fake("q"))
}
