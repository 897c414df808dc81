package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// A logWish is a request for output, checked.
type logWish struct {
	control.LogIn
	all   bool           // all attempts
	n     int            // only the attempt with this number; 0: any
	exit  int            // -1: only the last attempt that has ended, -2: the one before; 0: any
	lines int            // only so many lines of each attempt, the last ones; everyLine: all
	match *regexp.Regexp // only lines that match; nil: all
	from  logPlace       // where to go on; zero: at the beginning
}

// everyLine is a number of lines that no output has.
const everyLine = int(^uint(0) >> 1)

// A logKey names an attempt of an activation.
type logKey struct {
	phase string
	n     int
}

func keyOf(l *activation.Log) logKey { return logKey{l.Attempt.Phase, l.Attempt.N} }

// A logPlace is a place in the output of an activation.
type logPlace struct {
	logKey       // of the attempt
	at     int64 // where in its output
}

// String returns the place as requests and replies have it.
func (p logPlace) String() string { return fmt.Sprintf("%s.%d.%d", p.phase, p.n, p.at) }

func readLogWish(in control.LogIn) (w logWish, err error) {
	w = logWish{LogIn: in, lines: everyLine}
	switch in.Phase {
	case "", activation.Activate, activation.Deactivate, activation.Serve:
	default:
		return w, fmt.Errorf("phase: want activate, deactivate or serve, have %q: %w", in.Phase, fault.Invalid)
	}
	switch in.Attempt {
	case "", "0":
	case "all":
		w.all = true
	default:
		if w.n, err = strconv.Atoi(in.Attempt); err != nil || w.n < 0 {
			return w, fmt.Errorf("attempt: want the number of an attempt, or all, have %.40q: %w", in.Attempt, fault.Invalid)
		}
	}
	if in.Exit != "" {
		if w.exit, err = strconv.Atoi(in.Exit); err != nil || w.exit >= 0 {
			return w, fmt.Errorf("exit: want -1 for the last attempt that has ended, -2 for the one before, have %.40q: %w", in.Exit, fault.Invalid)
		}
		if in.Attempt != "" || in.Follow {
			return w, fmt.Errorf("exit chooses one attempt that has ended; it excludes attempt and follow: %w", fault.Invalid)
		}
	}
	if in.Lines != "" {
		if w.lines, err = strconv.Atoi(in.Lines); err != nil || w.lines < 0 {
			return w, fmt.Errorf("lines: want a whole number of 0 or more, have %.40q: %w", in.Lines, fault.Invalid)
		}
	}
	if in.Grep != "" {
		if w.match, err = readPattern(in.Grep); err != nil {
			return w, fmt.Errorf("grep: %w: %w", err, fault.Invalid)
		}
		w.all = w.all || w.n == 0 && w.exit == 0
	}
	if in.Next != "" {
		place := strings.Split(in.Next, ".")
		var bad [2]error
		if len(place) == 3 {
			w.from.phase = place[0]
			w.from.n, bad[0] = strconv.Atoi(place[1])
			w.from.at, bad[1] = strconv.ParseInt(place[2], 10, 64)
		}
		if w.from.phase == "" || bad[0] != nil || bad[1] != nil || w.from.at < 0 {
			return w, fmt.Errorf("next: want the value of next in an earlier reply, have %.60q: %w", in.Next, fault.Invalid)
		}
	}
	return w, nil
}

// maxPattern bounds the size of a compiled pattern, and so the time for a byte of output.
const maxPattern = 1000

func readPattern(text string) (*regexp.Regexp, error) {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		if bad, ok := errors.AsType[*syntax.Error](err); ok {
			return nil, fmt.Errorf("%.60q is not a regular expression: %s: %.60q", text, bad.Code, bad.Expr)
		}
		return nil, err
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	if len(prog.Inst) > maxPattern {
		return nil, fmt.Errorf("%.60q is too large a regular expression; repeat less in it", text)
	}
	return regexp.Compile(text)
}

// wants reports whether the output of an attempt is wanted.
func (w *logWish) wants(l *activation.Log) bool {
	return (w.Phase == "" || w.Phase == l.Attempt.Phase) && (w.n == 0 || w.n == l.Attempt.N)
}

// wanted returns the attempts whose output is wanted: if the request does not say which,
// the newest that has written something, or else the newest.
func (w *logWish) wanted(logs []activation.Log) []activation.Log {
	logs = slices.DeleteFunc(slices.Clone(logs), func(l activation.Log) bool { return !w.wants(&l) })
	if w.exit < 0 {
		ended := slices.DeleteFunc(logs, func(l activation.Log) bool { return l.Attempt.Open })
		if at := len(ended) + w.exit; at >= 0 {
			return ended[at : at+1]
		}
		return nil
	}
	if w.all || w.Next != "" || len(logs) == 0 {
		return logs
	}
	for i := len(logs) - 1; i >= 0; i-- {
		if hasOutput(&logs[i]) {
			return logs[i : i+1]
		}
	}
	return logs[len(logs)-1:]
}

