package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"activationd/test/harness"
)

// Each example stack starts whole, on real servers, answers a request, and leaves nothing.
// `make stacks` checks what these do beyond that; of one of them, this test does, too.
func TestStacks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		stack string
		how   []string
		needs []string // programs
		files []string // what is not in PATH
	}{
		{"micro", nil, []string{"redis-server", "redis-cli", "nginx", "curl", "jq", "ss"}, nil},
		{"builds", []string{"--once"}, []string{"git", "gcc", "curl", "jq", "ss"}, nil},
		{"broker", []string{"--once"}, []string{"apache2", "redis-server", "redis-cli", "psql", "curl", "jq", "ss", "setpriv"}, []string{"/usr/lib/postgresql/*/bin/postgres"}},
	} {
		t.Run(tt.stack, func(t *testing.T) {
			t.Parallel()
			needProgram(t, tt.needs...)
			for _, pattern := range tt.files {
				if found, _ := filepath.Glob(pattern); found == nil { // the patterns are valid
					t.Skipf("%s is not installed", pattern)
				}
			}
			dir, err := os.MkdirTemp("", "stack") // not t.TempDir: the services' users cannot enter it
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "../examples/stacks/run", slices.Concat([]string{tt.stack}, tt.how, []string{harness.Bin})...)
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if left, _ := filepath.Glob(dir + "/*"); left != nil { // the pattern is valid
				t.Errorf("it has left %v", left)
			}
		})
	}
}
