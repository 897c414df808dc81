package device

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestTwoLinePrompt uses the command-line library on which that of SR Linux is based, with its
// plain mode and without.
func TestTwoLinePrompt(t *testing.T) {
	t.Parallel()
	need(t, "socat", "python3")
	if exec.Command("python3", "-c", "import prompt_toolkit").Run() != nil {
		t.Skip("needs prompt_toolkit: scripts/install-deps lab")
	}
	script, err := filepath.Abs("testdata/twolines.py")
	if err != nil {
		t.Fatal(err)
	}
	for name, arg := range map[string]string{"plain": "", "draws the screen": " stays"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := scratch(t)
			console := "#!/bin/sh\nexport TERM=vt100\nstty rows 200 cols 1000\nexec python3 " + script + arg + "\n"
			put(t, dir+"/console", console, 0o755)
			start(t, "", "socat", "PTY,link="+dir+"/tty,raw,echo=0,mode=600", "EXEC:"+dir+"/console,pty,setsid,ctty,stderr")
			exists(t, dir+"/tty")
			target := Target{Name: "srl1", URL: "serial://" + dir + "/tty", Platform: dialogOf(t, "nokia_srlinux").Platform}
			s := open(within(t, time.Minute), t, target)
			if err := s.Configure(within(t, time.Minute), []string{"set / a b", `set / a "c d"`}); err != nil {
				t.Fatalf("Configure: %v", err)
			}
			err := s.Configure(within(t, time.Minute), []string{"set / a e", "set / nonsense"})
			if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != 2 {
				t.Errorf("Configure: %v, want line 2 refused", err)
			}
			got, err := s.Show(within(t, time.Minute), "info flat from running /")
			if want := "set / a b\nset / a \"c d\"\n"; err != nil || got != want {
				t.Errorf("valid: %q, %v, want %q", got, err, want)
			}
		})
	}
}

// TestDrawnAgain tests that the typed line and its prompt are no part of the answer, however often
// the device draws them.
func TestDrawnAgain(t *testing.T) {
	s := &Session{dialog: dialogOf(t, "nokia_srlinux")}
	const above, typed = "--{ + running }--[  ]--", "A:admin@srl1# info flat"
	for name, rows := range map[string][]string{
		"not":   {"set / a b"},
		"once":  {above, typed, "set / a b"},
		"twice": {above, typed, above, typed, "set / a b"},
	} {
		if got := s.answerTo(typed+" ", rows); !slices.Equal(got, []string{"set / a b"}) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
