package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/direct"
	"activationd/internal/fault"
)

// The program is at, atq, atrm or batch if it is called by such a name. It then parses its
// arguments, prints and exits like Debian's programs. It skips everything that only atctl's
// own commands need, because shell loops start it often.

// An atProgram is one call of one of these programs.
type atProgram struct {
	name string // "at", in messages
	out  *os.File
	err  *os.File
	app  app
}

// personality returns the name by which the program was called, if it is at, atq, atrm or
// batch; otherwise "".
func personality(arg0 string) string {
	switch name := filepath.Base(arg0); name {
	case "at", "atq", "atrm", "batch":
		return name
	}
	return ""
}

// runAs runs the program under one of these names. It returns the exit status.
func runAs(name string, args []string) int {
	p := &atProgram{name: name, out: os.Stdout, err: os.Stderr}
	if name == "batch" {
		if len(args) > 0 {
			fmt.Fprintln(p.out, "batch accepts no parameters")
			return 1
		}
		p.name, args = "at", []string{"-qb", "now"}
	}
	err := p.run(args)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprint(p.err, err.Error()+atUsage)
	case err.Error() != "":
		fmt.Fprintln(p.err, err)
	}
	return 1
}

func (p *atProgram) run(args []string) error {
	if x := direct.Taken(); x != nil {
		return p.resume(x)
	}
	o, err := p.options(args)
	if err != nil {
		return err
	}
	return p.do(o)
}

// An atError is printed unchanged. If it is empty, everything has been printed.
type atError string

func (e atError) Error() string { return string(e) }

// errUsage has the usage printed. A usageError may have a message to print before it.
var errUsage = usageError("")

type usageError string

func (e usageError) Error() string   { return string(e) }
func (usageError) Is(err error) bool { _, ok := err.(usageError); return ok }

const atUsage = `Usage: at [-V] [-q x] [-f file] [-u username] [-mMlbv] timespec ...
       at [-V] [-q x] [-f file] [-u username] [-mMlbv] -t time
       at -c job ...
       at [-V] -l [-o timeformat] [job ...]
       atq [-V] [-q x] [-o timeformat] [job ...]
       at [ -rd ] job ...
       atrm [-V] job ...
       batch
`

// The tasks of at.
type atTask int

const (
	submitJob atTask = iota
	submitBatch
	listJobs
	removeJobs
	catJobs
)

// atOptions are the parsed arguments.
type atOptions struct {
	task    atTask
	queue   string // empty: not given
	mail    string
	mailTo  string
	forUser bool // mailTo was given, though it may be empty
	file    string
	time    time.Time // of -t
	format  string    // of -o
	verify  bool
	version bool
	rest    []string
}

// The options of the programs, in the form of getopt(3): a colon follows an option that has
// an argument.
const (
	atLetters   = "q:f:Mmu:bvlrdhVct:"
	atqLetters  = "hq:Vo:"
	atrmLetters = "hV"
	listLetters = "q:Vo:" // after -l; Debian's at lacks o here, though its usage lists it
	rmLetters   = "V"     // after -r and -d
)

