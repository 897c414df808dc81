package supervisor

import (
	"os"
	"strings"
)

// List returns all runs that have a directory, whatever has become of them.
func (s *Supervisor) List() (keys []Key, err error) {
	entries, err := os.ReadDir(s.config.RunsDir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if k, ok := ParseKey(e.Name()); ok && e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			keys = append(keys, k)
		}
	}
	return keys, nil
}
