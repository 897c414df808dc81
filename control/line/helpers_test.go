package line_test

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"testing"
)

// A syncBuffer is a log that a test can read.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *syncBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// replyStart reads the first line of a reply, or one more line, and nothing after it.
func replyStart(t testing.TB, in io.Reader) string {
	t.Helper()
	var all []byte
	one := make([]byte, 1)
	for len(all) == 0 || all[len(all)-1] != '\n' {
		if _, err := io.ReadFull(in, one); err != nil {
			t.Fatalf("%v after %.200q", err, all)
		}
		all = append(all, one[0])
	}
	return string(all)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
