package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A process is one process of a stream listener, which handles many messages: a run with a stream.
type process struct {
	key      supervisor.Key
	pool     *pool
	stream   Stream
	since    time.Time
	begun    bool // its program has been started
	uid      int  // as whom it runs; -1: as the daemon
	gid      int
	memory   int64 // that it took when it was last measured
	measured time.Time
	// outdated says why it is to be replaced, and fault what was wrong with its answers.
	outdated, fault string
	works           map[uint64]*work
	busy            int      // of works, those whose outcome is not pending
	given           int      // messages that it was ever given
	unsent          []unsent // lines for which the pipe had no room, in order
	waiting         bool     // for room
	closed          bool     // its input
	// retired says why it gets no more messages; empty: it gets some.
	retired string
	killed  bool
	endBy   time.Time // it is stopped if it has not ended by then
	guilty  *work     // it is stopped because of this message
	broken  bool      // it has closed its input
	stopped bool      // it is stopped, and the other messages that it has are not to blame
	eof     bool      // all its output is read
	result  *wrapper.Result
}

// An unsent is a line that is to be sent to a process.
type unsent struct {
	line []byte
	w    *work // nil: it is not a message
}

// A Stream is the standard input and output of a process; *supervisor.Stream is the real one.
type Stream interface {
	Send(line []byte) (sent bool, err error)
	Sendable(ctx context.Context) error
	CloseInput() error
	InputClosed() bool
	Peek(ctx context.Context, buf []byte) (n int, err error)
	Consume(n int) error
}

// listenerPhase is the phase of the runs of stream listeners.
const listenerPhase = "listener"

// stem begins the ids of the runs of a pool, and names it to later daemons.
func (p *pool) stem() string { return digest(p.key) + "-" }

func digest(text string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return fmt.Sprintf("%016x", h.Sum64())
}

// id is the id of a new process: its pool, its version, and a number.
func (p *pool) id(number int64) string {
	return p.stem() + digest(p.l.Version) + "-" + strconv.FormatInt(number, 36)
}

// current reports whether a process is as its listener is now.
func (s *process) current() bool {
	return strings.HasPrefix(s.key.ID, s.pool.stem()+digest(s.pool.l.Version)+"-")
}

// free is how many messages the process can be given.
func (s *process) free() int {
	if !s.begun || s.stream == nil || s.retired != "" || s.result != nil || s.waiting {
		return 0
	}
	return s.pool.l.Window - s.busy
}

// wanted is how many processes the pool wants.
func (p *pool) wanted() int {
	if !p.l.Stream {
		return 0
	}
	for _, ln := range p.lines {
		if ln.Deleting == nil && (ln.Paused == nil || !ln.Paused.Fault) {
			return p.l.Instances
		}
	}
	return 0
}

// manage starts the processes that are missing, and retires those that are too many, too old
// or of another version; a process is replaced when its replacement has begun.
func (b *Broker) manage(p *pool) {
	now := b.tick()
	want, fresh, begun := p.wanted(), 0, 0
	for _, s := range p.processes {
		s.judgeAge(now)
		if s.retired == "" && s.outdated == "" { // also one that has ended, until it is known why
			fresh++
			if s.begun && s.result == nil {
				begun++
			}
		}
	}
	for fresh < want && !now.Before(p.notBefore) {
		if err := b.startProcess(p); err != nil {
			b.cannotStart(p, err)
			break
		}
		fresh++
	}
	for _, s := range p.processes {
		switch {
		case s.retired != "" || s.result != nil:
		case want == 0:
			s.retire("its queues are gone or paused")
		case s.outdated != "" && begun >= want:
			s.retire(s.outdated)
		case s.outdated == "" && fresh > want:
			s.retire("there are more than the listener's instances")
			fresh--
		}
		b.end(s)
	}
}

func (s *process) retire(why string) { s.retired = why }

// judgeAge notes why a process is to be replaced, if it is.
func (s *process) judgeAge(now time.Time) {
	r := s.pool.l.Replace
	switch {
	case s.outdated != "":
	case !s.current():
		s.outdated = "the listener has changed"
	case r.Messages > 0 && s.given >= r.Messages:
		s.outdated = fmt.Sprintf("it has had %d messages", s.given)
	case r.Age > 0 && now.Sub(s.since) >= r.Age:
		s.outdated = fmt.Sprintf("it is older than %s", r.Age)
	case r.Memory > 0 && s.memory >= r.Memory:
		s.outdated = fmt.Sprintf("it takes %d bytes of memory", s.memory)
	}
}

