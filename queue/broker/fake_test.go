package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"activationd/internal/fault"
	"activationd/schedule"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A world is all that outlives a broker beside the store: processes, and the directories of
// runs. It also watches what it sees, and notes what must not happen.
type world struct {
	dir   string
	runs  map[supervisor.Key]*fakeRun // that have a directory
	act   func(k supervisor.Key, spec *wrapper.Spec) act
	reply func(d delivery) reply // of stream listeners

	mu       sync.Mutex
	faults   []string
	holders  map[uint64]string // who works on a message
	accounts map[uint64]*account
	begun    []delivery // in the order in which they began
	space    int        // bytes of the pipe to a listener; 0: 64 KiB
}

// An account is what really became of a message.
type account struct {
	began   int
	charged int  // since it was pushed, or retried as a dead letter
	good    bool // somebody has worked it off
	moved   bool // attempts that failed may not count, because it is moved
}

// An act is what a process does.
type act struct {
	noStart error         // Start's
	lasts   time.Duration // a listener: 0 is forever
	status  int
	signal  int
	reason  string // wrapper.Exited if empty
	ignores bool   // it ignores TERM
	birth   time.Duration
	output  string
	files   map[string]string
	noRoom  bool // a listener does not read its input
	deaf    bool // a listener goes on when its input has ended
	closes  bool // a listener closes its input, and goes on
}

// A delivery is a message as its listener has it.
type delivery struct {
	Queue    string            `json:"queue"`
	ID       uint64            `json:"id"`
	Attempt  int               `json:"attempt"`
	Headers  map[string]string `json:"headers"`
	Body     string            `json:"body"`
	BodyFile string            `json:"body_file"`
	Cancel   uint64            `json:"cancel"`
	run      supervisor.Key
}

// A reply is what a stream listener does with a message.
type reply struct {
	after  time.Duration
	lines  []string // "%d" is the id and "%a" the attempt
	good   bool     // the first line says that it is done
	charge bool     // the first line says something that costs an attempt
	gives  bool     // it gives up when it is cancelled, with an error
	crash  bool     // it ends
}

func newWorld(dir string) *world {
	return &world{
		dir: dir, runs: make(map[supervisor.Key]*fakeRun), holders: make(map[uint64]string), accounts: make(map[uint64]*account),
		act:   func(supervisor.Key, *wrapper.Spec) act { return act{} },
		reply: func(delivery) reply { return reply{lines: []string{`{"id":%d,"ok":true}`}, good: true} },
	}
}

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *world) account(id uint64) *account {
	a := w.accounts[id]
	if a == nil {
		a = new(account)
		w.accounts[id] = a
	}
	return a
}

// begin notes that somebody begins to work on a message.
func (w *world) begin(d delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	who := d.run.String()
	if other := w.holders[d.ID]; other != "" {
		w.fault("%s begins attempt %d of message %d, on which %s works", who, d.Attempt, d.ID, other)
	}
	w.holders[d.ID] = who
	a := w.account(d.ID)
	a.began++
	if a.good {
		w.fault("attempt %d of message %d begins, which was worked off", d.Attempt, d.ID)
	}
	if d.Attempt <= a.charged {
		w.fault("attempt %d of message %d begins, and %d have been charged", d.Attempt, d.ID, a.charged)
	}
	w.begun = append(w.begun, d)
}

// end notes that somebody does not work on a message any more.
func (w *world) end(k supervisor.Key, id uint64, good, charge bool) (ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holders[id] != k.String() {
		return false
	}
	delete(w.holders, id)
	a := w.account(id)
	a.good = a.good || good
	if charge && !a.moved {
		a.charged++
	}
	return true
}

// order returns which messages began, in order.
func (w *world) order() (ids []uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.begun {
		ids = append(ids, d.ID)
	}
	return ids
}

// began returns how often a message began.
func (w *world) began(id uint64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.account(id).began
}

