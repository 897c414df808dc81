package main

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

type journalEntry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

func TestJournalHandler(t *testing.T) {
	var got journalEntry
	h := &journalHandler{level: slog.LevelInfo, fallback: slog.DiscardHandler,
		send: func(message string, priority journal.Priority, fields map[string]string) error {
			got = journalEntry{message, priority, fields}
			return nil
		}}
	log := slog.New(h)
	tests := []struct {
		name string
		do   func()
		want journalEntry
	}{
		{"plain", func() { log.Info("ready") }, journalEntry{"ready", journal.PriInfo, nil}},
		{"attributes", func() { log.Warn("retry", "id", "1042@ostrava", "in", 5*time.Second) },
			journalEntry{"retry id=1042@ostrava in=5s", journal.PriWarning,
				map[string]string{"ACTIVATION_ID": "1042@ostrava", "ACTIVATION_IN": "5s"}}},
		{"quoted", func() { log.Error("no", "err", errors.New("a b"), "empty", "") },
			journalEntry{`no err="a b" empty=""`, journal.PriErr, map[string]string{"ACTIVATION_ERR": "a b", "ACTIVATION_EMPTY": ""}}},
		{"a newline is no second field", func() { log.Info("x", "out", "a\nPRIORITY=0") },
			journalEntry{`x out="a\nPRIORITY=0"`, journal.PriInfo, map[string]string{"ACTIVATION_OUT": "a\nPRIORITY=0"}}},
		{"with", func() { log.With("id", 7).With("phase", "activate").Info("go") },
			journalEntry{"go id=7 phase=activate", journal.PriInfo,
				map[string]string{"ACTIVATION_ID": "7", "ACTIVATION_PHASE": "activate"}}},
		{"groups", func() { log.WithGroup("run").With("n", 1).Info("go", slog.Group("user", "id", 2), slog.Attr{}) },
			journalEntry{"go run.n=1 run.user.id=2", journal.PriInfo,
				map[string]string{"ACTIVATION_RUN_N": "1", "ACTIVATION_RUN_USER_ID": "2"}}},
		{"no field of others", func() { log.Info("x", "MESSAGE", "y", "_pid", 1, "activation_id", 3) },
			journalEntry{"x MESSAGE=y _pid=1 activation_id=3", journal.PriInfo,
				map[string]string{"ACTIVATION_MESSAGE": "y", "ACTIVATION__PID": "1", "ACTIVATION_ID": "3"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got = journalEntry{}
			tt.do()
			if got.fields["SYSLOG_IDENTIFIER"] != "activationd" {
				t.Errorf("SYSLOG_IDENTIFIER is %q", got.fields["SYSLOG_IDENTIFIER"])
			}
			delete(got.fields, "SYSLOG_IDENTIFIER")
			if got.message != tt.want.message || got.priority != tt.want.priority || !maps.Equal(got.fields, tt.want.fields) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	got = journalEntry{}
	if log.Debug("quiet"); got.message != "" {
		t.Errorf("below the level: %+v", got)
	}
}

func TestJournalHandlerFallsBack(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(&journalHandler{level: slog.LevelInfo, fallback: slog.NewTextHandler(&buf, nil),
		send: func(string, journal.Priority, map[string]string) error { return errors.New("no journal") }})
	log.With("id", 7).WithGroup("g").Error("alas", "k", "v")
	if got := buf.String(); !strings.HasSuffix(got, "level=ERROR msg=alas id=7 g.k=v\n") {
		t.Errorf("wrote %q", got)
	}
}

func TestLevelCanChange(t *testing.T) {
	for format, want := range map[string]string{"text": "msg=b", "json": `"msg":"b"`, "auto": "msg=b"} {
		var buf bytes.Buffer
		level := new(slog.LevelVar)
		log := newLogger(&buf, format, level, false)
		log.Debug("a")
		level.Set(slog.LevelDebug)
		log.Debug("b")
		if got := buf.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
			t.Errorf("%s: wrote %q", format, got)
		}
	}
}
