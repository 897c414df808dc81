package activation

import (
	"context"
	"fmt"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// maxProgress bounds the text of a progress, in bytes.
const maxProgress = 200

// Progress records the progress that a script reports. The error is fault.Conflict when
// no attempt of the activation runs.
func (e *Engine) Progress(ctx context.Context, by Actor, id string, p Progress) error {
	if p.Percent < -1 || p.Percent > 100 || len(p.Text) > maxProgress {
		return fmt.Errorf("progress: want 0 to 100 percent, and a text of at most %d bytes: %w", maxProgress, fault.Invalid)
	}
	return e.UpdateBy(ctx, by, func(t *Txn) error {
		r, err := t.Record(id)
		if err != nil {
			return err
		}
		if err := t.checkScript(by, r); err != nil {
			return err
		}
		if r.openAttempt() == nil {
			return fmt.Errorf("%s is %s: none of its scripts runs: %w", id, r.State, fault.Conflict)
		}
		old := r.clone()
		p.At = t.Now
		r.Progress = &p
		t.happened(r, "progress", event.Event{Reason: p.String()})
		return t.Save(old, r)
	})
}

// A Progress is the progress that a script reports.
type Progress struct {
	Percent int       `json:"percent"` // 0 to 100; -1: unknown
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at"`
}

// String is a progress in words.
func (p *Progress) String() string {
	switch {
	case p.Percent < 0:
		return p.Text
	case p.Text == "":
		return fmt.Sprintf("%d %%", p.Percent)
	}
	return fmt.Sprintf("%d %% %s", p.Percent, p.Text)
}
