package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"
)

// A webWorker answers requests. It keeps nothing between them: any worker can answer any
// request, and a client whose WebSocket is closed goes on with another worker.
type webWorker struct {
	settings
	db       database
	cache    cache
	consoles int             // the console of machine N is at this port + N
	machines int             // how many there are
	stopping context.Context // done when the worker is asked to stop
	sockets  sync.WaitGroup
}

func web(ctx context.Context, s settings, args []string) error {
	f := flags("web")
	listen := f.String("listen", "127.0.0.1:8401", "the address")
	machines := f.Int("machines", 4, "how many machines there are")
	consoles := f.Int("consoles", 8420, "the console of machine N is at this port + N")
	_ = f.Parse(args) // it ends the process
	db, err := openDatabase(ctx, s.database)
	if err != nil {
		return err
	}
	defer db.Close()
	w := &webWorker{settings: s, db: db, cache: cache(s.cache), consoles: *consoles, machines: *machines, stopping: ctx}
	server := &http.Server{Addr: *listen, Handler: w.routes(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	rest, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	err = server.Shutdown(rest) // answers what has begun; ListenAndServe returns at once
	w.sockets.Wait()            // which Shutdown does not know
	return err
}

func (w *webWorker) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", w.home)
	m.HandleFunc("GET /alive", func(http.ResponseWriter, *http.Request) {})
	m.HandleFunc("GET /health", w.health)
	m.HandleFunc("POST /login", w.login)
	m.HandleFunc("POST /logout", w.withSession(w.logout))
	m.HandleFunc("GET /session", w.withSession(func(out http.ResponseWriter, _ *http.Request, s session) { answer(out, s) }))
	m.HandleFunc("GET /console", w.withSession(w.console))
	m.HandleFunc("POST /tasks", w.withSession(w.newTask))
	m.HandleFunc("GET /tasks/{id}", w.withSession(w.showTask))
	m.HandleFunc("DELETE /tasks/{id}", w.withSession(w.cancelTask))
	return m
}

// home says which worker answers. With ?seconds=N it is a page that takes so long.
func (w *webWorker) home(out http.ResponseWriter, r *http.Request) {
	if n, err := strconv.ParseFloat(r.FormValue("seconds"), 64); err == nil && n > 0 && n <= 60 {
		time.Sleep(time.Duration(n * float64(time.Second)))
	}
	fmt.Fprintln(out, w.id, os.Getpid())
}

// health says whether the worker can answer requests now: it needs the database and the
// cache. It is the check of readiness, and never one of liveness: a restart of the worker
// would not bring the database back.
func (w *webWorker) health(out http.ResponseWriter, r *http.Request) {
	var accounts int
	err := w.db.QueryRow(r.Context(), "SELECT count(*) FROM account").Scan(&accounts)
	if err == nil {
		_, err = w.cache.do(r.Context(), "PING")
	}
	if err != nil {
		fail(out, err)
		return
	}
	fmt.Fprintln(out, "ok")
}

func (w *webWorker) login(out http.ResponseWriter, r *http.Request) {
	id := newID()
	if err := w.seen(r.Context(), id); err != nil { // first, so that the monitor never misses it
		fail(out, err)
		return
	}
	s, err := w.db.newSession(r.Context(), id, r.PostFormValue("name"), r.PostFormValue("password"), w.machines)
	switch {
	case errors.Is(err, errLogin):
		http.Error(out, err.Error(), http.StatusForbidden)
	case err != nil:
		fail(out, err)
	default:
		http.SetCookie(out, &http.Cookie{Name: "session", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		answer(out, s)
	}
}

// seen notes that the client of a session lives.
func (w *webWorker) seen(ctx context.Context, id string) error {
	_, err := w.cache.do(ctx, "SET", seenKey(id), w.id, "PX", strconv.FormatInt(w.presence.Milliseconds(), 10))
	return err
}

func (w *webWorker) logout(out http.ResponseWriter, r *http.Request, s session) {
	if err := w.db.move(r.Context(), s.ID, "left", "logged out", "waiting", "active"); err != nil {
		fail(out, err)
	}
}

// withSession finds the session of a request by its cookie. Each request shows that the
// client lives.
func (w *webWorker) withSession(next func(http.ResponseWriter, *http.Request, session)) http.HandlerFunc {
	return func(out http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("session")
		if err != nil {
			http.Error(out, "log in first: POST /login", http.StatusUnauthorized)
			return
		}
		s, err := w.db.session(r.Context(), c.Value)
		if errors.Is(err, pgx.ErrNoRows) {
			http.Error(out, "there is no such session", http.StatusUnauthorized)
			return
		}
		if err == nil {
			err = w.seen(r.Context(), s.ID)
		}
		if err != nil {
			fail(out, err)
			return
		}
		next(out, r, s)
	}
}

// console joins a WebSocket and the console of the session's machine, a message for a line.
func (w *webWorker) console(out http.ResponseWriter, r *http.Request, s session) {
	if s.State != "active" {
		http.Error(out, "the session is "+s.State, http.StatusConflict)
		return
	}
	machine, err := new(net.Dialer).DialContext(r.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.consoles+s.Machine)))
	if err != nil {
		fail(out, err)
		return
	}
	defer func() { _ = machine.Close() }()
	socket, err := websocket.Accept(out, r, nil) // it has answered if it fails
	if err != nil {
		return
	}
	w.sockets.Add(1)
	defer w.sockets.Done()
	defer func() { _ = socket.CloseNow() }()
	ctx, end := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer end(nil)

	var copies sync.WaitGroup
	copies.Go(func() {
		for {
			_, text, err := socket.Read(ctx)
			if err == nil {
				_, err = machine.Write(append(text, '\n'))
			}
			if err != nil {
				end(err)
				return
			}
		}
	})
	off := make(chan struct{})
	copies.Go(func() {
		defer close(off)
		for lines := bufio.NewScanner(machine); lines.Scan(); {
			if err := socket.Write(ctx, websocket.MessageText, lines.Bytes()); err != nil {
				end(err)
				return
			}
		}
	})
	copies.Go(func() { end(w.watch(ctx, socket, s.ID)) })
	select { // the end of ctx ends the connection at once, so a farewell must come before
	case <-w.stopping.Done():
		_ = socket.Close(websocket.StatusServiceRestart, "this worker stops: connect again")
	case <-off:
		_ = socket.Close(websocket.StatusNormalClosure, "the machine is off")
	case <-ctx.Done():
	}
	end(nil)
	slog.Info("a console has ended", "account", s.Account, "err", context.Cause(ctx))
	_ = machine.Close()
	copies.Wait()
}

// watch asks the client again and again whether it lives, until it does not answer.
func (w *webWorker) watch(ctx context.Context, socket *websocket.Conn, id string) error {
	for tick := time.NewTicker(w.presence / 4); ; {
		if err := socket.Ping(ctx); err != nil {
			return err
		}
		if err := w.seen(ctx, id); err != nil {
			slog.Warn("the cache does not know that a client lives", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func answer(out http.ResponseWriter, v any) {
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(v) // the client may have gone
}

func fail(out http.ResponseWriter, err error) {
	slog.Error("a request failed", "err", err)
	http.Error(out, "not now, try again", http.StatusServiceUnavailable)
}
