// Package device talks with one device.
package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// A LineError says which line a device refused, and with which words. It wraps the
// kind [fault.Invalid].
type LineError struct {
	Device string
	Number int // of the lines, from 1; 0 when it is none of them
	Line   string
	Said   string
	Err    error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s: line %d", e.Device, e.Number) }
func (e *LineError) Unwrap() error { return e.Err }

// A Session is a device that was logged in to. It is not for use by several
// goroutines at once.
type Session struct{}

var errSoon = errors.New("not written yet")

// Open connects and logs in: privileged, paging off, at a prompt.
func Open(ctx context.Context, t Target, tr *Transcript) (*Session, error) { return nil, errSoon }

// Configure sends lines, modes entered and left, committed where there is a commit,
// and undone by Abort when one is refused: a *LineError.
func (s *Session) Configure(ctx context.Context, lines []string) error { return errSoon }

// Show runs a command and returns what it says, without its echo and the prompt.
func (s *Session) Show(ctx context.Context, command string) (string, error) { return "", errSoon }

// Save makes the configuration survive a restart.
func (s *Session) Save(ctx context.Context) error { return errSoon }

// Close hangs up.
func (s *Session) Close() error { return errSoon }

// SendOptions are what Send can be told.
type SendOptions struct {
	// Reconnects is how often a cut connection is made anew; 3 when 0, none when < 0.
	Reconnects int
	// NoSave leaves the configuration where it does not survive a restart.
	NoSave bool
	// Progress is called with the number of lines that are proved to have arrived.
	Progress func(lines int)
}

// Send opens a session, configures and saves. After a cut it goes on from the last
// verified line, with the lines above it that it is indented under; where there is a
// commit, from the first.
func Send(ctx context.Context, t Target, lines []string, tr *Transcript, opts SendOptions) error {
	return errSoon
}

// Duration is the least time that sending lines takes by the pacing's arithmetic.
func (t Target) Duration(lines []string) time.Duration { return 0 }

// CheckURL says what is wrong with a device's URL.
func CheckURL(url string) error { return errSoon }

// BuiltIn returns a platform that comes with the program.
func BuiltIn(name string) (Platform, error) { return Platform{}, errSoon }

// ParsePlatform reads a platform's file: YAML, strict, each fault with its line.
func ParsePlatform(file string, data []byte) (Platform, error) { return Platform{}, errSoon }

// A Transcript keeps what was said, with times, secrets masked.
type Transcript struct{}

// NewTranscript writes to w. A nil *Transcript keeps nothing.
func NewTranscript(w io.Writer) *Transcript { return nil }

// Mask adds secrets that shall not be in it. Empty ones are ignored.
func (t *Transcript) Mask(secrets ...Secret) {}
