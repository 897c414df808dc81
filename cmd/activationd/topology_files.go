package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"activationd/internal/fault"
	"activationd/topology"
)

// topology reads a topology by its file's name, for linkconf: it must lie in the
// topology directory, or in that of a source of files.
func (d *daemon) topology(name string) ([]byte, error) {
	d.mu.Lock()
	dirs, user := []string{d.current.TopologyDirectory}, d.current.Reservations.User
	for _, s := range d.current.Sources {
		if s.Files != "" {
			dirs = append(dirs, sourceDir(s.Files))
		}
	}
	d.mu.Unlock()
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("topology: %q is not the name of a file in %s: %w", name, strings.Join(dirs, " or "), fault.Invalid)
	}
	for _, dir := range dirs {
		root, err := os.OpenRoot(dir)
		if err != nil {
			continue // reported below
		}
		if err := d.host.trusted(filepath.Join(dir, name), user); err != nil {
			_ = root.Close()
			return nil, fmt.Errorf("topology: %w: %w", err, fault.Denied)
		}
		data, err := root.ReadFile(name)
		if err == nil {
			var filled string
			filled, err = topology.Fill(string(data), func(config string) ([]byte, error) {
				return root.ReadFile(filepath.Join(filepath.Dir(name), config))
			})
			data = []byte(filled)
		}
		_ = root.Close()
		if err == nil {
			return data, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("topology: %w: %w", err, fault.Invalid)
		}
	}
	return nil, fmt.Errorf("topology: there is no file %q in %s: %w", name, strings.Join(dirs, " or "), fault.NotFound)
}

// sourceDir is the directory of a source of files, which may be one file.
func sourceDir(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	return filepath.Dir(path)
}
