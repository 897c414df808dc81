package device

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
)

// SendOptions are the options of [Send].
type SendOptions struct {
	// Reconnects is how often Send connects again after a cut. 0 means 3 times, and less than
	// 0 means never.
	Reconnects int
	// NoSave leaves the configuration unsaved, so that it does not survive a restart.
	NoSave bool
	// Progress is called with the number of lines that have arrived for certain.
	Progress func(lines int)
}

// Send opens a session, configures and saves. After a cut it connects again and continues
// after the last verified line, preceded by the headers of the blocks around the next
// one. On a device with a commit it starts from the first line, as no line had taken
// effect. A line that was being sent when the connection was cut is sent again, so it
// must do no harm when it is repeated. Everything ends with ctx. The errors are those of
// [Open] and [Session.Configure].
func Send(ctx context.Context, t Target, lines []string, tr *Transcript, opts SendOptions) error {
	u := upload{target: t, lines: lines, tr: tr, opts: opts}
	left := opts.Reconnects
	if left == 0 {
		left = 3
	}
	for pause := time.Second; ; pause *= 2 {
		err := u.attempt(ctx)
		if err == nil || !errors.Is(err, fault.Unavailable) || ctx.Err() != nil || left <= 0 {
			return err
		}
		left--
		tr.note("%s: connecting again in %v, to go on after line %d", t.Name, pause, u.verified)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w; %w", err, context.Cause(ctx))
		}
	}
}

// An upload is the state of Send between connections.
type upload struct {
	target   Target
	lines    []string
	tr       *Transcript
	opts     SendOptions
	verified int  // lines that have arrived
	done     bool // all lines have arrived, and the configuration mode was left
	block    int  // the number of lines after which the top level of the configuration was reached last
}

func (u *upload) attempt(ctx context.Context) error {
	s, err := Open(ctx, u.target, u.tr)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // it always returns nil
	if !u.done {
		if err := u.rest(ctx, s); err != nil {
			return err
		}
	}
	if u.opts.NoSave {
		return nil
	}
	return s.Save(ctx)
}

// rest sends the remaining lines, preceded by the headers of the blocks around the first one.
func (u *upload) rest(ctx context.Context, s *Session) error {
	if len(s.dialog.Configure.Commit) > 0 {
		u.verified, u.block = 0, 0
	}
	numbers := resume(u.lines, u.verified, u.block, s.dialog.Shell)
	again := make([]string, len(numbers))
	for i, n := range numbers {
		again[i] = u.lines[n-1]
	}
	err := s.configure(ctx, again, func(i int, top bool) {
		n := numbers[i-1]
		if n <= u.verified {
			return
		}
		u.verified = n
		if top {
			u.block = n
		}
		if u.opts.Progress != nil && len(s.dialog.Configure.Commit) == 0 {
			u.opts.Progress(n)
		}
	})
	if e, ok := errors.AsType[*LineError](err); ok && e.Number > 0 {
		e.Number = numbers[e.Number-1]
	}
	if err == nil {
		u.done, u.verified = true, len(u.lines)
		if u.opts.Progress != nil {
			u.opts.Progress(u.verified)
		}
	}
	return err
}

// resume returns the numbers, from 1, of the lines to send after so many were verified: the
// remaining lines, preceded by the headers of the blocks around the first one. In a file
// without indentation these are not known, so everything is sent again after the last line at
// the top level.
func resume(lines []string, verified, block int, shell bool) []int {
	from := verified
	var numbers []int
	if !shell && verified > 0 && verified < len(lines) {
		indented := false
		for _, l := range lines {
			indented = indented || indent(l) > 0
		}
		if indented {
			numbers = parents(lines, verified)
		} else {
			from = block
		}
	}
	for n := from; n < len(lines); n++ {
		numbers = append(numbers, n+1)
	}
	return numbers
}

// parents returns the numbers of the lines under which lines[at] is indented.
func parents(lines []string, at int) []int {
	for at < len(lines)-1 && strings.TrimSpace(lines[at]) == "" {
		at++
	}
	var numbers []int
	depth := indent(lines[at])
	for i := at - 1; i >= 0 && depth > 0; i-- {
		if d := indent(lines[i]); d < depth && strings.TrimSpace(lines[i]) != "" {
			numbers = append([]int{i + 1}, numbers...)
			depth = d
		}
	}
	return numbers
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// Duration returns the least time that [Send] takes for these lines by the pace: the
// characters of the lines and of the commands around them, their pauses, and the speed of a
// serial line. The device's own time comes on top.
func (t Target) Duration(lines []string) time.Duration {
	a, err := parseURL(t.URL)
	if err != nil {
		return 0
	}
	p := t.Platform
	if p.Shell && a.scheme == "ssh" {
		return time.Duration(len(lines)) * t.Pace.Line
	}
	var all []string
	for _, some := range [][]string{p.Setup, p.Configure.Enter, lines, p.Configure.Commit, p.Configure.Leave, p.Save} {
		all = append(all, some...)
	}
	var d time.Duration
	for _, l := range all {
		if n := len(strings.TrimSpace(l)); n > 0 {
			d += t.line(n)
		}
	}
	return d
}

// line returns the least time for a line of n characters and the return after it.
func (t Target) line(n int) time.Duration {
	p := t.Pace
	each := p.Character
	if a, err := parseURL(t.URL); err == nil {
		each = max(each, a.line.byteTime())
	}
	d := time.Duration(n+1)*each + p.Line
	if p.Chunk > 0 && n > 0 {
		d += time.Duration((n-1)/p.Chunk) * p.ChunkDelay
	}
	return d
}
