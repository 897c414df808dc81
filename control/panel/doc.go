// Package panel is the web panel: pages for people, made of the replies of operations.
//
// The panel knows no more than its caller may ask: it calls each operation as that caller, and
// shows a button only if the operation behind it allows the caller's role. Pages are whole HTML and work
// without scripts; the scripts in static keep them up to date and keep the place where a person
// looks, types or has the focus.
//
// The package starts no goroutine and has no state. A session is a token in a sealed cookie, so
// that whoever removes the token ends its sessions, and a restart of the daemon ends none.
package panel
