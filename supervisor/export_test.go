package supervisor

// ResetOOM makes runs as if the daemon were spared when memory is short.
func (s *Supervisor) ResetOOM() { s.oomReset = true }

// NewDirect returns what a supervisor uses when it is not given another [Privileged].
func NewDirect(c Config) (Privileged, error) { return newDirect(c) }

// SocketsOf returns the descriptors of the open sockets at addresses.
func (s *Supervisor) SocketsOf(addresses []string) (fds []int) {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	for _, a := range addresses {
		fds = append(fds, s.sockets.open[a].fd)
	}
	return fds
}
