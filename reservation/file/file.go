// Package file reads reservations from a YAML or JSON file, or from all that lie
// in a directory, and watches them.
package file

import (
	"context"
	"errors"

	"activationd/reservation"
)

// A Source reads one path.
type Source struct{ path string }

// New makes a source of path, a file or a directory. Nothing is read yet.
func New(path string) *Source { return &Source{path: path} }

// Name is the path.
func (s *Source) Name() string { return s.path }

// Load implements [reservation.Source].
func (s *Source) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged implements [reservation.Source].
func (s *Source) LoadIfChanged(context.Context, string) (reservation.Set, bool, error) {
	return reservation.Set{}, false, errors.ErrUnsupported
}

// Watch implements [reservation.Source].
func (s *Source) Watch(context.Context, func()) error { return errors.ErrUnsupported }

// Nodes returns the names of a topology's nodes, sorted.
func Nodes(string) ([]string, error) { return nil, errors.ErrUnsupported }
