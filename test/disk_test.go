package test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"activationd/control"
	"activationd/test/harness"
)

// TestFullDisk fills the disk with the state. Submissions are refused with a message,
// running scripts go on and their ends are recorded once there is space, and nothing
// that was acknowledged is missing, whenever the daemon is killed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d := newDaemon(t, "listen: [{address: '127.0.0.1:0', user: root}]\njobs: {environment: {MARKS: DIR/shared/marks}}\n")
	d.smallDisk("6m")
	b := d.beacon()
	script, gate := d.gate(b)
	d.Start()
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
		o := d.run(big, d.Bin+"/atctl", "add", "--in", "1h", "--stdin", "-", "--", "cat")
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
	if needs := d.status().Attention; len(needs) == 0 || needs[0].Kind != control.NeedsDisk {
		t.Errorf("on a full disk status says that %+v needs attention, want the disk first", needs)
	}
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
	d.Kill()
	p := d.Launch()
	if err := d.Ready(p); err != nil {
		t.Logf("on a full disk it does not start: %s", harness.Tail(d.read(d.dir+"/daemon.log"), 3))
	} else if o := d.atctl("show", kept[0]); o.status != 0 {
		t.Errorf("atctl show on a full disk: %+v", o)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if p.Exited() {
		d.Start()
	}
	d.ended(running, "failed", 5) // recorded now
	for _, id := range kept {
		if a := d.show(id); a.State != "scheduled" {
			t.Errorf("%s, which was acknowledged, is %s", id, a.State)
		}
	}
	d.Kill()
	d.Start()
	for _, id := range kept {
		if a := d.show(id); a.State != "scheduled" {
			t.Errorf("after another kill %s, which was acknowledged, is %s", id, a.State)
		}
	}
	id := d.add("--", "true")
	d.ended(id, "succeeded", 0)
	d.nothingLeft()
}

// smallDisk gives the state a file system of its own, of a size.
func (d *daemon) smallDisk(size string) {
	d.t.Helper()
	if err := os.Mkdir(d.state, 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.state, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		d.t.Skipf("cannot mount a tmpfs: %v", err)
	}
	d.t.Cleanup(func() {
		d.Kill()
		for _, pid := range append(d.wrappers(), d.marked()...) {
			killPID(d.t, pid)
			awaitGone(d.t, pid)
		}
		if err := syscall.Unmount(d.state, 0); err != nil {
			d.t.Errorf("unmount %s: %v", d.state, err)
		}
	})
}

// fill fills the disk with the state until a file cannot grow by a single byte.
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

// TestFullDiskUnderLoad repeatedly fills the disk and makes room again, while jobs
// start and end and the daemon is killed.
func TestFullDiskUnderLoad(t *testing.T) {
	t.Parallel()
	needRoot(t)
	tt := newTorture(t, tortureConfig)
	d := tt.daemon
	d.smallDisk("24m")
	d.Start()
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
			d.Kill()
			d.Start()
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
	tt.endServices()
	d.nothingLeft()
}
