package supervisor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// notifying is a specification of a script that reports what it does.
func notifying(script string) wrapper.Spec {
	spec := shell(script)
	spec.Notify = true
	return spec
}

// notice waits until what the run has reported fulfils a condition.
func (b *bench) notice(what string, ok func(wrapper.Notified) bool) wrapper.Notified {
	b.t.Helper()
	for deadline := time.After(hang); ; {
		select {
		case n := <-b.Notices():
			if n.Key != key {
				b.t.Fatalf("notice of %v, want %v", n.Key, key)
			}
			if ok(n.Notified) {
				return n.Notified
			}
		case <-deadline:
			b.t.Fatalf("waited in vain for a notice of %s; log: %s; file: %s", what, b.file("log"), b.file("notify"))
		}
	}
}

func ready(n wrapper.Notified) bool { return !n.Ready.IsZero() }

// finish ends the run by its standard way out, and checks that nothing is left.
func (b *bench) finish() wrapper.Result {
	b.t.Helper()
	if err := b.Stop(key); err != nil {
		b.t.Fatal(err)
	}
	r := b.exit()
	b.nothingLeft()
	return r
}

// Whatever process of a run reports, it is believed, also if it has ended since; with
// cgroups and without, as the daemon's user and as another one.
func TestNotifySenders(t *testing.T) {
	t.Parallel()
	senders := []struct{ name, script string }{
		{"the script", `exec "$GUEST" stay READY=1 STATUS=a=b`},
		{"a child that ends", `"$GUEST" send READY=1 STATUS=a=b; exec sleep 600`},
		{"a grandchild in a session of its own", `sh -c 'setsid sh -c "exec \"$GUEST\" barrier \"READY=1
STATUS=a=b\"" &'; exec sleep 600`},
		{"a wrapped shell", `sh -c 'sh -c "\"$GUEST\" send READY=1 STATUS=a=b; exec sleep 600"'`},
		{"two lines in one message", `"$GUEST" send "READY=1
STATUS=a=b"; exec sleep 600`},
		{"a message with a descriptor, which is closed", `"$GUEST" barrier READY=1; "$GUEST" send STATUS=a=b; exec sleep 600`},
		{"what is no notification comes first", `"$GUEST" send "" MAINPID=1 FDSTORE=1 READY=yes READY "$(head -c 5000 /dev/zero | tr '\0' x)
READY=1" READY=1 STATUS=a=b; exec sleep 600`},
	}
	uids := []int{-1}
	if os.Getuid() == 0 {
		uids = append(uids, runUID)
	}
	for _, guard := range guards(t) {
		for _, uid := range uids {
			for _, s := range senders {
				t.Run(guard+"/"+strconv.Itoa(uid)+"/"+s.name, func(t *testing.T) {
					t.Parallel()
					b := newBench(t, guard)
					b.reachable()
					spec := notifying(s.script)
					spec.UID, spec.GID = uid, uid
					before := time.Now()
					b.start(spec)
					n := b.notice("READY and STATUS", func(n wrapper.Notified) bool { return ready(n) && n.Status != "" })
					if n.Status != "a=b" || n.Refused != 0 || n.Ready.Before(before) || n.Ready.After(time.Now()) {
						t.Errorf("notified = %+v", n)
					}
					if r := b.finish(); r.Text != "" {
						t.Errorf("result = %+v", r)
					}
				})
			}
		}
	}
}

// reachable makes the configuration directories reachable for other users.
func (b *bench) reachable() {
	b.t.Helper()
	for up := filepath.Dir(b.config.ConfigRoot); up != os.TempDir(); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
}

