package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// newLogger returns the daemon's log. Level can be changed while it is used.
// Under systemd, format auto means the journal with fields of its own.
func newLogger(w io.Writer, format string, level *slog.LevelVar, stderrIsJournal bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case format == "json":
		return slog.New(slog.NewJSONHandler(w, opts))
	case format == "auto" && stderrIsJournal && journal.Enabled():
		return slog.New(&journalHandler{level: level, send: journal.Send, fallback: slog.NewTextHandler(w, opts)})
	default:
		return slog.New(slog.NewTextHandler(w, opts))
	}
}

// A journalHandler writes to systemd's journal. The message is followed by its
// attributes, as in the text form, because that is all that journalctl shows;
// each attribute is also a field, so id=7 is found by ACTIVATION_ID=7.
type journalHandler struct {
	level    slog.Leveler
	send     func(message string, priority journal.Priority, fields map[string]string) error
	fallback slog.Handler // when the journal does not take it
	attrs    []slog.Attr  // their keys have their groups before them
	group    string
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "activationd"}
	text := []byte(r.Message)
	add := func(a slog.Attr) {
		value := a.Value.String()
		fields[fieldName(a.Key)] = value
		text = append(append(append(text, ' '), a.Key...), '=')
		if strings.ContainsAny(value, " =\"\n\t") || value == "" {
			value = strconv.Quote(value)
		}
		text = append(text, value...)
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		for _, flat := range flatten(nil, h.group, a) {
			add(flat)
		}
		return true
	})
	if err := h.send(string(text), priorityOf(r.Level), fields); err != nil {
		if err := h.fallback.Handle(ctx, r); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	return nil
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.fallback = h.fallback.WithAttrs(attrs)
	next.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		next.attrs = flatten(next.attrs, h.group, a)
	}
	return &next
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.fallback = h.fallback.WithGroup(name)
	next.group = h.group + name + "."
	return &next
}

// flatten appends a to list, and a group as its members.
func flatten(list []slog.Attr, group string, a slog.Attr) []slog.Attr {
	a.Value = a.Value.Resolve()
	if a.Value.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range a.Value.Group() {
			list = flatten(list, group, member)
		}
		return list
	}
	if a.Equal(slog.Attr{}) {
		return list
	}
	a.Key = group + a.Key
	return append(list, a)
}

// fieldName makes a journal field of an attribute's key. The prefix keeps it
// apart from the journal's own fields and from other programs'.
func fieldName(key string) string {
	name := []byte("ACTIVATION_" + strings.TrimPrefix(strings.ToUpper(key), "ACTIVATION_"))
	for i, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			name[i] = '_'
		}
	}
	return string(name[:min(len(name), 64)]) // the journal drops longer ones
}

func priorityOf(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	default:
		return journal.PriDebug
	}
}
