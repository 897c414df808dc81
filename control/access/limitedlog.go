package access

import (
	"log/slog"
	"sync"
	"time"
)

// A LimitedLog logs at most this many messages in each period: anybody who can
// connect can cause thousands of them in a second.
const (
	messagesPerPeriod = 10
	period            = 10 * time.Second
)

// A LimitedLog logs what is wrong with connections. Its methods may be called at the
// same time.
type LimitedLog struct {
	log *slog.Logger

	mu      sync.Mutex
	began   time.Time // the period
	logged  int       // in this period
	dropped int       // since the last message that was logged
}

// NewLimitedLog returns a limited log that writes to log.
func NewLimitedLog(log *slog.Logger) *LimitedLog { return &LimitedLog{log: log} }

// Info logs a message, unless the limit has been reached. The next message that is
// logged says how many were dropped before it.
func (l *LimitedLog) Info(msg string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.began) >= period {
		l.began, l.logged = now, 0
	}
	if l.logged == messagesPerPeriod {
		l.dropped++
		return
	}
	l.logged++
	if l.dropped > 0 {
		args = append(args, "not_logged_before", l.dropped)
		l.dropped = 0
	}
	l.log.Info(msg, args...)
}
