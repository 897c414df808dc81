package supervisor

// ResetOOM makes runs as if the daemon were spared when memory is short.
func (s *Supervisor) ResetOOM() { s.oomReset = true }
