package schedule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// LoadZone returns a time zone by its name, such as Europe/Prague. The empty name is the local
// zone. The zone has the rules that the machine has now, which differ from earlier ones after
// an update of the time zones.
func LoadZone(name string) (*time.Location, error) {
	if name == "" {
		return localZone(), nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%.60q is no time zone: write one such as Europe/Prague, or UTC", name)
	}
	return loc, nil
}

// localZone returns the local zone with the rules that its file has now. time.Local has the
// rules from the start of the program.
func localZone() *time.Location {
	name := time.Local.String()
	loc, err := time.Local, error(nil)
	switch {
	case name == "UTC":
	case name == "Local":
		loc, err = readZone(name, "/etc/localtime")
	case strings.HasPrefix(name, "/"): // from TZ
		loc, err = readZone(name, name)
	default:
		loc, err = time.LoadLocation(name)
	}
	if err != nil { // the old rules are better than none
		return time.Local
	}
	return loc
}

// LocalName returns the name of the local zone, such as Europe/Prague, or "" if it has none
// that other machines know.
func LocalName() string {
	name := time.Local.String()
	switch {
	case name == "Local":
		file, err := filepath.EvalSymlinks("/etc/localtime")
		if err != nil {
			return ""
		}
		name = file
	case !strings.HasPrefix(name, "/"):
		return name
	}
	_, name, _ = strings.Cut(name, "/zoneinfo/")
	if name == "Etc/UTC" {
		return "UTC"
	}
	return name
}

func readZone(name, path string) (*time.Location, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return time.LoadLocationFromTZData(name, data)
}

// ZoneOf returns the zone for the local times of a recurrence, or nil if it has none.
func ZoneOf(r Recurrence) *time.Location {
	if c, ok := r.(*civil); ok {
		return c.loc
	}
	return nil
}
