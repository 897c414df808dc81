package device

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A Transcript records every byte that was sent to a device and received from it, with times,
// and with secrets masked, including those that [MaskSecrets] finds. It consists of lines such
// as
//
//	2026-11-21T07:30:00.123456Z > "show clock\r"
//	2026-11-21T07:30:00.131415Z < "show clock\r\n"
//	2026-11-21T07:30:00.131415Z - telnet: they WILL ECHO
//
// Bytes are quoted as in Go; > is sent, < is received and - is a remark. Bytes that may be the
// beginning of a secret are held back until they are known not to be. A nil *Transcript
// records nothing. A Transcript is safe for use by several goroutines.
type Transcript struct {
	mu      sync.Mutex
	w       io.Writer
	err     error
	masks   [2]masker
	lines   [2]lineMasker
	held    [2]time.Time // when the bytes arrived that a masker holds back
	pending []byte       // bytes of one direction that are not written yet
	from    direction
	since   time.Time
	last    time.Time
}

type direction byte

const (
	sent direction = iota
	received
)

// NewTranscript writes to w, each line with one Write. After closing the last session that
// uses the transcript, the caller closes w, and calls Err.
func NewTranscript(w io.Writer) *Transcript {
	return &Transcript{w: w, lines: [2]lineMasker{sent: {ends: "\r\n"}, received: {ends: "\n"}}}
}

// Mask adds secrets. From now on they are shown as ***, in errors too. Empty ones are ignored.
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

// Err returns the first error of a Write. Such an error does not stop the session.
func (t *Transcript) Err() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Bytes of one direction form one line of the transcript, as long as they come within this
// time and are not more than this many.
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

// note adds a remark, with secrets masked.
func (t *Transcript) note(format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write()
	t.line(time.Now(), "- "+MaskSecrets(t.masks[sent].clean(fmt.Sprintf(format, args...))))
}

// clean masks a text for other uses.
func (t *Transcript) clean(text string) string {
	if t == nil {
		return text
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.masks[sent].clean(text)
}

// flush writes what was held back. If that could be the beginning of a secret, it is masked.
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