// end closes the input of a process that has retired and has nothing in work any more, and
// stops it if it does not end then.
func (b *Broker) end(s *process) {
	if s.retired == "" || s.result != nil || s.stream == nil {
		return
	}
	for _, w := range s.works {
		if !w.doubtful { // of those its end shows whether it had them
			return
		}
	}
	now := b.tick()
	if !s.closed {
		s.closed = true
		if err := s.stream.CloseInput(); err != nil {
			b.parts.Log.Error("queues: cannot close the input of a listener", "run", s.key, "err", err)
		}
	}
	switch {
	case len(s.works) > 0: // it may be working on them
	case s.endBy.IsZero():
		s.endBy = now.Add(max(s.pool.l.Grace, leastGrace))
	case !s.killed && !now.Before(s.endBy):
		b.stopProcess(s)
	}
}

// leastGrace is the least time that a listener has to end after its input has ended.
const leastGrace = 10 * time.Second

func (b *Broker) stopProcess(s *process) {
	if s.killed {
		return
	}
	s.killed = true
	if s.retired == "" {
		s.retire("it is stopped")
	}
	if s.stopped {
		var guilty uint64
		if s.guilty != nil {
			guilty = s.guilty.id
		}
		b.journal.stopped(s.key, guilty)
		b.flushMarks()
	}
	if err := b.parts.Runs.Stop(s.key); err != nil {
		b.parts.Log.Error("queues: cannot stop a listener", "run", s.key, "err", err)
	}
}

// startProcess starts a process of a pool.
func (b *Broker) startProcess(p *pool) error {
	spec, err := p.l.Prepare()
	if err != nil {
		return err
	}
	b.lastStart = max(b.lastStart+1, b.parts.Now().UnixNano())
	k := supervisor.Key{ID: p.id(b.lastStart), Phase: listenerPhase, N: 1}
	spec.Stream, spec.Grace = true, p.l.Grace
	name := p.l.Name
	if p.l.Together == Apart {
		name = p.lines[0].Name
	}
	spec.Env = append(spec.Env[:len(spec.Env):len(spec.Env)], "QUEUE="+name)
	if err := b.parts.Runs.Start(k, spec); err != nil {
		return err
	}
	s := &process{key: k, pool: p, since: b.tick(), uid: spec.UID, gid: spec.GID}
	b.enlist(s)
	b.attach(s)
	return nil
}

// enlist notes a process that has been started, or was found.
func (b *Broker) enlist(s *process) {
	s.works = make(map[uint64]*work)
	s.pool.processes = append(s.pool.processes, s)
	b.processes[s.key] = s
}

// attach takes the stream of a process. One without a stream is of no use.
func (b *Broker) attach(s *process) {
	stream, err := b.parts.Runs.Stream(s.key)
	if err != nil {
		b.parts.Log.Error("queues: a listener is stopped, because it cannot be written to", "run", s.key, "err", err)
		s.eof, s.stopped = true, true
		b.stopProcess(s)
		return
	}
	s.stream = stream
	if s.closed = stream.InputClosed(); s.closed {
		s.retire("its input was closed")
	}
	b.helpers.Go(func() { b.read(s) })
	if err := b.parts.Runs.AwaitStart(s.key); err != nil {
		b.parts.Log.Error("queues: cannot find out when a listener has begun", "run", s.key, "err", err)
		s.begun = true // what it is sent waits for it
	}
}

// cannotStart waits, or pauses the queues of a pool whose processes cannot be started.
func (b *Broker) cannotStart(p *pool, err error) {
	if errors.Is(err, fault.Unavailable) {
		b.backOff(p, err.Error())
		b.parts.Log.Warn("queues: cannot start a listener now; trying again", "listener", p.l.Name, "err", err, "at", p.notBefore)
		return
	}
	why := fmt.Sprintf("its listener cannot run: %v", err)
	b.backOff(p, why)
	b.faulty(p, why)
}

