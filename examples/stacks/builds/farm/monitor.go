package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// monitor looks at all services and queues again and again, and publishes what does not work,
// and what works again, until the context is done. It follows events, too: so it knows also of
// a service that works again when it looks the next time.
func monitor(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	unready := make(chan event)
	var followed sync.WaitGroup
	defer followed.Wait()
	followed.Go(func() {
		cancel(follow(ctx, func(e event) {
			if e.Time.Before(began) {
				return
			}
			select {
			case unready <- e:
			case <-ctx.Done():
			}
		}, "activation.*.unready"))
	})
	reported := make(map[string]bool)
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-unready:
			err = reportUnhealthy(ctx, e.ID, e.Reason, reported)
		case <-ticker.C:
			err = look(ctx, limit, reported)
		}
		if err != nil {
			slog.Warn("cannot look or report", "err", err) // the daemon may be starting
		}
	}
}

// look compares what does not work now with what was reported, and reports the differences.
func look(ctx context.Context, limit time.Duration, reported map[string]bool) error {
	now, err := unhealthy(ctx, limit)
	if err != nil {
		return err
	}
	for worker, reason := range now {
		if err := reportUnhealthy(ctx, worker, reason, reported); err != nil {
			return err
		}
	}
	for worker := range reported {
		if _, still := now[worker]; !still {
			if err := report(ctx, worker, "healthy", "it works again"); err != nil {
				return err
			}
			delete(reported, worker)
		}
	}
	return nil
}

// reportUnhealthy reports it, unless that is known.
func reportUnhealthy(ctx context.Context, worker, reason string, reported map[string]bool) error {
	if reported[worker] {
		return nil
	}
	if err := report(ctx, worker, "unhealthy", reason); err != nil {
		return err
	}
	reported[worker] = true
	return nil
}

func report(ctx context.Context, worker, what, reason string) error {
	slog.Info(what, "worker", worker, "reason", reason)
	_, err := output(ctx, "atctl", "publish", "monitor."+worker+"."+what, reason)
	return err
}

// unhealthy returns the services and the queues whose processes do not work, with the reasons.
func unhealthy(ctx context.Context, limit time.Duration) (map[string]string, error) {
	all := make(map[string]string)
	instances, err := list[struct{ ID, State, Reason string }](ctx, "service", "list")
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if i.State != "ready" && i.State != "down" { // down: somebody has stopped it
			all[i.ID] = strings.TrimSpace(i.State + " " + i.Reason)
		}
	}
	queues, err := list[struct {
		Name, Per, Listener, Reason string
		Instances, Processes        int
		Paused                      *struct {
			Reason string
			Fault  bool
		}
	}](ctx, "queue", "list")
	if err != nil {
		return nil, err
	}
	for _, q := range queues {
		switch {
		case q.Paused != nil && q.Paused.Fault:
			all[q.Name] = "paused: " + q.Paused.Reason
		case q.Listener == "" || q.Per == "stream" && q.Processes < q.Instances:
			all[q.Name] = fmt.Sprintf("%d processes of %d %s", q.Processes, q.Instances, q.Reason)
		default:
			if all[q.Name], err = slow(ctx, q.Name, limit); err != nil {
				return nil, err
			}
			if all[q.Name] == "" {
				delete(all, q.Name)
			}
		}
	}
	return all, nil
}

// slow says which message of a queue is in work for longer than the limit.
func slow(ctx context.Context, queue string, limit time.Duration) (string, error) {
	messages, err := list[struct {
		ID   uint64
		Work *struct{ Since time.Time }
	}](ctx, "queue", "peek", queue, "--state", "work")
	for _, m := range messages {
		if m.Work != nil && time.Since(m.Work.Since) > limit {
			return fmt.Sprintf("message %d is in work for more than %v", m.ID, limit), nil
		}
	}
	return "", err
}

// list runs atctl, and reads what it prints: an object on each line.
func list[T any](ctx context.Context, args ...string) (all []T, err error) {
	out, err := output(ctx, "atctl", append([]string{"--json"}, args...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
