package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A session is the use of one machine by one account, from its log-in on. schema.sql says who
// changes its state.
type session struct {
	ID      string `json:"-"` // who knows it is its user
	Account string `json:"account"`
	Machine int    `json:"machine"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
}

var (
	errLogin = errors.New("the name or the password is wrong")
	errFull  = errors.New("all machines are in use")
)

// database is where sessions are.
type database struct{ *pgxpool.Pool }

func openDatabase(ctx context.Context, url string) (database, error) {
	p, err := pgxpool.New(ctx, url)
	return database{p}, err
}

// newSession gives an account the free machine with the lowest number.
func (d database) newSession(ctx context.Context, id, name, password string, machines int) (session, error) {
	var ok bool
	err := d.QueryRow(ctx, "SELECT password = crypt($2, password) FROM account WHERE name = $1", name, password).Scan(&ok)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !ok {
		return session{}, errLogin
	}
	if err != nil {
		return session{}, err
	}
	for {
		s := session{ID: id, Account: name, State: "waiting"}
		err = d.QueryRow(ctx, `INSERT INTO session (id, account, machine)
			SELECT $1, $2, n FROM generate_series(1, $3) n
			WHERE n NOT IN (SELECT machine FROM session WHERE state <> 'over') ORDER BY n LIMIT 1
			RETURNING machine`, id, name, machines).Scan(&s.Machine)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "23505" {
			continue // another log-in has just taken it
		}
		if errors.Is(err, pgx.ErrNoRows) {
			err = errFull
		}
		return s, err
	}
}

func (d database) session(ctx context.Context, id string) (session, error) {
	s := session{ID: id}
	err := d.QueryRow(ctx, "SELECT account, machine, state, reason FROM session WHERE id = $1", id).Scan(&s.Account, &s.Machine, &s.State, &s.Reason)
	return s, err
}

// open returns the sessions that are not over.
func (d database) open(ctx context.Context) ([]session, error) {
	rows, err := d.Query(ctx, "SELECT id, account, machine, state, reason FROM session WHERE state <> 'over' ORDER BY machine")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[session])
}

// move changes the state of a session if it is in one of some others.
func (d database) move(ctx context.Context, id, state, reason string, from ...string) error {
	_, err := d.Exec(ctx, "UPDATE session SET state = $2, reason = CASE WHEN $3 = '' THEN reason ELSE $3 END WHERE id = $1 AND state = ANY ($4)", id, state, reason, from)
	if err != nil {
		return fmt.Errorf("the session cannot become %s: %w", state, err)
	}
	return nil
}

func newID() string { return rand.Text() }
