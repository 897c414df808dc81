package supervisor

import (
	"os"
	"path/filepath"
	"strings"

	"activationd/supervisor/wrapper"
)

// Frozen returns the frozen cgroup that keeps the script of a followed run from running;
// empty: there is none.
func (s *Supervisor) Frozen(k Key) string {
	if s.contained.Cgroup == "" || k.check() != nil {
		return ""
	}
	return frozenBy(filepath.Join(s.contained.Cgroup, k.String()))
}

// frozenBy returns the uppermost cgroup whose freezing freezes dir; empty: dir is not
// frozen.
func frozenBy(dir string) (by string) {
	if !wrapper.Frozen(dir) {
		return ""
	}
	by = dir
	for ; ; dir = filepath.Dir(dir) {
		switch freeze, err := os.ReadFile(filepath.Join(dir, "cgroup.freeze")); {
		case err != nil: // the root has no such file
			return by
		case strings.TrimSpace(string(freeze)) == "1":
			by = dir
		}
	}
}