func (b *Broker) backOff(p *pool, why string) {
	p.fault = why
	p.notBefore = b.tick().Add(min(lastPause, firstPause<<min(p.failures, 10)))
	p.failures++
}

// faulty pauses the queues of a pool, because their messages could not be handled. Queues that
// somebody has paused already keep that reason.
func (b *Broker) faulty(p *pool, why string) {
	for _, ln := range p.lines {
		if ln.Paused == nil && ln.Deleting == nil {
			b.pending = append(b.pending, &outcome{line: ln, verdict: queue.VerdictFault, e: queue.Ending{Exit: -1, Reason: why}})
		}
	}
	b.poke()
}

// An output is complete lines that a process has written, or the end of its output.
type output struct {
	process  *process
	answers  []answer
	invalid  error // the first line that is no answer
	size     int   // bytes of the answers
	consume  int   // bytes that are read when they are recorded
	eof      bool
	recorded chan struct{} // closed when what follows from the answers is in the store
}

// read reads the answers of a process. It has a
// goroutine of its own, which ends with the process's output, or with Run.
func (b *Broker) read(s *process) {
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) && cap(buf) < maxAnswer {
			buf = append(make([]byte, 0, min(4*cap(buf), maxAnswer)), buf...)
		}
		n, err := s.stream.Peek(b.ctx, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		o := &output{process: s, recorded: make(chan struct{})}
		switch {
		case errors.Is(err, io.EOF):
			o.eof = true
		case err != nil && b.ctx.Err() == nil && !errors.Is(err, os.ErrClosed):
			b.parts.Log.Error("queues: cannot read the answers of a listener", "run", s.key, "err", err)
			o.invalid, o.eof = err, true
		case err != nil:
			return
		}
		for {
			line, _, complete := bytes.Cut(buf[o.size:], []byte("\n"))
			if !complete {
				break
			}
			o.size += len(line) + 1
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			a, err := parseAnswer(line)
			switch {
			case err == nil:
				o.answers = append(o.answers, a)
			case o.invalid == nil:
				o.invalid = fmt.Errorf("%w in the line %q", err, line[:min(len(line), 200)])
			}
		}
		if o.consume = o.size; o.size == 0 && len(buf) == maxAnswer {
			o.invalid = fmt.Errorf("a line of more than %d bytes", maxAnswer)
			o.consume = len(buf) // where the next answer begins is not known
		}
		if o.size == 0 && o.invalid == nil && !o.eof {
			continue
		}
		if !b.recordOutput(o) || o.eof {
			return
		}
		buf = buf[:copy(buf, buf[o.consume:])]
	}
}

// recordOutput hands an output to Run, and waits until it is recorded. It is false if Run has
// ended.
func (b *Broker) recordOutput(o *output) bool {
	select {
	case b.outputs <- o:
	case <-b.ctx.Done():
		return false
	}
	select {
	case <-o.recorded:
		return true
	case <-b.ctx.Done():
		return false
	}
}

// consume removes answers that are recorded from their pipe. That is done before anything else is
// handed out: a daemon that reads an answer again must not take it for one about a later attempt.
func (b *Broker) consume(o *output) {
	defer close(o.recorded)
	if o.consume == 0 || o.eof {
		return
	}
	if err := o.process.stream.Consume(o.consume); err != nil {
		b.parts.Log.Error("queues: cannot remove the answers of a listener from its output; it is stopped", "run", o.process.key, "err", err)
		o.process.stopped = true
		b.stopProcess(o.process)
		return
	}
	if len(o.answers) > 0 {
		b.journal.read(o.process.key)
	}
}

// ignore logs that an answer changes nothing, unless that was logged a short time ago.
func (b *Broker) ignore(about ...any) {
	b.ignored++
	if b.ignoredLogs.may(b.tick()) {
		b.parts.Log.Warn("queues: an answer is ignored: its listener does not have that message, or that attempt is over", append(about, "ignored in all", b.ignored)...)
	}
}

