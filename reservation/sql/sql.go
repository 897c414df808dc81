// Package sql reads reservations from a PostgreSQL, MySQL or MariaDB database by
// one query.
//
// # Columns
//
// Columns are known by their names, in any order and any case:
//
//	id (or resid)           text
//	start (or from_time)    a time; so is
//	end (or to_time)
//	devices (or device)     one or several, separated by commas, but no array and no JSON; see below
//	owner, label, topology  texts; a topology is its text, not a file's name
//	lead, tail, timeout, grace   seconds as a number, an interval or MySQL's TIME, or
//	                        texts in the forms that package timetext reads
//	retries                 a whole number
//	missed                  run or skip
//
// Id, start and end are needed, the others may be missing or NULL; a column of
// another name is an error. Rows of the same id are one reservation: their
// devices are joined, and all else must be equal. Commands are not read from a
// database: who may write reservations there may not choose what is run here.
//
// # Times
//
// A time with a zone (PostgreSQL's timestamptz, or a text with one) is that instant. A
// time without one (timestamp, DATETIME, a text like 2026-11-21 10:00:00) is a wall
// clock's in [Config].Zone, and a DATE is the day's beginning there; where the clock shows
// it twice, at the end of daylight saving, it is the first of the two, and where the clock
// never shows it the row is rejected, as is a date that is none, which MySQL may store
// (2026-12-00). MySQL's TIMESTAMP comes in the session's
// zone and is taken only if that is a fixed one, as with time_zone='+00:00' in the DSN.
package sql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/reservation"
)

// Config says where the reservations are.
type Config struct {
	Driver  string        // "postgres" or "mysql" (also for MariaDB)
	DSN     string        // in the driver's own form; its secrets are never shown
	Query   string        // empty: [VirtlabQuery]
	Name    string        // for messages; empty: made from Driver and the DSN's host and database
	Timeout time.Duration // of one load, connecting included; 0: 30 s

	// Zone returns the zone of times that have none. It is asked at each load, since the
	// rules of a zone may change. Nil: it is time.Local.
	Zone func() (*time.Location, error)

	// Nodes reads the names of a topology's nodes, for reservations that name no
	// devices, and refuses what is no topology. It is reservation/file's function of
	// that name. Nil: topologies are taken as they are and have no nodes.
	Nodes func(topology string) ([]string, error)
}

// VirtlabQuery reads a pair of tables like those of the Virtlab project,
// reservations(resid, from_time, to_time) and reserved_devices(device, resid). It
// is the same on all servers. A reservation without devices is one as well.
const VirtlabQuery = `SELECT r.resid, r.from_time, r.to_time, d.device
FROM reservations r LEFT JOIN reserved_devices d ON d.resid = r.resid
ORDER BY r.from_time, r.resid, d.device`

const (
	defaultTimeout = 30 * time.Second
	maxRows        = 2_000_000
	maxBytes       = 256 << 20 // of all values together
)

// A Source reads one query. Its methods may be called at the same time. Nothing
// stays connected between two loads.
type Source struct {
	conf   Config
	server server
}

// New makes a source. An error is of kind fault.Invalid. Nothing is connected yet.
func New(c Config) (*Source, error) {
	if c.Query == "" {
		c.Query = VirtlabQuery
	}
	if c.Zone == nil {
		c.Zone = func() (*time.Location, error) { return time.Local, nil }
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Timeout < 0 {
		return nil, fmt.Errorf("timeout: %v is negative: %w", c.Timeout, fault.Invalid)
	}
	s, err := parse(c.Driver, c.DSN, c.Timeout)
	if err != nil {
		return nil, err
	}
	if c.Name == "" {
		c.Name = c.Driver + ":" + s.where
	}
	return &Source{c, s}, nil
}

// Name is the configured one, or like "postgres:db.example.org/virtlab".
func (s *Source) Name() string { return s.conf.Name }

// Load implements [reservation.Source].
func (s *Source) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged implements [reservation.Source]. All rows are read in either case,
// for only they tell whether something changed.
func (s *Source) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.conf.Timeout)
	defer cancel()
	db := sql.OpenDB(s.server.connector)
	defer func() { _ = db.Close() }() // it was only read from
	set, err := s.load(ctx, db)
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("no answer within %v: %w", s.conf.Timeout, fault.Unavailable)
		}
		return reservation.Set{}, false, fmt.Errorf("%s: %w", s.conf.Name, s.server.scrub(err))
	}
	if fingerprint != "" && set.Fingerprint == fingerprint {
		return reservation.Set{Fingerprint: fingerprint}, true, nil
	}
	return set, false, nil
}

// Watch implements [reservation.Source]: a database is not watched, so it waits
// for ctx and returns nil.
func (s *Source) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

