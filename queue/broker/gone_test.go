package broker

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDirectoryIsRemoved checks that a process that removes its run's directory, and outlives
// the daemon, keeps its message.
func TestDirectoryIsRemoved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	p := newPlace(t, per("q", "sh", "-c", `echo x >>"$0"; rm -rf "$PLACE"/runs/*.message.1; : >"$0.removed"; while ! [ -e "$0.go" ]; do sleep 0.01; done`, file))
	p.set.Listeners[0].Prepare = withEnv(p.set.Listeners[0].Prepare, "PLACE="+p.dir)
	r := p.start()
	r.create("q")
	id := r.push("q", "x")
	awaitFile(t, file+".removed")
	r.stop()
	r = p.start()
	if list, err := r.Queues(t.Context()); err != nil || list[0].InWork != 1 {
		t.Errorf("in work: %+v, %v", list, err)
	}
	if data, _ := os.ReadFile(file); string(data) != "x\n" {
		t.Errorf("it ran %q", data)
	}
	if err := os.WriteFile(file+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := r.result("q", id); res == nil || res.Attempt != 2 { // nobody knows how the first one ended
		t.Errorf("the result: %+v", res)
	}
}
