package test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"activationd/test/harness"
)

// A declared is a service of the test below, as it is written into its files.
type declared struct {
	file      bool // a .env file declares it
	gone      bool
	instances int
	argument  int // of its command, or of a variable of the entry of discover: another means another process
	variable  int // in its env_file, likewise
	size      int // of its log, in KiB: applied live
	comment   int // means nothing

	scaled int  // 0: it is not
	down   bool // somebody has stopped it
}

// count is the number of its instances.
func (s *declared) count() int {
	switch {
	case s.gone:
		return 0
	case s.scaled > 0:
		return s.scaled
	}
	return s.instances
}

// declare writes the files that declare services.
func (d *daemon) declare(all map[string]*declared) {
	d.t.Helper()
	config, entries := "services:\n", "discover:\n"
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		rules := fmt.Sprintf("    # %d\n    log: {size: %dKiB}\n", s.comment, s.size)
		switch {
		case s.file:
			file := "www/" + strings.Replace(name, "_", "/", 1) + "/.env"
			text := fmt.Sprintf("DAEMON=true\nCOMMAND=\"exec %s/serve\"\nINSTANCES=%d\n# %d\n", d.dir, s.instances, s.comment)
			if old, err := os.ReadFile(d.dir + "/" + file); err != nil || string(old) != text {
				d.write(file, text, 0o600)
			}
			entries += fmt.Sprintf("  - env: DIR/%s\n    environment: {N: %d}\n", file, s.argument) + rules
			if os.Geteuid() == 0 {
				entries += "    user: root\n"
			}
		case !s.gone:
			d.write(name+".env", fmt.Sprintf("# %d\nV=%d\n", s.comment, s.variable), 0o600)
			config += fmt.Sprintf("  %s:\n    command: [DIR/serve, '%d']\n    instances: %d\n    env_file: DIR/%s.env\n", name, s.argument, s.instances, name) + rules
		}
	}
	d.configure(config + entries)
}

// differences returns by instances what becomes of them if services are declared otherwise.
func differences(old, now map[string]declared) map[string]string {
	want := make(map[string]string)
	for name, is := range now {
		was := old[name]
		for n := 1; n <= max(was.count(), is.count()); n++ {
			var what string
			switch {
			case n > was.count():
				what = "added"
			case n > is.count():
				what = "removed"
			case was.argument != is.argument, was.variable != is.variable:
				what = "changed"
			case was.size != is.size:
				what = "live"
			default:
				continue
			}
			want[fmt.Sprintf("%s@%d", name, n)] = what
		}
	}
	return want
}

// changes returns what a report says of instances.
func changes(report string) map[string]string {
	said := make(map[string]string)
	for line := range strings.Lines(report) {
		if words := strings.Fields(line); len(words) > 2 && strings.Contains(words[2], "@") { // WHAT configuration ID
			said[words[2]] = words[0]
		}
	}
	return said
}

func values(all map[string]*declared) map[string]declared {
	copied := make(map[string]declared)
	for name, s := range all {
		copied[name] = *s
	}
	return copied
}

