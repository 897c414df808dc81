package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

type listenOptions struct {
	control.QueueListenIn
	command      []string
	stream, pipe bool
	grace        time.Duration
}

func newQueueListenCommand(a *app) *cobra.Command {
	var opts listenOptions
	cmd := &cobra.Command{
		Use:   "listen NAME... [-- COMMAND...]",
		Short: "Handle messages of queues here, until you interrupt it",
		Long: `Listen starts a listener in your terminal. It shares the queues with other listeners: each
message goes to exactly one of them. If several queues are given, messages of the first one
go first, then those of the next one, and so on.

For each message, listen runs COMMAND as the daemon does: with the body on standard input,
and with QUEUE, MESSAGE_ID, MESSAGE_ATTEMPT, MESSAGE_FENCE and HEADER_* in the environment.
The exit status decides what becomes of the message: with 0 it is done, with 65 it becomes a
dead letter, and with any other status it is tried again. Without COMMAND, listen runs the
command that the configuration has for the first of the queues, as you and in this
directory.

With --stream, COMMAND is started once. It gets each message as a line of JSON, and answers
with a line of JSON. With --pipe, listen runs no command: it prints these lines, and reads
the answers from its standard input.

When you interrupt listen, it ends its processes. The messages that they have not finished
return to their queues, and their attempts count. If the daemon is restarted, listen goes
on.`,
		Example: `  atctl queue listen mails -- ./work --verbose
  atctl queue listen mails news --window 4`,
		Args: takes(1, 0, "a NAME; see atctl queue list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Name = args
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				opts.Name, opts.command = args[:n], args[n:]
			}
			switch {
			case len(opts.Name) == 0:
				return usage(cmd, "want the NAME of a queue before --")
			case opts.pipe && (opts.stream || len(opts.command) > 0):
				return usage(cmd, "--pipe runs no COMMAND")
			case opts.stream && len(opts.command) == 0:
				return usage(cmd, "--stream needs a COMMAND after --")
			case opts.Window < 1:
				return usage(cmd, "--window must be 1 or more")
			}
			return runListen(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.IntVar(&opts.Window, "window", 1, "handle `N` messages at the same time")
	f.BoolVar(&opts.stream, "stream", false, "start COMMAND once for all messages")
	f.BoolVar(&opts.pipe, "pipe", false, "print messages and read answers, as lines of JSON")
	durationVar(f, &opts.grace, "grace", 10*time.Second, "`TIME` from TERM to KILL when listen is interrupted")
	return cmd
}

// A handWork handles the messages of a listener that was started by hand.
type handWork struct {
	a     *app
	opts  *listenOptions
	tries sync.WaitGroup

	mu      sync.Mutex
	session string
	closed  bool                          // no more messages are begun
	has     map[uint64]int                // the attempts of the messages that it works on
	stops   map[uint64]context.CancelFunc // ends the process of a message
	giveUp  context.CancelCauseFunc
	lines   *lineWork // with --stream and --pipe; nil otherwise
}

func runListen(ctx context.Context, a *app, opts listenOptions) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The connection is closed last: as long as it is there, nobody else gets the messages.
	connection, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	work, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	w := &handWork{a: a, opts: &opts, has: make(map[uint64]int), stops: make(map[uint64]context.CancelFunc), giveUp: giveUp}
	context.AfterFunc(work, func() {
		w.closeDoor()
		w.tries.Wait()
		hangUp()
	})
	err := outlast(a, func() error {
		err := stream(connection, a, "queue listen", opts.QueueListenIn, func(d control.QueueDelivery) error {
			if d.Session != "" {
				return w.begin(work, d, giveUp)
			}
			if d.Recall != 0 {
				return w.recall(d.Recall)
			}
			return w.take(work, d)
		})
		if connection.Err() != nil { // we have hung up
			err = nil
		}
		return err
	})
	switch {
	case work.Err() == nil && err == nil: // the queues are gone
		if w.lines != nil {
			w.lines.end()
		}
		w.tries.Wait()
	case work.Err() != nil:
		<-connection.Done()
	}
	giveUp(nil)
	if cause := context.Cause(work); ctx.Err() == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// closeDoor returns when take begins nothing any more.
func (w *handWork) closeDoor() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// begin takes the first line of a connection.
func (w *handWork) begin(ctx context.Context, d control.QueueDelivery, giveUp context.CancelCauseFunc) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	again := w.session != ""
	w.session, w.opts.Session = d.Session, d.Session
	if again {
		return nil
	}
	if len(w.opts.command) == 0 && !w.opts.pipe {
		if w.opts.command, w.opts.stream = d.Command, d.Per == "stream"; len(d.Command) == 0 {
			return fmt.Errorf("the configuration has no listener for %s; give a command: atctl queue listen %s -- COMMAND: %w", w.opts.Name[0], w.opts.Name[0], fault.Invalid)
		}
	}
	var err error
	switch {
	case w.opts.pipe:
		w.lines = newLineWork(w, os.Stdout, os.Stdin)
	case w.opts.stream:
		w.lines, err = startLineWork(ctx, w)
	}
	if err != nil {
		return err
	}
	if w.lines != nil {
		w.tries.Go(func() { giveUp(w.lines.read(ctx)) })
	}
	if !w.a.json && isTerminal(os.Stderr) {
		fmt.Fprintln(os.Stderr, "listening; interrupt to end")
	}
	return nil
}

// take begins to work on a message, unless that is being worked on already.
func (w *handWork) take(ctx context.Context, d control.QueueDelivery) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.has[d.ID] == d.Attempt || w.closed {
		return nil
	}
	w.has[d.ID] = d.Attempt
	body := []byte(d.Body)
	if d.Base64 != "" {
		var err error
		if body, err = base64.StdEncoding.DecodeString(d.Base64); err != nil {
			return fmt.Errorf("the body of message %d: %w: %w", d.ID, err, fault.Internal)
		}
	}
	if w.lines != nil {
		return w.lines.write(&d, body)
	}
	try, stop := context.WithCancel(ctx)
	w.stops[d.ID] = stop
	w.tries.Go(func() {
		defer stop()
		w.run(ctx, try, d, body)
	})
	return nil
}

