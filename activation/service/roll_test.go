package service_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/internal/fault"
	"activationd/store/memstore"
)

// An extra instance whose id belongs to something else stops a rolling restart, which says so
// and touches nothing.
func TestRollingIDIsTaken(t *testing.T) {
	w := newWorld(t, memstore.New())
	d := declared("web", 2)
	d.Surge = 1
	w.declare(false, nil, d)
	err := w.engine.Update(t.Context(), func(t *activation.Txn) error {
		return t.Save(nil, &activation.Record{ID: "web@3", Kind: activation.Reservation, Life: activation.Life{State: activation.Scheduled}})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.roster.Run(ctx, service.Place{Report: slog.New(slog.DiscardHandler)}) }()
	all, err := w.roster.Select(ctx, root, []string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	names, err := w.roster.Roll(ctx, root, [][]service.Status{all}, service.Begin)
	if err == nil {
		err = w.roster.Rolled(ctx, 0, names)
	}
	if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "web@3 is the id of a") || !strings.Contains(err.Error(), "2 more were not restarted") {
		t.Errorf("%v, want that the id is taken", err)
	}
	cancel()
	<-done
}
