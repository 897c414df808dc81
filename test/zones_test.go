package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// zic compiles rules of time zones and replaces the zones' files, as an update of the
// time zones does.
func (d *daemon) zic(rules string) {
	d.t.Helper()
	if out, err := exec.Command("zic", "-b", "fat", "-d", d.dir+"/zoneinfo", d.write("lab.zi", rules, 0o644)).CombinedOutput(); err != nil {
		d.t.Fatalf("zic: %v\n%s", err, out)
	}
}

// TestTimeZonesUpdated updates the time zones while a daemon runs: the zone of a
// recurrence, and the daemon's own, whose file TZ names. The daemon is reloaded,
// restarted and killed.
func TestTimeZonesUpdated(t *testing.T) {
	needProgram(t, "zic")
	t.Parallel()
	d := newDaemon(t, `
recurrences:
  - {name: declared, cron: "0 12 1 7 *", time_zone: Lab/Town, command: ["true"]}
`)
	if err := os.Mkdir(filepath.Join(d.dir, "zoneinfo"), 0o755); err != nil {
		t.Fatal(err)
	}
	const winter = "Rule T 2000 max - Oct lastSun 3:00 0 -\nZone Lab/Town 1:00 T LAB%s\n"
	summer := "Rule T 2000 max - Mar lastSun 2:00 1:00 S\n" + winter
	noMore := fmt.Sprintf("Rule T 2000 %d - Mar lastSun 2:00 1:00 S\n", time.Now().Year()-1) + winter
	d.zic(summer)
	d.Prefix = []string{"env", "ZONEINFO=" + d.dir + "/zoneinfo", "TZ=" + d.dir + "/zoneinfo/Lab/Town"}
	d.Start()
	d.must("reload") // the first load may come later than the answers of a daemon that is ready
	d.must("every", "add", "named", "--tz", "Lab/Town", "--calendar", "*-07-01 12:00", "--", "true")
	// Without a zone it is the daemon's, which atctl here does not know.
	if got := ask(t, "unix", d.socket, "every add\nname:own\ncron:0 12 1 7 *\narg:true\n\n"); !strings.HasPrefix(got, "200 ") {
		t.Fatalf("every add: %s", got)
	}
	at := func(name string) string {
		show := parse[control.RecurrenceDetail](t, d.must("--json", "every", "show", name))
		next, _, _ := strings.Cut(d.must("next", name, "-n", "1"), "\n")
		if shown, err := time.Parse("Mon 2006-01-02 15:04:05 -0700", next); err == nil && shown.Equal(show.Next.Time) {
			return show.Next.Format("15:04")
		}
		return fmt.Sprintf("%v, or %s", show.Next, next)
	}
	check := func(when, want string) {
		t.Helper()
		for _, name := range []string{"declared", "named", "own"} {
			if got := at(name); got != want {
				t.Errorf("%s, the next of %s is at %s, want %s UTC", when, name, got, want)
			}
		}
	}
	check("at first", "10:00")
	d.zic(noMore)
	d.must("reload")
	check("after a reload", "11:00")
	d.stop()
	d.zic(summer)
	d.Start()
	check("after a restart", "10:00")
	d.Kill()
	d.zic(noMore)
	d.Start()
	check("after a crash", "11:00")
	d.zic(summer)
	check("at once, as it is shown", "10:00")
}
