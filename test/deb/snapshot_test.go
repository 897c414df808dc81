package deb

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A snapshot has what a machine's file system has other than the tree: each changed path
// and what is there.
type snapshot map[string]string

// volatile are the files that change whatever is installed: the books of dpkg and apt, logs,
// and what systemd keeps for itself.
var volatile = []string{
	"/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/apt/", "/var/cache/debconf/", "/var/cache/ldconfig/",
	"/var/log/dpkg.log", "/var/log/apt/", "/var/log/journal/", "/var/log/alternatives.log", "/var/log/lastlog", "/var/log/wtmp",
	"/var/lib/systemd/random-seed", "/var/lib/systemd/catalog/", "/var/lib/systemd/timers/", "/var/tmp/",
}

// snapshot looks at what the machine wrote, which is a directory of its own.
func (m *machine) snapshot() snapshot {
	m.t.Helper()
	upper := filepath.Join(m.dir, "upper")
	s := snapshot{}
	err := filepath.WalkDir(upper, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, upper)
		if slices.ContainsFunc(volatile, func(v string) bool { return strings.HasPrefix(name+"/", v) || name == v }) {
			return nil
		}
		now, err := describe(path)
		if err != nil {
			return err
		}
		before, err := describe(filepath.Join(m.tree, name))
		if err != nil {
			return err
		}
		if now != before {
			s[name] = now
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// describe says all of a file that matters; what is not there, or was removed from the
// layer below, is "nothing".
func describe(path string) (string, error) {
	const nothing = "nothing"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nothing, nil
	}
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: no owner is known", path)
	}
	if info.Mode()&fs.ModeCharDevice != 0 && stat.Rdev == 0 {
		return nothing, nil
	}
	text := fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
	switch {
	case info.Mode().IsRegular():
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(" %d bytes %.8x", len(data), sha256.Sum256(data))
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		text += " to " + to
	}
	return text, nil
}

// difference lists the paths that are not as they were, in their order.
func (s snapshot) difference(before snapshot) []string {
	var lines []string
	for path, now := range s {
		if then, ok := before[path]; !ok {
			lines = append(lines, path+": is "+now+", which it was not")
		} else if then != now {
			lines = append(lines, path+": is "+now+", was "+then)
		}
	}
	for path, then := range before {
		if _, ok := s[path]; !ok {
			lines = append(lines, path+": is no longer "+then)
		}
	}
	slices.Sort(lines)
	return lines
}