// A process that does not belong to the run is refused and counted, whoever's it is, if
// it still lives. If it has ended, it is refused unless it was the script's user's or
// root's.
func TestNotifyRefuses(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, guard)
			b.reachable()
			b.start(notifying(`exec sleep 600`))
			socket := wrapper.NotifySocket(b.config.ConfigRoot, b.wrapperPID())
			b.await("the socket", func() bool { _, err := os.Stat(socket); return err == nil })
			stranger := func(uid uint32, args ...string) {
				t.Helper()
				cmd := exec.Command(guest, args...)
				cmd.Env = []string{"NOTIFY_SOCKET=" + socket}
				if uid != 0 {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
				}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			stranger(0, "barrier", "READY=1\nSTATUS=stranger") // it lives while its message is looked at
			want := 1
			b.notice("the refusal", func(n wrapper.Notified) bool { return n.Refused > 0 })
			if os.Getuid() == 0 {
				stranger(runUID, "send", "READY=1", "STATUS=stranger", "STOPPING=1") // it may have ended
				want += 3
			}
			b.finish()
			n, ok := b.Notified(key)
			if !ok || n.Refused < want || ready(n) || n.Status != "" || !n.Stopping.IsZero() ||
				!strings.HasPrefix(n.Refusal, "process ") {
				t.Errorf("notified = %+v, %v; want at least %d refused", n, ok, want)
			}
			if os.Getuid() == 0 && !strings.HasSuffix(n.Refusal, " of user "+itoa(runUID)) {
				t.Errorf("refusal = %q", n.Refusal)
			}
		})
	}
}

// What was reported while no daemon ran is known to the next one, and it learns what is
// reported from then on.
func TestNotifyOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	gate := filepath.Join(t.TempDir(), "gate")
	for _, g := range []string{gate + "1", gate + "2", gate + "3"} {
		if err := syscall.Mkfifo(g, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func(n int) {
		t.Helper()
		if err := os.WriteFile(gate+itoa(n), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.start(notifying(fmt.Sprintf(`g=%s
cat $g'1'; "$GUEST" barrier "EXTEND_TIMEOUT_USEC=60000000
STATUS=loading"
cat $g'2'; "$GUEST" barrier READY=1
cat $g'3'; "$GUEST" barrier RELOADING=1
exec sleep 600`, gate)))
	open(1)
	n := b.notice("EXTEND_TIMEOUT_USEC", func(n wrapper.Notified) bool { return !n.Extended.IsZero() })
	if d := time.Until(n.Extended); d > time.Minute || n.Status != "loading" || ready(n) {
		t.Errorf("notified = %+v, extended by %v from now", n, d)
	}
	b.Close()
	open(2)
	b.await("READY in the file", func() bool {
		n, err := wrapper.ParseNotify(b.file("notify"))
		return err == nil && ready(n)
	})
	b.open()
	if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
		t.Fatalf("Adopt = %+v, %v", f, err)
	}
	select { // the first that comes
	case n := <-b.Notices():
		if !ready(n.Notified) || n.Notified.Status != "loading" {
			t.Errorf("notified at the adoption = %+v", n)
		}
	case <-time.After(hang):
		t.Fatal("no notice after the adoption")
	}
	open(3)
	b.notice("RELOADING", func(n wrapper.Notified) bool { return ready(n) && !n.Reloading.IsZero() })
	b.finish()
}

// What a script reports just before its end is not lost, and no notice comes from a run
// that did not ask for the socket.
func TestNotifyAtTheEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	if r := b.run(notifying(`"$GUEST" send READY=1 "STATUS=$(printf 'bye \033[31m\377')" STOPPING=1`)); r.Exit != 0 || r.Text != "" {
		t.Errorf("result = %+v", r)
	}
	n, ok := b.Notified(key)
	if !ok || !ready(n) || n.Stopping.IsZero() || n.Status != "bye  [31m?" {
		t.Errorf("notified = %+v, %v", n, ok)
	}
	b.nothingLeft()

	b = newBench(t, "")
	spec := shell(`echo "${NOTIFY_SOCKET-none}"`)
	b.run(spec)
	if _, ok := b.Notified(key); ok || b.file("log") != "none\n" {
		t.Errorf("without Notify: notified, or NOTIFY_SOCKET is %s", b.file("log"))
	}
}

// Nothing is left of the socket when the wrapper is killed, whether or not a daemon
// follows the run.
func TestNotifySocketOfKilledWrapper(t *testing.T) {
	t.Parallel()
	for _, followed := range []bool{true, false} {
		t.Run(fmt.Sprint("followed ", followed), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.start(notifying(`"$GUEST" send READY=1; exec sleep 600`))
			b.notice("READY", ready)
			if !followed {
				b.Close()
			}
			if err := syscall.Kill(b.wrapperPID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if followed {
				if r := b.exit(); r.Reason != wrapper.Lost {
					t.Errorf("result = %+v", r)
				}
			} else {
				b.open()
				if f, err := b.Adopt(key); err != nil || f.State != supervisor.Lost {
					t.Errorf("Adopt = %+v, %v", f, err)
				}
			}
			if n, ok := b.Notified(key); !ok || !ready(n) {
				t.Errorf("notified = %+v, %v", n, ok)
			}
			b.nothingLeft()
		})
	}
}

// A directory whose name is too long for a socket's does not keep a script from reporting.
func TestNotifyInALongDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Close()
	b.config.ConfigRoot = filepath.Join(b.config.ConfigRoot, strings.Repeat("x", 100))
	if err := os.Mkdir(b.config.ConfigRoot, 0o755); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.start(notifying(`"$GUEST" send READY=1; exec sleep 600`))
	b.notice("READY", ready)
	b.finish()
}

