// Package trace passes on which trace a request is part of. The daemon makes no spans: what it starts
// because of a request learns the request's traceparent, as https://www.w3.org/TR/trace-context/ defines it.
package trace

import (
	"context"
	"strings"
)

// The names under which a trace is passed on.
const (
	Header   = "traceparent" // of messages and of HTTP
	Variable = "TRACEPARENT" // of the environment
)

// size is the length of a traceparent of version 00: 00-TRACE-SPAN-FLAGS.
const size = 2 + 1 + 32 + 1 + 16 + 1 + 2

// Valid reports whether a text is a traceparent of version 00.
func Valid(text string) bool {
	if len(text) != size {
		return false
	}
	parts := strings.Split(text, "-")
	if len(parts) != 4 || parts[0] != "00" || len(parts[1]) != 32 || len(parts[2]) != 16 {
		return false
	}
	for _, part := range parts {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	return strings.Trim(parts[1], "0") != "" && strings.Trim(parts[2], "0") != ""
}

// key is the key of a traceparent in a context.
type key struct{}

// With returns a context of a request with a traceparent. If that is not valid, it is ignored.
func With(ctx context.Context, text string) context.Context {
	if !Valid(text) {
		return ctx
	}
	return context.WithValue(ctx, key{}, text)
}

// Of returns the traceparent of a request; empty: it has none.
func Of(ctx context.Context) string {
	text, _ := ctx.Value(key{}).(string)
	return text
}
