package supervisor

// ResetOOM makes runs as if the daemon were spared when memory is short.
func (s *Supervisor) ResetOOM() { s.oomReset = true }

// SocketsOf returns the descriptors of the open sockets at addresses.
func (s *Supervisor) SocketsOf(addresses []string) (fds []int) {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	for _, a := range addresses {
		fds = append(fds, s.sockets.open[a].fd)
	}
	return fds
}
