package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"activationd/internal/fault"
)

// TestSpoolFile checks that files are not imported if atd would not run them, or if they are
// not what they seem.
func TestSpoolFile(t *testing.T) {
	dir := t.TempDir()
	me := strconv.Itoa(os.Getuid())
	good := "#!/bin/sh\n# atrun uid=" + me + " gid=7\n# mail ada -1\numask 22\necho hi\n"
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("a0000101c88ea7", good, 0o700)
	write("Zfffff01c88ea7", strings.Replace(good, "-1", "1", 1), 0o700)
	write("a0000201c88ea7", good, 0o600)
	write("a0000301c88ea7", strings.Replace(good, "uid="+me, "uid=4242", 1), 0o700)
	write("a0000401c88ea7", strings.Replace(good, "ada", "-oQ/tmp", 1), 0o700)
	write("a0000501c88ea7", "#!/bin/sh\necho hi\n", 0o700)
	write("a0000601c88ea7", "", 0o700)
	write("outside", good, 0o700)
	write("=0000901c88ea7", good, 0o700)
	for _, err := range []error{
		os.Symlink("outside", filepath.Join(dir, "a0000701c88ea7")),
		os.Symlink("/etc/passwd", filepath.Join(dir, "a0000a01c88ea7")),
		syscall.Mkfifo(filepath.Join(dir, "a0000801c88ea7"), 0o700),
		os.Mkdir(filepath.Join(dir, "a0000b01c88ea7"), 0o700),
		os.Link(filepath.Join(dir, "Zfffff01c88ea7"), filepath.Join(dir, "=fffff01c88ea7")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	for _, tt := range []struct {
		name   string
		number uint64 // 0: not imported
		why    string // empty: the file is not a job
	}{
		{"a0000101c88ea7", 1, ""},
		{"Zfffff01c88ea7", 0xfffff, ""},
		{"a0000201c88ea7", 0, "is not complete"},
		{"a0000301c88ea7", 0, "belongs to uid"},
		{"a0000401c88ea7", 0, "has the mail recipient"},
		{"a0000501c88ea7", 0, "is not an at job"},
		{"a0000601c88ea7", 0, "is not an at job"},
		{"a0000701c88ea7", 0, "is not a regular file"},
		{"a0000a01c88ea7", 0, "is not a regular file"},
		{"a0000801c88ea7", 0, "is not a regular file"},
		{"a0000b01c88ea7", 0, "is not a regular file"},
		{"=0000901c88ea7", 0, "was started by atd"},
		{"=fffff01c88ea7", 0, ""},
		{".SEQ", 0, ""}, {"outside", 0, ""}, {"a00001", 0, ""}, {"a0000g01c88ea7", 0, ""}, {"10000101c88ea7", 0, ""},
	} {
		s, err := readSpoolFile(root, tt.name)
		switch {
		case tt.number > 0 && (err != nil || s == nil || s.number != tt.number):
			t.Errorf("%s: %+v, %v, want job %d", tt.name, s, err, tt.number)
		case tt.number == 0 && s != nil:
			t.Errorf("%s is taken: %+v", tt.name, s)
		case tt.why == "" && err != nil, tt.why != "" && (err == nil || !strings.Contains(err.Error(), tt.why) || !errors.Is(err, fault.Conflict)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.why)
		}
	}
	s, err := readSpoolFile(root, "Zfffff01c88ea7")
	if err != nil || s.lock != "=fffff01c88ea7" || s.in.Queue != "Z" || s.in.Mail != "always" || s.in.Mailto != "ada" ||
		s.in.User != me+":7" || s.in.When != 0x1c88ea7*60 {
		t.Errorf("%+v, %v", s, err)
	}
}
