package vm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// started returns the emulator's arguments for a machine whose clock starts at a time.
func started(at string) []string { return []string{"-rtc", "base=" + at} }

// set sets the machine's clock.
func (m *machine) set(at string) {
	m.t.Helper()
	m.do("date -u -s '" + at + "' >/dev/null")
}

// linesOf returns the lines of a file, or none.
func (m *machine) linesOf(file string) []string {
	m.t.Helper()
	return strings.Fields(m.do("cat " + file + " 2>/dev/null || true"))
}

// mark is a command that writes which occurrence, or job, runs.
const mark = `sh -c 'echo ${ACTIVATION_OCCURRENCE:-$ACTIVATION_ID} >>/tmp/NAME'`

// every adds a recurrence that marks its occurrences.
func (m *machine) every(name, rest string) {
	m.t.Helper()
	m.atctl("every add " + name + " " + rest + " -- " + strings.ReplaceAll(mark, "NAME", name))
}

// trusted checks whether the daemon trusts the clock.
func (m *machine) trusted(want bool) {
	m.t.Helper()
	m.await(env+`atctl status --json | grep -o '"clock_trusted":[a-z]*'`, fmt.Sprintf(`"clock_trusted":%v`, want))
}

// The clock is set by less than an hour, far ahead for a moment, and ahead permanently.
// A wrong clock for a moment must not prune the history, nor make future occurrences
// missed ones.
func TestClockIsSet(t *testing.T) {
	needMachine(t)
	m := boot(t, started("2027-03-01T20:00:00")...)
	m.daemon("/tmp/s")
	m.every("q", "--cron '*/10 * * * *' --tz UTC")
	m.trusted(true)
	old := m.atctl("add -- true")
	m.atctl("wait " + old)
	soon := m.atctl("add --at 2027-03-01T20:50:00Z -- true")
	later := m.atctl("add --at 2027-03-02T12:00:00Z -- true")

	m.set("2027-03-01 20:40:00") // forward: the newest is on time, those before are missed
	m.await("cat /tmp/q", "2027-03-01T20:40:00Z")
	m.set("2027-03-01 20:15:30") // back: none comes twice
	m.set("2027-03-01 20:39:58")
	m.do("sleep 4")
	if got := m.linesOf("/tmp/q"); !slices.Equal(got, []string{"2027-03-01T20:40:00Z"}) {
		t.Errorf("after a step back these occurred: %q", got)
	}
	m.trusted(true)

	for _, wrong := range []string{"2027-03-01 22:45:30", "2031-01-01 00:00:30"} {
		before := m.atctl("list --all --json") + m.atctl("every show q --json")
		m.set(wrong)
		m.trusted(false)
		if out := m.atctl("status"); !strings.Contains(out, "not trusted yet") || !strings.Contains(out, "went forward") {
			t.Errorf("status says of the clock that was set to %s:\n%s", wrong, out)
		}
		m.do("sleep 2")
		m.set("2027-03-01 20:41:30")
		m.trusted(true)
		if after := m.atctl("list --all --json") + m.atctl("every show q --json"); after != before {
			t.Errorf("the clock was at %s for a moment; before:\n%s\nafter:\n%s", wrong, before, after)
		}
	}

	m.set("2027-03-02 18:00:20") // for good, but nobody vouches for it yet
	m.trusted(false)
	for _, id := range []string{soon, later} {
		if out := m.atctl("why " + id); !strings.Contains(out, "passed over") {
			t.Errorf("of %s, which was passed over, is said:\n%s", id, out)
		}
	}
	now := m.atctl("add -- true") // what is asked for now runs now
	m.atctl("wait " + now)
	m.do("vouch")
	m.trusted(true)
	m.atctl("wait " + soon) // less than a day late
	m.atctl("wait " + later)
	if out := m.atctl("every show q --json"); !strings.Contains(out, `"skipped":`) {
		t.Errorf("nothing is said of what was passed over:\n%s", out)
	}
	m.await("tail -n 1 /tmp/q", "2027-03-02T18:00:00Z") // it was on time when the clock was set
	if got, want := m.linesOf("/tmp/q"), []string{"2027-03-01T20:40:00Z", "2027-03-02T18:00:00Z"}; !slices.Equal(got, want) {
		t.Errorf("these occurred: %q, want %q", got, want)
	}
}