// answered takes the answers of a process.
func (b *Broker) answered(o *output) {
	s := o.process
	for _, a := range o.answers {
		w := s.works[a.id]
		if w == nil || w.over || a.attempt != 0 && a.attempt != w.attempt {
			b.ignore("run", s.key, "message", a.id)
			continue
		}
		b.take(w, a)
	}
	if o.invalid != nil && s.result == nil && s.fault == "" {
		b.parts.Log.Error("queues: a listener sent an answer that is not valid; it is replaced", "run", s.key, "err", o.invalid)
		s.fault = "its listener sent an answer that is not valid: " + o.invalid.Error()
		b.stopProcess(s)
	}
	if len(o.answers) > 0 {
		b.measure(s)
	}
	s.eof = s.eof || o.eof
	b.acknowledge = append(b.acknowledge, o)
	s.pool.dirty = true
	b.gone(s)
}

// measureEvery is how often the memory of a process is measured at most.
const measureEvery = time.Second

// measure reads how much memory a process takes, if that matters.
func (b *Broker) measure(s *process) {
	now := b.tick()
	if s.pool.l.Replace.Memory == 0 || now.Sub(s.measured).Abs() < measureEvery {
		return
	}
	s.measured = now
	pid, _, ok := b.parts.Runs.Started(s.key)
	if !ok {
		return
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm") // size and resident pages
	if words := strings.Fields(string(data)); err == nil && len(words) > 1 {
		pages, _ := strconv.ParseInt(words[1], 10, 64)
		s.memory = pages * int64(os.Getpagesize())
	}
}

// take decides what follows from one answer.
func (b *Broker) take(w *work, a answer) {
	now := b.parts.Now()
	e := queue.Ending{Attempt: w.attempt, Started: w.since, Ended: now, Exit: -1, Listener: w.process.key.String(), Reason: a.reason}
	switch a.what {
	case answerProgress:
		w.progress = a.progress
		return
	case answerExtend:
		if by := b.tick().Add(a.extend); w.cancelled == "" && !w.returning && !w.deadline.IsZero() && by.After(w.deadline) {
			w.deadline = by
		}
		return
	case answerDone:
		e.Exit, e.How = 0, queue.HowExited
		b.settle(w, &outcome{w: w, verdict: queue.VerdictDone, count: true, result: a.result, e: e})
		return
	case answerDead:
		e.How = queue.HowError
		if !w.returning {
			b.settle(w, &outcome{w: w, verdict: queue.VerdictDead, count: true, e: e})
			return
		}
	}
	e.How = queue.HowError
	o := b.judge(w, e)
	if o.verdict == queue.VerdictAgain && o.count && a.after >= 0 {
		o.after = a.after
	}
	b.settle(w, o)
}

// gone takes the end of a process, when all that it has written is taken: what it has not
// answered returns to its queue.
func (b *Broker) gone(s *process) {
	if s.result == nil || !s.eof || b.processes[s.key] == nil {
		return
	}
	r, p := s.result, s.pool
	delete(b.processes, s.key)
	for i, other := range p.processes {
		if other == s {
			p.processes = append(p.processes[:i], p.processes[i+1:]...)
			break
		}
	}
	status, exited := r.ExitStatus()
	cannot := r.Reason == wrapper.Failed || r.Reason == wrapper.Exited && (status == 126 || status == 127)
	e := queue.Ending{Ended: r.Ended, Exit: status, Signal: r.SignalName(), How: queue.HowLost, Listener: s.key.String()}
	e.Reason = "its listener has ended without an answer"
	switch {
	case cannot:
		e.How, e.Reason = queue.HowNotStarted, "its listener cannot run: "+r.Text
	case s.fault != "":
		e.Reason = s.fault
	}
	for _, w := range s.works {
		if w.over {
			continue
		}
		e := e
		e.Attempt, e.Started = w.attempt, w.since
		switch {
		case !w.sent || w.doubtful && exited && status == 0: // a killed one may have had it
			b.settle(w, &outcome{w: w, verdict: queue.VerdictAgain}) // it did not have it
			continue
		case w == s.guilty:
			e.How, e.Reason = queue.HowTimedOut, "its listener did not answer in time"
		case s.stopped:
			e.How, e.Reason = queue.HowStopped, "its listener was stopped because of another message"
		}
		b.settle(w, b.judge(w, e))
	}
	key := s.key
	b.pending = append(b.pending, &outcome{done: []func(){func() {
		b.journal.end(key)
		b.discard(key)
	}}})
	switch {
	case cannot:
		b.backOff(p, e.Reason)
		b.faulty(p, e.Reason)
	case s.broken:
	case s.retired != "" || b.tick().Sub(s.since) >= stableAfter:
		p.failures = 0
	default:
		b.backOff(p, "its process has ended soon after its start: "+inWords(r))
	}
	p.dirty = true
	b.poke()
	b.forget(p)
}

// stableAfter is how long a process must have lived to be replaced at once when it has ended.
const stableAfter = 10 * time.Second

// give gives a message to a process.
func (b *Broker) give(s *process, w *work) error {
	line, err := encodeRequest(w, "")
	if errors.Is(err, errTooLong) {
		var file string
		if file, err = b.bodyFile(s, w); err == nil {
			line, err = encodeRequest(w, file)
		}
	}
	if err != nil {
		return err
	}
	w.process, w.by = s, s.key.String()
	s.works[w.id] = w
	s.busy++
	s.given++
	s.unsent = append(s.unsent, unsent{line, w})
	b.journal.give(given{run: s.key, queue: w.line.N, id: w.id, attempt: w.attempt})
	return nil
}

// bodyFile writes the body of a message into a file that the process can read.
func (b *Broker) bodyFile(s *process, w *work) (path string, err error) {
	dir, err := b.parts.Runs.Workdir(s.key.ID, s.uid, s.gid)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, strconv.FormatUint(w.id, 10))
	w.bodyFile = path
	if err := writeNew(path, w.m.Body); err != nil {
		return "", fmt.Errorf("the body of message %d: %w: %w", w.id, err, fault.Unavailable)
	}
	return path, nil
}

