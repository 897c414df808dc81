// Package programs finds the programs that were installed together with the one that runs.
// It decides where they may be, and nothing else.
package programs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Find returns the program name that belongs to the program with the path self. It looks
// beside self, where a build puts all programs; in ../libexec/activationd, where an
// installation puts those that nobody calls by hand; and then in path, a list like PATH.
// The error, which wraps [fs.ErrNotExist], says where it has looked.
func Find(name, self, path string) (string, error) {
	dir := filepath.Dir(self)
	own := []string{dir, filepath.Join(filepath.Dir(dir), "libexec", "activationd")}
	for _, dir := range slices.Concat(own, filepath.SplitList(path)) {
		if file := filepath.Join(dir, name); filepath.IsAbs(file) && Executable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in %s or in PATH: %w", name, strings.Join(own, ", "), fs.ErrNotExist)
}

// Executable returns an error unless the file is a program.
func Executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable", file)
	}
	return nil
}
