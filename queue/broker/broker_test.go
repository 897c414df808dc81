package broker

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMessage(t *testing.T) {
	p := newPlace(t, per("pool", "sh", "-c", `cat; echo " $QUEUE $MESSAGE_ATTEMPT"`))
	r := p.start()
	r.create("pool")
	id := r.push("pool", "hello")
	if res := r.result("pool", id); res == nil || res.Outcome != "done" || string(res.Body) != "hello pool 1\n" {
		t.Errorf("result: %+v %q", res, res.Body)
	}
}

// TestExits checks what the exit statuses mean.
func TestExits(t *testing.T) {
	p := newPlace(t, per("pool", "sh", "-c", `read n; exit $n`))
	r := p.start()
	r.create("pool")
	for _, tt := range []struct {
		body, outcome string
		attempts      int
	}{{"0\n", "done", 1}, {"65\n", "dead", 1}, {"1\n", "dead", 3}, {"75\n", "dead", 3}} {
		id := r.push("pool", tt.body)
		if res := r.result("pool", id); res == nil || res.Outcome != tt.outcome || res.Attempt != tt.attempts {
			t.Errorf("%q: %+v, want %s after %d attempts", tt.body, res, tt.outcome, tt.attempts)
		}
	}
	r.push("pool", "127\n")
	for {
		list, err := r.Queues(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if list[0].Paused != nil && list[0].Paused.Fault {
			break
		}
		time.Sleep(time.Millisecond)
	}
}

// TestOutlives checks that a message stays in work over two daemons, and is worked off once.
func TestOutlives(t *testing.T) {
	p := newPlace(t, per("pool", "sh", "-c", `echo x >>$F; until test -e $F.go; do sleep 0.01; done; echo done`))
	file := filepath.Join(t.TempDir(), "f")
	prepare := p.set.Listeners[0].Prepare
	p.set.Listeners[0].Prepare = withEnv(prepare, "F="+file)
	r := p.start()
	r.create("pool")
	id := r.push("pool", "")
	awaitFile(t, file)
	r.stop()
	r = p.start()
	list, err := r.Queues(t.Context())
	if err != nil || list[0].InWork != 1 {
		t.Errorf("in work: %+v, %v", list, err)
	}
	if err := os.WriteFile(file+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := r.result("pool", id); res == nil || string(res.Body) != "done\n" {
		t.Errorf("result: %+v", res)
	}
	if data, _ := os.ReadFile(file); string(data) != "x\n" {
		t.Errorf("it ran %q", data)
	}
}

// TestStream checks that a stream listener gets messages and answers, also over two daemons.
func TestStream(t *testing.T) {
	l := per("io", "python3", "-uc", `
import sys, json
for line in sys.stdin:
    m = json.loads(line)
    if m["body"] == "stop": continue
    print(json.dumps({"id": m["id"], "ok": True, "result": m["body"].upper()}))
`)
	l.Stream, l.Window, l.Instances = true, 4, 1
	p := newPlace(t, l)
	r := p.start()
	r.create("io")
	a := r.push("io", "a")
	if res := r.result("io", a); string(res.Body) != "A" {
		t.Errorf("result %+v", res)
	}
	held := r.push("io", "stop")
	b := r.push("io", "b")
	if res := r.result("io", b); string(res.Body) != "B" {
		t.Errorf("result %+v", res)
	}
	r.stop()
	r = p.start()
	c := r.push("io", "c")
	if res := r.result("io", c); string(res.Body) != "C" {
		t.Errorf("result %+v", res)
	}
	m, err := r.Message(t.Context(), "io", held)
	if err != nil || !m.InWork || m.Attempt != 1 {
		t.Errorf("held: %+v, %v", m, err)
	}
}
