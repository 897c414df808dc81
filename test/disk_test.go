package test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"activationd/control"
)

// TestFullDisk fills the disk that the state is on. Submissions are refused with
// a sentence, what runs goes on and its end is recorded once there is space, and
// nothing that was acknowledged is missing, whenever the daemon is killed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d := newDaemon(t, "listen: [{address: '127.0.0.1:0', user: root}]\njobs: {environment: {MARKS: DIR/shared/marks}}\n")
	if err := os.Mkdir(d.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.state, "tmpfs", 0, "size=6m,mode=0700"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		d.kill()
		for _, pid := range append(d.wrappers(), d.marked()...) {
			killPID(t, pid)
			awaitGone(t, pid)
		}
		_ = d.logFile.Sync()
		if err := syscall.Unmount(d.state, 0); err != nil {
			t.Errorf("unmount %s: %v", d.state, err)
		}
	})
	b := d.beacon()
	script, gate := d.gate(b)
	d.start()
	var kept []string
	for range 20 {
		kept = append(kept, d.add("--in", "1h", "--", "true"))
	}
	running := d.add("--", script, "job")
	b.next()

	// Jobs with much to say, until there is no room for another, and no room for
	// anything else either.
	big := strings.Repeat("x", 200<<10)
	filler := d.fill()
	refused := ""
	for range 200 {
		o := d.run(big, d.bin+"/atctl", "add", "--in", "1h", "--stdin", "-", "--", "cat")
		if o.status == 0 {
			kept = append(kept, strings.TrimSpace(o.out))
			continue
		}
		if o.status != 6 {
			t.Fatalf("atctl add on a full disk: status %d, want 6\n%s", o.status, o.err)
		}
		refused = o.err
		break
	}
	t.Logf("refused with: %s", strings.TrimSpace(refused))
	if !strings.Contains(refused, "space") {
		t.Errorf("on a full disk atctl add says %q, want what is missing", refused)
	}
	if got := ask(t, "tcp", d.tcp(), "add\nin:1h\narg:cat\nstdin:"+big+"\n\n"); !strings.HasPrefix(got, "503 ") {
		t.Errorf("add over TCP is answered with %.200q, want 503", got)
	}
	d.status() // it answers
	if a := d.show(running); a.State != "activating" {
		t.Errorf("what ran is %s (%s)", a.State, a.Reason)
	}
	wrapper := d.wrapperOf(running + ".activate.1")
	d.open(gate, "on")
	awaitGone(t, wrapper)
	if text := d.read(d.state + "/runs/" + running + ".activate.1/result"); !strings.Contains(text, "exit 5") {
		t.Errorf("on a full disk the result is %q, want the exit with 5", text)
	}

	// Killed, and started again, with no room at all.
	d.kill()
	p := d.launch()
	if err := d.ready(p); err != nil {
		t.Logf("on a full disk it does not start: %s", tail(d.read(d.dir+"/daemon.log"), 3))
	} else if o := d.atctl("show", kept[0]); o.status != 0 {
		t.Errorf("atctl show on a full disk: %+v", o)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if p.exited() {
		d.start()
	}
	d.ended(running, "failed", 5) // recorded now
	for _, id := range kept {
		if a := d.show(id); a.State != "scheduled" {
			t.Errorf("%s, which was acknowledged, is %s", id, a.State)
		}
	}
	d.kill()
	d.start()
	for _, id := range kept {
		if a := d.show(id); a.State != "scheduled" {
			t.Errorf("after another kill %s, which was acknowledged, is %s", id, a.State)
		}
	}
	id := d.add("--", "true")
	d.ended(id, "succeeded", 0)
	d.nothingLeft()
}

// fill fills the disk that the state is on, to the last byte that a file of one
// byte could have.
func (d *daemon) fill() string {
	d.t.Helper()
	path := d.state + "/filler"
	f, err := os.Create(path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	buf := make([]byte, 4096)
	for {
		if _, err := f.Write(buf); errors.Is(err, syscall.ENOSPC) {
			return path
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

// TestFullDiskUnderLoad fills the disk and makes room again, again and again,
// while jobs come and go and the daemon is killed.
func TestFullDiskUnderLoad(t *testing.T) {
	t.Parallel()
	needRoot(t)
	tt := newTorture(t, tortureConfig)
	d := tt.daemon
	if err := os.Mkdir(d.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.state, "tmpfs", 0, "size=24m,mode=0700"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		d.kill()
		for _, pid := range append(d.wrappers(), d.marked()...) {
			killPID(t, pid)
			awaitGone(t, pid)
		}
		if err := syscall.Unmount(d.state, 0); err != nil {
			t.Errorf("unmount %s: %v", d.state, err)
		}
	})
	d.start()
	known := make(map[string]control.Detail)
	for round := range 6 {
		full := round%2 == 1
		var filler string
		if full {
			filler = d.fill()
		}
		var ids []string
		refusals := 0
		for i := range 25 {
			o := d.atctl("add", "--label", fmt.Sprint(i), "--retries", "3", "--", d.dir+"/job", []string{"ok", "tree", "until"}[i%3], "2")
			switch o.status {
			case 0:
				ids = append(ids, strings.TrimSpace(o.out))
			case 6:
				refusals++
			default:
				t.Errorf("atctl add: %+v", o)
			}
		}
		if round%3 == 2 {
			d.kill()
			d.start()
		}
		if full {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range ids {
			if _, a := d.wait(id); a.Outcome != "succeeded" {
				t.Errorf("%s ended as %s (%s); attempts %+v", id, a.Outcome, a.Reason, a.Attempts)
			} else {
				known[id] = a
			}
		}
		t.Logf("full: %v; %d added, %d refused", full, len(ids), refusals)
	}
	tt.judgeMarks(known)
	d.nothingLeft()
}