// options parses arguments like getopt(3): options may follow other arguments, unless
// POSIXLY_CORRECT is set.
func (p *atProgram) options(args []string) (*atOptions, error) {
	o := &atOptions{format: "%a %b %e %T %Y"}
	letters := atLetters
	switch p.name {
	case "atq":
		o.task, letters = listJobs, atqLetters
	case "atrm":
		o.task, letters = removeJobs, atrmLetters
	}
	_, posix := os.LookupEnv("POSIXLY_CORRECT")
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		if a == "--" {
			o.rest = append(o.rest, args...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			o.rest = append(o.rest, a)
			if posix {
				o.rest = append(o.rest, args...)
				break
			}
			continue
		}
		for a = a[1:]; a != ""; {
			letter := a[:1]
			a = a[1:]
			i := strings.Index(letters, letter)
			if i < 0 || letter == ":" {
				return nil, usageError(fmt.Sprintf("%s: invalid option -- '%s'\n", p.name, letter))
			}
			value := ""
			if strings.HasPrefix(letters[i+1:], ":") {
				switch {
				case a != "":
					value, a = a, ""
				case len(args) > 0:
					value, args = args[0], args[1:]
				default:
					return nil, usageError(fmt.Sprintf("%s: option requires an argument -- '%s'\n", p.name, letter))
				}
			}
			if err := o.set(letter, value, &letters); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

// set applies one option. Some options decide which others may follow.
func (o *atOptions) set(letter, value string, letters *string) error {
	switch letter {
	case "h":
		return errUsage
	case "v":
		o.verify = true
	case "m":
		o.mail = "always"
	case "M":
		o.mail = "never"
	case "u":
		o.mailTo, o.forUser = value, true
	case "f":
		o.file = value
	case "q":
		if len(value) != 1 || !isLetter(value[0]) && (value != "=" || o.task != listJobs) {
			return errUsage
		}
		o.queue = value
	case "r", "d":
		o.task, *letters = removeJobs, rmLetters
	case "l":
		o.task, *letters = listJobs, listLetters
	case "b":
		o.task, *letters = submitBatch, ""
	case "c":
		o.task, *letters = catJobs, ""
	case "V":
		o.version = true
	case "o":
		o.format = value
	case "t":
		t, err := posixTime(value)
		if err != nil {
			return err
		}
		o.time = t
	}
	return nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func (p *atProgram) do(o *atOptions) error {
	if o.version {
		// the first line of Debian's at, which other programs parse
		fmt.Fprintf(p.err, "at version 3.2 (activationd %s)\n", version())
		return nil
	}
	switch o.task {
	case listJobs:
		return p.list(o)
	case removeJobs:
		return p.remove(o.rest)
	case catJobs:
		return p.cat(o.rest)
	}
	return p.submit(o)
}

// jobIDs checks arguments that must be numbers of jobs.
func jobIDs(args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, errUsage
	}
	for _, a := range args {
		if a == "" || strings.Trim(a, "0123456789") != "" {
			return nil, atError("at: unknown jobid: " + a)
		}
	}
	return args, nil
}

// list is atq.
func (p *atProgram) list(o *atOptions) error {
	in := control.AtqIn{Queue: o.queue}
	for _, a := range o.rest {
		if a == "" || strings.Trim(a, "0123456789") != "" {
			return atError(p.name + ": invalid job number")
		}
		in.ID = append(in.ID, strings.TrimLeft(a, "0"))
	}
	format := timeFormat(o.format)
	out := make([]byte, 0, 64<<10)
	err := stream(context.Background(), &p.app, "atq", in, func(some control.AtLines) error {
		for _, j := range some.Jobs {
			out = append(append(out, j.ID...), '\t')
			out = format.append(out, time.Unix(j.Start, 0))
			out = append(append(append(append(out, ' '), j.Queue...), ' '), j.Owner...)
			out = append(out, '\n')
		}
		_, err := p.out.Write(out)
		out = out[:0]
		return err
	})
	return p.failure(err)
}

// remove is atrm.
func (p *atProgram) remove(args []string) error {
	return p.forEachJob("atrm", args, func(r control.AtResult) error {
		if r.What == control.AtRunning {
			_, err := fmt.Fprintln(p.err, "Warning: deleting running job")
			return err
		}
		return nil
	})
}

// cat is at -c.
func (p *atProgram) cat(args []string) error {
	return p.forEachJob("atcat", args, func(r control.AtResult) error {
		script, err := base64.StdEncoding.DecodeString(r.Base64)
		if err != nil {
			return fmt.Errorf("the daemon's reply: %w: %w", err, fault.Internal)
		}
		_, err = p.out.Write(script)
		return err
	})
}

// forEachJob does something with each job, and reports the jobs that do not exist.
func (p *atProgram) forEachJob(op string, args []string, done func(control.AtResult) error) error {
	ids, err := jobIDs(args)
	if err != nil {
		return err
	}
	failed := false
	err = stream(context.Background(), &p.app, op, control.AtIDsIn{ID: ids}, func(r control.AtResult) error {
		switch r.What {
		case control.AtMissing:
			failed = true
			fmt.Fprintf(p.err, "Cannot find jobid %s\n", r.ID)
		case control.AtDenied:
			failed = true
			fmt.Fprintf(p.err, "%s: Not owner\n", r.ID)
		default:
			return done(r)
		}
		return nil
	})
	if err == nil && failed {
		return atError("")
	}
	return p.failure(err)
}

// failure returns at's message for err, or the daemon's message if at has none.
func (p *atProgram) failure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fault.Denied) && strings.HasPrefix(fault.Text(err), "at.allow and at.deny"):
		return atError(fmt.Sprintf("You do not have permission to use %s.", p.name))
	}
	lines := slices.Collect(strings.SplitSeq(fault.Text(err), "\n"))
	return atError(p.name + ": " + strings.Join(lines, "\n"+p.name+": "))
}