// live returns the runs that go on.
func (w *world) live() (keys []supervisor.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, r := range w.runs {
		if !r.isOver() {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b supervisor.Key) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
	return keys
}

// dirs returns the runs that have a directory.
func (w *world) dirs() (keys []supervisor.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.runs {
		keys = append(keys, k)
	}
	return keys
}

// kill ends a run by a signal that nobody of ours has sent.
func (w *world) kill(k supervisor.Key) {
	w.mu.Lock()
	r := w.runs[k]
	w.mu.Unlock()
	if r != nil {
		r.send(int(syscall.SIGKILL))
	}
}

// A fakeRun is a run and its directory.
type fakeRun struct {
	w       *world
	k       supervisor.Key
	spec    wrapper.Spec
	act     act
	signals chan int // from outside
	stop    chan struct{}
	once    sync.Once
	over    chan struct{} // closed when it has ended
	started chan struct{}
	result  wrapper.Result
	in, out *pipe
}

func (r *fakeRun) isOver() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

func (r *fakeRun) send(sig int) {
	select {
	case r.signals <- sig:
	default:
	}
}

func (r *fakeRun) term() { r.once.Do(func() { close(r.stop) }) }

// run is the life of the wrapper and its program.
func (r *fakeRun) run() {
	res := wrapper.Result{Reason: wrapper.Exited, Exit: r.act.status}
	defer func() {
		res.Ended = time.Now()
		r.result = res
		if r.out != nil {
			r.out.closeWrite()
			r.in.closeRead()
		}
		close(r.over)
	}()
	select {
	case <-time.After(r.act.birth):
	case <-r.stop:
		res.Reason, res.Exit = wrapper.Disarmed, -1
		return
	case <-r.signals:
		res.Reason, res.Exit = wrapper.Void, -1
		return
	}
	switch r.act.reason {
	case wrapper.Failed:
		res.Reason, res.Exit, res.Text = wrapper.Failed, 127, "no such program"
		return
	case wrapper.NotStarted, wrapper.Void:
		res.Reason, res.Exit = r.act.reason, -1
		return
	}
	res.Started = time.Now()
	if r.act.closes {
		r.in.closeRead()
	}
	close(r.started)
	d := delivery{run: r.k}
	if r.k.Phase == messagePhase {
		var ok bool
		_, d.ID, ok = parseMessageKey(r.k)
		if d.Attempt, d.Body = r.k.N, string(r.spec.Stdin); ok {
			r.w.begin(d)
		}
	}
	end := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	var ends <-chan time.Time
	if r.spec.Stream {
		go r.listen(ctx, end)
		if r.act.lasts > 0 {
			ends = time.After(r.act.lasts)
		}
	} else {
		ends = time.After(r.act.lasts)
	}
	var timeout, kill <-chan time.Time
	if r.spec.Timeout > 0 {
		timeout = time.After(r.spec.Timeout)
	}
	reason := wrapper.Exited
	killed := func(sig syscall.Signal) {
		res.Reason, res.Exit, res.Signal = reason, -1, int(sig)
	}
	stop := r.stop
	for running := true; running; {
		term := false
		select {
		case <-end:
			running = false
		case <-ends:
			running = false
			if r.act.signal != 0 {
				killed(syscall.Signal(r.act.signal))
			}
		case sig := <-r.signals:
			running = false
			killed(syscall.Signal(sig))
		case <-timeout:
			reason, timeout, term = wrapper.TimedOut, nil, true
		case <-stop:
			reason, stop, term = wrapper.Stopped, nil, true
		case <-kill:
			running = false
			killed(syscall.SIGKILL)
		}
		if term && !r.act.ignores {
			running = false
			killed(syscall.SIGTERM)
		} else if term {
			kill = time.After(r.spec.Grace)
		}
	}
	if r.act.reason == wrapper.Lost {
		res.Reason, res.Exit, res.Signal = wrapper.Lost, -1, 0
	}
	cancel()
	if r.k.Phase == messagePhase {
		status, has := res.ExitStatus()
		good := res.Reason == wrapper.Exited && has && status == 0
		charge := res.Reason != wrapper.Stopped && !(has && res.Reason == wrapper.Exited && (status == 126 || status == 127))
		r.w.end(r.k, d.ID, good, charge && !good)
		return
	}
	r.w.mu.Lock()
	for id, who := range r.w.holders {
		if who == r.k.String() {
			delete(r.w.holders, id)
		}
	}
	r.w.mu.Unlock()
}

// listen is what a stream listener does. It works on all messages at once.
func (r *fakeRun) listen(ctx context.Context, end chan struct{}) {
	var once sync.Once
	finish := func() { once.Do(func() { close(end) }) }
	var mu sync.Mutex
	cancels := make(map[uint64]chan struct{})
	var wg sync.WaitGroup
	for !r.act.noRoom && !r.act.closes {
		line, err := r.in.readLine(ctx)
		if err != nil {
			break
		}
		var d delivery
		if json.Unmarshal(line, &d) != nil {
			r.w.mu.Lock()
			r.w.fault("%v got a line that is not JSON: %q", r.k, line)
			r.w.mu.Unlock()
			continue
		}
		if d.Cancel != 0 {
			mu.Lock()
			if c := cancels[d.Cancel]; c != nil {
				delete(cancels, d.Cancel)
				close(c)
			}
			mu.Unlock()
			continue
		}
		d.run = r.k
		r.w.begin(d)
		c := make(chan struct{})
		mu.Lock()
		cancels[d.ID] = c
		mu.Unlock()
		wg.Go(func() {
			r.w.mu.Lock()
			replying := r.w.reply
			r.w.mu.Unlock()
			rep := replying(d)
			done := ctx.Done()
			for {
				select {
				case <-time.After(rep.after):
				case <-c:
					if !rep.gives {
						c = nil
						continue
					}
					rep = reply{lines: []string{`{"id":%d,"error":"given up"}`}, charge: true}
				case <-done:
					return
				}
				break
			}
			if rep.crash {
				finish()
				return
			}
			for i, text := range rep.lines {
				if i == 0 && (rep.good || rep.charge) && !r.w.end(r.k, d.ID, rep.good, rep.charge) {
					return // it is killed at this moment
				}
				text = string(bytes.ReplaceAll([]byte(text), []byte("%d"), fmt.Append(nil, d.ID)))
				text = string(bytes.ReplaceAll([]byte(text), []byte("%a"), fmt.Append(nil, d.Attempt)))
				r.out.write([]byte(text + "\n"))
			}
		})
	}
	wg.Wait()
	if !r.act.deaf && !r.act.noRoom && !r.act.closes && ctx.Err() == nil {
		finish()
	}
}

// A pipe keeps what was written until it is consumed.
type pipe struct {
	mu              sync.Mutex
	data            []byte
	size            int
	change          chan struct{} // closed and replaced at each change
	noWrite, noRead bool
}

func newPipe(size int) *pipe { return &pipe{size: size, change: make(chan struct{})} }

func (p *pipe) changed() {
	close(p.change)
	p.change = make(chan struct{})
}

func (p *pipe) closeWrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noWrite = true
	p.changed()
}

