package test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A tty is a terminal of tmux's in which a shell script runs.
type tty struct {
	d       *daemon
	changed chan struct{} // what runs there has written something
}

// newTTY runs a shell script, which finds the programs in PATH, on a terminal of 80x24.
func (d *daemon) newTTY(script string) *tty {
	d.t.Helper()
	needProgram(d.t, "tmux")
	y := &tty{d, make(chan struct{}, 1)}
	written := d.dir + "/written"
	if err := syscall.Mkfifo(written, 0o600); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.OpenFile(written, os.O_RDWR, 0) // open for writing, too: it never ends
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = f.Close() })
	go func() {
		for buf := make([]byte, 64<<10); ; {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case y.changed <- struct{}{}:
			default:
			}
		}
	}()
	y.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24",
		"exec "+d.script("on-tty", "export PATH="+d.Bin+":$PATH ACTIVATIOND_SOCKET="+d.socket+" LC_ALL=C.UTF-8\n"+script))
	d.t.Cleanup(func() { y.tmux("kill-server") })
	y.tmux("pipe-pane", "-O", "exec cat >"+written)
	return y
}

func (y *tty) tmux(args ...string) string {
	y.d.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", y.d.dir + "/tmux"}, args...)...).CombinedOutput()
	if err != nil {
		y.d.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// keys presses keys, by tmux's names.
func (y *tty) keys(keys ...string) {
	y.d.t.Helper()
	y.tmux(append([]string{"send-keys"}, keys...)...)
}

// until waits until the screen has each of some texts, and none that begins with "!", and
// returns the screen.
func (y *tty) until(texts ...string) string {
	y.d.t.Helper()
	hang := time.NewTimer(patience)
	defer hang.Stop()
	for {
		screen := y.tmux("capture-pane", "-p")
		missing := ""
		for _, text := range texts {
			text, not := strings.CutPrefix(text, "!")
			if strings.Contains(screen, text) == not {
				missing = text
			}
		}
		if missing == "" {
			return screen
		}
		select {
		case <-y.changed:
		case <-hang.C:
			y.d.t.Fatalf("the screen should have %q; it is\n%s", texts, screen)
		}
	}
}

// colours checks whether the word held on the screen is yellow.
func (y *tty) colours(want bool) {
	y.d.t.Helper()
	screen := y.tmux("capture-pane", "-p", "-e")
	if got := strings.Contains(screen, "\x1b[33mheld"); got != want {
		y.d.t.Errorf("there are colours: %v, want %v:\n%q", got, want, screen)
	}
}

// TestTop uses atctl top on a terminal: it follows what happens, shows output as it grows,
// carries out what keys ask for, outlives the daemon, and leaves the terminal as it was.
func TestTop(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "jobs: {retries: 0}\n")
	d.Start()
	b := d.beacon()
	script, gate := d.gate(b)
	y := d.newTTY(`stty -a >"$0.before"
unset NO_COLOR
atctl top
echo "first: $?" >>"$0.status"
stty -a >"$0.after"
sh -c 'echo $$ >"$0.pid"; NO_COLOR=1 exec atctl top' "$0"
echo "second: $?" >>"$0.status"
stty -a >"$0.last"
echo "the end"
cat # so that the terminal stays
`)
	y.until("NEEDS ATTENTION (0)", "RUNNING (0)", "nothing is scheduled", "clock trusted")
	id := d.add("--label", "the first", "--", script, "one")
	if got, want := b.next(), "one "+id; got != want {
		t.Fatalf("%q reports, want %q", got, want)
	}
	y.until("RUNNING (1)", "the first", "running")

	y.keys("Tab", "Tab", "Tab", "l")
	y.until("OUTPUT of "+id, "followed", "==> attempt 1 <==")
	d.open(gate, "once")
	y.until("through once", "exit 5", "which has ended")
	y.keys("q")
	y.until("RUNNING (0)", "NEEDS ATTENTION (1)", id+" (the first)", "exited with status 5; try: atctl why "+id)

	later := d.add("--in", "1h", "--label", "evil \x1b[2Jlabel", "--", script, "two")
	y.until("NEXT (1)", "scheduled", `evil \x1b[2Jlabel`)
	y.keys("Tab", "h")
	y.until("held", later+" is held")
	y.keys("w")
	y.until("WHY "+later, "held by", "to let it start at its time")
	y.keys("q", "u")
	y.until("!held", later+" is scheduled")
	y.keys("u")
	y.until(later + ": cannot release")

	d.Kill()
	y.until("the daemon has not answered for")
	d.Start()
	y.until("the daemon is back", "!has not answered")
	id = d.add("--label", "another", "--", script, "three")
	if got, want := b.next(), "three "+id; got != want {
		t.Fatalf("%q reports, want %q", got, want)
	}
	y.until("RUNNING (1)", "another")
	y.keys("BTab", "c")
	y.until("cancel " + id + "? y/n")
	y.keys("n")
	y.until("not done", "RUNNING (1)")
	y.keys("c", "y")
	y.until("RUNNING (0)")
	d.ended(id, "cancelled", 125)

	y.keys("/", "e", "v", "i", "l", "Enter")
	y.until(`NEXT with "evil" (1)`, "NEEDS ATTENTION with", "(0)")
	y.tmux("resize-window", "-x", "40", "-y", "12")
	y.until("NEXT with", "!u release")
	d.must("hold", later)
	y.until("held")
	y.colours(true)
	y.keys("q")
	y.until("NEEDS ATTENTION (1)", "held")
	y.colours(false)
	pid, err := strconv.Atoi(strings.TrimSpace(d.read(d.dir + "/on-tty.pid")))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	y.until("the end", "!NEEDS ATTENTION")
	if got := d.read(d.dir + "/on-tty.status"); got != "first: 0\nsecond: 0\n" {
		t.Errorf("the exit statuses are %q", got)
	}
	if got := y.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"); got != "0 1 0\n" {
		t.Errorf("at the end, the other screen, the cursor and the mouse are on: %q, want 0 1 0", got)
	}
	before := strings.ReplaceAll(d.read(d.dir+"/on-tty.before"), "rows 24; columns 80", "")
	for _, name := range []string{"after", "last"} {
		if got := strings.ReplaceAll(d.read(d.dir+"/on-tty."+name), "rows 12; columns 40", ""); got != before || before == "" {
			t.Errorf("the terminal was\n%s\nand is, in %s,\n%s", before, name, got)
		}
	}
	d.must("cancel", later)
	d.nothingLeft()
}
