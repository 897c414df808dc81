package test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
)

// TestRemovedRunDirectory has scripts remove the directory of their own run, also while
// the daemon is killed. How they ended is then not known, so they are lost, and are not
// started again and again. A script that removes only the evidence of its start, and
// kills its wrapper, may never have run: it is tried three more times.
func TestRemovedRunDirectory(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "jobs: {retries: 0, backoff: {first: 1s}}\n")
	remove := d.script("remove", `echo "$ACTIVATION_ATTEMPT" >>"$2"
rm -rf "$1/state/runs/$ACTIVATION_ID.$ACTIVATION_PHASE.$ACTIVATION_ATTEMPT"
test "$3" = "" || kill -9 "$3"
`)
	d.Start()
	id := d.add("--", remove, d.dir, d.shared("once"))
	if a := d.ended(id, "lost", 125); !strings.Contains(a.Reason, "was removed or changed while it ran") {
		t.Errorf("it is lost because %q", a.Reason)
	}
	if got := d.read(d.shared("once")); got != "1\n" {
		t.Errorf("it ran %q times, want once", got)
	}
	id = d.add("--", remove, d.dir, d.shared("killer"), fmt.Sprint(d.Newest().Cmd.Process.Pid))
	d.AwaitGone(d.Newest())
	d.Start()
	d.ended(id, "lost", 125)
	if got := d.read(d.shared("killer")); got != "1\n" {
		t.Errorf("one that killed the daemon, too, ran as %q, want once", got)
	}

	id = d.add("--", d.script("unsay", `echo "$ACTIVATION_ATTEMPT" >>"$2"
cd "$1/state/runs/$ACTIVATION_ID.$ACTIVATION_PHASE.$ACTIVATION_ATTEMPT"
while ! test -s started; do sleep 0.01; done
rm started result.new; kill -9 $PPID; sleep 60
`), d.dir, d.shared("often"))
	if a := d.ended(id, "lost", 125); !strings.Contains(a.Reason, "does the script remove its run directory") {
		t.Errorf("it is lost because %q", a.Reason)
	}
	if got := d.read(d.shared("often")); got != "1\n2\n3\n4\n" {
		t.Errorf("it ran as %q, want four attempts", got)
	}
	d.nothingLeft()
}

// TestNoRoomInTheRuntimeDirectory fills the runtime directory while a job and a
// reservation are due. They do not start, which costs no attempt; why says so; and they
// run once there is room.
func TestNoRoomInTheRuntimeDirectory(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d, b := lab(t, labConfig)
	if err := os.Mkdir(d.runtime, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.runtime, "tmpfs", 0, "nr_inodes=50,mode=0755"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		d.Kill()
		for _, pid := range append(d.wrappers(), d.marked()...) {
			killPID(t, pid)
			awaitGone(t, pid)
		}
		if err := syscall.Unmount(d.runtime, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", d.runtime, err)
		}
	})
	d.Start()
	var filler []string
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s/filler-%d", d.runtime, n)
		if err := os.Mkdir(name, 0o700); err != nil {
			break
		}
		filler = append(filler, name)
	}
	id := d.add("--retries", "0", "--", "true")
	d.announce(resv{id: "1@x", start: time.Now(), end: time.Now().Add(time.Hour), devices: "r1"})
	for _, id := range []string{id, "1@x"} {
		d.Until(id, "did not start twice", func(a control.Detail) bool {
			return a.State == "waiting" && len(a.Attempts) == 1 && a.Attempts[0].N >= 2
		})
		if got := d.must("why", id); !strings.Contains(got, "did not start: configuration directory: no space left on device; the next try is due at") {
			t.Errorf("why says %q", got)
		}
	}
	b.quiet()
	for _, name := range filler {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	d.ended(id, "succeeded", 0)
	if got := b.next(); got != "activate 1@x" {
		t.Errorf("%q, want the activation", got)
	}
	d.InState("1@x", "active")
	d.must("cancel", "1@x")
	d.ended("1@x", "cancelled", 125)
	d.nothingLeft()
}

// TestNoDescriptors lets clients use up the daemon's descriptors while a job is due.
// The job does not start, and runs once there are descriptors again.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	needProgram(t, "prlimit")
	d := newDaemon(t, "control: {connections: 1000}\n")
	d.Prefix = []string{"prlimit", "--nofile=80:80"}
	d.Start()
	id := d.add("--in", "1s", "--retries", "0", "--", "true")
	var conns []net.Conn
	for range 120 { // who finds no place waits to be accepted
		conn, err := net.Dial("unix", d.socket)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	d.await("that it could not be started", func() bool {
		return strings.Contains(d.read(d.dir+"/daemon.log"), "too many open files") &&
			strings.Contains(d.read(d.dir+"/daemon.log"), "cannot start a run")
	})
	for _, conn := range conns {
		_ = conn.Close()
	}
	if a := d.ended(id, "succeeded", 0); len(a.Attempts) > 2 {
		t.Errorf("attempts %+v, want at most the last that did not start, and the one that ran", a.Attempts)
	}
	d.nothingLeft()
}