func (s *Source) load(ctx context.Context, db *sql.DB) (reservation.Set, error) {
	var none reservation.Set
	// Read-only, so that a query that was not meant to cannot change anything.
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return none, s.server.kind(err)
	}
	defer func() { _ = tx.Rollback() }() // there is nothing to commit
	zone, err := s.server.sessionZone(ctx, tx)
	if err != nil {
		return none, s.server.kind(err)
	}
	rows, err := tx.QueryContext(ctx, s.conf.Query)
	if err != nil {
		return none, s.server.kind(err)
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	types, err := rows.ColumnTypes()
	if err != nil {
		return none, s.server.kind(err)
	}
	local, err := s.conf.Zone()
	if err != nil {
		return none, fmt.Errorf("time zone: %w: %w", err, fault.Unavailable)
	}
	cols, err := columns(types, local, s.server.mysql, zone)
	if err != nil {
		return none, err
	}
	m := merger{cols: cols, nodes: s.conf.Nodes, byID: map[string]int{}, mysql: s.server.mysql}
	m.values = make([]any, len(cols))
	into := make([]any, len(cols))
	for i := range into {
		into[i] = &m.values[i]
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %v\n", cols, local)
	for total := 0; rows.Next(); {
		if err := rows.Scan(into...); err != nil {
			return none, s.server.kind(err)
		}
		line := m.canonical()
		_, _ = h.Write(line)
		if total += len(line); total > maxBytes || m.row >= maxRows {
			return none, fmt.Errorf("the query gives more than %d rows or %d MiB; narrow it: %w", maxRows, maxBytes>>20, fault.Invalid)
		}
		m.add()
	}
	// Without this, rows that a broken connection cut off would look like removed ones.
	if err := rows.Err(); err != nil {
		return none, s.server.kind(err)
	}
	set := m.set()
	for i := range set.Reservations { // the same rows mean other instants if the zone's rules are others
		_, _ = fmt.Fprintln(h, set.Reservations[i].Start.Unix(), set.Reservations[i].End.Unix())
	}
	set.Fingerprint = "sql1:" + hex.EncodeToString(h.Sum(nil))
	return set, nil
}

// names are the columns by what they may be called.
var names = map[string]string{
	"id": "id", "resid": "id", "start": "start", "from_time": "start", "end": "end", "to_time": "end",
	"device": "devices", "devices": "devices", "owner": "owner", "label": "label", "topology": "topology",
	"lead": "lead", "tail": "tail", "timeout": "timeout", "grace": "grace", "retries": "retries", "missed": "missed",
}

// A column is what a column of the result means.
type column struct {
	key  string
	name string
	wall *time.Location // of a time without a zone; nil if it has one
	date bool           // it is a date, and means the day's beginning
}

// String is for the fingerprint.
func (c column) String() string { return fmt.Sprint(c.key, " ", c.wall) }

// columns finds out what each column is. zone is that of MySQL's TIMESTAMP, nil if
// it is not known.
func columns(types []*sql.ColumnType, loc *time.Location, mysql bool, zone *time.Location) ([]column, error) {
	var cols []column
	var errs []error
	seen := map[string]string{}
	for _, t := range types {
		c := column{key: names[strings.ToLower(t.Name())], name: t.Name()}
		if c.key == "" {
			errs = append(errs, fmt.Errorf("column %s: unknown; there are id (resid), start (from_time), end (to_time), "+
				"devices (device), owner, label, topology, lead, tail, timeout, grace, retries, missed: %w", t.Name(), fault.Invalid))
			continue
		}
		if other, ok := seen[c.key]; ok {
			errs = append(errs, fmt.Errorf("columns %s and %s: are the same thing: %w", other, t.Name(), fault.Invalid))
		}
		seen[c.key] = t.Name()
		if c.key == "start" || c.key == "end" {
			kind := t.DatabaseTypeName()
			c.date = kind == "DATE"
			switch {
			case slices.Contains([]string{"TIME", "TIMETZ", "1266", "YEAR", "INTERVAL"}, kind):
				errs = append(errs, fmt.Errorf("column %s: is of type %s, which is no date with a time of day; "+
					"use a timestamp or DATETIME: %w", t.Name(), strings.Replace(kind, "1266", "TIMETZ", 1), fault.Invalid))
			case kind == "TIMESTAMPTZ":
			case mysql && kind == "TIMESTAMP" && zone == nil:
				errs = append(errs, fmt.Errorf("column %s: is a TIMESTAMP, which the server gives in a zone that is not known here; "+
					"use DATETIME, or add time_zone=%%27%%2B00%%3A00%%27 to the dsn: %w", t.Name(), fault.Invalid))
			case mysql && kind == "TIMESTAMP":
				c.wall = zone
			default:
				c.wall = loc
			}
		}
		cols = append(cols, c)
	}
	for _, key := range []string{"id", "start", "end"} {
		if seen[key] == "" {
			errs = append(errs, fmt.Errorf("column %s: is missing: %w", key, fault.Invalid))
		}
	}
	return cols, errors.Join(errs...)
}
