package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// A service serves one model.
type service struct {
	db    redis
	model string
}

// serve serves a model until the context is done; then it answers the requests that it has
// accepted.
func serve(ctx context.Context, db redis, model string) error {
	s := service{db, model}
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

// list prints the objects of the model, by id.
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
