package main

import (
	"cmp"
	"context"
	_ "embed" // the page
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A build is what the events say about it.
type build struct {
	Number uint64    `json:"number"`
	State  string    `json:"state"` // requested, fetched, finished, failed
	Text   string    `json:"text"`  // of the newest event
	Order  string    `json:"order"` // what was requested, by whom
	Since  time.Time `json:"since"`
}

// final says which states are final: an event may come a second time, or late.
var final = map[string]bool{"finished": true, "failed": true}

// A board has all events about builds and of the monitor, in their order. It needs no store:
// the daemon's log of events is one.
type board struct {
	mu      sync.Mutex
	events  []event
	builds  map[uint64]build
	workers map[string]string // that do not work, with the reasons
	changed chan struct{}     // closed when there is another event
}

func newBoard() *board {
	return &board{builds: make(map[uint64]build), workers: make(map[string]string), changed: make(chan struct{})}
}

// take adds an event.
func (b *board) take(e event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	close(b.changed)
	b.changed = make(chan struct{})
	words := strings.Split(e.Topic, ".")
	if len(words) != 3 {
		return
	}
	subject, what := words[1], words[2]
	switch {
	case words[0] == "monitor" && what == "unhealthy":
		b.workers[subject] = e.Text
	case words[0] == "monitor":
		delete(b.workers, subject)
	default:
		number, err := strconv.ParseUint(subject, 10, 64)
		if err != nil {
			return
		}
		one := b.builds[number]
		one.Number = number
		if what == "requested" {
			one.Order = e.Text
		}
		if one.State == "" || what != "requested" && !final[one.State] { // requested may come late
			one.State, one.Text, one.Since = what, e.Text, e.Time
		}
		b.builds[number] = one
	}
}

// list returns the builds, the newest first, and the workers that do not work.
func (b *board) list() ([]build, map[string]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.Collect(maps.Values(b.builds))
	slices.SortFunc(all, func(x, y build) int { return cmp.Compare(y.Number, x.Number) })
	return all, maps.Clone(b.workers)
}

// after returns the events after a number, and a channel that is closed when there are more.
func (b *board) after(seq uint64) ([]event, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, _ := slices.BinarySearchFunc(b.events, seq+1, func(e event, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	return slices.Clone(b.events[n:]), b.changed
}

// web serves the page until the context is done.
func web(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := newBoard()
	var followed sync.WaitGroup
	defer followed.Wait()
	followed.Go(func() { cancel(follow(ctx, b.take, "builds.#", "monitor.#")) })

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		cancel(err)
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /{$}", b.page)
	mux.HandleFunc("GET /builds", b.json)
	mux.HandleFunc("POST /builds", request)
	mux.HandleFunc("GET /events", b.stream)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with it
	}
	ended := make(chan error, 1)
	context.AfterFunc(ctx, func() { ended <- server.Shutdown(context.WithoutCancel(ctx)) })
	slog.Info("serving", "address", address)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		cancel(err)
		return err
	}
	return errors.Join(<-ended, context.Cause(ctx))
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

func (b *board) page(w http.ResponseWriter, _ *http.Request) {
	builds, workers := b.list()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, map[string]any{"Builds": builds, "Workers": workers}); err != nil {
		slog.Error("page not sent", "err", err)
	}
}

func (b *board) json(w http.ResponseWriter, _ *http.Request) {
	builds, _ := b.list()
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(builds); err != nil {
		slog.Error("list not sent", "err", err)
	}
}

var projectName = regexp.MustCompile(`^[a-z][a-z-]{0,50}$`)

// request requests a build of the form's project, and prints its number.
func request(w http.ResponseWriter, r *http.Request) {
	project := r.FormValue("project")
	if !projectName.MatchString(project) {
		http.Error(w, "project: want its name, such as hello-c", http.StatusBadRequest)
		return
	}
	number, err := output(r.Context(), "request", "web", project)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") { // a browser
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	if _, err := fmt.Fprintln(w, number); err != nil {
		slog.Error("number not sent", "err", err)
	}
}

// stream sends events as they happen, as server-sent events. A browser that was away says
// which event it has seen last, and misses none.
func (b *board) stream(w http.ResponseWriter, r *http.Request) {
	last, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // none: all
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	for control := http.NewResponseController(w); ; {
		events, changed := b.after(last)
		for _, e := range events {
			data, err := json.Marshal(e)
			if err != nil {
				slog.Error("event not sent", "err", err)
				return
			}
			if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.Seq, data); err != nil {
				return // the browser has gone
			}
			last = e.Seq
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