// recall ends the work on a message that has reached its timeout or is cancelled. If a process
// that has other messages, too, does not give it up, everything ends.
func (w *handWork) recall(id uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	attempt, ok := w.has[id]
	if !ok { // it has just been answered
		return nil
	}
	if w.lines == nil {
		w.stops[id]()
		return nil
	}
	if w.lines.cmd != nil {
		time.AfterFunc(w.opts.grace, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.has[id] == attempt {
				w.giveUp(fmt.Errorf("%s has not given up message %d in time: %w", w.opts.command[0], id, fault.Unavailable))
			}
		})
	}
	return w.lines.send(fmt.Appendf(nil, `{"cancel":%d}`, id))
}

// How much of the output is sent.
const (
	resultHead = 64 << 10
	outputTail = 16 << 10
)

// run runs the command for a message until try is done, and answers with its end.
func (w *handWork) run(ctx, try context.Context, d control.QueueDelivery, body []byte) {
	out := &ends{}
	cmd := exec.Command(w.opts.command[0], w.opts.command[1:]...) //nolint:noctx // killGroup ends it
	cmd.Stdin, cmd.Env = bytes.NewReader(body), append(os.Environ(), d.Env...)
	to := io.Writer(os.Stdout)
	if w.a.json {
		to = os.Stderr // standard output has the answers
	}
	cmd.Stdout = io.MultiWriter(out, to)
	cmd.Stderr = io.MultiWriter(out, os.Stderr)
	in := control.QueueAnswerIn{ID: d.ID, Attempt: d.Attempt}
	switch err := w.runGroup(try, cmd); {
	case ctx.Err() != nil: // the daemon gives the message to somebody else when we hang up
		return
	case try.Err() != nil: // whatever its status says, it was ended
		in.Signal = strconv.Itoa(int(syscall.SIGTERM))
		fmt.Fprintf(os.Stderr, "atctl: message %d has reached its timeout or is cancelled; its process was ended\n", d.ID)
	case cmd.ProcessState == nil:
		in.Exit, in.Output = strconv.Itoa(exitNoExec), []string{err.Error()}
		fmt.Fprintln(os.Stderr, "atctl: "+err.Error())
	default:
		in.Exit = strconv.Itoa(cmd.ProcessState.ExitCode())
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			in.Exit, in.Signal = "", strconv.Itoa(int(status.Signal()))
		}
	}
	if in.Exit == "0" {
		in.Result = []string{string(out.head)}
	} else if in.Output == nil {
		in.Output = []string{string(out.tail)}
	}
	w.answer(in)
}

