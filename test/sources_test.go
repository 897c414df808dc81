package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

const labConfig = `
sources: [{files: DIR/res.yaml}]
reservations: {activate: [DIR/activate], deactivate: [DIR/deactivate], grace: 200ms, retries: 0, backoff: {first: 20ms, max: 100ms}}
`

// lab is a daemon with a file of reservations whose scripts tell a beacon
// "activate 1@x" and "deactivate 1@x".
func lab(t *testing.T, config string) (*daemon, *beacon) {
	t.Helper()
	d := newDaemon(t, config)
	b := d.beacon()
	text := `echo "$ACTIVATION_PHASE $ACTIVATION_ID" >` + b.path + "\n"
	d.script("activate", text)
	d.script("deactivate", text)
	d.write("res.yaml", yaml(), 0o644)
	return d, b
}

// someDay returns n reservations of next year, each with a device of its own.
func someDay(n int) []resv {
	var rs []resv
	start := time.Now().Add(365 * 24 * time.Hour)
	for i := range n {
		rs = append(rs, resv{id: fmt.Sprintf("%d@x", i+1), start: start, end: start.Add(time.Hour), devices: fmt.Sprintf("r%d", i+1)})
	}
	return rs
}

// live lists the reservations that are not finished.
func (d *daemon) live() []string {
	d.t.Helper()
	var ids []string
	for l := range strings.Lines(d.must("list", "--json") + "\n") {
		if strings.TrimSpace(l) == "" {
			continue
		}
		if a := parse[control.Activation](d.t, l); a.Kind == "reservation" {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// TestBrokenSources checks that a source that is missing, empty or half-written changes
// nothing and is reported, and that it is used again once it is whole.
func TestBrokenSources(t *testing.T) {
	t.Parallel()
	d, _ := lab(t, labConfig)
	d.Start()
	whole := yaml(someDay(8)...)
	d.write("res.yaml", whole, 0o644)
	if got := d.must("reload"); !strings.Contains(got, "generation=") || !strings.Contains(got, "rejected=0") {
		t.Errorf("atctl reload says %q", got)
	}
	file := filepath.Join(d.dir, "res.yaml")
	for _, tt := range []struct {
		name   string
		status int
		make   func() error
	}{
		{"gone", 6, func() error { return os.Remove(file) }},
		{"no bytes", 4, func() error { return writeFile(file, "", 0o644) }},
		{"only blanks", 4, func() error { return writeFile(file, "\n \n", 0o644) }},
		{"half-written", 4, func() error { return writeFile(file, whole[:strings.LastIndex(whole, "id: ")+4], 0o644) }},
		{"not YAML", 4, func() error { return writeFile(file, "reservations: [}\n", 0o644) }},
		{"a directory in its place", 4, func() error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.MkdirAll(file+"/sub", 0o755)
		}},
	} {
		if err := tt.make(); err != nil {
			t.Fatal(err)
		}
		o := d.atctl("reload")
		if o.status != tt.status || o.out+o.err == "" {
			t.Errorf("%s: atctl reload: %+v, want status %d with a sentence", tt.name, o, tt.status)
		}
		if n := len(d.live()); n != 8 {
			t.Errorf("%s: %d reservations are left, want all 8", tt.name, n)
		}
		s := d.status()
		if len(s.Sources) != 1 || s.Sources[0].Error == "" {
			t.Errorf("%s: status says of the source %+v, want its error", tt.name, s.Sources)
		}
		if tt.name == "a directory in its place" {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
		}
		d.write("res.yaml", whole, 0o644)
		if o := d.atctl("reload"); o.status != 0 {
			t.Errorf("%s: whole again, and atctl reload: %+v", tt.name, o)
		}
	}
}

// TestOneBadReservation checks that it is rejected, with file and line, and that the
// others are in force.
func TestOneBadReservation(t *testing.T) {
	t.Parallel()
	d, _ := lab(t, labConfig)
	d.Start()
	rs := someDay(3)
	rs[1].end = rs[1].start.Add(-time.Hour)
	d.write("res.yaml", yaml(rs...), 0o644)
	o := d.atctl("reload")
	if o.status != 2 || !strings.Contains(o.out, "rejected=1") || !strings.Contains(o.out, "res.yaml:") {
		t.Errorf("atctl reload: %+v, want status 2, rejected=1 and the place in res.yaml", o)
	}
	if got := d.live(); len(got) != 2 {
		t.Errorf("known are %v, want two", got)
	}
	// One that was known and is bad now is left as it was.
	rs = someDay(3)
	d.announce(rs...)
	rs[0].end = rs[0].start
	d.write("res.yaml", yaml(rs...), 0o644)
	d.atctl("reload")
	if a := d.show("1@x"); a.State != "scheduled" {
		t.Errorf("a reservation that has become bad is %s (%s), want scheduled as it was", a.State, a.Reason)
	}
	want := "rejects reservation 1@x: res.yaml:4: end: is the same as start; correct it in the source; until then its earlier version stays in force"
	if got := d.must("why", "1@x"); !strings.Contains(got, want) {
		t.Errorf("atctl why of a reservation that has become bad says\n%s\nwithout %q", got, want)
	}
}

// TestUnusedReservations checks that a reservation that is rejected, and one whose slot was
// over when it was read, are counted and explained, also by the next daemon.
func TestUnusedReservations(t *testing.T) {
	t.Parallel()
	d, _ := lab(t, labConfig)
	d.Start()
	past := time.Date(2020, 12, 1, 10, 0, 0, 0, time.UTC)
	rs := append(someDay(2), resv{id: "8@x", start: past, end: past.Add(time.Hour), devices: "r1"})
	rs[1].end = rs[1].start.Add(-time.Hour)
	d.write("res.yaml", yaml(rs...), 0o644)
	o := d.atctl("reload")
	if o.status != 2 || !strings.Contains(o.out, "rejected=1 over=1") || !strings.Contains(o.out, "over 8@x res.yaml:") {
		t.Errorf("atctl reload: %+v, want status 2, rejected=1 over=1 and a line about 8@x", o)
	}
	check := func() {
		t.Helper()
		for id, want := range map[string]string{"2@x": "rejects reservation 2@x: res.yaml:", "8@x": "passed over: res.yaml:"} {
			if got := d.must("why", id); !strings.Contains(got, want) {
				t.Errorf("atctl why %s says %q, want %q", id, got, want)
			}
		}
		if got := d.status().Sources; len(got) != 1 || got[0].Live != 1 || got[0].Rejected != 1 || got[0].Over != 1 {
			t.Errorf("status of the sources: %+v, want one with live, rejected and over of 1", got)
		}
	}
	check()
	d.stop()
	d.Start()
	check()
	for _, tt := range []struct {
		args []string
		want string // the ids
	}{
		{[]string{"--state", "rejected"}, "2@x"},
		{[]string{"--state", "over"}, "8@x"},
		{[]string{"--state", "over", "--all"}, "8@x"},
		{[]string{"--state", "scheduled,Rejected,over"}, "1@x 2@x 8@x"},
		{[]string{"--state", "scheduled,rejected,over", "--limit", "2"}, "1@x 2@x"},
		{[]string{"--state", "rejected,over", "--match", "SLOT ENDED"}, "8@x"},
		{[]string{"--state", "rejected,over", "--kind", "reservation"}, "2@x 8@x"},
		{[]string{"--state", "rejected,over", "--kind", "job"}, ""},
		{[]string{"--state", "rejected,over", "--owner", "ada"}, ""},
		{[]string{"--all"}, "1@x"},
	} {
		var ids []string
		for _, a := range d.listed(tt.args...) {
			ids = append(ids, a.ID)
		}
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("atctl list %q lists %q, want %q", tt.args, got, tt.want)
		}
	}
	if got := d.must("list", "--state", "rejected"); !strings.Contains(got, "2@x") || !strings.Contains(got, "res.yaml:8: end: is before start") {
		t.Errorf("atctl list --state rejected says\n%s", got)
	}
	if o := d.atctl("why", "9@x"); o.status != 3 {
		t.Errorf("atctl why 9@x: %+v, want status 3", o)
	}
}

// TestMassRemoval checks that a load which would remove too much changes nothing, that
// force overrides this, and that a dry run never changes anything.
func TestMassRemoval(t *testing.T) {
	t.Parallel()
	d, b := lab(t, labConfig)
	d.Start()
	rs := someDay(9)
	rs = append(rs, resv{id: "10@x", start: time.Now(), end: time.Now().Add(time.Hour), devices: "r10"})
	d.announce(rs...)
	if got := b.next(); got != "activate 10@x" {
		t.Fatal(got)
	}
	d.InState("10@x", "active")
	d.write("res.yaml", yaml(rs[:2]...), 0o644)
	o := d.atctl("reload")
	if o.status != 4 || !strings.Contains(o.out+o.err, "force") {
		t.Errorf("atctl reload that would remove 8 of 10: %+v, want status 4 and a hint at force", o)
	}
	if n := len(d.live()); n != 10 {
		t.Errorf("%d are left, want all 10", n)
	}
	if o := d.atctl("reload", "--force", "--dry-run"); !strings.Contains(o.out, "removed=8") {
		t.Errorf("a forced dry run says %+v, want removed=8", o)
	}
	if n := len(d.live()); n != 10 {
		t.Errorf("after a dry run %d are left, want all 10", n)
	}
	b.quiet()
	if got := d.must("reload", "--force"); !strings.Contains(got, "removed=8") {
		t.Errorf("atctl reload --force says %q, want removed=8", got)
	}
	if got := b.next(); got != "deactivate 10@x" { // it ran: it is undone
		t.Errorf("then %q, want deactivate 10@x", got)
	}
	d.ended("10@x", "cancelled", 125)
	if got := d.live(); len(got) != 2 {
		t.Errorf("known are %v, want two", got)
	}
	d.nothingLeft()
}

// TestEveryWayToReload loads by the file's change, by USR1, by HUP, by the line
// protocol of 2007 and its newer form. Each leads to a load of its own.
func TestEveryWayToReload(t *testing.T) {
	t.Parallel()
	d, _ := lab(t, labConfig+"listen: ['127.0.0.1:0']\n")
	d.Start()
	d.loaded(1)
	d.write("res.yaml", yaml(someDay(1)...), 0o644)
	d.Until("1@x", "known", func(control.Detail) bool { return true })
	for _, way := range []struct {
		name string
		ask  func()
	}{
		{"atctl reload", func() { d.must("reload") }},
		{"USR1", func() { d.signal(syscall.SIGUSR1) }},
		{"HUP", func() { d.signal(syscall.SIGHUP) }},
		{"RELOAD over TCP", func() {
			got := ask(t, "tcp", d.tcp(), "RELOAD\n\n")
			if !strings.HasPrefix(got, "200 OK generation=") || !strings.HasSuffix(got, "\n.\n") {
				t.Errorf("RELOAD over TCP answers %q", got)
			}
		}},
		{"kill:10", func() {
			if got := ask(t, "tcp", d.tcp(), "kill\r\nkill:10\r\n\r\n"); !strings.HasPrefix(got, "200 ") {
				t.Errorf("kill:10 answers %q", got)
			}
		}},
	} {
		before := d.status().Generation
		way.ask()
		d.loaded(before + 1)
		t.Logf("%s: loaded", way.name)
	}
	for _, text := range []string{"kill\nkill:9\n\n", "kill\nkill:x\n\n", "kill\n\n"} {
		if got := ask(t, "tcp", d.tcp(), text); !strings.HasPrefix(got, "400 ") {
			t.Errorf("%q is answered with %q, want 400", text, got)
		}
	}
}

// loaded waits for the load of a generation.
func (d *daemon) loaded(generation uint64) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	found := errors.New("found")
	err := control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: harness.AllEvents}, func(e control.Event) error {
		var n uint64
		if _, err := fmt.Sscanf(e.Reason, "generation=%d", &n); e.What == "load" && err == nil && n >= generation {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		d.t.Fatalf("waiting for generation %d: %v", generation, err)
	}
}

