// Package sql reads reservations from a PostgreSQL, MySQL or MariaDB database with one query.
//
// # Columns
//
// Columns are identified by their names, in any order, in upper or lower case:
//
//	id (or resid)           text
//	start (or from_time)    a time
//	end (or to_time)        a time
//	devices (or device)     one or several, separated by commas; not an array and not JSON, see below
//	vlans                   domains with numbers, separated by commas: lab=3, core=1
//	owner, label, topology  texts; a topology is a text, not the name of a file
//	lead, tail, timeout, grace   seconds as a number, an interval or MySQL's TIME, or
//	                        texts in the forms that package timetext reads
//	retries                 a whole number
//	missed                  run or skip
//
// Id, start and end are required, the others may be missing or NULL. A column with another
// name is an error. Rows with the same id are one reservation: their devices are joined, and
// everything else must be equal. Commands are not read from a database: users who may write
// reservations there must not choose what is run here.
//
// # Times
//
// A time with a zone (timestamptz of PostgreSQL, or a text with a zone) is unambiguous. A time
// without a zone (timestamp, DATETIME, a text like 2099-12-21 10:00:00) is the time of a clock
// in [Config].Zone, and a DATE is the beginning of the day there. If the clock shows the time
// twice, at the end of daylight saving, the first one counts. If the clock never shows it, the
// row is rejected; so is an invalid date, which MySQL may store (2099-12-00). A TIMESTAMP of
// MySQL comes in the zone of the session and is accepted only if that is a fixed zone, for
// instance by time_zone='+00:00' in the DSN.
package sql

import (
	"cmp"
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

// Config describes the database and the query.
type Config struct {
	Driver  string        // "postgres" or "mysql" (also for MariaDB)
	DSN     string        // in the form of the driver; its secrets are never shown
	Query   string        // empty: [VirtlabQuery]
	Name    string        // for messages; empty: made from Driver and the host and database of the DSN
	Timeout time.Duration // of one load, including the connection; 0: 30 s

	// Zone returns the zone of times without a zone. It is called at each load, because the
	// rules of a zone may change. Nil means time.Local.
	Zone func() (*time.Location, error)

	// Nodes returns the names of the nodes of a topology, for reservations that name no
	// devices, and an error for a text that is not a topology. If it is nil, topologies are
	// not checked and have no nodes.
	Nodes func(topology string) ([]string, error)
}

// VirtlabQuery reads a pair of tables like those of the Virtlab project,
// reservations(resid, from_time, to_time) and reserved_devices(device, resid). It is the same
// for all servers. It also returns reservations without devices.
const VirtlabQuery = `SELECT r.resid, r.from_time, r.to_time, d.device
FROM reservations r LEFT JOIN reserved_devices d ON d.resid = r.resid
ORDER BY r.from_time, r.resid, d.device`

const (
	defaultTimeout = 30 * time.Second
	maxRows        = 2_000_000
	maxBytes       = 256 << 20 // of all values together
)

// A Source reads one query. Its methods may be called at the same time. It has no connection
// between two loads.
type Source struct {
	conf   Config
	server server
}

// New returns a source. An error is of kind fault.Invalid. It does not connect yet.
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

// Name returns the configured name, or one like "postgres:db.example.org/virtlab".
func (s *Source) Name() string { return s.conf.Name }

// Load implements [reservation.Source].
func (s *Source) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged implements [reservation.Source]. It reads all rows in either case, because
// only they show whether something has changed.
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

// Watch implements [reservation.Source]. A database cannot be watched, so it waits for ctx and
// returns nil.
func (s *Source) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

func (s *Source) load(ctx context.Context, db *sql.DB) (reservation.Set, error) {
	var none reservation.Set
	// Read-only, so that a wrong query cannot change anything.
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
	defer func() { _ = rows.Close() }() // rows.Err returns the error
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
	// Without this check, rows that a broken connection cut off would look like removed ones.
	if err := rows.Err(); err != nil {
		return none, s.server.kind(err)
	}
	set := m.set()
	for i := range set.Reservations { // the same rows mean other times if the rules of the zone have changed
		_, _ = fmt.Fprintln(h, set.Reservations[i].Start.Unix(), set.Reservations[i].End.Unix())
	}
	set.Fingerprint = "sql1:" + hex.EncodeToString(h.Sum(nil))
	return set, nil
}

// aliases are further names that columns may have.
var aliases = map[string]string{"resid": "id", "from_time": "start", "to_time": "end", "device": "devices"}

// fieldOf returns the field that a column of that name sets, or nil.
func fieldOf(column string) *reservation.Field {
	name := strings.ToLower(column)
	i := reservation.FieldIndex(cmp.Or(aliases[name], name))
	if i < 0 || reservation.Fields[i].Command {
		return nil
	}
	return &reservation.Fields[i]
}

// columnNames lists the names that columns may have.
func columnNames() string {
	var names []string
	for i := range reservation.Fields {
		f := &reservation.Fields[i]
		if f.Command {
			continue
		}
		name := f.Name
		for alias, field := range aliases {
			if field == f.Name {
				name += " (" + alias + ")"
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// A column is a column of the result.
type column struct {
	field *reservation.Field
	name  string
	wall  *time.Location // the zone of times without one; nil if they have a zone
	date  bool           // it is a date, and means the beginning of the day
}

// String is for the fingerprint.
func (c column) String() string { return fmt.Sprint(c.field.Name, " ", c.wall) }

// columns identifies the columns. Zone is the zone of MySQL's TIMESTAMP, or nil if it is not
// known.
func columns(types []*sql.ColumnType, loc *time.Location, mysql bool, zone *time.Location) ([]column, error) {
	var cols []column
	var errs []error
	seen := map[string]string{}
	for _, t := range types {
		c := column{field: fieldOf(t.Name()), name: t.Name()}
		if c.field == nil {
			errs = append(errs, fmt.Errorf("column %s: unknown; there are %s: %w", t.Name(), columnNames(), fault.Invalid))
			continue
		}
		key := c.field.Name
		if other, ok := seen[key]; ok {
			errs = append(errs, fmt.Errorf("columns %s and %s: are the same field: %w", other, t.Name(), fault.Invalid))
		}
		seen[key] = t.Name()
		if key == "start" || key == "end" {
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
