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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"

	"activationd/control"
	"activationd/internal/connection"
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
	due, err := dueTime(o, time.Now())
	if err != nil {
		return err
	}
	in := control.AtIn{When: int(due.Unix()), Queue: o.queue, Mail: o.mail, Mailto: o.mailTo}
	when := due.In(time.Local).Format("Mon Jan _2 15:04:05 2006")
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
		said.WriteString("warning: commands will be executed using /bin/sh\n")
	}
	var script bytes.Buffer
	if err := writeHead(&script, os.Environ()); err != nil {
		_, _ = said.WriteTo(p.err) // at would have printed it already
		return err
	}
	if err := p.readScript(&script, o.file, said, when); err != nil {
		_, _ = said.WriteTo(p.err)
		return err
	}
	script.WriteByte('\n')
	setScript(&in, script.Bytes())
	var summary string
	switch {
	case o.forUser && o.mailTo == "": // the daemon would send the mail to the caller
		err = fault.NotFound
	case connErr == nil:
		summary, err = askAt(conn, &in)
	default:
		summary, _, err = control.Call[control.AddOut](context.Background(), c, "at", in)
	}
	if err != nil {
		if errors.Is(err, fault.NotFound) && o.forUser {
			_, _ = said.WriteTo(p.err)
			return atError("at: Cannot find username " + o.mailTo)
		}
		return p.failure(err)
	}
	said.WriteString("job " + strings.TrimPrefix(summary, "id=") + " at " + when + "\n")
	_, err = said.WriteTo(p.err)
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
	t, err := timespec.ParsePOSIX(text, time.Now(), time.Local)
	if err != nil {
		return t, atError("invalid date format: " + text)
	}
	return t, nil
}

// readScript appends the commands of the job. It prompts a person at a terminal for them.
func (p *atProgram) readScript(script *bytes.Buffer, file string, said *bytes.Buffer, when string) error {
	in := 0
	if file != "" {
		fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) // os.Open would start a poller
		if err != nil {
			return atError(fmt.Sprintf("Cannot open input file %.500s: %s", file, reason(err)))
		}
		in = fd
	} else if isTerminal(os.Stdin) {
		return p.prompt(script, said, when)
	}
	for {
		script.Grow(4096)
		b := script.AvailableBuffer()
		n, err := rawRead(in, b[:cap(b)])
		if err != nil {
			return atError("at: Input error")
		}
		if n == 0 {
			return nil
		}
		script.Write(b[:n])
	}
}

// rawRead reads without telling Go's scheduler, which would wake up threads for other work
// although there is none. A read that blocks would cost a dozen context switches.
func rawRead(fd int, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
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

// setScript adds a script to a request, in pieces that fit into lines.
func setScript(in *control.AtIn, script []byte) {
	const most = 3 << 16 // a multiple of 3, so that only the last piece is padded
	in.Base64 = true     // it need not be text
	for piece := range slices.Chunk(script, most) {
		in.Script = append(in.Script, base64.StdEncoding.EncodeToString(piece))
	}
}

// askAt submits a job on a connection of its own, as control.Client would, but without
// reflection and JSON, whose time a shell loop notices. It returns the summary.
func askAt(conn int, in *control.AtIn) (summary string, err error) {
	b := append(strconv.AppendInt([]byte("at\nwhen:"), int64(in.When), 10), '\n')
	for _, arg := range [...]struct{ name, value string }{
		{"queue:", in.Queue}, {"mail:", in.Mail}, {"mailto:", strconv.Quote(in.Mailto)}, {"base64:", "yes"},
	} {
		if arg.value != "" && arg.value != `""` {
			b = append(append(append(b, arg.name...), arg.value...), '\n')
		}
	}
	for _, piece := range in.Script {
		b = append(append(append(b, "script:"...), piece...), '\n')
	}
	b = append(b, '\n')
	for len(b) > 0 {
		n, err := syscall.Write(conn, b)
		if err != nil && err != syscall.EINTR && n <= 0 {
			break // the daemon may have replied with the reason
		}
		b = b[max(n, 0):]
	}
	reply := make([]byte, 0, 4096)
	for bytes.IndexByte(reply, '\n') < 0 {
		n, err := rawRead(conn, reply[len(reply):cap(reply)])
		if n == 0 || err != nil {
			return "", fmt.Errorf("the connection to activationd broke before it replied; atq shows whether the job exists: %w", fault.Unavailable)
		}
		reply = reply[:len(reply)+n]
	}
	line, _, _ := strings.Cut(string(reply), "\n")
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

// writeHead writes the beginning of an at job: the umask, the environment and the directory.
// The daemon writes the three lines before it.
func writeHead(w *bytes.Buffer, environ []string) error {
	dir, err := os.Getwd()
	if err != nil {
		return atError("Cannot get current working directory: " + reason(err))
	}
	mask := syscall.Umask(0o077) // it can be read only by setting it
	syscall.Umask(mask)
	w.WriteString("umask " + strconv.FormatInt(int64(mask), 8) + "\n")
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

// exported reports whether a job gets a variable: a shell can set it, and it does not belong
// to this terminal, this shell or this run. The daemon finds the processes of a run by
// variables of the last kind.
func exported(name string) bool {
	switch name {
	case "", "TERM", "DISPLAY", "_", "SHELLOPTS", "BASH_VERSINFO", "EUID", "GROUPS", "PPID", "UID":
		return false
	}
	if strings.HasPrefix(name, "ACTIVATION_") {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isLetter(c) && c != '_' && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return true
}

// quote writes a word for the shell as at does: a backslash precedes every character except
// letters, digits, the characters of plain, and characters that are not ASCII.
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
