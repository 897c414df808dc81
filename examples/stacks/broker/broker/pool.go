package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Tasks wait in the list `tasks` of the cache. What is known of one is in the key task:ID;
// the key cancel:ID asks the pool to end it.
const taskKept = "3600" // seconds

// A taskRecord is what is known of a task.
type taskRecord struct {
	State  string          `json:"state"` // queued, running, done, failed, cancelled
	Body   json.RawMessage `json:"body,omitempty"`
	Result string          `json:"result,omitempty"`
}

func pushTask(ctx context.Context, c cache, body []byte) (id string, err error) {
	id = newID()
	if err := saveTask(ctx, c, id, taskRecord{State: "queued", Body: body}); err != nil {
		return "", err
	}
	_, err = c.do(ctx, "LPUSH", "tasks", id)
	return id, err
}

func saveTask(ctx context.Context, c cache, id string, t taskRecord) error {
	text, err := json.Marshal(t)
	if err == nil {
		_, err = c.do(ctx, "SET", "task:"+id, string(text), "EX", taskKept)
	}
	return err
}

func taskState(ctx context.Context, c cache, id string) (t taskRecord, err error) {
	reply, err := c.do(ctx, "GET", "task:"+id)
	if err != nil {
		return t, err
	}
	text, ok := reply.(string)
	if !ok {
		return t, fmt.Errorf("there is no task %q", id)
	}
	err = json.Unmarshal([]byte(text), &t)
	return t, err
}

func cancelTask(ctx context.Context, c cache, id string) error {
	_, err := c.do(ctx, "SET", "cancel:"+id, "1", "EX", taskKept)
	return err
}

// pool takes tasks, several at once. Each is a process, which gets the body of the task on
// its standard input, and whose standard output is the result.
func pool(ctx context.Context, s settings, args []string) error {
	f := flags("pool")
	parallel := f.Int("parallel", 4, "how many tasks at once")
	_ = f.Parse(args) // it ends the process
	var workers sync.WaitGroup
	for range *parallel {
		workers.Go(func() {
			for ctx.Err() == nil {
				if err := takeTask(ctx, cache(s.cache)); err != nil && ctx.Err() == nil {
					slog.Warn("no task", "err", err)
					select {
					case <-ctx.Done():
					case <-time.After(time.Second):
					}
				}
			}
		})
	}
	workers.Wait()
	return nil
}

// takeTask takes one task and sees to its end. On TERM, a task that runs is finished first.
func takeTask(asked context.Context, c cache) error {
	reply, err := c.do(asked, "BLMOVE", "tasks", "working", "RIGHT", "LEFT", "5")
	if err != nil || reply == nil {
		return err
	}
	id, _ := reply.(string)
	ctx, end := context.WithCancel(context.WithoutCancel(asked))
	defer end()
	t, err := taskState(ctx, c, id)
	if err != nil {
		return err
	}
	t.State = "running"
	if err := saveTask(ctx, c, id, t); err != nil {
		return err
	}
	var watch sync.WaitGroup
	work, cancel := context.WithCancelCause(ctx)
	watch.Go(func() {
		for tick := time.NewTicker(200 * time.Millisecond); ; {
			if yes, err := c.do(work, "EXISTS", "cancel:"+id); err == nil && yes == 1 {
				cancel(errCancelled)
			}
			select {
			case <-work.Done():
				return
			case <-tick.C:
			}
		}
	})
	cmd := exec.CommandContext(work, "broker", "task")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdin, cmd.Stderr = bytes.NewReader(t.Body), os.Stderr
	out, err := cmd.Output()
	t.Result = string(bytes.TrimSpace(out))
	switch {
	case errors.Is(context.Cause(work), errCancelled):
		t.State = "cancelled"
	case err != nil:
		t.State, t.Result = "failed", err.Error()
	default:
		t.State = "done"
	}
	cancel(nil)
	watch.Wait()
	slog.Info("a task has ended", "id", id, "state", t.State)
	if err := saveTask(ctx, c, id, t); err != nil {
		return err
	}
	_, err = c.do(ctx, "LREM", "working", "1", id)
	return err
}

var errCancelled = errors.New("cancelled")
