package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"activationd/control"
	"activationd/internal/connection"
	"activationd/internal/direct"
	"activationd/internal/fault"
	"activationd/schedule/timespec"
)

// submit is at and batch.
func (p *atProgram) submit(o *atOptions) error {
	c, err := p.app.client()
	if err != nil {
		return p.failure(err)
	}
	// The daemon identifies the user while the request is prepared. If it cannot be
	// reached, that is reported when the request is ready.
	conn, connErr := connection.OpenUnix(context.Background(), c.Address)
	due, err := dueTime(o, direct.Now())
	if err != nil {
		return err
	}
	in := control.AtIn{When: int(due.Unix()), Queue: o.queue, Mail: o.mail, Mailto: o.mailTo}
	when := due.In(time.Local).Format(direct.TimeLayout)
	said := &bytes.Buffer{} // messages that at prints before it knows whether it succeeds
	if o.verify {
		said.WriteString(when + "\n\n")
	}
	switch {
	case o.task == submitBatch && o.queue == "":
		in.Queue = "b"
	case o.task == submitBatch:
		in.Queue = strings.ToUpper(o.queue)
	default:
		said.WriteString(direct.Warning)
	}
	var script bytes.Buffer
	dir, err := os.Getwd()
	if err != nil {
		_, _ = said.WriteTo(p.err) // at would have printed it already
		return atError("Cannot get current working directory: " + reason(err))
	}
	script.Write(direct.AppendHead(nil, os.Environ(), dir))
	if err := p.readScript(&script, o.file, said, when); err != nil {
		_, _ = said.WriteTo(p.err)
		return err
	}
	script.WriteByte('\n')
	var summary string
	switch {
	case o.forUser && o.mailTo == "": // the daemon would send the mail to the caller
		err = fault.NotFound
	case connErr == nil:
		r := direct.AtRequest{When: due.Unix(), Queue: in.Queue, Mail: in.Mail, Mailto: in.Mailto, Script: script.Bytes()}
		summary, err = askAt(&direct.Exchange{Conn: conn, Request: r.Append(nil)})
	default:
		in.Script, in.Base64 = direct.Pieces(script.Bytes()), true // it need not be text
		summary, _, err = control.Call[control.AddOut](context.Background(), c, "at", in)
	}
	if err != nil {
		if errors.Is(err, fault.NotFound) && o.forUser {
			_, _ = said.WriteTo(p.err)
			return atError("at: Cannot find username " + o.mailTo)
		}
		return p.failure(err)
	}
	return p.submitted(said.String(), summary, when)
}

// resume reads the rest of a reply to a job that was submitted directly.
func (p *atProgram) resume(x *direct.Exchange) error {
	summary, err := askAt(x)
	if err != nil {
		return p.failure(err)
	}
	return p.submitted(direct.Warning, summary, string(x.When))
}

func (p *atProgram) submitted(said, summary, when string) error {
	_, err := p.err.WriteString(said + "job " + strings.TrimPrefix(summary, "id=") + " at " + when + "\n")
	return err
}

// dueTime returns when the job is to run: the time of -t or of the words, or, for batch, now.
func dueTime(o *atOptions, now time.Time) (time.Time, error) {
	switch {
	case len(o.rest) > 0 && !o.time.IsZero():
		return now, atError("Cannot give time twice.")
	case len(o.rest) > 0:
		t, err := timespec.Parse(o.rest, now, time.Local)
		if errors.Is(err, timespec.ErrPast) {
			return t, atError("at: " + timespec.ErrPast.Error())
		}
		if err != nil {
			return t, atError("at: " + err.Error() + "\nGarbled time")
		}
		return t, nil
	case !o.time.IsZero():
		return o.time, nil
	case o.task == submitBatch:
		return now, nil
	}
	return now, atError("Garbled time")
}

// posixTime reads the argument of -t.
func posixTime(text string) (time.Time, error) {
	t, err := timespec.ParsePOSIX(text, direct.Now(), time.Local)
	if err != nil {
		return t, atError("invalid date format: " + text)
	}
	return t, nil
}

// readScript appends the commands of the job. It prompts a person at a terminal for them.
func (p *atProgram) readScript(script *bytes.Buffer, file string, said *bytes.Buffer, when string) error {
	in := 0
	switch {
	case file != "":
		fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) // os.Open would start a poller
		if err != nil {
			return atError(fmt.Sprintf("Cannot open input file %.500s: %s", file, reason(err)))
		}
		in = fd
	case isTerminal(os.Stdin):
		return p.prompt(script, said, when)
	default:
		script.Write(direct.Input())
	}
	for {
		script.Grow(4096)
		b := script.AvailableBuffer()
		n, err := direct.Read(in, b[:cap(b)])
		if err != nil {
			return atError("at: Input error")
		}
		if n == 0 {
			return nil
		}
		script.Write(b[:n])
	}
}

// reason returns the error of a system call in the words of strerror(3).
func reason(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		text := e.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return err.Error()
}

// prompt reads lines from a terminal. It checks first that the daemon can be reached and
// that the user may use at, so that nobody types in vain.
func (p *atProgram) prompt(script, said *bytes.Buffer, when string) error {
	noJob := control.AtqIn{ID: []string{"0"}}
	if err := stream(context.Background(), &p.app, "atq", noJob, func(control.AtLines) error { return nil }); err != nil {
		said.Reset()
		return p.failure(err)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	go func() {
		<-interrupted
		os.Exit(1)
	}()
	fmt.Fprintf(said, "at %s\n", when)
	if _, err := said.WriteTo(p.err); err != nil {
		return err
	}
	fmt.Fprint(p.err, "at> ")
	buf := make([]byte, 4096) // a read from a terminal returns one line
	for {
		n, err := os.Stdin.Read(buf)
		script.Write(buf[:n])
		fmt.Fprint(p.err, strings.Repeat("at> ", bytes.Count(buf[:n], []byte("\n"))))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return atError("at: Input error")
		}
	}
	fmt.Fprintln(p.err, "<EOT>")
	return nil
}

// askAt submits a job, as control.Client would, but without reflection and JSON, whose time a
// shell loop notices. A part of that may be done. It returns the summary.
func askAt(x *direct.Exchange) (summary string, err error) {
	for x.Sent < len(x.Request) {
		n, err := syscall.Write(x.Conn, x.Request[x.Sent:])
		if err != nil && err != syscall.EINTR && n <= 0 {
			break // the daemon may have replied with the reason
		}
		x.Sent += max(n, 0)
	}
	for bytes.IndexByte(x.Reply, '\n') < 0 {
		x.Reply = slices.Grow(x.Reply, 512)
		n, err := direct.Read(x.Conn, x.Reply[len(x.Reply):cap(x.Reply)])
		if n == 0 || err != nil {
			return "", fmt.Errorf("the connection to activationd broke before it replied; atq shows whether the job exists: %w", fault.Unavailable)
		}
		x.Reply = x.Reply[:len(x.Reply)+n]
	}
	line, _, _ := strings.Cut(string(x.Reply), "\n")
	code, text, _ := strings.Cut(line, " ")
	if code != "200" {
		n, err := strconv.Atoi(code)
		if err != nil {
			n = 500
		}
		return "", &control.ReplyError{Code: n, Description: text}
	}
	return strings.TrimPrefix(text, "OK "), nil
}
