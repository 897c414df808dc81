package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestChooseDirs(t *testing.T) {
	tests := []struct {
		name           string
		uid            int
		env            map[string]string
		opts           options
		state, runtime string
	}{
		{"root", 0, map[string]string{"HOME": "/root", "XDG_STATE_HOME": "/x", "XDG_RUNTIME_DIR": "/run/user/0"}, options{},
			"/var/lib/activationd", "/run/activationd"},
		{"a user", 7, map[string]string{"HOME": "/home/u"}, options{},
			"/home/u/.local/state/activationd", "/tmp/activationd-7"},
		{"a user with a session", 7, map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/7"},
			options{}, "/s/activationd", "/run/user/7/activationd"},
		{"relative XDG means nothing", 7, map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "s", "XDG_RUNTIME_DIR": "r"},
			options{}, "/home/u/.local/state/activationd", "/tmp/activationd-7"},
		{"systemd", 0, map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a"}, options{},
			"/var/lib/a", "/run/a"},
		{"flags first", 0, map[string]string{"STATE_DIRECTORY": "/var/lib/a", "RUNTIME_DIRECTORY": "/run/a"},
			options{stateDir: "/s", runtimeDir: "/r"}, "/s", "/r"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := chooseDirs(&tt.opts, &host{uid: tt.uid, getenv: func(k string) string { return tt.env[k] }})
			if err != nil {
				t.Fatal(err)
			}
			if d.State != tt.state || d.Runtime != tt.runtime {
				t.Errorf("state %s, runtime %s, want %s and %s", d.State, d.Runtime, tt.state, tt.runtime)
			}
			if d.trust != (d.Runtime != "/tmp/activationd-7") {
				t.Errorf("trust = %v for %s", d.trust, d.Runtime)
			}
		})
	}
	if _, err := chooseDirs(&options{}, &host{uid: 7, getenv: func(string) string { return "" }}); err == nil ||
		!strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("with no home: %v, want a hint at --state-dir", err)
	}
}

func TestOwnDirectory(t *testing.T) {
	uid := os.Getuid()
	mkdir := func(path string) {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, want string // want is in the error; empty: none
		make       func(path string)
		uid        int
	}{
		{"not there", "", func(string) {}, uid},
		{"ours", "", mkdir, uid},
		{"another's", "belongs to another user", mkdir, uid + 1},
		{"open", "is open to others", func(path string) {
			mkdir(path)
			if err := os.Chmod(path, 0o750); err != nil {
				t.Fatal(err)
			}
		}, uid},
		{"a link to ours", "is not a directory", func(path string) {
			mkdir(path + ".target")
			if err := os.Symlink(path+".target", path); err != nil {
				t.Fatal(err)
			}
		}, uid},
		{"a file", "is not a directory", func(path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, uid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d")
			tt.make(path)
			err := ownDirectory(path, tt.uid)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("ownDirectory = %v, want %q", err, tt.want)
			}
			if err == nil {
				if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeDir|0o700 {
					t.Errorf("made %v, %v", info.Mode(), err)
				}
			}
		})
	}
}

// A directory that is there already must not be one in which somebody else could
// change what is in it.
func TestMakeDirectory(t *testing.T) {
	uid := os.Getuid()
	tests := []struct {
		name, want string // want is in the error; empty: none
		mode       fs.FileMode
		owner, gid int // of the directory; -1: as it comes
		uid        int // the daemon's
	}{
		{"ours", "", 0o700, -1, -1, uid},
		{"ours, and our group's", "", 0o770, -1, -1, max(uid, 1)},
		{"everybody's", "every user may write", 0o777, -1, -1, uid},
		{"another's", "belongs to another user (number 64123)", 0o700, 64123, -1, 0},
		{"root's, and a group's", "the group 64123 may write", 0o775, -1, 64123, 0},
		{"root's, which a group reads", "", 0o750, -1, 64123, 0},
		{"root's, for a user", "", 0o700, -1, -1, 64123},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if uid != 0 && (tt.owner >= 0 || tt.gid >= 0 || tt.uid != uid) {
				t.Skip("needs root, to give a directory away")
			}
			path := filepath.Join(t.TempDir(), "d")
			for _, err := range []error{os.Mkdir(path, 0o700), os.Lchown(path, tt.owner, tt.gid), os.Chmod(path, tt.mode)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			err := makeDirectory(path, 0o700, tt.uid)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("makeDirectory = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFindAtwrap(t *testing.T) {
	prefix, path := t.TempDir(), t.TempDir()
	own, libexec := filepath.Join(prefix, "bin"), filepath.Join(prefix, "libexec", "activationd")
	for _, dir := range []string{own, libexec} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &host{executable: filepath.Join(own, "activationd"), getenv: func(k string) string {
		return map[string]string{"PATH": "relative:" + path}[k]
	}}
	got, err := findAtwrap("", s)
	if err == nil {
		t.Fatalf("found %s, and there is none", got)
	}
	for _, help := range []string{own, libexec, "--atwrap"} {
		if !strings.Contains(err.Error(), help) {
			t.Errorf("the error does not name %s: %v", help, err)
		}
	}
	// The further down the list, the less it counts.
	for _, dir := range []string{path, libexec, own} {
		file := filepath.Join(dir, "atwrap")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := findAtwrap("", s); got == file {
			t.Errorf("found %s, which is not executable (%v)", got, err)
		}
		if err := os.Chmod(file, 0o700); err != nil {
			t.Fatal(err)
		}
		if got, err := findAtwrap("", s); err != nil || got != file {
			t.Errorf("findAtwrap = %q, %v, want %q", got, err, file)
		}
	}
	if _, err := findAtwrap(own, s); err == nil {
		t.Error("a directory passes for --atwrap")
	}
}

// TestMakeDeviceLocks gives the directory of the devices' locks to the user who needs it, and to
// nobody else.
func TestMakeDeviceLocks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give a directory away")
	}
	d := directories{Runtime: t.TempDir()}
	for _, tt := range []struct {
		uids []int
		uid  uint32
		mode fs.FileMode
	}{
		{[]int{65534}, 65534, 0o700}, {nil, 0, 0o700}, {[]int{5, 65534}, 0, 0o777 | fs.ModeSticky}, {[]int{5}, 5, 0o700},
	} {
		if err := d.makeDeviceLocks(&host{uid: os.Getuid()}, tt.uids); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(d.Runtime, "devices"))
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != tt.uid || info.Mode()&(fs.ModePerm|fs.ModeSticky) != tt.mode {
			t.Errorf("for %v: %v, of %d", tt.uids, info.Mode(), st.Uid)
		}
	}
}
