package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/schedule/timespec"
)

// submit is at and batch.
func (p *atProgram) submit(o *atOptions) error {
	now := time.Now()
	due, err := dueTime(o, now)
	if err != nil {
		return err
	}
	in := control.AtIn{When: int(due.Unix()), Queue: o.queue, Mail: o.mail, Mailto: o.mailTo}
	const form = "%a %b %e %T %Y"
	when := string(timeFormat(form).append(nil, due))
	said := &bytes.Buffer{} // what at says before it knows that all is well
	if o.verify {
		fmt.Fprintf(said, "%s\n\n", when)
	}
	switch {
	case o.task == submitBatch && o.queue == "":
		in.Queue = "b"
	case o.task == submitBatch:
		in.Queue = strings.ToUpper(o.queue)
	default:
		said.WriteString("warning: commands will be executed using /bin/sh\n")
	}
	var script bytes.Buffer
	if err := writeHead(&script, os.Environ()); err != nil {
		return err
	}
	if err := p.readScript(&script, o.file, said, when); err != nil {
		_, _ = said.WriteTo(p.err) // at has said it already
		return err
	}
	script.WriteByte('\n')
	setScript(&in, script.Bytes())
	c, err := p.app.client()
	if err != nil {
		return p.failure(err)
	}
	summary, _, err := control.Call[control.AddOut](context.Background(), c, "at", in)
	if err != nil {
		if errors.Is(err, fault.NotFound) && o.mailTo != "" {
			_, _ = said.WriteTo(p.err)
			return atError("at: Cannot find username " + o.mailTo)
		}
		return p.failure(err)
	}
	fmt.Fprintf(said, "job %s at %s\n", strings.TrimPrefix(summary, "id="), when)
	_, err = said.WriteTo(p.err)
	return err
}

// dueTime is when the job is to run: by -t, by the words, or, of batch, now.
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

// posixTime reads -t's argument. The seconds do not count.
func posixTime(text string) (time.Time, error) {
	t, err := timespec.ParsePOSIX(text, time.Now(), time.Local)
	if err != nil {
		return t, atError("invalid date format: " + text)
	}
	return t.Add(-time.Duration(t.Second()) * time.Second), nil
}

// readScript adds what is to be run. A person at a terminal is prompted for it.
func (p *atProgram) readScript(script *bytes.Buffer, file string, said *bytes.Buffer, when string) error {
	in := os.Stdin
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return atError(fmt.Sprintf("Cannot open input file %.500s: %s", file, reason(err)))
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	if in == os.Stdin && isTerminal(in) {
		return p.prompt(script, said, when)
	}
	if _, err := script.ReadFrom(in); err != nil {
		return atError("Input error: " + reason(err))
	}
	return nil
}

// reason is why a system call failed, as C's strerror has it.
func reason(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		text := e.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return err.Error()
}

// prompt reads lines from a terminal.
func (p *atProgram) prompt(script, said *bytes.Buffer, when string) error {
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
	buf := make([]byte, 4096) // a terminal gives a line at a time
	for {
		n, err := os.Stdin.Read(buf)
		script.Write(buf[:n])
		fmt.Fprint(p.err, strings.Repeat("at> ", bytes.Count(buf[:n], []byte("\n"))))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return atError("Input error: " + reason(err))
		}
	}
	fmt.Fprintln(p.err, "<EOT>")
	return nil
}

// setScript puts a script into a request, in pieces that fit into lines.
func setScript(in *control.AtIn, script []byte) {
	const piece = 256 << 10
	in.Base64 = !utf8.Valid(script) || bytes.IndexByte(script, 0) >= 0
	for len(script) > 0 {
		n := min(len(script), piece)
		for !in.Base64 && n < len(script) && !utf8.RuneStart(script[n]) {
			n--
		}
		if in.Base64 {
			in.Script = append(in.Script, base64.StdEncoding.EncodeToString(script[:n]))
		} else {
			in.Script = append(in.Script, string(script[:n]))
		}
		script = script[n:]
	}
}

// writeHead writes what a job of at's begins with, but for the first three
// lines, which are the daemon's to write: the umask, the environment and the
// directory.
func writeHead(w *bytes.Buffer, environ []string) error {
	dir, err := os.Getwd()
	if err != nil {
		return atError("Cannot get current working directory: " + reason(err))
	}
	mask := syscall.Umask(0o077) // it can be read only by setting it
	syscall.Umask(mask)
	fmt.Fprintf(w, "umask %o\n", mask)
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || !exported(name) {
			continue
		}
		w.WriteString(name)
		w.WriteByte('=')
		quote(w, value, "%/{[]=}@+#,.:-_")
		w.WriteString("; export ")
		w.WriteString(name)
		w.WriteByte('\n')
	}
	w.WriteString("cd ")
	quote(w, dir, "/")
	w.WriteString(" || {\n\t echo 'Execution directory inaccessible' >&2\n\t exit 1\n}\n")
	return nil
}

// exported tells whether a job gets a variable: one that shells can set, and
// that does not belong to this terminal or this shell.
func exported(name string) bool {
	switch name {
	case "", "TERM", "DISPLAY", "_", "SHELLOPTS", "BASH_VERSINFO", "EUID", "GROUPS", "PPID", "UID":
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isLetter(c) && c != '_' && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return true
}

// quote writes a word for the shell, as at does: everything but letters, digits,
// what is in plain and what is not ASCII has a backslash before it.
func quote(w *bytes.Buffer, s, plain string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			w.WriteString("\"\n\"")
			continue
		case isLetter(c), c >= '0' && c <= '9', c >= utf8.RuneSelf, strings.IndexByte(plain, c) >= 0:
		default:
			w.WriteByte('\\')
		}
		w.WriteByte(s[i])
	}
}
