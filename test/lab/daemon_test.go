package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// A labDaemon is the activationd of a laboratory, with the scripts that come with it.
type labDaemon struct {
	*lab
	*harness.Daemon
	resvs []*resv
}

// A resv is a reservation of the file.
type resv struct {
	id         string
	start, end time.Time
	topology   string // YAML in one line
	settings   string // more of it: "retries: 0, grace: 1s"
}

// far returns a time that is after the end of the test.
func far(plus time.Duration) time.Time {
	return time.Now().Add(24*time.Hour + plus).Truncate(time.Second)
}

// newDaemon writes a configuration, in which more are settings of all
// reservations, and an inventory, and starts the daemon.
func (l *lab) newDaemon(inventory string, more ...string) *labDaemon {
	l.t.Helper()
	d := &labDaemon{lab: l, Daemon: harness.NewDaemon(l.t, l.dir, harness.Bin)}
	l.t.Cleanup(d.cleanUp)
	d.Prefix = []string{"nsenter", "--net=/run/netns/" + l.name + "-mgmt", "--"}
	l.write("inventory.yaml", inventory)
	l.write("reservations.yaml", "reservations: []\n")
	l.write("config.yaml", fmt.Sprintf(`
sources: [{files: %[1]s/reservations.yaml}]
lab: {inventory: %[1]s/inventory.yaml}
reservations:
  activate: [%[2]s/activate]
  deactivate: [%[2]s/deactivate]
  timeout: 10m
  backoff: {first: 100ms, max: 500ms}
  environment: {PATH: '%[3]s:/usr/sbin:/usr/bin:/sbin:/bin'}
  %[4]s
`, l.dir, scripts, harness.Bin, strings.Join(more, "\n  ")))
	d.Start()
	return d
}

// restart kills the daemon with SIGKILL, and starts another.
func (d *labDaemon) restart() {
	d.t.Helper()
	d.Kill()
	d.Start()
}

// cleanUp ends the daemon. The keeper of the laboratory ends what the daemon has
// started, as all of it is in the laboratory's namespaces.
func (d *labDaemon) cleanUp() {
	d.End()
	if d.t.Failed() {
		for _, r := range d.resvs {
			d.t.Logf("the log of %s:\n%s", r.id, d.logs(r.id))
		}
	}
}

// logs returns the output of the newest attempts of an activation.
func (d *labDaemon) logs(id string) string {
	var all strings.Builder
	names, _ := filepath.Glob(d.dir + "/state/runs/" + id + ".*activate.*")
	slices.SortFunc(names, func(a, b string) int { // by age
		x, errX := os.Stat(a)
		y, errY := os.Stat(b)
		if errX != nil || errY != nil {
			return 0
		}
		return x.ModTime().Compare(y.ModTime())
	})
	for _, name := range names[max(0, len(names)-4):] {
		text, _ := os.ReadFile(name + "/log")
		fmt.Fprintf(&all, "%s:\n%s", filepath.Base(name), text[max(0, len(text)-4000):])
	}
	return all.String()
}

// atctl runs atctl, which must not fail.
func (d *labDaemon) atctl(args ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + d.name + "-mgmt", "--", harness.Bin + "/atctl", "--socket", d.Address}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		said := ""
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			said = string(e.Stderr)
		}
		d.t.Fatalf("atctl %q: %v\n%s%s", args, err, out, said)
	}
	return string(out)
}

// list parses lines of JSON.
func list[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, v)
	}
	return all
}

// book adds a reservation. The test decides when its slot begins and ends.
func (d *labDaemon) book(id, topology, settings string) *resv {
	r := &resv{id: id, start: far(0), end: far(time.Hour), topology: topology, settings: settings}
	d.resvs = append(d.resvs, r)
	return r
}

// announce writes the reservations that are booked, and has them loaded.
func (d *labDaemon) announce() {
	d.t.Helper()
	var s strings.Builder
	s.WriteString("reservations:\n")
	for _, r := range d.resvs {
		fmt.Fprintf(&s, "- {id: %q, owner: group1, start: %q, end: %q, topology: %s", r.id, r.start.Format(time.RFC3339), r.end.Format(time.RFC3339), r.topology)
		if r.settings != "" {
			s.WriteString(", " + r.settings)
		}
		s.WriteString("}\n")
	}
	d.write("reservations.yaml", s.String())
	d.atctl("reload", "--force")
}

// change moves the slots: some end now, and some begin.
func (d *labDaemon) change(ends, begins []*resv) {
	d.t.Helper()
	for _, r := range begins {
		r.start = time.Now().Truncate(time.Second)
		r.end = r.start.Add(12 * time.Hour) // before the slots of those that have not begun, which may need the same hosts
	}
	for _, r := range ends {
		r.end = time.Now().Truncate(time.Second).Add(time.Second)
	}
	d.announce()
}

func (d *labDaemon) show(id string) control.Detail {
	d.t.Helper()
	return list[control.Detail](d.t, d.atctl("--json", "show", id))[0]
}
