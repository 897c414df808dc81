package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// newCgroup makes a cgroup below the bench's own, with a name of its own.
func newCgroup() (dir string, err error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	own := ""
	for l := range strings.Lines(string(self)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(l), "0::"); ok {
			own = path
		}
	}
	for l := range strings.Lines(string(mounts)) {
		if f := strings.Fields(l); len(f) > 2 && f[2] == "cgroup2" && own != "" {
			return os.MkdirTemp(filepath.Join(f[1], own), "activationd-bench-")
		}
	}
	return "", errors.New("there is no cgroup v2 here")
}

// removeCgroup removes a cgroup and those below it, unless a process lives there.
func removeCgroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}

// processorTime is that of everything that has run in the daemon's cgroup and in those below it:
// the daemon, its wrappers and their programs. It is in microseconds.
func (d *daemon) processorTime() (us float64, err error) {
	stat, err := os.ReadFile(filepath.Join(d.cgroup, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(stat)) {
		if n, ok := strings.CutPrefix(l, "usage_usec "); ok {
			return strconv.ParseFloat(strings.TrimSpace(n), 64)
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat: no usage_usec", d.cgroup)
}

// processes returns those of the daemon's cgroup and of those below it.
func (d *daemon) processes() (pids []int, err error) {
	err = filepath.WalkDir(d.cgroup, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		all, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, f := range strings.Fields(string(all)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
		return err
	})
	return pids, err
}
