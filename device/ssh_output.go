package device

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"activationd/internal/fault"
)

func outputError(limit int) error {
	return fmt.Errorf("says more than %d bytes and goes on; the limit on output can be raised: %w", limit, fault.Unavailable)
}

// bounded keeps up to limit bytes. More bytes are an error. It is safe for use by the two
// goroutines that copy a command's output.
type bounded struct {
	limit int
	stop  func() error // ends the command, which would otherwise wait
	tr    *Transcript

	mu   sync.Mutex
	buf  bytes.Buffer
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	b.tr.add(received, p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len()+len(p) > b.limit {
		b.full = true
		_ = b.stop() // the command is given up
		return 0, errors.New("too much")
	}
	return b.buf.Write(p)
}

func (b *bounded) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