// writeNew writes a file into a directory that belongs to another user, who alone can look into
// it, and so can put a link there: no link is followed.
func writeNew(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

// send writes the lines for a process, as far as its input has room. The rest is written
// when it has read some.
func (b *Broker) send(s *process) {
	if len(s.unsent) == 0 || s.stream == nil {
		return
	}
	for len(s.unsent) > 0 {
		u := s.unsent[0]
		if u.w != nil && u.w.over { // it was cancelled meanwhile
			s.unsent = s.unsent[1:]
			continue
		}
		sent, err := s.stream.Send(u.line)
		switch {
		case err != nil: // it is ending, or has closed its input; it does not have the rest
			b.takeBack(s)
			s.unsent = nil
			if s.retired == "" {
				s.retire("it does not read its input: " + err.Error())
				s.broken = true
				b.backOff(s.pool, "its process does not read its input")
			}
			s.pool.dirty = true
			b.poke()
			return
		case !sent && !s.waiting:
			s.waiting = true
			b.helpers.Go(func() {
				_ = s.stream.Sendable(b.ctx) // after an error, Send returns it
				select {
				case b.writable <- s:
				case <-b.ctx.Done():
				}
			})
			return
		case !sent:
			return
		}
		s.unsent = s.unsent[1:]
		if w := u.w; w != nil {
			w.sent = true
			if w.timeout > 0 && w.deadline.IsZero() {
				w.deadline = b.tick().Add(w.timeout)
			}
		}
	}
	b.journal.sent(s.key)
}

// began notes that the program of a run has been started.
func (b *Broker) began(k supervisor.Key) {
	if s := b.processes[k]; s != nil {
		s.begun, s.pool.dirty = true, true
	}
}

// expire ends the attempts of processes whose time is over.
func (b *Broker) expire() {
	now := b.tick()
	for _, w := range b.work {
		s := w.process
		if w.session != "" && !w.over && !w.deadline.IsZero() && !now.Before(w.deadline) {
			b.recall(w, queue.HowTimedOut, "its listener, which was started by hand, did not answer in time")
			continue
		}
		if s == nil || w.over || w.deadline.IsZero() || now.Before(w.deadline) || s.killed || b.unadopted[s.key] {
			continue
		}
		if s.stopped = true; w.cancelled == "" && !w.returning && !w.doubtful {
			s.guilty = w
		}
		b.stopProcess(s)
	}
}

// inWords says how a process has ended.
func inWords(r *wrapper.Result) string {
	switch status, ok := r.ExitStatus(); {
	case r.Text != "":
		return r.Text
	case r.Signal != 0:
		return "signal " + r.SignalName()
	case ok:
		return "status " + strconv.Itoa(status)
	}
	return r.Reason
}
