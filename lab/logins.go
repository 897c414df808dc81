package lab

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"activationd/device"
	"activationd/internal/fault"
)

// A LoginStep tells a daemon of one step of a login to a device. It does not contain the
// secret.
type LoginStep struct {
	Step               string // "ask" whether the login may be tried, "begin", "accepted" or "refused"
	Device, User, What string
	Digest             string // of the secret
	Said               string // the words of the device when it refused
}

// logins are the secrets that were given to devices and not accepted.
type logins struct {
	mu       sync.Mutex
	given    map[device.Try]bool
	noDaemon sync.Once // to report once that there is no daemon
}

// A guard keeps a secret from being given again to a device that has refused it, or that has
// not answered whether it is right. It also asks the daemon, if there is one, which remembers
// the logins of other processes.
type guard struct{ *Work }

func (g guard) Refused(ctx context.Context, t device.Try) error {
	g.logins.mu.Lock()
	given := g.logins.given[t]
	g.logins.mu.Unlock()
	if given {
		return fmt.Errorf("was given %s before, and has not accepted it: %w", t, fault.Denied)
	}
	return g.ask(ctx, "ask", t, "")
}

func (g guard) Begin(ctx context.Context, t device.Try) error {
	g.logins.mu.Lock()
	given := g.logins.given[t]
	if g.logins.given == nil {
		g.logins.given = map[device.Try]bool{}
	}
	g.logins.given[t] = true
	g.logins.mu.Unlock()
	if given {
		return fmt.Errorf("was given %s before, and has not accepted it: %w", t, fault.Denied)
	}
	return g.ask(ctx, "begin", t, "")
}

func (g guard) End(ctx context.Context, t device.Try, refused bool, said string) {
	ctx = context.WithoutCancel(ctx) // the end of a try is reported even after a cancellation
	if refused {
		if err := g.ask(ctx, "refused", t, said); err != nil {
			g.say(t.Device, "%s is not tried again until it is changed, or an operator runs \"atctl retry --device %s\"", t, t.Device)
		}
		return
	}
	g.logins.mu.Lock()
	delete(g.logins.given, t)
	g.logins.mu.Unlock()
	_ = g.ask(ctx, "accepted", t, "") // the daemon has no objection to this step
}

// daemonTimeout is how long the daemon may take to answer. A slow daemon must not stop the
// work, nor the report of how a try has ended.
const daemonTimeout = 10 * time.Second

// ask returns an error if the login must not be tried. If the daemon cannot be asked, the
// login may be tried: each command then gives each secret once.
func (g guard) ask(ctx context.Context, step string, t device.Try, said string) error {
	if g.Logins == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	closed, err := g.Logins(ctx, LoginStep{Step: step, Device: t.Device, User: t.User, What: t.What, Digest: digest(t), Said: said})
	if err != nil {
		g.logins.noDaemon.Do(func() {
			g.say("", "the daemon does not keep track of refused passwords: %s", fault.Text(err))
		})
		return nil
	}
	if closed != "" {
		return fmt.Errorf("%s: %w", closed, fault.Denied)
	}
	return nil
}

// digest distinguishes a secret from others of the same login. Whoever has it can test
// guesses of the secret, so only the daemon gets it.
func digest(t device.Try) string {
	mac := hmac.New(sha256.New, fmt.Appendf(nil, "%q %q %q", t.Device, t.User, t.What))
	mac.Write([]byte(t.Secret))
	return hex.EncodeToString(mac.Sum(nil))
}