// TestReloadsAreMerged requests very many loads at once. Each request is answered by a
// load that began after it.
func TestReloadsAreMerged(t *testing.T) {
	t.Parallel()
	d, _ := lab(t, labConfig)
	d.Start()
	d.announce(someDay(500)...)
	before := d.status().Generation
	const n = 200
	done := make(chan error, n)
	for range n {
		go func() {
			c := control.Client{Address: d.socket}
			_, _, err := control.Call[control.ReloadLine](t.Context(), &c, "reload", control.ReloadIn{})
			_ = c.Close()
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if loads := d.status().Generation - before; loads == 0 || loads > n/2 {
		t.Errorf("%d requests led to %d loads, want some, and far fewer", n, loads)
	}
}

// TestReservationChangesItsSource moves reservations from one source to another,
// and renames a source. Nothing is lost by that, and a lab that is up stays up.
func TestReservationChangesItsSource(t *testing.T) {
	t.Parallel()
	two := strings.Replace(labConfig, "[{files: DIR/res.yaml}]", "[{files: DIR/res.yaml}, {files: DIR/other.yaml}]", 1)
	for _, tt := range []struct {
		name   string
		before string
		after  string // configuration; the reservations are in other.yaml then
	}{
		{"to a later source", two, two},
		{"to an earlier one", strings.Replace(two, "[{files: DIR/res.yaml}, {files: DIR/other.yaml}]", "[{files: DIR/other.yaml}, {files: DIR/res.yaml}]", 1), ""},
		{"the source is renamed", labConfig, strings.Replace(labConfig, "res.yaml", "other.yaml", 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, b := lab(t, tt.before)
			d.write("other.yaml", yaml(), 0o644)
			d.Start()
			rs := someDay(3)
			rs[0].start = time.Now()
			d.announce(rs...)
			if got := b.next(); got != "activate 1@x" {
				t.Fatal(got)
			}
			d.InState("1@x", "active")
			// Both files at one instant, as far as the daemon can see.
			d.signal(syscall.SIGSTOP)
			d.write("other.yaml", yaml(rs...), 0o644)
			d.write("res.yaml", yaml(), 0o644)
			if tt.after != "" {
				d.configure(tt.after)
			}
			d.signal(syscall.SIGCONT)
			out := d.must("reload")
			if strings.Contains(out, "removed=3") || strings.Contains(out, "rejected=3") {
				t.Errorf("atctl reload says\n%s", out)
			}
			if got := d.live(); len(got) != 3 {
				t.Errorf("known are %v, want all three", got)
			}
			if a := d.show("1@x"); a.State != "active" || len(a.Attempts) != 1 || !strings.HasSuffix(a.Source, "other.yaml") {
				t.Errorf("the lab is %s of %s with %+v, want active of other.yaml", a.State, a.Source, a.Attempts)
			}
			b.quiet()
			// It follows its new source from now on.
			d.write("other.yaml", yaml(rs[1:]...), 0o644)
			d.must("reload")
			if got := b.next(); got != "deactivate 1@x" {
				t.Errorf("then %q, want deactivate 1@x", got)
			}
		})
	}
}

// TestDatabaseDown checks that a source which does not answer delays no other source,
// and removes nothing.
func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	d, b := lab(t, strings.Replace(labConfig, "[{files: DIR/res.yaml}]",
		"[{sql: {driver: postgres, dsn: 'postgres://lab@127.0.0.1:1/lab?sslmode=disable'}}, {sql: {driver: mysql, dsn: 'lab@tcp(127.0.0.1:1)/lab'}}, {files: DIR/res.yaml}]", 1))
	d.Start()
	rs := someDay(2)
	rs[0].start = time.Now()
	d.write("res.yaml", yaml(rs...), 0o644)
	o := d.atctl("reload")
	if o.status != 6 || !strings.Contains(o.out, "failed postgres:") || !strings.Contains(o.out, "failed mysql:") {
		t.Errorf("atctl reload with two databases down: %+v, want status 6 and both named", o)
	}
	if got := b.next(); got != "activate 1@x" { // the file's are in force all the same
		t.Errorf("%q, want activate 1@x", got)
	}
	broken := 0
	for _, s := range d.status().Sources {
		if s.Error != "" {
			broken++
		}
	}
	if broken != 2 {
		t.Errorf("status says %+v, want two with errors", d.status().Sources)
	}
}

// TestReloadOfWhatNeedsARestart checks that a reload reports the changed settings that
// need a restart, until they are in force.
func TestReloadOfWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	const before = "control: {connections: 100}\n"
	d := newDaemon(t, before)
	d.Start()
	if got := d.must("reload"); strings.Contains(got, "notice") {
		t.Errorf("atctl reload with nothing changed says %q", got)
	}
	d.write("config.yaml", "control: {connections: 101}\njobs: {retries: 1}\n", 0o644)
	for range 2 {
		want := "\nnotice configuration control.connections: "
		if got := d.must("reload"); !strings.Contains(got, want) || strings.Contains(got, "jobs") {
			t.Errorf("atctl reload says %q, want %q and no more", got, want)
		}
	}
	log := d.read(d.dir + "/daemon.log")
	if !strings.Contains(log, "keys=jobs.retries\n") || strings.Count(log, "control.connections") != 1 {
		t.Errorf("the log is to tell once what has changed and what has not:\n%s", log)
	}
	d.write("config.yaml", before, 0o644)
	if got := d.must("reload"); strings.Contains(got, "notice") {
		t.Errorf("atctl reload with all as it was says %q", got)
	}
}