// TestServicesDryRun changes declarations at random, and what people want, too. The dry run says
// what the reload then says and does: it starts, replaces and ends the processes of the instances
// that are named as added, changed and removed, and of no others. Then nothing is left to do.
func TestServicesDryRun(t *testing.T) {
	t.Parallel()
	random := harness.Random(t)
	d, b := services(t, "", stay)
	for _, dir := range []string{"/www", "/www/p", "/www/p/x", "/www/p/y"} {
		if err := os.Mkdir(d.dir+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	now := map[string]*declared{
		"a": {instances: 1}, "b": {instances: 3}, "c": {instances: 2}, "p_x": {instances: 1, file: true}, "p_y": {instances: 2, file: true},
	}
	for _, s := range now {
		s.size = 10
	}
	d.declare(now)
	d.begin()
	pids := b.started(9)
	for round := range 20 {
		did := d.want(random, b, now, pids)
		old := values(now)
		for range 1 + random.IntN(3) {
			did += "; " + alter(random, now)
		}
		d.declare(now)
		said := changes(d.must("reload", "--dry-run"))
		if want := differences(old, values(now)); !maps.Equal(said, want) {
			t.Fatalf("round %d: %s: the dry run says %v, want %v", round, did, said, want)
		}
		d.runs(pids)
		if done := changes(d.must("reload")); !maps.Equal(done, said) {
			t.Fatalf("round %d: %s: the reload says %v, the dry run %v", round, did, done, said)
		}
		starts := 0
		for id, what := range said {
			name, _, _ := strings.Cut(id, "@")
			if pid := pids[id]; pid > 0 && (what == "removed" || what == "changed") {
				awaitGone(t, pid)
				delete(pids, id)
			}
			if !now[name].down && (what == "added" || what == "changed") {
				starts++
			}
		}
		maps.Copy(pids, b.started(starts))
		d.runs(pids)
		if again := changes(d.must("reload", "--dry-run")); len(again) > 0 {
			t.Fatalf("round %d: %s: after the reload %v is still to do", round, did, again)
		}
	}
	b.quiet()
}

// want has a person stop, start or scale a service, and says so.
func (d *daemon) want(random *rand.Rand, b *beacon, now map[string]*declared, pids map[string]int) string {
	d.t.Helper()
	names := slices.Sorted(maps.Keys(now))
	name := names[random.IntN(len(names))]
	s := now[name]
	if s.gone {
		return "nothing"
	}
	was := s.count()
	did := []string{"stop", "start", "scale"}[random.IntN(3)]
	switch did {
	case "stop":
		d.must("service", "stop", name)
		s.down = true
		for n := range was {
			delete(pids, fmt.Sprintf("%s@%d", name, n+1))
		}
	case "start":
		d.must("service", "start", name)
		if s.down {
			s.down = false
			maps.Copy(pids, b.started(was))
		}
	case "scale":
		s.scaled = random.IntN(4)
		number := fmt.Sprint(s.scaled)
		if s.scaled == 0 {
			number = "declared"
		}
		d.must("service", "scale", name, number)
		did += " " + number
		for n := s.count() + 1; n <= was; n++ {
			if id := fmt.Sprintf("%s@%d", name, n); pids[id] > 0 {
				awaitGone(d.t, pids[id])
				delete(pids, id)
			}
		}
		if !s.down {
			maps.Copy(pids, b.started(max(0, s.count()-was)))
		}
	}
	return did + " " + name
}

// alter changes one thing in the declaration of a service, and says what.
func alter(random *rand.Rand, now map[string]*declared) string {
	names := slices.Sorted(maps.Keys(now))
	name := names[random.IntN(len(names))]
	s := now[name]
	what := []string{"size", "comment", "argument", "variable", "instances", "gone"}[random.IntN(6)]
	if s.file && what > "f" && what != "size" {
		what = "argument" // the daemon would see another file, without a reload
	}
	switch what {
	case "size":
		s.size++
	case "comment":
		s.comment++
	case "argument":
		s.argument++
	case "variable":
		s.variable++
	case "instances":
		s.instances = 1 + s.instances%3
	case "gone":
		s.gone = !s.gone
		s.down, s.scaled = false, 0
	}
	return what + " of " + name
}

// TestServicesDryRunBound checks that the dry run names the services that restart only because
// they are bound to another one, directly or not.
func TestServicesDryRunBound(t *testing.T) {
	t.Parallel()
	const config = `
services:
  db: {command: [DIR/serve, ARG], instances: 2}
  api: {command: [DIR/serve], after: ["db:started"], bind: true}
  web: {command: [DIR/serve], after: ["api:started"], bind: true}
  free: {command: [DIR/serve], after: ["db:started"]}
  down: {command: [DIR/serve], after: ["db:started"], bind: true, autostart: false}
`
	d, b := services(t, config, stay)
	d.begin()
	pids := b.started(5)
	d.configure(strings.ReplaceAll(config, "ARG", "more"))
	for _, args := range [][]string{{"reload", "--dry-run"}, {"reload"}} {
		var notices []string
		out := d.must(args...)
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "notice") {
				notices = append(notices, strings.TrimSpace(line))
			}
		}
		want := []string{"notice configuration api restarts, too, because it is bound to db", "notice configuration web restarts, too, because it is bound to api"}
		if !slices.Equal(notices, want) {
			t.Errorf("%v says %s, want %q", args, out, want)
		}
	}
	for id, pid := range pids {
		if id != "free@1" {
			awaitGone(t, pid)
			delete(pids, id)
		}
	}
	maps.Copy(pids, b.started(4))
	d.runs(pids)
	b.quiet()
}
