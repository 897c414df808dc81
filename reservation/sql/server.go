package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"activationd/internal/fault"
)

// A server has what differs between the drivers.
type server struct {
	connector driver.Connector
	mysql     bool
	where     string   // host and database, for names
	secrets   []string // which no message may contain
}

// parse reads a DSN. Its errors contain no part of the DSN, because in a malformed DSN any
// part may be the password.
func parse(name, dsn string, timeout time.Duration) (server, error) {
	switch name {
	case "postgres":
		return parsePostgres(dsn, timeout)
	case "mysql":
		return parseMySQL(dsn, timeout)
	}
	return server{}, fmt.Errorf("driver: %.80q is neither postgres nor mysql: %w", name, fault.Invalid)
}

func parsePostgres(dsn string, timeout time.Duration) (server, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return server{}, fmt.Errorf("dsn: cannot be parsed, or names a file that does not exist; "+
			"write postgres://user:password@host:port/database or host=... user=... dbname=...: %w", fault.Invalid)
	}
	if c.ConnectTimeout == 0 || c.ConnectTimeout > timeout {
		c.ConnectTimeout = timeout
	}
	// A query is executed once, so it need not be prepared; and connection poolers may have
	// problems with prepared statements.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	return server{
		connector: stdlib.GetConnector(*c),
		where:     c.Host + "/" + c.Database,
		secrets:   []string{dsn, c.Password},
	}, nil
}

func parseMySQL(dsn string, timeout time.Duration) (server, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return server{}, fmt.Errorf("dsn: cannot be parsed; "+
			"write user:password@tcp(host:port)/database or user:password@unix(/path/of/socket)/database: %w", fault.Invalid)
	}
	for _, t := range []*time.Duration{&c.Timeout, &c.ReadTimeout, &c.WriteTimeout} {
		if *t == 0 || *t > timeout {
			*t = timeout
		}
	}
	c.ParseTime = false // the driver would turn an invalid date into another day
	c.AllowAllFiles = false
	c.MultiStatements = false
	c.Logger = &mysql.NopLogger{} // its messages are also returned as errors
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return server{}, fmt.Errorf("dsn: names a key or TLS configuration that does not exist: %w", fault.Invalid)
	}
	where := c.Addr
	if host, _, err := net.SplitHostPort(c.Addr); err == nil {
		where = host
	}
	return server{
		connector: connector,
		mysql:     true,
		where:     where + "/" + c.DBName,
		secrets:   []string{dsn, c.Passwd},
	}, nil
}

// sessionZone returns the zone of a MySQL session if it is a fixed one, or nil.
func (s *server) sessionZone(ctx context.Context, tx *sql.Tx) (*time.Location, error) {
	if !s.mysql {
		return nil, nil
	}
	var name string
	if err := tx.QueryRowContext(ctx, "SELECT @@session.time_zone").Scan(&name); err != nil {
		return nil, err
	}
	if name == "UTC" {
		return time.UTC, nil
	}
	if t, err := time.Parse("-07:00", name); err == nil {
		_, offset := t.Zone()
		return time.FixedZone(name, offset), nil
	}
	return nil, nil
}

// kind adds the kind of fault: invalid for an error in the query, unavailable otherwise.
func (s *server) kind(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "42") { // syntax, or no such table
		return fmt.Errorf("query: %w: %w", err, fault.Invalid)
	}
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		switch my.Number {
		case 1054, 1064, 1142, 1143, 1146: // no such column, syntax, not allowed twice, no such table
			return fmt.Errorf("query: %w: %w", err, fault.Invalid)
		}
	}
	return fmt.Errorf("%w: %w", err, fault.Unavailable)
}

// scrub removes secrets from an error, in case a driver reveals them.
func (s *server) scrub(err error) error {
	text := err.Error()
	for _, secret := range s.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	if text == err.Error() {
		return err
	}
	text = strings.TrimSuffix(text, ": "+string(fault.Of(err)))
	return fmt.Errorf("%s: %w", text, fault.Of(err))
}
