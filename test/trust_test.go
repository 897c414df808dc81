package test

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestOthersCanWrite lets other users write to files that root acts on: the
// configuration, a source of reservations, a script, one of their directories. The
// daemon does not start, the check of the configuration says why, and a running daemon
// uses none of them from then on.
func TestOthersCanWrite(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const games = 5
	const folder = "sources: [{files: DIR/in}]\nreservations: {activate: [DIR/bin/activate], deactivate: [DIR/bin/undo]}\n"
	const conf = "sources: [{files: DIR/in/res.yaml}]\nreservations: {activate: [DIR/bin/activate], deactivate: [/bin/sh, DIR/bin/undo], retries: 0, deactivate_retries: 0, backoff: {first: 20ms}}\n"
	place := func(t *testing.T, config string) (*daemon, *beacon) {
		d := newDaemon(t, config)
		b := d.beacon()
		for _, name := range []string{"bin/activate", "bin/undo"} {
			d.script(name, `echo "$ACTIVATION_PHASE $ACTIVATION_ID $(id -u)" >`+b.path+"\n")
		}
		d.write("in/res.yaml", yaml(), 0o644)
		return d, b
	}
	for _, tt := range []struct {
		name, conf, file string
		mode             os.FileMode
		what             string
	}{
		{"configuration", conf, "config.yaml", 0o022, "configuration: DIR/config.yaml can be changed by everybody: chmod o-w DIR/config.yaml"},
		{"source", conf, "in/res.yaml", 0o022, "config.yaml:1: sources[0].files: DIR/in/res.yaml can be changed by everybody"},
		{"folder of a source", conf, "in", 0o022, "config.yaml:1: sources[0].files: DIR/in can be changed by everybody"},
		{"script", conf, "bin/activate", 0o022, "config.yaml:2: reservations.activate: DIR/bin/activate can be changed by everybody"},
		{"script of an interpreter", conf, "bin/undo", 0o022, "config.yaml:2: reservations.deactivate: DIR/bin/undo can be changed by everybody"},
		{"folder of scripts", conf, "bin", 0o022, "config.yaml:2: reservations.activate: DIR/bin can be changed by everybody"},
		{"file of a folder", folder, "in/res.yaml", 0o022, "config.yaml:1: sources[0].files: DIR/in/res.yaml can be changed by everybody"},
		{"folder in which everybody has files", folder, "in", 0o022 | os.ModeSticky, "config.yaml:1: sources[0].files: DIR/in can be changed by everybody"},
		{"interpreter that a script names", conf, "bin/interpreter", 0o022, "config.yaml:2: reservations.activate: DIR/bin/interpreter can be changed by everybody"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, _ := place(t, tt.conf)
			d.write("bin/interpreter", "", 0o755)
			d.write("bin/activate", "#! "+d.dir+"/bin/interpreter -x\n", 0o755)
			want := strings.ReplaceAll(tt.what, "DIR", d.dir)
			check := func() output {
				return d.run("", d.Bin+"/activationd", "--check-config", "--config", d.dir+"/config.yaml")
			}
			if o := check(); o.status != 0 {
				t.Fatalf("--check-config of what is root's: %+v", o)
			}
			info, err := os.Stat(d.dir + "/" + tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(d.dir+"/"+tt.file, info.Mode().Perm()|tt.mode); err != nil {
				t.Fatal(err)
			}
			if o := check(); o.status != 2 || !strings.Contains(o.err, want) {
				t.Errorf("--check-config: %+v, want status 2, and %s", o, want)
			}
			d.refuses(2, want)
		})
	}
	t.Run("while it runs", func(t *testing.T) {
		t.Parallel()
		d, b := place(t, conf)
		d.Start()
		now := time.Now()
		announce := func(rs ...resv) {
			t.Helper()
			d.write("in/res.yaml", yaml(rs...), 0o644)
			d.must("reload")
		}
		one := resv{id: "1@x", start: now, end: now.Add(time.Hour), devices: "r1"}
		announce(one)
		if got := b.next(); got != "activate 1@x 0" {
			t.Errorf("%q, want an activation", got)
		}
		d.InState("1@x", "active")

		// A script of one that is announced already: it is looked at when it is to run.
		if err := os.Chmod(d.dir+"/bin/undo", 0o777); err != nil {
			t.Fatal(err)
		}
		d.must("cancel", "1@x")
		a := d.InState("1@x", "stuck")
		if got := a.Attempts[1]; got.Exit == nil || *got.Exit != 126 || !strings.Contains(a.Reason, "bin/undo can be changed by everybody: chmod o-w") {
			t.Errorf("the attempt: %+v (%s), want that it is refused", got, a.Reason)
		}
		b.quiet()
		if err := os.Chmod(d.dir+"/bin/undo", 0o755); err != nil {
			t.Fatal(err)
		}
		d.must("retry", "1@x")
		d.ended("1@x", "cancelled", 125)
		if got := b.next(); got != "deactivate 1@x 0" {
			t.Errorf("%q, want that it is undone", got)
		}

		// A source.
		d.write("in/res.yaml", yaml(one, resv{id: "2@x", start: now, end: now.Add(time.Hour), devices: "r2"}), 0o666)
		if o := d.atctl("reload"); o.status == 0 || !strings.Contains(o.out+o.err, "in/res.yaml can be changed by everybody") {
			t.Errorf("reload: %+v, want that the source is refused", o)
		}
		if o := d.atctl("show", "2@x"); o.status == 0 {
			t.Errorf("what a refused source announces is there: %+v", o)
		}
		d.nothingLeft()
	})
	t.Run("of the user as whom it runs", func(t *testing.T) {
		t.Parallel()
		d, b := place(t, strings.Replace(conf, "retries: 0", "retries: 0, user: games", 1))
		for _, name := range []string{"in", "in/res.yaml", "bin", "bin/activate", "bin/undo"} {
			if err := os.Chown(d.dir+"/"+name, games, gamesGroup); err != nil {
				t.Fatal(err)
			}
		}
		d.Start()
		now := time.Now()
		d.write("in/res.yaml", yaml(resv{id: "1@x", start: now, end: now.Add(time.Hour), devices: "r1"}), 0o644)
		d.must("reload")
		if got := b.next(); got != "activate 1@x 5" {
			t.Errorf("%q, want an activation as that user", got)
		}
		d.must("cancel", "1@x")
		d.ended("1@x", "cancelled", 125)
		d.nothingLeft()
	})
}
