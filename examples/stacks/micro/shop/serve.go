package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A service serves one model.
type service struct {
	db    redis
	model string
}

// queue is where the model's messages are.
func (s service) queue() string { return "_model_" + s.model }

// serve serves a model until the context is done; then it answers the requests that it has
// accepted. It creates the model's queue, which exists from then on, whoever serves it.
func serve(ctx context.Context, db redis, model string) error {
	s := service{db, model}
	if _, err := atctl(ctx, "", "queue", "create", s.queue()); err != nil {
		return err
	}
	const socket = "http.sock"
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a former process
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o666); err != nil { // nginx may be another user
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /", s.list)
	mux.HandleFunc("POST /{method}", s.call)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { ended <- server.Shutdown(context.WithoutCancel(ctx)) })
	slog.Info("serving", "model", model)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-ended
}

// health says whether the data can be reached.
func (s service) health(w http.ResponseWriter, r *http.Request) {
	if _, err := s.db.do(r.Context(), "PING"); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// list prints the objects of the model, by id. Reading needs no message.
func (s service) list(w http.ResponseWriter, r *http.Request) {
	pairs, err := s.db.do(r.Context(), "HGETALL", s.model)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	objects := make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		objects[pairs[i]] = pairs[i+1]
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(objects); err != nil {
		slog.Error("answer not sent", "err", err)
	}
}

// maxBody is the size of the largest request.
const maxBody = 1 << 20

// call pushes a message for a method of the model, waits until it is over, and prints its
// result.
func (s service) call(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	result, err := atctl(r.Context(), body.String(), "queue", "push", s.queue(), "--wait", "--header", "method="+r.PathValue("method"))
	if err != nil {
		status := http.StatusServiceUnavailable
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == deadLetter {
			status = http.StatusUnprocessableEntity
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(result); err != nil {
		slog.Error("answer not sent", "err", err)
	}
}

// deadLetter is the exit status of atctl if the message that it waits for is a dead letter.
const deadLetter = 65

// atctl runs atctl with an input, and returns its output.
func atctl(ctx context.Context, input string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "atctl", args...)
	cmd.Stdin = strings.NewReader(input)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.TrimSpace(complaint.String()), err)
	}
	return out, nil
}
