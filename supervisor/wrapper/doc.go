// Package wrapper is both sides of a run's wrapper process, cmd/atwrap, and of
// the run directory through which the wrapper and the daemon know each other.
package wrapper
