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

// A LoginStep is what a daemon is told of a login to a device. The secret is not in it.
type LoginStep struct {
	Step               string // "ask" whether it may be tried, "begin", "accepted" or "refused"
	Device, User, What string
	Digest             string // of the secret
	Said               string // by the device when it refused
}

// logins are the secrets that were given to devices and were not accepted.
type logins struct {
	mu    sync.Mutex
	given map[device.Try]bool
	alone sync.Once // to say that there is no daemon
}

// A guard keeps a secret from being given to a device again that has refused it, or has not
// said what it thinks of it. It asks the daemon, which knows more, if there is one.
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
	ctx = context.WithoutCancel(ctx) // who is ended tells what he knows
	if refused {
		if err := g.ask(ctx, "refused", t, said); err != nil {
			g.say(t.Device, "%s is not tried again until there is another one, or an operator says \"atctl retry --device %s\"", t, t.Device)
		}
		return
	}
	g.logins.mu.Lock()
	delete(g.logins.given, t)
	g.logins.mu.Unlock()
	_ = g.ask(ctx, "accepted", t, "") // it says nothing to that
}

// patience is how long the daemon may take: it does not keep anybody from working, least of all
// from telling how a try has ended.
const patience = 10 * time.Second

// ask returns an error if the login must not be tried. A daemon that cannot be asked keeps nobody
// from trying: then each secret is given once by each command.
func (g guard) ask(ctx context.Context, step string, t device.Try, said string) error {
	if g.Logins == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	closed, err := g.Logins(ctx, LoginStep{Step: step, Device: t.Device, User: t.User, What: t.What, Digest: digest(t), Said: said})
	if err != nil {
		g.logins.alone.Do(func() {
			g.say("", "the daemon does not keep track of refused passwords: %s", fault.Text(err))
		})
		return nil
	}
	if closed != "" {
		return fmt.Errorf("%s: %w", closed, fault.Denied)
	}
	return nil
}

// digest tells a secret from others of the same login, and no more.
func digest(t device.Try) string {
	mac := hmac.New(sha256.New, fmt.Appendf(nil, "%q %q %q", t.Device, t.User, t.What))
	mac.Write([]byte(t.Secret))
	return hex.EncodeToString(mac.Sum(nil))
}