// A machine whose battery is flat starts in 1970. No recurrence may start again there,
// nor may its occurrences be repeated when the clock is set.
func TestClockFrom1970(t *testing.T) {
	needMachine(t)
	file := disk(t)
	m := boot(t, append(drive(file), started("2027-03-01T20:00:00")...)...)
	m.do("mount -t ext4 /dev/vda /mnt")
	m.daemon("/mnt/s")
	m.every("q", "--cron '*/10 * * * *' --tz UTC --catch-up all")
	m.every("s", "--every 2s --overlap parallel")
	job := m.atctl("add --at 2027-03-01T20:20:00Z -- sh -c 'echo $ACTIVATION_ID >>/tmp/q'")
	m.set("2027-03-01 20:10:00")
	m.await("cat /tmp/q", "2027-03-01T20:10:00Z")
	m.do("kill $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.1; done; until umount /mnt 2>/dev/null; do sleep 0.1; done") // wrappers may still use it
	m.off()

	m = boot(t, append(drive(file), started("1970-01-01T00:09:55")...)...)
	m.do("mount -t ext4 /dev/vda /mnt")
	m.daemon("/mnt/s")
	m.trusted(false)
	if out := m.atctl("status"); !strings.Contains(out, "went back") {
		t.Errorf("status says in 1970:\n%s", out)
	}
	m.do("sleep 8") // over 00:10
	if got := m.linesOf("/tmp/q"); len(got) > 0 {
		t.Errorf("in 1970 these occurred: %q", got)
	}
	m.set("2027-03-01 20:30:30")
	m.trusted(true)
	m.atctl("wait " + job)
	m.await("grep -c T /tmp/q", "2")
	got := m.linesOf("/tmp/q")
	slices.Sort(got)
	if want := []string{job, "2027-03-01T20:20:00Z", "2027-03-01T20:30:00Z"}; !slices.Equal(got, want) {
		t.Errorf("when the clock was set these occurred: %q, want %q", got, want)
	}
}

// A recurrence over both changes of daylight saving time, with a real clock.
func TestClocksChange(t *testing.T) {
	needMachine(t)
	m := boot(t, started("2027-03-27T20:00:00")...)
	m.daemon("/tmp/s")
	const zone = " --tz Europe/Prague"
	m.every("half", "--cron '30 2 * * *'"+zone)     // a time of day
	m.every("any", "--cron '*/30 2 * * *'"+zone)    // as time passes
	m.every("cal", "--calendar '*-*-* 02:30'"+zone) // as systemd has it
	step := func(at string) {
		t.Helper()
		m.set(at)
		m.do("vouch")
	}
	occurred := func(name string, want ...string) {
		t.Helper()
		if got := m.linesOf("/tmp/" + name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// In March 02:00 is 03:00.
	step("2027-03-28 00:59:57")
	m.await("cat /tmp/half", "2027-03-28T03:00:00+02:00")
	step("2027-03-28 01:29:58") // 03:29:58
	m.do("sleep 4")
	occurred("half", "2027-03-28T03:00:00+02:00")
	occurred("any")
	occurred("cal")
	m.do("rm -f /tmp/half")
	// In October 03:00 is 02:00: half past two comes at 00:30 and at 01:30 UTC.
	step("2027-10-31 00:29:57")
	m.await("cat /tmp/half", "2027-10-31T02:30:00+02:00")
	m.await("cat /tmp/cal", "2027-10-31T02:30:00+02:00")
	step("2027-10-31 00:59:57")
	m.await("tail -n 1 /tmp/any", "2027-10-31T02:00:00+01:00")
	step("2027-10-31 01:29:57")
	m.await("tail -n 1 /tmp/any", "2027-10-31T02:30:00+01:00")
	occurred("half", "2027-10-31T02:30:00+02:00")
	occurred("cal", "2027-10-31T02:30:00+02:00")
	occurred("any", "2027-10-31T02:30:00+02:00", "2027-10-31T02:00:00+01:00", "2027-10-31T02:30:00+01:00")
}
