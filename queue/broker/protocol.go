package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/internal/timetext"
	"activationd/supervisor"
)

// A stream listener gets a line of JSON for each message, and answers with a line of JSON.
// Lines to it are written whole or not at all, so they have at most maxRequest bytes; a
// body for which that is too little is in a file.

const (
	maxRequest = supervisor.MaxSend
	// maxAnswer is what can always be read at once: answers stay in the pipe until they are
	// recorded.
	maxAnswer = supervisor.MaxPeek
)

// A request is the line for a message.
type request struct {
	ID       uint64            `json:"id"`
	Attempt  int               `json:"attempt"`
	Queue    string            `json:"queue"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     *string           `json:"body,omitempty"`
	BodyFile string            `json:"body_file,omitempty"`
}

// errTooLong says that a message does not fit into a line.
var errTooLong = errors.New("the line would be too long")

// encodeRequest returns the line for a message. File is where its body is; if it is empty,
// the body is in the line, and the error is errTooLong if it does not fit, or is not text.
func encodeRequest(w *work, file string) ([]byte, error) {
	r := request{ID: w.id, Attempt: w.attempt, Queue: w.line.Name, Headers: w.m.Headers, BodyFile: file}
	if file == "" {
		if len(w.m.Body) > maxRequest || !utf8.Valid(w.m.Body) {
			return nil, errTooLong
		}
		body := string(w.m.Body)
		r.Body = &body
	}
	data, err := json.Marshal(&r)
	if err != nil {
		return nil, err
	}
	if len(data)+1 > maxRequest {
		return nil, errTooLong
	}
	return append(data, '\n'), nil
}

// encodeCancel returns the line that asks a listener to give a message up.
func encodeCancel(id uint64) []byte { return []byte(fmt.Sprintf("{\"cancel\":%d}\n", id)) }

// An answer is a line of a stream listener.
type answer struct {
	id       uint64
	attempt  int // 0: it does not say
	what     answerKind
	result   []byte
	reason   string
	after    time.Duration // of again; -1: as the listener's policy says
	extend   time.Duration
	progress string
}

type answerKind int

const (
	answerDone answerKind = iota
	answerFailed
	answerDead
	answerProgress
	answerExtend
)

// parseAnswer reads a line of a stream listener.
func parseAnswer(line []byte) (a answer, err error) {
	var in struct {
		ID       json.RawMessage `json:"id"`
		Attempt  int             `json:"attempt"`
		OK       bool            `json:"ok"`
		Result   json.RawMessage `json:"result"`
		Error    *string         `json:"error"`
		Again    json.RawMessage `json:"again"`
		Progress json.RawMessage `json:"progress"`
		Extend   string          `json:"extend"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return a, err
	}
	id := string(bytes.Trim(in.ID, `"`))
	if a.id, err = strconv.ParseUint(id, 10, 64); err != nil {
		return a, fmt.Errorf("id %q is not the number of a message", id)
	}
	a.attempt, a.after = in.Attempt, -1
	switch {
	case in.OK && (in.Error != nil || in.Again != nil):
		return a, errors.New("it has ok: true and an error; want one of them")
	case in.OK:
		a.result = text(in.Result)
	case in.Error != nil || in.Again != nil:
		a.what = answerFailed
		if in.Error != nil {
			a.reason = *in.Error
		}
		switch again := string(text(in.Again)); again {
		case "", "true", "null":
		case "dead", "false":
			a.what = answerDead
		default:
			if a.after, err = timetext.Duration(again); err != nil || a.after < 0 {
				return a, fmt.Errorf("again: want a duration such as 30s, or dead, have %q", again)
			}
		}
	case in.Extend != "":
		a.what = answerExtend
		if a.extend, err = timetext.Duration(in.Extend); err != nil || a.extend <= 0 {
			return a, fmt.Errorf("extend: want a duration such as 60s, have %q", in.Extend)
		}
	case in.Progress != nil:
		a.what, a.progress = answerProgress, strings.TrimSpace(string(text(in.Progress)))
	default:
		return a, errors.New("want ok, error, again, progress or extend")
	}
	return a, nil
}

// text returns the text of a JSON string; other JSON stays as it is.
func text(raw json.RawMessage) []byte {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return []byte(s)
	}
	return raw
}
