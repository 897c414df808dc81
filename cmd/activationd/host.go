package main

import (
	"fmt"
	"path/filepath"

	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/internal/programs"
)

// A host is what the daemon finds around itself when it starts.
type host struct {
	uid        int
	getenv     func(string) string
	executable string // the daemon's own program
	spawn      string // the socket of the spawner, which runs scripts as other users; empty: there is none
	contained  bool   // process 1 is the program as well, and ends with the daemon
}

// fate says what becomes of the runs when the daemon ends.
func (h *host) fate() string {
	if h.contained {
		return "runs are killed with the container"
	}
	return "runs go on"
}

// switches reports whether scripts can run as other users than the daemon's.
func (h *host) switches() bool { return h.uid == 0 || h.spawn != "" }

// defaultConfigFile returns the file that is read when the command line names none; empty:
// no file.
func (h *host) defaultConfigFile() string {
	if h.uid == 0 {
		return "/etc/activationd/activationd.yaml"
	}
	if base := h.base("XDG_CONFIG_HOME", ".config"); base != "" {
		return filepath.Join(base, "activationd", "activationd.yaml")
	}
	return ""
}

// base returns the directory that an XDG variable names, or its default in the home
// directory; empty if there is neither. A relative path in the variable is ignored, as
// the specification of these variables requires.
func (h *host) base(variable, inHome string) string {
	if dir := h.getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	if home := h.getenv("HOME"); inHome != "" && filepath.IsAbs(home) {
		return filepath.Join(home, inHome)
	}
	return ""
}

// installedScripts replaces the default commands by those that were installed together with
// this program, in any directory, if there are any.
func (h *host) installedScripts(r *config.Reservations) {
	dir := filepath.Join(filepath.Dir(h.executable), "..", "share", "activationd", "scripts")
	for _, command := range [][]string{r.Activate, r.Deactivate} {
		name := filepath.Join(dir, filepath.Base(command[0]))
		if filepath.IsAbs(name) && programs.Executable(name) == nil {
			command[0] = name
		}
	}
}

// findAtwrap returns the wrapper's program.
func findAtwrap(flag string, h *host) (string, error) {
	if flag != "" {
		if err := programs.Executable(flag); err != nil {
			return "", fmt.Errorf("--atwrap: %w: %w", err, fault.Invalid)
		}
		return flag, nil
	}
	file, err := programs.Find("atwrap", h.executable, h.getenv("PATH"))
	if err != nil {
		return "", fmt.Errorf("%w: install it, or name it with --atwrap: %w", err, fault.NotFound)
	}
	return file, nil
}
