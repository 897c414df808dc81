package line_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
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

// replyStart reads the first line of a reply.
func replyStart(t testing.TB, in io.Reader) string {
	t.Helper()
	var all strings.Builder
	one := make([]byte, 1)
	for !strings.HasSuffix(all.String(), "\n") {
		if _, err := io.ReadFull(in, one); err != nil {
			t.Fatalf("%v after %q", err, all.String())
		}
		all.Write(one)
	}
	return all.String()
}
