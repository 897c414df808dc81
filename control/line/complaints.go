package line

import (
	"log/slog"
	"sync"
	"time"
)

// Of connections that were closed for what came over them, so many are logged in
// so long a time: anybody who can connect can make thousands of them in a second.
const (
	complaintsAtOnce = 10
	complaintsEvery  = 10 * time.Second
)

// complaints logs what is wrong with connections.
type complaints struct {
	mu     sync.Mutex
	began  time.Time
	said   int
	unsaid int // since the last that was said
}

func (c *complaints) log(to *slog.Logger, msg string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.began) >= complaintsEvery {
		c.began, c.said = now, 0
	}
	if c.said == complaintsAtOnce {
		c.unsaid++
		return
	}
	c.said++
	if c.unsaid > 0 {
		args = append(args, "not_logged_before", c.unsaid)
		c.unsaid = 0
	}
	to.Info(msg, args...)
}
