package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"activationd/internal/fault"
)

// Keep returns the directory of an activation, which its runs have in common
// and which outlives them. It makes it if it is not there yet. The directory is
// the user's alone; -1 is the daemon's own.
func (s *Supervisor) Keep(id string, uid, gid int) (dir string, err error) {
	if dir, err = s.keptDir(id); err != nil {
		return "", err
	}
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil && (uid >= 0 || gid >= 0) { // an earlier daemon may not have come so far
		err = os.Lchown(dir, uid, gid)
	}
	if err != nil {
		return "", fmt.Errorf("directory that is kept: %w: %w", err, fault.Unavailable)
	}
	return dir, nil
}

// Unkeep removes the directory that [Supervisor.Keep] made. One that is not
// there is no error. When ctx is done before it, it is one of kind Unavailable,
// and can go on later.
func (s *Supervisor) Unkeep(ctx context.Context, id string) error {
	if _, err := s.keptDir(id); err != nil {
		return err
	}
	return removeTree(ctx, s.config.KeptDir, id)
}

// Kept lists the activations that have a directory.
func (s *Supervisor) Kept() (ids []string, err error) {
	if s.config.KeptDir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(s.config.KeptDir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, nil
}

func (s *Supervisor) keptDir(id string) (string, error) {
	if s.config.KeptDir == "" {
		return "", fmt.Errorf("there is no place for directories that are kept: %w", fault.Invalid)
	}
	return filepath.Join(s.config.KeptDir, id), checkName(id)
}
