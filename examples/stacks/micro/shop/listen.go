package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A message is a line for a listener of the kind "stream".
type message struct {
	ID      uint64            `json:"id"` // 0: the line is no message; it may ask to cancel one
	Queue   string            `json:"queue"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// An answer is a line of the listener.
type answer struct {
	ID     uint64 `json:"id"`
	OK     bool   `json:"ok,omitempty"`
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"` // then the message is tried again
	Again  string `json:"again,omitempty"` // or not: dead
}

// listen does what messages ask for, one after the other, until there are no more: the daemon
// ends the input when the queue is gone.
func listen(ctx context.Context, db redis, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 8*maxBody) // JSON makes some characters longer
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return err
		}
		if m.ID == 0 {
			continue
		}
		a := answer{ID: m.ID}
		result, err := do(ctx, db, &m)
		switch {
		case errors.Is(err, errNoMethod):
			a.Error, a.Again = err.Error(), "dead"
		case err != nil:
			a.Error = err.Error()
		default:
			a.OK, a.Result = true, result
		}
		if err := answers.Encode(&a); err != nil {
			return err
		}
	}
	return lines.Err()
}

var errNoMethod = errors.New("the model has no such method")

// do does what a message asks for. A message may come a second time, so what is done is
// known by its id.
func do(ctx context.Context, db redis, m *message) (result string, err error) {
	model, id := strings.TrimPrefix(m.Queue, "_model_"), strconv.FormatUint(m.ID, 10)
	if _, err := db.do(ctx, "HINCRBY", "deliveries", id, "1"); err != nil {
		return "", err
	}
	switch method := m.Headers["method"]; method {
	case "create":
		_, err = db.do(ctx, "HSETNX", model, id, m.Body)
	case "hold": // takes as long as somebody likes: until there is a text in this list
		_, err = db.do(ctx, "BLPOP", "release:"+model, "0")
	default:
		return "", fmt.Errorf("%s: %w", method, errNoMethod)
	}
	return fmt.Sprintf(`{"id":%s}`, id), err
}