// A script that reports without end costs bounded memory, few files, and no message.
func TestNotifyFlood(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(notifying(`"$GUEST" flood 30000; "$GUEST" send READY=1; exec sleep 600`))
	notices := 0
	b.notice("READY", func(n wrapper.Notified) bool { notices++; return ready(n) })
	n, _ := b.Notified(key)
	if !strings.HasPrefix(n.Status, "29999 ") {
		t.Errorf("status = %q", n.Status)
	}
	if kib := b.privateMemory(); kib > 8<<10 {
		t.Errorf("the wrapper has %d KiB of its own", kib)
	} else {
		t.Logf("%d notices, %d KiB", notices, kib)
	}
	b.finish()
}

// A script that is asked to end gets the time that it asks for then, also from the daemon
// that follows it. If it does not ask again, it is killed.
func TestStopIsExtended(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script string
		grace        time.Duration
		exit         int
	}{
		{"for long enough", `trap '"$GUEST" barrier "STOPPING=1
EXTEND_TIMEOUT_USEC=600000000"; sleep 13; exit 7' TERM; "$GUEST" send READY=1; while :; do sleep 600; done`, 10 * time.Second, 7},
		{"before the stop, for the start", `trap "" TERM; "$GUEST" barrier EXTEND_TIMEOUT_USEC=3600000000; "$GUEST" send READY=1; sleep 3600`, 100 * time.Millisecond, -1},
		{"for a moment, again and again, and then not any more", `trap 'for i in 1 2 3 4 5 6 7 8 9; do "$GUEST" barrier EXTEND_TIMEOUT_USEC=2000000; sleep 0.2; done; sleep 3600' TERM
"$GUEST" send READY=1; while :; do sleep 600; done`, 2 * time.Second, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.Close()
			b.config.Patience = 10 * time.Millisecond
			b.open()
			spec := notifying(tt.script)
			spec.Grace = tt.grace
			b.start(spec)
			b.notice("READY", ready)
			b.reopen()
			if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
				t.Fatalf("Adopt = %+v, %v", f, err)
			}
			if r := b.finish(); r.Reason != wrapper.Stopped || r.Exit != tt.exit {
				t.Errorf("result = %+v, want exit %d", r, tt.exit)
			}
		})
	}
}

// What systemd's own program sends is understood, and a watchdog's reports come each time.
func TestNotifyAsSystemd(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-notify"); err != nil {
		t.Skip("there is no systemd-notify")
	}
	b := newBench(t, "")
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := notifying(`systemd-notify --ready --status="$WATCHDOG_USEC${WATCHDOG_PID-}"; cat ` + gate + `; systemd-notify WATCHDOG=1; exec sleep 600`)
	spec.Env = append(spec.Env, "WATCHDOG_USEC=7", "WATCHDOG_PID=1")
	spec.Watchdog = 5 * time.Second
	b.start(spec)
	if n := b.notice("READY and STATUS", func(n wrapper.Notified) bool { return ready(n) && n.Status != "" }); n.Status != "5000000" || !n.Watchdog.IsZero() {
		t.Errorf("notified = %+v", n)
	}
	before := time.Now()
	if err := os.WriteFile(gate, nil, 0); err != nil {
		t.Fatal(err)
	}
	if n := b.notice("WATCHDOG", func(n wrapper.Notified) bool { return !n.Watchdog.IsZero() }); n.Watchdog.Before(before) || n.Refused > 0 {
		t.Errorf("notified = %+v", n)
	}
	b.finish()
}
