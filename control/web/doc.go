// Package web serves the operations of a registry over HTTP: to programs, to browsers and to
// whatever collects metrics. It is to HTTP what package line is to the line protocol.
//
// # The rules
//
// An operation has the method and the path of its declaration, below [Prefix]. A GET or a
// DELETE takes its arguments from the query, any other method from a JSON object in the body;
// arguments in the path are in neither. Names that an operation does not take are refused.
// A reply is an object with summary, items and, if there are more, next; of some operations
// it is one object. New fields may be added to it at any time.
//
// An error is application/problem+json (RFC 9457), with the status of [control.Code], which
// the line protocol has as its code.
//
// # Ownership
//
// [Server.Serve] owns the goroutines of its connections, and waits for them.
package web
