package web

import (
	"net/http"
	"time"

	"activationd/control"
)

// metrics serves the daemon's metrics to those who may see its state.
func (l *listening) metrics(w http.ResponseWriter, r *http.Request) {
	const what = "metrics"
	caller, err := l.identify(r, what)
	if err == nil {
		if err = caller.May(what, control.Viewer); err != nil {
			err = unauthorized(caller, err)
		}
	}
	if err != nil {
		l.fail(w, r, what, err)
		return
	}
	release, err := l.take(l.calls, r, caller)
	if err != nil {
		l.fail(w, r, what, err)
		return
	}
	defer release()
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(l.lim.Write)); err != nil {
		l.fail(w, r, what, err)
		return
	}
	l.Metrics.ServeHTTP(w, r)
}

// counted counts the requests that h serves, as those of an operation.
func (l *listening) counted(op string, h http.Handler) http.Handler {
	if l.Meter == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.Meter.Begin("http")
		seen := &statusWriter{ResponseWriter: w}
		defer func() { l.Meter.End("http", op, seen.status) }()
		h.ServeHTTP(seen, r)
	})
}

// A statusWriter remembers the status of a reply; 0: there is none yet.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 || w.status < 200 { // after hints, the status follows
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
