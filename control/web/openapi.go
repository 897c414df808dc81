package web

import (
	"net/http"
)

// A Problem is the kind of the problems that have one status.
type Problem struct{ Kind, Title string }

// Problems returns the kinds of problems by their status.
func Problems() map[int]Problem {
	all := make(map[int]Problem, len(kinds))
	for status, k := range kinds {
		all[status] = Problem{k.kind, k.title}
	}
	return all
}

// documentation serves what describes the interface.
func (l *listening) documentation(mux *http.ServeMux) {
	mux.HandleFunc("GET "+descriptionPath, file("application/json", l.Description))
	mux.HandleFunc("GET /docs", file("text/html; charset=utf-8", l.Reference))
}

// file replies with a file that is a part of the program.
func file(kind string, data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = w.Write(data) // an error means that the client has gone
	}
}

// start is the page at the root. Its links are relative: they hold behind any front server.
const start = `<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>activationd</title>
<style>body{font:16px/1.5 sans-serif;margin:2em auto;max-width:40em;padding:0 1em}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}</style>
<h1>activationd</h1>
<ul>
<li><a href="docs">Reference of the HTTP interface</a>
<li><a href="openapi.json">The same for programs, as an OpenAPI document</a>
<li><a href="api/v1/status">State of the daemon</a>
<li><a href="version">Versions</a>
</ul>
`
