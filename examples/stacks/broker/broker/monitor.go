package main

import (
	"context"
	"log/slog"
	"time"
)

// monitor ends the sessions whose client has died: no web worker has heard of it for too
// long. It says so in the database; the manager of machines does the rest.
func monitor(ctx context.Context, s settings, _ []string) error {
	db, err := openDatabase(ctx, s.database)
	if err != nil {
		return err
	}
	defer db.Close()
	silent := make(map[string]time.Time) // since when
	for tick := time.NewTicker(s.presence / 4); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// While the database or the cache is away, nobody is taken for dead. After that, the
		// clients that live have the whole time again.
		if silent, err = look(ctx, db, cache(s.cache), silent, s.presence); err != nil && ctx.Err() == nil {
			slog.Warn("cannot look after the sessions", "err", err)
			silent = make(map[string]time.Time)
		}
	}
}

// look returns the sessions without a sign of their client, and since when. It ends those
// that were silent for too long.
func look(ctx context.Context, db database, c cache, before map[string]time.Time, presence time.Duration) (map[string]time.Time, error) {
	all, err := db.open(ctx)
	if err != nil {
		return nil, err
	}
	silent := make(map[string]time.Time)
	for _, s := range all {
		if s.State == "left" {
			continue
		}
		seen, err := c.do(ctx, "EXISTS", seenKey(s.ID))
		if err != nil {
			return nil, err
		}
		if seen == 1 {
			continue
		}
		silent[s.ID] = time.Now()
		if since, ok := before[s.ID]; ok {
			silent[s.ID] = since
		}
		if time.Since(silent[s.ID]) < presence {
			continue
		}
		slog.Info("the client has died", "account", s.Account, "machine", s.Machine)
		if err := db.move(ctx, s.ID, "left", "its client died", "waiting", "active"); err != nil {
			return nil, err
		}
	}
	return silent, nil
}

// seenKey is the key in the cache that exists while the client of a session lives.
func seenKey(id string) string { return "seen:" + id }
