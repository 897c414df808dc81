package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"activationd/internal/fault"
)

// surroundings are what the daemon finds around itself when it starts.
type surroundings struct {
	uid        int
	getenv     func(string) string
	executable string // the daemon's own program
}

// defaultConfigFile returns where a configuration is looked for when the
// command line names none; empty: nowhere.
func (s *surroundings) defaultConfigFile() string {
	if s.uid == 0 {
		return "/etc/activationd/activationd.yaml"
	}
	if base := s.base("XDG_CONFIG_HOME", ".config"); base != "" {
		return filepath.Join(base, "activationd", "activationd.yaml")
	}
	return ""
}

// base returns the directory that an XDG variable names, or its default in the
// home directory; empty if there is neither. The specification of these
// variables wants relative ones ignored.
func (s *surroundings) base(variable, inHome string) string {
	if dir := s.getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	if home := s.getenv("HOME"); inHome != "" && filepath.IsAbs(home) {
		return filepath.Join(home, inHome)
	}
	return ""
}

// directories are the daemon's places on the disk.
type directories struct {
	State      string // what must survive
	Runs       string // in State: a directory for each attempt
	Kept       string // in State: a directory for each reservation that is begun
	Topologies string // in State: where linkconf looks, unless the configuration says where
	Runtime    string // the control socket; gone after a boot
	ConfigRoot string // in Runtime: configuration directories of what runs

	trust bool // Runtime lies where only its owner or root can make it
}

func chooseDirs(o *options, s *surroundings) (*directories, error) {
	d := directories{trust: true}
	switch systemd := firstOf(s.getenv("STATE_DIRECTORY")); {
	case o.stateDir != "":
		d.State = o.stateDir
	case systemd != "":
		d.State = systemd
	case s.uid == 0:
		d.State = "/var/lib/activationd"
	default:
		base := s.base("XDG_STATE_HOME", ".local/state")
		if base == "" {
			return nil, fmt.Errorf("no place for the state: set HOME or XDG_STATE_HOME, or use --state-dir: %w", fault.Invalid)
		}
		d.State = filepath.Join(base, "activationd")
	}
	switch systemd, xdg := firstOf(s.getenv("RUNTIME_DIRECTORY")), s.base("XDG_RUNTIME_DIR", ""); {
	case o.runtimeDir != "":
		d.Runtime = o.runtimeDir
	case systemd != "":
		d.Runtime = systemd
	case s.uid == 0:
		d.Runtime = "/run/activationd"
	case xdg != "":
		d.Runtime = filepath.Join(xdg, "activationd")
	default:
		d.Runtime, d.trust = "/tmp/activationd-"+strconv.Itoa(s.uid), false
	}
	d.Runs = filepath.Join(d.State, "runs")
	d.Kept = filepath.Join(d.State, "kept")
	d.Topologies = filepath.Join(d.State, "topologies")
	d.ConfigRoot = filepath.Join(d.Runtime, "config")
	return &d, nil
}

// firstOf returns the first of systemd's directories, which it separates by
// colons.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ":")
	return first
}

// make makes the directories that are not there and refuses those in which
// others could put something in our way.
func (d *directories) make(uid int) error {
	runtime, own := fs.FileMode(0o700), fs.FileMode(0o700)
	if uid == 0 {
		// Others reach the socket, and a run's user his own directories.
		runtime, own = 0o755, 0o711
	}
	if !d.trust {
		if err := ownDirectory(d.Runtime, uid); err != nil {
			return fmt.Errorf("%w; use --runtime-dir, or set XDG_RUNTIME_DIR: %w", err, fault.Invalid)
		}
	}
	for _, dir := range []struct {
		path, flag string
		mode       fs.FileMode
	}{
		{d.State, "--state-dir", own},
		{d.Runs, "--state-dir", 0o700},
		{d.Kept, "--state-dir", own},
		{d.Topologies, "--state-dir", 0o700},
		{d.Runtime, "--runtime-dir", runtime},
		{d.ConfigRoot, "--runtime-dir", own},
	} {
		if err := makeDirectory(dir.path, dir.mode, uid); err != nil {
			return fmt.Errorf("%w; %s names another place: %w", err, dir.flag, fault.Invalid)
		}
	}
	return nil
}

// lendDevices makes the directory where those who write to devices wait for each
// other (see atctl-lab), and gives it to the user as whom reservations' scripts run.
// To others it is closed, because whoever has one of the locks in it keeps a device;
// only where there are several such users it is open.
func (d *directories) lendDevices(uids []int) error {
	path := filepath.Join(d.Runtime, "devices")
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; --runtime-dir names another place: %w", err, fault.Invalid)
	}
	if os.Getuid() != 0 { // it is ours already
		return nil
	}
	uid, mode := 0, fs.FileMode(0o700)
	switch len(uids) {
	case 0:
	case 1:
		uid = uids[0]
	default:
		mode = 0o777 | fs.ModeSticky
	}
	if err := errors.Join(os.Lchown(path, uid, -1), os.Chmod(path, mode)); err != nil {
		return fmt.Errorf("%w: %w", err, fault.Internal)
	}
	return nil
}

// makeDirectory makes a directory with this mode, whatever the umask. One that
// is there keeps its mode, but nobody else may be able to put something else in
// the place of what is in it: root's only root, a user's only he and root.
func makeDirectory(path string, mode fs.FileMode, uid int) error {
	info, err := os.Stat(path)
	var owner syscall.Stat_t
	if err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = *st
		}
	}
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory", path)
	case err == nil && info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("everybody may write into %s (mode %04o)", path, info.Mode().Perm())
	case err == nil && owner.Uid != 0 && int(owner.Uid) != uid:
		return fmt.Errorf("%s belongs to another user (number %d)", path, owner.Uid)
	case err == nil && uid == 0 && owner.Gid != 0 && info.Mode().Perm()&0o020 != 0:
		return fmt.Errorf("the group %d may write into %s (mode %04o)", owner.Gid, path, info.Mode().Perm())
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(path, mode)
}

// ownDirectory makes a directory in a place where everybody may write, or
// makes sure that the one there is ours alone.
func ownDirectory(path string, uid int) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", path)
	case !ok || int(owner.Uid) != uid:
		return fmt.Errorf("%s belongs to another user", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %04o)", path, info.Mode().Perm())
	}
	return nil
}

// installedScripts has the default commands be those that were installed
// together with this program, wherever that was, if they were.
func (s *surroundings) installedScripts(r *Reservations) {
	dir := filepath.Join(filepath.Dir(s.executable), "..", "share", "activationd", "scripts")
	for _, command := range [][]string{r.Activate, r.Deactivate} {
		name := filepath.Join(dir, filepath.Base(command[0]))
		if filepath.IsAbs(name) && executable(name) == nil {
			command[0] = name
		}
	}
}

// findAtwrap returns the wrapper's program.
func findAtwrap(flag string, s *surroundings) (string, error) {
	if flag != "" {
		if err := executable(flag); err != nil {
			return "", fmt.Errorf("--atwrap: %w: %w", err, fault.Invalid)
		}
		return flag, nil
	}
	places := []string{filepath.Dir(s.executable), "/usr/local/libexec/activationd", "/usr/lib/activationd"}
	for _, dir := range append(places, filepath.SplitList(s.getenv("PATH"))...) {
		if name := filepath.Join(dir, "atwrap"); filepath.IsAbs(name) && executable(name) == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("there is no atwrap in %s or in PATH: install it, or say where it is with --atwrap: %w",
		strings.Join(places, ", "), fault.NotFound)
}
