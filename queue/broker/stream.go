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

// A process is one that works off many messages: a run with a stream.
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
	unsent          [][]byte // lines for which the pipe had no room, in order
	waiting         bool     // for room
	closed          bool     // its input
	// retired says why it gets no more messages; empty: it gets some.
	retired string
	killed  bool
	endBy   time.Time // it is stopped if it has not ended by then
	guilty  *work     // it is stopped because of this message
	eof     bool      // all its output is read
	result  *wrapper.Result
}

// A Stream is the standard input and output of a process; *supervisor.Stream is the real one.
type Stream interface {
	Send(line []byte) (sent bool, err error)
	Sendable(ctx context.Context) error
	CloseInput() error
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
func (p *pool) id(now time.Time) string {
	return p.stem() + digest(p.l.Version) + "-" + strconv.FormatInt(now.UnixNano(), 36)
}

// current reports whether a process is as its listener is now.
func (s *process) current() bool {
	return strings.HasPrefix(s.key.ID, s.pool.stem()+digest(s.pool.l.Version)+"-")
}

// free is how many messages the process can be given.
func (s *process) free() int {
	if !s.begun || s.retired != "" || s.result != nil || len(s.unsent) > 0 {
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
	now := b.parts.Now()
	want, fresh, begun := p.wanted(), 0, 0
	for _, s := range p.processes {
		s.judgeAge(now)
		if s.retired == "" && s.outdated == "" && s.result == nil {
			fresh++
			if s.begun {
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
	if s.retired == "" || s.result != nil || len(s.works) > 0 {
		return
	}
	now := b.parts.Now()
	switch {
	case !s.closed:
		s.closed, s.endBy = true, now.Add(max(s.pool.l.Grace, leastGrace))
		if err := s.stream.CloseInput(); err != nil {
			b.parts.Log.Error("queues: cannot close the input of a listener", "run", s.key, "err", err)
			s.endBy = now
		}
	case !s.killed && !now.Before(s.endBy):
		b.stopProcess(s)
	}
}

// leastGrace is how long a listener may at least take to end when its input has ended.
const leastGrace = 10 * time.Second

func (b *Broker) stopProcess(s *process) {
	if s.killed {
		return
	}
	s.killed = true
	if s.retired == "" {
		s.retire("it is stopped")
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
	now := b.parts.Now()
	k := supervisor.Key{ID: p.id(now), Phase: listenerPhase, N: 1}
	spec.Stream, spec.Grace = true, p.l.Grace
	name := p.l.Name
	if p.l.Together == Apart {
		name = p.lines[0].Name
	}
	spec.Env = append(spec.Env[:len(spec.Env):len(spec.Env)], "QUEUE="+name)
	if err := b.parts.Runs.Start(k, spec); err != nil {
		return err
	}
	return b.enlist(&process{key: k, pool: p, since: now, uid: spec.UID, gid: spec.GID})
}

// enlist follows a process that has been started or adopted.
func (b *Broker) enlist(s *process) error {
	stream, err := b.parts.Runs.Stream(s.key)
	if err != nil {
		return err
	}
	s.stream, s.works = stream, make(map[uint64]*work)
	s.pool.processes = append(s.pool.processes, s)
	b.processes[s.key] = s
	b.helpers.Go(func() { b.read(s) })
	return b.parts.Runs.AwaitStart(s.key)
}

// cannotStart waits, or pauses the queues of a pool whose processes cannot be started.
func (b *Broker) cannotStart(p *pool, err error) {
	if errors.Is(err, fault.Unavailable) {
		b.backOff(p, err.Error())
		b.parts.Log.Warn("queues: cannot start a listener now; trying again", "listener", p.l.Name, "err", err, "at", p.notBefore)
		return
	}
	b.faulty(p, fmt.Sprintf("its listener cannot run: %v", err))
}

func (b *Broker) backOff(p *pool, why string) {
	p.fault = why
	p.notBefore = b.parts.Now().Add(min(lastPause, firstPause<<min(p.failures, 10)))
	p.failures++
}

// faulty pauses the queues of a pool, because nothing would be worked off.
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
	invalid  error // the line after the answers
	size     int   // bytes of the answers
	eof      bool
	recorded chan struct{} // closed when what follows from the answers is in the store
}

// read reads the answers of a process, and consumes them when they are recorded. It has a
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
			if err != nil {
				o.invalid = fmt.Errorf("%w in the line %q", err, line[:min(len(line), 200)])
				break
			}
			o.answers = append(o.answers, a)
		}
		if o.invalid == nil && o.size == 0 && len(buf) == maxAnswer {
			o.invalid = fmt.Errorf("a line of more than %d bytes", maxAnswer)
		}
		if o.size == 0 && o.invalid == nil && !o.eof {
			continue
		}
		if !b.recordOutput(o) || o.eof {
			return
		}
		if o.invalid != nil { // where the next answer begins is not known
			o.size = len(buf)
		}
		if err := s.stream.Consume(o.size); err != nil {
			b.parts.Log.Error("queues: answers cannot be consumed", "run", s.key, "err", err)
			return
		}
		buf = buf[:copy(buf, buf[o.size:])]
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

// answered takes the answers of a process.
func (b *Broker) answered(o *output) {
	s := o.process
	for _, a := range o.answers {
		w := s.works[a.id]
		if w == nil || w.over || a.attempt != 0 && a.attempt != w.attempt {
			b.ignored++
			b.parts.Log.Warn("queues: an answer about a message that this listener does not have is ignored", "run", s.key, "message", a.id)
			continue
		}
		b.take(w, a)
	}
	if o.invalid != nil && s.result == nil {
		b.parts.Log.Error("queues: a listener sent an answer that is not valid; it is replaced", "run", s.key, "err", o.invalid)
		s.fault = "its listener sent an answer that is not valid: " + o.invalid.Error()
		b.stopProcess(s)
	}
	if len(o.answers) > 0 {
		b.measure(s)
	}
	s.eof = s.eof || o.eof
	b.acknowledge = append(b.acknowledge, o.recorded)
	s.pool.dirty = true
	b.gone(s)
}

// measureEvery is how often the memory of a process is measured at most.
const measureEvery = time.Second

// measure reads how much memory a process takes, if that matters.
func (b *Broker) measure(s *process) {
	now := b.parts.Now()
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

// take takes one answer.
func (b *Broker) take(w *work, a answer) {
	now := b.parts.Now()
	e := queue.Ending{Attempt: w.attempt, Started: w.since, Ended: now, Exit: -1, Listener: w.process.key.String(), Reason: a.reason}
	switch a.what {
	case answerProgress:
		w.progress = a.progress
		return
	case answerExtend:
		w.deadline = now.Add(a.extend)
		return
	case answerDone:
		e.Exit, e.How = 0, queue.HowExited
		b.settle(w, &outcome{w: w, verdict: queue.VerdictDone, count: true, result: a.result, e: e})
		return
	case answerDead:
		e.How = queue.HowError
		b.settle(w, &outcome{w: w, verdict: queue.VerdictDead, count: true, e: e})
		return
	}
	e.How = queue.HowError
	o := b.judge(w, e)
	if o.verdict == queue.VerdictAgain && a.after >= 0 {
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
	status, _ := r.ExitStatus()
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
		o := &outcome{w: w, verdict: queue.VerdictAgain, e: e}
		switch {
		case w == s.guilty:
			e.How, e.Reason = queue.HowTimedOut, "its listener did not answer in time"
			o = b.judge(w, e)
		case s.guilty == nil && !cannot:
			o = b.judge(w, e)
		}
		b.settle(w, o)
	}
	key := s.key
	b.pending = append(b.pending, &outcome{done: []func(){func() {
		b.journal.end(key)
		b.removals <- key
	}}})
	switch {
	case cannot:
		b.faulty(p, e.Reason)
	case s.retired != "" || b.parts.Now().Sub(s.since) >= stableAfter:
		p.failures = 0
	default:
		b.backOff(p, "its process has ended soon after its start: "+inWords(r))
	}
	p.dirty = true
	b.poke()
	b.forget(p)
}

// stableAfter is how long a listener must live so that it is started again at once.
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
	if w.timeout > 0 {
		w.deadline = w.since.Add(w.timeout)
	}
	s.works[w.id] = w
	s.busy++
	s.given++
	s.unsent = append(s.unsent, line)
	b.journal.give(given{s.key, w.line.N, w.id, w.attempt})
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
	return path, os.WriteFile(path, w.m.Body, 0o644) // the directory is the listener's user's only
}

// send writes the lines for a process, as far as its input has room. The rest is written
// when it has read some.
func (b *Broker) send(s *process) {
	for len(s.unsent) > 0 {
		sent, err := s.stream.Send(s.unsent[0])
		switch {
		case err != nil: // it is ending, or has closed its input; its end says what becomes of its messages
			s.unsent = nil
			if s.retired == "" {
				s.retire("it does not read its input: " + err.Error())
			}
			return
		case !sent && !s.waiting:
			s.waiting = true
			b.helpers.Go(func() {
				if s.stream.Sendable(b.ctx) == nil || b.ctx.Err() == nil {
					select {
					case b.writable <- s:
					case <-b.ctx.Done():
					}
				}
			})
			return
		case !sent:
			return
		}
		s.unsent = s.unsent[1:]
	}
	for _, w := range s.works {
		w.sent = true
	}
}

// began takes that the program of a run has been started.
func (b *Broker) began(k supervisor.Key) {
	if s := b.processes[k]; s != nil {
		s.begun, s.pool.dirty = true, true
	}
}

// expire ends the attempts of processes whose time is over.
func (b *Broker) expire() {
	now := b.parts.Now()
	for _, w := range b.work {
		s := w.process
		if w.session != "" && !w.over && !w.deadline.IsZero() && !now.Before(w.deadline) {
			b.lost(w, queue.HowTimedOut, "its listener, which was started by hand, did not answer in time")
			continue
		}
		if s == nil || w.over || w.deadline.IsZero() || now.Before(w.deadline) || s.killed {
			continue
		}
		if w.cancelled == "" {
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
