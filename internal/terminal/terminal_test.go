package terminal

import (
	"bytes"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &Line{out: &out, width: 12}
		check := func(want string) {
			t.Helper()
			l.mu.Lock()
			defer l.mu.Unlock()
			if got := out.String(); got != want {
				t.Errorf("the terminal gets %q, want %q", got, want)
			}
			out.Reset()
		}
		l.Clear()
		check("")
		l.Show("1 of 3")
		l.Show("2 of 3")
		check("\r1 of 3\x1b[K")
		time.Sleep(again)
		l.Show("3 of 3, a long text")
		check("\r3 of 3, a …\x1b[K")
		l.Clear()
		l.Clear()
		check("\r\x1b[K")

		stop := l.Elapsed("busy")
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		check("")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		check("\rbusy (1s)\x1b[K\rbusy (2s)\x1b[K")
		stop()
		check("\r\x1b[K")
	})
}

// TestNoTerminal checks that nothing is shown in a file.
func TestNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	l := NewLine(f)
	stop := l.Elapsed("busy")
	l.Show("1 of 3")
	stop()
	l.Clear()
	if info, err := f.Stat(); err != nil || info.Size() > 0 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
	if w := Width(f); w != 0 {
		t.Errorf("the width of a file is %d", w)
	}
}
