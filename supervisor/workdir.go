package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"activationd/internal/fault"
)

// Workdir returns the work directory of an activation, which its runs share and which
// outlives them, and makes it if it is not there yet. It is accessible to its user only;
// -1 is the daemon's own user.
func (s *Supervisor) Workdir(id string, uid, gid int) (dir string, err error) {
	if dir, err = s.workdirPath(id); err != nil {
		return "", err
	}
	if err := s.privileged.MakeWorkdir(id, uid, gid); err != nil {
		return "", fmt.Errorf("work directory: %w: %w", err, fault.Unavailable)
	}
	return dir, nil
}

// RemoveWorkdir removes the directory that [Supervisor.Workdir] made. If there is none,
// that is no error. If ctx is done first, a part is left and the error is of kind
// Unavailable; a later call goes on.
func (s *Supervisor) RemoveWorkdir(ctx context.Context, id string) error {
	if _, err := s.workdirPath(id); err != nil {
		return err
	}
	return s.privileged.Remove(ctx, Workdirs, id)
}

// Workdirs lists the activations that have a work directory.
func (s *Supervisor) Workdirs() (ids []string, err error) {
	if s.config.WorkdirsDir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(s.config.WorkdirsDir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, nil
}

func (s *Supervisor) workdirPath(id string) (string, error) {
	if s.config.WorkdirsDir == "" {
		return "", fmt.Errorf("no place for work directories is configured: %w", fault.Invalid)
	}
	return filepath.Join(s.config.WorkdirsDir, id), checkName(id)
}
