package supervisor_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestStuckWrapper has a wrapper that never does what it should, as one that waits
// in the kernel for a file system which does not answer. It is killed in the end.
func TestStuckWrapper(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Close()
	b.config.Patience = 20 * time.Millisecond
	b.config.Atwrap = filepath.Join(t.TempDir(), "atwrap")
	syscall.ForkLock.RLock() // or a child of another test has it open for writing when it is executed
	err := os.WriteFile(b.config.Atwrap, []byte("#!/bin/sh\n[ -e /proc/$$/fd/3 ] && exec sleep 300\nexec "+atwrap+"\n"), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	b.open()
	spec := shell("true")
	spec.Timeout, spec.Grace = 100*time.Millisecond, 0
	b.start(spec)
	if r := b.exit(); r.Exit == 0 {
		t.Errorf("%+v", r)
	}
	b.nothingLeft()
}
