package main

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"activationd/control"
	"activationd/internal/fault"
)

// loading writes files into a directory, which it returns, and loads the one
// named d.yaml.
func loading(t *testing.T, uid int, files map[string]string) (c *configuration, dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := &host{uid: uid, getenv: func(string) string { return "" }}
	c, _, err = loadConfig(&options{config: filepath.Join(dir, "d.yaml")}, h, &directories{})
	return c, dir, err
}

func TestPathsStartAtTheFile(t *testing.T) {
	c, dir, err := loading(t, 0, map[string]string{
		"d.yaml": `
socket: {path: ctl}
topology_directory: top
reservations: {activate: [scripts/up, ./x], deactivate: [down]}
sources:
  - files: ../bookings
  - files: /abs
    activate: [./own]
  - sql: {driver: mysql, dsn_file: dsn}
`,
		"dsn": "lab:secret@/virtlab\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, got, want string }{
		{"socket", c.Socket.Path, dir + "/ctl"},
		{"topologies", c.TopologyDirectory, dir + "/top"},
		{"a command with a slash", strings.Join(c.Reservations.Activate, " "), dir + "/scripts/up ./x"},
		{"a command without", strings.Join(c.Reservations.Deactivate, " "), "down"},
		{"files", c.Sources[0].Files, filepath.Dir(dir) + "/bookings"},
		{"an inherited command", c.Sources[0].Reservations.Activate[0], dir + "/scripts/up"},
		{"absolute", c.Sources[1].Files, "/abs"},
		{"its own command", c.Sources[1].Reservations.Activate[0], dir + "/own"},
		{"the file of the DSN", c.Sources[2].SQL.DSNFile, dir + "/dsn"},
		{"the DSN", c.Sources[2].SQL.DSN, "lab:secret@/virtlab"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %q, want %q", tt.what, tt.got, tt.want)
		}
	}
}

func TestRoles(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skipf("this machine has no user nobody: %v", err)
	}
	c, _, err := loading(t, 77, map[string]string{"d.yaml": "access: {admins: [12345, '%501'], operators: [nobody, '%root'], viewers: [78, '%502']}\n"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		uid    uint32
		groups []uint32
		want   control.Role
	}{
		{0, nil, control.Admin},
		{77, nil, control.Admin},
		{12345, []uint32{502}, control.Admin},
		{78, []uint32{78}, control.Viewer},
		{78, []uint32{78, 0}, control.Operator},
		{79, []uint32{79, 500}, control.NoRole},
		{79, []uint32{502}, control.Viewer},
		{79, []uint32{502, 501, 0}, control.Admin},
	} {
		if got := c.roleOf(tt.uid, tt.groups); got != tt.want {
			t.Errorf("the role of %d in %v is %v, want %v", tt.uid, tt.groups, got, tt.want)
		}
	}
	if uid, err := strconv.ParseUint(nobody.Uid, 10, 32); err != nil || c.roleOf(uint32(uid), nil) != control.Operator {
		t.Errorf("nobody, %s, is no operator (%v)", nobody.Uid, err)
	}
	if c.Socket.Mode != 0o600 {
		t.Errorf("a user's socket has mode %o, want 600", c.Socket.Mode)
	}

	c, _, err = loading(t, 0, map[string]string{"d.yaml": "access: {viewers: [0]}\n"})
	if err != nil {
		t.Fatal(err)
	}
	if c.roleOf(0, nil) != control.Admin || c.roleOf(79, nil) != control.Submitter || c.Socket.Mode != 0o666 {
		t.Errorf("as root: root is %v, others %v, socket %o", c.roleOf(0, nil), c.roleOf(79, nil), c.Socket.Mode)
	}
}

func TestSecretsOfEverybody(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"d.yaml": 0o644, "dsn": 0o604, "tokens": 0o640} {
		data := "x"
		if name == "d.yaml" {
			data = "tokens: tokens\nsources: [{sql: {driver: mysql, dsn_file: dsn}}]\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := loadConfig(&options{config: filepath.Join(dir, "d.yaml")}, &host{uid: 1}, &directories{})
	for _, want := range []string{"d.yaml:2: sources[0].sql.dsn_file: ", "chmod it to 0600 or 0640", dir + "/tokens: it holds secrets, and users other than its owner"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("%v is not of kind fault.Invalid", err)
	}
}
