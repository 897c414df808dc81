package broker

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestDoubtfulAndKilled checks that an attempt counts if a daemon died while it gave the message to a stream
// listener, and the listener was killed: it may have begun.
func TestDoubtfulAndKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go")
	l := per("io", "python3", "-uc", `
import sys, json, os
for line in sys.stdin:
    m = json.loads(line)
    if m["body"] == "stop" and not os.path.exists(sys.argv[1]): continue
    print(json.dumps({"id": m["id"], "ok": True, "result": "done"}))
`, file)
	l.Stream, l.Window, l.Instances = true, 4, 1
	p := newPlace(t, l)
	r := p.start()
	r.create("io")
	held := r.push("io", "stop")
	r.result("io", r.push("io", "b")) // it has both
	r.stop()
	journal := filepath.Join(p.dir, "deliveries")
	data, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journal, regexp.MustCompile("(?m)^= .*\n").ReplaceAll(data, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	p.end()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r = p.start()
	if res := r.result("io", held); res == nil || res.Attempt != 2 {
		t.Errorf("the result: %+v; want the second attempt", res)
	}
}