// runGroup runs a command in a process group of its own, which is killed when ctx is done, and
// when this process dies.
func (w *handWork) runGroup(ctx context.Context, cmd *exec.Cmd) error {
	runtime.LockOSThread() // the kernel kills the command when the thread ends that has started it
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // it may have ended
		select {
		case <-done:
		case <-time.After(w.opts.grace):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	defer stop()
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it has left
	close(done)
	return err
}

// ends keeps the beginning and the end of an output.
type ends struct {
	mu         sync.Mutex
	head, tail []byte
}

func (e *ends) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.head = append(e.head, p[:min(len(p), resultHead-len(e.head))]...)
	e.tail = append(e.tail, p...)
	if over := len(e.tail) - outputTail; over > 0 {
		e.tail = append(e.tail[:0], e.tail[over:]...)
	}
	return len(p), nil
}

// answer sends an answer, and prints what became of it.
func (w *handWork) answer(in control.QueueAnswerIn) {
	w.mu.Lock()
	in.Session = w.session
	w.mu.Unlock()
	var out control.QueueAnswered
	err := outlast(w.a, func() (err error) {
		out, err = call[control.QueueAnswered](context.Background(), w.a, "queue answer", in)
		return err
	})
	w.mu.Lock()
	delete(w.has, in.ID)
	delete(w.stops, in.ID)
	w.mu.Unlock()
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "atctl: message %d: %s\n", in.ID, message(err))
	case !out.Accepted:
		fmt.Fprintf(os.Stderr, "atctl: message %d was not ours any more; the answer changes nothing\n", in.ID)
	case w.a.json:
		data, err := json.Marshal(struct {
			control.QueueAnswered
			Attempt int    `json:"attempt"`
			Exit    string `json:"exit,omitempty"`
			Signal  string `json:"signal,omitempty"`
		}{out, in.Attempt, in.Exit, in.Signal})
		if err == nil {
			fmt.Println(string(data))
		}
	}
}

// A lineWork gives messages to a process, or to a terminal or pipe, as lines of JSON.
type lineWork struct {
	w       *handWork
	to      io.Writer
	from    io.Reader
	cmd     *exec.Cmd // nil: none
	ended   chan error
	dir     string // of bodies; empty: none yet
	closeTo func() error
}

func newLineWork(w *handWork, to io.Writer, from io.Reader) *lineWork {
	return &lineWork{w: w, to: to, from: from, closeTo: func() error { return nil }}
}

// startLineWork starts the command.
func startLineWork(ctx context.Context, w *handWork) (*lineWork, error) {
	cmd := exec.Command(w.opts.command[0], w.opts.command[1:]...) //nolint:noctx // killGroup ends it
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), "QUEUE="+w.opts.Name[0])
	to, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	from, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = write
	l := newLineWork(w, to, from)
	l.cmd, l.closeTo, l.ended = cmd, to.Close, make(chan error, 1)
	w.tries.Go(func() {
		err := w.runGroup(ctx, cmd)
		_ = write.Close()
		if err != nil {
			err = fmt.Errorf("%s: %w: %w", w.opts.command[0], err, fault.Unavailable)
		}
		l.ended <- err
	})
	return l, nil
}

