package supervisor_test

import (
	"syscall"
	"testing"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// TestStuckWrapper has a wrapper that does nothing any more, as one does whose
// script's directory is on a file system that does not answer: here it is
// stopped. It is killed a while after the run's time is up, or after a stop.
func TestStuckWrapper(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		end     func(*bench)
	}{
		"at its timeout": {time.Second, func(*bench) {}},
		"at a stop": {0, func(b *bench) {
			if err := b.Stop(key); err != nil {
				t.Error(err)
			}
		}},
		"adopted": {time.Second, func(b *bench) {
			b.reopen()
			b.adopt(supervisor.Running)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "")
			b.Close()
			b.config.Patience = 100 * time.Millisecond
			b.open()
			spec := shell("echo on; exec sleep 300")
			spec.Timeout, spec.Grace = tt.timeout, 0
			b.start(spec)
			b.awaitLog("on\n")
			if err := syscall.Kill(b.wrapperPID(), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			tt.end(b)
			if r := b.exit(); r.Reason != wrapper.Lost {
				t.Errorf("result = %+v, want lost", r)
			}
			b.nothingLeft()
		})
	}
}
