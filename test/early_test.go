package test

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestEarlySignals sends a daemon signals while it starts: it reads its configuration
// from a pipe, and has only opened that. A signal must not end the daemon silently: it
// becomes ready and does what the signal asked for.
func TestEarlySignals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		drains bool
	}{
		{"HUP", syscall.SIGHUP, false},
		{"USR1", syscall.SIGUSR1, false},
		{"USR2", syscall.SIGUSR2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "")
			pipe := d.dir + "/config.pipe"
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			d.Args = []string{"--config", pipe}
			p := d.Launch()
			in, err := os.OpenFile(pipe, os.O_WRONLY, 0) // when the daemon has opened it
			if err != nil {
				t.Fatal(err)
			}
			d.write("config.pipe", "{}\n", 0o600) // for the loads after this one
			for range 3 {
				d.signal(tt.signal)
			}
			if _, err := in.WriteString("{}\n"); err != nil {
				t.Fatal(err)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if tt.drains { // and has nothing to wait for
				d.AwaitGone(p)
				log := d.read(d.dir + "/daemon.log")
				if code := p.Cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(log, "drained: nothing runs") {
					t.Errorf("the daemon ended with %v, want that it drained", p.Cmd.ProcessState)
				}
				if strings.Contains(log, "level=ERROR") {
					t.Errorf("a shutdown is logged as a failure:\n%s", log)
				}
				return
			}
			if err := d.Ready(p); err != nil {
				t.Fatal(err)
			}
			d.ended(d.add("--", "true"), "succeeded", 0)
			d.Kill()
		})
	}
}
