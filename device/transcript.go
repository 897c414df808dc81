package device

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A Transcript keeps every byte that was sent to a device and received from it, with
// times, and with secrets masked, as [MaskSecrets] does, too: whole lines of text such as
//
//	2026-11-21T07:30:00.123456Z > "show clock\r"
//	2026-11-21T07:30:00.131415Z < "show clock\r\n"
//	2026-11-21T07:30:00.131415Z - telnet: they WILL ECHO
//
// where the bytes are quoted as in Go, > is sent, < received and - a remark. What
// might be the beginning of a secret is held back until it is known not to be one. A
// nil *Transcript keeps nothing. It is safe for use by several goroutines.
type Transcript struct {
	mu      sync.Mutex
	w       io.Writer
	err     error
	masks   [2]masker
	lines   [2]lineMasker
	held    [2]time.Time // when what a masker holds back had come
	pending []byte       // of one direction, not yet written
	from    direction
	since   time.Time
	last    time.Time
}

type direction byte

const (
	sent direction = iota
	received
)

// NewTranscript writes to w, each line with one Write. The caller closes w after the
// last session that it is given to was closed, and asks Err.
func NewTranscript(w io.Writer) *Transcript {
	return &Transcript{w: w, lines: [2]lineMasker{sent: {ends: "\r\n"}, received: {ends: "\n"}}}
}

// Mask adds secrets, which from now on are shown as ***, in errors too. Empty ones are
// ignored.
func (t *Transcript) Mask(secrets ...Secret) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.masks {
		t.masks[i].mask(secrets...)
	}
}

// Err returns the first error of a Write. It didn't stop the session.
func (t *Transcript) Err() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Bytes of one direction that follow each other are one line of the transcript, as
// long as they come within this time and are not more than that.
const (
	together = 20 * time.Millisecond
	longest  = 256
)

func (t *Transcript) add(d direction, data []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	at := now
	if len(t.masks[d].held) > 0 {
		at = t.held[d]
	} else {
		t.held[d] = now
	}
	t.keep(d, t.masks[d].filter(data), at)
	if at != now && len(t.masks[d].held) > 0 {
		t.held[d] = now
	}
}

func (t *Transcript) keep(d direction, data []byte, now time.Time) {
	if len(data) == 0 {
		return
	}
	if t.from != d || now.Sub(t.last) > together {
		t.write()
	}
	t.last = now
	for _, c := range data {
		if len(t.pending) == 0 {
			t.from, t.since = d, now
		}
		t.pending = append(t.pending, c)
		if strings.IndexByte(t.lines[d].ends, c) >= 0 || len(t.pending) >= longest {
			t.write()
		}
	}
}

func (t *Transcript) write() {
	if len(t.pending) > 0 {
		t.line(t.since, fmt.Sprintf("%c %q", "><"[t.from], t.lines[t.from].mask(t.pending)))
		t.pending = t.pending[:0]
	}
}

func (t *Transcript) line(at time.Time, text string) {
	_, err := fmt.Fprintf(t.w, "%s %s\n", at.UTC().Format("2006-01-02T15:04:05.000000Z"), text)
	if t.err == nil {
		t.err = err
	}
}

// note adds a remark. It goes through the mask like everything.
func (t *Transcript) note(format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write()
	t.line(time.Now(), "- "+MaskSecrets(t.masks[sent].clean(fmt.Sprintf(format, args...))))
}

// clean masks a text that goes elsewhere.
func (t *Transcript) clean(text string) string {
	if t == nil {
		return text
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.masks[sent].clean(text)
}

// flush writes what was held back. What could be the beginning of a secret is masked.
func (t *Transcript) flush() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for d := range t.masks {
		t.keep(direction(d), t.masks[d].rest(), t.held[d])
	}
	t.write()
}
