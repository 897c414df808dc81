package supervisor

// ResetOOM makes runs as if the daemon were spared when memory is short.
func (s *Supervisor) ResetOOM() { s.oomReset = true }

// NewDirect returns what a supervisor uses when it is not given another [Privileged].
func NewDirect(c Config) (Privileged, error) { return newDirect(c) }
