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

// An About describes a platform: what it is and what it can do.
type About struct {
	Platform string   `json:"platform"`
	Switch   bool     `json:"switch"` // its devices carry links between their ports
	Node     bool     `json:"node"`   // its devices take a startup-config
	Kinds    []string `json:"kinds,omitempty"`
	Tried    string   `json:"tried,omitempty"`
	Manual   string   `json:"manual,omitempty"`
	File     string   `json:"file,omitempty"` // of a platform that the user has written
}

// About describes the platform. Dir is the directory with the user's own platforms.
func (p *Platform) About(dir string) About {
	a := About{
		Platform: p.Name, Switch: !p.parts[partAccess].empty() && !p.parts[partTrunk].empty(), Node: p.dialect.running != "" || len(p.dialect.commands) > 0,
		Kinds: p.Kinds, Tried: p.Tried, Manual: p.Manual,
	}
	if p.Files[p.Name+".yaml"] != nil {
		a.File = filepath.Join(dir, p.Name+".yaml")
	}
	return a
}

func (p part) empty() bool { return len(p.apply) == 0 && len(p.checks) == 0 }

// PlatformNames returns the names of all platforms, sorted: those that come with the program,
// and the user's own in dir. An empty dir means that there are none.
func PlatformNames(dir string) ([]string, error) {
	names := BuiltInPlatforms()
	if dir == "" {
		return names, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
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
