package test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// TestTenErrors checks that all errors of a configuration are reported at once, each
// with its line, and that the daemon does not start.
func TestTenErrors(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `listne: [127.0.0.1:0]
socket: {mode: 0999}
access: {others: king}
control: {connections: -1}
reservations: {timeout: tomorrow, colour: red}
sources:
  - files: [1, 2]
  - lead: 2m
max_removal: 150%
jobs: {retries: many}
runs: {guard: moat, limits: {nofiles: 3}}
history: {keep: -3d}
`)
	text := d.refuses(2)
	for _, line := range []int{1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12} {
		if !strings.Contains(text, fmt.Sprintf("config.yaml:%d: ", line)) {
			t.Errorf("nothing is said of line %d", line)
		}
	}
	if n := strings.Count(text, "\n"); n < 10 {
		t.Errorf("%d lines of errors, want at least ten:\n%s", n, text)
	}
	o := d.run("", d.Bin+"/activationd", "--check-config", "--config", d.dir+"/config.yaml")
	if o.status != 2 || strings.Count(o.err, "config.yaml:") < 10 {
		t.Errorf("--check-config: %+v, want status 2 and the same errors", o)
	}
	if _, err := os.Stat(d.state); err == nil {
		t.Error("a daemon that does not start has made its state directory")
	}
	// The same file, once the daemon runs, leaves in force what was.
	bad := d.read(d.dir + "/config.yaml")
	d.configure("jobs: {timeout: 17m}\n")
	d.Start()
	d.configure(bad)
	if o := d.atctl("reload"); o.status == 0 || !strings.Contains(o.out+o.err, "config.yaml:1: ") {
		t.Errorf("a reload with that file: %+v, want a failure that names the lines", o)
	}
	id := d.add("--", "true")
	if a := d.ended(id, "succeeded", 0); a.Timeout != "17m0s" {
		t.Errorf("after a reload that failed the timeout is %s, want 17m0s as before", a.Timeout)
	}
}

// TestSecondDaemon checks that a second daemon with the same directories ends with one
// message, and that the first goes on.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	first := d.Start()
	t.Cleanup(func() { // the daemon's own ends the second
		_ = first.Cmd.Process.Kill()
		d.AwaitGone(first)
	})
	d.refuses(1, "in use by another")
	if d.Newest() == first || first.Exited() {
		t.Fatal("the first daemon is gone")
	}
	id := d.add("--", "true")
	d.ended(id, "succeeded", 0)
}

// TestStateThatIsNotOurs checks that a daemon refuses a state file that is damaged, of
// another program or of a newer version, and leaves it unchanged.
func TestStateThatIsNotOurs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		spoil  func(path string) error
		status int
		words  []string
	}{
		{"of a newer version", func(path string) error {
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			defer func() { _ = db.Close() }()
			return db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte("99"))
			})
		}, 1, []string{"99", "newer"}},
		{"of no bytes", func(path string) error { return os.Truncate(path, 0) }, 2, []string{"damaged", "backup"}},
		{"cut off", func(path string) error { return os.Truncate(path, 5000) }, 2, []string{"damaged", "backup"}},
		{"zeros", func(path string) error { return os.WriteFile(path, make([]byte, 64<<10), 0o600) }, 2, []string{"damaged", "backup"}},
		{"text", func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("this is no state\n", 1000)), 0o600)
		}, 2, []string{"damaged", "backup"}},
		{"with both heads damaged", func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			for _, at := range []int64{0, 4096} {
				if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 512), at); err != nil {
					return err
				}
			}
			return nil
		}, 2, []string{"damaged", "backup"}},
		{"a directory", func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, 1, []string{"state.db"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "")
			d.Start()
			d.add("--in", "1h", "--", "true")
			d.stop()
			path := d.state + "/state.db"
			if err := tt.spoil(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			if err := d.Log.Truncate(0); err != nil {
				t.Fatal(err)
			}
			text := d.refuses(tt.status, tt.words...)
			t.Logf("%s", strings.TrimSpace(text))
			if strings.Contains(text, "goroutine") {
				t.Errorf("it did not refuse, it broke:\n%s", text)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file has been changed")
			}
		})
	}
}
