package supervisor

import (
	"context"
	"path/filepath"

	"activationd/supervisor/wrapper"
)

// sweepNamesakes removes the configuration directories that wrappers found under their
// own process id and moved aside: the runs they belonged to are over. It ends
// when the Supervisor is closed; the next one goes on.
func (s *Supervisor) sweepNamesakes() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.followers.Go(func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	})
	old, _ := filepath.Glob(filepath.Join(s.config.ConfigRoot, "*"+wrapper.AsideInfix+"*")) // a bad pattern is its only error
	for _, dir := range old {
		if err := s.privileged.Remove(ctx, ConfigDirs, filepath.Base(dir)); err != nil && ctx.Err() == nil {
			s.config.Log.Warn("a dead run's configuration directory cannot be removed", "path", dir, "err", err)
		}
	}
}