func (p *pipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noRead = true
	p.changed()
}

func (p *pipe) write(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.data = append(p.data, b...)
	p.changed()
}

// readLine removes a line.
func (p *pipe) readLine(ctx context.Context) ([]byte, error) {
	for {
		p.mu.Lock()
		line, rest, ok := bytes.Cut(p.data, []byte("\n"))
		if ok {
			line = bytes.Clone(line)
			p.data = bytes.Clone(rest)
			p.changed()
			p.mu.Unlock()
			return line, ctx.Err()
		}
		c, end := p.change, p.noWrite
		p.mu.Unlock()
		if end {
			return nil, io.EOF
		}
		select {
		case <-c:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var errDead = errors.New("the daemon is dead")

// A mortal counts the effects of a daemon that can die between any two of them. After its
// death nothing has an effect.
type mortal struct {
	mu   sync.Mutex
	left int // effects until it dies; negative: it does not die
	dead chan struct{}
	file string // its journal, which it does not write any more when it is dead
	text []byte // of that at its death
}

func newMortal(journal string) *mortal {
	return &mortal{left: -1, dead: make(chan struct{}), file: journal}
}

// lives counts an effect, and reports whether there is one.
func (m *mortal) lives() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		m.left = -2
		m.text, _ = os.ReadFile(m.file) // there may be none
		close(m.dead)
	}
	if m.left > 0 {
		m.left--
	}
	return m.left != -2
}

func (m *mortal) dieAfter(effects int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left != -2 {
		m.left = effects
	}
}

func (m *mortal) isDead() bool {
	select {
	case <-m.dead:
		return true
	default:
		return false
	}
}

// undo undoes what a dead daemon did to its journal.
func (m *mortal) undo() error {
	if m.text == nil {
		_ = os.Remove(m.file)
		return nil
	}
	return os.WriteFile(m.file, m.text, 0o600)
}

// A mortalStore is the store as a mortal daemon sees it.
type mortalStore struct {
	store.Store
	m *mortal
}

func (s mortalStore) Limits() (ops, bytes int) { return store.Limits(s.Store) }

func (s mortalStore) View(ctx context.Context, fn func(store.Tx) error) error {
	if s.m.isDead() {
		return errDead
	}
	return s.Store.View(ctx, fn)
}

func (s mortalStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if !s.m.lives() {
		return errDead
	}
	if err := s.Store.Update(ctx, fn); err != nil {
		return err
	}
	if !s.m.lives() {
		return errDead
	}
	return nil
}

// A fakeRuns is what one daemon sees of the world.
type fakeRuns struct {
	w       *world
	m       *mortal
	exits   chan supervisor.Exit
	begins  chan supervisor.Key
	closing chan struct{}
	wg      sync.WaitGroup

	mu       sync.Mutex
	failures failures
	followed map[supervisor.Key]bool
	streams  map[supervisor.Key]*fakeStream
	removed  []supervisor.Key
}

// The failures are what fails, in tests of that.
type failures struct {
	adopt, remove, stream, await func(supervisor.Key) error
}

// failure returns the error of one of the failures.
func (f *fakeRuns) failure(which func(*failures) func(supervisor.Key) error, k supervisor.Key) error {
	f.mu.Lock()
	fn := which(&f.failures)
	f.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(k)
}

func newFakeRuns(w *world, m *mortal) *fakeRuns {
	return &fakeRuns{
		w: w, m: m, exits: make(chan supervisor.Exit), begins: make(chan supervisor.Key), closing: make(chan struct{}),
		followed: make(map[supervisor.Key]bool), streams: make(map[supervisor.Key]*fakeStream),
	}
}

func (f *fakeRuns) close() {
	close(f.closing)
	f.wg.Wait()
}

func (f *fakeRuns) Start(k supervisor.Key, spec wrapper.Spec) error {
	if !f.m.lives() {
		return errDead
	}
	f.w.mu.Lock()
	doing := f.w.act
	_, dup := f.w.runs[k]
	f.w.mu.Unlock()
	a := doing(k, &spec)
	switch {
	case dup:
		return fmt.Errorf("run %v exists already: %w", k, fault.Conflict)
	case a.noStart != nil:
		return a.noStart
	}
	r := &fakeRun{w: f.w, k: k, spec: spec, act: a, signals: make(chan int, 1), stop: make(chan struct{}), over: make(chan struct{}), started: make(chan struct{})}
	if spec.Stream {
		size := f.w.space
		if size == 0 {
			size = 64 << 10
		}
		r.in, r.out = newPipe(size), newPipe(1<<20)
	}
	f.w.mu.Lock()
	f.w.runs[k] = r
	f.w.mu.Unlock()
	go r.run()
	f.follow(r)
	if !f.m.lives() {
		return errDead
	}
	return nil
}

// follow reports the end of a run.
func (f *fakeRuns) follow(r *fakeRun) {
	f.mu.Lock()
	f.followed[r.k] = true
	if r.spec.Stream {
		f.streams[r.k] = newFakeStream(f.m, r)
	}
	f.mu.Unlock()
	f.wg.Go(func() {
		select {
		case <-r.over:
		case <-f.closing:
			return
		}
		f.mu.Lock()
		delete(f.followed, r.k)
		f.mu.Unlock()
		select {
		case f.exits <- supervisor.Exit{Key: r.k, Result: r.result}:
		case <-f.closing:
		}
	})
}

func (f *fakeRuns) Adopt(k supervisor.Key) (supervisor.Found, error) {
	if err := f.failure(func(f *failures) func(supervisor.Key) error { return f.adopt }, k); err != nil {
		return supervisor.Found{}, err
	}
	f.mu.Lock()
	dup := f.followed[k]
	f.mu.Unlock()
	if dup {
		return supervisor.Found{}, fmt.Errorf("run %v is followed already: %w", k, fault.Conflict)
	}
	f.w.mu.Lock()
	r := f.w.runs[k]
	f.w.mu.Unlock()
	switch {
	case r == nil:
		return supervisor.Found{State: supervisor.Unborn, Result: wrapper.Result{Reason: wrapper.Unborn, Exit: -1}}, nil
	case !r.isOver():
		f.follow(r)
		return supervisor.Found{State: supervisor.Running}, nil
	}
	if r.spec.Stream {
		f.mu.Lock()
		f.streams[k] = newFakeStream(f.m, r)
		f.mu.Unlock()
	}
	states := map[string]supervisor.State{wrapper.Lost: supervisor.Lost, wrapper.Void: supervisor.Void, wrapper.NotStarted: supervisor.NotStarted}
	state, other := states[r.result.Reason]
	if !other {
		state = supervisor.Ended
	}
	return supervisor.Found{State: state, Result: r.result}, nil
}

func (f *fakeRuns) run(k supervisor.Key) *fakeRun {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return f.w.runs[k]
}

func (f *fakeRuns) Stop(k supervisor.Key) error {
	if !f.m.lives() {
		return errDead
	}
	f.mu.Lock()
	follows := f.followed[k]
	f.mu.Unlock()
	if r := f.run(k); r != nil && follows {
		r.term()
	}
	return nil
}

func (f *fakeRuns) Exits() <-chan supervisor.Exit { return f.exits }

func (f *fakeRuns) Started(k supervisor.Key) (pid int, at time.Time, ok bool) {
	return os.Getpid(), time.Time{}, f.run(k) != nil
}

func (f *fakeRuns) Open(k supervisor.Key, name string) (*os.File, error) {
	r := f.run(k)
	if r == nil {
		return nil, os.ErrNotExist
	}
	text, ok := r.act.files[name]
	if name == wrapper.LogFile {
		text, ok = r.act.output, true
	}
	if !ok {
		return nil, os.ErrNotExist
	}
	path := filepath.Join(f.w.dir, "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (f *fakeRuns) RunDir(k supervisor.Key) string { return "/" + k.String() }

func (f *fakeRuns) Remove(_ context.Context, k supervisor.Key) error {
	if !f.m.lives() {
		return errDead
	}
	if err := f.failure(func(f *failures) func(supervisor.Key) error { return f.remove }, k); err != nil {
		return err
	}
	f.mu.Lock()
	if st := f.streams[k]; st != nil {
		st.close()
	}
	delete(f.streams, k)
	follows := f.followed[k]
	f.removed = append(f.removed, k)
	f.mu.Unlock()
	if follows {
		return fmt.Errorf("run %v has not ended: %w", k, fault.Conflict)
	}
	f.w.mu.Lock()
	delete(f.w.runs, k)
	f.w.mu.Unlock()
	return nil
}

func (f *fakeRuns) List() ([]supervisor.Key, error) { return f.w.dirs(), nil }

func (f *fakeRuns) Stream(k supervisor.Key) (Stream, error) {
	if err := f.failure(func(f *failures) func(supervisor.Key) error { return f.stream }, k); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if st := f.streams[k]; st != nil {
		return st, nil
	}
	return nil, fmt.Errorf("run %v has no stream: %w", k, fault.NotFound)
}

func (f *fakeRuns) AwaitStart(k supervisor.Key) error {
	if err := f.failure(func(f *failures) func(supervisor.Key) error { return f.await }, k); err != nil {
		return err
	}
	if r := f.run(k); r != nil {
		f.wg.Go(func() {
			select {
			case <-r.started:
			case <-r.over:
				return
			case <-f.closing:
				return
			}
			select {
			case f.begins <- k:
			case <-f.closing:
			}
		})
	}
	return nil
}

func (f *fakeRuns) Begins() <-chan supervisor.Key { return f.begins }

func (f *fakeRuns) Workdir(id string, _, _ int) (string, error) {
	dir := filepath.Join(f.w.dir, id)
	return dir, os.MkdirAll(dir, 0o700)
}

func (f *fakeRuns) RemoveWorkdir(_ context.Context, id string) error {
	return os.RemoveAll(filepath.Join(f.w.dir, id))
}

// A fakeStream is a daemon's side of the pipes of a run.
type fakeStream struct {
	m      *mortal
	r      *fakeRun
	peeked int
	closed chan struct{}
	once   sync.Once
}

func newFakeStream(m *mortal, r *fakeRun) *fakeStream {
	return &fakeStream{m: m, r: r, closed: make(chan struct{})}
}

func (s *fakeStream) close() { s.once.Do(func() { close(s.closed) }) }

func (s *fakeStream) Send(line []byte) (bool, error) {
	if !s.m.lives() {
		return false, errDead
	}
	p := s.r.in
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(line) > supervisor.MaxSend || bytes.IndexByte(line, '\n') != len(line)-1:
		return false, fmt.Errorf("the line %q: %w", line, fault.Invalid)
	case p.noWrite:
		return false, fmt.Errorf("the input is closed: %w", fault.Conflict)
	case p.noRead:
		return false, syscall.EPIPE
	case len(p.data)+len(line) > p.size:
		return false, nil
	}
	p.data = append(p.data, line...)
	p.changed()
	if !s.m.lives() {
		return false, errDead
	}
	return true, nil
}

func (s *fakeStream) Sendable(ctx context.Context) error {
	p := s.r.in
	for {
		p.mu.Lock()
		ok, c := p.noWrite || p.noRead || len(p.data)+supervisor.MaxSend <= p.size || len(p.data) == 0, p.change
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *fakeStream) CloseInput() error {
	if !s.m.lives() {
		return errDead
	}
	s.r.in.closeWrite()
	return nil
}

func (s *fakeStream) InputClosed() bool {
	p := s.r.in
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.noWrite || s.r.isOver()
}

func (s *fakeStream) Peek(ctx context.Context, buf []byte) (int, error) {
	p := s.r.out
	for {
		p.mu.Lock()
		n := copy(buf, p.data[s.peeked:])
		c, end := p.change, p.noWrite
		s.peeked += n
		p.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case end:
			return 0, io.EOF
		}
		select {
		case <-c:
		case <-s.closed:
			return 0, os.ErrClosed
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (s *fakeStream) Consume(n int) error {
	if !s.m.lives() {
		return errDead
	}
	p := s.r.out
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > s.peeked {
		return fmt.Errorf("%d bytes of %d that were peeked: %w", n, s.peeked, fault.Invalid)
	}
	p.data, s.peeked = bytes.Clone(p.data[n:]), s.peeked-n
	return nil
}

// A fakeAlarm wakes at a time of a clock that a test can set.
type fakeAlarm struct {
	now   func() time.Time
	c     chan schedule.Wake
	mu    sync.Mutex
	timer *time.Timer
	at    time.Time
	sets  int
	late  time.Duration // after its time it wakes; setting it meanwhile takes the wake back
}

func newFakeAlarm(now func() time.Time) *fakeAlarm {
	return &fakeAlarm{now: now, c: make(chan schedule.Wake, 1)}
}

func (a *fakeAlarm) C() <-chan schedule.Wake { return a.c }

func (a *fakeAlarm) wake(stepped bool) {
	select {
	case a.c <- schedule.Wake{Stepped: stepped}:
	default:
	}
}

func (a *fakeAlarm) Set(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = at
	a.sets++
	a.arm()
}

func (a *fakeAlarm) arm() {
	if a.timer != nil {
		a.timer.Stop()
	}
	if !a.at.IsZero() { // of the wall clock
		a.timer = time.AfterFunc(max(0, a.at.Round(0).Sub(a.now().Round(0)))+a.late, func() { a.wake(false) })
	}
}

// stepped tells that the clock was set.
func (a *fakeAlarm) stepped() {
	a.mu.Lock()
	a.arm()
	a.mu.Unlock()
	a.wake(true)
}

func (a *fakeAlarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
}

// forgive notes that the attempts of a message begin again at the first.
func (w *world) forgive(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.account(id).charged = 0
}
