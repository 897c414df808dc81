package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Tasks are messages of the queue `pool`. The daemon keeps them, and starts a process for
// each; the database only knows whose they are.
const poolQueue = "pool"

func (w *webWorker) newTask(out http.ResponseWriter, r *http.Request, s session) {
	body, err := io.ReadAll(http.MaxBytesReader(out, r.Body, 64<<10))
	if err != nil || !json.Valid(body) {
		http.Error(out, "the body is no JSON of at most 64 KiB", http.StatusBadRequest)
		return
	}
	said, err := atctl(r.Context(), body, "queue", "push", poolQueue, "--keep", "1h")
	id := string(bytes.TrimSpace(said))
	if err == nil {
		_, err = w.db.Exec(r.Context(), "INSERT INTO task (id, account) VALUES ($1, $2)", id, s.Account)
	}
	if err != nil {
		fail(out, err)
		return
	}
	slog.Info("a task", "id", id, "account", s.Account)
	answer(out, map[string]string{"id": id})
}

// ownTask returns the id of a request's task, if it belongs to the account. Otherwise it has
// answered.
func (w *webWorker) ownTask(out http.ResponseWriter, r *http.Request, s session) (id string, ok bool) {
	var owner string
	id = r.PathValue("id")
	n, err := strconv.ParseInt(id, 10, 64)
	if err == nil {
		err = w.db.QueryRow(r.Context(), "SELECT account FROM task WHERE id = $1", strconv.FormatInt(n, 10)).Scan(&owner)
	}
	switch _, text := errors.AsType[*strconv.NumError](err); {
	case text, errors.Is(err, pgx.ErrNoRows), err == nil && owner != s.Account:
		http.Error(out, "you have no such task", http.StatusNotFound)
	case err != nil:
		fail(out, err)
	default:
		return id, true
	}
	return "", false
}

// showTask says what becomes of a task: it is queued, running, done, dead or cancelled.
func (w *webWorker) showTask(out http.ResponseWriter, r *http.Request, s session) {
	id, ok := w.ownTask(out, r, s)
	if !ok {
		return
	}
	var message struct{ State string }
	said, err := atctl(r.Context(), nil, "--json", "queue", "peek", poolQueue, id)
	if err == nil {
		err = json.Unmarshal(said, &message)
	}
	task := struct {
		State  string `json:"state"`
		Result string `json:"result,omitempty"`
	}{State: map[string]string{"ready": "queued", "delayed": "queued", "work": "running", "dead": "dead"}[message.State]}
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() == 3 { // not in the queue any more
		var result struct{ Outcome, Body string }
		said, err = atctl(r.Context(), nil, "--json", "queue", "result", poolQueue, id)
		if len(said) > 0 { // it exits as the task has
			err = json.Unmarshal(said, &result)
		}
		task.State, task.Result = result.Outcome, strings.TrimSpace(result.Body)
	}
	if err != nil {
		fail(out, err)
		return
	}
	answer(out, task)
}

// cancelTask answers when no process of the task is left.
func (w *webWorker) cancelTask(out http.ResponseWriter, r *http.Request, s session) {
	if id, ok := w.ownTask(out, r, s); ok {
		if _, err := atctl(r.Context(), nil, "queue", "cancel", poolQueue, id); err != nil {
			fail(out, err)
		}
	}
}
