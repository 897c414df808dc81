package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"activationd/internal/fault"
	"activationd/supervisor/spawn"
)

// directories are the daemon's directories.
type directories struct {
	State      string // what must survive a boot of the machine
	Runs       string // in State: a directory for each attempt
	Workdirs   string // in State: a work directory for each reservation that has begun
	Topologies string // in State: where linkconf looks, unless the configuration says where
	Bodies     string // in State: bodies of messages, for processes that get them as files
	Runtime    string // the control socket; gone after a boot
	Deliveries string // in Runtime: a directory for each process that works off messages: it must outlive the daemon only
	ConfigRoot string // in Runtime: configuration directories of what runs

	trust bool // Runtime lies where only its owner or root can make it
}

func chooseDirs(o *options, h *host) (*directories, error) {
	d := directories{trust: true}
	switch systemd := firstOf(h.getenv("STATE_DIRECTORY")); {
	case o.stateDir != "":
		d.State = o.stateDir
	case systemd != "":
		d.State = systemd
	case h.uid == 0:
		d.State = "/var/lib/activationd"
	default:
		base := h.base("XDG_STATE_HOME", ".local/state")
		if base == "" {
			return nil, fmt.Errorf("no directory for the state: set HOME or XDG_STATE_HOME, or use --state-dir: %w", fault.Invalid)
		}
		d.State = filepath.Join(base, "activationd")
	}
	switch systemd, xdg := firstOf(h.getenv("RUNTIME_DIRECTORY")), h.base("XDG_RUNTIME_DIR", ""); {
	case o.runtimeDir != "":
		d.Runtime = o.runtimeDir
	case systemd != "":
		d.Runtime = systemd
	case h.uid == 0:
		d.Runtime = "/run/activationd"
	case xdg != "":
		d.Runtime = filepath.Join(xdg, "activationd")
	default:
		d.Runtime, d.trust = "/tmp/activationd-"+strconv.Itoa(h.uid), false
	}
	d.Runs = filepath.Join(d.State, "runs")
	d.Workdirs = filepath.Join(d.State, "kept")
	d.Bodies = filepath.Join(d.State, "queues", "bodies")
	d.Topologies = filepath.Join(d.State, "topologies")
	d.Deliveries = filepath.Join(d.Runtime, "queues", "runs")
	d.ConfigRoot = filepath.Join(d.Runtime, "config")
	return &d, nil
}

// ofSpawner sets the directories that are the spawner's, where nobody but root changes anything.
func (d *directories) ofSpawner(socket string) error {
	place, err := spawn.Ask(socket)
	if err != nil {
		return err
	}
	for _, dir := range []string{d.Runs, d.Deliveries} {
		if !slices.Contains(place.Runs, dir) {
			return fmt.Errorf("the spawner at %s knows only the directories of runs %q: name %s under runs in its rules: %w", socket, place.Runs, dir, fault.Invalid)
		}
	}
	d.ConfigRoot = place.Config
	if len(place.Kept) > 0 {
		d.Workdirs = place.Kept[0]
	}
	return nil
}

// firstOf returns the first of systemd's directories, which it separates by
// colons.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ":")
	return first
}

// make makes the directories that do not exist, and refuses those in which other users could
// replace files.
func (d *directories) make(h *host) error {
	uid := h.uid
	runtime, own := fs.FileMode(0o700), fs.FileMode(0o700)
	if h.switches() {
		// Other users reach the socket, and the user of a run reaches the run's directories.
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
		{d.Workdirs, "--state-dir", own},
		{d.Topologies, "--state-dir", 0o700},
		{filepath.Dir(d.Bodies), "--state-dir", own},
		{d.Bodies, "--state-dir", own},
		{d.Runtime, "--runtime-dir", runtime},
		{d.ConfigRoot, "--runtime-dir", own},
		{filepath.Dir(d.Deliveries), "--runtime-dir", 0o700},
		{d.Deliveries, "--runtime-dir", 0o700},
	} {
		if err := makeDirectory(dir.path, dir.mode, uid); err != nil {
			return fmt.Errorf("%w; choose another directory with %s: %w", err, dir.flag, fault.Invalid)
		}
	}
	return nil
}

// makeDeviceLocks makes the directory of the locks by which programs that write to devices
// wait for each other (see atctl-lab), and gives it to the user whom reservations' scripts
// run as. It is closed to other users, because the holder of a lock blocks a device; only if
// scripts run as several users is it open.
func (d *directories) makeDeviceLocks(h *host, uids []int) error {
	path := filepath.Join(d.Runtime, "devices")
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; choose another directory with --runtime-dir: %w", err, fault.Invalid)
	}
	if h.uid != 0 { // it is the daemon's user's already
		if h.switches() && slices.ContainsFunc(uids, func(uid int) bool { return uid != h.uid }) {
			return os.Chmod(path, 0o777|fs.ModeSticky) // it cannot be given to that user
		}
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

// makeDirectory makes a directory with this mode, whatever the umask. A directory that
// exists keeps its mode, but no other user may be able to replace what is in it: only root
// for a daemon that runs as root, and otherwise root and the daemon's user.
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
		return fmt.Errorf("every user may write into %s (mode %04o)", path, info.Mode().Perm())
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

// ownDirectory makes a directory in a place where every user may write, or makes sure that
// the existing one belongs to the daemon's user alone.
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