// TestDevicesChangeWhileActive checks that show prints the devices that a reservation
// has, and the devices that its source requests for it now.
func TestDevicesChangeWhileActive(t *testing.T) {
	t.Parallel()
	d, b := lab(t, labConfig)
	d.Start()
	r := resv{id: "1@x", start: time.Now(), end: time.Now().Add(time.Hour), devices: "r3"}
	d.announce(r)
	if got := b.next(); got != "activate 1@x" {
		t.Fatal(got)
	}
	d.InState("1@x", "active")
	r.devices = "r4"
	d.announce(r)
	if a := d.show("1@x"); !slices.Equal(a.Devices, []string{"r3"}) || !slices.Equal(a.Announced, []string{"r4"}) {
		t.Errorf("devices %q, announced %q, want r3, r4", a.Devices, a.Announced)
	}
	r.devices = "r3"
	d.announce(r)
	if a := d.show("1@x"); !slices.Equal(a.Devices, []string{"r3"}) || a.Announced != nil {
		t.Errorf("devices %q, announced %q, want r3 and none", a.Devices, a.Announced)
	}
}

// TestTopologiesAreTried checks that a load reports a topology that the laboratory
// cannot build, and takes its reservation nevertheless.
func TestTopologiesAreTried(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "lab: {inventory: inventory.yaml}\nsources: [{files: lab.yaml}]\n")
	d.write("inventory.yaml", `pools: {d: {ranges: [100-199]}}
devices:
  sw: {platform: openvswitch, domain: d, connect: "telnet://127.0.0.1:1", settings: {bridge: b}}
  h1: {platform: linux}
  h2: {platform: linux}
wiring: [h1:eth1 -- sw:p1, h2:eth1 -- sw:p2]
`, 0o644)
	reservation := func(id string, day int, more, end string) string {
		return fmt.Sprintf(`  - id: %s
    start: 2030-01-%02dT10:00:00Z
    end: 2030-01-%02dT12:00:00Z
    %s
    topology:
      name: x
      topology:
        nodes: {h1: {kind: linux}, h2: {kind: linux}}
        links: [{endpoints: ["h1:eth1", "h2:%s"]}]
`, id, day, day, more, end)
	}
	d.write("lab.yaml", "reservations:\n"+reservation("fits", 1, "label: a", "eth1")+reservation("unfit", 2, "label: b", "eth7")+
		reservation("own", 3, "activate: [/bin/true]", "eth7")+
		"  - {id: many, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, vlans: {d: 100}}\n", 0o644)
	d.Start()
	d.must("reload")
	got := d.must("reload", "--force")
	d.must("reload")
	if strings.Count(got, "notice") != 1 || !strings.Contains(got, "unfit: its topology does not fit the laboratory, and atctl lab will refuse it: ") || !strings.Contains(got, "h2:eth7") {
		t.Errorf("atctl reload says\n%s", got)
	}
	// An event's line may come later than the answer, and lines come in the order of events.
	last, log := d.add("--", "true"), ""
	d.await("the line of an event after those of the loads", func() bool {
		log = d.read(d.dir + "/daemon.log")
		return strings.Contains(log, "attempt.ended id="+last)
	})
	if strings.Count(log, "does not fit") != 1 {
		t.Errorf("the log is to tell it once:\n%s", log)
	}
	if strings.Count(got, "\nconflict ") != 1 || !strings.Contains(got, "conflict many: 101 VLANs of d are needed at ") {
		t.Errorf("the VLANs of fits are not known:\n%s", got)
	}
	if list := d.must("list"); strings.Count(list, "scheduled") != 4 {
		t.Errorf("not all are there:\n%s", list)
	}
}
