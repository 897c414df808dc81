package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// task does one task, such as {"snapshot": 2, "seconds": 5}: it takes so long. The body is its
// standard input, and the result its standard output, as the daemon has it for messages. On
// TERM it gives up.
func task(ctx context.Context, _ settings, _ []string) error {
	var body struct {
		Snapshot int     `json:"snapshot"` // of this machine
		Seconds  float64 `json:"seconds"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&body); err != nil {
		return fmt.Errorf("%w: %w", errTask, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("the snapshot of machine %d was given up: %w", body.Snapshot, ctx.Err())
	case <-time.After(time.Duration(body.Seconds * float64(time.Second))):
		fmt.Printf("snapshot of machine %d\n", body.Snapshot)
		return nil
	}
}

var errTask = errors.New("this is no task")
