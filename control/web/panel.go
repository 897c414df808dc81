package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/panel"
)

// pages serves the panel. Where an operation has the same path, programs get the operation's
// reply and browsers, which ask for HTML, the page.
func (l *listening) pages(mux *http.ServeMux, operations map[string]http.Handler) {
	if l.Panel == nil {
		mux.HandleFunc("GET /{$}", file("text/html; charset=utf-8", []byte(start)))
		return
	}
	l.Panel.Routes(func(pattern string, waits bool, serve func(http.ResponseWriter, *http.Request, panel.Client)) {
		page := l.counted("panel", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !waits {
				l.page(w, r, l.calls, serve)
				return
			}
			l.all.Add(1)
			defer l.all.Done()
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(l.ctx, cancel)()
			l.page(w, r.WithContext(ctx), l.streams, serve)
		}))
		if op := operations[pattern]; op != nil {
			delete(operations, pattern)
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				if forPeople(r) {
					page.ServeHTTP(w, r)
					return
				}
				op.ServeHTTP(w, r)
			})
			return
		}
		mux.Handle(pattern, page)
	})
}

// forPeople reports whether a browser asks for a page.
func forPeople(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// page serves a page of the panel to whoever asks for it.
func (l *listening) page(w http.ResponseWriter, r *http.Request, quota *access.Quota, serve func(http.ResponseWriter, *http.Request, panel.Client)) {
	c := panel.Client{
		// A front server that ends TLS says so. Who lies gets a cookie that the browser does not send.
		Secure:   r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
		Identify: func(secret string) (control.Caller, error) { return l.bySecret(r, secret, "login") },
	}
	var err error
	if c.Caller, err = l.identify(r, "panel"); err != nil && l.Panel.Secret(r) == "" {
		l.fail(w, r, "panel", err)
		return
	}
	c.Fixed = c.Caller.Role >= control.Viewer && l.Panel.Secret(r) == ""
	release, err := l.take(quota, r, c.Caller)
	if err != nil {
		l.fail(w, r, "panel", err)
		return
	}
	defer release()
	serve(w, r, c)
}

// bySecret returns who makes a request with the secret of a token.
func (l *listening) bySecret(r *http.Request, secret, what string) (control.Caller, error) {
	peer, ok := r.Context().Value(peerKey{}).(client)
	if !ok {
		return control.Caller{}, errors.New("a request without a peer")
	}
	opened, err := peer.Caller()
	if err != nil {
		return control.Caller{}, err
	}
	return peer.Identify(r.Context(), secret, what, l.Front.Address(opened, r.Header))
}