// end ends the input.
func (l *lineWork) end() {
	_ = l.closeTo() // it may have ended
	if l.cmd == nil {
		_ = os.Stdin.Close()
	}
}

// write writes the line of a message.
func (l *lineWork) write(d *control.QueueDelivery, body []byte) error {
	line := struct {
		ID       uint64            `json:"id"`
		Attempt  int               `json:"attempt"`
		Queue    string            `json:"queue"`
		Headers  map[string]string `json:"headers,omitempty"`
		Body     *string           `json:"body,omitempty"`
		BodyFile string            `json:"body_file,omitempty"`
	}{ID: d.ID, Attempt: d.Attempt, Queue: d.Queue, Headers: d.Headers}
	if d.Base64 == "" {
		line.Body = &d.Body
	} else {
		if l.dir == "" {
			var err error
			if l.dir, err = os.MkdirTemp("", "atctl-listen-"); err != nil {
				return err
			}
		}
		line.BodyFile = filepath.Join(l.dir, strconv.FormatUint(d.ID, 10))
		if err := os.WriteFile(line.BodyFile, body, 0o600); err != nil {
			return err
		}
	}
	data, err := json.Marshal(&line)
	if err != nil {
		return err
	}
	return l.send(data)
}

// send writes a line.
func (l *lineWork) send(line []byte) error {
	_, err := l.to.Write(append(line, '\n'))
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) { // its end says why
		return nil
	}
	return err
}

// read takes answers until there are no more, and returns why.
func (l *lineWork) read(ctx context.Context) error {
	defer func() {
		if l.dir != "" {
			_ = os.RemoveAll(l.dir)
		}
	}()
	s := bufio.NewScanner(l.from)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if line := bytes.TrimSpace(s.Bytes()); len(line) > 0 {
			if err := l.answer(line); err != nil {
				return err
			}
		}
	}
	if l.ended != nil {
		select {
		case err := <-l.ended:
			return err
		case <-ctx.Done():
		}
	}
	return s.Err()
}

// answer passes an answer on.
func (l *lineWork) answer(line []byte) error {
	var in struct {
		ID     json.RawMessage `json:"id"`
		OK     bool            `json:"ok"`
		Result json.RawMessage `json:"result"`
		Error  string          `json:"error"`
		Again  json.RawMessage `json:"again"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return fmt.Errorf("the answer %.80q: %w: %w", line, err, fault.Invalid)
	}
	id, err := strconv.ParseUint(strings.Trim(string(in.ID), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("the answer %.80q: want the id of a message: %w", line, fault.Invalid)
	}
	l.w.mu.Lock()
	attempt, ok := l.w.has[id]
	l.w.mu.Unlock()
	again := unquoted(in.Again)
	switch {
	case !ok:
		fmt.Fprintf(os.Stderr, "atctl: an answer about message %d, which this listener does not have, is ignored\n", id)
		return nil
	case !in.OK && in.Error == "" && again == "": // progress or extend: queue answer takes neither
		return nil
	}
	out := control.QueueAnswerIn{ID: id, Attempt: attempt, Done: in.OK, Error: in.Error, Again: again}
	switch {
	case in.OK:
		out.Again, out.Result = "", []string{unquoted(in.Result)}
	case out.Error == "":
		out.Error = "the listener wants another attempt"
	}
	if again == "true" {
		out.Again = ""
	}
	if l.dir != "" {
		_ = os.Remove(filepath.Join(l.dir, strconv.FormatUint(id, 10))) // most messages have none
	}
	l.w.answer(out)
	return nil
}

// unquoted is the text of a JSON string; other JSON stays as it is.
func unquoted(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
