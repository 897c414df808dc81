package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// List returns all runs that have a directory, whatever has become of them, and those of which
// only the second name of the lock is left: they have removed their directories, and may go on.
func (s *Supervisor) List() (keys []Key, err error) {
	entries, err := os.ReadDir(s.config.RunsDir)
	if err != nil {
		return nil, err
	}
	seen := make(map[Key]bool)
	for _, e := range entries {
		if k, ok := ParseKey(e.Name()); ok && e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			keys = append(keys, k)
			seen[k] = true
		}
	}
	locks, err := os.ReadDir(filepath.Join(s.config.RunsDir, locksDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range locks {
		if k, ok := ParseKey(e.Name()); ok && !seen[k] {
			keys = append(keys, k)
		}
	}
	return keys, nil
}