func hasOutput(l *activation.Log) bool {
	f, err := l.Open()
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Size() > 0
}

// logs sends the output of attempts, and with follow also the output that is added until
// the activation is finished.
func (d Daemon) logs(ctx context.Context, c control.Caller, in control.LogIn, send func(control.LogOut) error) error {
	w, err := readLogWish(in)
	if err != nil {
		return err
	}
	if in.Follow {
		return d.follow(ctx, c, &w, send)
	}
	v, logs, err := d.Engine.Logs(ctx, actor(c), in.ID)
	if err != nil {
		return d.notAnID(ctx, "log", in.ID, err)
	}
	wanted := w.wanted(logs)
	if len(wanted) == 0 {
		return w.missing(&v)
	}
	for i := range wanted {
		out := newLogCopy(&w, v.ID, &wanted[i], send)
		if !w.all && w.n == 0 && w.exit == 0 {
			for _, l := range logs {
				if keyOf(&l) != keyOf(&wanted[i]) {
					out.head.Others = append(out.head.Others, attempt(l.Attempt))
				}
			}
		}
		if err := out.whole(ctx); err != nil {
			return err
		}
	}
	return nil
}

// missing returns the error for a request that wants none of v's attempts.
func (w *logWish) missing(v *activation.View) error {
	what := fmt.Sprintf("%s %s", v.Kind, v.ID)
	why := ""
	if v.Reason != "" {
		why = ": " + v.Reason
	}
	switch {
	case w.exit < 0:
		return fmt.Errorf("%s has not ended so often: %w", what, fault.NotFound)
	case len(v.Attempts) > 0:
		want := "attempt"
		if w.Phase != "" {
			want = w.Phase + " " + want
		}
		if w.n > 0 {
			want += " " + strconv.Itoa(w.n)
		}
		return fmt.Errorf("%s has no %s; it has %s: %w", what, want, attemptList(v), fault.NotFound)
	case v.State == activation.Finished:
		return fmt.Errorf("%s never ran, it is %s%s: %w", what, v.Outcome, why, fault.NotFound)
	case v.State == activation.Scheduled:
		return fmt.Errorf("%s has not begun: it is due at %s: %w", what, activation.TimeText(v.NextDue()), fault.NotFound)
	}
	return fmt.Errorf("%s has not begun, it is %s%s: %w", what, v.State, why, fault.NotFound)
}

