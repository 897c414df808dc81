package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"activationd/internal/fault"
)

// An About says what a platform is and can do.
type About struct {
	Platform string   `json:"platform"`
	Switch   bool     `json:"switch"` // leads links from port to port
	Node     bool     `json:"node"`   // takes a startup-config
	Kinds    []string `json:"kinds,omitempty"`
	Tried    string   `json:"tried,omitempty"`
	Manual   string   `json:"manual,omitempty"`
	File     string   `json:"file,omitempty"` // the user's own
}

// About says what the platform is. Dir is the directory of the user's own platforms.
func (p *Platform) About(dir string) About {
	a := About{
		Platform: p.Name, Switch: !p.access.empty() && !p.trunk.empty(), Node: p.dialect.running != "" || len(p.dialect.commands) > 0,
		Kinds: p.Kinds, Tried: p.Tried, Manual: p.Manual,
	}
	if p.Files[p.Name+".yaml"] != nil {
		a.File = filepath.Join(dir, p.Name+".yaml")
	}
	return a
}

func (p part) empty() bool { return len(p.apply) == 0 && len(p.checks) == 0 }

// PlatformNames returns the names of all platforms, sorted: those of the program, and the
// user's own in dir; "" is no directory.
func PlatformNames(dir string) ([]string, error) {
	names := BuiltInPlatforms()
	if dir == "" {
		return names, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	for _, e := range entries {
		name, isYAML := strings.CutSuffix(e.Name(), ".yaml")
		if isYAML && !strings.HasSuffix(name, ".dialog") && checkName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