// attemptList names attempts: "activate 1 to 3, deactivate 1", or of a job "attempts 1 to 3".
func attemptList(v *activation.View) string {
	var words []string
	for i := 0; i < len(v.Attempts); {
		first := v.Attempts[i]
		last := first
		for i++; i < len(v.Attempts) && v.Attempts[i].Phase == first.Phase && v.Attempts[i].N == last.N+1; i++ {
			last = v.Attempts[i]
		}
		word := first.Phase
		switch {
		case v.Kind != activation.Job:
		case last.N > first.N:
			word = "attempts"
		default:
			word = "attempt"
		}
		word += fmt.Sprintf(" %d", first.N)
		if last.N > first.N {
			word += fmt.Sprintf(" to %d", last.N)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// A follower sends the output of one attempt after the other, until the activation is
// finished.
type follower struct {
	d        Daemon
	by       activation.Actor
	w        *logWish
	send     func(control.LogOut) error
	happened chan struct{}      // something about the activation may have changed
	old      map[logKey]bool    // the attempts that there were at first
	past     map[logKey]bool    // the attempts whose output was sent, or is not wanted
	sent     bool               // the output of an attempt was sent, though it may be empty
	told     control.Activation // what was sent last about the activation itself
}

// follow sends output as it grows. The kernel wakes it when a log changes, and the engine
// when something about the activation does.
func (d Daemon) follow(ctx context.Context, c control.Caller, w *logWish, send func(control.LogOut) error) error {
	since, err := d.Engine.Newest(ctx)
	if err != nil {
		return err
	}
	v, logs, err := d.Engine.Logs(ctx, actor(c), w.ID)
	if err != nil {
		return err
	}
	f := &follower{d: d, by: actor(c), w: w, send: send, happened: make(chan struct{}, 1), old: make(map[logKey]bool), past: make(map[logKey]bool)}
	f.skip(logs)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		_ = d.Engine.Follow(ctx, since, activation.Concerns(v.ID, func() error {
			notify(f.happened)
			return nil
		}))
	}()
	for {
		if l := f.next(logs); l != nil {
			err = f.attempt(ctx, v.ID, *l)
			f.past[keyOf(l)], f.sent = true, true
		} else if v.State == activation.Finished || w.n > 0 && f.sent {
			return f.end(&v)
		} else if err = f.tell(&v); err == nil {
			select {
			case <-ctx.Done():
				err = context.Cause(ctx)
			case <-f.happened:
			}
		}
		if err != nil {
			return err
		}
		if v, logs, err = d.Engine.Logs(ctx, f.by, w.ID); err != nil {
			return err
		}
	}
}

// skip notes the attempts that there are, and passes over those that come before the first
// one that is wanted.
func (f *follower) skip(logs []activation.Log) {
	for i := range logs {
		f.old[keyOf(&logs[i])] = true
	}
	first := f.w.from.logKey
	switch {
	case f.w.Next != "" || f.w.all:
	case len(logs) > 0 && logs[len(logs)-1].Attempt.Open && f.w.wants(&logs[len(logs)-1]): // it may have written nothing yet
		first = keyOf(&logs[len(logs)-1])
	default:
		if wanted := f.w.wanted(logs); len(wanted) > 0 {
			first = keyOf(&wanted[0])
		}
	}
	i := slices.IndexFunc(logs, func(l activation.Log) bool { return keyOf(&l) == first })
	for ; i > 0; i-- {
		f.past[keyOf(&logs[i-1])] = true
	}
}

// next returns the attempt to send next, or nil.
func (f *follower) next(logs []activation.Log) *activation.Log {
	for i := range logs {
		if f.w.wants(&logs[i]) && !f.past[keyOf(&logs[i])] {
			return &logs[i]
		}
	}
	return nil
}

// How long to wait before looking again for a log that the wrapper is about to create: a
// short time at first, for that takes a few milliseconds.
const (
	firstLook = 10 * time.Millisecond
	lastLook  = time.Second
)

// attempt sends the output of an attempt until it has ended.
func (f *follower) attempt(ctx context.Context, id string, l activation.Log) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := newLogCopy(f.w, id, &l, f.send)
	if !f.old[keyOf(&l)] {
		out.lines = everyLine
	}
	ran := l.Attempt.Open
	watch, err := newWatch(ctx)
	if err != nil {
		return err
	}
	defer out.close()
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		var look <-chan time.Time
		err := out.open(ctx)
		missing := errors.Is(err, fs.ErrNotExist)
		if err == nil {
			missing, err = out.look(watch)
		}
		switch {
		case missing:
			look = time.After(pause)
		case err != nil:
			return err
		default:
			pause = firstLook
		}
		if err := out.copy(ctx, !l.Attempt.Open); err != nil {
			return err
		}
		if !l.Attempt.Open {
			if ran { // now it is known how it ended
				out.head.Attempt = new(attempt(l.Attempt))
			}
			return out.sendHead()
		}
		if err := out.sendHead(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-watch.changed:
		case <-look:
		case <-f.happened:
			if l, err = f.again(ctx, l); err != nil {
				return err
			}
		}
	}
}

// again returns what an attempt is now. If it is not known any more, it has ended.
func (f *follower) again(ctx context.Context, l activation.Log) (activation.Log, error) {
	_, logs, err := f.d.Engine.Logs(ctx, f.by, f.w.ID)
	if err != nil && fault.Of(err) != fault.NotFound {
		return l, err
	}
	for i := range logs {
		if keyOf(&logs[i]) == keyOf(&l) {
			return logs[i], nil
		}
	}
	l.Attempt.Open = false
	return l, nil
}

// tell sends what the activation waits for, unless the client knows it.
func (f *follower) tell(v *activation.View) error {
	now := wire(v)
	if now.State == f.told.State && now.Reason == f.told.Reason && now.Due.Equal(f.told.Due.Time) {
		return nil
	}
	f.told = now
	return f.send(control.LogOut{ID: now.ID, Activation: &now})
}

// end sends how a finished activation has ended.
func (f *follower) end(v *activation.View) error {
	if !f.sent {
		return f.w.missing(v)
	}
	if v.State != activation.Finished { // only one attempt is wanted
		return nil
	}
	return f.tell(v)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it was notified already
	}
}

// A watch tells when one of some files may have changed.
type watch struct {
	inotify *os.File
	newest  *os.File // the file that was added last
	changed chan struct{}
}

// newWatch returns a watch that ends when ctx is done.
func newWatch(ctx context.Context) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &watch{inotify: os.NewFile(uintptr(fd), "inotify"), changed: make(chan struct{}, 1)}
	context.AfterFunc(ctx, func() { _ = w.inotify.Close() }) // ends the goroutine
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := w.inotify.Read(buf); err != nil {
				return
			}
			notify(w.changed)
		}
	}()
	return w, nil
}

// add adds a file: its content, its name, and whether it has one.
func (w *watch) add(file *os.File) error {
	c, err := w.inotify.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		_, failed = unix.InotifyAddWatch(int(fd), fmt.Sprintf("/proc/self/fd/%d", file.Fd()), unix.IN_MODIFY|unix.IN_MOVE_SELF|unix.IN_ATTRIB)
	})
	if failed != nil {
		return fmt.Errorf("inotify: %w", failed)
	}
	w.newest = file
	return err
}
